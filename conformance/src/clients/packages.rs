//! The programs that the suites drive, and where Debian has them.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Name;
use super::command::PATH;

/// A program and the package that brings it.
type Program = (&'static str, &'static str);

/// What every suite needs.
const COMMON: [Program; 5] = [
    ("busybox", "busybox-static"),
    ("script", "bsdutils"),
    ("setpriv", "util-linux"),
    ("tar", "tar"),
    ("unshare", "util-linux"),
];

fn own(client: Name) -> &'static [Program] {
    match client {
        Name::Podman => &[
            ("podman", "podman"),
            ("conmon", "conmon"),
            ("catatonit", "catatonit"),
        ],
        Name::Containerd => &[("containerd", "containerd"), ("ctr", "containerd")],
        Name::Docker => &[
            ("dockerd", "docker.io"),
            ("docker", "docker.io"),
            ("docker-init", "tini"),
        ],
    }
}

/// Without these the client's suite runs all the same, and the cases that need them are skipped.
const OPTIONAL: [&str; 1] = ["catatonit"];

/// The programs that `client` lacks, with their packages.
pub(crate) fn missing(client: Name) -> Vec<Program> {
    COMMON
        .iter()
        .chain(own(client))
        .copied()
        .filter(|(program, _)| !present(program))
        .collect()
}

/// Why the suite of `client` cannot run, if it cannot.
pub(crate) fn obstacle(client: Name) -> Option<String> {
    let missing: Vec<String> = missing(client)
        .into_iter()
        .filter(|(program, _)| !OPTIONAL.contains(program))
        .map(|(program, package)| format!("{program} (package {package})"))
        .collect();
    if missing.is_empty() {
        None
    } else {
        Some(format!("not installed: {}", missing.join(", ")))
    }
}

fn present(program: &str) -> bool {
    PATH.split(':').any(|dir| Path::new(dir).join(program).exists())
}

/// Installs what `clients` lack, where that is possible; says on standard error what it does.
pub(crate) fn install(clients: &[Name]) {
    let mut packages: Vec<&str> = clients
        .iter()
        .flat_map(|client| missing(*client))
        .map(|(_, package)| package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() || !present("apt-get") || !rustix::process::geteuid().is_root() {
        return;
    }
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "installing {}", packages.join(" "));
    let _quiet = NoServices::declare();
    if !apt("install", &packages) {
        let done = apt("update", &[]) && apt("install", &packages);
        let _ = if done {
            Ok(())
        } else {
            writeln!(stderr, "apt-get could not install them")
        };
    }
}

fn apt(verb: &str, packages: &[&str]) -> bool {
    let status = Command::new("apt-get")
        .args(["--quiet", "--quiet", "--yes", "--no-install-recommends", verb])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// While it lives, packages do not start their daemons on the host (`invoke-rc.d(8)`, policy-rc.d).
struct NoServices(bool);

impl NoServices {
    const FILE: &str = "/usr/sbin/policy-rc.d";

    fn declare() -> Self {
        // A policy that is there already is the administrator's.
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(Self::FILE);
        match made {
            Ok(mut file) => {
                let _ = file.write_all(b"#!/bin/sh\nexit 101\n");
                Self(true)
            }
            Err(_) => Self(false),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.0 {
            let _ = fs::remove_file(Self::FILE);
        }
    }
}
