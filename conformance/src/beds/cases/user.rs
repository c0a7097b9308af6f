//! A user's own systemd, and what is delegated to it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::beds::Bed;
use crate::beds::guest::{Guest, expect_files};
use crate::lab::{Bundle, Caught, Output, finish, within};

super::list![super::ALL;
    a_users_systemd_makes_the_scope_with_its_limits,
];

/// Where a service's processes can be in a group of their own: since systemd 254.
pub(super) mod subgroup {
    pub(super) use super::*;

    super::super::list![&[crate::beds::Bed::Machine];
        a_user_has_limits_below_a_delegated_service,
    ];
}

pub(super) const USER: u32 = 1000;

fn limits() -> Value {
    json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 77}})
}

/// A command of the user in a session of the user's own.
fn command(words: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=1000", "--regid=1000", "--clear-groups", "--"])
        .args(words);
    command
        .env("XDG_RUNTIME_DIR", format!("/run/user/{USER}"))
        .env("HOME", "/home/user")
        .current_dir("/")
        .stdin(Stdio::null());
    command
}

fn call(words: &[&str]) -> Result<Output> {
    finish(&mut command(words))
}

/// Starts the user's systemd, and makes a bundle that is the user's.
fn prepare(guest: &Guest, resources: &Value, path: Option<&str>) -> Result<Bundle> {
    let manager = format!("user@{USER}.service");
    let started = guest.call("systemctl", &["start", &manager])?;
    ensure!(
        started.code == 0,
        "the user's systemd does not start: {}",
        guest.journal(&manager)?
    );
    let mut bundle = guest.lab.script("echo up; exec sleep 98765")?;
    bundle.user_namespace(USER, 1).give_root_to(USER)?;
    bundle.set("/linux/resources", resources.clone());
    if let Some(path) = path {
        bundle.set("/linux/cgroupsPath", json!(path));
    }
    bundle.save()?;
    for dir in [bundle.dir(), &guest.lab.dir] {
        chown(dir, Some(USER), Some(USER))?;
    }
    Ok(bundle)
}

/// Runs the runtime as a service of the user, looks at the container with `look`, and ends it.
fn run(
    guest: &Guest,
    options: &[&str],
    globals: &[&str],
    bundle: &Bundle,
    look: impl Fn(&Path) -> Result<()>,
) -> Result<()> {
    let state = format!("/run/user/{USER}/bed");
    let program = guest.lab.runtime().display().to_string();
    let runtime = |words: &[&str]| {
        let mut all = vec![program.as_str(), "--root", &state];
        all.extend(globals);
        all.extend(words);
        all.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let mut words = vec![
        "systemd-run",
        "--user",
        "--quiet",
        "--wait",
        "--pipe",
        "--collect",
    ];
    words.extend(options);
    words.push("--");
    let runs = runtime(&["run", "--bundle", bundle.path(), "rootless"]);
    words.extend(runs.iter().map(String::as_str));
    let running = Caught::start(&mut command(&words))?;

    let ask = runtime(&["state", "rootless"]);
    let ask: Vec<&str> = ask.iter().map(String::as_str).collect();
    let mut pid = 0;
    let up = within(Duration::from_secs(15), || {
        let told: Value = serde_json::from_str(&call(&ask)?.stdout).unwrap_or_default();
        pid = told["pid"].as_i64().unwrap_or(0);
        Ok(told["status"] == "running")
    })?;
    let seen = if up {
        let table = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let path = table.lines().find_map(|line| line.strip_prefix("0::/"));
        let path = path.context("no cgroup2")?;
        look(&Path::new("/sys/fs/cgroup").join(path))
    } else {
        Ok(())
    };
    let kill = runtime(&["kill", "rootless", "KILL"]);
    let kill: Vec<&str> = kill.iter().map(String::as_str).collect();
    call(&kill)?.success()?;
    let ended = running.finish()?;
    ensure!(up, "the container does not run: {ended:?}");
    seen
}

fn a_users_systemd_makes_the_scope_with_its_limits(guest: &Guest) -> Result<()> {
    let limited = guest.bed != Bed::Container;
    let resources = if limited { limits() } else { json!({}) };
    let bundle = prepare(guest, &resources, None)?;
    let unit = "nucleus-rootless.scope";
    let show = |property: &str| -> Result<String> {
        let words = [
            "systemctl",
            "--user",
            "show",
            "--value",
            "--property",
            property,
            unit,
        ];
        Ok(call(&words)?.success()?.stdout.trim().to_owned())
    };
    run(guest, &[], &["--systemd-cgroup"], &bundle, |cgroup| {
        let inside = Path::new("/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service");
        ensure!(
            cgroup.starts_with(inside) && cgroup.ends_with(unit),
            "the container is in {}",
            cgroup.display()
        );
        if !limited {
            return Ok(());
        }
        for (property, value) in [
            ("ActiveState", "active"),
            ("MemoryMax", "67108864"),
            ("TasksMax", "77"),
        ] {
            let seen = show(property)?;
            ensure!(seen == value, "{unit} has {property}={seen} instead of {value}");
        }
        expect_files(cgroup, &[("memory.max", "67108864"), ("pids.max", "77")])
    })?;
    let state = show("LoadState")?;
    ensure!(state == "not-found", "{unit} is left: {state}");
    Ok(())
}

fn a_user_has_limits_below_a_delegated_service(guest: &Guest) -> Result<()> {
    let bundle = prepare(guest, &limits(), Some("rootless-bed"))?;
    let delegated = [
        "--property=Delegate=yes",
        "--property=DelegateSubgroup=supervisor",
    ];
    run(guest, &delegated, &[], &bundle, |cgroup| {
        ensure!(
            cgroup.ends_with("rootless-bed"),
            "the container is in {}",
            cgroup.display()
        );
        expect_files(cgroup, &[("memory.max", "67108864"), ("pids.max", "77")])
    })
}
