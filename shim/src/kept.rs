//! Root directories that outlast a sandbox.
//!
//! The root of a sandbox that is made from the host consists of some fifty mount targets and small files, which cost
//! more than all the rest to make and to remove (a removed mount target is a grace period of the kernel each). So it
//! is kept, under the digest of what it consists of, and shared: it is mounted read-only, and a workload without
//! capabilities cannot change that. A directory is looked through before each use all the same: kinds, owner, modes,
//! and that nothing in it was changed after it was finished, which ctime tells, for no program can set that.
//!
//! Whoever uses a directory holds a shared lock on it; one that nobody holds may be removed, and is when there are
//! more than a few.

use crate::skeleton::{self, Made};
use nucleus_policy::Digest;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, openat, statat};
use std::fs::{self, DirBuilder};
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How many are kept: one for each kind of launch that a user goes back and forth between.
const MOST: usize = 16;
/// The root directory in a kept directory. Its parent is out of every sandbox's reach.
const ROOT: &str = "rootfs";
/// Changed with the meaning of what is digested.
const FORM: &str = "nucleus root directory 1\n";

/// A root directory that is not removed while this lives.
#[derive(Debug)]
pub struct Kept {
    directory: PathBuf,
    _lock: OwnedFd,
}

impl Kept {
    /// The root directory.
    pub fn root(&self) -> PathBuf {
        self.directory.join(ROOT)
    }

    /// The root directory of these entries among `all` the kept ones; made by `name` if there is none. `None` if it
    /// cannot be kept for whatever reason: the sandbox then needs one of its own.
    pub fn take(all: &Path, made: &[(PathBuf, Made)], name: &str) -> Option<Self> {
        let directory = all.join(digest(made).to_string());
        match open(&directory, FlockOperation::NonBlockingLockShared) {
            Ok(lock) if is_unchanged(&lock, made) => {
                return Some(Self {
                    directory,
                    _lock: lock,
                });
            }
            Ok(lock) => {
                drop(lock);
                remove_unused(&directory).ok()?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return None,
        }
        let lock = make(all, &directory, made, name).ok()?;
        tidy(all);
        is_unchanged(&lock, made).then_some(Self {
            directory,
            _lock: lock,
        })
    }
}

/// Opens a directory and locks it, which tells `WouldBlock` if another lock is in the way.
fn open(directory: &Path, how: FlockOperation) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = openat(CWD, directory, flags, Mode::empty())?;
    flock(&fd, how)?;
    Ok(fd)
}

fn digest(made: &[(PathBuf, Made)]) -> Digest {
    /// Hands on what is hashed as it is.
    struct Bytes(Vec<u8>);
    impl Hasher for Bytes {
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut bytes = Bytes(FORM.into());
    made.hash(&mut bytes);
    Digest::of(&bytes.0)
}

/// Makes it under another name first: under its own it is whole, always.
fn make(all: &Path, directory: &Path, made: &[(PathBuf, Made)], name: &str) -> io::Result<OwnedFd> {
    let mut private = DirBuilder::new();
    private.mode(0o700);
    let unfinished = all.join(format!(".{name}"));
    if private.create(&unfinished).is_err() {
        private.recursive(true).create(all)?;
        private.recursive(false).create(&unfinished)?;
    }
    let finished = open(&unfinished, FlockOperation::NonBlockingLockShared).and_then(|lock| {
        skeleton::write(made, &unfinished.join(ROOT)).map_err(|(_, error)| error)?;
        fs::rename(&unfinished, directory)?;
        Ok(lock)
    });
    if finished.is_err() {
        fs::remove_dir_all(&unfinished)?;
    }
    finished
}

/// Whether the directory holds what it has to, and nothing has touched it since it got its name.
fn is_unchanged(directory: &OwnedFd, made: &[(PathBuf, Made)]) -> bool {
    let Ok(finished) = fstat(directory) else {
        return false;
    };
    let root_itself = (PathBuf::new(), Made::Directory);
    std::iter::once(&root_itself).chain(made).all(|(path, made)| {
        let path = Path::new(ROOT).join(path);
        statat(directory.as_fd(), &path, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| {
            found.st_uid == finished.st_uid
                && found.st_dev == finished.st_dev
                && changed(&found) <= changed(&finished)
                && is_as_made(&found, made)
        })
    })
}

fn changed(stat: &Stat) -> (i64, i64) {
    (stat.st_ctime, stat.st_ctime_nsec.cast_signed())
}

fn is_as_made(found: &Stat, made: &Made) -> bool {
    let mode = found.st_mode & 0o7777;
    let size = |size: u64| u64::try_from(found.st_size).is_ok_and(|found| found == size);
    match (made, FileType::from_raw_mode(found.st_mode)) {
        (Made::Directory, FileType::Directory) => mode == 0o755,
        (Made::Text(text), FileType::RegularFile) => mode == 0o644 && size(text.len() as u64),
        (Made::Copy(_, version), FileType::RegularFile) => mode == 0o644 && size(version.size),
        (Made::Link(_), FileType::Symlink) => true,
        _ => false,
    }
}

/// Removes what is unfinished and left behind, and the oldest if there are too many. What cannot be removed is left
/// to the next.
fn tidy(all: &Path) {
    let entries = fs::read_dir(all).into_iter().flatten().flatten();
    let (mut finished, mut gone) = (Vec::new(), Vec::new());
    for entry in entries {
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            gone.push(entry.path());
        } else if let Ok(metadata) = entry.metadata() {
            finished.push(((metadata.ctime(), metadata.ctime_nsec()), entry.path()));
        }
    }
    finished.sort_unstable();
    let too_many = finished.len().saturating_sub(MOST);
    gone.extend(finished.into_iter().take(too_many).map(|(_, path)| path));
    for directory in gone {
        let _ = remove_unused(&directory);
    }
}

