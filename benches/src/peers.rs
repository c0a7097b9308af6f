//! The measured programs and their command lines.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

use crate::bundle::{Kind, PAYLOAD};
use crate::launcher::Arguments;
use crate::sandbox::{FRONT, PREDECESSOR};

/// How a program is told what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// The limit program: it is compiled for each kind of bundle and view.
    Limit,
    /// runc's command line.
    Oci,
    /// bubblewrap: no cgroup, no seccomp filter, no masked paths; `run` only.
    Bubblewrap,
    /// This project's front-end.
    Front,
    /// nucleus-container, the front-end of that name before this one.
    Predecessor,
}

/// A program to measure.
#[derive(Clone, Debug, Serialize)]
pub struct Runtime {
    /// Its name in tables.
    pub name: String,
    /// Where it is; for the limit program set for each kind of bundle and view.
    #[serde(skip)]
    pub path: PathBuf,
    /// Its command line.
    pub interface: Interface,
    /// What it says of its version.
    pub version: String,
}

/// A container of one runtime: where its bundle is and what it is called.
#[derive(Clone, Debug)]
pub struct Container {
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// The slot: the cgroup's name without prefix.
    pub slot: String,
}

const OCI_ON_PATH: [&str; 4] = ["nucleus-runtime", "crun", "runc", "youki"];
const BUBBLEWRAP: &str = "bwrap";
/// The name of the limit program in tables.
pub const LIMIT: &str = "limit";

/// The limit program, the peers on PATH, and the OCI runtimes named as `NAME=PATH`, which replace one found
/// by the same name; those called `nucleus run` and `nucleus-container` are front-ends.
///
/// # Errors
/// When a named path does not exist or `named` has no `=`.
pub fn find(named: &[String]) -> anyhow::Result<Vec<Runtime>> {
    let mut runtimes = vec![Runtime {
        name: LIMIT.into(),
        path: PathBuf::new(),
        interface: Interface::Limit,
        version: "this crate's native/limit".into(),
    }];
    for argument in named {
        let (name, path) = argument
            .split_once('=')
            .ok_or_else(|| anyhow::anyhow!("--runtime {argument}: not NAME=PATH"))?;
        let path = Path::new(path)
            .canonicalize()
            .map_err(|e| anyhow::anyhow!("--runtime {argument}: {e}"))?;
        let interface = match name {
            FRONT => Interface::Front,
            PREDECESSOR => Interface::Predecessor,
            _ => Interface::Oci,
        };
        runtimes.push(Runtime::new(name, path, interface));
    }
    let on_path = OCI_ON_PATH.iter().map(|name| (*name, Interface::Oci));
    for (name, interface) in on_path.chain([(BUBBLEWRAP, Interface::Bubblewrap)]) {
        if let Some(path) = on_search_path(name)
            && runtimes.iter().all(|runtime| runtime.name != name)
        {
            runtimes.push(Runtime::new(name, path, interface));
        }
    }
    Ok(runtimes)
}

fn on_search_path(name: &str) -> Option<PathBuf> {
    // sbin is where Debian keeps runc, and not on every user's PATH.
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    directories
        .map(|directory| directory.join(name))
        .find_map(|file| file.canonicalize().ok())
}

impl Runtime {
    fn new(name: &str, path: PathBuf, interface: Interface) -> Self {
        let output = Command::new(&path).arg("--version").output();
        let version = output.ok().and_then(|output| {
            Some(
                String::from_utf8_lossy(&output.stdout)
                    .lines()
                    .next()?
                    .trim()
                    .to_owned(),
            )
        });
        Runtime {
            name: name.to_owned(),
            path,
            interface,
            version: version.unwrap_or_default(),
        }
    }

    fn id(&self, slot: &str) -> String {
        format!("bench-{}-{slot}", self.name)
    }

    fn state(&self, slot: &str) -> String {
        format!("/run/{}", self.id(slot))
    }

    fn command(&self, arguments: &[&str]) -> Arguments {
        let mut command = vec![self.path.to_string_lossy().into_owned()];
        if self.interface == Interface::Oci {
            command.extend(["--root".into(), format!("/run/bench-{}", self.name)]);
        }
        command.extend(arguments.iter().map(|&argument| argument.to_owned()));
        command
    }

