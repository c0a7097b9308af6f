//! Resources: what is written to the cgroup, what holds, and what changes it later.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::expect_eq;
use crate::inside::skip;
use crate::lab::{Bundle, Container, Lab, within};

super::list![
    cgroups_path_is_used,
    relative_cgroups_path_is_used,
    memory_limit_is_written,
    memory_limit_kills,
    pids_limit_is_written_and_holds,
    cpu_shares_and_quota_are_written,
    cpu_burst_is_written,
    cpu_idle_is_written,
    cpuset_is_written,
    hugetlb_limit_is_written,
    unified_values_are_written,
    unified_on_v1_is_refused,
    pause_stops_and_resume_continues,
    pause_of_a_created_container_or_its_refusal_leaves_it_usable,
    kill_ends_a_paused_container,
    delete_with_force_ends_a_paused_container,
    update_takes_flags,
    update_takes_resources_from_standard_input,
    update_takes_a_resources_file,
    all_processes_are_in_the_cgroup,
    delete_removes_cgroups_that_the_container_made,
];

const NAME: &str = "/nucleus-case-cgroup";

/// A started container with resources, in a cgroup of a known name.
fn with<'a>(lab: &'a Lab, pointer: &str, value: Value) -> Result<Container<'a>> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.set("/linux/cgroupsPath", json!(NAME)).set(pointer, value);
    Container::started(lab, &bundle)
}

/// Skips unless the view has the file `v1` of a controller (or `v2`, on the unified hierarchy).
fn file<'a>(lab: &Lab, controller: &str, v1: &'a str, v2: &'a str) -> Result<&'a str> {
    let top = Path::new("/sys/fs/cgroup");
    if lab.is_v2() {
        let controllers = fs::read_to_string(top.join("cgroup.controllers"))?;
        if !controllers.split_whitespace().any(|name| name == controller) {
            return skip(format!(
                "the unified hierarchy has no {controller} controller here"
            ));
        }
        return Ok(v2);
    }
    let dir = top.join(controller);
    if !dir.exists() {
        return skip(format!("no {controller} hierarchy is mounted here"));
    }
    let present = !v1.contains('.') || dir.join(v1).exists() || child_has(&dir, v1)?;
    if !present {
        return skip(format!("this kernel has no {v1}"));
    }
    Ok(v1)
}

/// Some files exist below the root of a hierarchy only.
fn child_has(dir: &Path, name: &str) -> Result<bool> {
    let probe = dir.join("probe");
    fs::create_dir(&probe)?;
    let has = probe.join(name).exists();
    fs::remove_dir(&probe)?;
    Ok(has)
}

fn value(container: &Container<'_>, controller: &str, file: &str) -> Result<String> {
    let path = container.cgroup(controller)?.join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

fn cgroups_path_is_used(lab: &Lab) -> Result<()> {
    let container = with(lab, "/linux/resources", json!({}))?;
    let table = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?))?;
    let controller = if lab.is_v2() { "" } else { "pids" };
    let line = table
        .lines()
        .find(|line| line.split(':').nth(1) == Some(controller))
        .context("no line")?;
    ensure!(line.contains(NAME), "the process is in {line:?}");
    Ok(())
}

fn relative_cgroups_path_is_used(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.set("/linux/cgroupsPath", json!("some/nucleus-case-relative"));
    let container = Container::started(lab, &bundle)?;
    let table = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?))?;
    ensure!(
        table.contains("some/nucleus-case-relative"),
        "the process is in {table:?}"
    );
    Ok(())
}

const MEGABYTE: u64 = 1024 * 1024;

fn memory_limit_is_written(lab: &Lab) -> Result<()> {
    let name = file(lab, "memory", "memory.limit_in_bytes", "memory.max")?;
    let memory = json!({"limit": 64 * MEGABYTE, "reservation": 32 * MEGABYTE});
    let container = with(lab, "/linux/resources/memory", memory)?;
    expect_eq(
        "limit",
        value(&container, "memory", name)?,
        (64 * MEGABYTE).to_string(),
    )?;
    let soft = if lab.is_v2() {
        "memory.low"
    } else {
        "memory.soft_limit_in_bytes"
    };
    expect_eq(
        "reservation",
        value(&container, "memory", soft)?,
        (32 * MEGABYTE).to_string(),
    )
}

fn memory_limit_kills(lab: &Lab) -> Result<()> {
    file(lab, "memory", "memory.limit_in_bytes", "memory.max")?;
    // One buffer of 64 MB, in a process that is not the first of its namespace.
    let mut bundle = lab.script("(dd if=/dev/zero of=/dev/null bs=64M count=1); echo $?")?;
    bundle.set(
        "/linux/resources/memory",
        json!({"limit": 16 * MEGABYTE, "swap": 16 * MEGABYTE}),
    );
    expect_eq("exit code", lab.stdout(&bundle)?, "137")
}

