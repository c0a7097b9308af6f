//! What the kernel shows of a process. The parsers are pure; [`Facts::read`] reads.

use rustix::fs::{Mode, OFlags, open};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// One line of `/proc/<pid>/mountinfo`, `proc_pid_mountinfo(5)`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// The kernel's number for it.
    pub id: String,
    /// `major:minor` of the file system.
    pub device: String,
    /// What of the file system is mounted.
    pub root: String,
    /// Where, as the process sees it.
    pub point: String,
    /// Options of the mount.
    pub options: Vec<String>,
    /// Type of the file system.
    pub kind: String,
    /// Options of the file system.
    pub super_options: Vec<String>,
}

impl Mount {
    /// Whether the mount has this option.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|one| one == option)
    }
}

/// What a sandbox is compared with: the process that it is made by, and not the one that starts it later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maker {
    /// `/proc/<pid>/ns`: name and what it links to.
    pub namespaces: BTreeMap<String, String>,
    /// Supplementary groups.
    pub groups: String,
    /// The number of its seccomp filters.
    pub filters: u32,
    /// `oom_score_adj`.
    pub oom_score_adj: i32,
}

impl Maker {
    /// This process.
    ///
    /// # Errors
    /// The file that could not be read.
    pub fn read() -> Result<Self, (PathBuf, io::Error)> {
        let status = status(&text(Path::new("/proc/self/status"))?);
        let field = |name: &str| status.get(name).cloned().unwrap_or_default();
        Ok(Self {
            namespaces: links(Path::new("/proc/self/ns"))?,
            groups: field("Groups"),
            filters: field("Seccomp_filters").parse().unwrap_or(0),
            oom_score_adj: number(&text(Path::new("/proc/self/oom_score_adj"))?),
        })
    }
}

/// What is seen of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `/proc/<pid>/status`.
    pub status: BTreeMap<String, String>,
    /// `/proc/<pid>/ns`: name and what it links to.
    pub namespaces: BTreeMap<String, String>,
    /// `uid_map`, its words joined by one space.
    pub uid_map: String,
    /// `gid_map`.
    pub gid_map: String,
    /// `mountinfo`, in its order: what comes later covers what was before.
    pub mounts: Vec<Mount>,
    /// The same of this process.
    pub own_mounts: Vec<Mount>,
    /// `cgroup`: controllers (empty for version 2) and path.
    pub cgroups: Vec<(String, String)>,
    /// Network interfaces.
    pub interfaces: Vec<String>,
    /// The rules of its network namespace, where they are asked for.
    pub rules: String,
    /// Open descriptors, and whether they are directories.
    pub descriptors: BTreeMap<i32, bool>,
    /// The working directory, and the number of its mount.
    pub working_directory: (String, String),
    /// `oom_score_adj`.
    pub oom_score_adj: i32,
    /// Contents of the limit files of its control groups, by file name, and disk where each has a line.
    pub limits: BTreeMap<String, String>,
    /// Which of the paths to be hidden are there on this host.
    pub existing: Vec<String>,
    /// Sources of bind mounts, without links.
    pub sources: BTreeMap<PathBuf, PathBuf>,
    /// What each probe gave, by its name.
    pub probes: BTreeMap<String, i64>,
    /// What the runtime says of Landlock.
    pub landlock: Option<String>,
    /// The version of Landlock that this kernel has; 0 without.
    pub landlock_abi: u32,
    /// Where mounts are whose destinations lead through links.
    pub resolved: BTreeMap<String, String>,
}

/// The files that limits are read from, version 2 and 1.
pub const LIMIT_FILES: [(&str, &str); 13] = [
    ("memory", "memory.max"),
    ("memory", "memory.swap.max"),
    ("memory", "memory.limit_in_bytes"),
    ("memory", "memory.memsw.limit_in_bytes"),
    ("pids", "pids.max"),
    ("cpu", "cpu.max"),
    ("cpu", "cpu.cfs_quota_us"),
    ("cpu", "cpu.cfs_period_us"),
    ("io", "io.max"),
    ("blkio", "blkio.throttle.read_bps_device"),
    ("blkio", "blkio.throttle.write_bps_device"),
    ("blkio", "blkio.throttle.read_iops_device"),
    ("blkio", "blkio.throttle.write_iops_device"),
];

