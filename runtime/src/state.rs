//! What is known of a container between commands: a directory a container, below `--root`.
//!
//! | file | written | meaning |
//! |---|---|---|
//! | `state.json` | before anything else is made | what `delete` needs to undo everything |
//! | `config.json` | with it | the configuration as it was at `create`; `exec` takes its defaults from here |
//! | `init` | when the child is ready | the first process: pid and start time |
//! | `start`, `result` | by `create` | FIFOs between the waiting child and `start` |
//! | `notify` | by `create`, under a service manager | directory of the readiness socket, seen by the container |
//! | `starting` | `start` renames `start` to it | the start was claimed |
//!
//! Each file appears complete or not at all. The directory itself is the lock (`flock(2)`).

use crate::cgroup;
use crate::lifecycle::Status;
use oci_spec::runtime as oci;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RawDir, openat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// The version of runtime-spec that is implemented.
pub const OCI_VERSION: &str = "1.3.0";

/// Why the state of a container cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An id that cannot be a directory's name.
    #[error(
        "container id {0:?} is invalid: use letters, digits and _ + - . (at most 1024, not \".\" or \"..\")"
    )]
    InvalidId(String),
    /// No such container.
    #[error("container {id:?} does not exist (no such directory: {})", .directory.display())]
    Missing {
        /// The id.
        id: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// The id is in use.
    #[error("container {0:?} already exists")]
    Exists(String),
    /// Another command has been working on the container for too long.
    #[error("container {0:?} is busy: another command holds its lock")]
    Busy(String),
    /// A failed call on a file of the state.
    #[error("{call} {}", .path.display())]
    File {
        /// The call.
        call: &'static str,
        /// The file.
        path: PathBuf,
        /// Its errno.
        #[source]
        source: std::io::Error,
    },
    /// The directory of states is not the caller's to use.
    #[error(
        "{call} {}, where states are kept (give --root DIR, or without root's privileges set XDG_RUNTIME_DIR)",
        .path.display()
    )]
    Root {
        /// The call.
        call: &'static str,
        /// The path.
        path: PathBuf,
        /// Its errno.
        #[source]
        source: std::io::Error,
    },
    /// A file that does not hold what it should.
    #[error("{} is damaged", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// What `create` records before it makes anything.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// `ociVersion` of the configuration.
    pub oci_version: String,
    /// The id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system.
    pub rootfs: PathBuf,
    /// The annotations of the configuration.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// When the container was created, RFC 3339.
    pub created: String,
    /// User id that created it.
    pub owner: u32,
    /// Its cgroups.
    pub cgroup: cgroup::Record,
    /// Its own directory of the resctrl file system, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<PathBuf>,
    /// Whether its first process is process 1 of a pid namespace, and all others end with it.
    pub pid_namespace: bool,
}

/// The first process of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id in the runtime's pid namespace.
    pub pid: u32,
    /// When it started, in clock ticks since boot: tells it from a later process with the same id.
    pub start_time: u64,
}

/// The file `init`: what was known when the container became `created`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Init {
    /// The first process.
    #[serde(flatten)]
    pub process: Process,
    /// The cgroups as they were made; the record in `state.json` is what was going to be made.
    pub cgroup: cgroup::Record,
}

/// The state as `state` prints it and hooks get it; `runtime.md#state`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HookState {
    oci_version: String,
    id: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    bundle: PathBuf,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl HookState {
    /// The state of a container that is being created, with what is enforced of Landlock.
    pub fn new(spec: &oci::Spec, id: &str, bundle: &Path, landlock: Option<&str>) -> Self {
        Self {
            oci_version: spec.version().clone(),
            id: id.to_owned(),
            status: String::new(),
            pid: None,
            bundle: bundle.to_owned(),
            annotations: annotations(spec, landlock),
        }
    }

    /// The state of a recorded container.
    pub fn of(record: &Record) -> Self {
        Self {
            oci_version: record.oci_version.clone(),
            id: record.id.clone(),
            status: String::new(),
            pid: None,
            bundle: record.bundle.clone(),
            annotations: record.annotations.clone(),
        }
    }

    /// As JSON, with this status and first process.
    pub fn json(&self, status: &str, pid: Option<u32>) -> String {
        let state = Self {
            status: status.to_owned(),
            pid,
            ..self.clone()
        };
        serde_json::to_string(&state).unwrap_or_default()
    }
}

/// The annotations in a stable order, with what is enforced of Landlock.
pub fn annotations(spec: &oci::Spec, landlock: Option<&str>) -> BTreeMap<String, String> {
    let enforced = landlock.map(|text| (crate::plan::landlock::ENFORCED.to_owned(), text.to_owned()));
    spec.annotations()
        .iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone()))
        .chain(enforced)
        .collect()
}

