//! Where sandboxes live while they run: a directory each, locked by its supervisor.

use crate::egress::Network;
use crate::kept::Kept;
use crate::ranges::{self, Claim};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The directory of all sandboxes of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    root: PathBuf,
    tag: Option<String>,
}

/// What went wrong with which path.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call failed.
    #[error("{call} {}", path.display())]
    Call {
        /// The call.
        call: &'static str,
        /// Its object.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else could change what is in it.
    #[error("{}: not a directory of this user alone, with mode 0700; give another with --root", .0.display())]
    NotOurs(PathBuf),
    /// Secrets would be written to a disk.
    #[error("{}: not a tmpfs, and secrets are kept in memory alone", .0.display())]
    NotInMemory(PathBuf),
    /// The name is taken.
    #[error("there is a sandbox with the name {0:?}; nucleus rm {0} removes it")]
    Taken(String),
    /// Every range is a sandbox's.
    #[error(
        "no range of user ids is free: links in {} are the sandboxes that have one; nucleus rm removes sandboxes",
        .0.display()
    )]
    NoRange(PathBuf),
    /// No such name.
    #[error("there is no sandbox with the name {0:?}; nucleus ps lists them")]
    Unknown(String),
}

pub(crate) fn call(call: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Call { call, path, source }
}

/// One sandbox. While this lives, nobody else takes it for left behind.
#[derive(Debug)]
pub struct Sandbox {
    /// Its name.
    pub name: String,
    directory: PathBuf,
    secrets: PathBuf,
    apart: PathBuf,
    /// Its root directory, if that outlasts it.
    pub root: Option<Kept>,
    /// What it has of user ids.
    range: Range,
    /// Whether a network was made for it, or may have been.
    pub networked: bool,
    /// That network, once it is ready.
    pub network: Option<Network>,
    _lock: File,
}

/// The range of user ids of a sandbox.
#[derive(Debug)]
enum Range {
    None,
    Taken(Claim),
    /// Another call has taken it.
    Unknown,
}

impl Store {
    /// `--root`, or `/run/nucleus`, `$XDG_RUNTIME_DIR/nucleus` without root, `/dev/shm/nucleus-UID` without that.
    ///
    /// # Errors
    /// It cannot be made, or is not this user's alone.
    pub fn open(root: Option<PathBuf>) -> Result<Self, Error> {
        let usual = usual();
        let Some(root) = root else {
            make_private(&usual)?;
            return Ok(Self {
                root: usual,
                tag: None,
            });
        };
        make_private(&root)?;
        let path = root.canonicalize().map_err(call("open", &root))?;
        let is_usual = usual.canonicalize().is_ok_and(|usual| usual == path);
        let tag = (!is_usual).then(|| {
            let digest = nucleus_policy::Digest::of(path.as_os_str().as_bytes()).to_string();
            digest[..16].to_owned()
        });
        // Whoever is told of it may have another working directory.
        Ok(Self { root: path, tag })
    }

    /// The same before it is opened: neither made nor looked at. `None` where it has another name until it is made.
    pub fn expected(root: Option<&Path>) -> Option<Self> {
        let root = match root {
            Some(root) => root.canonicalize().ok()?,
            None => usual(),
        };
        Some(Self { root, tag: None })
    }

    /// What a sandbox is called where those of all roots are side by side: control groups, and `/dev/shm`. With `@`,
    /// which no name has, so that no two are the same.
    pub fn full_name(&self, name: &str) -> String {
        match &self.tag {
            Some(tag) => format!("{name}@{tag}"),
            None => name.to_owned(),
        }
    }

    /// Where all of it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the runtime keeps its states.
    pub fn runtime_root(&self) -> PathBuf {
        self.root.join("runtime")
    }

    /// Where root directories are kept that outlast a sandbox.
    pub fn roots(&self) -> PathBuf {
        self.root.join("roots")
    }

    /// Where root directories are that a process with other ids than root's reaches by their path. They hold mount
    /// targets and the small files of `/etc`.
    fn open_root(&self) -> PathBuf {
        let mut name = self.root.file_name().unwrap_or_default().to_owned();
        name.push("-open");
        self.root.with_file_name(name)
    }

    fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    /// Where the directory of a sandbox is, there or not.
    pub fn place_of(&self, name: &str) -> PathBuf {
        self.sandboxes().join(name)
    }

