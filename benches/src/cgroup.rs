//! The cgroup hierarchies of this host, and the view of them that a measurement is made under.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Every cgroup that a measurement makes lies directly under a hierarchy's root and starts with this.
pub const PREFIX: &str = "nucleus-bench-";

/// What the measured runtime sees at `/sys/fs/cgroup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// What the host has.
    Host,
    /// The host's v1 hierarchies without the cgroup2 one beside them.
    V1,
    /// The cgroup2 hierarchy alone, with the controllers that v1 leaves to it.
    V2,
}

impl View {
    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            View::Host => "host",
            View::V1 => "v1",
            View::V2 => "v2",
        }
    }
}

/// One mounted v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V1Hierarchy {
    /// Where it is mounted.
    pub mount: String,
    /// Its controllers, comma separated as mount options; empty for a named hierarchy.
    pub controllers: String,
    /// The name of a hierarchy without controllers.
    pub name: String,
}

/// The hierarchies that a runtime finds under one [`View`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hierarchies {
    /// v1 hierarchies carry the controllers.
    V1(Vec<V1Hierarchy>),
    /// cgroup2 at `/sys/fs/cgroup`, and the controllers that its root passes on: enabling more would change
    /// the host.
    V2(Vec<String>),
}

impl Hierarchies {
    /// The hierarchies of this host under `view`, or `None` where the host cannot offer it.
    ///
    /// # Errors
    /// When `/proc/self/mountinfo` or `cgroup.subtree_control` cannot be read.
    pub fn of_host(view: View) -> io::Result<Option<Self>> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
        let (v1, v2) = parse_mountinfo(&mountinfo);
        let controllers = |mount: &str| -> io::Result<Self> {
            let words = fs::read_to_string(Path::new(mount).join("cgroup.subtree_control"))?;
            Ok(Hierarchies::V2(
                words.split_whitespace().map(str::to_owned).collect(),
            ))
        };
        match (view, v2) {
            (View::Host | View::V1, _) if !v1.is_empty() => Ok(Some(Hierarchies::V1(v1))),
            (View::Host | View::V2, Some(mount)) => controllers(&mount).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether this view limits `controller`.
    pub fn has(&self, controller: &str) -> bool {
        match self {
            Hierarchies::V1(all) => all
                .iter()
                .any(|h| h.controllers.split(',').any(|c| c == controller)),
            Hierarchies::V2(all) => all.iter().any(|c| c == controller),
        }
    }
}

/// The v1 hierarchies and the first cgroup2 mount of a `mountinfo` text (`proc_pid_mountinfo(5)`).
pub fn parse_mountinfo(text: &str) -> (Vec<V1Hierarchy>, Option<String>) {
    let mut v1: Vec<V1Hierarchy> = Vec::new();
    let mut v2 = None;
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let Some(mount) = left.split(' ').nth(4) else {
            continue;
        };
        let mut right = right.split(' ');
        match (right.next(), right.nth(1)) {
            (Some("cgroup2"), _) => v2 = v2.or(Some(mount.to_owned())),
            (Some("cgroup"), Some(options)) => v1.push(v1_hierarchy(mount, options)),
            _ => {}
        }
    }
    v1.dedup_by(|a, b| a.controllers == b.controllers && a.name == b.name);
    (v1, v2)
}

fn v1_hierarchy(mount: &str, options: &str) -> V1Hierarchy {
    let mut controllers = Vec::new();
    let mut name = String::new();
    for option in options.split(',') {
        match option.strip_prefix("name=") {
            Some(value) => value.clone_into(&mut name),
            None if matches!(option, "rw" | "ro" | "xattr" | "none" | "clone_children") => {}
            None if option.contains('=') => {}
            None => controllers.push(option),
        }
    }
    V1Hierarchy {
        mount: mount.to_owned(),
        controllers: controllers.join(","),
        name,
    }
}

/// Removes what a failed measurement left: the cgroups named with [`PREFIX`] and then `slot`, in every
/// hierarchy of the host. Processes in them are killed first. An empty `slot` means all.
///
/// # Errors
/// When the mount table cannot be read. A cgroup that will not go is returned.
pub fn remove_leftovers(slot: &str) -> io::Result<Vec<PathBuf>> {
    let (v1, v2) = parse_mountinfo(&fs::read_to_string("/proc/self/mountinfo")?);
    let mut left = Vec::new();
    for mount in v1.into_iter().map(|h| h.mount).chain(v2) {
        for entry in fs::read_dir(&mount)?.flatten() {
            let matching = entry.file_name().to_str().is_some_and(|name| {
                name.strip_prefix(PREFIX)
                    .is_some_and(|rest| slot.is_empty() || rest == slot)
            });
            if matching && !remove_tree(&entry.path()) {
                left.push(entry.path());
            }
        }
    }
    Ok(left)
}

fn remove_tree(cgroup: &Path) -> bool {
    let _ = fs::write(cgroup.join("cgroup.kill"), "1");
    if let Ok(entries) = fs::read_dir(cgroup) {
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            remove_tree(&entry.path());
        }
    }
    for _ in 0..50 {
        match fs::remove_dir(cgroup) {
            Ok(()) => return true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn mountinfo_gives_controllers_names_and_the_cgroup2_mount() {
        let (v1, v2) = parse_mountinfo(HYBRID);
        assert_eq!(v1.len(), 2);
        assert_eq!(
            (v1[0].mount.as_str(), v1[0].controllers.as_str()),
            ("/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct")
        );
        assert_eq!((v1[1].controllers.as_str(), v1[1].name.as_str()), ("", "systemd"));
        assert_eq!(v2.as_deref(), Some("/sys/fs/cgroup/unified"));
    }

    #[test]
    fn a_controller_is_found_among_those_that_share_a_hierarchy() {
        let hierarchies = Hierarchies::V1(parse_mountinfo(HYBRID).0);
        assert!(hierarchies.has("cpuacct"));
        assert!(!hierarchies.has("memory"));
    }
}
