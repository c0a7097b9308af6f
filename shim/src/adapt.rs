//! What a bundle leaves out for a runtime that is not ours: the table, in one place. Pure.
//!
//! A runtime that would refuse something, or pass over it in silence, does not get it; the mode decides whether the
//! sandbox is started without.

use crate::bundle::UNLINKED;
use crate::facts::Runtime;
use crate::reach::Space;
use serde::Deserialize;
use serde_json::{Value, json};

/// What a runtime can do, as far as bundles differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// Kinds of namespaces.
    pub namespaces: Vec<String>,
    /// Whether read-only mounts can be so with all that is below.
    pub recursive_read_only: bool,
    /// Whether mounts can have maps of ids.
    pub mapped_mounts: bool,
    /// Whether sources of mounts can be kept from being led elsewhere by a link.
    pub unlinked_sources: bool,
}

/// Something that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What.
    pub what: String,
    /// Why.
    pub why: &'static str,
}

/// The version of the configuration that every runtime takes.
const OLDEST: &str = "1.0.2";
/// What gVisor refuses to hear of; a capability less is no loss.
const UNKNOWN_CAPABILITIES: [&str; 3] = ["CAP_BPF", "CAP_PERFMON", "CAP_CHECKPOINT_RESTORE"];

impl Features {
    /// Of a runtime that cannot be asked: what its oldest version that is tested has.
    pub fn known(kind: Runtime) -> Self {
        let all = ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"];
        let time = matches!(kind, Runtime::Native | Runtime::Crun).then_some("time");
        Self {
            namespaces: all.into_iter().chain(time).map(str::to_owned).collect(),
            recursive_read_only: matches!(kind, Runtime::Native | Runtime::Crun | Runtime::Runc),
            mapped_mounts: matches!(kind, Runtime::Native | Runtime::Crun),
            unlinked_sources: kind == Runtime::Native,
        }
    }

    /// From what a runtime's `features` prints.
    pub fn parse(text: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Printed {
            mount_options: Vec<String>,
            linux: Linux,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Linux {
            namespaces: Vec<String>,
            #[serde(default)]
            mount_extensions: Value,
        }
        let Printed { mount_options, linux } = serde_json::from_slice(text).ok()?;
        Some(Self {
            recursive_read_only: mount_options.iter().any(|option| option == "rro"),
            unlinked_sources: mount_options.iter().any(|option| option == UNLINKED),
            mapped_mounts: linux.mount_extensions["idmap"]["enabled"] == true,
            namespaces: linux.namespaces,
        })
    }
}

/// Takes out of a configuration what the runtime cannot do, and tells what is lost.
pub fn adapt(config: &mut Value, kind: Runtime, features: &Features) -> Vec<Loss> {
    if kind == Runtime::Native {
        return Vec::new();
    }
    let mut losses = Vec::new();
    config["ociVersion"] = json!(OLDEST);
    namespaces(config, kind, features, &mut losses);
    clocks(config, &mut losses);
    mounts(config, kind, features, &mut losses);
    if kind == Runtime::Gvisor {
        gvisor(config, &mut losses);
    }
    losses
}

fn lose(losses: &mut Vec<Loss>, what: impl Into<String>, why: &'static str) {
    losses.push(Loss {
        what: what.into(),
        why,
    });
}

fn namespaces(config: &mut Value, kind: Runtime, features: &Features, losses: &mut Vec<Loss>) {
    let Some(list) = config["linux"]["namespaces"].as_array_mut() else {
        return;
    };
    list.retain(|namespace| {
        let name = namespace["type"].as_str().unwrap_or_default();
        let known = features.namespaces.iter().any(|one| one == name);
        // gVisor's clocks are its own.
        if !known && kind != Runtime::Gvisor {
            lose(
                losses,
                format!("{name} namespace"),
                "this runtime cannot make one",
            );
        }
        known
    });
}

/// Offsets of clocks go with the namespace that would have them.
fn clocks(config: &mut Value, losses: &mut Vec<Loss>) {
    let kinds = config["linux"]["namespaces"].as_array();
    let there = kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["type"] == "time"));
    let Some(linux) = config["linux"].as_object_mut().filter(|_| !there) else {
        return;
    };
    if linux.remove("timeOffsets").is_some() {
        lose(losses, "--time-namespace", "this runtime makes no time namespace");
    }
}