/// What the limit of processes without a control group is called among the limits: its soft and its hard one.
pub const RLIMIT_NPROC: &str = "RLIMIT_NPROC";

impl Facts {
    /// Reads everything of the process. `hidden` are paths that may be there on this host, `sources` those of bind
    /// mounts.
    ///
    /// # Errors
    /// The file that could not be read: what cannot be seen is not proven.
    pub fn read(pid: i32, hidden: &[String], sources: &[PathBuf]) -> Result<Self, (PathBuf, io::Error)> {
        let of = |name: &str| text(&PathBuf::from(format!("/proc/{pid}/{name}")));
        let mut facts = Self {
            status: status(&of("status")?),
            namespaces: links(&PathBuf::from(format!("/proc/{pid}/ns")))?,
            uid_map: words(&of("uid_map")?),
            gid_map: words(&of("gid_map")?),
            mounts: mounts(&of("mountinfo")?),
            own_mounts: mounts(&text(Path::new("/proc/self/mountinfo"))?),
            cgroups: cgroups(&of("cgroup")?),
            interfaces: interfaces(&of("net/dev")?),
            oom_score_adj: number(&of("oom_score_adj")?),
            ..Self::default()
        };
        let descriptors = PathBuf::from(format!("/proc/{pid}/fd"));
        for number in links(&descriptors)?.into_keys() {
            let is_directory = descriptors.join(&number).is_dir();
            facts
                .descriptors
                .extend(number.parse().map(|number: i32| (number, is_directory)));
        }
        facts.working_directory = directory(&PathBuf::from(format!("/proc/{pid}/cwd")))?;
        for (controller, file) in LIMIT_FILES {
            if let Some(path) = facts.cgroup_file(controller, file)
                && let Ok(value) = std::fs::read_to_string(path)
            {
                if controller.ends_with("io") {
                    facts.limits.extend(disks(file, &value));
                } else {
                    facts.limits.insert(file.to_owned(), value.trim().to_owned());
                }
            }
        }
        let processes = rlimit(&of("limits")?, "Max processes");
        facts
            .limits
            .extend(processes.map(|limits| (RLIMIT_NPROC.to_owned(), limits)));
        facts.existing = hidden
            .iter()
            .filter(|path| Path::new(path).exists())
            .cloned()
            .collect();
        for source in sources {
            let found = source.canonicalize().map_err(|error| (source.clone(), error))?;
            facts.sources.insert(source.clone(), found);
        }
        Ok(facts)
    }

    /// Where a file of the process's control group of a controller is on this host.
    pub fn cgroup_file(&self, controller: &str, file: &str) -> Option<PathBuf> {
        // Both versions have `pids.max`; a controller is in one hierarchy only.
        let version_2 = [".max", ".events"].iter().any(|end| file.ends_with(end));
        let unified = version_2 && self.cgroup(controller, false).is_none();
        let path = self.cgroup(controller, unified)?;
        let mount = self.own_mounts.iter().rev().find(|mount| {
            if unified {
                mount.kind == "cgroup2"
            } else {
                mount.kind == "cgroup" && mount.super_options.iter().any(|option| option == controller)
            }
        })?;
        let below = path.strip_prefix(mount.root.trim_end_matches('/'))?;
        Some(
            Path::new(&mount.point)
                .join(below.trim_start_matches('/'))
                .join(file),
        )
    }

    /// The path of its control group in the hierarchy of a controller.
    pub fn cgroup(&self, controller: &str, unified: bool) -> Option<&str> {
        let found = self.cgroups.iter().find(|(controllers, _)| {
            if unified {
                controllers.is_empty()
            } else {
                controllers.split(',').any(|one| one == controller)
            }
        });
        found.map(|(_, path)| path.as_str())
    }
}

/// What finds a process's control groups, and nothing else.
///
/// # Errors
/// The file that could not be read.
pub fn places(pid: i32) -> Result<Facts, (PathBuf, io::Error)> {
    Ok(Facts {
        own_mounts: mounts(&text(Path::new("/proc/self/mountinfo"))?),
        cgroups: cgroups(&text(&PathBuf::from(format!("/proc/{pid}/cgroup")))?),
        ..Facts::default()
    })
}

