//! `nucleus` with limits for a user without rights, in control groups that were delegated to it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::limits::OUT_OF_MEMORY;
use super::network::Host;
use super::user::USER;
use crate::beds::Bed;
use crate::beds::guest::{Guest, expect_files, read};
use crate::lab::{Output, finish, within};

super::list![super::MACHINES;
    limits_below_a_delegated_directory,
    limits_beside_the_own_group,
    limits_from_the_users_systemd,
    a_controller_that_is_not_delegated_is_named,
    without_delegation_limits_are_refused_with_the_remedy,
];

/// Once is enough: it takes its time where all is emulated.
pub(super) mod networked {
    pub(super) use super::*;

    super::super::list![&[Bed::Machine];
        a_users_network_goes_with_its_limits,
    ];
}

const TOP: &str = "/sys/fs/cgroup";

/// A directory of cgroup2 that is the user's, with these controllers.
struct Delegated(PathBuf);

impl Delegated {
    fn new(name: &str, controllers: &str) -> Result<Delegated> {
        let outer = Path::new(TOP).join(name);
        fs::write(
            Path::new(TOP).join("cgroup.subtree_control"),
            "+memory +pids +cpu +io",
        )?;
        fs::create_dir(&outer)?;
        fs::write(outer.join("cgroup.subtree_control"), controllers)?;
        let own = outer.join("delegated");
        fs::create_dir(&own)?;
        for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
            chown(own.join(file), Some(USER), Some(USER))?;
        }
        Ok(Delegated(own))
    }

    fn groups(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                found.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(found)
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for name in self.groups().unwrap_or_default() {
            let _ = fs::remove_dir(self.0.join(name));
        }
        let _ = fs::remove_dir(&self.0);
        let _ = self.0.parent().map(fs::remove_dir);
    }
}

/// The user's programs, started in a control group and with the user's directories.
struct User {
    /// None: where this process is.
    group: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    runtime: PathBuf,
}

impl User {
    /// Without a systemd of the user's.
    fn alone(guest: &Guest, group: Option<&Path>) -> Result<User> {
        let runtime = guest.lab.dir.join("run");
        fs::create_dir_all(&runtime)?;
        chown(&runtime, Some(USER), Some(USER))?;
        Ok(User {
            group: group.map(Path::to_owned),
            runtime,
        })
    }

    fn with_systemd(guest: &Guest) -> Result<User> {
        guest.systemctl(&["start", &format!("user@{USER}.service")])?;
        Ok(User {
            group: None,
            runtime: format!("/run/user/{USER}").into(),
        })
    }

    /// Calls the front-end.
    fn nucleus(&self, words: &[&str]) -> Result<Output> {
        // Once the group gives controllers to others, the processes of it are in its leaf.
        let leaf = |group: &PathBuf| Some(group.join("supervisor")).filter(|leaf| leaf.is_dir());
        let enter = self.group.as_ref().map_or(String::new(), |group| {
            let group = leaf(group).unwrap_or_else(|| group.clone());
            format!("echo $$ >{}/cgroup.procs && ", group.display())
        });
        let script = format!(
            "{enter}exec setpriv --reuid={USER} --regid={USER} --clear-groups -- /usr/local/bin/nucleus \"$@\""
        );
        finish(
            Command::new("sh")
                .args(["-c", &script, "sh"])
                .args(words)
                .env("XDG_RUNTIME_DIR", &self.runtime)
                .env("HOME", "/home/user")
                .current_dir("/")
                .stdin(Stdio::null()),
        )
    }

    /// The control group of a detached sandbox.
    fn group_of(&self, name: &str) -> Result<PathBuf> {
        let state: Value = serde_json::from_str(&self.nucleus(&["state", name])?.success()?.stdout)?;
        group_of(state["pid"].as_i64().context("no pid")?)
    }
}

fn group_of(pid: i64) -> Result<PathBuf> {
    let table = read(format!("/proc/{pid}/cgroup"))?;
    let path = table.strip_prefix("0::/").context("more than cgroup2")?;
    Ok(Path::new(TOP).join(path))
}

