//! The runtime's systemd driver: `--systemd-cgroup`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::beds::guest::{Guest, expect_files, read};
use crate::inside::skip;
use crate::lab::{Bundle, Caught, Container, Lab, within};

super::list![super::ALL;
    a_scope_lasts_as_long_as_its_container,
    without_a_path_the_scope_is_named_after_the_container,
    a_slice_with_dashes_lies_in_the_one_above,
    every_process_is_in_the_scope,
    a_paused_scope_is_frozen,
    kill_all_ends_every_process_of_the_scope,
    device_rules_outlast_a_reload,
    a_scope_of_another_is_not_taken_over,
    a_name_that_is_no_scope_is_refused,
    what_a_killed_runtime_leaves_is_removed,
];

/// What does not depend on the kernel.
pub(super) mod plain {
    pub(super) use super::*;

    super::super::list![&[crate::beds::Bed::Container];
        annotations_are_properties_of_the_scope,
        an_annotation_that_is_none_leaves_no_scope,
    ];
}

/// Where the limits are.
pub(super) mod limited {
    pub(super) use super::*;

    super::super::list![super::super::MACHINES;
        limits_are_the_scopes_properties_and_the_files,
        new_limits_reach_systemd_and_outlast_a_reload,
        what_systemd_does_not_know_outlasts_a_reload,
        a_refused_limit_leaves_no_scope,
    ];
}

/// A bundle in the scope `bed-<name>.scope` of `bed.slice`, and the unit's name.
fn bundle(lab: &Lab, name: &str, script: &str) -> Result<(Bundle, String)> {
    let mut bundle = lab.script(script)?;
    bundle.set("/linux/cgroupsPath", json!(format!("bed.slice:bed:{name}")));
    Ok((bundle, format!("bed-{name}.scope")))
}

fn cgroup_of(unit: &str) -> PathBuf {
    Path::new("/sys/fs/cgroup/bed.slice").join(unit)
}

fn expect_gone(guest: &Guest, unit: &str) -> Result<()> {
    ensure!(!guest.is_there(unit)?, "{unit} is left");
    let cgroup = cgroup_of(unit);
    ensure!(!fs::exists(&cgroup)?, "{} is left", cgroup.display());
    Ok(())
}

fn a_scope_lasts_as_long_as_its_container(guest: &Guest) -> Result<()> {
    let lab = guest.with_systemd_cgroup()?;
    let (bundle, unit) = bundle(&lab, "lasting", "sleep 1000")?;
    let container = Container::create(&lab, &bundle)?;
    let expected = [
        ("ActiveState", "active"),
        ("Slice", "bed.slice"),
        ("Delegate", "yes"),
    ];
    guest.expect_shown(&unit, &expected)?;
    ensure!(
        container.cgroup("")? == cgroup_of(&unit),
        "the process is elsewhere"
    );
    // The process that held the scope open is gone.
    let alone = container.pid()?.to_string();
    expect_files(&cgroup_of(&unit), &[("cgroup.procs", &alone)])?;
    container.start()?;
    container.delete()?;
    expect_gone(guest, &unit)?;
    // A program that ends by itself, too.
    bundle_that_ends(guest, &lab)
}

fn bundle_that_ends(guest: &Guest, lab: &Lab) -> Result<()> {
    let (bundle, unit) = bundle(lab, "ending", "exit 7")?;
    lab.run(&bundle)?.exits_with(7)?;
    expect_gone(guest, &unit)
}

fn without_a_path_the_scope_is_named_after_the_container(guest: &Guest) -> Result<()> {
    let lab = guest.with_systemd_cgroup()?;
    let container = Container::started(&lab, &lab.script("sleep 1000")?)?;
    let unit = format!("nucleus-{}.scope", container.id);
    guest.expect_shown(&unit, &[("ActiveState", "active"), ("Slice", "system.slice")])?;
    container.delete()?;
    expect_gone(guest, &unit)
}

fn a_slice_with_dashes_lies_in_the_one_above(guest: &Guest) -> Result<()> {
    let lab = guest.with_systemd_cgroup()?;
    let mut bundle = lab.script("sleep 1000")?;
    bundle.set("/linux/cgroupsPath", json!("bed-inner.slice:bed:nested"));
    let container = Container::started(&lab, &bundle)?;
    let expected = Path::new("/sys/fs/cgroup/bed.slice/bed-inner.slice/bed-nested.scope");
    ensure!(container.cgroup("")? == expected, "the process is elsewhere");
    Ok(())
}

