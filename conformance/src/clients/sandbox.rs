//! One client and one runtime in namespaces and cgroups of their own, seen from outside.
//!
//! Whatever happens to this program, nothing stays: its death ends the process that made the namespaces
//! (`PR_SET_PDEATHSIG`), which ends their init, and with it every process and mount inside. The cgroups
//! outlive that; they are removed here, and after a SIGKILL by the next run's [`sweep`].

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::hierarchy::{Hierarchy, hierarchies};

const PREFIX: &str = "nucleus-clients-";

/// Joins the groups given before `--`, makes them the roots of a cgroup namespace, then runs the rest as a
/// child of the init of new namespaces. That init is a shell: it reaps what conmon and the shims leave to it.
///
/// In version 2 the processes then step aside into the leaf, because a group that holds processes cannot give
/// controllers to its children (`cgroups(7)`, "no internal processes").
const ENTER: &str = r#"
set -e
while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done
shift
exec unshare --cgroup sh -ec '
    if [ "$LEAF" ]; then echo $$ > "$LEAF/cgroup.procs"; fi
    exec unshare --mount --pid --fork --net --ipc --uts --mount-proc --kill-child sh -c "\"\$@\"; exit \$?" sh "$@"
' sh "$@"
"#;

/// A running sandbox.
pub(crate) struct Sandbox {
    child: Child,
    groups: Vec<PathBuf>,
    stdout: File,
    stderr: File,
}

impl Sandbox {
    /// Runs `command` inside new namespaces and cgroups.
    pub(crate) fn start(number: usize, command: &[OsString]) -> Result<Self> {
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let hierarchies = hierarchies()?;
        let groups = make_groups(&hierarchies, &name)?;
        let leaf = make_leaf(&hierarchies, &name)?;
        let stdout = tempfile::tempfile().context("make a file for the results")?;
        let stderr = tempfile::tempfile().context("make a file for the log")?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c", ENTER, "sh"])
            .args(&groups)
            .arg("--")
            .args(command)
            .env("LEAF", leaf)
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .spawn();
        match child {
            Ok(child) => Ok(Self {
                child,
                groups,
                stdout,
                stderr,
            }),
            Err(error) => {
                remove_groups(&groups);
                Err(error).context("run setpriv")
            }
        }
    }

    /// The exit status, once the sandbox has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("wait for the sandbox")
    }

    /// Ends every process inside and removes the cgroups; returns standard output and standard error.
    pub(crate) fn finish(mut self) -> Result<(String, String)> {
        self.end();
        Ok((whole(&mut self.stdout)?, whole(&mut self.stderr)?))
    }

    fn end(&mut self) {
        // Either call fails only if the child has been waited for already. While frozen it does not die.
        let _ = self.child.kill();
        remove_groups(&self.groups);
        let _ = self.child.wait();
        self.groups.clear();
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.end();
    }
}

fn whole(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind().context("rewind the output")?;
    file.read_to_end(&mut bytes).context("read the output")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Makes the group `name` in every hierarchy, ready to take processes.
fn make_groups(hierarchies: &[Hierarchy], name: &str) -> Result<Vec<PathBuf>> {
    let mut groups = Vec::new();
    for hierarchy in hierarchies {
        let group = hierarchy.mount.join(name);
        fs::create_dir(&group).with_context(|| format!("make cgroup {}", group.display()))?;
        inherit_cpuset(&hierarchy.mount, &group);
        groups.push(group);
    }
    Ok(groups)
}

/// Makes the leaf of [`ENTER`] in the version 2 hierarchy, if there is one.
fn make_leaf(hierarchies: &[Hierarchy], name: &str) -> Result<PathBuf> {
    let Some(unified) = hierarchies.iter().find(|h| h.options.is_none()) else {
        return Ok(PathBuf::new());
    };
    let leaf = unified.mount.join(name).join("init");
    fs::create_dir(&leaf).with_context(|| format!("make cgroup {}", leaf.display()))?;
    Ok(leaf)
}

/// A new version 1 cpuset is empty and takes no process before both files are set (`cpuset(7)`). The other
/// hierarchies have no such files.
fn inherit_cpuset(parent: &Path, group: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(value) = fs::read_to_string(parent.join(file)) {
            let _ = fs::write(group.join(file), value);
        }
    }
}

/// Thaws, kills and removes until nothing is left, for ten seconds at most. Every round visits every
/// hierarchy: what the freezer holds keeps the others' groups busy.
fn remove_groups(groups: &[PathBuf]) {
    for _ in 0..500 {
        groups.iter().for_each(|group| remove_group(group));
        if !groups.iter().any(|group| group.exists()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn remove_group(group: &Path) {
    // A frozen process of version 1 does not die of SIGKILL, and an ancestor's thaw does not thaw it.
    let _ = fs::write(group.join("freezer.state"), "THAWED");
    kill_members(group);
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

fn kill_members(group: &Path) {
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in members
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter_map(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Removes the cgroups of earlier runs whose process is gone.
pub(crate) fn sweep() -> Result<()> {
    let hierarchies = hierarchies()?;
    let entries = hierarchies
        .iter()
        .filter_map(|h| fs::read_dir(&h.mount).ok())
        .flatten()
        .flatten();
    let left = entries.filter(|entry| orphaned(&entry.file_name().to_string_lossy()));
    remove_groups(&left.map(|entry| entry.path()).collect::<Vec<_>>());
    Ok(())
}

fn orphaned(name: &str) -> bool {
    let owner = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('-'))
        .map(|(pid, _)| pid);
    owner.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_of_dead_runs_are_orphaned() {
        assert!(!orphaned("user.slice"));
        assert!(!orphaned("nucleus-clients-word-1"));
        assert!(!orphaned(&format!("{PREFIX}{}-1", std::process::id())));
        assert!(orphaned(&format!("{PREFIX}4194999-1"))); // above the kernel's greatest pid_max
    }
}
