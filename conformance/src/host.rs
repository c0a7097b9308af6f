//! What this host offers: its cgroup hierarchies, and who we are.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Which cgroup hierarchies a case sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum View {
    /// What the host has, unchanged in shape.
    Host,
    /// Only the v1 hierarchies, of a hybrid host.
    V1,
    /// Only cgroup2, mounted at `/sys/fs/cgroup`.
    V2,
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            View::Host => "host",
            View::V1 => "v1",
            View::V2 => "v2",
        })
    }
}

/// One mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub(crate) path: PathBuf,
    /// The options that mount the same hierarchy again; `None` for cgroup2.
    pub(crate) v1_options: Option<String>,
}

/// The cgroup hierarchies mounted below `/sys/fs/cgroup`, in the order of the mount table.
///
/// # Errors
/// `/proc/self/mountinfo` cannot be read.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    Ok(table.lines().filter_map(hierarchy).collect())
}

/// Reads one line of mountinfo, see proc_pid_mountinfo(5).
fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let path = PathBuf::from(mount.split(' ').nth(4)?);
    if !path.starts_with("/sys/fs/cgroup") {
        return None;
    }
    let mut fields = filesystem.split(' ');
    let kind = fields.next()?;
    let options = fields.nth(1)?;
    let v1_options = match kind {
        "cgroup" => Some(hierarchy_name(options)),
        "cgroup2" => None,
        _ => return None,
    };
    Some(Hierarchy { path, v1_options })
}

/// Keeps what names a v1 hierarchy: its controllers or its `name=`, without the flags of this mount.
fn hierarchy_name(options: &str) -> String {
    let flags = [
        "rw",
        "ro",
        "xattr",
        "clone_children",
        "noprefix",
        "cpuset_v2_mode",
    ];
    let words: Vec<&str> = options
        .split(',')
        .filter(|word| !flags.contains(word) && !word.starts_with("release_agent="))
        .collect();
    if words.iter().all(|word| word.starts_with("name=")) {
        return format!("none,{}", words.join(","));
    }
    words.join(",")
}

/// Why a view cannot be made on this host, if so.
pub(crate) fn lacks(view: View, hierarchies: &[Hierarchy]) -> Option<&'static str> {
    let has_v1 = hierarchies.iter().any(|hierarchy| hierarchy.v1_options.is_some());
    match view {
        View::V1 if !has_v1 => Some("this host mounts no cgroup v1 hierarchy"),
        View::Host | View::V1 | View::V2 => None,
    }
}

/// Where built and fetched things are kept between runs.
///
/// # Errors
/// Neither `XDG_CACHE_HOME` nor `HOME` is set.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(dir), _) if !dir.is_empty() => PathBuf::from(dir),
        (_, Some(home)) => Path::new(&home).join(".cache"),
        _ => anyhow::bail!("neither XDG_CACHE_HOME nor HOME is set: pass --cache"),
    };
    Ok(base.join("nucleus-conformance"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_kinds_of_hierarchy() {
        let v1 = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory";
        assert_eq!(hierarchy(v1).unwrap().v1_options.as_deref(), Some("memory"));
        let named =
            "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/a,name=systemd";
        assert_eq!(
            hierarchy(named).unwrap().v1_options.as_deref(),
            Some("none,name=systemd")
        );
        let v2 = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        assert_eq!(hierarchy(v2).unwrap().v1_options, None);
        assert_eq!(hierarchy("22 27 0:21 / /proc rw,relatime - proc proc rw"), None);
    }

    #[test]
    fn a_host_without_v1_has_no_v1_view() {
        let v2 = Hierarchy {
            path: "/sys/fs/cgroup".into(),
            v1_options: None,
        };
        assert!(lacks(View::V1, std::slice::from_ref(&v2)).is_some());
        assert!(lacks(View::V2, &[v2]).is_none());
    }
}