fn every_process_is_in_the_scope(guest: &Guest) -> Result<()> {
    let lab = guest.with_systemd_cgroup()?;
    let (bundle, unit) = bundle(&lab, "full", "sleep 1000 & echo up; exec sleep 1000")?;
    let container = Container::started(&lab, &bundle)?;
    container.wait_for_stdout("up")?;
    container.exec(&["--detach"], &["sleep", "1000"])?.success()?;
    let inside = read(cgroup_of(&unit).join("cgroup.procs"))?;
    ensure!(inside.lines().count() == 3, "in the scope are {inside:?}");
    Ok(())
}

fn a_paused_scope_is_frozen(guest: &Guest) -> Result<()> {
    let lab = guest.with_systemd_cgroup()?;
    let (bundle, unit) = bundle(&lab, "frozen", "sleep 1000")?;
    let container = Container::started(&lab, &bundle)?;
    let frozen = |expected: &str| {
        let events = read(cgroup_of(&unit).join("cgroup.events"))?;
        ensure!(
            events.contains(&format!("frozen {expected}")),
            "after that: {events:?}"
        );
        Ok(())
    };
    container.call(&["pause"])?.success()?;
    frozen("1")?;
    ensure!(
        container.status()? == "paused",
        "the state is {}",
        container.status()?
    );
    container.call(&["resume"])?.success()?;
    frozen("0")?;
    // And ended while it is frozen.
    container.call(&["pause"])?.success()?;
    container.delete()?;
    expect_gone(guest, &unit)
}

