//! For tests of control groups on the real kernel: this host's hierarchies, and a cgroup2-only view in a private
//! mount namespace. Every cgroup that is made here is named `nucleus-test-…` and removed again.
#![allow(dead_code, reason = "each test file uses its part")]

use nucleus_runtime::cgroup::{Driver, Entered, Layout, Plan, Request, detect, plan};
use oci_spec::runtime::LinuxResources;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A name that no other test or run uses.
pub(crate) fn unique(test: &str) -> String {
    format!("nucleus-test-{}-{test}", std::process::id())
}

/// Skips the test where the host lacks what it needs, unless everything has to run.
pub(crate) fn lacking(what: &str) {
    assert!(
        std::env::var_os("NUCLEUS_TESTS_MUST_RUN").is_none(),
        "lacking: {what}"
    );
    println!("skipped: {what}");
}

/// The host's layout, if it has version 1 hierarchies that we may write to.
pub(crate) fn v1() -> Option<Layout> {
    match detect().unwrap() {
        layout @ Layout::V1 { .. } if rustix::process::geteuid().is_root() => Some(layout),
        _ => {
            lacking("cgroup version 1, as root");
            None
        }
    }
}

pub(crate) fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

pub(crate) fn planned(layout: &Layout, path: &str, resources: &LinuxResources) -> Plan {
    let request = Request {
        cgroups_path: Some(path),
        id: "unused",
        resources: Some(resources),
        devices: &[],
        rootless: false,
        driver: Driver::Cgroupfs,
        annotations: None,
    };
    plan(layout, &request).unwrap()
}

/// The container's directory in the hierarchy of one controller (`""` for cgroup2).
pub(crate) fn directory(entered: &Entered, controller: &str) -> String {
    let mut paths = entered.record.paths();
    let found = paths.find(|(controllers, _)| controllers.split(',').any(|each| each == controller));
    found.unwrap().1.to_owned()
}

/// The content of a file in the container's cgroup of one controller.
pub(crate) fn value(entered: &Entered, controller: &str, file: &str) -> String {
    let path = format!("{}/{file}", directory(entered, controller));
    fs::read_to_string(path).unwrap().trim_end().to_owned()
}

/// Starts a shell that enters the container's cgroups, says so, and waits for the end of its input.
pub(crate) fn inside(entered: &Entered, script: &str) -> Child {
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

pub(crate) fn finish(mut child: Child) -> std::process::ExitStatus {
    drop(child.stdin.take());
    child.wait().unwrap()
}

/// Runs `script` inside and returns what it printed.
pub(crate) fn output(entered: &Entered, script: &str) -> String {
    let mut child = inside(entered, &format!("( {script} ) 2>&1;"));
    drop(child.stdin.take());
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    text.trim_end().to_owned()
}

/// Runs `test` where cgroup2 is all that there is. The mount namespace belongs to a thread of its own.
pub(crate) fn in_v2_view(test: impl FnOnce(Layout) + Send) {
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

/// A host with nothing but cgroup2 and these controllers. This machine may be another: no test has to run
/// here that the host cannot do.
pub(crate) fn v2_with(needed: &[&str]) -> Option<Layout> {
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
