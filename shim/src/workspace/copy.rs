//! From the workspace to the copy, and the bytes of single files in both directions.

use super::manifest::{Entry, Manifest};
use super::tree::{Identity, Kind, Node, Tree};
use super::{Error, at, attributes};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, SeekFrom, Timespec, Timestamps, Uid, chownat, fchmod, fchown, fstat,
    futimens, mkdirat, openat, symlinkat,
};
use rustix::io::Errno;
use std::fs::File;
use std::path::Path;

/// Copies all of `from` but sockets, fifos, devices and other mounts into the empty directory `to`, with owners
/// (root alone can) and times.
///
/// # Errors
/// What cannot be read or written.
pub fn copy(from: &Tree, to: &Tree) -> Result<Manifest, Error> {
    let mut manifest = Manifest::new();
    let nodes = from.nodes()?;
    for (path, node) in &nodes {
        let refused = |kind| Entry {
            kind,
            mode: node.mode,
            original: node.identity,
            copy: node.identity,
        };
        if node.kind == Kind::Refused("directory that cannot be read") {
            return Err(at("open", &from.name(path))(Errno::ACCESS));
        }
        let entry = match copy_one(from, to, path, node) {
            Ok(Some((original, copy))) => Entry {
                kind: node.kind.clone(),
                mode: node.mode,
                original,
                copy,
            },
            Ok(None) => refused(Kind::Refused("not copied")),
            // Removed meanwhile.
            Err(Error::Call { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        manifest.insert(path.clone(), entry);
    }
    // Last and from below: what is put into a directory changes its times, and a mode can forbid it.
    for (path, node) in nodes.iter().rev() {
        if node.kind == Kind::Directory
            && let Some(entry) = manifest.get_mut(path)
        {
            entry.copy = finish_directory(from, to, path, node).map_err(at("copy", &to.name(path)))?;
        }
    }
    Ok(manifest)
}

/// The original and the copy; `None` for what is not copied.
fn copy_one(from: &Tree, to: &Tree, path: &Path, node: &Node) -> Result<Option<(Identity, Identity)>, Error> {
    let (parent, name) = to.parent(path).map_err(at("open", &to.name(path)))?;
    let written = at("copy", &to.name(path));
    match &node.kind {
        Kind::Directory => {
            mkdirat(&parent, name, Mode::RWXU).map_err(written)?;
            Ok(Some((node.identity, node.identity)))
        }
        Kind::Link(target) => {
            let copied = symlinkat(target, &parent, name)
                .and_then(|()| give(&parent, name, node.owner))
                .and_then(|()| rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW));
            Ok(Some((node.identity, Identity::of(&copied.map_err(written)?))))
        }
        Kind::File => {
            let source = from.file(path).map_err(at("open", &from.name(path)))?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let copied = openat(&parent, name, flags, Mode::RUSR | Mode::WUSR)
                .map(File::from)
                .and_then(|copy| finish_file(&source, &copy, node));
            Ok(Some(copied.map_err(written)?))
        }
        Kind::Refused(_) => Ok(None),
    }
}

fn finish_file(source: &File, copy: &File, node: &Node) -> rustix::io::Result<(Identity, Identity)> {
    contents(source, copy)?;
    attributes::copy(source, copy)?;
    let stat = fstat(source)?;
    own(copy, node.owner)?;
    fchmod(copy, Mode::from_raw_mode(node.mode))?;
    futimens(copy, &times(&Identity::of(&stat)))?;
    Ok((Identity::of(&stat), Identity::of(&fstat(copy)?)))
}

fn finish_directory(from: &Tree, to: &Tree, path: &Path, node: &Node) -> rustix::io::Result<Identity> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let directory = to.open_at(path, flags, Mode::empty())?;
    match from.open_at(path, flags, Mode::empty()) {
        // Removed meanwhile.
        Err(Errno::NOENT) => {}
        source => attributes::copy(source?, &directory)?,
    }
    own(&directory, node.owner)?;
    futimens(&directory, &times(&node.identity))?;
    fchmod(&directory, Mode::from_raw_mode(node.mode))?;
    Ok(Identity::of(&fstat(&directory)?))
}

fn times(identity: &Identity) -> Timestamps {
    let time = |(tv_sec, nanoseconds): (i64, u64)| Timespec {
        tv_sec,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    Timestamps {
        last_access: time(identity.mtime),
        last_modification: time(identity.mtime),
    }
}

/// Without root the copy is the caller's, as everything that they make.
pub fn own(fd: impl AsFd, owner: (u32, u32)) -> rustix::io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    fchown(fd, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)))
}

