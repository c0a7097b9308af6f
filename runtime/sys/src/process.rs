//! Attributes of the calling process that `rustix` does not cover.

use crate::check;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use rustix::io::{Errno, Result};
use std::ffi::CStr;

/// Closes every descriptor from `first` to `last`. `close_range(2)`, Linux 5.9.
///
/// The caller must not use a closed descriptor again: this is for descriptors inherited from whoever started
/// the process, in a child that keeps a known list.
///
/// # Errors
/// `EINVAL` when `first` is greater than `last`.
pub fn close_range(first: RawFd, last: RawFd) -> Result<()> {
    // SAFETY: closing descriptors touches no memory. Owners of closed descriptors live in a process that is
    // about to exec or exit and never drops them (see the init and exec roads).
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Descriptors that are closed together when it is dropped, with one `close_range(2)` for each run of adjacent
/// numbers instead of one `close(2)` for each descriptor.
#[derive(Debug, Default)]
pub struct Batch(Vec<OwnedFd>);

impl Batch {
    /// So many never run into `RLIMIT_NOFILE`.
    const MOST: usize = 128;

    /// Takes a descriptor over. A batch that is full is closed first.
    pub fn spend(&mut self, fd: OwnedFd) {
        if self.0.len() >= Self::MOST {
            *self = Self::default();
        }
        self.0.push(fd);
    }
}

impl FromIterator<OwnedFd> for Batch {
    fn from_iter<T: IntoIterator<Item = OwnedFd>>(fds: T) -> Self {
        Self(fds.into_iter().collect())
    }
}

impl std::ops::Deref for Batch {
    type Target = [OwnedFd];

    fn deref(&self) -> &[OwnedFd] {
        &self.0
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let mut numbers: Vec<RawFd> = self.0.drain(..).map(IntoRawFd::into_raw_fd).collect();
        numbers.sort_unstable();
        for run in numbers.chunk_by(|one, next| one + 1 == *next) {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                // Every number from the first to the last was owned by this batch.
                let _ = close_range(*first, *last);
            }
        }
    }
}

/// Sets the execution domain. `personality(2)`.
///
/// # Errors
/// `EINVAL` when the kernel cannot.
pub fn personality(persona: u64) -> Result<()> {
    // SAFETY: changes only how the kernel runs later exec'ed programs of this process.
    check(unsafe { libc::personality(persona) }.into()).map(drop)
}

/// The scheduling attributes of `sched_setattr(2)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedAttr {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value for `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// Static priority for `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// Nanoseconds of run time in each period, for `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Relative deadline in nanoseconds, for `SCHED_DEADLINE`.
    pub deadline: u64,
    /// Period in nanoseconds, for `SCHED_DEADLINE`.
    pub period: u64,
}

/// Sets the scheduling policy of the calling thread. `sched_setattr(2)`.
///
/// # Errors
/// `EPERM` without `CAP_SYS_NICE`, `EINVAL` for a bad combination, `EBUSY` at deadline admission.
pub fn sched_setattr(attr: &SchedAttr) -> Result<()> {
    #[repr(C)]
    struct Raw {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let raw = Raw {
        size: size_of::<Raw>() as u32,
        policy: attr.policy,
        flags: attr.flags,
        nice: attr.nice,
        priority: attr.priority,
        runtime: attr.runtime,
        deadline: attr.deadline,
        period: attr.period,
    };
    // SAFETY: `raw` has the layout of version 0 of struct sched_attr and states its size.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const raw, 0) }).map(drop)
}

/// The scheduling policy of the calling thread, `SCHED_*`. `sched_getscheduler(2)`.
///
/// # Errors
/// None that the page names for the caller itself.
pub fn sched_getscheduler() -> Result<i32> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) }).map(|policy| policy as i32)
}

/// Sets class and level of the calling process's input/output priority. `ioprio_set(2)`.
///
/// # Errors
/// `EPERM` for the real-time class without privilege, `EINVAL` for an unknown class.
pub fn ioprio_set(class: u16, level: u16) -> Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    const IOPRIO_CLASS_SHIFT: u16 = 13;
    let value = libc::c_int::from(class << IOPRIO_CLASS_SHIFT | level);
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) }).map(drop)
}

/// Sets the NUMA memory policy of the calling thread; bit n of `nodes` stands for node n. `set_mempolicy(2)`.
///
/// # Errors
/// `EINVAL` for nodes that are not there or a bad mode, `ENOSYS` without NUMA support.
pub fn set_mempolicy(mode: i32, nodes: &[u64]) -> Result<()> {
    // The kernel reads maxnode - 1 bits.
    let (pointer, maxnode) = if nodes.is_empty() {
        (std::ptr::null(), 0)
    } else {
        (nodes.as_ptr(), nodes.len() * 64 + 1)
    };
    // SAFETY: the kernel reads at most `maxnode - 1` bits, which the slice holds.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, maxnode) }).map(drop)
}

/// Ends the process at once, without running destructors or exit handlers. `_exit(2)`.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: never returns; nothing in this address space is used afterwards.
    unsafe { libc::_exit(code) }
}