fn kill_all_ends_every_process_of_the_scope(guest: &Guest) -> Result<()> {
    let lab = guest.with_systemd_cgroup()?;
    let (mut bundle, unit) = bundle(&lab, "killed", "sleep 1000 & sleep 1000 & echo up; sleep 1000")?;
    // Its processes do not die with its first one.
    bundle.drop_namespace("pid");
    let container = Container::started(&lab, &bundle)?;
    container.wait_for_stdout("up")?;
    lab.call(&["kill", "--all", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")?;
    let empty = within(Duration::from_secs(5), || {
        let procs = fs::read_to_string(cgroup_of(&unit).join("cgroup.procs"));
        Ok(procs.is_ok_and(|text| text.is_empty()) || !cgroup_of(&unit).exists())
    })?;
    ensure!(empty, "processes are left in {unit}");
    container.delete()?;
    expect_gone(guest, &unit)
}

/// `major`, `minor` of the host's first disk, which nobody may open by default.
fn disk() -> Result<(u64, u64)> {
    for entry in fs::read_dir("/sys/block")? {
        let text = read(entry?.path().join("dev"))?;
        if let Some((major, minor)) = text.split_once(':') {
            return Ok((major.parse()?, minor.parse()?));
        }
    }
    skip("this host has no disk")
}

fn device_rules_outlast_a_reload(guest: &Guest) -> Result<()> {
    let lab = guest.with_systemd_cgroup()?;
    let (major, minor) = disk()?;
    let tried = format!(
        "test -e /dev/bed || mknod /dev/bed b {major} {minor}; \
         : </dev/null && echo null; if (: </dev/bed) 2>/dev/null; then echo disk; fi"
    );
    let allow =
        |allow: bool| json!({"allow": allow, "type": "b", "major": major, "minor": minor, "access": "rwm"});
    for (allowed, expected) in [(true, "null\ndisk"), (false, "null")] {
        let (mut bundle, _) = bundle(&lab, "devices", "sleep 1000")?;
        bundle.capabilities(&["CAP_MKNOD"]);
        bundle.set(
            "/linux/resources/devices",
            json!([{"allow": false, "access": "rwm"}, allow(allowed)]),
        );
        let container = Container::started(&lab, &bundle)?;
        let expect = |when: &str| {
            let seen = container.exec_stdout(&[], &tried)?;
            ensure!(
                seen == expected,
                "{when} {seen:?} can be opened instead of {expected:?}"
            );
            Ok(())
        };
        expect("at first")?;
        if !allowed {
            guest.systemctl(&["daemon-reload"])?;
            expect("after a reload")?;
        }
        container.delete()?;
    }
    Ok(())
}

fn a_scope_of_another_is_not_taken_over(guest: &Guest) -> Result<()> {
    let lab = guest.with_systemd_cgroup()?;
    let (bundle, unit) = bundle(&lab, "taken", "sleep 1000")?;
    let first = Container::started(&lab, &bundle)?;
    let id = lab.id();
    let second = Container::named(&lab, id.clone());
    second.try_create(&bundle, &[])?.refuses(&unit)?;
    ensure!(
        !fs::exists(lab.state_root.join(&id))?,
        "the state of {id} is left"
    );
    guest.expect_shown(&unit, &[("ActiveState", "active")])?;
    ensure!(
        first.status()? == "running",
        "the first container is {}",
        first.status()?
    );
    Ok(())
}

fn a_name_that_is_no_scope_is_refused(guest: &Guest) -> Result<()> {
    let lab = guest.with_systemd_cgroup()?;
    for path in [
        "/some/path",
        "bed.slice:bed",
        "bed:bed:x",
        "bed--x.slice:bed:x",
        "bed.slice:bed:a/b",
    ] {
        let mut bundle = lab.script("true")?;
        bundle.set("/linux/cgroupsPath", json!(path));
        lab.run(&bundle)?.refuses("cgroupsPath")?;
    }
    Ok(())
}

fn what_a_killed_runtime_leaves_is_removed(guest: &Guest) -> Result<()> {
    let lab = guest.with_systemd_cgroup()?;
    let (bundle, unit) = bundle(&lab, "orphan", "echo up; sleep 1000")?;
    bundle.save()?;
    let id = lab.id();
    let mut running = Caught::start(&mut lab.command(&["run", "--bundle", bundle.path(), &id]))?;
    let container = Container::named(&lab, id.clone());
    let up = within(Duration::from_secs(20), || {
        Ok(container.status().is_ok_and(|status| status == "running"))
    })?;
    ensure!(up, "the container does not run");
    running.child.kill()?;
    running.finish()?;
    container.delete()?;
    ensure!(
        !fs::exists(lab.state_root.join(&id))?,
        "the state of {id} is left"
    );
    expect_gone(guest, &unit)
}

fn annotated(bundle: &mut Bundle, properties: &[(&str, &str)]) {
    for (name, value) in properties {
        bundle.set(&format!("/annotations/org.systemd.property.{name}"), json!(value));
    }
}

fn annotations_are_properties_of_the_scope(guest: &Guest) -> Result<()> {
    let lab = guest.with_systemd_cgroup()?;
    let (mut bundle, unit) = bundle(&lab, "annotated", "sleep 1000")?;
    annotated(
        &mut bundle,
        &[
            ("TimeoutStopSec", "7"),
            ("RuntimeMaxUSec", "uint64 3600000000"),
            ("CollectMode", "'inactive'"),
            ("Description", "\"a 'sandbox'\""),
            ("SendSIGHUP", "true"),
            ("Documentation", "['man:a(1)', 'man:b(2)']"),
            ("DevicePolicy", "'auto'"),
            ("DeviceAllow", "[('/dev/null', 'rw')]"),
            ("TasksMax", "uint64 55"),
        ],
    );
    let _container = Container::started(&lab, &bundle)?;
    for reload in [false, true] {
        if reload {
            guest.systemctl(&["daemon-reload"])?;
        }
        guest.expect_shown(
            &unit,
            &[
                ("TimeoutStopUSec", "7s"),
                ("RuntimeMaxUSec", "1h"),
                ("CollectMode", "inactive"),
                ("Description", "a 'sandbox'"),
                ("SendSIGHUP", "yes"),
                ("Documentation", "\"man:a(1)\" \"man:b(2)\""),
                ("DeviceAllow", "/dev/null rw"),
                ("TasksMax", "55"),
                ("Delegate", "yes"),
            ],
        )?;
    }
    Ok(())
}

fn an_annotation_that_is_none_leaves_no_scope(guest: &Guest) -> Result<()> {
    let lab = guest.with_systemd_cgroup()?;
    for (name, value, told) in [
        ("CollectMode", "inactive", "CollectMode"),
        ("TimeoutStopSec", "'long'", "TimeoutStopSec"),
        ("Slice", "'other.slice'", "cgroupsPath"),
        ("No-Name", "1", "No-Name"),
        // These are told by systemd.
        ("NoSuchProperty", "1", "NoSuchProperty"),
        ("TimeoutStopUSec", "5", "systemd"),
        ("CollectMode", "'never'", "systemd"),
    ] {
        let (mut bundle, unit) = bundle(&lab, "unannotated", "true")?;
        lab.run(&bundle)?.exits_with(0)?;
        annotated(&mut bundle, &[(name, value)]);
        lab.run(&bundle)?.refuses(told)?;
        expect_gone(guest, &unit)?;
    }
    Ok(())
}

fn limits_are_the_scopes_properties_and_the_files(guest: &Guest) -> Result<()> {
    let lab = guest.with_systemd_cgroup()?;
    let (mut bundle, unit) = bundle(&lab, "limits", "sleep 1000")?;
    bundle.set(
        "/linux/resources",
        json!({
            "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20},
            "pids": {"limit": 77},
            "cpu": {"quota": 50_000, "period": 100_000, "shares": 4096, "cpus": "0", "mems": "0"},
        }),
    );
    let container = Container::started(&lab, &bundle)?;
    let cgroup = container.cgroup("")?;
    let weight = read(cgroup.join("cpu.weight"))?;
    ensure!(weight != "100", "cpu.weight is the kernel's default");
    guest.expect_shown(
        &unit,
        &[
            ("MemoryMax", "67108864"),
            ("MemoryLow", "33554432"),
            ("MemorySwapMax", "33554432"),
            ("TasksMax", "77"),
            ("CPUQuotaPerSecUSec", "500ms"),
            ("CPUQuotaPeriodUSec", "100ms"),
            ("CPUWeight", &weight),
            ("AllowedCPUs", "0"),
            ("AllowedMemoryNodes", "0"),
        ],
    )?;
    expect_files(
        &cgroup,
        &[
            ("memory.max", "67108864"),
            ("memory.low", "33554432"),
            ("memory.swap.max", "33554432"),
            ("pids.max", "77"),
            ("cpu.max", "50000 100000"),
            ("cpuset.cpus", "0"),
            ("cpuset.mems", "0"),
        ],
    )?;
    container.delete()?;
    expect_gone(guest, &unit)
}

fn new_limits_reach_systemd_and_outlast_a_reload(guest: &Guest) -> Result<()> {
    let lab = guest.with_systemd_cgroup()?;
    let (mut bundle, unit) = bundle(&lab, "updated", "sleep 1000")?;
    bundle.set(
        "/linux/resources",
        json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 77}}),
    );
    let container = Container::started(&lab, &bundle)?;
    let flags = [
        "--memory",
        "50331648",
        "--pids-limit",
        "33",
        "--cpu-quota",
        "20000",
        "--cpu-period",
        "50000",
    ];
    let mut words = vec!["update"];
    words.extend(flags);
    container.call(&words)?.success()?;
    for reload in [false, true] {
        if reload {
            guest.systemctl(&["daemon-reload"])?;
        }
        let expected = [
            ("MemoryMax", "50331648"),
            ("TasksMax", "33"),
            ("CPUQuotaPerSecUSec", "400ms"),
        ];
        guest.expect_shown(&unit, &expected)?;
        let expected = [
            ("memory.max", "50331648"),
            ("pids.max", "33"),
            ("cpu.max", "20000 50000"),
        ];
        expect_files(&cgroup_of(&unit), &expected)?;
    }
    Ok(())
}

