//! Hooks: when they run, where, with what, and what a failing one does.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::expect_eq;
use crate::lab::{Bundle, Container, Lab, within};

super::list![
    hooks_run_in_the_specs_order,
    hooks_get_the_state_on_standard_input,
    hooks_get_only_their_own_arguments_and_environment,
    hooks_run_in_the_specs_namespaces,
    failing_create_runtime_hook_fails_create,
    failing_create_container_hook_fails_create,
    failing_start_container_hook_fails_start,
    hook_past_its_timeout_is_killed,
    failing_poststop_hook_does_not_stop_the_others,
    missing_hook_program_is_refused,
    relative_hook_path_is_refused,
    create_runtime_hook_can_change_mounts,
];

const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// Adds a hook of each kind that runs `script` with `$kind` set, and appends its output to a file a kind.
/// The one that runs inside the container writes to its root.
fn add_all(lab: &Lab, bundle: &mut Bundle, script: &str) {
    for kind in KINDS {
        let file = if kind == "startContainer" {
            format!("/{kind}")
        } else {
            lab.dir.join(kind).display().to_string()
        };
        bundle.hook(kind, &format!("kind={kind}; {{ {script}; }} >> {file}"));
    }
}

fn read(lab: &Lab, bundle: &Bundle, kind: &str) -> Result<String> {
    let path = if kind == "startContainer" {
        bundle.in_root(kind)
    } else {
        lab.dir.join(kind)
    };
    fs::read_to_string(&path).with_context(|| format!("the {kind} hook did not run"))
}

/// Every hook appends its name to one file; the container has it bind-mounted for the one inside.
fn hooks_run_in_the_specs_order(lab: &Lab) -> Result<()> {
    let order = lab.dir.join("order");
    fs::write(&order, "")?;
    let path = order.display().to_string();
    let mut bundle = lab.script("echo process >> /order")?;
    bundle.mount("bind", &path, "/order", &["bind"]);
    for kind in KINDS {
        let file = if kind == "startContainer" { "/order" } else { &path };
        for number in [1, 2] {
            bundle.hook(kind, &format!("echo {kind}{number} >> {file}"));
        }
    }
    let container = Container::create(lab, &bundle)?;
    let created = ["prestart", "createRuntime", "createContainer"];
    let mut expected: Vec<String> = created
        .iter()
        .flat_map(|kind| [format!("{kind}1"), format!("{kind}2")])
        .collect();
    let lines =
        || -> Result<Vec<String>> { Ok(fs::read_to_string(&order)?.lines().map(str::to_owned).collect()) };
    expect_eq("order after create", lines()?, expected.as_slice())?;

    container.start()?;
    container.wait_for("stopped")?;
    let mut seen = lines()?;
    // The process and the poststart hooks run at the same time.
    seen[6..].sort();
    let started = [
        "poststart1",
        "poststart2",
        "process",
        "startContainer1",
        "startContainer2",
    ];
    expected.extend(started.map(str::to_owned));
    expect_eq("hooks after start", seen, expected.as_slice())?;
    let seen = lines()?;
    let place = |word: &str| seen.iter().position(|line| line == word);
    ensure!(place("startContainer2") < place("process"), "order is {seen:?}");
    ensure!(
        place("startContainer2") < place("poststart1"),
        "order is {seen:?}"
    );
    ensure!(place("poststart1") < place("poststart2"), "order is {seen:?}");

    container.call(&["delete"])?.success()?;
    expect_eq("hooks after delete", &lines()?[11..], ["poststop1", "poststop2"])
}

