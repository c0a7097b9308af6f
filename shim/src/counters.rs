//! What a control group has refused to its processes, where the runtime does not tell.

use crate::ending::Status;
use crate::report::facts;
use std::path::PathBuf;

/// Files of a process's control group that count what was refused to it.
pub struct Counters {
    memory: Vec<PathBuf>,
    pids: Vec<PathBuf>,
}

impl Counters {
    /// Looks where they are; the process must not have ended yet.
    pub fn of(pid: i32) -> Self {
        let facts = facts::places(pid).unwrap_or_default();
        let files = |controller, names: [&str; 2]| {
            names
                .iter()
                .filter_map(|name| facts.cgroup_file(controller, name))
                .collect()
        };
        Self {
            memory: files("memory", ["memory.events", "memory.oom_control"]),
            pids: files("pids", ["pids.events", "pids.events"]),
        }
    }

    /// The status with what was counted.
    pub fn complete(&self, status: Status) -> Status {
        let count = |files: &[PathBuf], word: &str| {
            let texts = files.iter().filter_map(|path| std::fs::read_to_string(path).ok());
            let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
            let mut values = lines.filter_map(|line| line.strip_prefix(word)?.trim().parse::<u64>().ok());
            values.next().unwrap_or(0)
        };
        Status {
            oom_kills: count(&self.memory, "oom_kill "),
            pids_refused: count(&self.pids, "max "),
            ..status
        }
    }
}