fn what_systemd_does_not_know_outlasts_a_reload(guest: &Guest) -> Result<()> {
    let lab = guest.with_systemd_cgroup()?;
    let (mut bundle, unit) = bundle(&lab, "unified", "sleep 1000")?;
    // Not `memory.oom.group`: systemd before 253 sets it to 0 for every scope when it reloads.
    bundle.set(
        "/linux/resources/unified",
        json!({"memory.high": "50331648", "cgroup.max.descendants": "9", "cgroup.max.depth": "3", "pids.max": "55"}),
    );
    let _container = Container::started(&lab, &bundle)?;
    for reload in [false, true] {
        if reload {
            guest.systemctl(&["daemon-reload"])?;
        }
        guest.expect_shown(&unit, &[("MemoryHigh", "50331648"), ("TasksMax", "55")])?;
        let expected = [
            ("memory.high", "50331648"),
            ("cgroup.max.descendants", "9"),
            ("cgroup.max.depth", "3"),
            ("pids.max", "55"),
        ];
        expect_files(&cgroup_of(&unit), &expected)?;
    }
    Ok(())
}

fn a_refused_limit_leaves_no_scope(guest: &Guest) -> Result<()> {
    let lab = guest.with_systemd_cgroup()?;
    let (mut bundle, unit) = bundle(&lab, "refused", "true")?;
    bundle.set("/linux/resources/unified", json!({"memory.max": "sixty"}));
    lab.run(&bundle)?.refuses("memory.max")?;
    expect_gone(guest, &unit)
}
