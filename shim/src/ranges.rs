//! Which range of ids a sandbox of root's has: one that no other has on this host, whatever `--root` they are kept under.
//! With the same ids two sandboxes would share what the kernel counts and permits by user: `RLIMIT_NPROC`, keys, files
//! where everyone may write.
//!
//! A range that is taken is a link that leads to the sandbox's directory. The kernel lets one alone make it, in one call,
//! and it goes with the rest of the sandbox, before the directory; so what a killed `nucleus` has left is found again. Where
//! the directory was removed by others, the range is free when no process has ids of it.
//!
//! The search begins at the number that a name always has: where a file system maps no ids, and the workload's files there
//! have those of the range, a sandbox of that name most often comes back as their owner.

use crate::launch::{RANGES, hash, range};
use crate::store::{self, Error};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Where the links are.
const TAKEN: &str = "/run/nucleus/ids";

/// A range that is a sandbox's until it is released.
#[derive(Debug)]
pub struct Claim {
    /// The number of the range.
    pub number: u32,
}

impl Claim {
    /// Takes the first range from the name's on that nobody has.
    ///
    /// # Errors
    /// There is none, or the link cannot be made.
    pub fn take(name: &str, directory: &Path) -> Result<Self, Error> {
        let first = first(name);
        for number in (first..RANGES).chain(0..first) {
            let path = link(number);
            let mut made = make(directory, &path);
            if is_taken(&made) && reclaim(number, &path)? {
                made = make(directory, &path);
            }
            if !is_taken(&made) {
                return made.map(|()| Self { number });
            }
        }
        Err(Error::NoRange(TAKEN.into()))
    }

    /// Gives it back.
    ///
    /// # Errors
    /// The link cannot be removed.
    pub fn release(&self) -> Result<(), Error> {
        release(&link(self.number))
    }
}

/// The number where the search for a name's range begins.
pub fn first(name: &str) -> u32 {
    hash(name) % RANGES
}

fn make(directory: &Path, path: &Path) -> Result<(), Error> {
    let make = || symlink(directory, path).map_err(store::call("symlink", path));
    match make() {
        // The first since this host has been up.
        Err(Error::Call { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            store::make_private(Path::new(TAKEN))?;
            make()
        }
        made => made,
    }
}

fn is_taken(made: &Result<(), Error>) -> bool {
    matches!(made, Err(Error::Call { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists)
}

/// Frees a range of which nobody is left; false if somebody is.
fn reclaim(number: u32, path: &Path) -> Result<bool, Error> {
    let all = Path::new(TAKEN);
    let lock = File::open(all).map_err(store::call("open", all))?;
    // Of two callers the second finds the link of who was quicker.
    flock(&lock, FlockOperation::LockExclusive).map_err(|errno| store::call("flock", all)(errno.into()))?;
    let gone = |directory: PathBuf| {
        let found = fs::symlink_metadata(directory);
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    // It may be out of sight only, in a private /tmp.
    let is_left = !fs::read_link(path).is_ok_and(gone) || has_process(number).unwrap_or(true);
    if !is_left {
        release(path)?;
    }
    Ok(!is_left)
}

/// Whether a process has user ids of this range.
fn has_process(number: u32) -> io::Result<bool> {
    let ids = range(number);
    let has = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let mut found = line.into_iter().flat_map(str::split_whitespace);
        found.any(|id| id.parse().is_ok_and(|id| ids.contains(&id)))
    };
    let mut statuses = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("status")).ok());
    Ok(statuses.any(has))
}

/// Gives back what the sandbox in this directory has: nobody knows which.
///
/// # Errors
/// The links cannot be read or removed.
pub fn release_of(directory: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(TAKEN) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(store::call("open", Path::new(TAKEN)))?,
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if fs::read_link(&path).is_ok_and(|target| target == directory) {
            release(&path)?;
        }
    }
    Ok(())
}

fn release(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(store::call("unlink", path)(error)),
        _ => Ok(()),
    }
}

fn link(number: u32) -> PathBuf {
    Path::new(TAKEN).join(number.to_string())
}
