//! `create` and `start` as two calls: what was promised in the first is held against the kernel in the second.

mod support;

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use support::user::User;
use support::{Finished, NUCLEUS, Place, eventually};

/// A sandbox whose command writes when it has begun.
const BEGAN: [&str; 5] = ["--", "sh", "-c", "echo began; exec sleep 1000", "sh"];

fn create(place: &Place, options: &[&str]) {
    let args = [&["create", "--name", place.name()], options, &BEGAN].concat();
    place.nucleus(&args).exits(0);
}

fn status(place: &Place) -> String {
    let state = place.nucleus(&["state", place.name()]);
    let state: Value = serde_json::from_str(state.exits(0)).expect("JSON");
    state["status"].as_str().expect("a status").to_owned()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a report")).expect("JSON")
}

#[test]
fn a_strict_sandbox_is_created_and_started_with_its_report() {
    let Some(place) = Place::new() else { return };
    let name = place.name();
    let (report, events) = (place.path("report.json"), place.path("events"));
    let [to_report, to_events] = [&report, &events].map(|path| path.to_str().expect("UTF-8"));
    for mode in ["agent", "strict-agent"] {
        let options = [
            "--mode", mode, "--memory", "64M", "--pids", "50", "--events", to_events,
        ];
        create(&place, &options);
        assert_eq!(status(&place), "created", "{mode}");
        assert_eq!(place.nucleus(&["logs", name]).exits(0), "", "{mode}");
        let start = ["start", "--report", to_report, "--events", to_events, name];
        assert_eq!(place.nucleus(&start).exits(0), "", "{mode}");
        eventually("it prints", || place.nucleus(&["logs", name]).stdout == "began\n");
        let found = json(&report);
        assert_eq!(
            (&found["kept"], &found["mode"]),
            (&true.into(), &mode.into()),
            "{found:#}"
        );
        assert_eq!(found["command"][0], "sh", "{found:#}");
        let promises = found["promises"].as_array().expect("promises");
        for promise in [
            "memory limit",
            "seccomp refuses ptrace",
            "mount /usr",
            "landlock refuses write_file",
        ] {
            assert!(
                promises.iter().any(|one| one["promise"] == promise),
                "{promise}: {found:#}"
            );
        }
        let config =
            fs::read(place.root().join("sandboxes").join(name).join("config.json")).expect("a bundle");
        let digest = nucleus_policy::Digest::of(&config).to_string();
        assert_eq!(found["config-sha256"], digest.as_str(), "{mode}");
        let told = support::events(&events);
        let told: Vec<_> = told.iter().filter_map(|event| event["event"].as_str()).collect();
        assert_eq!(told, ["created", "checked", "started"], "{mode}");
        // Once.
        place
            .nucleus(&["start", name])
            .fails_with(&["it is running, and only what nucleus create made"]);
        assert_eq!(status(&place), "running", "{mode}");
        place.nucleus(&["stop", "--timeout", "0", name]).exits(0);
        eventually("it stops", || status(&place) == "stopped");
        place.nucleus(&["start", name]).fails_with(&["it is stopped"]);
        place.nucleus(&["rm", name]).exits(0);
        fs::remove_file(&events).expect("rm");
        fs::remove_file(&report).expect("rm");
    }
    place.expect_nothing_left();
}

/// Agent mode looks when it is asked to, and only then.
#[test]
fn a_report_that_cannot_be_written_keeps_the_command_from_beginning() {
    let Some(place) = Place::new() else { return };
    let name = place.name();
    create(&place, &["--mode", "strict-agent"]);
    place
        .nucleus(&["start", "--report", "/no/where/report", name])
        .fails_with(&["write /no/where/report"]);
    place.expect_nothing_left();
    create(&place, &[]);
    place
        .nucleus(&["start", "--events", "/no/where/events", name])
        .fails_with(&["open /no/where/events"]);
    // Nothing has happened yet.
    assert_eq!(status(&place), "created");
    place.nucleus(&["rm", "--force", name]).exits(0);
}

#[test]
fn promises_that_were_changed_are_not_started_on() {
    let Some(place) = Place::new() else { return };
    let name = place.name();
    let directory = place.root().join("sandboxes").join(name);
    type Change = fn(&Path);
    let changes: [(&str, &str, Change); 5] = [
        ("promises.json", "it has changed since nucleus create", |path| {
            let text = fs::read_to_string(path).expect("read");
            let mut promises: Value = serde_json::from_str(&text).expect("JSON");
            promises["promises"] = Value::Array(Vec::new());
            fs::write(path, promises.to_string()).expect("write");
        }),
        ("promises.json", "it has changed since nucleus create", |path| {
            fs::write(path, "").expect("write");
        }),
        ("promises.json", "No such file", |path| {
            fs::remove_file(path).expect("rm");
        }),
        ("config.json", "it has changed since nucleus create", |path| {
            let text = fs::read_to_string(path).expect("read");
            fs::write(path, text + " ").expect("write");
        }),
        ("config.sha256", "config.json: it has changed", |path| {
            fs::write(path, "0".repeat(64)).expect("write");
        }),
    ];
    for (file, words, change) in changes {
        for mode in ["agent", "strict-agent"] {
            create(&place, &["--mode", mode]);
            change(&directory.join(file));
            place
                .nucleus(&["start", name])
                .fails_with(&[&format!("start {name}: "), words]);
            assert_eq!(status(&place), "created", "{file}, {mode}");
            assert_eq!(place.nucleus(&["logs", name]).exits(0), "", "{file}, {mode}");
            place.nucleus(&["rm", "--force", name]).exits(0);
        }
    }
}

