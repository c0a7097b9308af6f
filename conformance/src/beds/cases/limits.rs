//! Limits on cgroup2 with all of its controllers, in cgroups that the runtime makes itself.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::beds::guest::{Guest, expect_files, read};
use crate::lab::{Caught, Container};

super::list![super::MACHINES;
    each_limit_is_in_its_file,
    a_group_in_the_middle_gets_the_controllers,
    want_of_memory_is_an_event,
    want_of_memory_is_how_nucleus_says_that_it_ended,
    a_refused_fork_is_how_nucleus_says_that_it_ended,
    limits_of_nucleus_are_in_the_files,
    stats_count_what_was_used,
];

/// `major:minor` of a disk of the machine.
fn disk() -> Result<(u64, u64)> {
    let text = read("/sys/block/nvme0n1/dev")?;
    let (major, minor) = text.split_once(':').context("no colon")?;
    Ok((major.parse()?, minor.parse()?))
}

fn each_limit_is_in_its_file(guest: &Guest) -> Result<()> {
    let lab = &guest.lab;
    let (major, minor) = disk()?;
    let mut bundle = lab.script("sleep 1000")?;
    let device = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    bundle.set("/linux/cgroupsPath", json!("/bed-limits")).set(
        "/linux/resources",
        json!({
            "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20},
            "pids": {"limit": 77},
            "cpu": {"quota": 50_000, "period": 100_000, "burst": 10_000, "cpus": "0", "mems": "0"},
            "blockIO": {
                "throttleReadBpsDevice": device(1 << 20),
                "throttleWriteBpsDevice": device(2 << 20),
                "throttleReadIOPSDevice": device(300),
                "throttleWriteIOPSDevice": device(400),
            },
            "unified": {"memory.high": "50331648", "memory.oom.group": "1", "cgroup.max.descendants": "9"},
        }),
    );
    let container = Container::started(lab, &bundle)?;
    let cgroup = container.cgroup("")?;
    let io = format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=300 wiops=400");
    expect_files(
        &cgroup,
        &[
            ("memory.max", "67108864"),
            ("memory.low", "33554432"),
            ("memory.swap.max", "33554432"),
            ("memory.high", "50331648"),
            ("memory.oom.group", "1"),
            ("pids.max", "77"),
            ("cpu.max", "50000 100000"),
            ("cpu.max.burst", "10000"),
            ("cpuset.cpus", "0"),
            ("cpuset.mems", "0"),
            ("io.max", &io),
            ("cgroup.max.descendants", "9"),
        ],
    )?;
    container.delete()?;
    ensure!(!fs::exists(&cgroup)?, "{} is left", cgroup.display());
    Ok(())
}

fn a_group_in_the_middle_gets_the_controllers(guest: &Guest) -> Result<()> {
    let lab = &guest.lab;
    let mut bundle = lab.script("sleep 1000")?;
    bundle
        .set("/linux/cgroupsPath", json!("/bed-outer/middle/inner"))
        .set(
            "/linux/resources",
            json!({"memory": {"limit": 64 << 20}, "cpu": {"cpus": "0"}}),
        );
    let container = Container::started(lab, &bundle)?;
    expect_files(
        &container.cgroup("")?,
        &[("memory.max", "67108864"), ("cpuset.cpus", "0")],
    )?;
    container.delete()?;
    ensure!(!fs::exists("/sys/fs/cgroup/bed-outer")?, "a parent is left");
    Ok(())
}

/// Asks for more memory than there is, in a process that is not the first of its namespace, and goes on.
const GREEDY: &str = "(dd if=/dev/zero of=/dev/null bs=96M count=1) 2>/dev/null; echo $?";

fn want_of_memory_is_an_event(guest: &Guest) -> Result<()> {
    let lab = &guest.lab;
    let mut bundle = lab.script(&format!("sleep 2; {GREEDY}; sleep 1000"))?;
    bundle.set(
        "/linux/resources/memory",
        json!({"limit": 32 << 20, "swap": 32 << 20}),
    );
    let container = Container::started(lab, &bundle)?;
    let events = Caught::start(&mut lab.command(&["events", "--interval", "1h", &container.id]))?;
    container.wait_for_stdout("137")?;
    lab.call(&["kill", &container.id, "KILL"])?.success()?;
    let told = events.finish()?.success()?.stdout;
    let types = told
        .lines()
        .map(serde_json::from_str::<Value>)
        .collect::<Result<Vec<_>, _>>()?;
    ensure!(
        types.iter().any(|event| event["type"] == "oom"),
        "events told {told:?}"
    );
    Ok(())
}

