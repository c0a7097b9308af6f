//! What the host and the runtime can do, as far as a decision depends on it.

use crate::request::Request;
use nucleus_policy::KernelVersion;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Which kind of runtime a bundle is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// `nucleus-runtime`.
    Native,
    /// Another one with runc's command line.
    Other,
}

/// What decisions depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The caller's user id.
    pub uid: u32,
    /// The caller's group id.
    pub gid: u32,
    /// Whether the caller may make control groups.
    pub cgroups: bool,
    /// Whether the runtime enforces the Landlock annotation.
    pub landlock: bool,
    /// Whether the runtime can be held to a directory that is open: `--rootfs-fd`.
    pub holds_rootfs: bool,
    /// Whether the root file system is a store path that nobody can write.
    pub rootfs_fixed: bool,
    /// The kernel's version.
    pub kernel: Option<KernelVersion>,
}

impl Facts {
    /// Looks at this process, the runtime and the root file system.
    pub fn of(program: &Program, request: &Request) -> Self {
        let uid = rustix::process::geteuid();
        Self {
            uid: uid.as_raw(),
            gid: rustix::process::getegid().as_raw(),
            cgroups: uid.is_root(),
            landlock: program.kind == Runtime::Native || program.enforces(crate::LANDLOCK),
            holds_rootfs: program.kind == Runtime::Native,
            rootfs_fixed: request.root_directory().is_some_and(is_fixed),
            kernel: Self::kernel(),
        }
    }

    /// This kernel's version.
    pub fn kernel() -> Option<KernelVersion> {
        rustix::system::uname().release().to_string_lossy().parse().ok()
    }

    /// Whether a time namespace can be had inside a user namespace: for users since Linux 6.2.
    pub fn has_time_namespace(&self) -> bool {
        let since = |kernel: KernelVersion| (kernel.major, kernel.minor) >= (6, 2);
        self.uid == 0 || self.kernel.is_none_or(since)
    }

    /// What root on any host has that this project supports, with `nucleus-runtime`: nothing of this host.
    pub fn declared(request: &Request) -> Self {
        Self {
            uid: 0,
            gid: 0,
            cgroups: true,
            landlock: true,
            holds_rootfs: true,
            rootfs_fixed: request
                .root_directory()
                .is_some_and(|path| path.starts_with(STORE)),
            kernel: "6.1".parse().ok(),
        }
    }
}

const STORE: &str = "/nix/store";

/// Whether a directory lies in the store, and its mount is read-only.
fn is_fixed(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else {
        return false;
    };
    let mount = rustix::fs::statvfs(&path);
    path.starts_with(STORE)
        && mount.is_ok_and(|mount| mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// The program that runs bundles.
#[derive(Debug, Clone)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: Runtime,
}

/// No such runtime.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `nucleus-runtime` was not found.
    #[error(
        "nucleus-runtime is neither beside this program nor in $PATH: install it, or name a runtime with --runtime"
    )]
    NoNative,
    /// gVisor.
    #[error("runtime gvisor: not there yet")]
    Gvisor,
    /// The named one is not there.
    #[error("runtime {0}: no such file")]
    Missing(PathBuf),
}

impl Program {
    /// The runtime that `--runtime` names: `native`, `gvisor` or a path.
    ///
    /// # Errors
    /// It is not there.
    pub fn find(name: &str) -> Result<Self, Error> {
        match name {
            "native" => beside("nucleus-runtime")
                .or_else(|| in_path("nucleus-runtime"))
                .map(|path| Self {
                    path,
                    kind: Runtime::Native,
                })
                .ok_or(Error::NoNative),
            "gvisor" => Err(Error::Gvisor),
            path => Self::at(Path::new(path)),
        }
    }

    fn at(path: &Path) -> Result<Self, Error> {
        if !path.is_file() {
            return Err(Error::Missing(path.to_owned()));
        }
        let kind = match path.file_name().and_then(|name| name.to_str()) {
            Some("nucleus-runtime") => Runtime::Native,
            Some("runsc") => return Err(Error::Gvisor),
            _ => Runtime::Other,
        };
        Ok(Self {
            path: path.to_owned(),
            kind,
        })
    }

    /// Whether the runtime's `features` name this annotation. A runtime without such a command has none.
    fn enforces(&self, annotation: &str) -> bool {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Features {
            #[serde(default)]
            potentially_unsafe_config_annotations: Vec<String>,
        }
        Command::new(&self.path)
            .arg("features")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()
            .and_then(|output| serde_json::from_slice::<Features>(&output.stdout).ok())
            .is_some_and(|features| {
                features
                    .potentially_unsafe_config_annotations
                    .iter()
                    .any(|named| annotation.starts_with(named.as_str()))
            })
    }
}

fn beside(name: &str) -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name(name);
    path.is_file().then_some(path)
}

fn in_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}
