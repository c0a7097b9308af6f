//! What a container could have left on the host.

use std::fs;
use std::path::Path;

/// What the names of all tests' containers start with, before the process id.
pub(super) const PREFIX: &str = "nucleus-test-";

/// Processes and cgroups that carry the id in their path.
pub(super) fn find(id: &str) -> Vec<String> {
    let mut found = processes(id);
    cgroups(Path::new("/sys/fs/cgroup"), id, 0, &mut found);
    found
}

/// Removes the cgroups of tests that were killed before they could: of processes that are no more.
pub(super) fn sweep() {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    for hierarchy in hierarchies.filter(|entry| entry.path().is_dir()) {
        for entry in fs::read_dir(hierarchy.path()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            let pid = pid.and_then(|rest| rest.split('-').next());
            let dead = |pid: &str| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists();
            if pid.is_some_and(dead) {
                // Only if nothing is in it.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Mounts below a directory, in the mount namespace of the test.
pub(super) fn mounts(directory: &Path) -> Vec<String> {
    let directory = directory.to_string_lossy();
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap_or_default()
        .lines()
        .filter(|line| line.contains(&*directory))
        .map(|line| format!("mount {line}"))
        .collect()
}

fn processes(id: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .bytes()
                .all(|byte| byte.is_ascii_digit())
        })
        .filter(|entry| {
            let cgroups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            cgroups.lines().any(|line| names(line.rsplit('/'), id))
        })
        .map(|entry| {
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let lines: Vec<&str> = status.lines().take(3).collect();
            format!(
                "process {}: {}",
                entry.file_name().to_string_lossy(),
                lines.join(", ")
            )
        })
        .collect()
}

fn names<'a>(mut parts: impl Iterator<Item = &'a str>, id: &str) -> bool {
    parts.any(|part| part == id)
}

/// Containers of tests are at most a few levels below a hierarchy's root.
fn cgroups(directory: &Path, id: &str, depth: u32, found: &mut Vec<String>) {
    if depth > 4 {
        return;
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name() == id {
            found.push(format!("cgroup {}", entry.path().display()));
        }
        cgroups(&entry.path(), id, depth + 1, found);
    }
}
