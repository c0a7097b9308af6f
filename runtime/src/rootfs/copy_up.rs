//! `tmpcopyup`: a tmpfs that starts with what its target directory held.

use crate::fault::{Call, Fault};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    fchmod, fchown, fgetxattr, flistxattr, fsetxattr, futimens, linkat, mkdirat, mknodat, openat, readlinkat,
    sendfile, statat, symlinkat,
};
use std::collections::HashMap;
use std::ffi::{CStr, CString};

/// Where a file with several links was first copied to, as a path below the new root.
type Links = HashMap<(u64, u64), CString>;

/// Copies the contents of a directory into the root of a detached mount, with owners, modes, times,
/// extended attributes and hard links. Symbolic links are copied, never followed, and mounts below the
/// directory are left out. The root gets the directory's owner, except what `kept` names.
///
/// # Errors
/// The failed call with the name.
pub fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, kept: Kept) -> Result<(), Fault> {
    let from = openat(
        from,
        c".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .call("open the copied directory")?;
    let to = openat(
        to,
        c".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .call("open the tmpfs")?;
    let device = rustix::fs::fstat(&from).call("fstat")?.st_dev;
    let mut copier = Copier {
        device,
        root: to,
        links: Links::new(),
    };
    let root = copier.root.try_clone().call("dup")?;
    copier.directory(from.as_fd(), root.as_fd(), b"")?;
    // Its mode is the mount's own, from an option or from the covered directory.
    let (uid, gid) = owner(&rustix::fs::fstat(&from).call("stat")?);
    fchown(
        &root,
        Some(uid).filter(|_| !kept.user),
        Some(gid).filter(|_| !kept.group),
    )
    .call("chown")
}

/// What the tmpfs's own options have set, and the covered directory does not change.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// `uid=`
    pub user: bool,
    /// `gid=`
    pub group: bool,
}

struct Copier {
    /// Only entries of this file system are copied.
    device: u64,
    root: OwnedFd,
    links: Links,
}

impl Copier {
    fn directory(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, prefix: &[u8]) -> Result<(), Fault> {
        let mut entries = rustix::fs::Dir::read_from(from).call("read the copied directory")?;
        while let Some(entry) = entries.read() {
            let entry = entry.call("read the copied directory")?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.entry(from, to, name, prefix).map_err(|fault| Fault {
                call: format!("copy {name:?}: {}", fault.call).into(),
                ..fault
            })?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        prefix: &[u8],
    ) -> Result<(), Fault> {
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).call("stat")?;
        if stat.st_dev != self.device {
            return Ok(());
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        let path = [prefix, b"/", name.to_bytes()].concat();
        if kind != FileType::Directory && stat.st_nlink > 1 && self.link(to, name, &stat, &path)? {
            return Ok(());
        }
        match kind {
            FileType::Directory => {
                mkdirat(to, name, Mode::RWXU).call("mkdir")?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let from = openat(from, name, flags, Mode::empty()).call("open")?;
                let to = openat(to, name, flags, Mode::empty()).call("open")?;
                self.directory(from.as_fd(), to.as_fd(), &path)?;
                copy_attributes(from.as_fd(), to.as_fd())
            }
            FileType::RegularFile => copy_file(from, to, name),
            FileType::Symlink => {
                let target = readlinkat(from, name, Vec::new()).call("readlink")?;
                symlinkat(&*target, to, name).call("symlink")?;
                copy_owner(to, name, &stat)
            }
            _ => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                mknodat(to, name, kind, mode, stat.st_rdev).call("mknod")?;
                copy_owner(to, name, &stat)?;
                chmodat(to, name, mode, AtFlags::empty()).call("chmod")
            }
        }
    }

    /// Makes a hard link to an earlier copy of the same file; false when this is the first.
    fn link(&mut self, to: BorrowedFd<'_>, name: &CStr, stat: &Stat, path: &[u8]) -> Result<bool, Fault> {
        let key = (stat.st_dev, stat.st_ino);
        let relative = CString::new(&path[1..]).unwrap_or_default();
        let Some(first) = self.links.get(&key) else {
            self.links.insert(key, relative);
            return Ok(false);
        };
        linkat(&self.root, &**first, to, name, AtFlags::empty()).call("link")?;
        Ok(true)
    }
}

fn copy_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<(), Fault> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = openat(from, name, flags, Mode::empty()).call("open")?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = openat(to, name, flags, Mode::RUSR | Mode::WUSR).call("create")?;
    while sendfile(&target, &source, None, 1 << 30).call("sendfile")? > 0 {}
    copy_attributes(source.as_fd(), target.as_fd())
}

fn copy_owner(to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), Fault> {
    let (uid, gid) = owner(stat);
    chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).call("chown")
}

/// Owner, extended attributes, mode and times, in this order: a change of owner clears set-id bits and
/// capabilities, and any change sets the time.
fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Fault> {
    let stat = rustix::fs::fstat(from).call("stat")?;
    let (uid, gid) = owner(&stat);
    fchown(to, Some(uid), Some(gid)).call("chown")?;
    copy_xattrs(from, to)?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777)).call("chmod")?;
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime,
            tv_nsec: stat.st_atime_nsec as _,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec as _,
        },
    };
    futimens(to, &times).call("utimens")
}

fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Fault> {
    let mut names = vec![0u8; 4096];
    let length = match flistxattr(from, names.as_mut_slice()) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno).call("listxattr"),
    };
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        let mut value = vec![0u8; 65536];
        let length = fgetxattr(from, name, value.as_mut_slice()).call("getxattr")?;
        match fsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            // A tmpfs holds no user attributes before Linux 6.6, and labels may be refused.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno).call("setxattr"),
        }
    }
    Ok(())
}
