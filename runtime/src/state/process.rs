//! A process that is known again although its id may be used twice.

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

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
        let (start_time, _) = read_stat(pid)?;
        Ok(Self { pid, start_time })
    }

    /// Whether it is still the same process, and not a zombie. One that cannot be looked at counts as alive:
    /// to be deleted it has to be ended first.
    pub fn is_alive(&self) -> bool {
        match read_stat(self.pid) {
            Ok((start_time, state)) => start_time == self.start_time && !matches!(state, b'Z' | b'X' | b'x'),
            Err(errno) => !matches!(errno, Errno::NOENT | Errno::SRCH),
        }
    }
}

/// Start time and state letter; `proc_pid_stat(5)`, fields 22 and 3.
fn read_stat(pid: u32) -> rustix::io::Result<(u64, u8)> {
    let mut path = [0u8; 32];
    let text = {
        use std::io::Write;
        let mut cursor = &mut path[..];
        write!(cursor, "/proc/{pid}/stat").map_err(|_| Errno::NAMETOOLONG)?;
        let rest = cursor.len();
        &path[..32 - rest]
    };
    let file = openat(CWD, text, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [0u8; 512];
    let length = rustix::io::read(&file, &mut buffer)?;
    parse_stat(&buffer[..length]).ok_or(Errno::PROTO)
}

fn parse_stat(stat: &[u8]) -> Option<(u64, u8)> {
    // The name in parentheses may hold anything: the last one ends it.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = stat.get(end + 2..)?.split(|byte| *byte == b' ');
    let state = *fields.next()?.first()?;
    let start_time = std::str::from_utf8(fields.nth(18)?).ok()?.parse().ok()?;
    Some((start_time, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_fields() {
        let stat = b"7 (a) b) c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 123 45";
        assert_eq!(parse_stat(stat), Some((4711, b'S')));
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