/// Past the front-end nobody has looked.
#[test]
fn the_runtime_alone_neither_starts_it_nor_puts_anything_into_it() {
    let Some(place) = Place::new() else { return };
    let name = place.name();
    let program = Path::new(NUCLEUS).with_file_name("nucleus-runtime");
    let runtime = |args: &[&str]| -> Finished {
        let mut command = Command::new(&program);
        command.arg("--root").arg(place.root().join("runtime")).args(args);
        command.output().expect("start the runtime").into()
    };
    for mode in ["agent", "strict-agent"] {
        create(&place, &["--mode", mode]);
        let digest = "0".repeat(64);
        runtime(&["start", name]).fails_with(&["--promises-sha256 (nucleus start does)"]);
        runtime(&["start", "--promises-sha256", &digest, name]).fails_with(&["is not its annotation"]);
        runtime(&["exec", name, "true"]).fails_with(&["start it first"]);
        place
            .nucleus(&["exec", name, "true"])
            .fails_with(&["start it first"]);
        assert_eq!(status(&place), "created");
        assert_eq!(place.nucleus(&["logs", name]).exits(0), "");
        place.nucleus(&["start", name]).exits(0);
        place.nucleus(&["exec", name, "true"]).exits(0);
        place.nucleus(&["rm", "--force", name]).exits(0);
    }
}

#[test]
fn of_two_starts_at_once_one_goes_on() {
    let Some(place) = Place::new() else { return };
    let name = place.name();
    create(&place, &["--mode", "strict-agent"]);
    let starts: Vec<_> = (0..4)
        .map(|_| place.command(&["start", name]).spawn().expect("start"))
        .collect();
    let codes: Vec<_> = starts
        .into_iter()
        .map(|mut start| start.wait().expect("wait").code())
        .collect();
    assert_eq!(
        codes.iter().filter(|code| **code == Some(0)).count(),
        1,
        "{codes:?}"
    );
    assert_eq!(status(&place), "running");
    place.nucleus(&["rm", "--force", name]).exits(0);
}

#[test]
fn a_command_that_cannot_begin_takes_the_sandbox_along() {
    let Some(place) = Place::new() else { return };
    let (name, workspace) = (place.name(), place.path("workspace"));
    fs::create_dir(&workspace).expect("mkdir");
    let program = workspace.join("program");
    for mode in ["agent", "strict-agent"] {
        fs::copy("/bin/true", &program).expect("copy");
        let at = workspace.to_str().expect("UTF-8");
        let args = [
            "create",
            "--name",
            name,
            "--mode",
            mode,
            "--workspace-exec",
            "--workspace",
            at,
        ];
        place
            .nucleus(&[&args[..], &["--", "/workspace/program"]].concat())
            .exits(0);
        fs::remove_file(&program).expect("rm");
        place
            .nucleus(&["start", name])
            .fails_with(&["/workspace/program"]);
        place.expect_nothing_left();
    }
}

#[test]
fn a_user_creates_and_starts_in_both_agent_modes() {
    let Some(user) = User::new() else { return };
    let name = user.place.name();
    for mode in ["agent", "strict-agent"] {
        let args = [
            "create",
            "--mode",
            mode,
            "--name",
            name,
            "--",
            "sh",
            "-c",
            "echo began; exec sleep 1000",
        ];
        user.nucleus(&args).exits(0);
        user.nucleus(&["start", "--report", "report", name]).exits(0);
        eventually("it prints", || user.nucleus(&["logs", name]).stdout == "began\n");
        let found = json(&user.home.join("report"));
        assert_eq!(found["kept"], true, "{mode}: {found:#}");
        assert_eq!(user.nucleus(&["exec", name, "id", "-u"]).exits(0), "54321\n");
        user.nucleus(&["start", name]).fails_with(&["it is running"]);
        user.nucleus(&["rm", "--force", name]).exits(0);
        user.nucleus(&args).exits(0);
        fs::write(
            user.home
                .join("run/nucleus/sandboxes")
                .join(name)
                .join("promises.json"),
            "{}",
        )
        .expect("write");
        user.nucleus(&["start", name])
            .fails_with(&["it has changed since nucleus create"]);
        user.nucleus(&["rm", "--force", name]).exits(0);
        user.expect_nothing_left();
    }
}
