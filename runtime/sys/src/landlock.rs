//! Landlock: `landlock(7)`.

use crate::check;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Result;

const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
const LANDLOCK_RULE_PATH_BENEATH: libc::c_int = 1;
const LANDLOCK_RULE_NET_PORT: libc::c_int = 2;

/// What a ruleset restricts: `struct landlock_ruleset_attr`. Fields that a kernel does not know must be 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Ruleset {
    /// `LANDLOCK_ACCESS_FS_*`; ABI 1.
    pub handled_access_fs: u64,
    /// `LANDLOCK_ACCESS_NET_*`; ABI 4.
    pub handled_access_net: u64,
    /// `LANDLOCK_SCOPE_*`; ABI 6.
    pub scoped: u64,
}

/// The kernel's Landlock ABI, 1 or more. `landlock_create_ruleset(2)`, Linux 5.13.
///
/// # Errors
/// `ENOSYS` for a kernel without Landlock, `EOPNOTSUPP` where it is not enabled at boot.
pub fn abi() -> Result<u32> {
    // SAFETY: with this flag the kernel demands a null pointer of size 0 and reads nothing.
    let version = check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<Ruleset>(),
            0usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    })?;
    Ok(version as u32)
}

/// Makes a ruleset; the descriptor is close-on-exec. `landlock_create_ruleset(2)`, Linux 5.13.
///
/// # Errors
/// `ENOMSG` when nothing is restricted, `EINVAL` or `E2BIG` for what the kernel does not know.
pub fn create_ruleset(ruleset: &Ruleset) -> Result<OwnedFd> {
    // SAFETY: the pointer is valid for the size that is given; a kernel with a shorter structure accepts a
    // longer one whose rest is 0.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::from_ref(ruleset),
            size_of::<Ruleset>(),
            0u32,
        )
    })?;
    // SAFETY: the kernel has just made this descriptor for us and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Allows `access` to a file, or to everything beneath a directory. `landlock_add_rule(2)`, Linux 5.13.
///
/// # Errors
/// `EINVAL` for rights that the ruleset does not handle, or rights of directories for what is none; `ENOMSG` for
/// no rights; `EBADFD` for a file of a file system that has no user-visible files.
pub fn allow_path(ruleset: BorrowedFd<'_>, path: BorrowedFd<'_>, access: u64) -> Result<()> {
    #[repr(C, packed)]
    struct PathBeneath {
        allowed_access: u64,
        parent_fd: i32,
    }
    let rule = PathBeneath {
        allowed_access: access,
        parent_fd: path.as_raw_fd(),
    };
    // SAFETY: `rule` has the layout of struct landlock_path_beneath_attr, which is packed, and outlives the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            LANDLOCK_RULE_PATH_BENEATH,
            &raw const rule,
            0u32,
        )
    })
    .map(drop)
}

/// Allows `access` to a TCP port. `landlock_add_rule(2)`, Linux 6.7.
///
/// # Errors
/// `EINVAL` for rights that the ruleset does not handle or a port above 65535, `ENOMSG` for no rights,
/// `EAFNOSUPPORT` for a kernel without TCP.
pub fn allow_port(ruleset: BorrowedFd<'_>, port: u16, access: u64) -> Result<()> {
    let rule: [u64; 2] = [access, port.into()];
    // SAFETY: two 64-bit words are the layout of struct landlock_net_port_attr; they outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            LANDLOCK_RULE_NET_PORT,
            rule.as_ptr(),
            0u32,
        )
    })
    .map(drop)
}

/// Restricts the calling thread, and what it makes from here on, for good. `landlock_restrict_self(2)`,
/// Linux 5.13.
///
/// # Errors
/// `EPERM` without `no_new_privs` and without `CAP_SYS_ADMIN` in the own user namespace, `E2BIG` when 16
/// rulesets are in force already.
pub fn restrict_self(ruleset: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) }).map(drop)
}
