//! One entry of `mounts`: a file system or a bind mount, attached with the new mount interface
//! (`fsopen(2)`, `open_tree(2)`, `mount_setattr(2)`, `move_mount(2)`).

use super::resolve::{self, Kind};
use super::setup_fd::SetupFd;
use super::{Rootfs, attach_on, clone_mount, copy_up};
use crate::fault::{Call, Fault};
use crate::plan::step::FdSlot;
use nucleus_sys::mount::{MountAttr, mount_setattr};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick, open_tree,
};
use std::ffi::{CStr, CString};
use std::fmt;

/// How mount events propagate; `mount_namespaces(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` or `MS_UNBINDABLE`.
    pub flag: u64,
    /// Also for the mounts below.
    pub recursive: bool,
}

impl Propagation {
    /// Events come in from the host, none go out; for the whole tree.
    pub const RECURSIVE_SLAVE: Self = Self {
        flag: libc::MS_SLAVE,
        recursive: true,
    };
}

/// `MOUNT_ATTR_*` bits to set and to clear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear.
    pub clear: u64,
}

impl Attributes {
    fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// A parameter of a file system: `key` or `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The key.
    pub key: CString,
    /// Its value, if it takes one.
    pub value: Option<CString>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A new instance of a file system.
    FileSystem {
        /// Its type, for example `tmpfs`.
        fstype: CString,
        /// The `source` and its other parameters, in order.
        parameters: Vec<Parameter>,
        /// Fill the new file system with what the target directory held.
        copy_up: bool,
    },
    /// A copy of an existing mount.
    Bind {
        /// Where that is.
        source: BindSource,
        /// Opened by the parent, where the child may not be able to reach or to id-map it.
        opened: Option<FdSlot>,
    },
    /// No new mount: other attributes for the one that is there.
    Remount {
        /// New parameters of its file system.
        parameters: Vec<Parameter>,
    },
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path inside the container.
    pub destination: CString,
    /// What is mounted.
    pub source: Source,
    /// Attributes of the mount itself.
    pub attributes: Attributes,
    /// Attributes of the mount and all below it (`rro` and the like).
    pub recursive: Attributes,
    /// Its propagation, if the options name one.
    pub propagation: Vec<Propagation>,
    /// Whether components of the destination may be symbolic links. Never for proc and sysfs: a link there
    /// would put them where the masked paths do not look (CVE-2019-16884 and its successors).
    pub links: bool,
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let destination = self.destination.to_string_lossy();
        match &self.source {
            Source::FileSystem { fstype, .. } => {
                write!(f, "mount {} on {destination}", fstype.to_string_lossy())
            }
            Source::Bind { source, .. } => {
                write!(f, "bind {} on {destination}", source.path.to_string_lossy())
            }
            Source::Remount { .. } => write!(f, "remount {destination}"),
        }
    }
}

impl Rootfs {
    /// Attaches one mount, creating its target where it is missing.
    ///
    /// # Errors
    /// The failed call.
    pub fn mount(&mut self, mount: &Mount, opened: &[OwnedFd]) -> Result<(), Fault> {
        self.attach_mount(mount, opened)?;
        self.parent.covered(&mount.destination);
        Ok(())
    }

    fn attach_mount(&mut self, mount: &Mount, opened: &[OwnedFd]) -> Result<(), Fault> {
        match &mount.source {
            Source::FileSystem {
                fstype,
                parameters,
                copy_up,
            } => self.mount_file_system(mount, fstype, parameters, *copy_up),
            Source::Bind { source, opened: slot } => match slot {
                Some(slot) => self.mount_bind(mount, opened[slot.0].as_fd()),
                None => self.mount_bind(mount, SetupFd::from(source.open()?).as_fd()),
            },
            Source::Remount { parameters } => self.remount(mount, parameters),
        }
    }

    fn mount_file_system(
        &mut self,
        mount: &Mount,
        fstype: &CStr,
        parameters: &[Parameter],
        copy_up: bool,
    ) -> Result<(), Fault> {
        let inherited = self.inherited_mode(mount, fstype, parameters)?;
        let target = self.target(&mount.destination, Kind::Directory, mount.links)?;
        // A read-only tmpfs is filled first and made read-only after.
        let attributes = if copy_up {
            Attributes {
                set: mount.attributes.set & !libc::MOUNT_ATTR_RDONLY,
                ..mount.attributes
            }
        } else {
            mount.attributes
        };
        let own: Vec<Parameter>;
        let parameters = match inherited {
            Some(mode) => {
                own = parameters.iter().cloned().chain([mode]).collect();
                &own
            }
            None => parameters,
        };
        if !copy_up && mount_plainly(mount, fstype, parameters, target.as_fd()) {
            return Ok(());
        }
        let tree = new_file_system(fstype, parameters, attributes.set)?;
        if copy_up {
            let names = |key: &CStr| parameters.iter().any(|parameter| *parameter.key == *key);
            let kept = copy_up::Kept {
                user: names(c"uid"),
                group: names(c"gid"),
            };
            copy_up::copy(target.as_fd(), tree.as_fd(), kept)?;
            set_attributes(tree.as_fd(), mount.attributes, false)?;
        }
        set_attributes(tree.as_fd(), mount.recursive, true)?;
        attach_on(tree.as_fd(), target.as_fd()).call("move_mount")?;
        propagate(tree.as_fd(), mount)?;
        if fstype == c"proc" && self.proc.is_none() {
            self.proc = Some(tree);
        }
        Ok(())
    }