/// Removes a directory that nobody uses: under a sandbox, its mounts would go with it.
fn remove_unused(directory: &Path) -> io::Result<()> {
    let _lock = open(directory, FlockOperation::NonBlockingLockExclusive)?;
    fs::remove_dir_all(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn entries() -> Vec<(PathBuf, Made)> {
        vec![
            ("etc".into(), Made::Directory),
            ("etc/hostname".into(), Made::Text("sandbox\n".into())),
            (
                "etc/localtime".into(),
                Made::Link("/usr/share/zoneinfo/UTC".into()),
            ),
            ("usr".into(), Made::Directory),
        ]
    }

    fn inode(kept: &Kept) -> u64 {
        kept.root().metadata().expect("a root").ino()
    }

    #[test]
    fn the_same_entries_get_the_same_directory() {
        let all = tempfile::tempdir().expect("a directory");
        let first = Kept::take(all.path(), &entries(), "a").expect("made");
        let second = Kept::take(all.path(), &entries(), "b").expect("found");
        assert_eq!(inode(&first), inode(&second));
        assert_eq!(
            fs::read_to_string(second.root().join("etc/hostname")).expect("a file"),
            "sandbox\n"
        );
        let mut other = entries();
        other[1].1 = Made::Text("other\n".into());
        let other = Kept::take(all.path(), &other, "c").expect("made");
        assert_ne!(inode(&first), inode(&other));
    }

    /// Each of these leaves or restores what `ls -l` shows.
    #[test]
    fn a_changed_directory_is_not_used_again() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 6] = [
            ("a text of the same length", |root| {
                fs::write(root.join("etc/hostname"), "sandbux\n").expect("write");
            }),
            ("a file more", |root| {
                fs::write(root.join("etc/ld.so.preload"), "/x.so\n").expect("write");
            }),
            ("a file less", |root| {
                fs::remove_dir(root.join("usr")).expect("rmdir");
            }),
            ("another link", |root| {
                fs::remove_file(root.join("etc/localtime")).expect("unlink");
                symlink("/usr/share/zoneinfo/UTX", root.join("etc/localtime")).expect("link");
            }),
            ("a mode and back", |root| {
                for mode in [0o777, 0o755] {
                    fs::set_permissions(root.join("usr"), fs::Permissions::from_mode(mode)).expect("chmod");
                }
            }),
            ("a text, and its old times", |root| {
                let file = fs::File::options()
                    .write(true)
                    .open(root.join("etc/hostname"))
                    .expect("open");
                let modified = file.metadata().expect("stat").modified().expect("a time");
                io::Write::write_all(&mut &file, b"sandbux\n").expect("write");
                file.set_modified(modified).expect("set the time");
            }),
        ];
        for (what, change) in changes {
            let all = tempfile::tempdir().expect("a directory");
            let first = Kept::take(all.path(), &entries(), "a").expect("made");
            let root = first.root();
            // Past the clock tick in which it was made: until then no sandbox has seen it.
            std::thread::sleep(std::time::Duration::from_millis(20));
            change(&root);
            assert!(
                Kept::take(all.path(), &entries(), "b").is_none(),
                "{what}: it is in use and cannot be replaced"
            );
            drop(first);
            let new = Kept::take(all.path(), &entries(), "c").expect("made anew");
            let at = |name: &str| new.root().join(name);
            assert_eq!(
                fs::read_to_string(at("etc/hostname")).expect("a file"),
                "sandbox\n",
                "{what}"
            );
            assert_eq!(
                fs::read_link(at("etc/localtime")).expect("a link"),
                Path::new("/usr/share/zoneinfo/UTC"),
                "{what}"
            );
            assert!(at("usr").is_dir() && !at("etc/ld.so.preload").exists(), "{what}");
        }
    }

    #[test]
    fn unused_ones_go_when_there_are_too_many_and_used_ones_stay() {
        let all = tempfile::tempdir().expect("a directory");
        let mut used = Vec::new();
        fs::create_dir(all.path().join(".left-behind")).expect("mkdir");
        for at in 0..MOST + 4 {
            let entry = vec![(PathBuf::from(format!("d{at}")), Made::Directory)];
            let kept = Kept::take(all.path(), &entry, "a").expect("made");
            if at < 2 {
                used.push(kept);
            }
        }
        assert!(used.iter().all(|kept| kept.root().is_dir()));
        let left = fs::read_dir(all.path()).expect("a directory").count();
        assert_eq!(left, MOST + 2);
        assert!(!all.path().join(".left-behind").exists());
    }
}
