//! The tree: reached from one descriptor of its top, name by name, in the manifest's order.

use super::{Difference, Error, FileKind, Mismatch};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;

/// How deep a tree may be: one descriptor is open for each level.
pub const MAX_DEPTH: usize = 256;
/// The most bytes that the names of a directory and of those above it may take together, 8 for each and its length:
/// 64 MiB.
pub const MAX_NAMES: usize = 64 << 20;

/// Opens the top of a tree. Symbolic links in the path are followed: it is the caller's.
///
/// # Errors
/// As `open(2)`.
pub fn open_root(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// Opens a name of a directory: no link is followed, no other mount entered, no terminal taken, no pipe or device
/// waited for.
fn open(directory: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd, Difference> {
    let flags =
        flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    // Not BENEATH: one name, which a directory has given, leads nowhere else, and the kernel's check of that fails
    // with the errno of another mount when the directory is renamed meanwhile.
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    loop {
        match rustix::fs::openat2(directory, name, flags, Mode::empty(), resolve) {
            // The kernel saw a rename elsewhere while it resolved.
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::XDEV) => return Err(Difference::MountPoint),
            Err(Errno::NOENT) => return Err(Difference::Missing),
            // It was something else when its directory was read.
            Err(Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => return Err(Difference::Unsteady),
            result => return result.map_err(Difference::Unreadable),
        }
    }
}

/// What tells that a file or directory was changed: the kernel sets the times whenever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl Stamp {
    #[expect(clippy::unnecessary_cast, reason = "the types differ between targets")]
    fn of(stat: &Stat) -> Self {
        Self {
            size: stat.st_size as i64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as u64),
        }
    }
}

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    path: Vec<u8>,
    stamp: Stamp,
    /// Permissions, set-id and sticky bits.
    pub(super) mode: u32,
}

impl Directory {
    fn from(fd: OwnedFd, path: Vec<u8>) -> Result<Self, Difference> {
        let stat = rustix::fs::fstat(&fd).map_err(Difference::Unreadable)?;
        Ok(Self {
            fd,
            path,
            stamp: Stamp::of(&stat),
            mode: stat.st_mode & 0o7777,
        })
    }

    /// The whole of a link's target.
    pub(super) fn read_link(&self, name: &[u8]) -> Result<Vec<u8>, Difference> {
        match rustix::fs::readlinkat(&self.fd, name, Vec::new()) {
            Ok(target) => Ok(target.into_bytes()),
            Err(Errno::INVAL | Errno::NOENT) => Err(Difference::Unsteady),
            Err(errno) => Err(Difference::Unreadable(errno)),
        }
    }

    /// Called by whoever is done with it: the last one looks whether it is still as it was at the first.
    pub(super) fn release(this: Arc<Self>) -> Option<Mismatch> {
        let directory = Arc::into_inner(this)?;
        let difference = match rustix::fs::fstat(&directory.fd) {
            Ok(stat) if Stamp::of(&stat) == directory.stamp => return None,
            Ok(_) => Difference::Unsteady,
            Err(errno) => Difference::Unreadable(errno),
        };
        Some(Mismatch {
            path: directory.path,
            difference,
        })
    }
}

/// An open regular file.
#[derive(Debug)]
pub(super) struct RegularFile {
    fd: OwnedFd,
    stamp: Stamp,
    /// Permissions, set-id and sticky bits.
    pub(super) mode: u32,
    /// Bytes.
    pub(super) size: u64,
}

impl RegularFile {
    /// Opens it.
    ///
    /// # Errors
    /// It is none, or gives capabilities to who executes it.
    pub(super) fn open(directory: &Directory, name: &[u8]) -> Result<Self, Difference> {
        let fd = open(directory.fd.as_fd(), name, OFlags::empty())?;
        let stat = rustix::fs::fstat(&fd).map_err(Difference::Unreadable)?;
        let actual = kind(FileType::from_raw_mode(stat.st_mode));
        if actual != FileKind::File {
            return Err(Difference::WrongType {
                expected: FileKind::File,
                actual,
            });
        }
        // Capabilities are given to who executes the file: nobody can, not even root, without one of these bits.
        if stat.st_mode & 0o111 != 0 {
            match rustix::fs::fgetxattr(&fd, c"security.capability", &mut [0_u8; 0]) {
                Ok(_) => return Err(Difference::Capabilities),
                Err(Errno::NODATA | Errno::NOTSUP) => {}
                Err(errno) => return Err(Difference::Unreadable(errno)),
            }
        }
        Ok(Self {
            fd,
            stamp: Stamp::of(&stat),
            mode: stat.st_mode & 0o7777,
            size: u64::try_from(stat.st_size).unwrap_or(0),
        })
    }

