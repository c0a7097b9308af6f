//! The directory of one container: its files, which appear complete or not at all, and its lock.

use super::{Error, Init, Loaded, Record, check_id};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RawDir, RenameFlags, openat};
use rustix::io::Errno;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The directory of one container.
#[derive(Debug)]
pub struct Directory {
    id: String,
    path: PathBuf,
    fd: OwnedFd,
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// How long a command waits for another one's lock: 100 times 100 ms.
const LOCK_TRIES: u32 = 100;

impl Directory {
    /// Makes the directory of a new container, and locks it.
    ///
    /// # Errors
    /// [`Error::Exists`], or the failed call.
    pub fn create(root: &Path, id: &str) -> Result<Self, Error> {
        check_id(id)?;
        let path = root.join(id);
        match rustix::fs::mkdirat(CWD, &path, Mode::RWXU) {
            Err(Errno::NOENT) => {
                make_root(root)?;
                rustix::fs::mkdirat(CWD, &path, Mode::RWXU).map_err(|errno| mkdir_error(errno, id, &path))?;
            }
            result => result.map_err(|errno| mkdir_error(errno, id, &path))?,
        }
        let locked = Self::open(root, id).and_then(|directory| directory.lock().map(|()| directory));
        // A directory that was removed meanwhile, or is another command's by now, is not ours to remove.
        if !matches!(locked, Ok(_) | Err(Error::Missing { .. } | Error::Busy(_))) {
            let _ = rustix::fs::unlinkat(CWD, &path, AtFlags::REMOVEDIR);
        }
        locked
    }

