//! Session keyrings: `keyctl(2)`.

use crate::check;
use rustix::io::Result;
use std::ffi::CStr;

const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;

/// Gives the calling process a new session keyring with this name. `keyctl(2)`.
///
/// # Errors
/// `ENOSYS` where the kernel has no keyrings, `EDQUOT` at the quota.
pub fn join_session_keyring(name: &CStr) -> Result<()> {
    // SAFETY: the kernel copies the string, which is valid for the call.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) }).map(drop)
}
