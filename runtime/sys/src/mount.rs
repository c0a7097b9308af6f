//! The part of the new mount interface that `rustix` lacks: `mount_setattr(2)`, `open_tree_attr(2)`.

use crate::check;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Result;

/// Which properties of a mount to set and clear; `struct mount_attr` of `mount_setattr(2)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttr<'fd> {
    /// `MOUNT_ATTR_*` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` bits to clear.
    pub clear: u64,
    /// One of `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 to leave it.
    pub propagation: u64,
    /// The user namespace for `MOUNT_ATTR_IDMAP`.
    pub userns: Option<UserNamespace<'fd>>,
}

/// A borrowed descriptor of a user namespace.
#[derive(Debug, Clone, Copy)]
pub struct UserNamespace<'fd>(pub BorrowedFd<'fd>);

impl PartialEq for UserNamespace<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_raw_fd() == other.0.as_raw_fd()
    }
}
impl Eq for UserNamespace<'_> {}

/// Changes the properties of the mount at `fd`, or of its whole tree. `mount_setattr(2)`, Linux 5.12.
///
/// # Errors
/// As `mount_setattr(2)`: `EPERM` when a locked flag would be cleared, `EINVAL` for a file system that
/// cannot be id-mapped.
pub fn mount_setattr(fd: BorrowedFd<'_>, recursive: bool, attr: &MountAttr<'_>) -> Result<()> {
    let raw = raw_attr(attr);
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `raw` is valid for its stated size during the call; the path is a static C string.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const raw,
            size_of_val(&raw),
        )
    })
    .map(drop)
}

/// Copies the mount at `fd`, or its whole tree, detached and with other properties: `open_tree(2)` and
/// `mount_setattr(2)` in one call. `open_tree_attr(2)`, Linux 6.15.
///
/// # Errors
/// As the two calls; `ENOSYS` from an older kernel.
pub fn open_tree_attr(fd: BorrowedFd<'_>, recursive: bool, attr: &MountAttr<'_>) -> Result<OwnedFd> {
    const SYS_OPEN_TREE_ATTR: libc::c_long = 467;
    const OPEN_TREE_CLONE: libc::c_int = 1;
    let raw = raw_attr(attr);
    let flags = OPEN_TREE_CLONE
        | libc::O_CLOEXEC
        | libc::AT_EMPTY_PATH
        | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: as in `mount_setattr`; the new descriptor is owned by nobody else.
    unsafe {
        let tree = check(libc::syscall(
            SYS_OPEN_TREE_ATTR,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const raw,
            size_of_val(&raw),
        ))?;
        Ok(OwnedFd::from_raw_fd(tree as i32))
    }
}

fn raw_attr(attr: &MountAttr<'_>) -> libc::mount_attr {
    // SAFETY: mount_attr is a plain C struct for which all-zero bytes are a valid value.
    let mut raw: libc::mount_attr = unsafe { std::mem::zeroed() };
    raw.attr_set = attr.set;
    raw.attr_clr = attr.clear;
    raw.propagation = attr.propagation;
    raw.userns_fd = attr.userns.map_or(0, |userns| userns.0.as_raw_fd() as u64);
    raw
}