    /// A tmpfs whose options name no mode gets that of the directory which it covers, as under runc.
    fn inherited_mode(
        &self,
        mount: &Mount,
        fstype: &CStr,
        parameters: &[Parameter],
    ) -> Result<Option<Parameter>, Fault> {
        if fstype != c"tmpfs" || parameters.iter().any(|parameter| &*parameter.key == c"mode") {
            return Ok(None);
        }
        let covered = match resolve::open_in_root(self.fd(), &mount.destination, OFlags::PATH) {
            Ok(covered) => covered,
            // Made just now: the kernel's default mode.
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno).call("openat2"),
        };
        let mode = rustix::fs::fstat(&covered).call("fstat")?.st_mode & 0o7777;
        let value = CString::new(format!("{mode:o}")).unwrap_or_default();
        Ok(Some(Parameter {
            key: c"mode".into(),
            value: Some(value),
        }))
    }

    fn mount_bind(&mut self, mount: &Mount, tree: BorrowedFd<'_>) -> Result<(), Fault> {
        let stat = rustix::fs::fstat(tree).call("fstat")?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            _ => Kind::File,
        };
        let target = self.target(&mount.destination, kind, mount.links)?;
        set_attributes(tree, mount.attributes, false)?;
        set_attributes(tree, mount.recursive, true)?;
        attach_on(tree, target.as_fd()).call("move_mount")?;
        propagate(tree, mount)
    }

    fn remount(&self, mount: &Mount, parameters: &[Parameter]) -> Result<(), Fault> {
        let target = resolve::open_in_root(self.fd(), &mount.destination, OFlags::PATH).call("openat2")?;
        if !parameters.is_empty() {
            let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
            let context = fspick(&target, c"", flags).call("fspick")?;
            set_parameters(context.as_fd(), parameters)?;
            fsconfig_reconfigure(context.as_fd()).call("fsconfig")?;
        }
        set_attributes(target.as_fd(), mount.attributes, false)?;
        set_attributes(target.as_fd(), mount.recursive, true)?;
        propagate(target.as_fd(), mount)
    }
}

/// Mounts with one `mount(2)` on the working directory what needs nothing of the new interface, which takes
/// five to nine calls for it: a writable file system of a few known types, whose descriptor nobody asks for.
/// Tells whether it did. Whatever fails here is done again step by step, and told by the step that fails then.
fn mount_plainly(mount: &Mount, fstype: &CStr, parameters: &[Parameter], target: BorrowedFd<'_>) -> bool {
    // Read-only would be the file system then and not the mount. A comma would end a value.
    let known = fstype == c"tmpfs" || fstype == c"devpts" || fstype == c"mqueue";
    let plain = mount.recursive.is_empty() && mount.propagation.is_empty();
    let has_comma = |value: &CString| value.to_bytes().contains(&b',');
    let separable = !parameters
        .iter()
        .any(|each| each.value.as_ref().is_some_and(has_comma));
    let (flags, others) = mount_flags(mount.attributes.set);
    if !known || !plain || !separable || others != 0 || flags.contains(MountFlags::RDONLY) {
        return false;
    }
    let source = parameters.iter().find(|each| &*each.key == c"source");
    let source = source.and_then(|each| each.value.as_deref()).unwrap_or(c"none");
    let data = mount_data(parameters);
    // The directory itself and no name: nothing in the rootfs can redirect it.
    rustix::process::fchdir(target).is_ok()
        && rustix::mount::mount(source, c".", fstype, flags, Some(&*data)).is_ok()
}

/// The parameters as `mount(2)` takes them: a list with commas, without the source.
pub fn mount_data(parameters: &[Parameter]) -> CString {
    let mut list: Vec<u8> = Vec::new();
    for parameter in parameters.iter().filter(|parameter| &*parameter.key != c"source") {
        if !list.is_empty() {
            list.push(b',');
        }
        list.extend(parameter.key.to_bytes());
        if let Some(value) = &parameter.value {
            list.push(b'=');
            list.extend(value.to_bytes());
        }
    }
    CString::new(list).unwrap_or_default()
}

