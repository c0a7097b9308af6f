//! Finding and creating paths inside the root file system, with `openat2(2)`; [`lookup`] decides what is
//! asked, this carries it out.

use super::lookup::{self, Answer, Ask, Failed, Lookup};
use super::setup_fd::SetupFd;
use crate::fault::{Call, Fault};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::ops::Range;

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
    retry(|| open(root, path, flags, true))
}

/// Opens a path inside the root of which no component may be a symbolic link.
///
/// # Errors
/// As `openat2(2)`: `ELOOP` for a link.
pub fn open_without_links(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> rustix::io::Result<SetupFd> {
    retry(|| open(root, path, flags, false))
}

fn open(root: BorrowedFd<'_>, path: &CStr, flags: OFlags, links: bool) -> rustix::io::Result<SetupFd> {
    let resolve = lookup::resolve(links);
    openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve).map(SetupFd::from)
}

/// Opens a path of the runtime namespace of which no component may be a symbolic link.
///
/// # Errors
/// As `openat2(2)`: `ELOOP` for a link.
pub fn open_source_without_links(path: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    retry(|| openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS))
}

/// A lookup that makes nothing.
fn retry<T>(mut open: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    let mut lookup = Lookup::of(0, lookup::RETRIES);
    loop {
        let opened = open();
        let answer = match &opened {
            Ok(_) => Answer::There,
            Err(errno) => (*errno).into(),
        };
        match lookup.next(answer) {
            Ok(Some(next)) => lookup = next,
            Ok(None) | Err(Failed) => return opened,
        }
    }
}

/// A path that is there now.
struct Opened {
    fd: SetupFd,
    /// The directory in which its last component was made.
    made_in: Option<SetupFd>,
}

/// Opens a path, creating what is missing. What is `beside` is the directory that holds it, where it is probably
/// missing.
fn open_or_make(
    root: BorrowedFd<'_>,
    path: &CStr,
    (kind, links, flags): (Kind, bool, OFlags),
    beside: Option<BorrowedFd<'_>>,
) -> Result<Opened, Fault> {
    let components = components(path);
    let count = components.len();
    let mut lookup = match beside {
        Some(_) => Lookup::beside(count, lookup::RETRIES),
        None => Lookup::of(count, lookup::RETRIES),
    };
    let (mut held, mut made_in) = (None, None);
    loop {
        let done = match lookup.ask() {
            Ask::Open(0) => open(root, path, flags, links)
                .map(|fd| held = Some(fd))
                .call("openat2"),
            Ask::Open(less) => {
                let prefix = before(path, components[count - less].start);
                let flags = OFlags::PATH | OFlags::DIRECTORY;
                open(root, &prefix, flags, links)
                    .map(|fd| held = Some(fd))
                    .call("openat2")
            }
            Ask::Make(left) => {
                let name = string(&path.to_bytes()[components[count - 1 - left].clone()]);
                let kind = if left == 0 { kind } else { Kind::Directory };
                made_in = held.take();
                match made_in.as_ref().map(SetupFd::as_fd).or(beside) {
                    Some(directory) => make(directory, &name, kind),
                    None => Err(Fault::finding("no directory to make it in")),
                }
            }
        };
        let answer = match &done {
            Ok(()) => Answer::There,
            Err(fault) => Errno::from_raw_os_error(fault.errno).into(),
        };
        match (lookup.next(answer), done) {
            (Ok(Some(next)), _) => lookup = next,
            (Err(Failed), Err(fault)) => return Err(fault),
            (Ok(None) | Err(Failed), _) => {
                let fd = held.ok_or_else(|| Fault::finding("nothing was opened"))?;
                return Ok(Opened { fd, made_in });
            }
        }
    }
}

/// The directory that something was made in last: `/dev/`, whose entries are made one after another, would be
/// looked up for each of them. It is forgotten when a mount may have covered it.
#[derive(Debug, Default)]
pub struct LastParent(Option<Last>);