/// Checks that an id is one path component of harmless characters, as runc does.
///
/// # Errors
/// [`Error::InvalidId`].
pub fn check_id(id: &str) -> Result<(), Error> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    if id.is_empty() || id.len() > 1024 || matches!(id, "." | "..") || !id.chars().all(harmless) {
        return Err(Error::InvalidId(id.to_owned()));
    }
    Ok(())
}

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
        if locked.is_err() {
            // Empty still; if another command has taken it up meanwhile, it stays.
            let _ = rustix::fs::unlinkat(CWD, &path, AtFlags::REMOVEDIR);
        }
        locked
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
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
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
        Ok(Loaded::new(record, init))
    }

    /// What is recorded and can be read.
    pub fn load_readable(&self) -> Loaded {
        Loaded::new(
            self.parse("state.json").unwrap_or_default(),
            self.parse("init").unwrap_or_default(),
        )
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let Some(bytes) = self.read(name)? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| Error::Damaged {
                path: self.path.join(name),
                source,
            })
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
                Ok(()) | Err(Errno::NOENT) => {}
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

    /// The status, from the files and the first process.
    ///
    /// # Errors
    /// The failed call.
    pub fn status(&self, process: Option<&Process>) -> Result<Status, Error> {
        Ok(match process {
            None => Status::Creating,
            Some(process) if !process.is_alive() => Status::Stopped,
            Some(_) if self.has("start")? => Status::Created,
            Some(_) => Status::Running,
        })
    }
}

impl Loaded {
    fn new(record: Option<Record>, init: Option<Init>) -> Self {
        let record = record.map(|record| match &init {
            Some(init) => Record {
                cgroup: init.cgroup.clone(),
                ..record
            },
            None => record,
        });
        Self { record, init }
    }
}

/// All that is recorded of a container.
#[derive(Debug)]
pub struct Loaded {
    /// Nothing when `create` died before it had made anything. The cgroups are the real ones as soon as they
    /// are known.
    pub record: Option<Record>,
    /// Nothing before the container was created.
    pub init: Option<Init>,
}

impl Process {
    /// The process with this id, as it is now.
    ///
    /// # Errors
    /// `ENOENT` or `ESRCH` when there is none.
    pub fn now(pid: u32) -> rustix::io::Result<Self> {
        let (start_time, _) = read_stat(pid)?;
        Ok(Self { pid, start_time })
    }

    /// Whether it is still the same process, and not a zombie. One that cannot be looked at counts as alive:
    /// to be deleted it has to be ended first.
    pub fn is_alive(&self) -> bool {
        match read_stat(self.pid) {
            Ok((start_time, state)) => start_time == self.start_time && !matches!(state, b'Z' | b'X' | b'x'),
            Err(errno) => !matches!(errno, Errno::NOENT | Errno::SRCH),
        }
    }
}

/// Start time and state letter; `proc_pid_stat(5)`, fields 22 and 3.
fn read_stat(pid: u32) -> rustix::io::Result<(u64, u8)> {
    let mut path = [0u8; 32];
    let text = {
        use std::io::Write;
        let mut cursor = &mut path[..];
        write!(cursor, "/proc/{pid}/stat").map_err(|_| Errno::NAMETOOLONG)?;
        let rest = cursor.len();
        &path[..32 - rest]
    };
    let file = openat(CWD, text, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [0u8; 512];
    let length = rustix::io::read(&file, &mut buffer)?;
    parse_stat(&buffer[..length]).ok_or(Errno::PROTO)
}

fn parse_stat(stat: &[u8]) -> Option<(u64, u8)> {
    // The name in parentheses may hold anything: the last one ends it.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = stat.get(end + 2..)?.split(|byte| *byte == b' ');
    let state = *fields.next()?.first()?;
    let start_time = std::str::from_utf8(fields.nth(18)?).ok()?.parse().ok()?;
    Some((start_time, state))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_one_harmless_component() {
        for good in ["a", "Web_1.2+x-y", "..."] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "/", "a b", "ä", "a\0"] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_fields() {
        let stat = b"7 (a) b) c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 123 45";
        assert_eq!(parse_stat(stat), Some((4711, b'S')));
        assert_eq!(parse_stat(b"garbage"), None);
    }

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not_it() {
        let own = Process::now(std::process::id()).unwrap();
        assert!(own.is_alive());
        assert!(
            !Process {
                start_time: own.start_time + 1,
                ..own
            }
            .is_alive()
        );
    }
}