    /// The descriptor.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Reads on, at least a byte.
    ///
    /// # Errors
    /// It ends here, before its size, or cannot be read.
    pub(super) fn read(&self, bytes: &mut [u8]) -> Result<usize, Difference> {
        loop {
            match rustix::io::read(&self.fd, &mut *bytes) {
                Err(Errno::INTR) => {}
                Ok(0) => return Err(Difference::Unsteady),
                result => return result.map_err(Difference::Unreadable),
            }
        }
    }

    /// Looks whether it is as it was when it was opened: what was read of it is then of one piece.
    ///
    /// # Errors
    /// It is not, or cannot be looked at.
    pub(super) fn is_steady(&self) -> Result<(), Difference> {
        match rustix::fs::fstat(&self.fd) {
            Ok(stat) if Stamp::of(&stat) == self.stamp => Ok(()),
            Ok(_) => Err(Difference::Unsteady),
            Err(errno) => Err(Difference::Unreadable(errno)),
        }
    }
}

fn kind(file_type: FileType) -> FileKind {
    match file_type {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Link,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        _ => FileKind::Device,
    }
}

/// Whether a link at `path` climbs above the top. An absolute target starts there.
pub(super) fn escapes(path: &[u8], target: &[u8]) -> bool {
    let mut depth = if target.starts_with(b"/") {
        0
    } else {
        path.iter().filter(|byte| **byte == b'/').count()
    };
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if depth == 0 && !target.starts_with(b"/") => return true,
            b".." => depth = depth.saturating_sub(1),
            _ => depth += 1,
        }
    }
    false
}

/// What was found in a directory.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: Vec<u8>,
    pub(super) kind: FileKind,
    pub(super) directory: Arc<Directory>,
}

impl Found {
    pub(super) fn name(&self) -> &[u8] {
        last(&self.path)
    }

    /// Only its path is still wanted.
    pub(super) fn release(self) -> Vec<u8> {
        // The walk is in this directory: it is never the last to be done with it.
        drop(self.directory);
        self.path
    }

    /// Opens it as a directory.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn open(&self) -> Result<Directory, Difference> {
        let fd = open(self.directory.fd.as_fd(), self.name(), OFlags::DIRECTORY)?;
        Directory::from(fd, self.path.clone())
    }
}

/// The last name of a path.
pub(super) fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// The names of one directory, sorted: their bytes one after the other, and where each begins.
#[derive(Debug, Default)]
struct Names {
    bytes: Vec<u8>,
    entries: Vec<Name>,
}

/// Where a name begins, its length, and what it is the name of.
type Name = (u32, u16, FileKind);

impl Names {
    fn get(&self, (start, length, _): Name) -> &[u8] {
        &self.bytes[start as usize..start as usize + usize::from(length)]
    }

    /// Bytes that they take.
    fn size(&self) -> usize {
        self.bytes.len() + size_of_val(self.entries.as_slice())
    }

    /// Reads a directory whose names take no more than `most` bytes.
    fn read(directory: &Directory, most: usize) -> Result<Self, Error> {
        let failed = |call| Error::call(call, &directory.path);
        let mut names = Self::default();
        let mut buffer = vec![MaybeUninit::uninit(); 32 << 10];
        let mut entries = RawDir::new(&directory.fd, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(failed("getdents"))?;
            let name = entry.file_name();
            let bytes = name.to_bytes();
            if bytes == b"." || bytes == b".." {
                continue;
            }
            let file_type = match entry.file_type() {
                FileType::Unknown => {
                    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
                    let stat = rustix::fs::statat(&directory.fd, name, flags);
                    FileType::from_raw_mode(stat.map_err(failed("stat in"))?.st_mode)
                }
                known => known,
            };
            let (start, length) = (names.bytes.len(), bytes.len());
            if names.size() + length + size_of::<Name>() > most {
                return Err(Error::TooMuch {
                    path: directory.path.clone(),
                    what: "more than 64 MiB of names in this directory and those above it",
                });
            }
            #[expect(
                clippy::cast_possible_truncation,
                reason = "below 64 MiB; a name has 255 bytes at most"
            )]
            names.entries.push((start as u32, length as u16, kind(file_type)));
            names.bytes.extend_from_slice(bytes);
        }
        let bytes = &names.bytes;
        let name = |&(start, length, _): &Name| &bytes[start as usize..start as usize + usize::from(length)];
        names.entries.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        Ok(names)
    }
}

#[derive(Debug)]
struct Level {
    directory: Arc<Directory>,
    names: Names,
    next: usize,
}

/// A walk through the tree. What it finds is only gone into when [`Walk::enter`] is called.
#[derive(Debug)]
pub(super) struct Walk {
    levels: Vec<Level>,
    /// Bytes of names that may still be held.
    left: usize,
}

