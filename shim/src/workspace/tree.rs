//! A directory tree whose contents are hostile: every path is opened below its root, without following a link and
//! without leaving the file system, and only what the kernel said of an open descriptor is believed.

use super::{Error, at};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat2, readlinkat, statat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Longer paths could not be opened by name.
const LONGEST: usize = 4000;

/// What is in a tree, by path.
pub type Nodes = BTreeMap<PathBuf, Node>;

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link, with its target.
    Link(PathBuf),
    /// What is never taken over, and why.
    Refused(&'static str),
}

impl Kind {
    /// Its name.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File => "file",
            Self::Link(_) => "symbolic link",
            Self::Refused(what) => what,
        }
    }
}

/// What tells whether somebody has changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// Inode number.
    pub ino: u64,
    /// Bytes.
    pub size: i64,
    /// Modification time in seconds and nanoseconds.
    pub mtime: (i64, u64),
    /// Time of the last change of the inode, which no program can set.
    pub ctime: (i64, u64),
}

impl Identity {
    /// Whether it is the same file with what it held, moved perhaps: that changes the time of the inode.
    pub fn holds_the_same(&self, other: &Self) -> bool {
        let ctime = other.ctime;
        Self { ctime, ..*self } == *other
    }
}

/// One of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, without setuid, setgid and sticky.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// How many names it has.
    pub links: u64,
    /// Which one it is.
    pub identity: Identity,
}

/// An open tree.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    path: PathBuf,
}

impl Tree {
    /// Opens it.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(at("open", path))?;
        Ok(Self {
            root,
            path: path.to_owned(),
        })
    }

    /// For error texts.
    pub fn name(&self, path: &Path) -> PathBuf {
        self.path.join(path)
    }

    /// Its root.
    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Opens a path below it. `openat2(2)`.
    ///
    /// # Errors
    /// `ELOOP` for a link, `EXDEV` for a path that leaves the tree, and as open(2).
    pub fn open_at(&self, path: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        rustix::io::retry_on_intr(|| openat2(&self.root, path, flags | OFlags::CLOEXEC, mode, resolve))
    }

    /// Opens the directory that holds `path`, and returns the last component.
    ///
    /// # Errors
    /// As [`Self::open_at`].
    pub fn parent<'a>(&self, path: &'a Path) -> rustix::io::Result<(OwnedFd, &'a OsStr)> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        Ok((self.open_at(parent, flags, Mode::empty())?, name))
    }

    /// Opens a regular file to read it.
    ///
    /// # Errors
    /// `EINVAL` for anything else, and as [`Self::open_at`].
    pub fn file(&self, path: &Path) -> rustix::io::Result<std::fs::File> {
        // A fifo that took its place meanwhile must not keep us waiting.
        let fd = self.open_at(
            path,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
            Mode::empty(),
        )?;
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        Ok(fd.into())
    }

    /// What lies at a path; `None` if there is nothing.
    ///
    /// # Errors
    /// The failed call.
    pub fn node(&self, path: &Path) -> Result<Option<Node>, Error> {
        let found = self
            .parent(path)
            .and_then(|(parent, name)| look(&parent, name).map(Some));
        match found {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            found => found.map_err(at("stat", &self.name(path))),
        }
    }

    /// All of it but the root. Directories that cannot be read are [`Kind::Refused`].
    ///
    /// # Errors
    /// The failed call.
    pub fn nodes(&self) -> Result<Nodes, Error> {
        let mut nodes = Nodes::new();
        let mut open = vec![PathBuf::new()];
        while let Some(directory) = open.pop() {
            match self.entries(&directory) {
                Ok(entries) => {
                    for (name, node) in entries {
                        let path = directory.join(OsStr::from_bytes(&name));
                        let node = if path.as_os_str().len() > LONGEST {
                            refused(node, "path too long")
                        } else {
                            if node.kind == Kind::Directory {
                                open.push(path.clone());
                            }
                            node
                        };
                        nodes.insert(path, node);
                    }
                }
                Err(errno) => {
                    let why = match errno {
                        Errno::ACCESS => "directory that cannot be read",
                        Errno::XDEV => "mount point",
                        _ => "",
                    };
                    let node = nodes.remove(&directory).filter(|_| !why.is_empty());
                    let Some(node) = node else {
                        return Err(at("read", &self.name(&directory))(errno));
                    };
                    nodes.insert(directory, refused(node, why));
                }
            }
        }
        Ok(nodes)
    }

    /// The names in a directory.
    ///
    /// # Errors
    /// The failed call.
    pub fn names(&self, directory: &Path) -> Result<Vec<std::ffi::OsString>, Error> {
        let entries = self
            .entries(directory)
            .map_err(at("read", &self.name(directory)))?;
        Ok(entries
            .into_iter()
            .map(|(name, _)| std::ffi::OsString::from_vec(name))
            .collect())
    }

    fn entries(&self, directory: &Path) -> rustix::io::Result<Vec<(Vec<u8>, Node)>> {
        let fd = self.open_at(directory, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            match look(&fd, OsStr::from_bytes(name)) {
                Ok(node) => entries.push((name.to_vec(), node)),
                // Removed meanwhile.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(entries)
    }
}

fn refused(node: Node, why: &'static str) -> Node {
    Node {
        kind: Kind::Refused(why),
        ..node
    }
}

fn look(directory: impl AsFd, name: &OsStr) -> rustix::io::Result<Node> {
    let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => {
            let target = readlinkat(&directory, name, Vec::new())?.into_bytes();
            Kind::Link(std::ffi::OsString::from_vec(target).into())
        }
        FileType::Fifo => Kind::Refused("fifo"),
        FileType::Socket => Kind::Refused("socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Kind::Refused("device"),
        FileType::Unknown => Kind::Refused("file of an unknown type"),
    };
    Ok(Node {
        kind,
        mode: stat.st_mode & 0o777,
        owner: (stat.st_uid, stat.st_gid),
        links: stat.st_nlink,
        identity: Identity::of(&stat),
    })
}

impl Identity {
    /// What fstat(2) tells.
    pub fn of(stat: &Stat) -> Self {
        Self {
            ino: stat.st_ino,
            size: stat.st_size,
            mtime: (stat.st_mtime, stat.st_mtime_nsec),
            ctime: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}
