//! What the container's state remembers about its cgroups.

use std::time::Duration;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::create::rmdir;
use super::systemd::{self, Scope};
use super::{Error, Plan};

/// How long [`Record::delete`] waits for processes that are still dying.
const PATIENCE: u32 = 1000;

/// The cgroups of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The directories, the cgroup2 one last.
    pub(super) places: Vec<Place>,
    /// The unit, where systemd made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<Scope>,
    /// Whether this is only what was going to be made. No process of the container can be in there yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) intended: bool,
}

/// The container's directory in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// As in [`Hierarchy`](super::Hierarchy).
    pub(super) controllers: String,
    /// Absolute host path.
    pub(super) path: String,
    /// How much of `path` is the mount point.
    pub(super) mount: usize,
    /// How many of the last components of `path` we made: 0 where the directory was there before.
    pub(super) made: usize,
}

impl Place {
    pub(super) fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }

    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.split(',').any(|each| each == controller)
    }
}

impl Plan {
    /// What [`create`](super::create()) is going to make, to be kept in the state before it is called: should
    /// the runtime be killed half way, [`Record::delete`] then still finds what there is.
    ///
    /// Nothing is ever killed, frozen or updated through such a record.
    pub fn intent(&self) -> Record {
        let places = self.directories.iter().map(|directory| Place {
            controllers: directory.controllers.clone(),
            path: directory.path.clone(),
            mount: directory.mount,
            made: 1,
        });
        Record {
            places: places.collect(),
            scope: self.scope.clone(),
            intended: true,
        }
    }
}

impl Record {
    /// Whether the container has no cgroup of its own.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The container's directories as (controllers, absolute path); the controllers of cgroup2 are `""`.
    pub fn paths(&self) -> impl Iterator<Item = (&str, &str)> {
        self.places
            .iter()
            .map(|place| (place.controllers.as_str(), place.path.as_str()))
    }

    /// Refuses a directory that was there before and is in use.
    pub(super) fn refuse_occupied(&self, path: &str) -> Result<(), Error> {
        let mut pids = Vec::new();
        super::processes::collect(path, &mut pids)?;
        if pids.is_empty() {
            Ok(())
        } else {
            Err(Error::Occupied(path.to_owned()))
        }
    }

    /// Deletes the directories that were made for the container, with the sub-cgroups that its processes
    /// made there. Those that are gone already are fine, and parents that others use are left.
    ///
    /// # Errors
    /// A process is still in there after a second; the other directories are deleted all the same.
    pub fn delete(&self) -> Result<(), Error> {
        let mut patience = Patience::default();
        // First, for systemd would see a deleted directory as the end of all its processes. A scope that was only
        // intended may be another container's; ours has ended by itself, with the placeholder in it.
        let ours = self.scope.as_ref().filter(|_| !self.intended);
        let mut result = ours.map_or(Ok(()), systemd::stop);
        for place in self.places.iter().filter(|place| place.made > 0) {
            let removed = match self.intended {
                // A crash left it unsaid whether the directory was ours: only an empty one is removed.
                true => remove_empty(&place.path, &mut patience),
                false => remove(&place.path, &mut patience),
            };
            if removed.is_err() {
                result = result.and(removed);
                continue;
            }
            let parents = std::path::Path::new(&place.path)
                .ancestors()
                .skip(1)
                .take(place.made - 1);
            for parent in parents.filter_map(|parent| parent.to_str()) {
                if rmdir(parent).is_err() {
                    break;
                }
            }
        }
        result
    }
}

/// What is left of the time to wait, and the next pause. Milliseconds.
struct Patience {
    left: u32,
    pause: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            left: PATIENCE,
            pause: 1,
        }
    }
}

impl Patience {
    /// Sleeps for twice as long as last time; false when the time is up.
    fn wait(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        let pause = self.pause.min(self.left).min(64);
        std::thread::sleep(Duration::from_millis(pause.into()));
        self.left -= pause;
        self.pause = pause * 2;
        true
    }
}

fn gone(errno: Errno) -> rustix::io::Result<()> {
    if matches!(errno, Errno::NOENT) {
        Ok(())
    } else {
        Err(errno)
    }
}

/// Removes a cgroup that nothing of ours is known to be in. A first process whose runtime was killed ends by
/// itself: it is waited for.
fn remove_empty(path: &str, patience: &mut Patience) -> Result<(), Error> {
    loop {
        match rmdir(path).or_else(gone) {
            Ok(()) => return Ok(()),
            Err(Errno::BUSY) if patience.wait() => {}
            Err(source) => return Err(Error::io("delete cgroup", path)(source)),
        }
    }
}

/// Removes a cgroup: at once in the common case, else its sub-cgroups first, and again while it is busy with
/// processes on their way out.
fn remove(path: &str, patience: &mut Patience) -> Result<(), Error> {
    loop {
        match rmdir(path).or_else(gone) {
            Ok(()) => return Ok(()),
            Err(Errno::BUSY | Errno::NOTEMPTY) => {}
            Err(source) => return Err(Error::io("delete cgroup", path)(source)),
        }
        for child in super::processes::children(path)? {
            remove(&child, patience)?;
        }
        match rmdir(path).or_else(gone) {
            Ok(()) => return Ok(()),
            Err(source) if !patience.wait() => return Err(Error::io("delete cgroup", path)(source)),
            Err(_) => {}
        }
    }
}
