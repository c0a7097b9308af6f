//! The root file system: everything below is reached through its descriptor and `openat2(2)`, never through
//! a path that the container could have changed since it was looked at.

pub mod cgroupfs;
pub mod chroot;
pub mod copy_up;
pub mod device;
pub mod hide;
pub mod lookup;
pub mod mount;
pub mod pivot;
pub mod resolve;
pub mod setup_fd;

use crate::fault::{Call, Fault};
use crate::plan::step::{Inode, Place, Root};
use mount::Propagation;
use nucleus_sys::mount::{MountAttr, mount_setattr};
use resolve::{Kind, LastParent};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use setup_fd::SetupFd;
use std::ffi::CStr;

/// The attached root file system, and what later steps share.
#[derive(Debug)]
pub struct Rootfs {
    root: OwnedFd,
    /// The container's own procfs, as the kernel gave it to us: writes of labels and sysctls go through
    /// this descriptor and cannot be redirected by what the rootfs has at `/proc`.
    proc: Option<SetupFd>,
    /// One read-only empty tmpfs, shared by all masked directories.
    empty: Option<SetupFd>,
    parent: LastParent,
}

impl Rootfs {
    /// Attaches a copy of the mount tree at the rootfs's own path, where hooks that enter the mount namespace
    /// look for it, or over `/` (see [`Place`]), and keeps its descriptor: no later step looks the path up
    /// again.
    ///
    /// # Errors
    /// The failed call.
    pub fn attach(root: &Root, source: Option<BorrowedFd<'_>>) -> Result<Self, Fault> {
        let tree = match source {
            Some(fd) => rustix::io::fcntl_dupfd_cloexec(fd, 0).call("dup")?,
            None => open_tree(
                CWD,
                &*root.path,
                OpenTreeFlags::OPEN_TREE_CLONE
                    | OpenTreeFlags::OPEN_TREE_CLOEXEC
                    | OpenTreeFlags::AT_RECURSIVE,
            )
            .call("open_tree")?,
        };
        if let Some(inode) = root.inode
            && Inode::of(&tree)? != inode
        {
            return Err(Fault::finding(
                "it is not the directory that the caller opened (--rootfs-fd): it was replaced meanwhile",
            ));
        }
        if source.is_some() {
            set_propagation(tree.as_fd(), Propagation::RECURSIVE_SLAVE).call("mount_setattr")?;
        }
        match root.place {
            Place::Path => match attach(tree.as_fd(), CWD, &root.path) {
                // The user namespace's root may not search the directories above.
                Err(Errno::ACCESS) => cover_root(tree.as_fd())?,
                result => result.call("move_mount")?,
            },
            Place::OverRoot => cover_root(tree.as_fd())?,
        }
        Ok(Self {
            root: tree,
            proc: None,
            empty: None,
            parent: LastParent::default(),
        })
    }