fn hooks_get_the_state_on_standard_input(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.set("/annotations", json!({"org.example.key": "value"}));
    add_all(lab, &mut bundle, "cat");
    let container = Container::started(lab, &bundle)?;
    let pid = container.pid()?;
    lab.call(&["kill", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")?;
    container.call(&["delete"])?.success()?;
    for kind in KINDS {
        let text = read(lab, &bundle, kind)?;
        let state: Value =
            serde_json::from_str(&text).with_context(|| format!("{kind} hook reads {text:?}"))?;
        expect_eq("id", &state["id"], &json!(container.id))?;
        expect_eq("bundle", &state["bundle"], &json!(bundle.path()))?;
        expect_eq(
            "annotation",
            &state["annotations"]["org.example.key"],
            &json!("value"),
        )?;
        let expected: &[&str] = match kind {
            // The spec has "creating" until create is over; older texts let prestart see "created".
            "prestart" => &["creating", "created"],
            "createRuntime" | "createContainer" => &["creating"],
            "startContainer" => &["created"],
            "poststart" => &["running"],
            _ => &["stopped"],
        };
        let status = state["status"].as_str().unwrap_or_default();
        ensure!(
            expected.contains(&status),
            "{kind} hook reads status {status:?} instead of {expected:?}"
        );
        match kind {
            "poststop" => {}
            // "The pid as seen by the container", runtime.md#state.
            "createContainer" | "startContainer" => expect_eq(kind, &state["pid"], &json!(1))?,
            _ => expect_eq(kind, &state["pid"], &json!(pid))?,
        }
    }
    Ok(())
}

fn hooks_get_only_their_own_arguments_and_environment(lab: &Lab) -> Result<()> {
    let file = lab.dir.join("seen");
    let script = format!("echo \"$0 $1\" > {0}; env | sort >> {0}", file.display());
    let mut bundle = lab.bundle(&["true"])?;
    let hook = json!({
        "path": "/bin/sh",
        "args": ["sh", "-c", script, "zero", "one"],
        "env": ["ONLY=this", "PATH=/usr/bin:/bin"]
    });
    bundle.push("/hooks/createRuntime", hook);
    let _container = Container::create(lab, &bundle)?;
    let seen = fs::read_to_string(&file)?;
    let mut lines = seen.lines();
    expect_eq("arguments", lines.next(), Some("zero one"))?;
    // The shell adds these by itself.
    let rest: Vec<&str> = lines
        .filter(|line| !line.starts_with("PWD=") && !line.starts_with("_="))
        .collect();
    expect_eq("environment", rest, ["ONLY=this", "PATH=/usr/bin:/bin"])
}

fn hooks_run_in_the_specs_namespaces(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    add_all(lab, &mut bundle, "readlink /proc/self/ns/uts");
    let container = Container::started(lab, &bundle)?;
    let inside = fs::read_link(format!("/proc/{}/ns/uts", container.pid()?))?
        .display()
        .to_string();
    let outside = fs::read_link("/proc/self/ns/uts")?.display().to_string();
    container.delete()?;
    for kind in KINDS {
        let expected = if ["createContainer", "startContainer"].contains(&kind) {
            &inside
        } else {
            &outside
        };
        expect_eq(kind, read(lab, &bundle, kind)?.trim(), expected.as_str())?;
    }
    Ok(())
}

/// A hook of this kind fails `create`, and nothing is left.
fn fails_create(lab: &Lab, kind: &str) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.hook(kind, "exit 3");
    let container = Container::named(lab, lab.id());
    container.try_create(&bundle, &[])?.refuses("hook")?;
    // The state may be kept until delete, or be gone already.
    container.delete()?;
    lab.expect_nothing_left(&container.id)
}

fn failing_create_runtime_hook_fails_create(lab: &Lab) -> Result<()> {
    fails_create(lab, "createRuntime")?;
    fails_create(lab, "prestart")
}

fn failing_create_container_hook_fails_create(lab: &Lab) -> Result<()> {
    fails_create(lab, "createContainer")
}

fn failing_start_container_hook_fails_start(lab: &Lab) -> Result<()> {
    let mut bundle = lab.script("echo ran > /ran; sleep 1000")?;
    bundle.hook("startContainer", "exit 3");
    let container = Container::create(lab, &bundle)?;
    let started = container.call(&["start"])?;
    let stopped = within(std::time::Duration::from_secs(5), || {
        Ok(container.status()? == "stopped")
    })?;
    ensure!(
        stopped || started.code != 0,
        "start succeeds and the container is {}",
        container.status()?
    );
    ensure!(
        !bundle.in_root("/ran").exists(),
        "the process ran after a failing hook"
    );
    container.delete()?;
    lab.expect_nothing_left(&container.id)
}

fn hook_past_its_timeout_is_killed(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    let hook = json!({"path": "/bin/sleep", "args": ["sleep", "3600"], "timeout": 1});
    bundle.push("/hooks/createRuntime", hook);
    let container = Container::named(lab, lab.id());
    container.try_create(&bundle, &[])?.exits_with(1)?;
    container.delete()?;
    lab.expect_nothing_left(&container.id)
}

fn failing_poststop_hook_does_not_stop_the_others(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["true"])?;
    let file = lab.dir.join("second");
    bundle
        .hook("poststop", "exit 3")
        .hook("poststop", &format!("echo ran > {}", file.display()));
    let container = Container::started(lab, &bundle)?;
    container.wait_for("stopped")?;
    container.call(&["delete"])?.success()?;
    ensure!(file.exists(), "the second hook did not run");
    lab.expect_nothing_left(&container.id)
}

fn missing_hook_program_is_refused(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.push("/hooks/createRuntime", json!({"path": "/no/such/hook"}));
    let container = Container::named(lab, lab.id());
    container.try_create(&bundle, &[])?.exits_with(1)?;
    container.delete()?;
    lab.expect_nothing_left(&container.id)
}

fn relative_hook_path_is_refused(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.push("/hooks/createRuntime", json!({"path": "bin/true"}));
    let container = Container::named(lab, lab.id());
    container.try_create(&bundle, &[])?.exits_with(1).map(drop)
}

/// A createContainer hook runs after the mounts and before the root moves, with the host's files in reach.
fn create_runtime_hook_can_change_mounts(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["cat", "/from-hook"])?;
    let file = bundle.in_root("/from-hook");
    let source = lab.dir.join("source");
    fs::write(&file, "image")?;
    fs::write(&source, "hook")?;
    bundle.hook(
        "createContainer",
        &format!("mount --bind {} {}", source.display(), file.display()),
    );
    expect_eq("contents", lab.stdout(&bundle)?, "hook")?;
    ensure!(
        !fs::read_to_string("/proc/self/mountinfo")?.contains("from-hook"),
        "the mount is seen outside"
    );
    Ok(())
}
