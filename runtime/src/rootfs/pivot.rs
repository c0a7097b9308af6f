//! Leaving the host's mount tree.

use super::Rootfs;
use super::mount::Propagation;
use crate::fault::{Call, Fault};
use rustix::fd::AsFd;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{chroot, fchdir, pivot_root};

impl Rootfs {
    /// Makes the root file system the root directory and detaches the host's mount tree, which covers it for
    /// a moment (`pivot_root(2)`, NOTES). `shared` says that the inherited mounts were left shared: then the
    /// unmount must be kept from reaching the host. From within a `chroot(2)` all of it is detached.
    ///
    /// # Errors
    /// The failed call. `EINVAL` from `pivot_root(2)` when the current root is not a mount or is the
    /// initial ramfs: `--no-pivot` is for those hosts.
    pub fn pivot(&self, shared: bool, in_chroot: bool) -> Result<(), Fault> {
        if in_chroot {
            super::chroot::leave()?;
        }
        let old = if shared {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Some(openat(CWD, c"/", flags, Mode::empty()).call("open /")?)
        } else {
            None
        };
        fchdir(self.fd()).call("fchdir")?;
        pivot_root(c".", c".").call("pivot_root")?;
        if let Some(old) = old {
            super::set_propagation(old.as_fd(), Propagation::RECURSIVE_SLAVE).call("mount_setattr")?;
        }
        unmount(c".", UnmountFlags::DETACH).call("umount")?;
        rustix::process::chdir(c"/").call("chdir /")
    }

    /// `--no-pivot`: the root file system already covers the old root, so `chroot(2)` into it is all that
    /// is left. Weaker: the host's tree stays below.
    ///
    /// # Errors
    /// The failed call.
    pub fn chroot(&self) -> Result<(), Fault> {
        fchdir(self.fd()).call("fchdir")?;
        chroot(c".").call("chroot")?;
        rustix::process::chdir(c"/").call("chdir /")
    }
}
