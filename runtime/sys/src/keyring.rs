//! Session keyrings: `keyctl(2)`.

use crate::check;
use rustix::io::Result;
use std::ffi::CStr;

const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
const KEYCTL_SETPERM: libc::c_int = 5;

/// What a new keyring allows, and that its owner finds it by name: `KEY_POS_ALL`, `KEY_USR_VIEW`,
/// `KEY_USR_READ`, `KEY_USR_LINK` and `KEY_USR_SEARCH`.
const PERMISSIONS: libc::c_uint = 0x3f1b_0000;

/// Makes the session keyring of this name, or a new one, that of the calling process. Other processes of its
/// owner can join it in the same way. `keyctl(2)`.
///
/// # Errors
/// `ENOSYS` where the kernel has no keyrings, `EDQUOT` at the quota.
pub fn join_session_keyring(name: &CStr) -> Result<()> {
    // SAFETY: the kernel copies the string, which is valid for the call.
    let serial =
        check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })?;
    // SAFETY: the arguments are numbers.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, serial, PERMISSIONS) }).map(drop)
}
