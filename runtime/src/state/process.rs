//! A process that is known again although its id may be used twice.

use crate::fault::{Call, Fault};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Its numbers would name other processes: to be signalled, mapped or joined in the place of ours.
pub const FOREIGN_PROC: &str =
    "/proc shows the processes of another pid namespace than the runtime's (mount -t proc proc /proc)";

/// The first process of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id in the runtime's pid namespace.
    pub pid: u32,
    /// When it started, in clock ticks since boot: tells it from a later process with the same id.
    pub start_time: u64,
}

impl Process {
    /// The process with this id, as it is now.
    ///
    /// # Errors
    /// `ENOENT` or `ESRCH` when there is none.
    pub fn now(pid: u32) -> rustix::io::Result<Self> {
        let start_time = read_stat(pid)?.start_time;
        Ok(Self { pid, start_time })
    }

    /// The child of this process with this id, as it is now.
    ///
    /// # Errors
    /// The failed call, or that `/proc` is not the one of this process's pid namespace.
    pub fn child(pid: u32) -> Result<Self, Fault> {
        let stat = read_stat(pid).call_on("read, in the /proc of the runtime's pid namespace,", || {
            format!("/proc/{pid}/stat")
        })?;
        // Kernel threads are the children of process 2, which may be this one's number.
        let own = rustix::process::getpid().as_raw_nonzero().get().cast_unsigned();
        if stat.parent != own || stat.flags & PF_KTHREAD != 0 {
            return Err(Fault::finding(FOREIGN_PROC));
        }
        Ok(Self {
            pid,
            start_time: stat.start_time,
        })
    }

    /// Whether it is still the same process, and not a zombie. One that cannot be looked at counts as alive:
    /// to be deleted it has to be ended first.
    pub fn is_alive(&self) -> bool {
        match read_stat(self.pid) {
            Ok(stat) => stat.start_time == self.start_time && !matches!(stat.state, b'Z' | b'X' | b'x'),
            Err(errno) => !matches!(errno, Errno::NOENT | Errno::SRCH),
        }
    }

    /// Whether a descriptor of a process is of the one that `/proc` shows under this id. Nothing when its process has
    /// ended. `pidfd_open(2)` takes ids of this process's pid namespace; `/proc` may be of another.
    ///
    /// # Errors
    /// The failed call on `/proc/self/fdinfo`.
    pub fn is_behind(&self, pidfd: BorrowedFd<'_>) -> rustix::io::Result<Option<bool>> {
        let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
        let mut buffer = [0u8; 512];
        let pid = parse_fdinfo(read_start(&path, &mut buffer)?).ok_or(Errno::PROTO)?;
        Ok((pid != -1).then_some(pid == i64::from(self.pid)))
    }
}

/// In the flags of a thread of the kernel.
const PF_KTHREAD: u64 = 0x0020_0000;

/// What is of use in `/proc/PID/stat`; `proc_pid_stat(5)`, fields 3, 4, 9 and 22.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    parent: u32,
    flags: u64,
    start_time: u64,
}

fn read_stat(pid: u32) -> rustix::io::Result<Stat> {
    let mut buffer = [0u8; 512];
    parse_stat(read_start(&format!("/proc/{pid}/stat"), &mut buffer)?).ok_or(Errno::PROTO)
}

fn read_start<'a>(path: &str, buffer: &'a mut [u8]) -> rustix::io::Result<&'a [u8]> {
    let file = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let length = rustix::io::read(&file, &mut *buffer)?;
    Ok(&buffer[..length])
}

/// The id in the pid namespace of that `/proc`: 0 where it has none, -1 after the end.
fn parse_fdinfo(text: &[u8]) -> Option<i64> {
    let mut lines = std::str::from_utf8(text).ok()?.lines();
    lines
        .find_map(|line| line.strip_prefix("Pid:"))?
        .trim()
        .parse()
        .ok()
}

fn parse_stat(stat: &[u8]) -> Option<Stat> {
    // The name in parentheses may hold anything: the last one ends it.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = stat.get(end + 2..)?.split(|byte| *byte == b' ');
    let state = *fields.next()?.first()?;
    let mut number = |skipped| std::str::from_utf8(fields.nth(skipped)?).ok()?.parse().ok();
    Some(Stat {
        state,
        parent: u32::try_from(number(0)?).ok()?,
        flags: number(4)?,
        start_time: number(12)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_fields() {
        let stat = b"7 (a) b) c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 123 45";
        let expected = Stat {
            state: b'S',
            parent: 1,
            flags: 4194560,
            start_time: 4711,
        };
        assert_eq!(parse_stat(stat), Some(expected));
        assert_eq!(parse_stat(b"garbage"), None);
    }

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not_it() {
        let own = Process::now(std::process::id()).unwrap();
        assert!(own.is_alive());
        assert!(
            !Process {
                start_time: own.start_time + 1,
                ..own
            }
            .is_alive()
        );
    }
}