/// Sets a network interface up, through any socket of its namespace. `netdevice(7)`, `SIOCSIFFLAGS`.
///
/// # Errors
/// `ENODEV` for an unknown name, `EPERM` without `CAP_NET_ADMIN`.
pub fn set_interface_up(socket: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: ifreq is plain data for which all-zero bytes are a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request
        .ifr_name
        .iter_mut()
        .zip(name.to_bytes().iter().take(libc::IFNAMSIZ - 1))
    {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is valid for the call, which only reads it.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into()).map(drop)
}

/// Whether a descriptor of this number is open. `fcntl(2)`, `F_GETFD`.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD only reads a flag; a number that is not open gives EBADF.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) }.into()).is_ok()
}

/// Takes over a descriptor that whoever started this process left open for it; it is close-on-exec from now on.
/// `fcntl(2)`, `F_SETFD`.
///
/// # Errors
/// `EBADF` for a number that is not open, for the standard streams, and for a descriptor that is close-on-exec
/// already: every one that this process made itself is, and so is one that was taken over before.
pub fn inherit(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: F_GETFD only reads a flag; a number that is not open gives EBADF.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFD) }.into())?;
    if fd <= libc::STDERR_FILENO || flags & libc::c_long::from(libc::FD_CLOEXEC) != 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: sets a flag; no memory is involved.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }.into())?;
    // SAFETY: the descriptor is open and was not close-on-exec, so this process has not made it (all of ours
    // are, from their first moment) and nothing here owns it; the flag, now set, lets nobody take it again.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Another descriptor of what whoever started this process left open for it. `fcntl(2)`, `F_DUPFD_CLOEXEC`.
///
/// # Errors
/// `EBADF` for a number that is not open, and for a descriptor that is close-on-exec: those are this process's own.
pub fn share(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: F_GETFD only reads a flag; a number that is not open gives EBADF.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFD) }.into())?;
    if flags & libc::c_long::from(libc::FD_CLOEXEC) != 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: makes a new descriptor, which nothing else owns; the one it is made from is left as it is.
    let made = check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) }.into())?;
    let made = RawFd::try_from(made).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just given this number to this call.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// The effective user and group of this process when it was executed, without a system call: `getauxval(3)`,
/// `AT_EUID` and `AT_EGID`. A program that changes neither has them still.
pub fn ids_at_exec() -> (u32, u32) {
    // SAFETY: getauxval takes any number, and reads what the kernel gave this process at its start.
    let (uid, gid) = unsafe { (libc::getauxval(libc::AT_EUID), libc::getauxval(libc::AT_EGID)) };
    // An id has 32 bits.
    (uid as u32, gid as u32)
}

/// How a process ended that is not a child of this one, as `wait(2)` would have it; `None` before somebody has waited
/// for it. `pidfd_open(2)`, `PIDFD_GET_INFO` with `PIDFD_INFO_EXIT`, Linux 6.15.
///
/// The descriptor must have been opened while the process was there.
///
/// # Errors
/// `ENOTTY`, `EINVAL` or `EOPNOTSUPP` from older kernels.
pub fn exit_status(pidfd: BorrowedFd<'_>) -> Result<Option<i32>> {
    /// The first version of `struct pidfd_info`, 64 bytes.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    const EXIT: u64 = 1 << 3;
    const GET_INFO: libc::c_ulong = 3 << 30 | (size_of::<Info>() as libc::c_ulong) << 16 | 0xff << 8 | 11;
    let mut info = Info {
        mask: EXIT,
        ..Info::default()
    };
    // SAFETY: the request carries the size of `info`, which is plain data that the kernel reads and overwrites.
    let answered = check(unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO, &raw mut info) }.into());
    match answered {
        Ok(_) => Ok((info.mask & EXIT != 0).then_some(info.exit_code)),
        // Since 6.15 of a process that is gone without a word.
        Err(Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_end_of_a_process_is_told_once_it_was_waited_for() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "read line; exit 7"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("start sh");
        let pid = rustix::process::Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("a pidfd");
        let before = exit_status(rustix::fd::AsFd::as_fd(&pidfd));
        drop(child.stdin.take());
        child.wait().expect("wait");
        // Older kernels do not tell.
        if let Ok(before) = before {
            assert_eq!(before, None, "it runs");
            let status = exit_status(rustix::fd::AsFd::as_fd(&pidfd)).expect("told");
            assert_eq!(status, Some(7 << 8));
        }
    }

    use super::*;

    #[test]
    fn a_batch_closes_its_own_descriptors_only() {
        let open = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let mut all: Vec<OwnedFd> = (0..6).map(|_| open()).collect();
        let kept = all.remove(2);
        let numbers: Vec<RawFd> = all.iter().map(AsRawFd::as_raw_fd).collect();
        let mut batch = Batch::default();
        // In any order.
        all.into_iter().rev().for_each(|fd| batch.spend(fd));
        assert_eq!(batch.len(), 5);
        drop(batch);
        assert!(is_open(kept.as_raw_fd()));
        assert!(!is_null(&numbers, kept.as_raw_fd()));
    }

    /// Whether one of the numbers still is a descriptor of the null device; other tests open files meanwhile.
    fn is_null(numbers: &[RawFd], kept: RawFd) -> bool {
        numbers.iter().filter(|number| **number != kept).any(|number| {
            std::fs::read_link(format!("/proc/self/fd/{number}"))
                .is_ok_and(|link| link.as_os_str() == "/dev/null")
        })
    }
}