fn mounts(config: &mut Value, kind: Runtime, features: &Features, losses: &mut Vec<Loss>) {
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        let destination = mount["destination"].as_str().unwrap_or_default().to_owned();
        let Some(options) = mount["options"].as_array_mut() else {
            continue;
        };
        if !features.unlinked_sources {
            // No loss that could be told apart: it matters only where another sandbox that has the same directory
            // puts a link there between the look-up and the mount.
            options.retain(|option| option != UNLINKED);
        }
        if !features.recursive_read_only {
            for option in options.iter_mut().filter(|option| **option == "rro") {
                *option = json!("ro");
                // gVisor's mount is read-only as a whole: its kernel knows no other below it.
                if kind != Runtime::Gvisor {
                    lose(
                        losses,
                        format!("read-only {destination}"),
                        "this runtime leaves writable what is mounted below",
                    );
                }
            }
        }
        if !features.mapped_mounts && options.iter().any(|option| option == "idmap") {
            options.retain(|option| option != "idmap");
            for field in ["uidMappings", "gidMappings"] {
                mount.as_object_mut().map(|mount| mount.remove(field));
            }
            lose(
                losses,
                format!("writable {destination}"),
                "this runtime maps no ids of mounts, and the workload may not write what its owner may",
            );
        }
    }
}

/// The network of a configuration.
fn space(config: &Value) -> Space {
    let kinds = config["linux"]["namespaces"].as_array();
    let network = kinds.and_then(|kinds| kinds.iter().find(|kind| kind["type"] == "network"));
    match network {
        Some(network) if network["path"].is_null() => Space::Empty,
        Some(_) => Space::Ruled,
        None => Space::Host,
    }
}