/// `MOUNT_ATTR_*` as `MS_*`, and the bits that have no such form.
pub fn mount_flags(attributes: u64) -> (MountFlags, u64) {
    const FLAGS: [(u64, MountFlags); 7] = [
        (libc::MOUNT_ATTR_RDONLY, MountFlags::RDONLY),
        (libc::MOUNT_ATTR_NOSUID, MountFlags::NOSUID),
        (libc::MOUNT_ATTR_NODEV, MountFlags::NODEV),
        (libc::MOUNT_ATTR_NOEXEC, MountFlags::NOEXEC),
        (libc::MOUNT_ATTR_NOATIME, MountFlags::NOATIME),
        (libc::MOUNT_ATTR_STRICTATIME, MountFlags::STRICTATIME),
        (libc::MOUNT_ATTR_NODIRATIME, MountFlags::NODIRATIME),
    ];
    let (mut left, mut flags) = (attributes, MountFlags::empty());
    for (bit, flag) in FLAGS.into_iter().filter(|(bit, _)| attributes & bit != 0) {
        left &= !bit;
        flags |= flag;
    }
    (flags, left)
}

/// Copies the mount tree at a path of the runtime namespace, detached. Used by the child, and by the parent
/// for sources that the child cannot reach.
///
/// # Errors
/// The failed call.
pub fn open_source(path: &CStr, recursive: bool) -> Result<OwnedFd, Fault> {
    copy_tree(CWD, path, recursive, OpenTreeFlags::empty())
}

fn copy_tree(
    at: BorrowedFd<'_>,
    path: &CStr,
    recursive: bool,
    mut flags: OpenTreeFlags,
) -> Result<OwnedFd, Fault> {
    flags |= OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(at, path, flags).call("open_tree")
}

/// What a bind mount shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindSource {
    /// A path of the runtime namespace.
    pub path: CString,
    /// With the mounts below it.
    pub recursive: bool,
    /// Whether components of the path may be symbolic links. Who looked the path up before, and decided by what was
    /// there, wants no link that was put there meanwhile to be followed.
    pub links: bool,
}

impl BindSource {
    /// Copies the mount tree, detached.
    ///
    /// # Errors
    /// The failed call; `ELOOP` for a link.
    pub fn open(&self) -> Result<OwnedFd, Fault> {
        if self.links {
            return open_source(&self.path, self.recursive);
        }
        let found = resolve::open_source_without_links(&self.path).call("openat2")?;
        copy_tree(found.as_fd(), c"", self.recursive, OpenTreeFlags::AT_EMPTY_PATH)
    }
}

/// Makes a new file system instance, as a detached mount.
///
/// # Errors
/// The failed call, with the parameter that was refused.
pub fn new_file_system(fstype: &CStr, parameters: &[Parameter], attributes: u64) -> Result<SetupFd, Fault> {
    let context = SetupFd::from(fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC).call("fsopen")?);
    set_parameters(context.as_fd(), parameters)?;
    fsconfig_create(context.as_fd()).call("fsconfig create")?;
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).call("fsmount")?;
    Ok(mount.into())
}

fn set_parameters(context: BorrowedFd<'_>, parameters: &[Parameter]) -> Result<(), Fault> {
    for Parameter { key, value } in parameters {
        let result = match value {
            Some(value) => fsconfig_set_string(context, &**key, &**value),
            None => fsconfig_set_flag(context, &**key),
        };
        result.call_on("fsconfig", || match value {
            Some(value) => format!("{}={}", key.to_string_lossy(), value.to_string_lossy()),
            None => key.to_string_lossy().into_owned(),
        })?;
    }
    Ok(())
}

fn set_attributes(fd: BorrowedFd<'_>, attributes: Attributes, recursive: bool) -> Result<(), Fault> {
    if attributes.is_empty() {
        return Ok(());
    }
    let attr = MountAttr {
        set: attributes.set,
        clear: attributes.clear,
        ..MountAttr::default()
    };
    mount_setattr(fd, recursive, &attr).call("mount_setattr")
}

/// After the mount is attached: an unbindable mount cannot be, and a shared parent would share it again.
fn propagate(fd: BorrowedFd<'_>, mount: &Mount) -> Result<(), Fault> {
    mount
        .propagation
        .iter()
        .try_for_each(|propagation| super::set_propagation(fd, *propagation).call("mount_setattr"))
}

/// Binds one path of the host onto a target inside the root, without submounts.
///
/// # Errors
/// The failed call.
pub fn bind_on(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let tree = clone_mount(source, false)?;
    attach_on(tree.as_fd(), target)
}