    /// The root of the mount namespace that was joined.
    ///
    /// # Errors
    /// The failed call.
    pub fn current() -> Result<Self, Fault> {
        use rustix::fs::{Mode, OFlags, openat};
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, c"/", flags, Mode::empty()).call("open /")?;
        Ok(Self {
            root,
            proc: None,
            empty: None,
            parent: LastParent::default(),
        })
    }

    /// Opens a mount target, creating what is missing, see [`LastParent::target`].
    fn target(&mut self, path: &CStr, kind: Kind, links: bool) -> Result<SetupFd, Fault> {
        self.parent.target(self.root.as_fd(), path, kind, links)
    }

    /// The root directory.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// A procfs of this pid namespace that the rootfs cannot have tampered with: the one that was mounted
    /// for the container, or else a detached one.
    ///
    /// # Errors
    /// The failed call, when no procfs can be made.
    pub fn procfs(&mut self) -> Result<BorrowedFd<'_>, Fault> {
        if self.proc.is_none() {
            let context = rustix::mount::fsopen(c"proc", rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC)
                .call("fsopen proc")?;
            rustix::mount::fsconfig_create(context.as_fd()).call("fsconfig proc")?;
            let proc = rustix::mount::fsmount(
                context.as_fd(),
                rustix::mount::FsMountFlags::FSMOUNT_CLOEXEC,
                rustix::mount::MountAttrFlags::empty(),
            )
            .call("fsmount proc")?;
            self.proc = Some(proc.into());
        }
        self.proc
            .as_ref()
            .map(SetupFd::as_fd)
            .ok_or_else(|| Fault::finding("no procfs"))
    }

    /// Writes a file below the trusted procfs.
    ///
    /// # Errors
    /// The failed call.
    pub fn write_proc(&mut self, path: &str, value: &[u8]) -> Result<(), Fault> {
        use rustix::fs::{ResolveFlags, openat2};
        let proc = self.procfs()?;
        let file = openat2(
            proc,
            path,
            OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV,
        )
        .call_on("open", || format!("/proc/{path}"))?;
        rustix::io::write(&file, value)
            .call_on("write", || format!("/proc/{path}"))
            .map(drop)
    }

    /// Makes the root mount read-only, without the mounts below it.
    ///
    /// # Errors
    /// The failed call.
    pub fn make_readonly(&self) -> Result<(), Fault> {
        let attr = MountAttr {
            set: libc::MOUNT_ATTR_RDONLY,
            ..MountAttr::default()
        };
        mount_setattr(self.fd(), false, &attr).call("mount_setattr")
    }

    /// Sets `linux.rootfsPropagation` on the container's mounts.
    ///
    /// # Errors
    /// The failed call.
    pub fn set_propagation(&self, propagation: Propagation) -> Result<(), Fault> {
        set_propagation(self.fd(), propagation).call("mount_setattr")
    }
}

/// Attaches the tree over `/`. Path lookups still start below it until the root directory is changed.
fn cover_root(tree: BorrowedFd<'_>) -> Result<(), Fault> {
    // A mount over a shared mount would propagate to the host, and a shared root cannot be pivoted to.
    rustix::mount::mount_change(c"/", MountPropagationFlags::PRIVATE).call("mount --make-private /")?;
    let private = Propagation {
        flag: libc::MS_PRIVATE,
        recursive: false,
    };
    set_propagation(tree, private).call("mount_setattr")?;
    attach(tree, CWD, c"/").call("move_mount")
}

/// Attaches a detached mount at a path.
fn attach(tree: BorrowedFd<'_>, dir: BorrowedFd<'_>, path: &CStr) -> rustix::io::Result<()> {
    move_mount(tree, c"", dir, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Attaches a detached mount on the directory or file behind a descriptor.
fn attach_on(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, c"", target, c"", flags)
}

/// Copies the mount at `fd`, detached.
fn clone_mount(fd: BorrowedFd<'_>, recursive: bool) -> rustix::io::Result<SetupFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(fd, c"", flags).map(SetupFd::from)
}

/// Sets how events of the tree that was inherited from the host propagate; with `whole` that is all of it, also from
/// within a `chroot(2)`. Whether this process is in one.
///
/// # Errors
/// The failed call.
pub fn set_inherited_propagation(propagation: Propagation, whole: bool) -> Result<bool, Fault> {
    let before = whole.then(chroot::Before::leave).transpose()?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = openat(CWD, c"/", flags, Mode::empty()).call("open /")?;
    set_propagation(root.as_fd(), propagation).call("mount_setattr /")?;
    let Some(before) = before else {
        return Ok(false);
    };
    let was_elsewhere = before.was_elsewhere(root.as_fd())?;
    before.restore()?;
    Ok(was_elsewhere)
}

/// Sets how events of the mount at a descriptor propagate. `mount_setattr(2)`.
///
/// # Errors
/// As `mount_setattr(2)`.
pub fn set_propagation(fd: BorrowedFd<'_>, propagation: Propagation) -> rustix::io::Result<()> {
    let attr = MountAttr {
        propagation: propagation.flag,
        ..MountAttr::default()
    };
    mount_setattr(fd, propagation.recursive, &attr)
}