/// What runsc passes over in silence, shown one by one in `tests/gvisor.rs`.
fn gvisor(config: &mut Value, losses: &mut Vec<Loss>) {
    // Its /proc and /sys are made by its own kernel and show nothing of the host's, so there is nothing to hide.
    for field in ["maskedPaths", "readonlyPaths"] {
        config["linux"].as_object_mut().map(|linux| linux.remove(field));
    }
    let space = space(config);
    if let Some(kinds) = config["linux"]["namespaces"]
        .as_array_mut()
        .filter(|_| !space.has_user_namespace(Runtime::Gvisor))
    {
        // The mode has been asked whether the workload may go without.
        kinds.retain(|kind| kind["type"] != "user");
        for field in ["uidMappings", "gidMappings"] {
            config["linux"].as_object_mut().map(|linux| linux.remove(field));
        }
    }
    // The mask that it starts with is the one that is asked for.
    config["process"]["user"]
        .as_object_mut()
        .map(|user| user.remove("umask"));
    for set in config["process"]["capabilities"]
        .as_object_mut()
        .into_iter()
        .flat_map(|sets| sets.values_mut())
    {
        if let Some(names) = set.as_array_mut() {
            names.retain(|name| !UNKNOWN_CAPABILITIES.iter().any(|unknown| name == unknown));
        }
    }
    let resources = std::mem::replace(&mut config["linux"]["resources"], json!({}));
    for (kind, flag) in [
        ("memory", "memory"),
        ("cpu", "cpus"),
        ("pids", "pids"),
        ("blockIO", "io"),
    ] {
        if resources[kind] != Value::Null {
            lose(
                losses,
                format!("--{flag}"),
                "runsc is started without control groups",
            );
        }
    }
    config["linux"]
        .as_object_mut()
        .map(|linux| linux.remove("cgroupsPath"));
    for mount in config["mounts"].as_array().into_iter().flatten() {
        let Some(options) = mount["options"].as_array() else {
            continue;
        };
        if options.iter().any(|option| option == "hidepid=2") {
            lose(losses, "hidepid=2", "runsc ignores it");
        }
        let mut words = options.iter().filter_map(Value::as_str);
        if let Some(inodes) = words.find(|option| option.starts_with("nr_inodes=")) {
            let at = mount["destination"].as_str().unwrap_or_default();
            lose(losses, format!("--tmpfs {at}:{inodes}"), "runsc ignores it");
        }
    }
    if let Some(mounts) = config["mounts"].as_array_mut() {
        // It knows no message queues: nothing can be done with them either.
        mounts.retain(|mount| mount["type"] != "mqueue");
    }
    let flags = &config["linux"]["seccomp"]["flags"];
    if flags
        .as_array()
        .is_some_and(|flags| flags.iter().any(|flag| flag == "SECCOMP_FILTER_FLAG_LOG"))
    {
        lose(losses, "--seccomp-log-denied", "runsc ignores it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Value {
        json!({
            "ociVersion": "1.3.0",
            "process": {"user": {"umask": 18}, "capabilities": {"bounding": ["CAP_BPF", "CAP_KILL"]}},
            "mounts": [
                {"destination": "/usr", "type": "bind", "options": ["rbind", "rro"]},
                {"destination": "/data", "type": "bind", "options": ["bind", "src-nosymlinks", "idmap"], "uidMappings": [], "gidMappings": []},
                {"destination": "/proc", "type": "proc", "options": ["hidepid=2"]},
                {"destination": "/dev/mqueue", "type": "mqueue", "options": []},
                {"destination": "/few", "type": "tmpfs", "options": ["size=1m", "nr_inodes=5"]},
            ],
            "linux": {
                "namespaces": [{"type": "user"}, {"type": "network"}, {"type": "time"}],
                "maskedPaths": ["/proc/keys"],
                "readonlyPaths": ["/proc/sys"],
                "timeOffsets": {"boottime": {"secs": 1}},
                "cgroupsPath": "/nucleus/a",
                "resources": {"memory": {"limit": 1}, "pids": {"limit": 1}},
                "seccomp": {"flags": ["SECCOMP_FILTER_FLAG_LOG"]},
            },
        })
    }

    fn lost(kind: Runtime) -> (Value, Vec<String>) {
        let mut config = config();
        let losses = adapt(&mut config, kind, &Features::known(kind));
        (config, losses.into_iter().map(|loss| loss.what).collect())
    }

    #[test]
    fn our_own_runtime_gets_everything() {
        assert_eq!(lost(Runtime::Native), (config(), Vec::new()));
    }

    #[test]
    fn each_runtime_gets_what_it_can_do() {
        assert_eq!(lost(Runtime::Crun).1, [""; 0]);
        assert_eq!(
            lost(Runtime::Runc).1,
            ["time namespace", "--time-namespace", "writable /data"]
        );
        let (other, losses) = lost(Runtime::Other);
        assert_eq!(
            losses,
            [
                "time namespace",
                "--time-namespace",
                "read-only /usr",
                "writable /data"
            ]
        );
        assert_eq!(other["mounts"][0]["options"], json!(["rbind", "ro"]));
        assert_eq!(
            other["mounts"][1],
            json!({"destination": "/data", "type": "bind", "options": ["bind"]})
        );
    }

    #[test]
    fn gvisor_gets_nothing_that_it_would_pass_over() {
        let (config, losses) = lost(Runtime::Gvisor);
        assert_eq!(
            losses,
            [
                "--time-namespace",
                "writable /data",
                "--memory",
                "--pids",
                "hidepid=2",
                "--tmpfs /few:nr_inodes=5",
                "--seccomp-log-denied"
            ]
        );
        assert_eq!(
            config["linux"],
            json!({"namespaces": [{"type": "user"}, {"type": "network"}], "resources": {}, "seccomp": {"flags": ["SECCOMP_FILTER_FLAG_LOG"]}})
        );
        assert_eq!(config["process"]["capabilities"]["bounding"], json!(["CAP_KILL"]));
        assert_eq!(config["process"]["user"], json!({}));
    }

    #[test]
    fn features_are_read_as_runtimes_print_them() {
        let text = br#"{"mountOptions":["ro","rro"],"linux":{"namespaces":["user","time"],"mountExtensions":{"idmap":{"enabled":true}}}}"#;
        let features = Features::parse(text).expect("features");
        assert!(features.recursive_read_only && features.mapped_mounts);
        assert_eq!(features.namespaces, ["user", "time"]);
        assert_eq!(Features::parse(b"unknown command"), None);
    }
}
