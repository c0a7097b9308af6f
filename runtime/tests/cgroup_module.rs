//! Control groups on the real kernel: this host's hierarchies, and a cgroup2-only view in a private mount
//! namespace. Every cgroup that is made here is named `nucleus-test-…` and removed again.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nucleus_runtime::cgroup::{Driver, Entered, Layout, Plan, Request, create, detect, plan};
use oci_spec::runtime::LinuxResources;

/// A name that no other test or run uses.
fn unique(test: &str) -> String {
    format!("nucleus-test-{}-{test}", std::process::id())
}

/// Skips the test where the host lacks what it needs, unless everything has to run.
fn lacking(what: &str) {
    assert!(
        std::env::var_os("NUCLEUS_TESTS_MUST_RUN").is_none(),
        "lacking: {what}"
    );
    println!("skipped: {what}");
}

/// The host's layout, if it has version 1 hierarchies that we may write to.
fn v1() -> Option<Layout> {
    match detect().unwrap() {
        layout @ Layout::V1 { .. } if rustix::process::geteuid().is_root() => Some(layout),
        _ => {
            lacking("cgroup version 1, as root");
            None
        }
    }
}

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

fn planned(layout: &Layout, path: &str, resources: &LinuxResources) -> Plan {
    let request = Request {
        cgroups_path: Some(path),
        id: "unused",
        resources: Some(resources),
        devices: &[],
        rootless: false,
        driver: Driver::Cgroupfs,
    };
    plan(layout, &request).unwrap()
}

/// The container's directory in the hierarchy of one controller (`""` for cgroup2).
fn directory(entered: &Entered, controller: &str) -> String {
    let mut paths = entered.record.paths();
    let found = paths.find(|(controllers, _)| controllers.split(',').any(|each| each == controller));
    found.unwrap().1.to_owned()
}

/// The content of a file in the container's cgroup of one controller.
fn value(entered: &Entered, controller: &str, file: &str) -> String {
    let path = format!("{}/{file}", directory(entered, controller));
    fs::read_to_string(path).unwrap().trim_end().to_owned()
}

/// Starts a shell that enters the container's cgroups, says so, and waits for the end of its input.
fn inside(entered: &Entered, script: &str) -> Child {
    let enter: String = entered
        .record
        .paths()
        .map(|(controllers, path)| {
            let file = if controllers.is_empty() {
                "cgroup.procs"
            } else {
                "tasks"
            };
            format!("echo 0 > {path}/{file} || exit 99;")
        })
        .collect();
    let child = Command::new("sh")
        .args(["-c", &format!("{enter} {script} cat")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    while !entered.record.pids().unwrap().contains(&pid) {
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

fn finish(mut child: Child) -> std::process::ExitStatus {
    drop(child.stdin.take());
    child.wait().unwrap()
}

#[test]
fn limits_of_version_1() {
    let Some(layout) = v1() else { return };
    let resources = resources(
        r#"{
            "memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432, "swappiness": 10,
                       "disableOOMKiller": true, "kernelTCP": 1048576},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 20000, "cpus": "0",
                    "realtimeRuntime": 5000, "realtimePeriod": 1000000},
            "pids": {"limit": 10}
        }"#,
    );
    let parent = unique("limits");
    let entered = create(&planned(&layout, &format!("/{parent}/inner"), &resources)).unwrap();
    let expected = [
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.memsw.limit_in_bytes", "134217728"),
        ("memory", "memory.soft_limit_in_bytes", "33554432"),
        ("memory", "memory.swappiness", "10"),
        ("memory", "memory.kmem.tcp.limit_in_bytes", "1048576"),
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("cpu", "cpu.cfs_period_us", "100000"),
        ("cpu", "cpu.cfs_burst_us", "20000"),
        ("cpu", "cpu.rt_runtime_us", "5000"),
        ("cpu", "cpu.rt_period_us", "1000000"),
        ("cpuset", "cpuset.cpus", "0"),
        ("cpuset", "cpuset.mems", "0"),
        ("pids", "pids.max", "10"),
    ];
    for (controller, file, expected) in expected {
        assert_eq!(value(&entered, controller, file), expected, "{file}");
    }
    assert!(value(&entered, "memory", "memory.oom_control").starts_with("oom_kill_disable 1"));
    let paths: Vec<_> = entered.record.paths().map(|(_, path)| path.to_owned()).collect();
    entered.record.delete().unwrap();
    for path in paths {
        assert!(!fs::exists(&path).unwrap(), "{path} is left");
        assert!(
            !fs::exists(path.strip_suffix("/inner").unwrap()).unwrap(),
            "the parent of {path} is left"
        );
    }
}

#[test]
fn a_refused_limit_leaves_nothing() {
    let Some(layout) = v1() else { return };
    // The list is well formed, and no machine has such a CPU.
    let resources = resources(r#"{"cpu": {"cpus": "90000"}, "pids": {"limit": 5}}"#);
    let name = unique("refused");
    let error = create(&planned(&layout, &format!("/{name}/inner"), &resources)).unwrap_err();
    assert!(error.to_string().contains("linux.resources.cpu.cpus"), "{error}");
    assert!(error.errno().is_some());
    let Layout::V1 { hierarchies, unified } = &layout else {
        unreachable!()
    };
    for hierarchy in hierarchies.iter().chain(unified) {
        assert!(
            !fs::exists(format!("{}/{name}", hierarchy.mount)).unwrap(),
            "{hierarchy:?}"
        );
    }
}

#[test]
fn processes_enter_and_are_limited() {
    let Some(layout) = v1() else { return };
    let path = format!("/{}", unique("enter"));
    let entered = create(&planned(&layout, &path, &resources(r#"{"pids": {"limit": 3}}"#))).unwrap();
    let child = inside(
        &entered,
        "(sleep 0.1 & sleep 0.1 & sleep 0.1 & wait) 2>/dev/null;",
    );
    let refused = create(&planned(&layout, &path, &LinuxResources::default())).unwrap_err();
    assert!(
        refused.to_string().contains("already holds processes"),
        "{refused}"
    );
    finish(child);
    assert_ne!(value(&entered, "pids", "pids.events"), "max 0");
    entered.record.delete().unwrap();
}
