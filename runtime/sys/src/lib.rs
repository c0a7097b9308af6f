//! Raw Linux system calls that `rustix` lacks or keeps unsafe, and what takes the processor's own instructions.
//!
//! The only crate of Nucleus with unsafe code: every block states the invariant that makes it sound, and
//! everything above this layer is free of `unsafe`. Each wrapper names its man page.

pub mod bpf;
pub mod clone;
pub mod entry;
pub mod exec;
pub mod keyring;
pub mod landlock;
pub mod mount;
pub mod network;
pub mod process;
pub mod seccomp;
pub mod sha256;
pub mod signal;
pub mod trace;

use rustix::io::Errno;

/// Turns the return value of a libc call into a result, reading `errno` at once.
fn check(ret: libc::c_long) -> rustix::io::Result<libc::c_long> {
    if ret >= 0 {
        return Ok(ret);
    }
    // SAFETY: __errno_location returns the calling thread's errno slot, valid for the thread's life.
    Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() }))
}
