//! Control groups for a user without rights: a part of cgroup2 that somebody has delegated.
//!
//! Two rules of the kernel shape this (cgroups(7)): a group gives controllers to its children only while no process
//! is in it, and a process is born in another group only where its parent may move processes between the two, which
//! is decided at the group above both. So the runtime has to stand in a leaf, `supervisor`, beside the sandbox's
//! group and below the delegated one:
//!
//! - [`Place::Beside`]: this process is in such a leaf already.
//! - [`Place::Below`]: its own group is delegated. All processes of that one go to the leaf first, as with podman.
//! - [`Place::Scope`]: none is, as in a login shell; the user's systemd delegates one, a scope that ends with the
//!   sandbox.
//!
//! What is not used: groups that systemd made and has delegated to nobody (`*.slice`, `*.scope`, `*.service` without
//! `user.delegate`), even where a user could write them: each group has one writer.

use crate::request::Request;
use nucleus_network::program::in_path;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

const TOP: &str = "/sys/fs/cgroup";
/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const CGROUP2: u64 = 0x6367_7270;
/// The leaf of the runtime.
const LEAF: &str = "supervisor";
/// The hidden command that enters it.
pub const COMMAND: &str = "delegated";
/// How often processes are looked for that were born in a group while its others were moved.
const ROUNDS: usize = 100;

/// Controllers of cgroup2 that a limit needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Controllers {
    /// `--memory`.
    pub memory: bool,
    /// `--cpus`.
    pub cpu: bool,
    /// `--pids`.
    pub pids: bool,
    /// `--io`.
    pub io: bool,
}

impl Controllers {
    /// All of them.
    pub const ALL: Self = Self {
        memory: true,
        cpu: true,
        pids: true,
        io: true,
    };

    fn of(group: &Path) -> Self {
        let text = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
        let has = |word| text.split_whitespace().any(|one| one == word);
        Self {
            memory: has("memory"),
            cpu: has("cpu"),
            pids: has("pids"),
            io: has("io"),
        }
    }

    /// Whether there is one.
    pub fn any(self) -> bool {
        self != Self::default()
    }

    /// These without those.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self {
            memory: self.memory && !others.memory,
            cpu: self.cpu && !others.cpu,
            pids: self.pids && !others.pids,
            io: self.io && !others.io,
        }
    }

    /// The limits that need them, and their names.
    pub fn words(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let all = [
            (self.memory, "memory", "memory"),
            (self.cpu, "cpus", "cpu"),
            (self.pids, "pids", "pids"),
            (self.io, "io", "io"),
        ];
        let there = all.into_iter().filter(|(there, ..)| *there);
        there.map(|(_, limit, controller)| (limit, controller))
    }
}

/// Which control groups the caller may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cgroups {
    /// None.
    None,
    /// All of them, as root.
    All,
    /// Those below a group that was delegated.
    Delegated(Place, Controllers),
}

/// Where the delegated group is, seen from this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Above its own.
    Beside,
    /// Its own.
    Below,
    /// To be had from the user's systemd.
    Scope,
}

impl Cgroups {
    /// What this user has.
    pub fn of_user() -> Self {
        let Some(own) = own() else { return Self::None };
        let above = own.parent().filter(|above| above.starts_with(TOP));
        if let Some(above) = above.filter(|above| is_delegated(above) && is_empty(above)) {
            return Self::Delegated(Place::Beside, Controllers::of(above));
        }
        if is_delegated(&own) {
            return Self::Delegated(Place::Below, Controllers::of(&own));
        }
        match users_systemd() {
            Some(manager) => Self::Delegated(Place::Scope, Controllers::of(&manager)),
            None => Self::None,
        }
    }

    /// The sandbox's group, as `linux.cgroupsPath`. A delegated one is only there for a limit.
    pub fn path(self, request: &Request, name: &str, left_out: Controllers) -> Option<String> {
        let own = match self {
            Self::None => return None,
            Self::All => Some(group(false, name)),
            Self::Delegated(..) => {
                let limited = request.limits().without(left_out).any();
                limited.then(|| group(true, name))
            }
        };
        request.cgroups_path.clone().or(own)
    }

    /// Which limits can be set.
    pub fn controllers(self) -> Controllers {
        match self {
            Self::None => Controllers::default(),
            Self::All => Controllers::ALL,
            Self::Delegated(_, controllers) => controllers,
        }
    }
}

/// A control group without a parent of its own, which would stay behind or be made and removed for each sandbox. A
/// delegated one is beside the runtime's.
pub fn group(delegated: bool, name: &str) -> String {
    let top = if delegated { "" } else { "/" };
    format!("{top}nucleus-{name}")
}

impl Place {
    /// The words before a runtime's command line that let it start in its leaf.
    ///
    /// # Errors
    /// This program has no path.
    pub fn words(self) -> io::Result<Vec<OsString>> {
        let mut words = match self {
            Self::Beside => return Ok(Vec::new()),
            Self::Below => Vec::new(),
            Self::Scope => scope(),
        };
        words.extend([std::env::current_exe()?.into(), COMMAND.into(), "--".into()]);
        Ok(words)
    }
}

/// Starts what follows in a group of its own below the user's systemd.
fn scope() -> Vec<OsString> {
    let words = [
        "systemd-run",
        "--user",
        "--scope",
        "--quiet",
        "--collect",
        "--property=Delegate=yes",
        "--description=nucleus",
        "--",
    ];
    words.map(OsString::from).to_vec()
}

