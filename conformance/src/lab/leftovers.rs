//! What a container left behind: every process, mount, cgroup and state directory that is one too many.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::Lab;

/// Everything left of one container, in words. In its sandbox no other container runs.
pub(super) fn of(lab: &Lab, id: &str) -> Result<Vec<String>> {
    let mut left = processes()?;
    left.extend(mounts(&lab.dir)?);
    find(Path::new("/sys/fs/cgroup"), id, "cgroup", &mut left);
    find(&lab.state_root, id, "state", &mut left);
    Ok(left)
}

/// Processes other than this one and the sandbox's first. A process that ended but is not reaped counts too,
/// as soon as nobody can reap it; the first process reaps all that it inherits.
fn processes() -> Result<Vec<String>> {
    let own = std::process::id();
    let mut left = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse::<u32>() else { continue };
        if pid == 1 || pid == own {
            continue;
        }
        // It may have ended between the two reads.
        if let Ok(words) = fs::read_to_string(format!("/proc/{pid}/stat")) {
            left.push(format!("process {}", words.chars().take(60).collect::<String>()));
        }
    }
    Ok(left)
}

/// Mounts below the sandbox's directory, which is itself one.
fn mounts(dir: &Path) -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let targets = table.lines().filter_map(|line| line.split(' ').nth(4));
    Ok(targets
        .filter(|target| Path::new(target).starts_with(dir) && Path::new(target) != dir)
        .map(|target| format!("mount {target}"))
        .collect())
}

/// Directory entries whose name holds the id.
fn find(dir: &Path, id: &str, kind: &str, left: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().contains(id) {
            left.push(format!("{kind} {}", path.display()));
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&path, id, kind, left);
        }
    }
}
