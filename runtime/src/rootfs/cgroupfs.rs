//! The cgroup file system inside the container, versions 2 and 1.

use super::lookup::may_follow_links;
use super::mount::{
    Attributes, Parameter, Propagation, mount_data, mount_flags, new_file_system, open_source,
};
use super::resolve::Kind;
use super::setup_fd::SetupFd;
use super::{Rootfs, attach_on};
use crate::fault::{Call, Fault};
use nucleus_sys::mount::{MountAttr, mount_setattr};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::mount;
use std::ffi::{CStr, CString};
use std::fmt;

/// Where a hierarchy's files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// A new mount, which a cgroup namespace roots at the container's own cgroup.
    New(Vec<Parameter>),
    /// A bind of the container's directory on the host: without a cgroup namespace a new mount would show
    /// every cgroup of the host.
    Bind(CString),
}

/// A version 1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Directory name below the mount, for example `cpu,cpuacct`.
    pub name: CString,
    /// The type: `cgroup`, or `cgroup2` for the unified part of a hybrid host.
    pub fstype: CString,
    /// Its files.
    pub files: Files,
    /// Links for the single controllers of a combined hierarchy.
    pub links: Vec<CString>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy, at the destination itself.
    Two(Files),
    /// A tmpfs with one directory a hierarchy.
    One(Vec<Hierarchy>),
}

/// A mount of type `cgroup`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupMount {
    /// Absolute path inside the container.
    pub destination: CString,
    /// What is mounted.
    pub version: Version,
    /// Attributes of each mount.
    pub attributes: Attributes,
    /// Propagation, if the options name one.
    pub propagation: Vec<Propagation>,
    /// Parameters for the tmpfs of version 1 (a label).
    pub tmpfs: Vec<Parameter>,
}

impl fmt::Display for CgroupMount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mount cgroup on {}", self.destination.to_string_lossy())
    }
}

impl Rootfs {
    /// Attaches the cgroup file system.
    ///
    /// # Errors
    /// The failed call.
    pub fn mount_cgroup(&mut self, mount: &CgroupMount) -> Result<(), Fault> {
        let links = may_follow_links("cgroup");
        let target = self.target(&mount.destination, Kind::Directory, links)?;
        let tree = match &mount.version {
            Version::Two(files) => open_files(c"cgroup2", files, mount.attributes)?,
            Version::One(_) => tmpfs(mount)?,
        };
        attach_on(tree.as_fd(), target.as_fd()).call("move_mount")?;
        self.parent.covered(&mount.destination);
        if let Version::One(hierarchies) = &mount.version {
            rustix::process::fchdir(&tree).call("fchdir")?;
            for hierarchy in hierarchies {
                attach_hierarchy(tree.as_fd(), hierarchy, mount.attributes)?;
            }
            // Only now: the directories had to be made first.
            set(tree.as_fd(), mount.attributes)?;
        }
        for propagation in &mount.propagation {
            super::set_propagation(tree.as_fd(), *propagation).call("mount_setattr")?;
        }
        Ok(())
    }
}

fn tmpfs(mount: &CgroupMount) -> Result<SetupFd, Fault> {
    let writable = mount.attributes.set & !libc::MOUNT_ATTR_RDONLY;
    new_file_system(c"tmpfs", &mount.tmpfs, writable)
}

/// Mounts one hierarchy in a directory of the tmpfs, which is the working directory.
///
/// With `mount(2)`: one call for seven of the new interface, for each of a dozen hierarchies; the relative
/// name was made just now in a file system of our own, so there is nothing that it could be redirected by.
fn attach_hierarchy(
    tmpfs: BorrowedFd<'_>,
    hierarchy: &Hierarchy,
    attributes: Attributes,
) -> Result<(), Fault> {
    let name = || hierarchy.name.to_string_lossy().into_owned();
    mkdirat(tmpfs, &*hierarchy.name, Mode::from_raw_mode(0o755)).call_on("mkdir", name)?;
    match &hierarchy.files {
        Files::New(parameters) => {
            let data = mount_data(parameters);
            let (flags, _) = mount_flags(attributes.set);
            mount(
                c"cgroup",
                &*hierarchy.name,
                &*hierarchy.fstype,
                flags,
                Some(&*data),
            )
            .call_on("mount", name)?;
        }
        Files::Bind(path) => {
            let tree = SetupFd::from(open_source(path, false)?);
            set(tree.as_fd(), attributes)?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let target = openat(tmpfs, &*hierarchy.name, flags, Mode::empty()).call_on("open", name)?;
            attach_on(tree.as_fd(), target.as_fd()).call_on("move_mount", name)?;
        }
    }
    for link in &hierarchy.links {
        match symlinkat(&*hierarchy.name, tmpfs, &**link) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).call_on("symlink", name),
        }
    }
    Ok(())
}

fn open_files(fstype: &CStr, files: &Files, attributes: Attributes) -> Result<SetupFd, Fault> {
    match files {
        Files::New(parameters) => new_file_system(fstype, parameters, attributes.set),
        Files::Bind(path) => {
            let tree = SetupFd::from(open_source(path, false)?);
            set(tree.as_fd(), attributes)?;
            Ok(tree)
        }
    }
}

fn set(fd: BorrowedFd<'_>, attributes: Attributes) -> Result<(), Fault> {
    let attr = MountAttr {
        set: attributes.set,
        clear: attributes.clear,
        ..MountAttr::default()
    };
    mount_setattr(fd, false, &attr).call("mount_setattr")
}
