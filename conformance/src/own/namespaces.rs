//! Namespaces: new, shared and joined ones, and what is set in them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde_json::json;

use super::expect_eq;
use crate::inside::skip;
use crate::lab::{Container, Lab, status_field};

super::list![
    new_namespaces_are_new,
    namespaces_left_out_are_the_callers,
    namespaces_are_joined_by_path,
    joined_pid_namespace_shows_the_other_container,
    user_namespace_maps_ids,
    user_namespace_joined_by_path,
    time_namespace_has_offsets,
    time_namespace_without_offsets,
    cgroup_namespace_hides_the_path,
    hostname_is_set,
    domainname_is_set,
    sysctls_are_set,
    network_namespace_has_loopback_up,
    net_device_moves_into_the_container,
    missing_net_device_is_refused,
    mount_namespace_is_private,
];

/// The link that names a namespace, such as `net:[4026531840]`.
fn link(pid: i32, name: &str) -> Result<PathBuf> {
    Ok(fs::read_link(format!("/proc/{pid}/ns/{name}"))?)
}

/// Names in the config and in `/proc`.
const NAMES: [(&str, &str); 7] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
    ("user", "user"),
];

fn own_pid() -> Result<i32> {
    Ok(i32::try_from(std::process::id())?)
}

fn new_namespaces_are_new(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle
        .namespace("cgroup")
        .user_namespace(100_000, 65_536)
        .give_root_to(100_000)?;
    let container = Container::create(lab, &bundle)?;
    for (kind, name) in NAMES {
        ensure!(
            link(container.pid()?, name)? != link(own_pid()?, name)?,
            "{kind} is not new"
        );
    }
    Ok(())
}

fn namespaces_left_out_are_the_callers(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    for kind in ["pid", "network", "ipc", "uts"] {
        bundle.drop_namespace(kind);
    }
    // A sysfs needs a network namespace of its own in some runtimes; the host's is not for us to name.
    bundle.set("/hostname", json!(""));
    let container = Container::create(lab, &bundle)?;
    for (kind, name) in [
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("pid", "pid"),
        ("user", "user"),
    ] {
        ensure!(
            link(container.pid()?, name)? == link(own_pid()?, name)?,
            "{kind} is not the caller's"
        );
    }
    Ok(())
}

fn namespaces_are_joined_by_path(lab: &Lab) -> Result<()> {
    let first = Container::started(lab, &lab.bundle(&["sleep", "1000"])?)?;
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.set("/hostname", json!(""));
    for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        let path = format!("/proc/{}/ns/{name}", first.pid()?);
        bundle
            .drop_namespace(kind)
            .push("/linux/namespaces", json!({"type": kind, "path": path}));
    }
    let second = Container::create(lab, &bundle)?;
    for name in ["net", "ipc", "uts"] {
        expect_eq(name, link(second.pid()?, name)?, link(first.pid()?, name)?)?;
    }
    ensure!(
        link(second.pid()?, "pid")? != link(first.pid()?, "pid")?,
        "pid was joined too"
    );
    Ok(())
}

fn joined_pid_namespace_shows_the_other_container(lab: &Lab) -> Result<()> {
    let first = Container::started(lab, &lab.bundle(&["sleep", "1234"])?)?;
    let seen = lab.output_of("cat /proc/1/cmdline | tr '\\0' ' '", |bundle| {
        let path = format!("/proc/{}/ns/pid", first.pid().unwrap_or_default());
        bundle
            .drop_namespace("pid")
            .push("/linux/namespaces", json!({"type": "pid", "path": path}));
    })?;
    expect_eq("process 1", seen, "sleep 1234")?;
    expect_eq("status of the first", first.status()?, "running")
}

fn user_namespace_maps_ids(lab: &Lab) -> Result<()> {
    let script = "id -u; cat /proc/self/uid_map /proc/self/gid_map; echo end; sleep 1000";
    let mut bundle = lab.script(script)?;
    bundle.user_namespace(100_000, 1000).give_root_to(100_000)?;
    let container = Container::started(lab, &bundle)?;
    container.wait_for_stdout("end\n")?;
    let seen = container.stdout()?;
    let words: Vec<&str> = seen.split_whitespace().collect();
    expect_eq(
        "ids inside",
        words,
        ["0", "0", "100000", "1000", "0", "100000", "1000", "end"],
    )?;
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid()?))?;
    ensure!(
        status_field(&status, "Uid")?.starts_with("100000\t"),
        "ids outside: {status}"
    );
    Ok(())
}

fn user_namespace_joined_by_path(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.user_namespace(100_000, 1000).give_root_to(100_000)?;
    let first = Container::started(lab, &bundle)?;
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    let path = format!("/proc/{}/ns/user", first.pid()?);
    bundle
        .push("/linux/namespaces", json!({"type": "user", "path": path}))
        .give_root_to(100_000)?;
    let second = Container::create(lab, &bundle)?;
    expect_eq(
        "user namespace",
        link(second.pid()?, "user")?,
        link(first.pid()?, "user")?,
    )
}