fn text(path: &Path) -> Result<String, (PathBuf, io::Error)> {
    std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(|error| (path.to_owned(), error))
}

fn links(directory: &Path) -> Result<BTreeMap<String, String>, (PathBuf, io::Error)> {
    let at = |error| (directory.to_owned(), error);
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(at)? {
        let entry = entry.map_err(at)?;
        // One that was open for the directory itself is gone meanwhile.
        if let Ok(to) = std::fs::read_link(entry.path()) {
            let name = entry.file_name().to_string_lossy().into_owned();
            found.insert(name, to.to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

/// What a link of `/proc` to a directory leads to, and the number of the mount that it lies in.
fn directory(link: &Path) -> Result<(String, String), (PathBuf, io::Error)> {
    let at = |error| (link.to_owned(), error);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = open(link, flags, Mode::empty()).map_err(|errno| at(errno.into()))?;
    let known = text(Path::new(&format!("/proc/self/fdinfo/{}", opened.as_raw_fd())))?;
    let to = std::fs::read_link(link).map_err(at)?;
    let mount = status(&known).remove("mnt_id").unwrap_or_default();
    Ok((to.to_string_lossy().into_owned(), mount))
}

fn number(text: &str) -> i32 {
    text.trim().parse().unwrap_or(i32::MIN)
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The fields of a `status` file.
pub fn status(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), words(value)))
        .collect()
}

/// The lines of a `mountinfo` file.
pub fn mounts(text: &str) -> Vec<Mount> {
    text.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut words = mount.split(' ');
    let id = words.next()?.to_owned();
    let device = words.nth(1)?.to_owned();
    let root = unescape(words.next()?);
    let point = unescape(words.next()?);
    let options = list(words.next()?);
    let mut words = file_system.split(' ');
    let kind = words.next()?.to_owned();
    let super_options = list(words.nth(1)?);
    Some(Mount {
        id,
        device,
        root,
        point,
        options,
        kind,
        super_options,
    })
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

/// Blanks and backslashes are written as three octal digits.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(3).unwrap_or((part, ""));
        match u8::from_str_radix(code, 8) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend_from_slice(code.as_bytes()),
        }
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The lines of a `cgroup` file.
pub fn cgroups(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.splitn(3, ':').skip(1);
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        })
        .collect()
}

fn interfaces(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .collect()
}

/// A file of limits for disks has a line for each: the name of the file and the disk, and what is after it.
fn disks<'a>(file: &'a str, text: &'a str) -> impl Iterator<Item = (String, String)> + 'a {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.map(move |(disk, limits)| (format!("{file} {disk}"), limits.trim().to_owned()))
}

/// Soft and hard limit of `/proc/<pid>/limits`.
fn rlimit(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let mut words = line.split_whitespace();
    Some(format!("{} {}", words.next()?, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read_with_its_escapes_and_optional_fields() {
        let text = "43 52 254:0 /a\\040b /mnt\\134x ro,nosuid shared:1 master:2 - ext4 /dev/vda rw,discard\n";
        let found = mounts(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].root, "/a b");
        assert_eq!(found[0].point, "/mnt\\x");
        assert!(found[0].has("ro") && !found[0].has("rw"));
        assert_eq!(
            (found[0].kind.as_str(), found[0].super_options.len()),
            ("ext4", 2)
        );
    }

    #[test]
    fn the_limit_file_is_found_where_the_controller_is() {
        let facts = Facts {
            own_mounts: mounts(
                "1 1 0:1 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n2 1 0:2 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            ),
            cgroups: cgroups("4:pids:/nucleus/a\n0::/other\n"),
            ..Facts::default()
        };
        let file = |controller, name| {
            facts
                .cgroup_file(controller, name)
                .map(|path| path.display().to_string())
        };
        assert_eq!(
            file("pids", "pids.max").as_deref(),
            Some("/sys/fs/cgroup/pids/nucleus/a/pids.max")
        );
        assert_eq!(
            file("memory", "memory.max").as_deref(),
            Some("/sys/fs/cgroup/unified/other/memory.max")
        );
        assert_eq!(file("memory", "memory.limit_in_bytes"), None);
    }
}
