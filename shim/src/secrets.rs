//! Secrets on their way into a sandbox: from the file into memory that the kernel keeps, and never through this
//! process's own.

use crate::store::{Error, call};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::{DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// `f_type` of a tmpfs, `statfs(2)`.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// The most bytes that a secret may have: 1 MiB, as a credential of systemd's. The memory that it is kept in is the
/// host's, and no limit of the workload's holds it.
const MAX_BYTES: u64 = 1 << 20;

/// Whether a file can be a secret's source.
///
/// # Errors
/// What it is instead.
pub fn fits(metadata: &Metadata) -> Result<(), String> {
    if metadata.is_dir() {
        return Err("a directory".to_owned());
    }
    // A pipe would be waited for, and a device may have no end.
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    if metadata.len() > MAX_BYTES {
        return Err(format!("more than {MAX_BYTES} bytes"));
    }
    Ok(())
}

/// Copies secrets into a new directory in memory, readable for one user alone.
///
/// # Errors
/// What could not be read or written, or that the place is not in memory.
pub fn keep(directory: &Path, sources: &[(PathBuf, String)], owner: (u32, u32)) -> Result<(), Error> {
    if sources.is_empty() {
        return Ok(());
    }
    DirBuilder::new()
        .mode(0o700)
        .create(directory)
        .map_err(call("mkdir", directory))?;
    let magic = rustix::fs::statfs(directory).map_err(|errno| call("statfs", directory)(errno.into()))?;
    if magic.f_type != TMPFS_MAGIC {
        return Err(Error::NotInMemory(directory.to_owned()));
    }
    for (index, (source, _)) in sources.iter().enumerate() {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let from = open(source, flags, Mode::empty()).map_err(call("open", source))?;
        // Once more: it may have become something else since the request was looked at.
        from.metadata()
            .and_then(|metadata| fits(&metadata).map_err(io::Error::other))
            .map_err(call("open", source))?;
        let at = directory.join(index.to_string());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let to = open(&at, flags, Mode::RUSR).map_err(call("create", &at))?;
        copy(&from, &to).map_err(call("copy", source))?;
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::fchown(&to, Some(owner.0), Some(owner.1)).map_err(call("chown", &at))?;
        }
    }
    Ok(())
}

fn open(path: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
    Ok(rustix::fs::open(path, flags, mode)?.into())
}

/// `sendfile(2)`: the bytes go from one file to the other inside the kernel. There is no other way here on purpose:
/// a buffer would have to be wiped.
fn copy(from: &File, to: &File) -> io::Result<()> {
    let mut left = MAX_BYTES + 1;
    loop {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        match rustix::fs::sendfile(to, from, None, most) {
            Ok(0) => return Ok(()),
            Ok(copied) if copied as u64 >= left => {
                return Err(io::Error::other(format!("more than {MAX_BYTES} bytes")));
            }
            Ok(copied) => left -= copied as u64,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
