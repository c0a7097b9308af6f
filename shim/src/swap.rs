//! Whether a limit of memory is one of swap too.

use std::path::Path;

/// Version 1's file, which older kernels make only with `swapaccount=1`. Version 2 has its own wherever there is swap.
const GROUPS: &str = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
const COUNTED: &str = "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes";
/// A line for each, below one of titles (proc(5)).
const SWAPS: &str = "/proc/swaps";

/// What the kernel makes of swap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Swap {
    /// It counts what a control group has swapped out.
    #[default]
    Counted,
    /// It does not, and there is none.
    Absent,
    /// There is some, which no limit holds.
    Uncounted,
}

impl Swap {
    /// That of this host.
    pub fn of_host() -> Self {
        if !Path::new(GROUPS).exists() || Path::new(COUNTED).exists() {
            return Self::Counted;
        }
        let swaps = std::fs::read_to_string(SWAPS).unwrap_or_default();
        if swaps.lines().count() > 1 {
            Self::Uncounted
        } else {
            Self::Absent
        }
    }
}
