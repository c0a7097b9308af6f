//! The runtime, started from where nobody can write it.
//!
//! `nucleus-runtime` enters containers only from a read-only mount of its binary, and makes one and executes itself
//! again if it does not run from one. Started from one, it need not.

use nucleus_sys::mount::{MountAttr, mount_setattr};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::CWD;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// A command, and the mount that it is started from: to be dropped once it has started.
#[derive(Debug)]
pub struct Protected {
    /// The command, without arguments.
    pub command: Command,
    _mount: Option<OwnedFd>,
}

impl Protected {
    /// Of a program's own directory, so that the process has the program's name. Who may not mount starts the
    /// program as it is: it then sees to it by itself.
    pub fn new(program: &Path) -> Self {
        let (Some(directory), Some(name)) = (program.parent(), program.file_name()) else {
            return Self::plain(program);
        };
        let Ok(mount) = read_only(directory) else {
            return Self::plain(program);
        };
        let path = Path::new("/proc/self/fd").join(mount.as_raw_fd().to_string());
        let mut command = Command::new(path.join(name));
        command.arg0(program);
        Self {
            command,
            _mount: Some(mount),
        }
    }

    /// Behind words that lead to it, by programs that execute it in their place.
    pub fn behind(words: &[OsString], program: &Path) -> Self {
        let Some((first, rest)) = words.split_first() else {
            return Self::new(program);
        };
        let mut command = Command::new(first);
        command.args(rest).arg(program);
        Self {
            command,
            _mount: None,
        }
    }

    /// As it is.
    pub fn plain(program: &Path) -> Self {
        Self {
            command: Command::new(program),
            _mount: None,
        }
    }
}

/// A mount of a directory that no mount namespace holds.
fn read_only(directory: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, directory, flags)?;
    let attr = MountAttr {
        set: MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(),
        ..MountAttr::default()
    };
    mount_setattr(mount.as_fd(), false, &attr)?;
    Ok(mount)
}
