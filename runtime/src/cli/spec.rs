//! `spec`.

use super::{Global, Outcome, Run};
use crate::state::OCI_VERSION;
use anyhow::{Context, bail};
use clap::Args;
use rustix::process::{getegid, geteuid};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

/// Write a `config.json` to start from.
#[derive(Debug, Args)]
pub struct SpecFile {
    /// Directory to write config.json to
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// For a user without privileges: a user namespace, no network of its own, no limits
    #[arg(long)]
    rootless: bool,
}

impl Run for SpecFile {
    const NAME: &'static str = "spec";
    const ABOUT: &'static str = "Write a config.json to start from";
    const AFTER: &'static str = "\
The file runs `sh` on a terminal in ./rootfs, read-only, with three capabilities and no network. \
Change process.args and root.path to your needs; an existing file is not overwritten.

Example:
  mkdir -p box/rootfs/bin && cp /bin/busybox box/rootfs/bin/sh
  nucleus-runtime spec --bundle box && nucleus-runtime run --bundle box box1";

    fn run(self, _: &Global) -> Outcome {
        let path = self.bundle.join("config.json");
        let text = serde_json::to_string_pretty(&config(self.rootless))? + "\n";
        let mut file = match std::fs::File::create_new(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!("{} exists already: remove it first", path.display())
            }
            result => result.with_context(|| format!("create {}", path.display()))?,
        };
        file.write_all(text.as_bytes())
            .with_context(|| format!("write {}", path.display()))?;
        Ok(0)
    }
}

/// The file, in the specification's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    oci_version: &'static str,
    process: Value,
    root: Value,
    hostname: &'static str,
    mounts: Value,
    linux: Value,
}

fn config(rootless: bool) -> Config {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    Config {
        oci_version: OCI_VERSION,
        process: json!({
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            // No ambient set: a process that gives root up gives these up with it.
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        }),
        root: json!({"path": "rootfs", "readonly": true}),
        hostname: "nucleus",
        mounts: mounts(rootless),
        linux: linux(rootless),
    }
}

fn mounts(rootless: bool) -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &str| {
        let options: Vec<&str> = options.split(',').filter(|word| !word.is_empty()).collect();
        json!({"destination": destination, "type": kind, "source": source, "options": options})
    };
    // Group 5 (tty) has no place in the map of one's own id alone.
    let pts = "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620";
    let pts = if rootless {
        pts.to_owned()
    } else {
        format!("{pts},gid=5")
    };
    // A new sysfs shows the network, so the kernel gives it only to who owns the network namespace.
    let sys = if rootless {
        mount("/sys", "none", "/sys", "rbind,nosuid,noexec,nodev,ro")
    } else {
        mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro")
    };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", "nosuid,noexec,nodev"),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            "nosuid,strictatime,mode=755,size=65536k",
        ),
        mount("/dev/pts", "devpts", "devpts", &pts),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            "nosuid,noexec,nodev,mode=1777,size=65536k",
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
        sys,
    ];
    if !rootless {
        let options = "nosuid,noexec,nodev,relatime,ro";
        mounts.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", options));
    }
    mounts.into()
}

fn linux(rootless: bool) -> Value {
    let namespaces: &[&str] = if rootless {
        &["pid", "ipc", "uts", "mount", "cgroup", "user"]
    } else {
        &["pid", "network", "ipc", "uts", "mount", "cgroup"]
    };
    let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({"type": kind})).collect();
    let mut linux = json!({
        "namespaces": namespaces,
        "maskedPaths": [
            "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
            "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
            "/sys/devices/virtual/powercap", "/sys/firmware",
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    if rootless {
        let own = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
        linux["uidMappings"] = own(geteuid().as_raw());
        linux["gidMappings"] = own(getegid().as_raw());
    } else {
        linux["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
    }
    linux
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_one_that_this_runtime_takes() {
        for rootless in [false, true] {
            let text = serde_json::to_vec(&config(rootless)).expect("JSON");
            let (spec, notes) = crate::bundle::parse(&text).expect("a configuration");
            assert!(notes.is_empty(), "{notes:?}");
            assert_eq!(
                spec.mounts().as_ref().map(Vec::len),
                Some(if rootless { 6 } else { 7 })
            );
            assert_eq!(
                spec.linux()
                    .as_ref()
                    .is_some_and(|linux| linux.uid_mappings().is_some()),
                rootless
            );
        }
    }
}
