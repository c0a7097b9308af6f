//! What all sandboxes of a host share: the lock, one table of rules, and forwarding.
//!
//! It is made with the first link and removed with the last. What was changed of the host is in a file named after
//! the network namespace, which is the lock at the same time:
//! `nucleus` may be called in several of them, with one `/run`.

use crate::Error;
use nucleus_netlink::Socket;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File};
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where those files are.
const DIRECTORY: &str = "/run/nucleus-network";
const FORWARD4: &str = "/proc/sys/net/ipv4/ip_forward";
const FORWARD6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// What was changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Whether there is a table of ours.
    pub table: bool,
    /// Whether forwarding of version 4 was off.
    pub forward4: bool,
    /// The same of version 6.
    pub forward6: bool,
}

/// The part of the host that is shared, while nobody else changes it.
#[derive(Debug)]
pub struct Locked {
    file: File,
    path: PathBuf,
    /// What was changed.
    pub changed: Changed,
}

impl Locked {
    /// Waits until nobody else changes it. The file is made if it is not there.
    ///
    /// # Errors
    /// As the calls, or that somebody else could change the file.
    pub fn wait(socket: &Socket) -> Result<Self, Error> {
        loop {
            if let Some(locked) = Self::open(socket, true)? {
                return Ok(locked);
            }
        }
    }

    /// The same where there is something shared; `None` where there is not.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn find(socket: &Socket) -> Result<Option<Self>, Error> {
        Self::open(socket, false)
    }

    fn open(socket: &Socket, make: bool) -> Result<Option<Self>, Error> {
        let cookie = nucleus_sys::network::namespace_cookie(socket.as_fd())
            .map_err(Error::call("getsockopt SO_NETNS_COOKIE (Linux 5.14)"))?;
        let directory = Path::new(DIRECTORY);
        let path = directory.join(cookie.to_string());
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let flags = if make { flags | OFlags::CREATE } else { flags };
            let file = match open(&path, flags, Mode::RUSR | Mode::WUSR) {
                Ok(fd) => File::from(fd),
                Err(rustix::io::Errno::NOENT) if !make => {
                    // Whoever was killed may have made no more than that.
                    remove_directory();
                    return Ok(None);
                }
                Err(rustix::io::Errno::NOENT) => {
                    own_directory(directory)?;
                    continue;
                }
                Err(errno) => return Err(Error::io("open", &path, errno.into())),
            };
            flock(&file, FlockOperation::LockExclusive)
                .map_err(|errno| Error::io("flock", &path, errno.into()))?;
            // The last sandbox may have removed it meanwhile.
            let metadata = file.metadata().map_err(|error| Error::io("stat", &path, error))?;
            if metadata.nlink() == 0 {
                continue;
            }
            let mut locked = Self {
                file,
                path,
                changed: Changed::default(),
            };
            locked.read()?;
            return Ok(Some(locked));
        }
    }

    fn read(&mut self) -> Result<(), Error> {
        let mut text = String::new();
        self.file
            .read_to_string(&mut text)
            .map_err(|error| Error::io("read", &self.path, error))?;
        // Empty, or cut off when its writer was killed: then nothing had been changed yet.
        self.changed = serde_json::from_str(&text).unwrap_or_default();
        Ok(())
    }

    /// Notes what is going to be changed, before it is.
    ///
    /// # Errors
    /// As write(2).
    pub fn note(&mut self, changed: Changed) -> Result<(), Error> {
        let failed = |error| Error::io("write", &self.path, error);
        let text = serde_json::to_string(&changed).map_err(|error| failed(error.into()))?;
        self.file.rewind().map_err(failed)?;
        self.file.set_len(0).map_err(failed)?;
        self.file.write_all(text.as_bytes()).map_err(failed)?;
        self.changed = changed;
        Ok(())
    }

    /// Removes the file: there is nothing of ours any more.
    ///
    /// # Errors
    /// As unlink(2).
    pub fn forget(self) -> Result<(), Error> {
        std::fs::remove_file(&self.path).map_err(|error| Error::io("remove", &self.path, error))?;
        remove_directory();
        Ok(())
    }
}

/// With the last of all namespaces: it stays while there is one in it.
fn remove_directory() {
    let _ = std::fs::remove_dir(DIRECTORY);
}

fn own_directory(path: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::io("mkdir", path, error));
        }
        _ => {}
    }
    // Another call may have removed it at once: then it is made again.
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_dir() || metadata.uid() != 0 || metadata.mode() & 0o077 != 0 => {
            let error = std::io::Error::other("not a directory of root alone (mode 0700)");
            Err(Error::io("use", path, error))
        }
        _ => Ok(()),
    }
}

/// Whether this kernel has version 6.
pub fn has_version_6() -> bool {
    Path::new(FORWARD6).exists()
}

/// What of forwarding is off: of version 4, and of version 6.
///
/// # Errors
/// As read(2).
pub fn forwarding_off() -> Result<(bool, bool), Error> {
    let off = |path: &str| match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim() == "0"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("read", Path::new(path), error)),
    };
    Ok((off(FORWARD4)?, off(FORWARD6)?))
}

/// Switches forwarding on or off where `changed` says that it was off.
///
/// # Errors
/// As write(2).
pub fn set_forwarding(changed: Changed, on: bool) -> Result<(), Error> {
    let value = if on { "1" } else { "0" };
    for path in [(changed.forward4, FORWARD4), (changed.forward6, FORWARD6)]
        .into_iter()
        .filter_map(|(changed, path)| changed.then_some(path))
    {
        std::fs::write(path, value).map_err(|error| Error::io("write", Path::new(path), error))?;
    }
    Ok(())
}

/// Lets packets to the loopback of the host leave through this link, for published ports.
///
/// # Errors
/// As write(2).
pub fn route_loopback(link: &str) -> Result<(), Error> {
    let path = format!("/proc/sys/net/ipv4/conf/{link}/route_localnet");
    std::fs::write(&path, "1").map_err(|error| Error::io("write", Path::new(&path), error))
}
