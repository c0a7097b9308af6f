//! One config under one runtime: what the processes inside see, and what the host sees of them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, MountPropagationFlags};

use super::generate::{Config, SOURCES};
use super::probe::{self, Facts};
use crate::lab::{Bundle, Container, Lab, Output, within};

/// Makes the sources of the bind mounts, for all runs in this sandbox.
///
/// # Errors
/// A file or mount cannot be made.
pub(super) fn make_sources() -> Result<()> {
    let top = Path::new(SOURCES);
    for dir in ["plain/deep", "tree/sub", "tree/other", "restricted", "shared"] {
        fs::create_dir_all(top.join(dir))?;
    }
    fs::write(top.join("plain/file"), "plain\n")?;
    let restrictions = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for (dir, flags) in [
        ("tree/sub", MountFlags::NODEV),
        ("tree/other", MountFlags::RDONLY | MountFlags::NOATIME),
        ("restricted", restrictions),
        ("shared", MountFlags::empty()),
    ] {
        rustix::mount::mount("tmpfs", top.join(dir), "tmpfs", flags, None)
            .with_context(|| format!("mount on {dir}"))?;
    }
    rustix::mount::mount_change(top.join("shared"), MountPropagationFlags::SHARED)
        .context("share a mount")?;
    Ok(())
}

/// What stands for the container's id in facts.
const ID: &str = "ID";

/// Runs a config, and leaves nothing.
///
/// # Errors
/// The harness itself fails; what the runtime refuses is a fact.
pub(super) fn observe(lab: &Lab, config: &Config) -> Result<Facts> {
    let mut bundle = lab.bundle(&[])?;
    config.apply(&mut bundle);
    furnish(&bundle, config)?;
    let mut facts = Facts::new();
    // Another one each time: a session keyring of the same name may outlive its container for a while.
    let id = format!("nucleus-diff-{:08x}", fastrand::u32(..));
    let container = Container::named(lab, id);
    let output = container.try_create(&bundle, &[])?;
    if refused(&mut facts, "create", &output) {
        return finish(facts, container, &bundle);
    }
    let pid = container.pid()?;
    from_the_host(&mut facts, "created", pid)?;
    let output = container.call(&["start"])?;
    if refused(&mut facts, "start", &output) {
        return finish(facts, container, &bundle);
    }
    let stat = PathBuf::from(format!("/proc/{pid}/stat"));
    let ended = || fs::read_to_string(&stat).map_or(true, |text| text.contains(") Z "));
    let reported = || -> Result<bool> {
        let stdout = container.stdout()?;
        Ok(stdout.contains(probe::MARK) && stdout.ends_with('\n'))
    };
    within(Duration::from_secs(15), || Ok(reported()? || ended()))?;
    add(&mut facts, "", probe::read(&container.stdout()?));
    from_the_host(&mut facts, "running", pid)?;
    cgroups(&mut facts, lab, pid)?;
    exec(&mut facts, lab, &container, config)?;
    finish(facts, container, &bundle)
}

/// Puts into the rootfs what the probe and the config need.
fn furnish(bundle: &Bundle, config: &Config) -> Result<()> {
    let program = bundle.in_root(probe::PROGRAM);
    fs::copy("/proc/self/exe", &program).context("copy the probe")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    fs::write(
        bundle.in_root(probe::REQUEST),
        serde_json::to_vec(&config.request)?,
    )?;
    fs::create_dir_all(bundle.in_root("/data/deep"))?;
    fs::create_dir_all(bundle.in_root("/srv/deep"))?;
    fs::write(bundle.in_root("/data/deep/file"), "deep\n")?;
    symlink("/data", bundle.in_root("/link"))?;
    let host_id = bundle
        .config
        .pointer("/linux/uidMappings/0/hostID")
        .and_then(serde_json::Value::as_u64);
    if let Some(id) = host_id {
        bundle.give_root_to(u32::try_from(id)?)?;
    }
    Ok(())
}

fn refused(facts: &mut Facts, command: &str, output: &Output) -> bool {
    // The words of an error are each runtime's own: only compared as a whole, and shown.
    if output.code != 0 {
        facts.insert(format!("{command} refused"), output.stderr.trim().to_owned());
    }
    output.code != 0
}

fn add(facts: &mut Facts, prefix: &str, seen: Result<Facts>) {
    match seen {
        Ok(seen) => facts.extend(
            seen.into_iter()
                .map(|(name, value)| (format!("{prefix}{name}"), value)),
        ),
        Err(error) => drop(facts.insert(format!("{prefix}no report"), format!("{error:#}"))),
    }
}