/// All that is in a copy, and itself.
///
/// # Errors
/// As chown(2).
pub fn own_all(tree: &Tree, owner: (u32, u32)) -> Result<(), Error> {
    for path in tree.nodes()?.keys() {
        let (parent, name) = tree.parent(path).map_err(at("open", &tree.name(path)))?;
        give(&parent, name, owner).map_err(at("chown", &tree.name(path)))?;
    }
    own(tree.root(), owner).map_err(at("chown", &tree.name(Path::new(""))))
}

/// The same for a link.
pub fn give(parent: &OwnedFd, name: &std::ffi::OsStr, owner: (u32, u32)) -> rustix::io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// Copies what a file holds: shared where the file system can, and with its holes.
pub fn contents(source: &File, copy: &File) -> rustix::io::Result<()> {
    if rustix::fs::ioctl_ficlone(copy, source).is_ok() {
        return Ok(());
    }
    let size = u64::try_from(fstat(source)?.st_size).unwrap_or(0);
    rustix::fs::ftruncate(copy, size)?;
    let mut position = 0;
    while position < size {
        let data = match rustix::fs::seek(source, SeekFrom::Data(position)) {
            Ok(data) => data,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno),
        };
        let hole = rustix::fs::seek(source, SeekFrom::Hole(data))?.min(size);
        if hole <= data {
            break;
        }
        range(source, copy, data, hole)?;
        position = hole;
    }
    Ok(())
}

fn range(source: &File, copy: &File, mut from: u64, end: u64) -> rustix::io::Result<()> {
    while from < end {
        let (mut off_in, mut off_out) = (from, from);
        let length = usize::try_from(end - from).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(source, Some(&mut off_in), copy, Some(&mut off_out), length) {
            // It got shorter meanwhile.
            Ok(0) => return Ok(()),
            Ok(copied) => from += copied as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                return plainly(source, copy, from, end);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn plainly(source: &File, copy: &File, mut from: u64, end: u64) -> rustix::io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    while from < end {
        let want = buffer
            .len()
            .min(usize::try_from(end - from).unwrap_or(usize::MAX));
        let read = rustix::io::retry_on_intr(|| rustix::io::pread(source, &mut buffer[..want], from))?;
        if read == 0 {
            return Ok(());
        }
        let mut written = 0;
        while written < read {
            let at = from + written as u64;
            written += rustix::io::retry_on_intr(|| rustix::io::pwrite(copy, &buffer[written..read], at))?;
        }
        from += read as u64;
    }
    Ok(())
}

/// From where on one of two files holds anything but zeros that nobody wrote: a hole in both is not read.
fn next_data(one: &File, other: &File, from: u64) -> std::io::Result<Option<u64>> {
    let next = |file: &File| match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(data) => Ok(Some(data)),
        // Nothing but a hole is left.
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(std::io::Error::from(errno)),
    };
    let (one, other) = (next(one)?, next(other)?);
    Ok(one.into_iter().chain(other).min())
}

/// Whether two files hold the same bytes.
///
/// # Errors
/// As read(2).
pub fn same_contents(one: &File, other: &File) -> std::io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let size = one.metadata()?.len();
    if size != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut position = 0;
    while let Some(data) = next_data(one, other, position)?.filter(|data| *data < size) {
        position = data;
        let want = a
            .len()
            .min(usize::try_from(size - position).unwrap_or(usize::MAX));
        one.read_exact_at(&mut a[..want], position)?;
        other.read_exact_at(&mut b[..want], position)?;
        if a[..want] != b[..want] {
            return Ok(false);
        }
        position += want as u64;
    }
    Ok(true)
}

/// A directory of this user alone.
///
/// # Errors
/// As mkdir(2).
pub fn make_directory(path: &Path) -> Result<(), Error> {
    rustix::fs::mkdirat(CWD, path, Mode::RWXU).map_err(at("mkdir", path))
}
