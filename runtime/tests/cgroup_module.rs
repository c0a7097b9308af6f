//! Control groups on the real kernel: this host's hierarchies, and a cgroup2-only view in a private mount
//! namespace. Every cgroup that is made here is named `nucleus-test-…` and removed again.

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nucleus_runtime::cgroup::{Driver, Entered, Layout, Plan, Record, Request, create, detect, plan};
use oci_spec::runtime::LinuxResources;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};

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
        .stdout(Stdio::piped())
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

/// Runs `script` inside and returns what it printed.
fn output(entered: &Entered, script: &str) -> String {
    let mut child = inside(entered, &format!("( {script} ) 2>&1;"));
    drop(child.stdin.take());
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    text.trim_end().to_owned()
}

/// Runs `test` where cgroup2 is all that there is. The mount namespace belongs to a thread of its own.
fn in_v2_view(test: impl FnOnce(Layout) + Send) {
    if !rustix::process::geteuid().is_root() {
        return lacking("root");
    }
    let view = || {
        nucleus_sys::clone::unshare(libc::CLONE_NEWNS).unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        unmount("/sys/fs/cgroup", UnmountFlags::DETACH).unwrap();
        mount("none", "/sys/fs/cgroup", "cgroup2", MountFlags::empty(), None).unwrap();
        let layout = detect().unwrap();
        assert!(matches!(layout, Layout::V2(_)), "{layout:?}");
        test(layout);
    };
    std::thread::scope(|scope| scope.spawn(view).join()).unwrap();
}

/// Shell text that tries accesses to devices and prints the answers; `$node` is a free path.
const TRY_DEVICES: &str = r#"
    try() { if ( eval "$1" ) 2>/dev/null; then printf 'yes '; else printf 'no '; fi; }
    try ': < /dev/zero'; try ': > /dev/null'; try ': <> /dev/full';
    try ': < /dev/kmsg'; try ': > /dev/kmsg';
    try 'mknod $node c 1 3'; rm -f $node; try 'mknod $node c 1 11'; rm -f $node"#;

/// Device rules and what [`TRY_DEVICES`] has to print under them.
const DEVICE_RULES: [(&str, &str); 5] = [
    ("[]", "yes yes yes no no yes yes"),
    (r#"[{"allow": false, "access": "m"}]"#, "yes yes yes no no yes no"),
    (
        r#"[{"allow": true, "access": "rwm"}]"#,
        "yes yes yes yes yes yes yes",
    ),
    (
        r#"[{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "access": "r"}]"#,
        "yes yes yes yes no yes yes",
    ),
    (
        r#"[{"allow": true, "access": "rwm"},
            {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "wm"}]"#,
        "yes yes yes yes no yes no",
    ),
];