impl Walk {
    /// Begins in the directory behind a descriptor, which may be one with `O_PATH`.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn new(root: BorrowedFd<'_>) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(root, c".", flags, Mode::empty()).map_err(Error::call("open", b"."))?;
        let directory = Directory::from(fd, Vec::new()).map_err(|difference| {
            Error::Unfit(Mismatch {
                path: b".".to_vec(),
                difference,
            })
        })?;
        let mut walk = Self {
            levels: Vec::new(),
            left: MAX_NAMES,
        };
        walk.enter(directory)?;
        Ok(walk)
    }

    /// The mode of the present directory.
    pub(super) fn mode(&self) -> u32 {
        self.levels.last().map_or(0, |level| level.directory.mode)
    }

    /// Opens the manifest, before anything is entered.
    ///
    /// # Errors
    /// [`Difference::Missing`], or it is no regular file.
    pub(super) fn open_manifest(&self) -> Result<RegularFile, Difference> {
        let top = self.levels.first().ok_or(Difference::Missing)?;
        RegularFile::open(&top.directory, super::MANIFEST.as_bytes())
    }

    /// Goes on with what is in this directory.
    ///
    /// # Errors
    /// It cannot be read, or is more than the limits allow.
    pub(super) fn enter(&mut self, directory: Directory) -> Result<(), Error> {
        if self.levels.len() == MAX_DEPTH {
            return Err(Error::TooMuch {
                path: directory.path,
                what: "more than 256 directories deep",
            });
        }
        let names = Names::read(&directory, self.left)?;
        self.left -= names.size();
        self.levels.push(Level {
            directory: Arc::new(directory),
            names,
            next: 0,
        });
        Ok(())
    }

    /// The next entry; the manifest at the top is none. A directory that was left and is no longer as it was is
    /// added to `unsteady`.
    pub(super) fn next(&mut self, unsteady: &mut Vec<Mismatch>) -> Option<Found> {
        loop {
            let at_top = self.levels.len() == 1;
            let level = self.levels.last_mut()?;
            let Some(&entry) = level.names.entries.get(level.next) else {
                let level = self.levels.pop()?;
                self.left += level.names.size();
                unsteady.extend(Directory::release(level.directory));
                continue;
            };
            level.next += 1;
            let name = level.names.get(entry);
            if at_top && name == super::MANIFEST.as_bytes() {
                continue;
            }
            let mut path = Vec::with_capacity(level.directory.path.len() + 1 + name.len());
            path.extend_from_slice(&level.directory.path);
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            return Some(Found {
                path,
                kind: entry.2,
                directory: Arc::clone(&level.directory),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Directory) {
        let place = tempfile::tempdir().expect("a directory");
        std::fs::write(place.path().join("file"), [1; 5000]).expect("write");
        std::fs::write(place.path().join("other"), [2; 5000]).expect("write");
        let fd = open_root(place.path()).expect("open");
        let directory = Directory::from(fd, Vec::new()).expect("a directory");
        // Before Linux 6.13 times are as coarse as the timer tick.
        std::thread::sleep(std::time::Duration::from_millis(20));
        (place, directory)
    }

    #[test]
    fn a_file_that_changes_while_it_is_open_is_unsteady() {
        let (place, directory) = place();
        let path = place.path().join("file");
        let changes: [&dyn Fn(); 4] = [
            &|| std::fs::write(&path, [3; 5000]).expect("write"),
            &|| std::fs::write(&path, [3; 5001]).expect("write"),
            &|| std::fs::rename(place.path().join("other"), &path).expect("mv"),
            &|| std::fs::write(&path, [3; 4999]).expect("write"),
        ];
        for change in changes {
            let file = RegularFile::open(&directory, b"file").expect("open");
            std::thread::sleep(std::time::Duration::from_millis(20));
            let mut bytes = [0; 5000];
            file.read(&mut bytes).expect("read");
            assert_eq!(file.is_steady(), Ok(()));
            change();
            assert_eq!(file.is_steady(), Err(Difference::Unsteady));
        }
    }

    #[test]
    fn a_directory_in_which_names_were_exchanged_is_unsteady_to_the_last_who_is_done_with_it() {
        let (place, directory) = place();
        let directory = Arc::new(directory);
        let at = |name| place.path().join(name);
        let exchange = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(CWD, at("file"), CWD, at("other"), exchange).expect("exchange");
        assert_eq!(Directory::release(Arc::clone(&directory)), None);
        let told = Directory::release(directory).expect("told");
        assert_eq!(told.difference, Difference::Unsteady);
    }

    #[test]
    fn links_that_climb_above_the_top() {
        for (path, target, out) in [
            ("a", "b", false),
            ("a", "/nix/store/x", false),
            ("a", "..", true),
            ("a/b", "..", false),
            ("a/b", "../..", true),
            ("a/b", "../c/../../d", true),
            ("a/b/c", "./../d/../../e", false),
            ("a", "/../x", false),
            ("a", "b/../c", false),
        ] {
            assert_eq!(
                escapes(path.as_bytes(), target.as_bytes()),
                out,
                "{path} -> {target}"
            );
        }
    }
}
