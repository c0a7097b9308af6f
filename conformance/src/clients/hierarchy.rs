//! The cgroup hierarchies that this process sees, and how to mount each one again.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Where cgroup file systems are mounted by convention (`hier(7)`, systemd's "File Hierarchies").
pub(crate) const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// One mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Its mount point.
    pub(crate) mount: PathBuf,
    /// The data of mount(2) that selects it: `cpu,cpuacct` or `none,name=systemd`; absent for version 2.
    pub(crate) options: Option<String>,
}

/// Which cgroup version the clients and the runtime find under [`CGROUP_ROOT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum View {
    /// Only version 1 hierarchies.
    V1,
    /// Only version 2, mounted at the root.
    V2,
}

impl View {
    /// The view in which this host keeps its memory controller.
    pub(crate) fn of_host(hierarchies: &[Hierarchy]) -> Self {
        let memory = |h: &Hierarchy| {
            h.options
                .as_deref()
                .is_some_and(|o| o.split(',').any(|c| c == "memory"))
        };
        if hierarchies.iter().any(memory) {
            Self::V1
        } else {
            Self::V2
        }
    }

    /// The word used on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// Reads the hierarchies from `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`).
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    Ok(text
        .lines()
        .filter_map(parse)
        .filter(|h| h.mount.starts_with(CGROUP_ROOT))
        .collect())
}

fn parse(line: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mount = PathBuf::from(left.split(' ').nth(4)?);
    let mut right = right.split(' ');
    let options = match right.next()? {
        "cgroup2" => None,
        "cgroup" => Some(selecting(right.nth(1)?)),
        _ => return None,
    };
    Some(Hierarchy { mount, options })
}

/// Keeps of the superblock's options those that name the hierarchy.
fn selecting(options: &str) -> String {
    let flags = [
        "rw",
        "ro",
        "xattr",
        "clone_children",
        "cpuset_v2_mode",
        "noprefix",
    ];
    let kept: Vec<&str> = options
        .split(',')
        .filter(|o| !flags.contains(o) && !o.starts_with("release_agent="))
        .collect();
    let named_only = kept.iter().all(|o| o.starts_with("name="));
    if named_only {
        format!("none,{}", kept.join(","))
    } else {
        kept.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines_become_hierarchies() {
        let both = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct";
        let named =
            "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/a,name=systemd";
        let unified = "41 31 0:38 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(parse(both).unwrap().options.as_deref(), Some("cpu,cpuacct"));
        assert_eq!(
            parse(named).unwrap().options.as_deref(),
            Some("none,name=systemd")
        );
        assert_eq!(
            parse(unified).unwrap(),
            Hierarchy {
                mount: "/sys/fs/cgroup".into(),
                options: None
            }
        );
        assert_eq!(parse("27 1 254:0 / / rw - ext4 /dev/vda rw"), None);
    }

    #[test]
    fn the_memory_controller_decides_the_view() {
        let v2 = Hierarchy {
            mount: CGROUP_ROOT.into(),
            options: None,
        };
        let v1 = Hierarchy {
            mount: "/sys/fs/cgroup/memory".into(),
            options: Some("memory".into()),
        };
        assert_eq!(View::of_host(std::slice::from_ref(&v2)), View::V2);
        assert_eq!(View::of_host(&[v2, v1]), View::V1);
    }
}