fn devices_are_restricted(layout: &Layout, name: &str) {
    let directory = tempfile::tempdir().unwrap();
    let script = format!("node={}/node; {TRY_DEVICES}", directory.path().display());
    for (rules, expected) in DEVICE_RULES {
        let resources = resources(&format!(r#"{{"devices": {rules}}}"#));
        let entered = create(&planned(layout, &format!("/{}", unique(name)), &resources)).unwrap();
        assert_eq!(output(&entered, &script), expected, "{rules}");
        // From each to each other set of rules.
        for (rules, expected) in DEVICE_RULES.iter().skip(1) {
            let update = self::resources(&format!(r#"{{"devices": {rules}}}"#));
            entered.record.update(&update).unwrap();
            assert_eq!(output(&entered, &script), *expected, "update to {rules}");
        }
        entered.record.delete().unwrap();
    }
}

#[test]
fn devices_of_version_1() {
    let Some(layout) = v1() else { return };
    devices_are_restricted(&layout, "devices");
}

#[test]
fn devices_of_version_2() {
    in_v2_view(|layout| devices_are_restricted(&layout, "program"));
}

/// Freezes a counting process, lets it run again, and kills it.
fn pause_and_kill(layout: &Layout, name: &str) {
    let none = LinuxResources::default();
    let entered = create(&planned(layout, &format!("/{}", unique(name)), &none)).unwrap();
    let record = &entered.record;
    let mut child = inside(&entered, "while :; do echo x; done;");
    let mut output = child.stdout.take().unwrap();
    let mut some = vec![0; 65536];
    output.read_exact(&mut some).unwrap();
    assert!(!record.is_frozen().unwrap());
    record.freeze().unwrap();
    record.freeze().unwrap();
    assert!(record.is_frozen().unwrap());
    let status = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    // What was written before stays to be read, and nothing follows.
    rustix::io::ioctl_fionbio(&output, true).unwrap();
    let drain = |output: &mut std::process::ChildStdout| {
        let mut count = 0;
        let mut buffer = [0; 65536];
        while let Ok(read @ 1..) = output.read(&mut buffer) {
            count += read;
        }
        count
    };
    drain(&mut output);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(drain(&mut output), 0, "{status}");
    record.thaw().unwrap();
    assert!(!record.is_frozen().unwrap());
    let mut polled = [rustix::event::PollFd::new(&output, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut polled, None).unwrap();
    assert_ne!(drain(&mut output), 0);
    // SIGKILL reaches frozen processes too, and those of sub-cgroups.
    for place in record.paths().map(|(_, path)| format!("{path}/sub")) {
        fs::create_dir(&place).unwrap();
        for kind in ["cpus", "mems"] {
            let file = format!("{place}/cpuset.{kind}");
            if fs::exists(&file).unwrap() {
                fs::copy(format!("{place}/../cpuset.{kind}"), &file).unwrap();
            }
        }
        fs::write(format!("{place}/cgroup.procs"), child.id().to_string()).unwrap();
    }
    assert_eq!(record.pids().unwrap(), [i32::try_from(child.id()).unwrap()]);
    record.freeze().unwrap();
    record.kill_all(9).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(record.pids().unwrap().is_empty());
    let paths: Vec<_> = record.paths().map(|(_, path)| path.to_owned()).collect();
    record.delete().unwrap();
    assert!(paths.iter().all(|path| !fs::exists(path).unwrap()));
    // Again: all of it is gone, and that is fine.
    record.delete().unwrap();
    record.kill_all(9).unwrap();
    assert!(!record.is_frozen().unwrap());
}

#[test]
fn pause_and_kill_on_this_host() {
    let Some(layout) = v1() else { return };
    pause_and_kill(&layout, "kill");
}

#[test]
fn pause_and_kill_without_unified() {
    let Some(Layout::V1 { hierarchies, .. }) = v1() else {
        return;
    };
    pause_and_kill(
        &Layout::V1 {
            hierarchies,
            unified: None,
        },
        "kill-v1",
    );
}

#[test]
fn pause_and_kill_on_version_2() {
    in_v2_view(|layout| pause_and_kill(&layout, "kill-v2"));
}

#[test]
fn other_signals_reach_every_process() {
    let Some(layout) = v1() else { return };
    let entered = create(&planned(
        &layout,
        &format!("/{}", unique("signal")),
        &Default::default(),
    ))
    .unwrap();
    let script = "(trap 'echo got; exit' USR1; echo ready; while :; do sleep 0.01; done) &
        trap 'wait; echo mine; exit 7' USR1; echo ready; while :; do sleep 0.01; done;";
    let mut child = inside(&entered, script);
    let mut output = child.stdout.take().unwrap();
    let mut ready = [0; 12];
    output.read_exact(&mut ready).unwrap();
    // The sleeping commands die of it; what counts are the two shells.
    entered.record.kill_all(10).unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert!(text.contains("got") && text.contains("mine"), "{text}");
    assert_eq!(child.wait().unwrap().code(), Some(7));
    entered.record.delete().unwrap();
}

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
fn statistics() {
    let Some(layout) = v1() else { return };
    let limits = resources(r#"{"pids": {"limit": 50}, "memory": {"limit": 67108864}}"#);
    let entered = create(&planned(&layout, &format!("/{}", unique("stats")), &limits)).unwrap();
    let child = inside(
        &entered,
        "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done;",
    );
    let mut child = child;
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
    let stats = serde_json::to_value(entered.record.stats().unwrap()).unwrap();
    let number = |pointer: &str| {
        stats
            .pointer(pointer)
            .and_then(serde_json::Value::as_u64)
            .unwrap()
    };
    assert_eq!(number("/pids/limit"), 50);
    assert!(number("/pids/current") >= 1);
    assert_eq!(number("/memory/usage/limit"), 67108864);
    assert!(number("/memory/usage/usage") > 0);
    assert!(number("/cpu/usage/total") > 0);
    assert!(stats.pointer("/memory/raw/rss").is_some());
    assert!(stats.pointer("/cpuset/cpus/0").is_some());
    finish(child);
    entered.record.delete().unwrap();
}

#[test]
fn a_second_process_enters() {
    let Some(layout) = v1() else { return };
    let entered = create(&planned(
        &layout,
        &format!("/{}", unique("exec")),
        &Default::default(),
    ))
    .unwrap();
    let again = entered.record.enter(&[]).unwrap();
    assert_eq!(again.tasks.len(), entered.tasks.len());
    assert_eq!(again.into.is_some(), entered.into.is_some());
    let sub = format!("{}/sub", directory(&entered, "pids"));
    fs::create_dir(&sub).unwrap();
    let path_of = |descriptor: &std::os::fd::OwnedFd| {
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(descriptor));
        fs::read_link(link).unwrap().to_str().unwrap().to_owned()
    };
    let with_sub = entered.record.enter(&["pids:/sub".to_owned()]).unwrap();
    assert!(
        with_sub
            .tasks
            .iter()
            .any(|tasks| path_of(tasks) == format!("{sub}/tasks"))
    );
    assert!(
        with_sub
            .tasks
            .iter()
            .any(|tasks| path_of(tasks) == path_of(&entered.tasks[0]))
    );
    for refused in ["nowhere:sub", "pids:absent", "sub/../.."] {
        assert!(entered.record.enter(&[refused.to_owned()]).is_err(), "{refused}");
    }
    entered.record.delete().unwrap();
}

#[test]
fn an_intended_record_kills_nothing_and_removes_what_is_empty() {
    let Some(layout) = v1() else { return };
    let plan = planned(&layout, &format!("/{}", unique("intent")), &Default::default());
    let entered = create(&plan).unwrap();
    let intent: Record = serde_json::from_str(&serde_json::to_string(&plan.intent()).unwrap()).unwrap();
    let child = inside(&entered, "");
    intent.kill_all(9).unwrap();
    assert!(intent.delete().is_err());
    assert!(finish(child).success());
    intent.delete().unwrap();
    assert!(entered.record.paths().all(|(_, path)| !fs::exists(path).unwrap()));
}

#[test]
fn what_was_there_before_stays() {
    let Some(layout) = v1() else { return };
    let name = unique("before");
    let plan = planned(&layout, &format!("/{name}/inner"), &Default::default());
    let before = create(&planned(&layout, &format!("/{name}"), &Default::default())).unwrap();
    let inner = directory(&before, "pids") + "/inner";
    fs::create_dir(&inner).unwrap();
    let entered = create(&plan).unwrap();
    let saved: Record = serde_json::from_str(&serde_json::to_string(&entered.record).unwrap()).unwrap();
    assert_eq!(saved, entered.record);
    saved.delete().unwrap();
    assert!(fs::exists(&inner).unwrap());
    assert!(before.record.paths().all(|(_, path)| fs::exists(path).unwrap()));
    before.record.delete().unwrap();
}

#[test]
fn concurrent_containers_share_a_new_parent() {
    let Some(layout) = v1() else { return };
    let parent = unique("parallel");
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (layout, parent) = (&layout, &parent);
            scope.spawn(move || {
                for round in 0..10 {
                    let path = format!("/{parent}/{worker}-{round}");
                    let entered = create(&planned(layout, &path, &Default::default())).unwrap();
                    assert_eq!(value(&entered, "cpuset", "cpuset.mems"), "0");
                    entered.record.delete().unwrap();
                }
            });
        }
    });
    let Layout::V1 { hierarchies, unified } = &layout else {
        unreachable!()
    };
    for hierarchy in hierarchies.iter().chain(unified) {
        // A parent goes with the container that made it, if no other is in it then.
        let _ = fs::remove_dir(format!("{}/{parent}", hierarchy.mount));
    }
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

/// A host with nothing but cgroup2 and these controllers. This machine may be another: no test has to run
/// here that the host cannot do.
fn v2_with(needed: &[&str]) -> Option<Layout> {
    let Ok(layout @ Layout::V2(_)) = detect() else {
        println!("skipped: the host does not have cgroup2 alone");
        return None;
    };
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
    let has = |each: &&str| {
        controllers
            .split_ascii_whitespace()
            .any(|controller| controller == *each)
    };
    if !needed.iter().all(has) || !rustix::process::geteuid().is_root() {
        println!("skipped: needs root and cgroup2 with {needed:?}");
        return None;
    }
    Some(layout)
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

#[test]
fn no_controllers_below_a_cgroup_with_processes() {
    let Some(layout) = v2_with(&["memory"]) else {
        return;
    };
    let name = unique("v2-busy");
    let parent = create(&planned(&layout, &format!("/{name}"), &Default::default())).unwrap();
    let child = inside(&parent, "");
    let limits = resources(r#"{"memory": {"limit": 67108864}}"#);
    let error = create(&planned(&layout, &format!("/{name}/inner"), &limits)).unwrap_err();
    assert!(error.to_string().contains("with processes of its own"), "{error}");
    assert!(!fs::exists(directory(&parent, "") + "/inner").unwrap());
    finish(child);
    parent.record.delete().unwrap();
}

fn systemctl(arguments: &[&str]) -> String {
    let output = Command::new("systemctl").args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn scopes_of_systemd() {
    if cfg!(debug_assertions) {
        // The placeholder's fork asserts that it is the only thread, which is not so in a test.
        return println!("skipped: needs a release build");
    }
    let Some(layout) = v2_with(&["memory", "pids", "cpu"]) else {
        return;
    };
    if !fs::exists("/run/systemd/private").unwrap() {
        return println!("skipped: systemd does not run");
    }
    let name = format!("{}", std::process::id());
    let path = format!("nucleus-test.slice:t:{name}");
    let unit = format!("t-{name}.scope");
    let planned = |json: &str| {
        let resources = resources(json);
        let request = Request {
            cgroups_path: Some(&path),
            id: "unused",
            resources: Some(&resources),
            devices: &[],
            rootless: false,
            driver: Driver::Systemd,
        };
        plan(&layout, &request).unwrap()
    };
    let limits = r#"{"memory": {"limit": 67108864}, "pids": {"limit": 10},
                     "cpu": {"shares": 2048, "quota": 33300, "period": 100000}}"#;
    let entered = create(&planned(limits)).unwrap();
    let place = directory(&entered, "");
    assert_eq!(
        place,
        format!("/sys/fs/cgroup/nucleus.slice/nucleus-test.slice/{unit}")
    );
    let child = inside(&entered, "");
    // The placeholder goes, and the scope stays with the process that entered it.
    let record: Record = serde_json::from_str(&serde_json::to_string(&entered.record).unwrap()).unwrap();
    drop(entered);
    assert!(
        record
            .pids()
            .unwrap()
            .contains(&i32::try_from(child.id()).unwrap())
    );
    let read = |file: &str| {
        fs::read_to_string(format!("{place}/{file}"))
            .unwrap()
            .trim_end()
            .to_owned()
    };
    let limits = || ["memory.max", "pids.max", "cpu.max"].map(read);
    assert_eq!(limits(), ["67108864", "10", "33300 100000"]);
    assert_eq!(
        systemctl(&["show", "--value", "-p", "MemoryMax", &unit]),
        "67108864"
    );
    assert_eq!(systemctl(&["show", "--value", "-p", "Delegate", &unit]), "yes");
    record
        .update(&resources(
            r#"{"memory": {"limit": 134217728}, "pids": {"limit": -1}}"#,
        ))
        .unwrap();
    systemctl(&["daemon-reload"]);
    assert_eq!(limits()[..2], ["134217728", "max"]);
    assert_eq!(systemctl(&["is-active", &unit]), "active");
    record.kill_all(9).unwrap();
    assert_eq!(finish(child).signal(), Some(9));
    record.delete().unwrap();
    record.delete().unwrap();
    assert!(!fs::exists(&place).unwrap());
    assert_eq!(
        systemctl(&["show", "--value", "-p", "LoadState", &unit]),
        "not-found"
    );
    // A limit that the kernel refuses leaves no unit.
    let error = create(&planned(r#"{"unified": {"memory.high": "much"}}"#)).unwrap_err();
    assert!(error.to_string().contains("linux.resources.unified"), "{error}");
    assert_eq!(
        systemctl(&["show", "--value", "-p", "LoadState", &unit]),
        "not-found"
    );
}
