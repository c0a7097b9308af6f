//! Hearing of it when the kernel ends processes of a container for want of memory, or refuses it one.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::Error;
use super::create::{open_directory, read_at};
use super::freezer::put;
use super::record::{Place, Record};

/// Tells of every time that the container ran out of memory; `Documentation/admin-guide/cgroup-v1/memory.rst`
/// section 10, `cgroup-v2.rst`.
#[derive(Debug)]
pub struct OomWatch {
    /// `eventfd(2)` on version 1, `memory.events` on version 2.
    descriptor: OwnedFd,
    path: String,
    unified: bool,
    seen: u64,
}

impl Record {
    /// Starts to watch.
    ///
    /// # Errors
    /// The container has no memory cgroup, or its files cannot be opened.
    pub fn watch_oom(&self) -> Result<OomWatch, Error> {
        match self.with("memory") {
            Some(place) if place.is_unified() => watch_v2(place),
            Some(place) => watch_v1(place),
            None => Err(Error::unsupported("events", "the container has no memory cgroup")),
        }
    }
}

impl Record {
    /// How many processes of the container the kernel has ended for want of memory. Where that is not counted
    /// it is 0.
    pub fn oom_kills(&self) -> u64 {
        self.with("memory").map_or(0, |place| {
            let file = match place.is_unified() {
                true => "memory.events",
                // The count is there since Linux 4.13.
                false => "memory.oom_control",
            };
            read_count(place, file, "oom_kill ")
        })
    }

    /// How many processes and threads the limit of pids has refused the container. Where that is not counted it
    /// is 0.
    pub fn pids_refused(&self) -> u64 {
        self.with("pids")
            .map_or(0, |place| read_count(place, "pids.events", "max "))
    }

    /// The directory of a controller: on version 1, otherwise the one on cgroup2.
    fn with(&self, controller: &str) -> Option<&Place> {
        let places = || self.places.iter().filter(|_| !self.intended);
        places()
            .find(|place| place.has(controller))
            .or_else(|| places().find(|place| place.is_unified()))
    }
}

fn read_count(place: &Place, file: &str, key: &str) -> u64 {
    open_directory(&place.path)
        .and_then(|at| read_at(at.as_fd(), file, &place.path))
        .ok()
        .and_then(|text| count(&text, key))
        .unwrap_or(0)
}

/// The number after `key`.
fn count(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|count| count.parse().ok())
}

fn watch_v1(place: &Place) -> Result<OomWatch, Error> {
    let at = open_directory(&place.path)?;
    let path = format!("{}/memory.oom_control", place.path);
    let control = open_file(&at, "memory.oom_control").map_err(Error::io("open", &path))?;
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let descriptor = eventfd(0, flags).map_err(Error::io("make an eventfd for", &path))?;
    let line = format!("{} {}", descriptor.as_raw_fd(), control.as_raw_fd());
    put(at.as_fd(), "cgroup.event_control", &line, &place.path)?;
    Ok(OomWatch {
        descriptor,
        path: place.path.clone(),
        unified: false,
        seen: 0,
    })
}

fn watch_v2(place: &Place) -> Result<OomWatch, Error> {
    let at = open_directory(&place.path)?;
    let path = format!("{}/memory.events", place.path);
    let descriptor = open_file(&at, "memory.events").map_err(Error::io("open", &path))?;
    let mut watch = OomWatch {
        descriptor,
        path,
        unified: true,
        seen: 0,
    };
    watch.seen = watch.killed()?;
    Ok(watch)
}

fn open_file(at: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    openat(at, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

impl OomWatch {
    /// What `poll(2)` should wait for before [`happened`](Self::happened) is asked.
    pub fn descriptor(&self) -> (BorrowedFd<'_>, PollFlags) {
        let flags = if self.unified {
            PollFlags::PRI
        } else {
            PollFlags::IN
        };
        (self.descriptor.as_fd(), flags)
    }

    /// Whether the container ran out of memory since it was asked last. Does not wait.
    ///
    /// # Errors
    /// The kernel's file cannot be read. A cgroup that is gone has no more events.
    pub fn happened(&mut self) -> Result<bool, Error> {
        if self.unified {
            let killed = self.killed()?;
            return Ok(killed > std::mem::replace(&mut self.seen, killed));
        }
        match rustix::io::read(&self.descriptor, &mut [0; 8]) {
            // Removing the cgroup signals it too.
            Ok(_) => Ok(open_directory(&self.path)
                .and_then(|at| read_at(at.as_fd(), "memory.oom_control", &self.path))
                .is_ok()),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(source) => Err(Error::io("read the eventfd of", &self.path)(source)),
        }
    }

    /// `oom_kill` of `memory.events`.
    fn killed(&self) -> Result<u64, Error> {
        let mut text = [0; 512];
        let length = match rustix::io::pread(&self.descriptor, &mut text, 0) {
            Err(Errno::NODEV) => return Ok(self.seen),
            result => result.map_err(Error::io("read", &self.path))?,
        };
        let text = String::from_utf8_lossy(&text[..length]);
        count(&text, "oom_kill ").ok_or_else(|| Error::Content {
            path: self.path.clone(),
            content: text.into_owned(),
        })
    }
}
