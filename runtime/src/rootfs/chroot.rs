//! Out of a `chroot(2)` that the runtime was started in, to the root of its mount namespace. What is mounted above the
//! directory belongs to the tree that a container is kept from, and it would stay in the container's mount namespace.

use crate::fault::{Call, Fault};
use nucleus_sys::clone::setns;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use rustix::process::{PidfdFlags, chroot, fchdir, getpid, pidfd_open};
use std::ffi::CStr;

/// Makes the root of the mount namespace the root and the working directory: what `setns(2)` does with any mount
/// namespace, the process's own too.
///
/// # Errors
/// The failed call. `EPERM` from `setns(2)` without `CAP_SYS_CHROOT`.
pub fn leave() -> Result<(), Fault> {
    let this = pidfd_open(getpid(), PidfdFlags::empty()).call("pidfd_open")?;
    setns(this.as_fd(), libc::CLONE_NEWNS).call("setns to the root of the mount namespace")
}

/// Where a process was before.
#[derive(Debug)]
pub struct Before {
    root: OwnedFd,
    directory: OwnedFd,
}

impl Before {
    /// Leaves it for a while: what a configuration names lies in there.
    ///
    /// # Errors
    /// The failed call.
    pub fn leave() -> Result<Self, Fault> {
        let before = Self {
            root: open(c"/").call("open /")?,
            directory: open(c".").call("open the working directory")?,
        };
        leave()?;
        Ok(before)
    }

    /// Whether that was not this root of the mount namespace.
    ///
    /// # Errors
    /// The failed call.
    pub fn was_elsewhere(&self, root: BorrowedFd<'_>) -> Result<bool, Fault> {
        let place = |root: BorrowedFd<'_>| {
            let found = statx(
                root,
                c"",
                AtFlags::EMPTY_PATH,
                StatxFlags::INO | StatxFlags::MNT_ID,
            );
            found
                .map(|found| (found.stx_mnt_id, found.stx_ino))
                .call("statx /")
        };
        Ok(place(self.root.as_fd())? != place(root)?)
    }

    /// Goes back.
    ///
    /// # Errors
    /// The failed call.
    pub fn restore(self) -> Result<(), Fault> {
        fchdir(&self.root).call("fchdir")?;
        chroot(c".").call("chroot")?;
        fchdir(&self.directory).call("fchdir")
    }
}

fn open(path: &CStr) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}
