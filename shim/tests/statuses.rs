//! What the commands say and do with a sandbox that is created, running, stopped or gone, under each runtime.

mod support;

use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{CGROUPS_1, Finished, NUCLEUS, Place, eventually, installed};

/// The runtimes, and the options that choose them.
const RUNTIMES: [(&str, &[&str]); 4] = [
    ("nucleus-runtime", &[]),
    (
        "runc",
        &["--allow-degraded-security", "--runtime", "/usr/sbin/runc"],
    ),
    (
        "crun",
        &["--allow-degraded-security", "--runtime", "/usr/bin/crun"],
    ),
    ("runsc", &["--allow-degraded-security", "--runtime", "gvisor"]),
];

/// One under which containers' users reach the bundle, for engines that open it as one of them.
fn place() -> Option<Place> {
    let place = Place::new()?;
    fs::set_permissions(place.path(""), Permissions::from_mode(0o711)).expect("chmod");
    Some(place)
}

fn nucleus(place: &Place, args: &[&str]) -> Finished {
    let mut command = Command::new("unshare");
    let script = format!("{CGROUPS_1}; exec \"$@\"");
    command.args(["--mount", "sh", "-c", &script, "sh", NUCLEUS, "--root"]);
    command.arg(place.root()).args(args).stdin(Stdio::null());
    command.output().expect("unshare").into()
}

fn status(place: &Place, name: &str) -> String {
    let ps = nucleus(place, &["ps", "--json"]);
    let rows: Value = serde_json::from_str(ps.exits(0)).expect("JSON");
    let row = rows
        .as_array()
        .expect("a list")
        .iter()
        .find(|row| row["name"] == name);
    row.expect("a row")["status"]
        .as_str()
        .expect("a status")
        .to_owned()
}

#[test]
fn each_status_is_called_by_its_name_and_stop_is_done_when_it_returns() {
    let Some(place) = place() else { return };
    let name = place.name();
    for (engine, options) in RUNTIMES
        .iter()
        .filter(|(engine, _)| *engine == "nucleus-runtime" || installed(engine))
    {
        let create = [
            &["create", "-q", "--name", name],
            *options,
            &["--", "sleep", "1000"],
        ]
        .concat();
        nucleus(&place, &create).exits(0);
        nucleus(&place, &["rm", name]).fails_with(&["it is created; nucleus stop"]);
        let begun = Instant::now();
        nucleus(&place, &["stop", name]).exits(0);
        assert!(
            begun.elapsed() < Duration::from_secs(8),
            "{engine}: SIGTERM would not have been heard"
        );
        assert_eq!(status(&place, name), "stopped", "{engine}");
        nucleus(&place, &["start", name]).fails_with(&["it is stopped, and only"]);
        nucleus(&place, &["exec", name, "true"]).fails_with(&["stopped"]);
        assert_eq!(nucleus(&place, &["kill", name]).code, 1, "{engine}");
        // As systemctl has it: that is what was asked for.
        assert_eq!(nucleus(&place, &["stop", name]).exits(0), "", "{engine}");
        nucleus(&place, &["rm", name]).exits(0);

        let run = [
            &["run", "-q", "-d", "--name", name],
            *options,
            &["--", "sleep", "1000"],
        ]
        .concat();
        nucleus(&place, &run).exits(0);
        nucleus(&place, &["rm", name]).fails_with(&["it is running; nucleus stop"]);
        let entered = nucleus(&place, &["exec", name, "sh", "-c", "exit 7"]);
        if entered.stderr.contains("setgroups: Operation not permitted") {
            entered.fails_with(&[
                "crun has not begun the command: crun 1.8 cannot beside a workload without capabilities",
            ]);
        } else {
            entered.exits(7);
        }
        // SIGKILL's end is waited for, so that what comes next finds it stopped.
        nucleus(&place, &["stop", "--timeout", "0", name]).exits(0);
        nucleus(&place, &["rm", name]).exits(0);
        place.expect_nothing_left();
    }
}

#[test]
fn gvisor_begins_nothing_beside_a_command_that_has_not_begun() {
    let Some(place) = place().filter(|_| installed("runsc")) else {
        return;
    };
    let name = place.name();
    let create = [
        "create",
        "-q",
        "--runtime",
        "gvisor",
        "--name",
        name,
        "--",
        "true",
    ];
    nucleus(&place, &create).exits(0);
    nucleus(&place, &["exec", name, "true"]).fails_with(&["exec", "it is created"]);
    nucleus(&place, &["rm", "--force", name]).exits(0);
}

#[test]
fn stop_and_rm_take_several_and_go_on_after_one_that_fails() {
    let Some(place) = Place::new() else { return };
    let names = ["one", "two"].map(|name| format!("{}-{name}", place.name()));
    let [one, two] = [&names[0], &names[1]].map(String::as_str);
    for name in [one, two] {
        place
            .nucleus(&["run", "-d", "--name", name, "--", "sleep", "1000"])
            .exits(0);
    }
    place
        .nucleus(&["stop", "-t", "0", one, "nobody", two])
        .fails_with(&["no sandbox with the name \"nobody\""]);
    assert_eq!(
        [one, two].map(|name| status(&place, name)),
        ["stopped", "stopped"]
    );
    place
        .nucleus(&["rm", one, "nobody", two])
        .fails_with(&["no sandbox with the name \"nobody\""]);
}

#[test]
fn a_sandbox_that_is_waited_for_is_stopped_and_removed_by_its_own_run() {
    let Some(place) = Place::new() else { return };
    let name = place.name();
    let mut run = place
        .command(&["run", "--name", name, "--", "sleep", "1000"])
        .spawn()
        .expect("start nucleus");
    eventually("it runs", || place.nucleus(&["ps"]).stdout.contains("running"));
    place.nucleus(&["stop", "-t", "0", name]).exits(0);
    assert_eq!(run.wait().expect("wait").code(), Some(137));
}

#[test]
fn a_made_up_name_is_printed_where_nothing_else_tells_it() {
    let Some(place) = Place::new() else { return };
    for command in [&["run", "-d"][..], &["create"]] {
        let printed = place.nucleus(&[command, &["--", "sleep", "1000"]].concat());
        let name = printed.exits(0).trim_end().to_owned();
        assert!(!name.is_empty() && status(&place, &name) != "stopped", "{name:?}");
        place.nucleus(&["rm", "-f", &name]).exits(0);
    }
    let named = place.nucleus(&["run", "-d", "--name", place.name(), "--", "sleep", "1000"]);
    assert_eq!(named.exits(0), "");
    place.nucleus(&["rm", "-f", place.name()]).exits(0);
}

#[test]
fn the_table_has_columns() {
    let Some(place) = Place::new() else { return };
    let names = ["running", "stopped"].map(|name| format!("{}-{name}", place.name()));
    for (name, command) in names.iter().zip(["sleep", "true"]) {
        place
            .nucleus(&["run", "-d", "--name", name, "--", command, "1000"])
            .exits(0);
    }
    eventually("the other has ended", || status(&place, &names[1]) == "stopped");
    let table = place.nucleus(&["ps"]).stdout;
    let ends: Vec<_> = table
        .lines()
        .map(|line| {
            let pid = line.split_whitespace().nth(2).expect("a pid");
            line.rfind(&format!("{pid} ")).expect("there") + pid.len()
        })
        .collect();
    assert_eq!(ends.len(), 3, "{table}");
    assert!(ends.iter().all(|end| *end == ends[0]), "{table}");
    for name in &names {
        place.nucleus(&["rm", "-f", name]).exits(0);
    }
}