/// What `/proc` says from outside: some of it a process cannot see of itself.
fn from_the_host(facts: &mut Facts, when: &str, pid: i32) -> Result<()> {
    for kind in [
        "cgroup",
        "ipc",
        "mnt",
        "net",
        "pid",
        "pid_for_children",
        "time",
        "time_for_children",
        "user",
        "uts",
    ] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}"));
        // A process that has ended has none.
        if let Ok(theirs) = of(&pid.to_string()) {
            let same = theirs == of("self")?;
            facts.insert(
                format!("{when} namespace {kind}"),
                if same { "inherited" } else { "new" }.into(),
            );
        }
    }
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap_or_default();
    facts.insert(format!("{when} oom_score_adj"), score.trim().into());
    Ok(())
}

/// Files of a cgroup that hold settings, in both versions.
const SETTINGS: &[&str] = &[
    "blkio.bfq.weight",
    "cgroup.max.depth",
    "cgroup.max.descendants",
    "cgroup.subtree_control",
    "cgroup.type",
    "cpu.cfs_burst_us",
    "cpu.cfs_period_us",
    "cpu.cfs_quota_us",
    "cpu.idle",
    "cpu.shares",
    "cpuset.cpu_exclusive",
    "cpuset.cpus",
    "cpuset.mems",
    "devices.list",
    "freezer.state",
    "hugetlb.2MB.max",
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.oom_control",
    "memory.soft_limit_in_bytes",
    "memory.swappiness",
    "memory.use_hierarchy",
    "notify_on_release",
    "pids.max",
];

fn cgroups(facts: &mut Facts, lab: &Lab, pid: i32) -> Result<()> {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    for line in table.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        // The hierarchies that this view lacks keep the sandbox in a cgroup with a number of its own.
        if names.is_empty() != lab.is_v2() {
            continue;
        }
        facts.insert(format!("cgroup {names} path"), path.to_owned());
        let name = names.strip_prefix("name=").unwrap_or(names);
        let dir = Path::new("/sys/fs/cgroup")
            .join(name)
            .join(path.trim_start_matches('/'));
        for file in SETTINGS {
            let Ok(text) = fs::read_to_string(dir.join(file)) else {
                continue;
            };
            let mut lines: Vec<&str> = text.lines().collect();
            if *file == "devices.list" {
                facts.extend(
                    lines
                        .iter()
                        .map(|line| (format!("cgroup devices rule {line}"), "set".into())),
                );
                continue;
            }
            lines.sort_unstable();
            facts.insert(format!("cgroup {names} {file}"), lines.join("; "));
        }
        let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        facts.insert(
            format!("cgroup {names} processes"),
            procs.lines().count().to_string(),
        );
    }
    Ok(())
}

fn exec(facts: &mut Facts, lab: &Lab, container: &Container<'_>, config: &Config) -> Result<()> {
    let file = lab.dir.join("process.json");
    fs::write(&file, serde_json::to_vec_pretty(&config.exec)?)?;
    let path = file.display().to_string();
    let output = container.exec(&["--process", &path], &[])?;
    if !refused(facts, "exec", &output) {
        add(facts, "exec ", probe::read(&output.stdout));
    }
    Ok(())
}

/// Deletes the container, looks at what was made in its rootfs, and deletes that too.
fn finish(mut facts: Facts, container: Container<'_>, bundle: &Bundle) -> Result<Facts> {
    // Under a name that was refused there is nothing to delete.
    let deleted = container.call(&["delete", "--force"])?;
    if !facts.contains_key("create refused") {
        facts.insert("delete".into(), deleted.code.to_string());
    }
    let root = bundle.in_root("");
    walk(&mut facts, &root, &root)?;
    let facts = without_id(facts, &container.id);
    fs::remove_dir_all(bundle.dir()).context("remove the bundle: something is still mounted there")?;
    Ok(facts)
}

/// Puts a fixed text in place of the id, and leaves out the keyrings of others.
fn without_id(facts: Facts, id: &str) -> Facts {
    let renamed = facts
        .into_iter()
        .map(|(name, value)| (name.replace(id, ID), value.replace(id, ID)));
    renamed
        .filter(|(name, _)| !(name.starts_with("key ") || name.starts_with("exec key ")) || name.contains(ID))
        .collect()
}

/// Files and directories that a runtime made are part of what it does.
fn walk(facts: &mut Facts, root: &Path, dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = format!("/{}", path.strip_prefix(root)?.display());
        facts.insert(format!("rootfs {name}"), probe::node(&path));
        if path.is_dir() && !path.is_symlink() && name != "/bin" {
            walk(facts, root, &path)?;
        }
    }
    Ok(())
}
