//! Pausing and resuming all processes of a container.
//!
//! Where there is a freezer hierarchy of version 1 it is used, on hybrid hosts too, because that is where
//! clients look; else `cgroup.freeze` of cgroup2.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::Error;
use super::create::{open_directory, read_at};
use super::record::{Place, Record};

/// How long processes may take to stop, in milliseconds. One in an uninterruptible sleep stops after that.
const PATIENCE: u32 = 2000;
/// After so many milliseconds a version 1 cgroup that is half frozen gets a moment to run: a process may be
/// waiting, unfreezable, for one that is frozen already (vfork(2)).
const RELIEF: u32 = 50;

impl Record {
    /// Stops all processes and waits until they stand still. A cgroup that is frozen stays so.
    ///
    /// # Errors
    /// No hierarchy has a freezer; or the processes do not stop within two seconds, and run on then.
    pub fn freeze(&self) -> Result<(), Error> {
        let place = self.freezer().ok_or_else(no_freezer)?;
        let at = open_directory(&place.path)?;
        let result = match place.is_unified() {
            true => freeze_v2(at.as_fd(), &place.path),
            false => freeze_v1(at.as_fd(), &place.path),
        };
        if result.is_err() {
            let _ = self.thaw();
        }
        result
    }

    /// Lets all processes run again. No error if they are not frozen.
    ///
    /// # Errors
    /// No hierarchy has a freezer, or it cannot be written to.
    pub fn thaw(&self) -> Result<(), Error> {
        let place = self.freezer().ok_or_else(no_freezer)?;
        let at = open_directory(&place.path)?;
        match place.is_unified() {
            true => put(at.as_fd(), "cgroup.freeze", "0", &place.path),
            false => put(at.as_fd(), "freezer.state", "THAWED", &place.path),
        }
    }

    /// Whether the processes are frozen, or on their way there.
    ///
    /// # Errors
    /// The state cannot be read. A cgroup that is gone is not frozen.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        let Some(place) = self.freezer() else {
            return Ok(false);
        };
        let file = if place.is_unified() {
            "cgroup.freeze"
        } else {
            "freezer.state"
        };
        match open_directory(&place.path).and_then(|at| read_at(at.as_fd(), file, &place.path)) {
            Ok(state) => Ok(!matches!(state.trim_end(), "0" | "THAWED")),
            Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::NODEV)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn freezer(&self) -> Option<&Place> {
        let places = || self.places.iter().filter(|_| !self.intended);
        places()
            .find(|place| place.has("freezer"))
            .or_else(|| places().find(|place| place.is_unified()))
    }
}

fn no_freezer() -> Error {
    Error::unsupported("pause", "the container has no cgroup with a freezer")
}

fn freeze_v1(at: BorrowedFd<'_>, path: &str) -> Result<(), Error> {
    for waited in 1..=PATIENCE {
        // Written again each time: it also catches processes born meanwhile.
        put(at, "freezer.state", "FROZEN", path)?;
        if read_at(at, "freezer.state", path)?.trim_end() == "FROZEN" {
            return Ok(());
        }
        if waited % RELIEF == 0 {
            put(at, "freezer.state", "THAWED", path)?;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(timeout(path))
}

fn freeze_v2(at: BorrowedFd<'_>, path: &str) -> Result<(), Error> {
    put(at, "cgroup.freeze", "1", path)?;
    let failed = |source| Error::Io {
        act: "watch",
        path: format!("{path}/cgroup.events"),
        source,
    };
    let events = openat(
        at,
        "cgroup.events",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(failed)?;
    let start = Instant::now();
    let patience = Duration::from_millis(PATIENCE.into());
    let mut text = [0; 256];
    loop {
        let length = rustix::io::pread(&events, &mut text, 0).map_err(failed)?;
        if text[..length]
            .split(|byte| *byte == b'\n')
            .any(|line| line == b"frozen 1")
        {
            return Ok(());
        }
        let Some(left) = patience.checked_sub(start.elapsed()) else {
            return Err(timeout(path));
        };
        let left = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
}

fn timeout(path: &str) -> Error {
    Error::Timeout {
        act: "freeze",
        path: path.to_owned(),
        milliseconds: PATIENCE,
    }
}

/// Writes one of the core files.
pub(super) fn put(at: BorrowedFd<'_>, file: &str, value: &str, path: &str) -> Result<(), Error> {
    openat(at, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|descriptor| rustix::io::write(&descriptor, value.as_bytes()))
        .map(drop)
        .map_err(|source| Error::Io {
            act: "write",
            path: format!("{path}/{file}"),
            source,
        })
}
