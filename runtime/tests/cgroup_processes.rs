//! Entering cgroups, pausing and ending what is in them, and counting it.

mod cgroups;

use cgroups::{directory, finish, in_v2_view, inside, planned, resources, unique, v1, value};
use nucleus_runtime::cgroup::{Layout, create};
use oci_spec::runtime::LinuxResources;
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

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