fn pids_limit_is_written_and_holds(lab: &Lab) -> Result<()> {
    let name = file(lab, "pids", "pids.max", "pids.max")?;
    let container = with(lab, "/linux/resources/pids", json!({"limit": 17}))?;
    expect_eq("limit", value(&container, "pids", name)?, "17")?;
    let mut bundle = lab.script("for i in 1 2 3 4 5 6; do sleep 1000 & done")?;
    bundle.set("/linux/resources/pids", json!({"limit": 4}));
    let output = lab.run(&bundle)?;
    ensure!(
        output.stderr.contains("fork"),
        "six processes fit into four: {output:?}"
    );
    Ok(())
}

fn cpu_shares_and_quota_are_written(lab: &Lab) -> Result<()> {
    let name = file(lab, "cpu", "cpu.shares", "cpu.max")?;
    let cpu = json!({"shares": 512, "quota": 50_000, "period": 200_000});
    let container = with(lab, "/linux/resources/cpu", cpu)?;
    if lab.is_v2() {
        return expect_eq("cpu.max", value(&container, "cpu", name)?, "50000 200000");
    }
    expect_eq("shares", value(&container, "cpu", name)?, "512")?;
    expect_eq("quota", value(&container, "cpu", "cpu.cfs_quota_us")?, "50000")?;
    expect_eq("period", value(&container, "cpu", "cpu.cfs_period_us")?, "200000")
}

fn cpu_burst_is_written(lab: &Lab) -> Result<()> {
    let name = file(lab, "cpu", "cpu.cfs_burst_us", "cpu.max.burst")?;
    let cpu = json!({"quota": 50_000, "period": 100_000, "burst": 20_000});
    let container = with(lab, "/linux/resources/cpu", cpu)?;
    expect_eq("burst", value(&container, "cpu", name)?, "20000")
}

fn cpu_idle_is_written(lab: &Lab) -> Result<()> {
    let name = file(lab, "cpu", "cpu.idle", "cpu.idle")?;
    let container = with(lab, "/linux/resources/cpu", json!({"idle": 1}))?;
    expect_eq("idle", value(&container, "cpu", name)?, "1")
}

fn cpuset_is_written(lab: &Lab) -> Result<()> {
    let name = file(lab, "cpuset", "cpuset.cpus", "cpuset.cpus")?;
    let container = with(lab, "/linux/resources/cpu", json!({"cpus": "0", "mems": "0"}))?;
    expect_eq("cpus", value(&container, "cpuset", name)?, "0")?;
    expect_eq("mems", value(&container, "cpuset", "cpuset.mems")?, "0")?;
    let allowed = container.exec_stdout(&[], "grep Cpus_allowed_list /proc/self/status")?;
    ensure!(allowed.ends_with("\t0"), "allowed processors are {allowed:?}");
    Ok(())
}

fn hugetlb_limit_is_written(lab: &Lab) -> Result<()> {
    let file = file(lab, "hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max")?;
    let limits = json!([{"pageSize": "2MB", "limit": 4 * MEGABYTE}]);
    let container = with(lab, "/linux/resources/hugepageLimits", limits)?;
    let path = container.cgroup("hugetlb")?.join(file);
    if lab.is_v2() && !path.exists() {
        return skip("the sandbox's cgroup was given no hugetlb controller");
    }
    expect_eq(
        "limit",
        fs::read_to_string(path)?.trim(),
        (4 * MEGABYTE).to_string().as_str(),
    )
}

fn unified_values_are_written(lab: &Lab) -> Result<()> {
    if !lab.is_v2() {
        return skip("only the unified hierarchy has such values");
    }
    let container = with(lab, "/linux/resources/unified", json!({"cgroup.max.depth": "3"}))?;
    expect_eq(
        "cgroup.max.depth",
        value(&container, "", "cgroup.max.depth")?,
        "3",
    )
}

fn unified_on_v1_is_refused(lab: &Lab) -> Result<()> {
    if lab.is_v2() {
        return skip("this view is the unified hierarchy");
    }
    let mut bundle = lab.bundle(&["true"])?;
    bundle.set("/linux/resources/unified", json!({"pids.max": "10"}));
    lab.run(&bundle)?.exits_with(1).map(drop)
}

/// A container that writes a growing number of bytes to `/count` in its rootfs.
fn counter<'a>(lab: &'a Lab) -> Result<(Container<'a>, Bundle)> {
    let bundle = lab.script("while :; do printf x >> /count; sleep 0.01; done")?;
    let container = Container::started(lab, &bundle)?;
    ensure!(
        within(Duration::from_secs(5), || Ok(count(&bundle) > 0))?,
        "the counter does not run"
    );
    Ok((container, bundle))
}

fn count(bundle: &Bundle) -> u64 {
    fs::metadata(bundle.in_root("/count")).map_or(0, |metadata| metadata.len())
}