    /// Writes the first file of a new container. Between `mkdir` and the lock the directory may have been removed,
    /// and made again by another `create`, which is then the one that has it.
    ///
    /// # Errors
    /// [`Error::Exists`] when another one was quicker; the failed call.
    pub fn claim(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.write_hidden(name, bytes)?;
        let hidden = format!(".{name}");
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.fd, hidden.as_str(), &self.fd, name, flags) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => self.claimed_by_another(&hidden),
            // A file system that cannot do that, such as some in user space.
            Err(Errno::INVAL) if self.has(name)? => self.claimed_by_another(&hidden),
            Err(Errno::INVAL) => self.publish(name),
            Err(errno) => Err(file_error("rename", &self.path.join(name), errno)),
        }
    }

    fn claimed_by_another(&self, hidden: &str) -> Result<(), Error> {
        let _ = rustix::fs::unlinkat(&self.fd, hidden, AtFlags::empty());
        Err(Error::Exists(self.id.clone()))
    }

    /// Opens the directory of an existing container, without locking it.
    ///
    /// # Errors
    /// [`Error::Missing`], or the failed call.
    pub fn open(root: &Path, id: &str) -> Result<Self, Error> {
        check_id(id)?;
        let path = root.join(id);
        match openat(CWD, &path, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Self {
                id: id.to_owned(),
                path,
                fd,
            }),
            Err(Errno::NOENT) => Err(Error::Missing {
                id: id.to_owned(),
                directory: path,
            }),
            Err(errno) => Err(root_error("open", &path, errno)),
        }
    }

    /// Takes the lock that every command that changes the container holds while it works. Waits for at most
    /// ten seconds.
    ///
    /// # Errors
    /// [`Error::Busy`]; [`Error::Missing`] when the container was deleted meanwhile.
    pub fn lock(&self) -> Result<(), Error> {
        for _ in 0..LOCK_TRIES {
            match rustix::fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return self.check_not_deleted(),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
                Err(errno) => return Err(file_error("flock", &self.path, errno)),
            }
        }
        Err(Error::Busy(self.id.clone()))
    }

    /// Gives the lock back, for commands that act on a container whose program runs.
    ///
    /// # Errors
    /// As `flock(2)`.
    pub fn unlock(&self) -> Result<(), Error> {
        rustix::fs::flock(&self.fd, FlockOperation::Unlock)
            .map_err(|errno| file_error("flock", &self.path, errno))
    }

    fn check_not_deleted(&self) -> Result<(), Error> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|errno| file_error("fstat", &self.path, errno))?;
        if stat.st_nlink == 0 {
            return Err(Error::Missing {
                id: self.id.clone(),
                directory: self.path.clone(),
            });
        }
        Ok(())
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The directory.
    pub fn fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Writes a file so that it is there complete or not at all.
    ///
    /// # Errors
    /// The failed call, for example `ENOSPC`.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.write_hidden(name, bytes)?;
        self.publish(name)
    }

    /// Writes a file that does not exist for others until [`publish`](Self::publish).
    ///
    /// # Errors
    /// The failed call, for example `ENOSPC`.
    pub fn write_hidden(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let hidden = format!(".{name}");
        let error = |call, errno| file_error(call, &self.path.join(name), errno);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(&self.fd, hidden.as_str(), flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| error("create", errno))?;
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::io::write(&file, rest) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(error("write", errno)),
            }
        }
        Ok(())
    }

    /// Gives a hidden file its name.
    ///
    /// # Errors
    /// The failed call.
    pub fn publish(&self, name: &str) -> Result<(), Error> {
        rustix::fs::renameat(&self.fd, format!(".{name}"), &self.fd, name)
            .map_err(|errno| file_error("rename", &self.path.join(name), errno))
    }

    /// Reads a file, if it is there.
    ///
    /// # Errors
    /// The failed call.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        match openat(
            &self.fd,
            name,
            // A FIFO in its place must not let the command wait for a writer.
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK,
            Mode::empty(),
        ) {
            Ok(fd) => crate::bundle::read_all(fd.as_fd())
                .map(Some)
                .map_err(|errno| file_error("read", &self.path.join(name), errno)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(file_error("open", &self.path.join(name), errno)),
        }
    }

    /// What is recorded, each file read once.
    ///
    /// # Errors
    /// The failed call, or a damaged file.
    pub fn load(&self) -> Result<Loaded, Error> {
        let init: Option<Init> = self.parse("init")?;
        let record: Option<Record> = self.parse("state.json")?;
        if let Some(other) = self.other(record.as_ref()) {
            return Err(Error::Damaged {
                path: self.path.join("state.json"),
                source: serde::de::Error::custom(format!("it is the record of container {other:?}")),
            });
        }
        Ok(Loaded::new(record, init))
    }

    /// What is recorded of this container and can be read.
    pub fn load_readable(&self) -> Loaded {
        let record: Option<Record> = self.parse("state.json").unwrap_or_default();
        if self.other(record.as_ref()).is_some() {
            // The first process may be that container's too.
            return Loaded::new(None, None);
        }
        Loaded::new(record, self.parse("init").unwrap_or_default())
    }

    /// Whose record it is, if not this container's: its directory was copied or renamed.
    fn other<'a>(&self, record: Option<&'a Record>) -> Option<&'a str> {
        record
            .map(|record| record.id.as_str())
            .filter(|id| *id != self.id)
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let damaged = |source| Error::Damaged {
            path: self.path.join(name),
            source,
        };
        match self.read(name) {
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).map(Some).map_err(damaged),
            Ok(None) => Ok(None),
            // A link, a directory or the like is no record of ours, and `delete --force` takes it away.
            Err(Error::File { source, .. }) if is_no_file(&source) => {
                Err(damaged(serde_json::Error::io(source)))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a file is there.
    ///
    /// # Errors
    /// The failed call.
    pub fn has(&self, name: &str) -> Result<bool, Error> {
        match rustix::fs::accessat(&self.fd, name, rustix::fs::Access::EXISTS, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(file_error("access", &self.path.join(name), errno)),
        }
    }

    /// Makes a FIFO and opens it for reading and writing, so that no open ever waits.
    ///
    /// # Errors
    /// The failed call.
    pub fn make_fifo(&self, name: &str) -> Result<OwnedFd, Error> {
        let error = |call, errno| file_error(call, &self.path.join(name), errno);
        rustix::fs::mknodat(
            &self.fd,
            name,
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .map_err(|errno| error("mkfifo", errno))?;
        openat(&self.fd, name, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| error("open", errno))
    }

    /// Removes the directory and its files. The lock goes with it.
    ///
    /// # Errors
    /// The failed call.
    pub fn remove(self) -> Result<(), Error> {
        // The files that every container has; what else is there is looked for only if that was not all.
        for name in ["init", "state.json", "config.json"] {
            match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => {}
                Err(errno) => return Err(file_error("unlink", &self.path.join(name), errno)),
            }
        }
        match rustix::fs::unlinkat(CWD, &self.path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(errno) => return Err(file_error("rmdir", &self.path, errno)),
        }
        let names = self
            .names()
            .map_err(|errno| file_error("read", &self.path, errno))?;
        for name in names {
            match rustix::fs::unlinkat(&self.fd, &*name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) if name.to_bytes() == crate::readiness::IN_STATE.as_bytes() => {
                    crate::readiness::remove_directory(self.fd.as_fd())
                        .map_err(|errno| file_error("remove notify in", &self.path, errno))?;
                }
                // Nothing of ours: it goes if nothing is in it.
                Err(Errno::ISDIR) => {
                    let path = self.path.join(OsStr::from_bytes(name.to_bytes()));
                    rustix::fs::unlinkat(&self.fd, &*name, AtFlags::REMOVEDIR)
                        .map_err(|errno| file_error("rmdir", &path, errno))?;
                }
                Err(errno) => return Err(file_error("unlink", &self.path, errno)),
            }
        }
        match rustix::fs::unlinkat(CWD, &self.path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(file_error("rmdir", &self.path, errno)),
        }
    }

    fn names(&self) -> rustix::io::Result<Vec<CString>> {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 1024];
        let mut entries = RawDir::new(&self.fd, &mut buffer);
        let mut names = Vec::with_capacity(8);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        Ok(names)
    }
}

/// What opening or reading anything but a file says: a directory, a link, a socket, a FIFO that somebody holds open.
fn is_no_file(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(Errno::ISDIR | Errno::LOOP | Errno::NXIO | Errno::AGAIN)
    )
}

fn make_root(root: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root);
    made.map_err(
        |source| match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(errno) => root_error("mkdir", root, errno),
            None => Error::File {
                call: "mkdir",
                path: root.to_owned(),
                source,
            },
        },
    )
}

/// Below the directory of states, which the caller has named or left to its default.
fn root_error(call: &'static str, path: &Path, errno: Errno) -> Error {
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Error::Root {
            call,
            path: path.to_owned(),
            source: errno.into(),
        },
        errno => file_error(call, path, errno),
    }
}

fn mkdir_error(errno: Errno, id: &str, path: &Path) -> Error {
    match errno {
        Errno::EXIST => Error::Exists(id.to_owned()),
        errno => root_error("mkdir", path, errno),
    }
}

fn file_error(call: &'static str, path: &Path, errno: Errno) -> Error {
    Error::File {
        call,
        path: path.to_owned(),
        source: errno.into(),
    }
}
