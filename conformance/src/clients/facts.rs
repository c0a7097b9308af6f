//! What the kernel shows about a container's process, read from the sandbox's `/proc` and cgroups.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Skip;
use super::hierarchy::{CGROUP_ROOT, View};

/// A file of a controller, as each cgroup version names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Knob {
    /// The controller.
    pub(crate) controller: &'static str,
    /// The file in version 1.
    pub(crate) v1: &'static str,
    /// The file in version 2.
    pub(crate) v2: &'static str,
}

/// Memory limit in bytes.
pub(crate) const MEMORY: Knob = Knob {
    controller: "memory",
    v1: "memory.limit_in_bytes",
    v2: "memory.max",
};
/// Memory soft limit in bytes.
pub(crate) const RESERVATION: Knob = Knob {
    controller: "memory",
    v1: "memory.soft_limit_in_bytes",
    v2: "memory.low",
};
/// Greatest number of tasks.
pub(crate) const PIDS: Knob = Knob {
    controller: "pids",
    v1: "pids.max",
    v2: "pids.max",
};
/// CPU time: the quota in µs in version 1, quota and period in version 2.
pub(crate) const QUOTA: Knob = Knob {
    controller: "cpu",
    v1: "cpu.cfs_quota_us",
    v2: "cpu.max",
};
/// Share of CPU time; the two versions count differently.
pub(crate) const SHARES: Knob = Knob {
    controller: "cpu",
    v1: "cpu.shares",
    v2: "cpu.weight",
};
/// Processors.
pub(crate) const CPUS: Knob = Knob {
    controller: "cpuset",
    v1: "cpuset.cpus",
    v2: "cpuset.cpus",
};

impl Knob {
    /// Skips the case if this host's `view` lacks the controller.
    pub(crate) fn require(self, view: View) -> Result<()> {
        let controllers = match view {
            View::V1 => Path::new(CGROUP_ROOT).join(self.controller).is_dir(),
            View::V2 => fs::read_to_string(Path::new(CGROUP_ROOT).join("cgroup.controllers"))?
                .split_whitespace()
                .any(|c| c == self.controller),
        };
        if controllers {
            Ok(())
        } else {
            Skip::because(format!("no {} controller here", self.controller))
        }
    }

    /// The value for the cgroup of process `pid`.
    pub(crate) fn read(self, view: View, pid: u32) -> Result<String> {
        let file = match view {
            View::V1 => self.v1,
            View::V2 => self.v2,
        };
        let path = cgroup_of(view, self.controller, pid)?.join(file);
        let value = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(value.trim().to_owned())
    }
}

/// The directory of the cgroup of process `pid` (`cgroups(7)`, /proc/pid/cgroup).
pub(crate) fn cgroup_of(view: View, controller: &str, pid: u32) -> Result<PathBuf> {
    let text = process_file(pid, "cgroup")?;
    let wanted = |line: &&str| {
        let controllers = line.split(':').nth(1).unwrap_or_default();
        match view {
            View::V1 => controllers.split(',').any(|c| c == controller),
            View::V2 => line.starts_with("0::"),
        }
    };
    let line = text
        .lines()
        .find(wanted)
        .with_context(|| format!("{controller} is not in /proc/{pid}/cgroup"))?;
    let path = line
        .splitn(3, ':')
        .nth(2)
        .unwrap_or_default()
        .trim_start_matches('/');
    let root = match view {
        View::V1 => Path::new(CGROUP_ROOT).join(controller),
        View::V2 => PathBuf::from(CGROUP_ROOT),
    };
    Ok(root.join(path))
}

/// A file of `/proc/pid`.
pub(crate) fn process_file(pid: u32, name: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{name}");
    fs::read_to_string(&path).with_context(|| format!("read {path}"))
}

/// A field of a `/proc/pid/status` text, such as `CapEff`.
pub(crate) fn status_field(status: &str, name: &str) -> Result<String> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line
        .with_context(|| format!("no {name} in {status:?}"))?
        .trim()
        .to_owned())
}

/// A capability set of a `/proc/pid/status` text.
pub(crate) fn capabilities(status: &str, set: &str) -> Result<u64> {
    Ok(u64::from_str_radix(&status_field(status, set)?, 16)?)
}

/// Requires that this process may give itself every capability below `CAP_LAST_CAP`; else skips.
pub(crate) fn require_all_capabilities() -> Result<()> {
    let status = process_file(std::process::id(), "status")?;
    let last: u32 = fs::read_to_string("/proc/sys/kernel/cap_last_cap")?
        .trim()
        .parse()?;
    let missing = ((1_u64 << (last + 1)) - 1) & !capabilities(&status, "CapBnd")?;
    if missing == 0 {
        Ok(())
    } else {
        Skip::because(format!("this host's root lacks capabilities {missing:#x}"))
    }
}

/// Requires that two processes are in the same (or not the same) namespace of `kind`.
pub(crate) fn same_namespace(kind: &str, a: u32, b: u32, same: bool) -> Result<()> {
    let of = |pid| fs::read_link(format!("/proc/{pid}/ns/{kind}"));
    let (one, other) = (of(a)?, of(b)?);
    ensure!(
        (one == other) == same,
        "{kind} namespaces are {} and {}",
        one.display(),
        other.display()
    );
    Ok(())
}
