//! What can be measured, and how closely starts follow each other.

use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::peers::{Interface, Runtime};
use crate::sandbox::BASES;

/// Between the starts of a spaced measurement.
const SPACE: Duration = Duration::from_millis(50);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// `run` to exit.
    Run,
    /// `create`, `start`, the container's exit, `delete`.
    Lifecycle,
    /// `exec` into a running container, to exit.
    Exec,
    /// Many `run`s in a row: the last tenth's median over the first's.
    Sequence,
    /// Several `run`s at once, until the last has exited.
    Throughput,
    /// System calls of all processes of one `run`, counted by strace.
    Syscalls,
    /// The runtime's peak RSS in a `run`.
    Rss,
    /// The front-end's whole sandbox, to exit.
    Sandbox,
}

/// What a table's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Wall milliseconds.
    WallMs,
    /// Containers a second.
    PerSecond,
    /// A quotient of times.
    Quotient,
    /// System calls.
    Calls,
    /// MiB.
    Mebibytes,
}

impl Mode {
    /// The name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Run => "run",
            Mode::Lifecycle => "lifecycle",
            Mode::Exec => "exec",
            Mode::Sequence => "sequence",
            Mode::Throughput => "throughput",
            Mode::Syscalls => "syscalls",
            Mode::Rss => "rss",
            Mode::Sandbox => "sandbox",
        }
    }

    /// What its table's values are.
    pub fn metric(self) -> Metric {
        match self {
            Mode::Run | Mode::Lifecycle | Mode::Exec | Mode::Sandbox => Metric::WallMs,
            Mode::Sequence => Metric::Quotient,
            Mode::Throughput => Metric::PerSecond,
            Mode::Syscalls => Metric::Calls,
            Mode::Rss => Metric::Mebibytes,
        }
    }

    /// Whether the pace makes a difference to it.
    pub fn has_pace(self) -> bool {
        matches!(self, Mode::Run | Mode::Lifecycle | Mode::Exec | Mode::Sandbox)
    }

    /// Whether a sample's processor time and peak RSS say something of the runtime: under strace and beside
    /// a quotient they do not.
    pub fn has_costs(self) -> bool {
        self.has_pace() || self == Mode::Throughput
    }

    /// Whether a program has anything to do with it; those that have not are not told of as skipped.
    pub(super) fn concerns(self, runtime: &Runtime) -> bool {
        let front = matches!(runtime.interface, Interface::Front | Interface::Predecessor);
        match self {
            Mode::Sandbox => {
                front || runtime.interface == Interface::Bubblewrap || BASES.contains(&runtime.name.as_str())
            }
            _ => !front,
        }
    }

    /// Rounds that are enough, of those asked for: counts and sizes hardly vary.
    pub fn rounds(self, asked: usize) -> usize {
        match self {
            Mode::Syscalls => asked.min(3),
            Mode::Rss => asked.min(10),
            _ => asked,
        }
    }
}

impl Metric {
    /// The unit, as a table's heading has it.
    pub fn unit(self) -> &'static str {
        match self {
            Metric::WallMs => "ms",
            Metric::PerSecond => "starts/s",
            Metric::Quotient => "last/first tenth",
            Metric::Calls => "system calls",
            Metric::Mebibytes => "peak RSS MiB",
        }
    }
}

/// How closely starts follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// Back to back.
    Burst,
    /// 50 ms apart, the machine idle between.
    Spaced,
}

impl Pace {
    /// The name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Pace::Burst => "burst",
            Pace::Spaced => "spaced",
        }
    }

    /// Counted starts of one runtime in a row.
    pub(super) fn counted(self) -> usize {
        match self {
            Pace::Burst => 2,
            Pace::Spaced => 1,
        }
    }

    /// Starts before the counted ones.
    pub(super) fn uncounted(self) -> usize {
        match self {
            Pace::Burst => 1,
            Pace::Spaced => 0,
        }
    }

    pub(super) fn rest(self) {
        if self == Pace::Spaced {
            thread::sleep(SPACE);
        }
    }
}
