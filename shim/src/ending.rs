//! How a workload ended, told apart.

use crate::kernel_log::{self, Killed};
use crate::say::say;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// What `nucleus-runtime run --info-fd` tells at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Status {
    /// The exit code, unless a signal ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// How many processes of it were killed for want of memory.
    pub oom_kills: u64,
    /// How many times the limit of processes refused one.
    pub pids_refused: u64,
}

impl Status {
    /// What is told of each limit that was hit, also by a workload that has gone on: which, and how many times.
    pub fn limits_hit(self) -> Vec<Value> {
        [("memory", self.oom_kills), ("pids", self.pids_refused)]
            .into_iter()
            .filter(|(_, times)| *times > 0)
            .map(|(limit, times)| json!({"limit": limit, "times": times}))
            .collect()
    }

    /// What somebody who cannot end by a signal itself says of a command with its own exit code: the first process of
    /// `--init`, and gVisor's kernel.
    #[must_use]
    pub fn behind_init(self) -> Self {
        match self.exit_code {
            Some(code @ 129..=192) => Self {
                exit_code: None,
                signal: Some(code - 128),
                ..self
            },
            _ => self,
        }
    }
}

/// Why a workload ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// By itself.
    Exited(i32),
    /// By a signal.
    Signaled(i32),
    /// It took longer than it may.
    TimedOut,
    /// It had more memory than it may.
    OutOfMemory,
    /// It exited with an error after the limit of processes refused one.
    PidsLimit(i32),
    /// The seccomp profile killed it.
    Seccomp(Option<String>),
    /// The runtime did not start it; its own error is on standard error.
    NotStarted(i32),
}

impl Ending {
    /// What the status means.
    pub fn of(status: Status, timed_out: bool) -> Self {
        match (status.signal, status.exit_code) {
            _ if timed_out => Self::TimedOut,
            (Some(9), _) if status.oom_kills > 0 => Self::OutOfMemory,
            (Some(31), _) => Self::Seccomp(None),
            (Some(signal), _) => Self::Signaled(signal),
            (None, Some(code)) if code != 0 && status.oom_kills > 0 => Self::OutOfMemory,
            (None, Some(code)) if code != 0 && status.pids_refused > 0 => Self::PidsLimit(code),
            (None, code) => Self::Exited(code.unwrap_or(0)),
        }
    }

    /// With the system call that a process was killed for since then, where the kernel's log tells it.
    #[must_use]
    pub fn with_call(self, killed: Killed, since: Duration) -> Self {
        match self {
            Self::Seccomp(None) => Self::Seccomp(kernel_log::killed_call(killed, since)),
            other => other,
        }
    }

    /// The exit code of `nucleus`, as a shell would have it; 124 after a time-out, as timeout(1).
    pub fn code(&self, status: Status) -> i32 {
        match self {
            Self::TimedOut => 124,
            Self::NotStarted(code) => *code,
            _ => status
                .signal
                .map_or_else(|| status.exit_code.unwrap_or(0), |signal| 128 + signal),
        }
    }

    /// Whether a person wants to be told: not what the workload did by itself.
    pub fn is_worth_a_line(&self) -> bool {
        !matches!(self, Self::Exited(_) | Self::NotStarted(_))
    }

    /// Tells it on standard error, if that is worth a line.
    pub fn tell(&self, quiet: bool) {
        if self.is_worth_a_line() && !quiet {
            say!("nucleus: {self}");
        }
    }

    /// The fields of the event.
    pub fn json(&self) -> Value {
        match self {
            Self::Exited(code) => json!({"reason": "exited", "exit-code": code}),
            Self::Signaled(signal) => json!({"reason": "signaled", "signal": signal}),
            Self::TimedOut => json!({"reason": "timed-out"}),
            Self::OutOfMemory => json!({"reason": "out-of-memory"}),
            Self::PidsLimit(code) => json!({"reason": "pids-limit", "exit-code": code}),
            Self::Seccomp(call) => json!({"reason": "seccomp", "system-call": call}),
            Self::NotStarted(code) => json!({"reason": "not-started", "exit-code": code}),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with {code}"),
            Self::Signaled(signal) => write!(f, "ended by signal {signal}"),
            Self::TimedOut => f.write_str("ended: it ran longer than --timeout"),
            Self::OutOfMemory => f.write_str("killed: out of memory (--memory)"),
            Self::PidsLimit(code) => write!(f, "exited with {code}; --pids refused it a process"),
            Self::Seccomp(Some(call)) => write!(f, "killed by the seccomp profile for {call}"),
            Self::Seccomp(None) => f.write_str(
                "ended by SIGSYS, as a seccomp profile kills; the kernel's log does not tell the system call",
            ),
            Self::NotStarted(_) => f.write_str("not started"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_told_apart() {
        let signal = |signal| Status {
            signal: Some(signal),
            ..Status::default()
        };
        let exit = |code| Status {
            exit_code: Some(code),
            ..Status::default()
        };
        let table = [
            (exit(0), false, Ending::Exited(0), 0),
            (exit(137), false, Ending::Exited(137), 137),
            (signal(9), false, Ending::Signaled(9), 137),
            (signal(9), true, Ending::TimedOut, 124),
            (signal(31), false, Ending::Seccomp(None), 159),
            (
                Status {
                    oom_kills: 1,
                    ..signal(9)
                },
                false,
                Ending::OutOfMemory,
                137,
            ),
            (
                Status {
                    oom_kills: 1,
                    ..exit(0)
                },
                false,
                Ending::Exited(0),
                0,
            ),
            (
                Status {
                    pids_refused: 2,
                    ..exit(1)
                },
                false,
                Ending::PidsLimit(1),
                1,
            ),
        ];
        for (status, timed_out, ending, code) in table {
            assert_eq!(Ending::of(status, timed_out), ending, "{status:?}");
            assert_eq!(ending.code(status), code, "{status:?}");
        }
    }
}