fn time_namespace_has_offsets(lab: &Lab) -> Result<()> {
    if !fs::exists("/proc/self/ns/time")? {
        return skip("this kernel has no time namespaces");
    }
    let seen = lab.output_of("cat /proc/self/timens_offsets; cat /proc/uptime", |bundle| {
        bundle.namespace("time");
        let offsets = json!({"monotonic": {"secs": 7200, "nanosecs": 5}, "boottime": {"secs": 50_000_000}});
        bundle.set("/linux/timeOffsets", offsets);
    })?;
    let words: Vec<&str> = seen.split_whitespace().collect();
    expect_eq(
        "offsets",
        &words[..6],
        ["monotonic", "7200", "5", "boottime", "50000000", "0"],
    )?;
    let uptime: f64 = words[6].parse()?;
    ensure!(uptime > 50_000_000.0, "uptime is {uptime} s");
    Ok(())
}

fn time_namespace_without_offsets(lab: &Lab) -> Result<()> {
    if !fs::exists("/proc/self/ns/time")? {
        return skip("this kernel has no time namespaces");
    }
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.namespace("time");
    let container = Container::started(lab, &bundle)?;
    ensure!(
        link(container.pid()?, "time")? != link(own_pid()?, "time")?,
        "time is not new"
    );
    Ok(())
}

fn cgroup_namespace_hides_the_path(lab: &Lab) -> Result<()> {
    let seen = lab.output_of("cat /proc/self/cgroup", |bundle| {
        bundle
            .namespace("cgroup")
            .set("/linux/cgroupsPath", json!("/nucleus-case-path"));
    })?;
    ensure!(!seen.contains("nucleus-case-path"), "the container sees {seen:?}");
    Ok(())
}

fn hostname_is_set(lab: &Lab) -> Result<()> {
    expect_eq("hostname", lab.output_of("hostname", |_| {})?, "conformance")
}

fn domainname_is_set(lab: &Lab) -> Result<()> {
    let seen = lab.output_of("cat /proc/sys/kernel/domainname", |bundle| {
        bundle.set("/domainname", json!("example.org"));
    })?;
    expect_eq("domainname", seen, "example.org")
}

fn sysctls_are_set(lab: &Lab) -> Result<()> {
    let script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax";
    let before = fs::read_to_string("/proc/sys/net/ipv4/ip_forward")?;
    let seen = lab.output_of(script, |bundle| {
        bundle.set(
            "/linux/sysctl",
            json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "12345"}),
        );
    })?;
    expect_eq("values", seen, "1\n12345")?;
    expect_eq(
        "the host's value",
        fs::read_to_string("/proc/sys/net/ipv4/ip_forward")?,
        before,
    )
}

fn network_namespace_has_loopback_up(lab: &Lab) -> Result<()> {
    let seen = lab.output_of("ip -o link show lo", |_| {})?;
    ensure!(seen.contains("UP"), "lo is {seen:?}");
    Ok(())
}

/// The sandbox has a network namespace of its own, where a pair of devices costs nothing.
fn net_device_moves_into_the_container(lab: &Lab) -> Result<()> {
    let pair = [
        "link", "add", "nucleus0", "type", "veth", "peer", "name", "nucleus1",
    ];
    let made = std::process::Command::new("ip").args(pair).output();
    if !made.is_ok_and(|output| output.status.success()) {
        return skip("this host makes no veth devices (`ip link add … type veth`)");
    }
    let seen = lab.output_of("ip -o link", |bundle| {
        bundle.set(
            "/linux/netDevices",
            json!({"nucleus0": {"name": "inside0"}, "nucleus1": {}}),
        );
    })?;
    ensure!(
        seen.contains(" inside0@") && seen.contains(" nucleus1@"),
        "devices are {seen:?}"
    );
    Ok(())
}

fn missing_net_device_is_refused(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["true"])?;
    bundle.set("/linux/netDevices", json!({"nucleus9": {}}));
    let id = lab.id();
    lab.run_as(&bundle, &id)?.refuses("nucleus9")?;
    lab.expect_nothing_left(&id)
}

fn mount_namespace_is_private(lab: &Lab) -> Result<()> {
    let mut bundle = lab.script("mount -t tmpfs none /tmp && echo mounted && sleep 1000")?;
    bundle.capabilities(&["CAP_SYS_ADMIN"]);
    let container = Container::started(lab, &bundle)?;
    container.wait_for_stdout("mounted")?;
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(
        !table.contains("rootfs/tmp"),
        "the container's mount is seen outside"
    );
    Ok(())
}
