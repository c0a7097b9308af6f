//! The machine that figures were taken on.

use std::fs;
use std::thread;

use serde::Serialize;

/// What a reader must know of a machine to compare figures.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// The kernel's release.
    pub kernel: String,
    /// The processor's name.
    pub processor: String,
    /// How many processors the harness may use.
    pub processors: usize,
    /// Processes that ran or wanted to in the last minute, before the harness began: above 0.3 or so,
    /// something else disturbs the figures.
    pub load: f64,
}

impl Host {
    /// This machine; what cannot be read is empty.
    pub fn probe() -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Host {
            kernel: kernel.trim().to_owned(),
            processor: processor
                .map(|(_, name)| name.trim().to_owned())
                .unwrap_or_default(),
            processors: thread::available_parallelism().map_or(0, usize::from),
            load: load
                .split(' ')
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(f64::NAN),
        }
    }
}
