//! Signals as descriptors: `sigprocmask(2)`, `signalfd(2)`.

use crate::check;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Result;

/// A saved signal mask.
#[derive(Clone, Copy)]
pub struct SignalMask(libc::sigset_t);

impl std::fmt::Debug for SignalMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignalMask")
    }
}

/// Blocks every signal that can be blocked and returns the mask that was in force. `sigprocmask(2)`.
///
/// Called before the child exists, so that no `SIGCHLD` can be lost.
pub fn block_all() -> SignalMask {
    // SAFETY: sigset_t is plain data; both pointers are valid for the calls, which cannot fail with these
    // arguments.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const all, &raw mut old);
        SignalMask(old)
    }
}

/// Puts a saved mask in force. `sigprocmask(2)`.
pub fn restore(mask: &SignalMask) {
    // SAFETY: the mask came from `block_all`; the call cannot fail with SIG_SETMASK.
    unsafe {
        libc::sigprocmask(libc::SIG_SETMASK, &raw const mask.0, std::ptr::null_mut());
    }
}

impl SignalMask {
    /// The mask that blocks nothing.
    pub fn none() -> Self {
        // SAFETY: sigset_t is plain data, and the pointer is valid for the call, which cannot fail.
        unsafe {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            Self(none)
        }
    }
}

/// Lets a command's process begin with this mask: it would inherit the one of now. `pthread_sigmask(3)`.
pub fn restore_in_child(command: &mut std::process::Command, mask: SignalMask) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec only sigprocmask(2) is called, which is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            restore(&mask);
            Ok(())
        });
    }
}

/// Gives a signal its default effect again: Rust's start-up code ignores `SIGPIPE`, and an ignored signal
/// stays ignored through exec. `sigaction(2)`.
pub fn set_default(signo: i32) {
    // SAFETY: SIG_DFL installs no handler, so no code of ours can run from the signal.
    unsafe {
        libc::signal(signo, libc::SIG_DFL);
    }
}

/// A descriptor from which all blocked signals are read. `signalfd(2)`.
///
/// # Errors
/// `EMFILE`, `ENOMEM`.
pub fn signalfd() -> Result<OwnedFd> {
    // SAFETY: sigset_t is plain data, and the pointer is valid for the call.
    let all = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        all
    };
    open_signalfd(&all)
}

/// A descriptor from which these signals are read, if they are blocked; others stay pending. `signalfd(2)`.
///
/// # Errors
/// `EMFILE`, `ENOMEM`.
pub fn signalfd_for(signals: &[i32]) -> Result<OwnedFd> {
    // SAFETY: sigset_t is plain data, and the pointer is valid for the calls, which refuse a number that is no
    // signal and leave the set as it was.
    let set = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signo in signals {
            libc::sigaddset(&raw mut set, *signo);
        }
        set
    };
    open_signalfd(&set)
}

fn open_signalfd(set: &libc::sigset_t) -> Result<OwnedFd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set is valid for the call.
    let fd = check(unsafe { libc::signalfd(-1, std::ptr::from_ref(set), flags) }.into())?;
    // SAFETY: the kernel has just made this descriptor for us and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A signal that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub signo: i32,
    /// Whether the kernel made it, as a terminal's driver does; `SI_KERNEL`, `sigaction(2)`.
    pub by_kernel: bool,
}

/// Reads the number of one pending signal, or nothing when there is none. `signalfd(2)`.
///
/// # Errors
/// As `read(2)`.
pub fn read_signal(fd: BorrowedFd<'_>) -> Result<Option<i32>> {
    Ok(read_received(fd)?.map(|received| received.signo))
}

/// Reads one pending signal and where it comes from, or nothing when there is none. `signalfd(2)`.
///
/// # Errors
/// As `read(2)`.
pub fn read_received(fd: BorrowedFd<'_>) -> Result<Option<Received>> {
    // SAFETY: signalfd_siginfo is plain data; the kernel writes at most its size.
    let (read, info) = unsafe {
        let mut info: libc::signalfd_siginfo = std::mem::zeroed();
        (
            libc::read(fd.as_raw_fd(), (&raw mut info).cast(), size_of_val(&info)),
            info,
        )
    };
    match check(read as libc::c_long) {
        Ok(_) => Ok(Some(Received {
            signo: info.ssi_signo as i32,
            by_kernel: info.ssi_code == libc::SI_KERNEL,
        })),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Sends any signal, real-time ones included, to a process that cannot have been reaped meanwhile. `kill(2)`.
///
/// # Errors
/// As `kill(2)`.
pub fn send(pid: rustix::process::Pid, signo: i32) -> Result<()> {
    // SAFETY: the call reads no memory.
    check(unsafe { libc::kill(pid.as_raw_nonzero().get(), signo) }.into()).map(drop)
}

/// Sends any signal, real-time ones included, to the process behind a pidfd. `pidfd_send_signal(2)`, Linux 5.1.
///
/// # Errors
/// `ESRCH` when the process is gone, `EPERM` without the right, `EINVAL` for a number that is no signal.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signo: i32) -> Result<()> {
    // SAFETY: without a siginfo the call reads no memory of ours; the descriptor is borrowed for its duration.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signo,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}