const LIMITS: [&str; 6] = ["--memory", "64M", "--pids", "50", "--cpus", "0.5"];
const FILES: [(&str, &str); 3] = [
    ("memory.max", "67108864"),
    ("pids.max", "50"),
    ("cpu.max", "50000 100000"),
];

/// A detached sandbox with limits: looks at it, runs a second program in it, and removes it.
fn expect_limited(user: &User, name: &str, parent: impl Fn(&Path) -> bool) -> Result<PathBuf> {
    let mut words = vec!["run", "--detach", "--name", name];
    words.extend(LIMITS);
    words.extend(["--", "sleep", "1000"]);
    user.nucleus(&words)?.success()?;
    let group = user.group_of(name)?;
    let looked = (|| {
        let above = group.parent().context("the root")?;
        ensure!(
            group.to_string_lossy().contains(&format!("/nucleus-{name}")) && parent(above),
            "the sandbox is in {}",
            group.display()
        );
        expect_files(&group, &FILES)?;
        let own = user
            .nucleus(&["exec", name, "cat", "/proc/self/cgroup"])?
            .success()?
            .stdout;
        ensure!(own == "0::/\n", "exec is in {own:?}");
        Ok(())
    })();
    user.nucleus(&["rm", "--force", name])?.success()?;
    looked?;
    ensure!(!fs::exists(&group)?, "{} is left", group.display());
    Ok(group)
}

/// Strict-agent mode, which compares the limits with the kernel's before the first instruction; and the ending.
fn expect_strict(guest: &Guest, user: &User) -> Result<()> {
    // A user has no time namespace before Linux 6.2.
    let old = guest.bed == Bed::OldMachine;
    let mut words = vec!["run", "--mode", if old { "agent" } else { "strict-agent" }];
    words.extend(LIMITS);
    let report = user.runtime.join("report");
    let report_path = report.display().to_string();
    words.extend(["--report", &report_path, "--", "sh", "-c", "exit 7"]);
    user.nucleus(&words)?.exits_with(7)?;
    let report: Value = serde_json::from_slice(&fs::read(report)?)?;
    let text = report.to_string();
    for promise in [
        "control group",
        "memory limit",
        "process limit",
        "processor limit",
    ] {
        ensure!(text.contains(promise), "no {promise:?} in {text}");
    }
    let stderr = user.nucleus(&[&["run"], &OUT_OF_MEMORY[..]].concat())?.stderr;
    ensure!(stderr.contains("memory"), "standard error is {stderr:?}");
    Ok(())
}

fn limits_below_a_delegated_directory(guest: &Guest) -> Result<()> {
    let delegated = Delegated::new("bed-below", "+memory +pids +cpu")?;
    let user = User::alone(guest, Some(&delegated.0))?;
    expect_limited(&user, "below", |above| above == delegated.0)?;
    expect_strict(guest, &user)?;
    let left = delegated.groups()?;
    ensure!(left == ["supervisor"], "left are {left:?}");
    // Without a limit nothing is moved and nothing made.
    fs::remove_dir(delegated.0.join("supervisor"))?;
    fs::write(delegated.0.join("cgroup.subtree_control"), "-memory -pids -cpu")?;
    user.nucleus(&["run", "--", "true"])?.success()?;
    ensure!(delegated.groups()?.is_empty(), "groups for no limit");
    Ok(())
}

fn limits_beside_the_own_group(guest: &Guest) -> Result<()> {
    let delegated = Delegated::new("bed-beside", "+memory +pids +cpu")?;
    let own = delegated.0.join("own");
    fs::create_dir(&own)?;
    chown(own.join("cgroup.procs"), Some(USER), Some(USER))?;
    let user = User::alone(guest, Some(&own))?;
    expect_limited(&user, "beside", |above| above == delegated.0)?;
    expect_strict(guest, &user)?;
    let left = delegated.groups()?;
    ensure!(left == ["own"], "left are {left:?}");
    Ok(())
}

fn limits_from_the_users_systemd(guest: &Guest) -> Result<()> {
    let user = User::with_systemd(guest)?;
    let manager = Path::new(TOP).join(format!("user.slice/user-{USER}.slice/user@{USER}.service"));
    let inside =
        |above: &Path| above.starts_with(&manager) && above.extension().is_some_and(|kind| kind == "scope");
    let group = expect_limited(&user, "scoped", inside)?;
    expect_strict(guest, &user)?;
    let scope = group.parent().context("the root")?;
    let gone = within(Duration::from_secs(15), || {
        std::thread::sleep(Duration::from_millis(100));
        Ok(!fs::exists(scope)?)
    })?;
    ensure!(gone, "{} is left", scope.display());
    Ok(())
}

