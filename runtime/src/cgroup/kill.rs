//! Signals to all processes of a container.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Error;
use super::create::open_directory;
use super::freezer::put;
use super::record::Record;

const SIGKILL: i32 = 9;
/// Rounds of killing: where there is no freezer, processes may fork faster than they are found.
const ROUNDS: u32 = 100;
/// So many descriptors are open at a time.
const BATCH: usize = 128;

impl Record {
    /// Sends `signal` to every process of the container, those in sub-cgroups too.
    ///
    /// SIGKILL goes through `cgroup.kill` (Linux 5.14) where there is cgroup2. Otherwise the processes are
    /// frozen, so that none forks away, found, signalled through pidfds (so that a reused pid is never hit)
    /// and thawed. Frozen processes stay frozen, except that SIGKILL thaws them: on version 1 they could not
    /// die otherwise.
    ///
    /// # Errors
    /// A directory cannot be read, a process may not be signalled, or processes keep appearing.
    pub fn kill_all(&self, signal: i32) -> Result<(), Error> {
        if self.intended || self.is_empty() {
            return Ok(());
        }
        if signal == SIGKILL {
            if !self.kill_unified()? {
                self.kill_found()?;
            }
            return self.release();
        }
        let frozen_before = self.is_frozen()?;
        let frozen = !frozen_before && self.freeze().is_ok();
        let result = self.signal_found(signal).map(drop);
        if frozen {
            result.and(self.release())
        } else {
            result
        }
    }

    /// SIGKILL through the kernel; false where it cannot do that.
    fn kill_unified(&self) -> Result<bool, Error> {
        let Some(place) = self.places.iter().find(|place| place.is_unified()) else {
            return Ok(false);
        };
        let at = match open_directory(&place.path) {
            Err(Error::Io {
                source: Errno::NOENT, ..
            }) => return Ok(true),
            other => other?,
        };
        match put(at.as_fd(), "cgroup.kill", "1", &place.path) {
            Err(Error::Io {
                source: Errno::NODEV, ..
            })
            | Ok(()) => Ok(true),
            // Before 5.14, or a threaded cgroup.
            Err(Error::Io {
                source: Errno::NOENT | Errno::OPNOTSUPP,
                ..
            }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// SIGKILL to all that can be found, until there is nothing left to find.
    fn kill_found(&self) -> Result<(), Error> {
        let frozen = self.freeze().is_ok();
        for round in 0..ROUNDS {
            if self.signal_found(SIGKILL)? == 0 || frozen {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(u64::from(round.min(10))));
        }
        let path = self.main().map(|place| place.path.clone()).unwrap_or_default();
        Err(Error::Timeout {
            act: "kill all processes of",
            path,
            milliseconds: ROUNDS * 10,
        })
    }

    /// Thaws; a cgroup that is gone meanwhile, or without a freezer, is fine.
    fn release(&self) -> Result<(), Error> {
        match self.thaw() {
            Err(
                Error::Unsupported { .. }
                | Error::Io {
                    source: Errno::NOENT | Errno::NODEV,
                    ..
                },
            ) => Ok(()),
            other => other,
        }
    }

    /// Signals the processes that are there now and tells how many they were.
    fn signal_found(&self, signal: i32) -> Result<usize, Error> {
        let pids = self.pids()?;
        for batch in pids.chunks(BATCH) {
            let mut open: Vec<(i32, OwnedFd)> = Vec::with_capacity(batch.len());
            for pid in batch {
                match Pid::from_raw(*pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
                    Some(Ok(descriptor)) => open.push((*pid, descriptor)),
                    // Dead meanwhile, or a thread that leads no group.
                    None | Some(Err(Errno::SRCH | Errno::INVAL)) => {}
                    Some(Err(errno)) => return Err(Error::io("open process", pid.to_string())(errno)),
                }
            }
            // A pid may have been reused between the listing and the opening. If it is listed now, and the
            // process that was opened still lives, they are one and the same.
            let still = self.pids()?;
            for (pid, descriptor) in open.iter().filter(|(pid, _)| still.binary_search(pid).is_ok()) {
                match nucleus_sys::signal::pidfd_send_signal(descriptor.as_fd(), signal) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(errno) => return Err(Error::io("signal process", pid.to_string())(errno)),
                }
            }
        }
        Ok(pids.len())
    }
}