#[derive(Debug)]
struct Last {
    path: CString,
    /// Whether a component of its path may have been a link.
    links: bool,
    fd: SetupFd,
}

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
        let (parent, _) = split(path);
        let beside = self.known(&parent, links).map(SetupFd::as_fd);
        let Opened { fd, made_in } = open_or_make(root, path, (kind, links, OFlags::PATH), beside)?;
        if let Some(fd) = made_in {
            self.keep(parent, links, fd);
        }
        Ok(fd)
    }

    /// Opens a directory that things are made in, creating missing ones.
    ///
    /// # Errors
    /// The failed call.
    pub fn open(&mut self, root: BorrowedFd<'_>, parent: &CStr) -> Result<BorrowedFd<'_>, Fault> {
        if self.known(parent, true).is_none() {
            let fd = parent_directory(root, parent)?;
            self.keep(parent.to_owned(), true, fd);
        }
        let known = self.known(parent, true);
        known
            .map(SetupFd::as_fd)
            .ok_or_else(|| Fault::finding("no directory"))
    }

    fn keep(&mut self, path: CString, links: bool, fd: SetupFd) {
        // The root itself is reached by no component.
        let links = links && path.to_bytes() != b"/";
        self.0 = Some(Last { path, links, fd });
    }

    /// One that was reached through a link is not known to who may follow none.
    fn known(&self, parent: &CStr, links: bool) -> Option<&SetupFd> {
        let last = self.0.as_ref()?;
        (*last.path == *parent && (links || !last.links)).then_some(&last.fd)
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
        self.0.take_if(|last| !below(&last.path));
    }
}

/// Creates a directory and its missing parents inside the root.
///
/// # Errors
/// The failed call.
pub fn make_directories(root: BorrowedFd<'_>, path: &CStr) -> Result<(), Fault> {
    parent_directory(root, path).map(drop)
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

/// What has the name already stays, and is not opened: it may be a FIFO, which blocks, or a device.
fn create_file(directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Fault> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Beneath a single directory and without links: the name itself is all that can be created.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(directory, name, flags, FILE_MODE, resolve).map(drop) {
        Err(Errno::EXIST) => Ok(()),
        made => made.call(not_there("create", made)),
    }
}

/// Opens a directory that holds something, creating missing ones.
///
/// # Errors
/// The failed call.
pub fn parent_directory(root: BorrowedFd<'_>, parent: &CStr) -> Result<SetupFd, Fault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    open_or_make(root, parent, (Kind::Directory, true, flags), None).map(|opened| opened.fd)
}

/// Splits a path into its parent (never empty) and its last component.
pub fn split(path: &CStr) -> (CString, CString) {
    match components(path).last() {
        Some(last) => (before(path, last.start), string(&path.to_bytes()[last.clone()])),
        None => (c"/".into(), CString::default()),
    }
}

/// Where the components of a path are in it.
fn components(path: &CStr) -> Vec<Range<usize>> {
    let mut at = 0;
    let names = path.to_bytes().split(|byte| *byte == b'/').map(|name| {
        let start = at;
        at += name.len() + 1;
        start..start + name.len()
    });
    names.filter(|name| !name.is_empty()).collect()
}

/// What is before a component; never empty.
fn before(path: &CStr, component: usize) -> CString {
    match &path.to_bytes()[..component] {
        b"" => c"/".into(),
        prefix => string(prefix),
    }
}

/// Part of a path, in which no NUL can be.
fn string(part: &[u8]) -> CString {
    CString::new(part).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_forgotten_unless_the_mount_is_below_it() {
        let kept = |destination: &CStr| {
            let null = rustix::fs::open("/dev/null", OFlags::PATH, Mode::empty()).expect("open");
            let mut last = LastParent::default();
            last.keep(c"/dev/".into(), true, null.into());
            last.covered(destination);
            last.known(c"/dev/", true).is_some()
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
    fn a_directory_that_a_link_may_lead_to_is_not_known_to_who_follows_none() {
        let null = || rustix::fs::open("/dev/null", OFlags::PATH, Mode::empty()).expect("open");
        let mut last = LastParent::default();
        for (path, reached, asked, known) in [
            (c"/a/", true, true, true),
            (c"/a/", true, false, false),
            (c"/a/", false, true, true),
            (c"/a/", false, false, true),
            (c"/", true, false, true),
        ] {
            last.keep(path.into(), reached, null().into());
            assert_eq!(last.known(path, asked).is_some(), known, "{path:?}");
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