fn a_controller_that_is_not_delegated_is_named(guest: &Guest) -> Result<()> {
    let delegated = Delegated::new("bed-partial", "+memory +pids")?;
    let user = User::alone(guest, Some(&delegated.0))?;
    let output = user
        .nucleus(&["run", "--memory", "64M", "--cpus", "1", "--", "true"])?
        .success()?;
    let warning = "cpus: the controller cpu is not delegated to this user";
    ensure!(
        output.stderr.contains(warning),
        "standard error is {:?}",
        output.stderr
    );
    let strict = [
        "run",
        "--mode",
        "strict-agent",
        "--memory",
        "64M",
        "--cpus",
        "1",
        "--",
        "true",
    ];
    let output = user.nucleus(&strict)?.exits_with(1)?;
    ensure!(
        output.stderr.contains(warning) && output.stderr.contains("Delegate="),
        "standard error is {:?}",
        output.stderr
    );
    Ok(())
}

fn without_delegation_limits_are_refused_with_the_remedy(guest: &Guest) -> Result<()> {
    let user = User::alone(guest, None)?;
    let output = user
        .nucleus(&["run", "--memory", "64M", "--", "true"])?
        .success()?;
    ensure!(
        output
            .stderr
            .contains("limits need a control group, which this user may not make: there are none"),
        "standard error is {:?}",
        output.stderr
    );
    let output = user.nucleus(&["run", "--mode", "strict-agent", "--memory", "64M", "--", "true"])?;
    ensure!(
        output.code == 1 && output.stderr.contains("loginctl enable-linger"),
        "it ends with {}, and {:?}",
        output.code,
        output.stderr
    );
    Ok(())
}

/// The processes with a name.
fn processes(name: &str) -> Result<Vec<i64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let told = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if told.trim() == name {
            found.extend(entry.file_name().to_string_lossy().parse::<i64>());
        }
    }
    Ok(found)
}

/// The sandbox in its scope and in its network, what keeps that up beside the limits, and nothing of either at the end.
fn a_users_network_goes_with_its_limits(guest: &Guest) -> Result<()> {
    let _host = Host::new(guest)?;
    guest.call("modprobe", &["tun"])?;
    let user = User::with_systemd(guest)?;
    let network = ["--egress-allow", "10.99.1.1", "--egress-tcp-port", "80"];
    let run = ["run", "--detach", "--name", "networked"];
    user.nucleus(&[&run[..], &LIMITS, &network, &["--", "sleep", "1000"]].concat())?
        .success()?;
    let group = user.group_of("networked")?;
    let looked = (|| {
        expect_files(&group, &FILES)?;
        let ask = "for to in '10.99.1.1 80' '10.99.1.1 81' '10.99.2.1 80'; do busybox nc -w 9 $to </dev/null || echo refused; done";
        let told = user.nucleus(&["exec", "networked", "sh", "-c", ask])?.success()?;
        ensure!(told.stdout == "served\nrefused\nrefused\n", "it reaches {told:?}");
        let carriers = processes("slirp4netns")?;
        ensure!(carriers.len() == 1, "slirp4netns: {carriers:?}");
        let carrier = group_of(carriers[0])?;
        ensure!(
            !carrier.starts_with(&group),
            "slirp4netns is in {}",
            carrier.display()
        );
        Ok(())
    })();
    user.nucleus(&["rm", "--force", "networked"])?.success()?;
    looked?;
    ensure!(!fs::exists(&group)?, "{} is left", group.display());
    let scope = group.parent().context("the root")?;
    let gone = within(Duration::from_secs(15), || {
        std::thread::sleep(Duration::from_millis(100));
        Ok(!fs::exists(scope)? && processes("slirp4netns")?.is_empty())
    })?;
    ensure!(gone, "{} is left, or slirp4netns", scope.display());
    Ok(())
}
