//! What the host and the runtime can do, as far as a decision depends on it.

use crate::adapt::Features;
use crate::delegation::Cgroups;
use crate::reach::Space;
use crate::request::Request;
use crate::swap::Swap;
use nucleus_network::program::in_path;
use nucleus_policy::KernelVersion;
use nucleus_sys::clone::{enter_network_in_child, user_namespace};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Which kind of runtime a bundle is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Runtime {
    /// `nucleus-runtime`.
    Native,
    /// runc.
    Runc,
    /// crun.
    Crun,
    /// runsc.
    Gvisor,
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
    /// The control groups that the caller may make.
    pub cgroups: Cgroups,
    /// Whether the runtime enforces the Landlock annotation.
    pub landlock: bool,
    /// Whether the runtime can be held to a directory that is open: `--rootfs-fd`.
    pub holds_rootfs: bool,
    /// Whether the root file system is a store path that nobody can write.
    pub rootfs_fixed: bool,
    /// What becomes of swap, where memory is limited.
    pub swap: Swap,
    /// Why this host gives no user namespace, where the caller has agreed to go without.
    pub no_user_namespace: Option<Errno>,
    /// The kernel's version.
    pub kernel: Option<KernelVersion>,
    /// What the runtime is.
    pub runtime: Runtime,
}

impl Facts {
    /// Looks at this process, the runtime and the root file system.
    pub fn of(program: &Program, request: &Request) -> Self {
        let uid = rustix::process::geteuid();
        Self {
            uid: uid.as_raw(),
            gid: rustix::process::getegid().as_raw(),
            cgroups: match program.kind {
                _ if uid.is_root() => Cgroups::All,
                Runtime::Native if request.needs_cgroup() => Cgroups::of_user(),
                _ => Cgroups::None,
            },
            landlock: match program.kind {
                Runtime::Native => true,
                Runtime::Gvisor => false,
                _ => program.enforces(crate::LANDLOCK),
            },
            holds_rootfs: program.kind == Runtime::Native,
            rootfs_fixed: request.root_directory().is_some_and(is_fixed),
            swap: match request.memory {
                Some(_) => Swap::of_host(),
                None => Swap::default(),
            },
            // A user who has none can make no container at all.
            no_user_namespace: (uid.is_root() && request.allow_degraded_security)
                .then(no_user_namespace)
                .flatten(),
            kernel: Self::kernel(),
            runtime: program.kind,
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
            cgroups: Cgroups::All,
            landlock: true,
            holds_rootfs: true,
            rootfs_fixed: request
                .root_directory()
                .is_some_and(|path| path.starts_with(STORE)),
            swap: Swap::Counted,
            no_user_namespace: None,
            kernel: "6.1".parse().ok(),
            runtime: Runtime::Native,
        }
    }
}

/// Why this process gets no user namespace.
pub(crate) fn no_user_namespace() -> Option<Errno> {
    user_namespace().err()
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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: Runtime,
    /// Options of each of its commands.
    pub options: Vec<String>,
    /// Whether it is the `nucleus-runtime` that is beside this program or in `$PATH`, whichever that is later.
    #[serde(skip)]
    pub usual: bool,
    /// The network namespace that each of its commands is started in, if not this process's: gVisor takes the network
    /// that it finds, and is reached through sockets in it. Not recorded: the path is another one later.
    #[serde(skip)]
    pub network: Option<PathBuf>,
}

/// No such runtime.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `nucleus-runtime` was not found.
    #[error(
        "nucleus-runtime is neither beside this program nor in $PATH: install it, or name a runtime with --runtime"
    )]
    NoNative,
    /// `runsc` was not found.
    #[error("runtime gvisor: runsc is not in $PATH: install it, or name it with --runsc")]
    NoGvisor,
    /// The named one is not there.
    #[error("runtime {0}: no such file")]
    Missing(PathBuf),
    /// Nor is it a path.
    #[error("runtime {}: not in $PATH: install it, or give its path", .0.display())]
    NotInPath(PathBuf),
    /// It says of itself nothing that a runtime would.
    #[error("runtime {}: not an OCI runtime: its --version does not begin with NAME version NUMBER", .0.display())]
    NoRuntime(PathBuf),
    /// What a sandbox was made with is not there any more.
    #[error("runtime {}: the sandbox was made with it, and it is gone: {}", path.display(), remedy(*.kind))]
    Gone {
        /// Where it was.
        path: PathBuf,
        /// What it was.
        kind: Runtime,
    },
    /// Something else is there.
    #[error("runtime {}: the sandbox was made with it, and it is another program now: {}", path.display(), remedy(*.kind))]
    Replaced {
        /// Where it was.
        path: PathBuf,
        /// What it was.
        kind: Runtime,
    },
    /// An option for another runtime.
    #[error("{0}: only with --runtime gvisor")]
    OnlyGvisor(&'static str),
}

/// What helps where a runtime is gone. Our own one's records are the same for each `nucleus-runtime`.
fn remedy(kind: Runtime) -> &'static str {
    match kind {
        Runtime::Native => "put it back, or remove the sandbox with nucleus rm --force",
        _ => "put it back; nothing else can tell of the sandbox or remove it",
    }
}

