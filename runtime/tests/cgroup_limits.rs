//! Limits, as they are set and as they are changed.

mod cgroups;

use cgroups::{directory, in_v2_view, inside, lacking, planned, resources, unique, v1, v2_with, value};
use nucleus_runtime::cgroup::{Layout, create};
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;

#[test]
fn update_raises_and_lowers() {
    let Some(layout) = v1() else { return };
    let first = resources(
        r#"{"memory": {"limit": 67108864, "swap": 67108864},
            "cpu": {"quota": 50000, "period": 100000, "burst": 50000, "shares": 100}}"#,
    );
    let entered = create(&planned(&layout, &format!("/{}", unique("update")), &first)).unwrap();
    let steps = [
        // Both up: memory plus swap has to go first. Both down: the memory limit.
        (
            r#"{"memory": {"limit": 268435456, "swap": 536870912}}"#,
            "memory.memsw.limit_in_bytes",
            "536870912",
        ),
        (
            r#"{"memory": {"limit": 33554432, "swap": 33554432}}"#,
            "memory.memsw.limit_in_bytes",
            "33554432",
        ),
        (
            r#"{"memory": {"limit": -1}}"#,
            "memory.limit_in_bytes",
            "9223372036854771712",
        ),
        // The burst may not be more than the quota.
        (
            r#"{"cpu": {"quota": 20000, "burst": 10000}}"#,
            "cpu.cfs_quota_us",
            "20000",
        ),
        (
            r#"{"cpu": {"quota": 90000, "burst": 80000}}"#,
            "cpu.cfs_burst_us",
            "80000",
        ),
        (r#"{"cpu": {"idle": 1, "shares": 200}}"#, "cpu.idle", "1"),
        (r#"{"cpu": {"idle": 0, "shares": 300}}"#, "cpu.shares", "300"),
        (r#"{"pids": {"limit": 7}}"#, "pids.max", "7"),
        // Zero leaves things as they are, -1 lifts the limit.
        (r#"{"pids": {"limit": 0}}"#, "pids.max", "7"),
        (r#"{"pids": {"limit": -1}}"#, "pids.max", "max"),
    ];
    for (json, file, expected) in steps {
        entered
            .record
            .update(&resources(json))
            .unwrap_or_else(|error| panic!("{json}: {error:?}"));
        let controller = file.split('.').next().unwrap();
        assert_eq!(value(&entered, controller, file), expected, "{json}");
    }
    let error = entered
        .record
        .update(&resources(r#"{"cpu": {"burst": 95000}}"#))
        .unwrap_err();
    assert!(error.to_string().contains("linux.resources.cpu.burst"), "{error}");
    entered.record.delete().unwrap();
}

#[test]
fn limits_of_version_2() {
    in_v2_view(|layout| {
        let parent = unique("v2");
        let path = format!("/{parent}/inner");
        let Layout::V2(hierarchy) = &layout else {
            unreachable!()
        };
        let controllers = fs::read_to_string(format!("{}/cgroup.controllers", hierarchy.mount)).unwrap();
        let subtree = format!("{}/cgroup.subtree_control", hierarchy.mount);
        let enabled = fs::read_to_string(&subtree).unwrap();
        if controllers.split_ascii_whitespace().any(|each| each == "hugetlb") {
            let limits = resources(
                r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
                    "unified": {"cgroup.max.depth": "3"}}"#,
            );
            let entered = create(&planned(&layout, &path, &limits)).unwrap();
            assert_eq!(value(&entered, "", "hugetlb.2MB.max"), "4194304");
            assert_eq!(value(&entered, "", "cgroup.max.depth"), "3");
            entered
                .record
                .update(&resources(r#"{"unified": {"cgroup.max.depth": "5"}}"#))
                .unwrap();
            assert_eq!(value(&entered, "", "cgroup.max.depth"), "5");
            let stats = serde_json::to_value(entered.record.stats().unwrap()).unwrap();
            assert!(stats.pointer("/hugetlb/2MB").is_some(), "{stats}");
            entered.record.delete().unwrap();
            if !enabled.contains("hugetlb") {
                fs::write(&subtree, "-hugetlb").unwrap();
            }
        } else {
            lacking("hugetlb on cgroup2");
        }
        // The other hierarchies of the host still hold these controllers.
        if !controllers.contains("memory") {
            for (json, property) in [
                (
                    r#"{"memory": {"limit": 4194304}}"#,
                    "linux.resources.memory.limit",
                ),
                (r#"{"unified": {"memory.high": "1"}}"#, "linux.resources.unified"),
            ] {
                let error = create(&planned(&layout, &path, &resources(json))).unwrap_err();
                assert!(error.to_string().contains(property), "{error}");
            }
        }
        assert!(!fs::exists(format!("{}/{parent}", hierarchy.mount)).unwrap());
    });
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
fn controllers_of_version_2() {
    let Some(layout) = v2_with(&["memory", "cpu", "pids", "cpuset", "io"]) else {
        return;
    };
    let limits = resources(
        r#"{"memory": {"limit": 67108864, "swap": 100663296, "reservation": 33554432},
            "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "burst": 20000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 10}, "unified": {"memory.high": "50331648"}}"#,
    );
    let entered = create(&planned(&layout, &format!("/{}/a/b", unique("v2-all")), &limits)).unwrap();
    let check = |expected: &[(&str, &str)]| {
        for (file, expected) in expected {
            assert_eq!(value(&entered, "", file), *expected, "{file}");
        }
    };
    check(&[
        ("memory.max", "67108864"),
        ("memory.swap.max", "33554432"),
        ("memory.low", "33554432"),
        ("memory.high", "50331648"),
        ("cpu.weight", "100"),
        ("cpu.max", "50000 100000"),
        ("cpu.max.burst", "20000"),
        ("cpuset.cpus", "0"),
        ("pids.max", "10"),
    ]);
    let mut child = inside(&entered, "echo in;");
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    // A new period keeps the quota, and the other way round.
    entered
        .record
        .update(&resources(r#"{"cpu": {"period": 200000}}"#))
        .unwrap();
    check(&[("cpu.max", "50000 200000")]);
    entered
        .record
        .update(&resources(r#"{"cpu": {"quota": 70000, "idle": 1}}"#))
        .unwrap();
    check(&[("cpu.max", "70000 200000"), ("cpu.idle", "1")]);
    entered
        .record
        .update(&resources(
            r#"{"cpu": {"idle": 0, "shares": 2}, "memory": {"limit": -1}}"#,
        ))
        .unwrap();
    check(&[
        ("cpu.weight", "1"),
        ("memory.max", "max"),
        ("memory.swap.max", "max"),
    ]);
    let small = resources(r#"{"memory": {"limit": 4096, "checkBeforeUpdate": true}}"#);
    let error = entered.record.update(&small).unwrap_err();
    assert!(
        error.to_string().contains("linux.resources.memory.limit"),
        "{error}"
    );
    check(&[("memory.max", "max")]);
    let stats = serde_json::to_value(entered.record.stats().unwrap()).unwrap();
    let number = |pointer: &str| {
        stats
            .pointer(pointer)
            .and_then(serde_json::Value::as_u64)
            .unwrap()
    };
    assert_eq!(number("/pids/limit"), 10);
    assert!(
        number("/pids/current") >= 1 && number("/memory/usage/usage") > 0 && number("/cpu/usage/total") > 0
    );
    assert!(stats.pointer("/cpu/psi/some/total").is_some() || !fs::exists("/proc/pressure").unwrap());
    entered.record.kill_all(9).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    let path = directory(&entered, "");
    entered.record.delete().unwrap();
    assert!(!fs::exists(std::path::Path::new(&path).ancestors().nth(2).unwrap()).unwrap());
}