    /// Makes the directory of a new sandbox.
    ///
    /// # Errors
    /// The name is taken, or the directory cannot be made.
    pub fn create(&self, name: &str) -> Result<Sandbox, Error> {
        let all = self.sandboxes();
        let directory = all.join(name);
        let _quiet = match without_sweep(&all, FlockOperation::LockShared) {
            Err(Error::Call { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                match private().create(&all) {
                    // Another call was quicker.
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(call("mkdir", &all)(error));
                    }
                    _ => without_sweep(&all, FlockOperation::LockShared)?,
                }
            }
            quiet => quiet?,
        };
        let made = private().create(&directory);
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Taken(name.to_owned()));
            }
            made => made.map_err(call("mkdir", &directory))?,
        }
        let sandbox = self.sandbox(name, directory.clone());
        if sandbox.is_err() {
            // A umask that takes the caller's own rights: nobody could remove it by its content.
            let _ = fs::remove_dir(&directory);
        }
        sandbox
    }

    fn sandbox(&self, name: &str, directory: PathBuf) -> Result<Sandbox, Error> {
        let lock = File::open(&directory).map_err(call("open", &directory))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| call("flock", &directory)(errno.into()))?;
        let uid = rustix::process::geteuid().as_raw();
        Ok(Sandbox {
            name: name.to_owned(),
            directory,
            secrets: PathBuf::from(format!("/dev/shm/nucleus-secrets-{uid}-{}", self.full_name(name))),
            apart: self.open_root().join(name),
            root: None,
            range: Range::None,
            networked: false,
            network: None,
            _lock: lock,
        })
    }

    /// The names of all sandboxes, sorted.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let all = self.sandboxes();
        let entries = match fs::read_dir(&all) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(call("open", &all)(error)),
        };
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// The directory of a sandbox.
    ///
    /// # Errors
    /// There is none.
    pub fn directory(&self, name: &str) -> Result<PathBuf, Error> {
        let unknown = || Error::Unknown(name.to_owned());
        crate::parse::name(name).map_err(|_| unknown())?;
        let directory = self.sandboxes().join(name);
        if directory.is_dir() {
            Ok(directory)
        } else {
            Err(unknown())
        }
    }

    /// Takes over a sandbox whose supervisor is gone; `None` while it lives.
    ///
    /// # Errors
    /// There is no such sandbox.
    pub fn orphan(&self, name: &str) -> Result<Option<Sandbox>, Error> {
        let directory = self.directory(name)?;
        let _quiet = without_sweep(&self.sandboxes(), FlockOperation::LockExclusive)?;
        match self.sandbox(name, directory) {
            Ok(sandbox) => Ok(Some(Sandbox {
                range: if rustix::process::geteuid().is_root() {
                    Range::Unknown
                } else {
                    Range::None
                },
                networked: true,
                ..sandbox
            })),
            Err(Error::Call { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes over a sandbox whose supervisor was killed; `None` for one that was left to itself, too.
    ///
    /// # Errors
    /// There is no such sandbox.
    pub fn left_behind(&self, name: &str) -> Result<Option<Sandbox>, Error> {
        let detached = self.directory(name)?.join("detached");
        // Such a one is not even locked, so that others find it free.
        if detached.exists() {
            return Ok(None);
        }
        // It may have become one before the lock was had.
        Ok(self.orphan(name)?.filter(|_| !detached.exists()))
    }
}

impl Sandbox {
    /// Where its bundle is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes a place for a root directory that the ids of a user namespace reach: other runtimes than ours open it
    /// from inside.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make_apart(&self) -> Result<PathBuf, Error> {
        for path in self.apart.parent().into_iter().chain([self.apart.as_path()]) {
            match DirBuilder::new().mode(0o711).create(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(call("mkdir", path)(error));
                }
                _ => {}
            }
            let metadata = fs::symlink_metadata(path).map_err(call("stat", path))?;
            let own = metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
            if !own || metadata.mode() & 0o022 != 0 {
                return Err(Error::NotOurs(path.to_owned()));
            }
        }
        Ok(self.apart.join("rootfs"))
    }

    /// Takes a range of user ids, and returns its number.
    ///
    /// # Errors
    /// There is none.
    pub fn take_range(&mut self, full_name: &str) -> Result<u32, Error> {
        let claim = Claim::take(full_name, &self.directory)?;
        let number = claim.number;
        self.range = Range::Taken(claim);
        Ok(number)
    }

    /// Where its secrets are: in memory.
    pub fn secrets(&self) -> &Path {
        &self.secrets
    }

    /// Removes what it has elsewhere.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn remove_files(&self) -> Result<(), Error> {
        match &self.range {
            Range::None => {}
            Range::Taken(claim) => claim.release()?,
            Range::Unknown => ranges::release_of(&self.directory)?,
        }
        remove(&self.secrets)?;
        remove(&self.apart)
    }

    /// Removes its directory: nothing tells of it any more.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn remove_directory(&self) -> Result<(), Error> {
        // Most often there is nothing else in it.
        let _ = fs::remove_file(self.directory.join("config.json"));
        fs::remove_dir(&self.directory).or_else(|_| remove(&self.directory))
    }
}

fn remove(directory: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(call("remove", directory)(error)),
        _ => Ok(()),
    }
}

/// Where a user's sandboxes are.
fn usual() -> PathBuf {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        PathBuf::from("/run/nucleus")
    } else if let Some(directory) = std::env::var_os("XDG_RUNTIME_DIR") {
        PathBuf::from(directory).join("nucleus")
    } else {
        PathBuf::from(format!("/dev/shm/nucleus-{}", uid.as_raw()))
    }
}

/// A sandbox's directory is made and locked in two steps: nobody takes it for left behind between them.
fn without_sweep(all: &Path, how: FlockOperation) -> Result<File, Error> {
    let file = File::open(all).map_err(call("open", all))?;
    flock(&file, how).map_err(|errno| call("flock", all)(errno.into()))?;
    Ok(file)
}

fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// Makes the directory, or checks that it is one that only this user can change: others may have made it first
/// where everyone can write.
///
/// # Errors
/// It cannot be made, or somebody else could change what is in it.
pub fn make_private(path: &Path) -> Result<(), Error> {
    match private().create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            private()
                .recursive(true)
                .create(path)
                .map_err(call("mkdir", path))?;
        }
        Err(error) => return Err(call("mkdir", path)(error)),
    }
    let fd = rustix::fs::open(
        path,
        OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| call("open", path)(errno.into()))?;
    let metadata = File::from(fd).metadata().map_err(call("stat", path))?;
    if metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(Error::NotOurs(path.to_owned()))
    }
}