impl Program {
    /// The runtime that a request names: `native`, `gvisor` or a path.
    ///
    /// # Errors
    /// It is not there, or has options of another.
    pub fn of(request: &Request) -> Result<Self, Error> {
        let program = match request.runtime.as_deref().unwrap_or("native") {
            "gvisor" => {
                let named = request.runsc.clone();
                let path = named.or_else(|| in_path("runsc")).ok_or(Error::NoGvisor)?;
                Self::at(&path, Some(Runtime::Gvisor))?
            }
            name => Self::find(name)?,
        };
        if program.kind != Runtime::Gvisor {
            let given = [
                ("gvisor-platform", request.gvisor_platform.is_some()),
                ("runsc", request.runsc.is_some()),
            ];
            return match given.iter().find(|(_, given)| *given) {
                Some((option, _)) => Err(Error::OnlyGvisor(option)),
                None => Ok(program),
            };
        }
        Ok(program.for_gvisor(request))
    }

    /// `native`, or the path or name of a runtime.
    ///
    /// # Errors
    /// It is not there.
    pub fn find(name: &str) -> Result<Self, Error> {
        if name != "native" {
            return Self::at(Path::new(name), None);
        }
        let path = beside("nucleus-runtime").or_else(|| in_path("nucleus-runtime"));
        path.map(|path| Self {
            path,
            kind: Runtime::Native,
            options: Vec::new(),
            usual: true,
            network: None,
        })
        .ok_or(Error::NoNative)
    }

    /// A name alone is looked up in `$PATH`, as a shell does, and never in the working directory.
    fn at(path: &Path, kind: Option<Runtime>) -> Result<Self, Error> {
        let is_name = path.components().count() == 1 && path.file_name() == Some(path.as_os_str());
        let found = is_name.then(|| path.to_str().and_then(in_path)).flatten();
        if is_name && found.is_none() {
            return Err(Error::NotInPath(path.to_owned()));
        }
        let path = found.as_deref().unwrap_or(path);
        let path = path.canonicalize().map_err(|_| Error::Missing(path.to_owned()))?;
        if !path.is_file() {
            return Err(Error::Missing(path));
        }
        let named = path.file_name().is_some_and(|name| name == "nucleus-runtime");
        let kind = kind.or(named.then_some(Runtime::Native));
        Ok(Self {
            kind: match kind {
                Some(kind) => kind,
                None => kind_of(&path).ok_or_else(|| Error::NoRuntime(path.clone()))?,
            },
            path,
            options: Vec::new(),
            usual: false,
            network: None,
        })
    }

    /// runsc wants to hear of its platform and network with each command. Its own handling of control groups fails on
    /// hosts with both versions, and a limit of processes would hold its own threads: it does without.
    fn for_gvisor(mut self, request: &Request) -> Self {
        let network = Space::of(request.network()).told();
        let platform = request
            .gvisor_platform
            .map(|platform| format!("--platform={}", platform.word()));
        self.options = vec![
            format!("--network={network}"),
            "--ignore-cgroups".into(),
            "--oci-seccomp".into(),
        ];
        self.options.extend(platform);
        self
    }

    /// A command, with the options that each one has.
    pub fn command(&self, root: &Path) -> Command {
        let mut command = self.within(&self.path);
        command.args(self.common(root));
        command
    }

    /// The state of a container; the runtime's words if it has none.
    ///
    /// # Errors
    /// The runtime cannot be started, or prints no JSON.
    pub fn state(&self, root: &Path, name: &str) -> std::io::Result<Result<serde_json::Value, String>> {
        let mut command = self.command(root);
        let output = command.args(["state", name]).stdin(Stdio::null()).output()?;
        Ok(if output.status.success() {
            Ok(serde_json::from_slice(&output.stdout)?)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
        })
    }

    /// A program in its network namespace.
    pub fn within(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some(network) = &self.network {
            enter_network_in_child(&mut command, network);
        }
        command
    }

    /// Those options.
    pub fn common(&self, root: &Path) -> Vec<OsString> {
        let mut all = vec!["--root".into(), root.into()];
        all.extend(self.options.iter().map(Into::into));
        all
    }

    /// What it can do.
    pub fn features(&self) -> Features {
        match self.kind {
            Runtime::Native | Runtime::Gvisor => Features::known(self.kind),
            _ => Features::parse(&self.printed("features")).unwrap_or_else(|| Features::known(self.kind)),
        }
    }

    fn printed(&self, argument: &str) -> Vec<u8> {
        let mut command = Command::new(&self.path);
        let output = command
            .arg(argument)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        output.map(|output| output.stdout).unwrap_or_default()
    }

    /// Whether the runtime's `features` name this annotation. A runtime without such a command has none.
    fn enforces(&self, annotation: &str) -> bool {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Features {
            #[serde(default)]
            potentially_unsafe_config_annotations: Vec<String>,
        }
        serde_json::from_slice::<Features>(&self.printed("features")).is_ok_and(|features| {
            let mut named = features.potentially_unsafe_config_annotations.iter();
            named.any(|named| annotation.starts_with(named.as_str()))
        })
    }
}

/// Which runtime a program says that it is: all known ones begin with name, `version` and number.
pub(crate) fn kind_of(path: &Path) -> Option<Runtime> {
    let output = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut words = text.split([' ', '\n']);
    let (name, version) = (words.next()?, words.next()?);
    (version == "version").then_some(match name {
        "nucleus-runtime" => Runtime::Native,
        "runc" => Runtime::Runc,
        "crun" => Runtime::Crun,
        "runsc" => Runtime::Gvisor,
        _ => Runtime::Other,
    })
}

fn beside(name: &str) -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name(name);
    path.is_file().then_some(path)
}