    /// Runs the container to its exit; front-ends take no bundle.
    pub fn run(&self, kind: Kind, container: &Container) -> Option<Arguments> {
        let bundle = container.bundle.to_string_lossy();
        Some(match self.interface {
            Interface::Limit => self.command(&["run", &bundle, &container.slot]),
            Interface::Oci => self.command(&["run", "--bundle", &bundle, &self.id(&container.slot)]),
            Interface::Bubblewrap => self.bubblewrap(kind, &container.bundle),
            Interface::Front | Interface::Predecessor => return None,
        })
    }

    fn bubblewrap(&self, kind: Kind, bundle: &Path) -> Arguments {
        let rootfs = bundle.join(crate::bundle::ROOTFS);
        let rootfs = rootfs.to_string_lossy();
        let minimal = [
            "--unshare-pid",
            "--bind",
            &rootfs,
            "/",
            "--proc",
            "/proc",
            PAYLOAD,
        ];
        let real = [
            "--unshare-pid",
            "--unshare-net",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-cgroup",
            "--new-session",
            "--cap-drop",
            "ALL",
            "--ro-bind",
            &rootfs,
            "/",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--ro-bind",
            "/sys",
            "/sys",
            PAYLOAD,
        ];
        match kind {
            Kind::Minimal => self.command(&minimal),
            Kind::Real => self.command(&real),
        }
    }

    /// Creates the container; with `arguments`, the limit program runs them in place of its payload (the
    /// others read them in their bundle).
    pub fn create(&self, container: &Container, arguments: &[&str]) -> Option<Arguments> {
        let (bundle, slot) = (container.bundle.to_string_lossy(), container.slot.as_str());
        match self.interface {
            Interface::Limit => {
                let state = self.state(slot);
                let mut command = self.command(&["create", &bundle, slot, &state]);
                command.extend(arguments.iter().map(|&argument| argument.to_owned()));
                Some(command)
            }
            Interface::Oci => {
                let pid_file = self.pid_file(slot);
                Some(self.command(&[
                    "create",
                    "--bundle",
                    &bundle,
                    "--pid-file",
                    &pid_file,
                    &self.id(slot),
                ]))
            }
            Interface::Bubblewrap | Interface::Front | Interface::Predecessor => None,
        }
    }

    /// The file with the created container's process id.
    pub fn pid_file(&self, slot: &str) -> String {
        format!("{}.pid", self.state(slot))
    }

    /// Starts the created container.
    pub fn start(&self, slot: &str) -> Arguments {
        match self.interface {
            Interface::Limit => self.command(&["start", slot, &self.state(slot)]),
            _ => self.command(&["start", &self.id(slot)]),
        }
    }

    /// Deletes the container, killing it if it runs and `force` is set (the limit program always does).
    pub fn delete(&self, slot: &str, force: bool) -> Arguments {
        match self.interface {
            Interface::Limit => self.command(&["delete", slot, &self.state(slot)]),
            _ if force => self.command(&["delete", "--force", &self.id(slot)]),
            _ => self.command(&["delete", &self.id(slot)]),
        }
    }

    /// Runs the payload in the running container, to its exit.
    pub fn exec(&self, slot: &str) -> Arguments {
        match self.interface {
            Interface::Limit => self.command(&["exec", slot, &self.state(slot), PAYLOAD]),
            _ => self.command(&["exec", &self.id(slot), PAYLOAD]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(interface: Interface) -> Runtime {
        Runtime {
            name: "r".into(),
            path: "/bin/r".into(),
            interface,
            version: String::new(),
        }
    }

    fn container() -> Container {
        Container {
            bundle: "/b".into(),
            slot: "run-0".into(),
        }
    }

    #[test]
    fn oci_runtimes_get_runcs_command_line() {
        let run = runtime(Interface::Oci).run(Kind::Real, &container()).unwrap();
        assert_eq!(
            run.join(" "),
            "/bin/r --root /run/bench-r run --bundle /b bench-r-run-0"
        );
        let delete = runtime(Interface::Oci).delete("run-0", true);
        assert_eq!(
            delete.join(" "),
            "/bin/r --root /run/bench-r delete --force bench-r-run-0"
        );
    }

    #[test]
    fn bubblewrap_cannot_create() {
        assert!(runtime(Interface::Bubblewrap).create(&container(), &[]).is_none());
    }

    #[test]
    fn a_named_runtime_needs_a_path_that_exists() {
        assert!(find(&["x".into()]).is_err());
        assert!(find(&["x=/does/not/exist".into()]).is_err());
        let found = find(&["mine=/bin/sh".into()]).unwrap();
        assert!(found.iter().any(|r| r.name == "mine"));
        assert_eq!(found[0].name, LIMIT);
    }
}