fn pause_stops_and_resume_continues(lab: &Lab) -> Result<()> {
    let (container, bundle) = counter(lab)?;
    container.call(&["pause"])?.success()?;
    expect_eq("status", container.status()?, "paused")?;
    let before = count(&bundle);
    std::thread::sleep(Duration::from_millis(300));
    expect_eq("count while paused", count(&bundle), before)?;
    let exec = container.exec(&[], &["true"])?;
    ensure!(exec.code != 0, "exec into a paused container succeeds");
    container.call(&["resume"])?.success()?;
    expect_eq("status", container.status()?, "running")?;
    ensure!(
        within(Duration::from_secs(5), || Ok(count(&bundle) > before))?,
        "it does not continue"
    );
    Ok(())
}

fn pause_of_a_created_container_or_its_refusal_leaves_it_usable(lab: &Lab) -> Result<()> {
    let container = Container::create(lab, &lab.bundle(&["sleep", "1000"])?)?;
    if container.call(&["pause"])?.code == 0 {
        container.call(&["resume"])?.success()?;
    }
    container.start()?;
    expect_eq("status", container.status()?, "running")
}

fn kill_ends_a_paused_container(lab: &Lab) -> Result<()> {
    let (container, _bundle) = counter(lab)?;
    container.call(&["pause"])?.success()?;
    lab.call(&["kill", &container.id, "KILL"])?.success()?;
    // A v1 freezer keeps what it froze until it is thawed, and not every runtime does that by itself. Where
    // SIGKILL reaches a frozen process, it may end between the look and the call: then there is nothing to
    // resume.
    if container.status()? == "paused" {
        container.call(&["resume"])?;
    }
    container.wait_for("stopped")
}

fn delete_with_force_ends_a_paused_container(lab: &Lab) -> Result<()> {
    let (container, _bundle) = counter(lab)?;
    container.call(&["pause"])?.success()?;
    container.delete()?;
    lab.expect_nothing_left(&container.id)
}

fn update_takes_flags(lab: &Lab) -> Result<()> {
    let name = file(lab, "pids", "pids.max", "pids.max")?;
    let container = with(lab, "/linux/resources/pids", json!({"limit": 17}))?;
    container.call(&["update", "--pids-limit", "23"])?.success()?;
    expect_eq("pids limit", value(&container, "pids", name)?, "23")?;
    let memory = file(lab, "memory", "memory.limit_in_bytes", "memory.max")?;
    let bytes = (48 * MEGABYTE).to_string();
    container.call(&["update", "--memory", &bytes])?.success()?;
    expect_eq("memory limit", value(&container, "memory", memory)?, bytes)?;
    expect_eq("pids limit after that", value(&container, "pids", name)?, "23")
}

fn update_takes_resources_from_standard_input(lab: &Lab) -> Result<()> {
    let name = file(lab, "pids", "pids.max", "pids.max")?;
    let container = with(lab, "/linux/resources/pids", json!({"limit": 17}))?;
    let input = lab.dir.join("resources.json");
    fs::write(&input, json!({"pids": {"limit": 31}}).to_string())?;
    let mut command = lab.command(&["update", "--resources", "-", &container.id]);
    crate::lab::finish(command.stdin(fs::File::open(&input)?))?.success()?;
    expect_eq("pids limit", value(&container, "pids", name)?, "31")
}

fn update_takes_a_resources_file(lab: &Lab) -> Result<()> {
    let name = file(lab, "pids", "pids.max", "pids.max")?;
    let container = with(lab, "/linux/resources/pids", json!({"limit": 17}))?;
    let input = lab.dir.join("resources.json");
    fs::write(&input, json!({"pids": {"limit": 29}}).to_string())?;
    container
        .call(&["update", "--resources", &input.display().to_string()])?
        .success()?;
    expect_eq("pids limit", value(&container, "pids", name)?, "29")
}

fn all_processes_are_in_the_cgroup(lab: &Lab) -> Result<()> {
    let mut bundle = lab.script("sleep 1000 & echo up; exec sleep 1000")?;
    bundle.set("/linux/cgroupsPath", json!(NAME));
    let container = Container::started(lab, &bundle)?;
    container.wait_for_stdout("up")?;
    container.exec(&["--detach"], &["sleep", "1000"])?.success()?;
    let controller = if lab.is_v2() { "" } else { "pids" };
    let here = value(&container, controller, "cgroup.procs")?;
    expect_eq("processes in the cgroup", here.lines().count(), 3)
}

fn delete_removes_cgroups_that_the_container_made(lab: &Lab) -> Result<()> {
    let mut bundle =
        lab.script("find /sys/fs/cgroup -name cgroup.procs -maxdepth 2 | head -n 1; sleep 1000")?;
    bundle.set("/linux/cgroupsPath", json!(NAME)).namespace("cgroup");
    bundle.mount("cgroup", "cgroup", "/sys/fs/cgroup", &["rw"]);
    let container = Container::started(lab, &bundle)?;
    container.wait_for_stdout("cgroup.procs")?;
    let dir = container.cgroup(if lab.is_v2() { "" } else { "pids" })?;
    fs::create_dir(dir.join("child"))?;
    fs::create_dir(dir.join("child/grandchild"))?;
    container.delete()?;
    ensure!(!dir.exists(), "{} is left", dir.display());
    Ok(())
}
