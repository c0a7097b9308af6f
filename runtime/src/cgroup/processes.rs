//! The processes in a container's cgroups.

use rustix::fs::{Dir, FileType, Mode, OFlags, open};
use rustix::io::Errno;

use super::Error;
use super::create::{open_directory, read_at};
use super::record::{Place, Record};
use std::os::fd::AsFd;

/// The sub-cgroups of a cgroup, as absolute paths. None if it is gone.
pub(super) fn children(path: &str) -> Result<Vec<String>, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let failed = |source| Error::Io {
        act: "list cgroup",
        path: path.to_owned(),
        source,
    };
    let directory = match open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in Dir::new(directory).map_err(failed)? {
        let entry = match entry {
            // The cgroup went away while it was listed.
            Err(Errno::NODEV | Errno::NOENT) => break,
            other => other.map_err(failed)?,
        };
        let name = entry.file_name().to_str().map_err(|_| failed(Errno::ILSEQ))?;
        if entry.file_type() == FileType::Directory && name != "." && name != ".." {
            found.push(format!("{path}/{name}"));
        }
    }
    Ok(found)
}

/// Adds the processes of a cgroup and its sub-cgroups. One that is gone has none.
///
/// A process of another pid namespace shows as 0 and is left out: it could not be addressed anyway.
pub(super) fn collect(path: &str, pids: &mut Vec<i32>) -> Result<(), Error> {
    let text = match open_directory(path).and_then(|at| read_at(at.as_fd(), "cgroup.procs", path)) {
        Err(Error::Io {
            source: Errno::NOENT | Errno::NODEV,
            ..
        }) => return Ok(()),
        // A threaded cgroup: its processes are listed at the root of the threaded subtree above it.
        Err(Error::Io {
            source: Errno::OPNOTSUPP,
            ..
        }) => String::new(),
        other => other?,
    };
    for line in text.lines() {
        let pid: i32 = line.parse().map_err(|_| Error::Content {
            path: format!("{path}/cgroup.procs"),
            content: line.to_owned(),
        })?;
        if pid > 0 {
            pids.push(pid);
        }
    }
    for child in children(path)? {
        collect(&child, pids)?;
    }
    Ok(())
}

impl Record {
    /// The directory by which processes are found: any will do, since a process enters all of them.
    pub(super) fn main(&self) -> Option<&Place> {
        self.places
            .iter()
            .find(|place| place.is_unified())
            .or_else(|| {
                self.places
                    .iter()
                    .find(|place| place.has("pids") || place.has("freezer"))
            })
            .or(self.places.first())
    }

    /// All processes of the container, those in sub-cgroups too, by ascending pid in the caller's pid
    /// namespace.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        let mut pids = Vec::new();
        if let Some(place) = self.main().filter(|_| !self.intended) {
            collect(&place.path, &mut pids)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }
}
