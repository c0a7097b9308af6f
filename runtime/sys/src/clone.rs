//! Processes and namespaces: `clone3(2)`, `unshare(2)`, `setns(2)`, `ioctl_nsfs(2)`.

use crate::check;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::{Errno, Result};
use rustix::process::Pid;

/// `libc` has it as a 32-bit constant that overflows.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// In which of the two processes [`clone3`] returned.
#[derive(Debug)]
pub enum Forked {
    /// The new process.
    Child,
    /// The calling process.
    Parent {
        /// The child's id in the caller's pid namespace.
        pid: Pid,
        /// A close-on-exec descriptor of the child, free of pid reuse.
        pidfd: OwnedFd,
    },
}

/// Forks, into new namespaces (`CLONE_NEW*` in `flags`) and, when given, straight into a version 2 cgroup.
///
/// `CLONE_INTO_CGROUP` avoids the write to `cgroup.procs`, which waits for an RCU grace period (about 11 ms).
/// The memory is copied on write, as with `fork(2)`; the exit signal is `SIGCHLD`. With `CLONE_PARENT` the new
/// process is the caller's sibling, and the exit signal is the caller's own.
/// `clone3(2)`, Linux 5.7 for cgroups.
///
/// # Errors
/// As `clone3(2)`: `EPERM` without privilege for a namespace, `ENOSPC` at a namespace limit, `EBUSY` or
/// `EOPNOTSUPP` for an unsuitable cgroup.
///
/// # Panics
/// In debug builds, when the process has more than one thread.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked> {
    debug_assert!(
        matches!(thread_count(), None | Some(1)),
        "the runtime forks: it must have exactly one thread"
    );
    let mut pidfd: RawFd = -1;
    let into_cgroup = if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 };
    // SAFETY: clone_args is a plain C struct for which all-zero bytes are a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64 | into_cgroup;
    args.pidfd = &raw mut pidfd as u64;
    if flags & libc::CLONE_PARENT as u64 == 0 {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    args.cgroup = cgroup.map_or(0, |fd| fd.as_raw_fd() as u64);
    // SAFETY: without CLONE_VM the child runs on a copy of this memory, as after fork(2); the process has
    // one thread, so no lock is held by a thread that does not exist in the child. `args` and `pidfd`
    // outlive the call.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) })?;
    let Some(pid) = Pid::from_raw(pid as i32) else {
        return Ok(Forked::Child);
    };
    // SAFETY: the kernel stored a new descriptor in `pidfd` and nothing else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Forked::Parent { pid, pidfd })
}

/// Asks for a user namespace, in a child that ends at once: whether this process could have one. `user_namespaces(7)`.
///
/// # Errors
/// As `clone3(2)`: `EPERM` where that is forbidden or this process's root directory is not its mount namespace's,
/// `ENOSPC` at `/proc/sys/user/max_user_namespaces`.
pub fn user_namespace() -> Result<()> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    match clone3(libc::CLONE_NEWUSER as u64, None)? {
        Forked::Child => crate::process::exit_now(0),
        Forked::Parent { pidfd, .. } => waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).map(drop),
    }
}

/// How many threads this process has, from the link count of `/proc/self/task`.
fn thread_count() -> Option<u64> {
    rustix::fs::stat("/proc/self/task")
        .ok()
        .map(|stat| stat.st_nlink - 2)
}

/// Moves the calling process into new namespaces. `unshare(2)`.
///
/// # Errors
/// As `unshare(2)`: `EPERM` without privilege, `ENOSPC` at a namespace limit.
pub fn unshare(flags: i32) -> Result<()> {
    debug_assert_eq!(flags & libc::CLONE_FILES, 0, "descriptors stay shared");
    // SAFETY: only namespace flags are passed, which change no memory or descriptor of this process.
    check(unsafe { libc::unshare(flags) }.into()).map(drop)
}

/// Moves the calling process into the namespace behind `fd`. `setns(2)`.
///
/// # Errors
/// As `setns(2)`: `EINVAL` for the wrong type, `EPERM` without privilege there.
pub fn setns(fd: BorrowedFd<'_>, nstype: i32) -> Result<()> {
    // SAFETY: no memory is involved; the descriptor is borrowed for the call.
    check(unsafe { libc::setns(fd.as_raw_fd(), nstype) }.into()).map(drop)
}

/// Lets a command's process begin in these namespaces, entered in this order, each with its `CLONE_NEW*`. `setns(2)`.
///
/// A user namespace gives the process all privileges in it, which exec takes away again unless it is root there.
pub fn enter_in_child(command: &mut std::process::Command, namespaces: Vec<(OwnedFd, i32)>) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec only setns(2) is called, which is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            for (namespace, nstype) in &namespaces {
                setns(namespace.as_fd(), *nstype)?;
            }
            Ok(())
        });
    }
}

/// Lets a command's process begin in the network namespace at this path, which is opened then: a path that leads nowhere
/// is an error of the start. `setns(2)`.
pub fn enter_network_in_child(command: &mut std::process::Command, path: &std::path::Path) {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::process::CommandExt;
    // One with a NUL in it is no path, and neither is the empty one.
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
    // SAFETY: between fork and exec only openat(2), setns(2) and close(2) are called, which are async-signal-safe; the
    // path is a C string already, so that nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
            let namespace = rustix::fs::open(path.as_c_str(), flags, rustix::fs::Mode::empty())?;
            Ok(setns(namespace.as_fd(), libc::CLONE_NEWNET)?)
        });
    }
}

/// Lets a command's process get SIGKILL when this thread ends, before it can have begun too. `PR_SET_PDEATHSIG(2const)`.
pub fn end_with_parent(command: &mut std::process::Command) {
    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
    use std::os::unix::process::CommandExt;
    let parent = getpid();
    // SAFETY: between fork and exec only prctl(2) and getppid(2) are called, which are async-signal-safe and allocate
    // nothing.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if getppid() == Some(parent) {
                Ok(())
            } else {
                Err(Errno::SRCH.into())
            }
        });
    }
}

/// The user namespace above this one. `ioctl_nsfs(2)`, `NS_GET_PARENT`.
///
/// # Errors
/// As `ioctl_nsfs(2)`: `EPERM` where that is not below the caller's own.
pub fn parent_of_user_namespace(namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    ask_namespace(namespace, libc::NS_GET_PARENT)
}

/// The user namespace that owns this one. `ioctl_nsfs(2)`, `NS_GET_USERNS`.
///
/// # Errors
/// As `ioctl_nsfs(2)`: `EPERM` where that is not the caller's own, nor below it.
pub fn owner_of_namespace(namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    ask_namespace(namespace, libc::NS_GET_USERNS)
}

fn ask_namespace(namespace: BorrowedFd<'_>, request: libc::Ioctl) -> Result<OwnedFd> {
    // SAFETY: these requests take no argument and touch no memory.
    let fd = check(unsafe { libc::ioctl(namespace.as_raw_fd(), request) }.into())?;
    // SAFETY: the kernel returned a new, close-on-exec descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
