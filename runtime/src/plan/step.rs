//! The child's work as data: what `init` executes, in order, without deciding again.

use crate::credentials::{Capabilities, Identity, Limit};
use crate::fault::{Call, Fault};
use crate::landlock::Landlock;
use crate::rootfs::cgroupfs::CgroupMount;
use crate::rootfs::device::Device;
use crate::rootfs::mount::{Mount, Propagation};
use crate::seccomp::Filter;
use nucleus_sys::process::SchedAttr;
use rustix::fd::AsFd;
use std::ffi::CString;
use std::fmt;
use std::path::PathBuf;

/// An index into the descriptors that the parent opened for the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FdSlot(pub usize);

/// One of the spec's hook kinds that run inside the container's namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildHooks {
    /// `createContainer`: before `pivot_root(2)`.
    CreateContainer,
    /// `startContainer`: after `start`, before the program.
    StartContainer,
}

/// A Linux security module with an exec label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lsm {
    /// AppArmor: `/proc/self/attr/apparmor/exec`.
    AppArmor,
    /// SELinux: `/proc/self/attr/exec`.
    Selinux,
}

/// A step of the child. The order of the variants is the usual order of the road.
#[derive(Debug)]
pub enum Step {
    /// Set the out-of-memory score adjustment, through the runtime's own procfs: first of all, because the
    /// kernel's root owns this process's files in `/proc` once it may not be traced or changes its user.
    OomScoreAdj(i32),
    /// Keep other processes from tracing this one or opening its descriptors.
    NotDumpable,
    /// Let the owner of the new user namespace trace this process while it waits (`run --block-fd`), which a
    /// change to a user id that is not the caller's has forbidden.
    Dumpable,
    /// Die when the runtime dies: nobody would finish the set-up or record it. Forgotten by the kernel at a
    /// change of user, so it is asked for again then; ends when the container is about to be recorded.
    FollowRuntime(bool),
    /// Enter an existing namespace.
    JoinNamespace {
        /// The namespace's name as in `/proc/<pid>/ns`.
        name: &'static str,
        /// `CLONE_NEW*`.
        flag: i32,
        /// Its descriptor.
        fd: FdSlot,
        /// The file that was opened; nothing for a process's descriptor.
        path: Option<PathBuf>,
    },
    /// Write the own id to each version 1 `tasks` file.
    JoinCgroups,
    /// Wait for the parent's *proceed*: id maps are written, the cgroup is ready.
    AwaitProceed,
    /// Become the user namespace's root, to own what is made from here on; where 0 is not mapped, the first id
    /// that is. The capabilities are all there with any id.
    BecomeRoot {
        /// User id in the namespace.
        uid: u32,
        /// Group id in the namespace.
        gid: u32,
    },
    /// Create a namespace that `clone3` could not: the cgroup namespace takes the *caller's* cgroup as its
    /// root, so it is made after the cgroup was entered.
    NewNamespace {
        /// The namespace's name as in `/proc/<pid>/ns`.
        name: &'static str,
        /// `CLONE_NEW*`.
        flag: i32,
    },
    /// Write the clock offsets of a time namespace that no process has entered yet.
    TimeOffsets(String),
    /// Lead a new session.
    NewSession,
    /// Join a new session keyring.
    SessionKeyring(CString),
    /// Set the host name of the UTS namespace.
    Hostname(String),
    /// Set the NIS domain name of the UTS namespace.
    Domainname(String),
    /// Bring up the loopback interface of a new network namespace.
    LoopbackUp,
    /// Set the propagation of the inherited mount tree, so that nothing leaks to the host.
    InheritedPropagation {
        /// How.
        propagation: Propagation,
        /// Of the whole mount namespace, also from within a `chroot(2)`.
        whole: bool,
    },
    /// Attach a private copy of the root file system.
    Root(Root),
    /// Take the root of the joined mount namespace as the root file system (`exec`).
    CurrentRoot,
    /// Attach one file system or bind mount.
    Mount(Box<Mount>),
    /// Attach the cgroup file system.
    CgroupMount(Box<CgroupMount>),
    /// Create the device nodes.
    Devices(Vec<Device>),
    /// Create the links of `/dev`.
    DevLinks,
    /// Open a terminal on the container's own devpts and send its master to the parent.
    Terminal {
        /// Height and width in characters, if given.
        size: Option<(u16, u16)>,
        /// Attach it as `/dev/console` too.
        console: bool,
    },
    /// Write kernel parameters, through a procfs of our own.
    Sysctl(Vec<(String, String)>),
    /// Hide paths.
    Mask(Vec<CString>),
    /// Make paths read-only.
    ReadonlyPaths(Vec<CString>),
    /// Create the working directory where it is missing.
    WorkingDirectory(CString),
    /// Tell the parent that the mounts are there and wait while it runs prestart and createRuntime hooks.
    AwaitRuntimeHooks,
    /// Run hooks inside the container's namespaces.
    Hooks(ChildHooks),
    /// Make the root file system the root directory, and detach the host's.
    PivotRoot {
        /// `chroot(2)` instead, where the current root cannot be pivoted.
        chroot: bool,
        /// The inherited mounts were left shared with the host.
        shared: bool,
    },
    /// Make the root mount read-only.
    ReadonlyRoot,
    /// Set the propagation of the container's mounts.
    RootPropagation(Propagation),
    /// Set the label that the program gets at exec.
    ExecLabel {
        /// Whose label it is.
        lsm: Lsm,
        /// The label.
        label: String,
    },
    /// Set resource limits.
    Limits(Vec<Limit>),
    /// Set the scheduling policy.
    Scheduler(SchedAttr),
    /// Set the input/output priority.
    IoPriority {
        /// `IOPRIO_CLASS_*`.
        class: u16,
        /// 0 (highest) to 7.
        level: u16,
    },
    /// Set the NUMA memory policy.
    MemoryPolicy {
        /// `MPOL_*` with its `MPOL_F_*` flags.
        mode: i32,
        /// One bit a node.
        nodes: Vec<u64>,
    },
    /// Pin to processors.
    Affinity(Vec<usize>),
    /// Set the execution domain.
    Personality(u64),
    /// Forbid gaining privileges through exec.
    NoNewPrivileges,
    /// Complete the environment with `HOME`, where `/etc/passwd` may not be readable any more when the program is
    /// looked for.
    FindHome,
    /// Restrict files, TCP ports and scopes.
    Landlock(Box<Landlock>),
    /// Load the system call filter.
    Seccomp(Box<Filter>),
    /// Become the process's user and drop capabilities.
    Credentials {
        /// User and groups.
        identity: Identity,
        /// The five sets.
        capabilities: Capabilities,
    },
    /// Close every descriptor that the container must not hold.
    CloseDescriptors,
    /// Enter the working directory, as the process's user.
    EnterDirectory(CString),
    /// Find the program.
    FindProgram,
    /// Tell the parent that the container is created.
    Ready,
    /// Wait for `start`.
    AwaitStart,
}

