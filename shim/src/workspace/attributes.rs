//! Extended attributes, `xattr(7)`: what a person or a program has noted on a file goes along, in both directions; what
//! the kernel or another program takes for rights, owners or layers does not.
//!
//! - `user.*` of files and of new directories goes along.
//! - POSIX ACLs name users of the host, whom the copy is not for: they stay with the workspace. A file that is taken over
//!   has the ACL of the file that it replaces, or a new one what its directory says new files have.
//! - All else is the kernel's and the administrator's: file capabilities, labels, `trusted.*`.

use rustix::fd::AsFd;
use rustix::fs::{
    XattrFlags, fgetxattr, fgetxattr_query, flistxattr, flistxattr_query, fremovexattr, fsetxattr,
};
use rustix::io::{Errno, Result};

/// Of these in `user.*` file systems and container tools make owners, modes, and links to other directories.
const LAYERS: [&str; 4] = [
    "user.overlay.",
    "user.containers.",
    "user.fuseoverlayfs.",
    "user.rootlesscontainers",
];

const ACL: &str = "system.posix_acl_access";
const DEFAULT_ACL: &str = "system.posix_acl_default";

fn goes_along(name: &str) -> bool {
    name.starts_with("user.") && !LAYERS.iter().any(|layer| name.starts_with(layer))
}

/// The names of those that go along.
fn names(of: impl AsFd) -> Result<Vec<String>> {
    let size = match flistxattr_query(&of) {
        Err(Errno::OPNOTSUPP) => 0,
        size => size?,
    };
    if size == 0 {
        return Ok(Vec::new());
    }
    let mut list = vec![0; size];
    let size = flistxattr(&of, &mut list[..])?;
    let names = list[..size].split(|byte| *byte == 0);
    let names = names.filter_map(|name| std::str::from_utf8(name).ok());
    Ok(names.filter(|name| goes_along(name)).map(str::to_owned).collect())
}

/// The value; `None` where there is none, and where the file system has none at all.
fn value(of: impl AsFd, name: &str) -> Result<Option<Vec<u8>>> {
    let found = fgetxattr_query(&of, name).and_then(|size| {
        let mut value = vec![0; size];
        let size = fgetxattr(&of, name, &mut value[..])?;
        value.truncate(size);
        Ok(value)
    });
    match found {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        found => found.map(Some),
    }
}

/// Gives a new file or directory those of another that go along. A file system that has none goes without.
///
/// # Errors
/// As fgetxattr(2) and fsetxattr(2).
pub fn copy(from: impl AsFd, to: impl AsFd) -> Result<()> {
    for name in names(&from)? {
        let Some(value) = value(&from, &name)? else {
            continue;
        };
        match fsetxattr(&to, name.as_str(), &value, XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) => return Ok(()),
            set => set?,
        }
    }
    Ok(())
}

/// Whether those that go along are the same, as far as both file systems have any.
///
/// # Errors
/// As fgetxattr(2).
pub fn same(one: impl AsFd, other: impl AsFd) -> Result<bool> {
    let (ours, theirs) = (names(&one)?, names(&other)?);
    let mut all: Vec<&String> = ours.iter().chain(&theirs).collect();
    all.sort_unstable();
    all.dedup();
    for name in all {
        if value(&one, name)? != value(&other, name)? && has_any(&one, name) && has_any(&other, name) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has_any(file: impl AsFd, name: &str) -> bool {
    fgetxattr_query(file, name) != Err(Errno::OPNOTSUPP)
}

/// Gives a new file the ACL of the one that it replaces, or without one that of new files in its directory. The mode
/// that is set afterwards limits it, as that of open(2) does.
///
/// # Errors
/// As fgetxattr(2) and fsetxattr(2).
pub fn take_acl(replaced: Option<impl AsFd>, directory: impl AsFd, file: impl AsFd) -> Result<()> {
    let acl = match replaced {
        Some(replaced) => value(replaced, ACL)?,
        None => value(directory, DEFAULT_ACL)?,
    };
    match acl {
        Some(acl) => fsetxattr(file, ACL, &acl, XattrFlags::empty()),
        // One of the directory that it was made in.
        None => match fremovexattr(file, ACL) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            removed => removed,
        },
    }
}