/// The words before `exec` into a sandbox that let the new process be born in its group: none where this process may
/// do it as it is.
///
/// # Errors
/// It may not, and there is nobody to ask: the group in which to start.
pub fn way_to(pid: i32) -> Result<Vec<OsString>, PathBuf> {
    let theirs = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let (Some(own), Some(theirs)) = (own(), path_in(&theirs)) else {
        return Ok(Vec::new());
    };
    let common = common(&own, &theirs);
    if own == theirs || is_writable(&common, "cgroup.procs") {
        return Ok(Vec::new());
    }
    match users_systemd() {
        Some(manager) if theirs.starts_with(&manager) => Ok(scope()),
        _ => Err(theirs.parent().unwrap_or(&theirs).to_owned()),
    }
}

/// The lowest group above both.
fn common(one: &Path, other: &Path) -> PathBuf {
    let both = one.components().zip(other.components());
    both.take_while(|(one, other)| one == other)
        .map(|(component, _)| component)
        .collect()
}

/// The group of this process, where cgroup2 alone is mounted.
fn own() -> Option<PathBuf> {
    let kind = rustix::fs::statfs(TOP).ok()?.f_type;
    if u64::try_from(kind).ok()? != CGROUP2 {
        return None;
    }
    path_in(&fs::read_to_string("/proc/self/cgroup").ok()?)
}

/// A group in `/proc/<pid>/cgroup`; none if it is outside of what is mounted.
fn path_in(text: &str) -> Option<PathBuf> {
    let below = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let inside = Path::new(below)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    inside.then(|| Path::new(TOP).join(below).components().collect())
}

fn is_delegated(group: &Path) -> bool {
    let all = ["", "cgroup.procs", "cgroup.subtree_control"];
    all.iter().all(|file| is_writable(group, file)) && !is_systemds(group)
}

fn is_writable(group: &Path, file: &str) -> bool {
    accessat(CWD, group.join(file), Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

/// Whether systemd made it for itself.
fn is_systemds(group: &Path) -> bool {
    let unit = group
        .extension()
        .is_some_and(|kind| kind == "slice" || kind == "scope" || kind == "service");
    let mut value = [0_u8; 8];
    unit && !rustix::fs::getxattr(group, "user.delegate", &mut value[..])
        .is_ok_and(|length| value[..length] == *b"1")
}

fn is_empty(group: &Path) -> bool {
    fs::read(group.join("cgroup.procs")).is_ok_and(|processes| processes.is_empty())
}

/// The group of the user's systemd, if it listens and there is a program to talk to it.
fn users_systemd() -> Option<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let runtime = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?);
    let group = Path::new(TOP).join(format!("user.slice/user-{uid}.slice/user@{uid}.service"));
    let listens = ["systemd/private", "bus"]
        .iter()
        .any(|socket| runtime.join(socket).exists());
    (listens && group.is_dir() && in_path("systemd-run").is_some()).then_some(group)
}

/// A group that could not be arranged.
#[derive(Debug, thiserror::Error)]
#[error("{call} {}", path.display())]
pub struct Error {
    call: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Moves all processes of this one's group to the leaf below it, which frees that group to give controllers away.
///
/// # Errors
/// The group or the file that the kernel refused.
pub fn enter_leaf() -> Result<(), Error> {
    let at = |call, path: &Path| {
        let path = path.to_owned();
        move |source| Error { call, path, source }
    };
    let group = own().ok_or_else(|| at("find cgroup2 at", Path::new(TOP))(io::ErrorKind::NotFound.into()))?;
    // Another one has moved this process meanwhile.
    if group.ends_with(LEAF) {
        return Ok(());
    }
    let leaf = group.join(LEAF);
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(at("make cgroup", &leaf)(error));
        }
        _ => {}
    }
    let (here, there) = (group.join("cgroup.procs"), leaf.join("cgroup.procs"));
    for _ in 0..ROUNDS {
        let processes = fs::read_to_string(&here).map_err(at("read", &here))?;
        if processes.is_empty() {
            return Ok(());
        }
        for pid in processes.lines() {
            match fs::write(&there, pid) {
                // It has ended.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
                moved => moved.map_err(at("move a process by", &there))?,
            }
        }
    }
    Err(at("empty cgroup", &group)(io::ErrorKind::ResourceBusy.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_outside_of_the_mount_are_none() {
        let found = |text| path_in(text).map(|path| path.display().to_string());
        assert_eq!(
            found("1:cpu:/x\n0::/a/b\n").as_deref(),
            Some("/sys/fs/cgroup/a/b")
        );
        assert_eq!(found("0::/\n").as_deref(), Some("/sys/fs/cgroup"));
        assert_eq!(found("0::/../a\n"), None);
        assert_eq!(found("1:cpu:/x\n"), None);
    }

    #[test]
    fn the_group_above_both_decides() {
        let common = |one: &str, other: &str| common(Path::new(one), Path::new(other)).display().to_string();
        assert_eq!(common("/t/a/b", "/t/a/c/d"), "/t/a");
        assert_eq!(common("/t/ab", "/t/a"), "/t");
        assert_eq!(common("/t/a", "/t/a/b"), "/t/a");
    }

    #[test]
    fn what_systemd_has_not_delegated_is_its_own() {
        let top = tempfile::tempdir().expect("directory");
        for (name, systemds) in [
            ("app.slice", true),
            ("x.scope", true),
            ("mine", false),
            ("a.b", false),
        ] {
            let group = top.path().join(name);
            fs::create_dir(&group).expect("mkdir");
            assert_eq!(is_systemds(&group), systemds, "{name}");
        }
    }

    #[test]
    fn controllers_are_told_by_their_limits() {
        let missing = Controllers::ALL.without(Controllers {
            io: false,
            cpu: false,
            ..Controllers::ALL
        });
        assert_eq!(
            missing.words().collect::<Vec<_>>(),
            [("cpus", "cpu"), ("io", "io")]
        );
        assert!(missing.any() && !missing.without(missing).any());
    }
}
