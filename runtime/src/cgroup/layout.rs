//! Which hierarchies the host has and where they are mounted.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat, fstatfs, open};
use rustix::io::Errno;

use super::Error;
use super::create::{read_at, read_until};

const TOP: &str = "/sys/fs/cgroup";
const OWN: &str = "/proc/self/cgroup";
/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const CGROUP2: u64 = 0x6367_7270;

/// The control groups of a host, as its mounts show them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One cgroup2 hierarchy.
    V2(Hierarchy),
    /// Version 1 hierarchies, with a cgroup2 hierarchy beside them on hybrid hosts.
    V1 {
        /// The version 1 hierarchies, in the order of `/proc/self/cgroup`.
        hierarchies: Vec<Hierarchy>,
        /// The cgroup2 hierarchy of a hybrid host.
        unified: Option<Hierarchy>,
    },
    /// No hierarchy is mounted.
    None,
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// The mount point, absolute.
    pub mount: String,
    /// As in `/proc/self/cgroup`: `cpu,cpuacct`, `name=systemd`, or empty for cgroup2.
    pub controllers: String,
    /// The runtime's own cgroup in it, starting with `/`.
    pub own: String,
}

/// Finds the hierarchies: one read of `/proc/self/cgroup`, the type of the file system at `/sys/fs/cgroup`,
/// and, below a tmpfs there, whether each usual mount point has the files of a cgroup. The mount table is read
/// only where a controller of version 1 is not at its usual place.
///
/// # Errors
/// `/proc/self/cgroup` or the mount table cannot be read or understood.
pub fn detect() -> Result<Layout, Error> {
    let top = match open(
        TOP,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => return Ok(Layout::None),
        other => other.map_err(Error::io("open", TOP))?,
    };
    // The cgroup2 hierarchy, where there is one, comes last: its line saves the read that would find the end.
    let complete = |text: &[u8]| {
        text.strip_suffix(b"\n")
            .and_then(|text| text.rsplit(|byte| *byte == b'\n').next())
            .is_some_and(|line| line.starts_with(b"0::"))
    };
    let own = match read_until(CWD, OWN, "", complete).map(|(text, _)| text) {
        // A kernel without cgroups.
        Err(Error::Io {
            source: Errno::NOENT, ..
        }) => return Ok(Layout::None),
        other => other?,
    };
    let lines = parse_own(&own)?;
    let unified = |mount: String| Hierarchy {
        mount,
        controllers: String::new(),
        own: lines
            .iter()
            .find(|(controllers, _)| controllers.is_empty())
            .map_or("/", |(_, own)| own)
            .to_owned(),
    };
    if fstatfs(&top)
        .map_err(Error::io("examine", TOP))?
        .f_type
        .cast_unsigned()
        == CGROUP2
    {
        return Ok(Layout::V2(unified(TOP.to_owned())));
    }
    let hierarchies = v1_hierarchies(&top, &lines)?;
    let unified = exists(&top, "unified/cgroup.procs").then(|| unified(format!("{TOP}/unified")));
    Ok(match (hierarchies.is_empty(), unified) {
        (true, None) => Layout::None,
        (true, Some(unified)) => Layout::V2(unified),
        (false, unified) => Layout::V1 { hierarchies, unified },
    })
}

/// Whether a file exists. Only cgroup file systems have files of these names below `/sys/fs/cgroup`, so this
/// is as good as the type of the file system, and half as dear as statfs(2).
fn exists(top: &OwnedFd, file: &str) -> bool {
    accessat(top.as_fd(), file, Access::EXISTS, AtFlags::empty()).is_ok()
}

fn v1_hierarchies(top: &OwnedFd, lines: &[(&str, &str)]) -> Result<Vec<Hierarchy>, Error> {
    let mut mountinfo: Option<String> = None;
    let mut found = Vec::with_capacity(lines.len());
    for (controllers, own) in lines.iter().filter(|(controllers, _)| !controllers.is_empty()) {
        let usual = controllers.strip_prefix("name=").unwrap_or(controllers);
        let mount = if exists(top, &format!("{usual}/tasks")) {
            Some(format!("{TOP}/{usual}"))
        } else if controllers.starts_with("name=") {
            // A named hierarchy limits nothing: not worth reading the mount table for.
            None
        } else {
            if mountinfo.is_none() {
                mountinfo = Some(read_at(CWD, "/proc/self/mountinfo", "")?);
            }
            mountinfo
                .as_deref()
                .and_then(|table| mount_of(table, controllers))
        };
        if let Some(mount) = mount {
            found.push(Hierarchy {
                mount,
                controllers: (*controllers).to_owned(),
                own: (*own).to_owned(),
            });
        }
    }
    Ok(found)
}

/// The lines of `/proc/self/cgroup` (cgroups(7)) as (controllers, path).
fn parse_own(text: &str) -> Result<Vec<(&str, &str)>, Error> {
    text.lines()
        .map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            match (fields.next(), fields.next()) {
                (Some(controllers), Some(path)) if path.starts_with('/') => Ok((controllers, path)),
                _ => Err(Error::Content {
                    path: OWN.to_owned(),
                    content: line.to_owned(),
                }),
            }
        })
        .collect()
}

/// Where mountinfo (proc_pid_mountinfo(5)) shows the version 1 hierarchy with exactly `controllers`.
fn mount_of(mountinfo: &str, controllers: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let (kind, options) = (back.next()?, back.nth(1)?);
        let all = controllers
            .split(',')
            .all(|each| options.split(',').any(|option| option == each));
        (kind == "cgroup" && all).then(|| front.split(' ').nth(4).map(unescape))?
    })
}

/// Undoes the octal escapes of blank, tab, newline and backslash.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cgroup_lines() {
        let text = "2:cpu,cpuacct:/a:b\n1:name=systemd:/\n0::/user.slice\n";
        let expected = [
            ("cpu,cpuacct", "/a:b"),
            ("name=systemd", "/"),
            ("", "/user.slice"),
        ];
        assert_eq!(parse_own(text).unwrap(), expected);
        assert!(parse_own("2:cpu\n").is_err());
        assert!(parse_own("2:cpu:relative\n").is_err());
    }

    #[test]
    fn unusual_mount_point() {
        let table = "25 1 0:22 / /sys rw shared:7 - sysfs sysfs rw\n\
                     30 25 0:26 / /cg\\040roups/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n";
        assert_eq!(mount_of(table, "cpuacct,cpu").as_deref(), Some("/cg roups/cpu"));
        assert_eq!(mount_of(table, "memory"), None);
    }

    #[test]
    fn this_host() {
        // Whatever the host has, every hierarchy that is reported has its files.
        let all = match detect().unwrap() {
            Layout::V2(hierarchy) => vec![hierarchy],
            Layout::V1 { hierarchies, unified } => hierarchies.into_iter().chain(unified).collect(),
            Layout::None => Vec::new(),
        };
        for hierarchy in all {
            assert!(
                std::path::Path::new(&hierarchy.mount)
                    .join("cgroup.procs")
                    .exists(),
                "{hierarchy:?}"
            );
        }
    }
}
