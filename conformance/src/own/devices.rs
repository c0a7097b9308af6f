//! Device nodes, and which devices may be used.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Result, ensure};
use serde_json::json;

use super::expect_eq;
use crate::inside::skip;
use crate::lab::{Container, Lab};

super::list![
    default_devices_are_there,
    default_links_are_there,
    default_devices_work_for_every_user,
    devices_have_mode_owner_and_numbers,
    fifo_is_made,
    device_rules_deny_and_allow,
    device_rules_follow_their_order,
    the_callers_devices_stay_as_they_are,
];

fn default_devices_are_there(lab: &Lab) -> Result<()> {
    let script = "cd /dev; stat -c '%n %t:%T' null zero full random urandom tty; test -e ptmx && echo ptmx";
    let seen = lab.output_of(script, |_| {})?;
    let expected = [
        "null 1:3",
        "zero 1:5",
        "full 1:7",
        "random 1:8",
        "urandom 1:9",
        "tty 5:0",
        "ptmx",
    ];
    expect_eq("devices", seen.lines().collect::<Vec<_>>(), expected)
}

fn default_links_are_there(lab: &Lab) -> Result<()> {
    let seen = lab.output_of(
        "cd /dev; for l in fd stdin stdout stderr; do readlink $l; done",
        |_| {},
    )?;
    let expected = [
        "/proc/self/fd",
        "/proc/self/fd/0",
        "/proc/self/fd/1",
        "/proc/self/fd/2",
    ];
    expect_eq("links", seen.lines().collect::<Vec<_>>(), expected)
}

fn default_devices_work_for_every_user(lab: &Lab) -> Result<()> {
    let script = "echo x > /dev/null && head -c 4 /dev/zero | wc -c && head -c 4 /dev/urandom | wc -c";
    let seen = lab.output_of(script, |bundle| {
        bundle
            .set("/process/user", json!({"uid": 1000, "gid": 1000}))
            .set("/process/capabilities", json!({}));
        let rules = json!([{"allow": false, "access": "rwm"}]);
        bundle.set("/linux/resources/devices", rules);
    })?;
    expect_eq("bytes", seen.split_whitespace().collect::<Vec<_>>(), ["4", "4"])
}

fn devices_have_mode_owner_and_numbers(lab: &Lab) -> Result<()> {
    let devices = json!([
        {"path": "/dev/odd", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 5, "gid": 7},
        {"path": "/dev/deep/block", "type": "b", "major": 7, "minor": 99, "fileMode": 0o600},
        {"path": "/dev/plain", "type": "u", "major": 1, "minor": 5}
    ]);
    let script = "stat -c '%F %t:%T %a %u:%g' /dev/odd /dev/deep/block; stat -c '%F %t:%T' /dev/plain";
    let seen = lab.output_of(script, |bundle| {
        bundle.set("/linux/devices", devices);
    })?;
    let expected = [
        "character special file 1:3 640 5:7",
        "block special file 7:63 600 0:0",
        "character special file 1:5",
    ];
    expect_eq("devices", seen.lines().collect::<Vec<_>>(), expected)
}

fn fifo_is_made(lab: &Lab) -> Result<()> {
    let seen = lab.output_of("stat -c '%F %a' /dev/pipe", |bundle| {
        bundle.set(
            "/linux/devices",
            json!([{"path": "/dev/pipe", "type": "p", "fileMode": 0o622}]),
        );
    })?;
    expect_eq("fifo", seen, "fifo 622")
}

/// Runs a script with the right to make nodes, under device rules.
fn under_rules(lab: &Lab, rules: serde_json::Value, script: &str) -> Result<String> {
    if lab.view == crate::host::View::V1 && !fs::exists("/sys/fs/cgroup/devices")? {
        return skip("this host mounts no devices cgroup");
    }
    lab.output_of(script, |bundle| {
        bundle
            .capabilities(&["CAP_MKNOD", "CAP_DAC_OVERRIDE"])
            .set("/linux/resources/devices", rules);
    })
}

fn device_rules_deny_and_allow(lab: &Lab) -> Result<()> {
    let rules = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rm"},
        {"allow": true, "type": "c", "access": "m"}
    ]);
    // The memory device 1:1 may be made and not opened. Runtimes let every device be made.
    let script = "cd /tmp; mknod zero c 1 5 && mknod mem c 1 1 || exit 1; head -c 1 zero | wc -c; ! head -c 1 mem 2>&1";
    let seen = under_rules(lab, rules, script)?;
    ensure!(seen.starts_with('1'), "/dev/zero cannot be read: {seen:?}");
    ensure!(
        seen.contains("Operation not permitted"),
        "the memory device can be opened: {seen:?}"
    );
    Ok(())
}

fn device_rules_follow_their_order(lab: &Lab) -> Result<()> {
    let rules = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rwm"},
        {"allow": false, "type": "c", "major": 10, "minor": 200, "access": "w"},
        {"allow": true, "type": "c", "access": "m"}
    ]);
    let seen = under_rules(lab, rules, "mknod /tmp/tun c 10 200; ! echo x > /tmp/tun")?;
    expect_eq("output", seen, "")
}

fn the_callers_devices_stay_as_they_are(lab: &Lab) -> Result<()> {
    let facts = || -> Result<Vec<(u32, u32, u32)>> {
        let names = ["null", "zero", "full", "random", "urandom", "tty", "ptmx"];
        names
            .iter()
            .map(|name| {
                let metadata = fs::metadata(format!("/dev/{name}"))?;
                Ok((metadata.uid(), metadata.gid(), metadata.mode()))
            })
            .collect()
    };
    let before = facts()?;
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let container = Container::started(lab, &bundle)?;
    container.exec(&["--user", "1234:1234"], &["true"])?.success()?;
    drop(container);
    expect_eq("owners and modes", facts()?, before)
}
