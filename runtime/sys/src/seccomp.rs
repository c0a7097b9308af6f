//! Loading a seccomp filter (`seccomp(2)`).

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::{Errno, Result};

/// One classic BPF instruction, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SockFilter {
    /// Operation (`BPF_LD`, `BPF_JMP`, ...).
    pub code: u16,
    /// Instructions to skip when a conditional jump is taken.
    pub jt: u8,
    /// Instructions to skip when it is not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

const _: () = assert!(size_of::<SockFilter>() == size_of::<libc::sock_filter>());
const _: () = assert!(align_of::<SockFilter>() == align_of::<libc::sock_filter>());

/// Installs `program` as a seccomp filter for the calling thread (all threads with
/// `SECCOMP_FILTER_FLAG_TSYNC`).
///
/// Returns the notification descriptor, close-on-exec, if `flags` has `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
/// With that flag and TSYNC, `SECCOMP_FILTER_FLAG_TSYNC_ESRCH` (Linux 5.7) must be given as well.
///
/// # Errors
/// `EACCES` without `no_new_privs` and without `CAP_SYS_ADMIN`, `EINVAL` for a program or flag that the
/// kernel refuses, `EBUSY` if a listener exists already, `ESRCH` if a thread cannot be synchronised.
/// See `seccomp(2)`.
pub fn seccomp_set_filter(program: &[SockFilter], flags: u32) -> Result<Option<OwnedFd>> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let fprog = libc::sock_fprog {
        len,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `fprog` points to `len` initialised instructions of sock_filter's layout, which outlive the
    // call; the kernel only reads and copies them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::from_ref(&fprog),
        )
    };
    let value = i32::try_from(crate::check(result)?).map_err(|_| Errno::INVAL)?;
    if u64::from(flags) & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 {
        // SAFETY: with NEW_LISTENER a non-negative result is a descriptor that the kernel has just made for
        // us and that nothing else owns.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(value) }));
    }
    // Without TSYNC_ESRCH, a positive result names a thread that could not be synchronised.
    if value > 0 { Err(Errno::SRCH) } else { Ok(None) }
}

/// Whether the kernel knows all of these `SECCOMP_FILTER_FLAG_*` bits and takes them together.
///
/// Nothing is installed: the program's address is null, which the kernel finds out (`EFAULT`) after it has
/// checked the flags (`EINVAL`). See `seccomp(2)`.
pub fn seccomp_has_flags(flags: u64) -> bool {
    // SAFETY: the kernel reads at the null address, which no process maps, and answers EFAULT.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::null::<libc::sock_fprog>(),
        )
    };
    crate::check(result) == Err(Errno::FAULT)
}
