//! Finding and creating paths inside the root file system, with `openat2(2)`.

use super::setup_fd::SetupFd;
use crate::fault::{Call, Fault};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;
use std::ffi::{CStr, CString};

/// What a mount target has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// Anything but a directory.
    File,
}

const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);

/// Opens a path as seen from inside the root: absolute symbolic links start at the root and `..` cannot
/// leave it.
///
/// # Errors
/// As `openat2(2)`.
pub fn open_in_root(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> rustix::io::Result<SetupFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    retry(|| openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)).map(SetupFd::from)
}

/// Opens a path inside the root of which no component may be a symbolic link.
///
/// # Errors
/// As `openat2(2)`: `ELOOP` for a link.
pub fn open_without_links(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> rustix::io::Result<SetupFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    retry(|| openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)).map(SetupFd::from)
}

/// Opens a path of the runtime namespace of which no component may be a symbolic link.
///
/// # Errors
/// As `openat2(2)`: `ELOOP` for a link.
pub fn open_source_without_links(path: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    retry(|| openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS))
}

/// `openat2` gives `EAGAIN` when a rename elsewhere raced with `..`: the lookup was undecided, not refused.
fn retry<T>(mut open: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    for _ in 0..128 {
        match open() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    open()
}

/// The directory that something was made in last: `/dev/`, whose entries are made one after another, would be
/// looked up for each of them. It is forgotten when a mount may have covered it.
#[derive(Debug, Default)]
pub struct LastParent(Option<(CString, SetupFd)>);

impl LastParent {
    /// Opens a mount target as `O_PATH`, creating what is missing.
    ///
    /// # Errors
    /// The failed call. `ELOOP` when `links` is false and a component is a symbolic link.
    pub fn target(
        &mut self,
        root: BorrowedFd<'_>,
        path: &CStr,
        kind: Kind,
        links: bool,
    ) -> Result<SetupFd, Fault> {
        let open = if links { open_in_root } else { open_without_links };
        let (parent, name) = split(path);
        // Beside what was missing just now this is missing as well, most probably.
        if self.known(&parent).is_none() {
            match open(root, path, OFlags::PATH) {
                Ok(fd) => return Ok(fd),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).call("openat2"),
            }
        }
        make(self.open(root, &parent)?, &name, kind)?;
        open(root, path, OFlags::PATH).call("openat2")
    }

    /// Opens a directory that things are made in, creating missing ones.
    ///
    /// # Errors
    /// The failed call.
    pub fn open(&mut self, root: BorrowedFd<'_>, parent: &CStr) -> Result<BorrowedFd<'_>, Fault> {
        if self.known(parent).is_none() {
            self.0 = None;
        }
        let (_, fd): &(CString, SetupFd) = match &mut self.0 {
            Some(last) => last,
            none => none.insert((parent.to_owned(), parent_directory(root, parent)?)),
        };
        Ok(fd.as_fd())
    }

    fn known(&self, parent: &CStr) -> Option<&SetupFd> {
        self.0
            .as_ref()
            .and_then(|(path, fd)| (**path == *parent).then_some(fd))
    }

    /// To be told of every mount: only one below the directory leaves it as it is.
    pub fn covered(&mut self, destination: &CStr) {
        let below = |parent: &CString| {
            let rest = destination.to_bytes().strip_prefix(parent.to_bytes());
            rest.is_some_and(|rest| {
                let mut names = rest.split(|byte| *byte == b'/');
                names.clone().all(|name| name != b"..") && names.any(|name| !name.is_empty() && name != b".")
            })
        };
        self.0.take_if(|(parent, _)| !below(parent));
    }
}

/// Creates a directory and its missing parents inside the root.
///
/// # Errors
/// The failed call.
pub fn make_directories(root: BorrowedFd<'_>, path: &CStr) -> Result<(), Fault> {
    match open_in_root(root, path, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(_) => Ok(()),
        Err(Errno::NOENT) => create(root, path, Kind::Directory),
        Err(errno) => Err(errno).call("openat2"),
    }
}

fn create(root: BorrowedFd<'_>, path: &CStr, kind: Kind) -> Result<(), Fault> {
    let (parent, name) = split(path);
    make(parent_directory(root, &parent)?.as_fd(), &name, kind)
}

/// What a root file system that cannot be written lacks is for its owner to make.
fn not_there(call: &'static str, made: rustix::io::Result<()>) -> &'static str {
    match (made, call) {
        (Err(Errno::ACCESS | Errno::PERM | Errno::ROFS), "mkdir") => {
            "the root file system lacks it, and the container may not write there: make it: mkdir"
        }
        (Err(Errno::ACCESS | Errno::PERM | Errno::ROFS), _) => {
            "the root file system lacks it, and the container may not write there: make it: create"
        }
        _ => call,
    }
}

/// Makes one entry of a directory, if it is not there.
fn make(directory: BorrowedFd<'_>, name: &CStr, kind: Kind) -> Result<(), Fault> {
    match kind {
        Kind::Directory => match mkdirat(directory, name, DIRECTORY_MODE) {
            Err(Errno::EXIST) => Ok(()),
            result => result.call(not_there("mkdir", result)),
        },
        Kind::File => create_file(directory, name),
    }
}

fn create_file(directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Fault> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Beneath a single directory and without links: the name itself is all that can be created.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let made = openat2(directory, name, flags, FILE_MODE, resolve).map(drop);
    made.call(not_there("create", made))
}

/// Opens the directory that holds a path, creating missing ones.
///
/// # Errors
/// The failed call.
pub fn parent_directory(root: BorrowedFd<'_>, parent: &CStr) -> Result<SetupFd, Fault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    match open_in_root(root, parent, flags) {
        Err(Errno::NOENT) => {
            create(root, parent, Kind::Directory)?;
            open_in_root(root, parent, flags).call("openat2")
        }
        result => result.call("openat2"),
    }
}

/// Splits a path into its parent (never empty) and its last component.
pub fn split(path: &CStr) -> (CString, CString) {
    let bytes = path.to_bytes();
    let end = bytes
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(0, |last| last + 1);
    let start = bytes[..end]
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |slash| slash + 1);
    let parent = if start == 0 { b"/" } else { &bytes[..start] };
    let string = |part: &[u8]| CString::new(part).unwrap_or_default();
    (string(parent), string(&bytes[start..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_forgotten_unless_the_mount_is_below_it() {
        let kept = |destination: &CStr| {
            let null = rustix::fs::open("/dev/null", OFlags::PATH, Mode::empty()).expect("open");
            let mut last = LastParent(Some((c"/dev/".into(), null.into())));
            last.covered(destination);
            last.known(c"/dev/").is_some()
        };
        for below in [c"/dev/pts", c"/dev/a/b", c"/dev/./shm/"] {
            assert!(kept(below), "{below:?}");
        }
        for other in [
            c"/dev",
            c"/dev/",
            c"/dev//",
            c"/dev/.",
            c"/",
            c"/device",
            c"/dev/../dev",
            c"/dev/a/..",
        ] {
            assert!(!kept(other), "{other:?}");
        }
    }

    #[test]
    fn paths_are_split_at_the_last_component() {
        let split_text = |path: &CStr| {
            let (parent, name) = split(path);
            (parent.into_string().unwrap(), name.into_string().unwrap())
        };
        assert_eq!(split_text(c"/dev/null"), ("/dev/".into(), "null".into()));
        assert_eq!(split_text(c"/dev/pts/"), ("/dev/".into(), "pts".into()));
        assert_eq!(split_text(c"/proc"), ("/".into(), "proc".into()));
        assert_eq!(split_text(c"proc"), ("/".into(), "proc".into()));
        assert_eq!(split_text(c"/"), ("/".into(), String::new()));
    }
}