/// The root file system.
#[derive(Debug)]
pub struct Root {
    /// Absolute path in the runtime namespace.
    pub path: CString,
    /// Opened by the parent, where the child may not be able to reach it.
    pub source: Option<FdSlot>,
    /// Where it is attached.
    pub place: Place,
    /// Which directory it must be.
    pub inode: Option<Inode>,
}

/// A directory, whatever its path: another one has the same numbers only when this one is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inode {
    device: u64,
    inode: u64,
}

impl Inode {
    /// That of an open directory.
    ///
    /// # Errors
    /// As `fstat(2)`.
    pub fn of(fd: &impl AsFd) -> Result<Self, Fault> {
        let stat = rustix::fs::fstat(fd).call("fstat")?;
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }
}

/// Where the root file system is attached until it becomes the root directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At its own path.
    Path,
    /// Over `/`: without a pivot a process that joins the mount namespace gets what covers `/`; and where the
    /// inherited mounts stay shared, `/` is the one mount that can be made private.
    OverRoot,
}

impl Step {
    /// Whether it hands a seccomp listener over to the parent.
    pub fn sends_listener(&self) -> bool {
        let flag = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;
        matches!(self, Self::Seccomp(filter) if filter.flags & flag != 0)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDumpable => f.write_str("forbid tracing"),
            Self::Dumpable => f.write_str("let the caller trace"),
            Self::FollowRuntime(true) => f.write_str("die with the runtime"),
            Self::FollowRuntime(false) => f.write_str("outlive the runtime"),
            Self::CurrentRoot => f.write_str("open the root directory"),
            Self::JoinNamespace { name, path, .. } => {
                write!(f, "join the {name} namespace")?;
                path.iter().try_for_each(|path| write!(f, " {}", path.display()))
            }
            Self::JoinCgroups => f.write_str("join the cgroup"),
            Self::AwaitProceed => f.write_str("wait for the id maps"),
            Self::BecomeRoot { uid, gid } => write!(f, "become {uid}:{gid} of the user namespace"),
            Self::NewNamespace { name, .. } => write!(f, "create the {name} namespace"),
            Self::TimeOffsets(_) => f.write_str("set the time offsets"),
            Self::NewSession => f.write_str("create a session"),
            Self::SessionKeyring(_) => f.write_str("join a session keyring"),
            Self::Hostname(name) => write!(f, "set hostname {name}"),
            Self::Domainname(name) => write!(f, "set domainname {name}"),
            Self::LoopbackUp => f.write_str("bring up the loopback interface"),
            Self::InheritedPropagation { .. } => f.write_str("set the propagation of the host's mounts"),
            Self::Root(root) => {
                let path = root.path.to_string_lossy();
                write!(f, "mount root file system {}", path.trim_end_matches('/'))
            }
            Self::Mount(mount) => mount.fmt(f),
            Self::CgroupMount(mount) => mount.fmt(f),
            Self::Devices(_) => f.write_str("create the devices"),
            Self::DevLinks => f.write_str("create the links of /dev"),
            Self::Terminal { .. } => f.write_str("open the terminal"),
            Self::Sysctl(_) => f.write_str("write the sysctls"),
            Self::Mask(_) => f.write_str("mask paths"),
            Self::ReadonlyPaths(_) => f.write_str("make paths read-only"),
            Self::WorkingDirectory(cwd) => {
                write!(f, "create working directory {}", cwd.to_string_lossy())
            }
            Self::AwaitRuntimeHooks => f.write_str("wait for the createRuntime hooks"),
            Self::Hooks(ChildHooks::CreateContainer) => f.write_str("run the createContainer hooks"),
            Self::Hooks(ChildHooks::StartContainer) => f.write_str("run the startContainer hooks"),
            Self::PivotRoot { chroot: false, .. } => f.write_str("pivot into the root file system"),
            Self::PivotRoot { chroot: true, .. } => f.write_str("change root into the root file system"),
            Self::ReadonlyRoot => f.write_str("make the root file system read-only"),
            Self::RootPropagation(_) => f.write_str("set rootfsPropagation"),
            Self::ExecLabel {
                lsm: Lsm::AppArmor,
                label,
            } => write!(f, "set AppArmor profile {label}"),
            Self::ExecLabel {
                lsm: Lsm::Selinux,
                label,
            } => write!(f, "set SELinux label {label}"),
            Self::Limits(_) => f.write_str("set the resource limits"),
            Self::OomScoreAdj(value) => write!(f, "set oomScoreAdj {value}"),
            Self::Scheduler(_) => f.write_str("set the scheduler"),
            Self::IoPriority { .. } => f.write_str("set ioPriority"),
            Self::MemoryPolicy { .. } => f.write_str("set memoryPolicy"),
            Self::Affinity(_) => f.write_str("set the processor affinity"),
            Self::Personality(_) => f.write_str("set the personality"),
            Self::NoNewPrivileges => f.write_str("set no_new_privs"),
            Self::FindHome => f.write_str("find the home directory"),
            Self::Landlock(rules) => rules.fmt(f),
            Self::Seccomp(_) => f.write_str("load the seccomp filter"),
            Self::Credentials { identity, .. } => {
                write!(f, "become user {}:{}", identity.uid, identity.gid)
            }
            Self::CloseDescriptors => f.write_str("close descriptors"),
            Self::EnterDirectory(cwd) => write!(f, "chdir to cwd {}", cwd.to_string_lossy()),
            Self::FindProgram => f.write_str("find the program"),
            Self::Ready => f.write_str("report ready"),
            Self::AwaitStart => f.write_str("wait for start"),
        }
    }
}