/// Runs the front-end with `--events`; its standard error and the event of the end.
fn ending(guest: &Guest, words: &[&str]) -> Result<(String, Value)> {
    let events = guest.lab.dir.join("events");
    let path = events.display().to_string();
    let mut all = vec!["run", "--events", &path];
    all.extend(words);
    let output = guest.nucleus(&all)?;
    let text = read(&events).with_context(|| format!("after {output:?}"))?;
    let exited = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|event| event["event"] == "exited");
    Ok((
        output.stderr,
        exited.with_context(|| format!("no end in {text:?}"))?,
    ))
}

/// Behind `nucleus run`: a sandbox that ends for want of memory.
pub(super) const OUT_OF_MEMORY: [&str; 8] = [
    "--memory",
    "32M",
    "--",
    "dd",
    "if=/dev/zero",
    "of=/dev/null",
    "bs=96M",
    "count=1",
];

fn want_of_memory_is_how_nucleus_says_that_it_ended(guest: &Guest) -> Result<()> {
    let (stderr, event) = ending(guest, &OUT_OF_MEMORY)?;
    ensure!(event["reason"] == "out-of-memory", "the event is {event}");
    ensure!(stderr.contains("memory"), "standard error is {stderr:?}");
    Ok(())
}

fn a_refused_fork_is_how_nucleus_says_that_it_ended(guest: &Guest) -> Result<()> {
    let script = "for i in 1 2 3 4 5 6; do sleep 1000 & done; exit 1";
    let (stderr, event) = ending(guest, &["--pids", "4", "--", "sh", "-c", script])?;
    ensure!(
        event["reason"] == "pids-limit",
        "the event is {event}; standard error is {stderr:?}"
    );
    Ok(())
}

fn limits_of_nucleus_are_in_the_files(guest: &Guest) -> Result<()> {
    let name = "bed-front-end";
    let limits = ["--memory", "64M", "--pids", "50", "--cpus", "0.5"];
    let mut words = vec!["run", "--detach", "--name", name];
    words.extend(limits);
    words.extend(["--", "sleep", "1000"]);
    guest.nucleus(&words)?.success()?;
    let state: Value = serde_json::from_str(&guest.nucleus(&["state", name])?.success()?.stdout)?;
    let table = read(format!("/proc/{}/cgroup", state["pid"]))?;
    let path = table.strip_prefix("0::/").context("more than cgroup2")?;
    let cgroup = std::path::Path::new("/sys/fs/cgroup").join(path);
    let seen = expect_files(
        &cgroup,
        &[
            ("memory.max", "67108864"),
            ("pids.max", "50"),
            ("cpu.max", "50000 100000"),
        ],
    );
    guest.nucleus(&["rm", "--force", name])?.success()?;
    seen?;
    ensure!(!fs::exists(&cgroup)?, "{} is left", cgroup.display());
    Ok(())
}

fn stats_count_what_was_used(guest: &Guest) -> Result<()> {
    let lab = &guest.lab;
    let mut bundle =
        lab.script("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo up; exec sleep 1000")?;
    bundle.set(
        "/linux/resources",
        json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 9}}),
    );
    let container = Container::started(lab, &bundle)?;
    container.wait_for_stdout("up")?;
    let stats: Value = serde_json::from_str(&container.call(&["events", "--stats"])?.success()?.stdout)?;
    let number = |pointer: &str| stats.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    ensure!(number("/data/pids/current") == 1, "pids: {stats}");
    ensure!(number("/data/pids/limit") == 9, "limit of pids: {stats}");
    ensure!(
        number("/data/memory/usage/limit") == 64 << 20,
        "limit of memory: {stats}"
    );
    ensure!(number("/data/memory/usage/usage") > 0, "memory: {stats}");
    ensure!(
        number("/data/cpu/usage/total") > 1_000_000,
        "processor time in ns: {stats}"
    );
    Ok(())
}
