//! SIGKILL of `nucleus` before each of its system calls: no process stays, and the next call removes the rest.
//!
//! strace(1) sends it: without `-f`, so that the runtime is not traced. A sample of the calls by default, all of them
//! with NUCLEUS_TESTS_FULL=1.

mod support;

use std::fs;
use std::process::{Command, Stdio};
use support::{Place, eventually};

/// How many calls are passed over between two kills.
fn stride() -> usize {
    if std::env::var_os("NUCLEUS_TESTS_FULL").is_some() {
        1
    } else {
        11
    }
}

/// How many system calls the front-end makes when nobody disturbs it.
fn calls(place: &Place, args: &[&str]) -> usize {
    let log = place.path("strace").display().to_string();
    let status = place
        .straced(&["-o", &log], args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("strace");
    assert!(status.success(), "{args:?}: {status}");
    fs::read_to_string(&log).expect("a log").lines().count()
}

/// Runs it, and kills it before call `number`.
fn killed_at(place: &Place, number: usize, args: &[&str]) {
    let inject = format!("inject=all:signal=KILL:when={number}");
    let _ = place
        .straced(&["-o", "/dev/null", "-e", &inject], args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("strace");
}

/// Processes with this word in their command line, this test's own aside.
fn processes(word: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    let entries = fs::read_dir("/proc").expect("proc").flatten();
    let found = entries.filter_map(|entry| {
        let pid = entry.file_name().into_string().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        (pid != own && line.contains(word)).then_some(format!("{pid} {line}"))
    });
    found.collect()
}

fn expect_clean(place: &Place, when: &str) {
    let word = place.path("").display().to_string();
    let name = place.name();
    eventually(&format!("no process is left {when}"), || {
        processes(&word).is_empty() && processes(&format!("marker-{name}")).is_empty()
    });
    place.sh(&[], "true").exits(0);
    for directory in ["sandboxes", "runtime"] {
        let left = place.left_in(directory);
        assert!(left.is_empty(), "{when}: {directory} holds {left:?}");
    }
    let groups: Vec<_> = fs::read_dir("/sys/fs/cgroup")
        .expect("cgroups")
        .flatten()
        .flat_map(|entry| fs::read_dir(entry.path()).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains(name))
        .collect();
    assert!(groups.is_empty(), "{when}: {groups:?}");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!mounts.contains(&word), "{when}: {mounts}");
    let secrets: Vec<_> = fs::read_dir("/dev/shm")
        .expect("shm")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().contains(name))
        .collect();
    assert!(secrets.is_empty(), "{when}: {secrets:?}");
}

#[test]
fn a_run_that_is_killed_anywhere_leaves_nothing() {
    let Some(place) = Place::new() else { return };
    let workspace = place.path("workspace");
    fs::create_dir_all(workspace.join("sub")).expect("mkdir");
    fs::write(workspace.join("sub/file"), "text\n").expect("write");
    fs::write(place.path("secret"), "secret").expect("write");
    let secret = format!("{}:/run/secrets/s", place.path("secret").display());
    let script = format!("sleep 0.01; : marker-{}", place.name());
    let args = [
        "run",
        "--name",
        place.name(),
        "--workspace",
        workspace.to_str().expect("UTF-8"),
        "--workspace-mode",
        "copy-in-out",
        "--secret",
        &secret,
        "--",
        "sh",
        "-c",
        &script,
    ];
    let all = calls(&place, &args);
    assert!(all > 150, "{all}");
    for number in (1..=all).step_by(stride()) {
        killed_at(&place, number, &args);
        expect_clean(&place, &format!("before call {number} of {all}"));
        // Nothing was changed: only a copy that was not finished could be in the way, and it is not.
        if !place.left_in("workspaces").is_empty() {
            place.nucleus(&["workspace", "drop", place.name()]).exits(0);
        }
        assert_eq!(
            fs::read_to_string(workspace.join("sub/file")).expect("file"),
            "text\n"
        );
    }
}

#[test]
fn a_detached_start_that_is_killed_anywhere_is_removed_by_rm() {
    let Some(place) = Place::new() else { return };
    let name = place.name().to_owned();
    let script = format!("sleep 1000; : marker-{name}");
    for command in [&["run", "--detach"][..], &["create"]] {
        let mut args = command.to_vec();
        args.extend_from_slice(&["--name", &name, "--", "sh", "-c", &script]);
        let all = calls(&place, &args);
        place.nucleus(&["rm", "--force", &name]).exits(0);
        for number in (1..=all).step_by(stride()) {
            killed_at(&place, number, &args);
            // A runtime that was on its way goes on to where it notices, or to the end.
            eventually(
                &format!("rm removes it, {command:?} before call {number}"),
                || place.nucleus(&["rm", "--force", &name]).code == 0,
            );
            expect_clean(&place, &format!("{command:?} before call {number} of {all}"));
        }
    }
}

/// The command begins when its promises were seen to be kept, or not at all.
#[test]
fn a_start_that_is_killed_anywhere_lets_nothing_begin_unseen() {
    let Some(place) = Place::new() else { return };
    let name = place.name().to_owned();
    let script = format!("echo began; sleep 1000; : marker-{name}");
    let create = [
        "create",
        "--mode",
        "strict-agent",
        "--name",
        &name,
        "--",
        "sh",
        "-c",
        &script,
    ];
    let events = place.path("events");
    let start = ["start", "--events", events.to_str().expect("UTF-8"), &name];
    place.nucleus(&create).exits(0);
    let all = calls(&place, &start);
    place.nucleus(&["rm", "--force", &name]).exits(0);
    for number in (1..=all).step_by(3 * stride()) {
        let _ = fs::remove_file(&events);
        place.nucleus(&create).exits(0);
        killed_at(&place, number, &start);
        let seen = fs::read_to_string(&events)
            .unwrap_or_default()
            .contains("\"checked\"");
        // A runtime that was on its way goes on to its end.
        eventually(&format!("it settles, before call {number}"), || {
            let state = place.nucleus(&["state", &name]).stdout;
            state.contains("\"created\"") || state.contains("\"stopped\"") || seen
        });
        let began = place.nucleus(&["logs", &name]).stdout;
        assert!(seen || began.is_empty(), "before call {number} of {all}: {began}");
        place.nucleus(&["rm", "--force", &name]).exits(0);
        expect_clean(&place, &format!("start before call {number} of {all}"));
    }
}

#[test]
fn a_commit_that_is_killed_anywhere_is_begun_again() {
    let Some(place) = Place::new() else { return };
    let workspace = place.path("workspace");
    let name = place.name().to_owned();
    let run = [
        "run",
        "--name",
        &name,
        "--workspace",
        workspace.to_str().expect("UTF-8"),
        "--workspace-mode",
        "copy-in-out",
        "--",
        "sh",
        "-c",
        "echo new > a; rm b; mkdir -p d/e; echo in > d/e/f; ln -s a l; chmod 755 c; rm -r gone; echo x > gone",
    ];
    let fresh = || {
        let _ = fs::remove_dir_all(&workspace);
        fs::create_dir_all(workspace.join("gone/deep")).expect("mkdir");
        for file in ["a", "b", "c", "gone/deep/file"] {
            fs::write(workspace.join(file), "old\n").expect("write");
        }
        place.nucleus(&run).exits(0);
    };
    let commit = ["workspace", "commit", &name];
    fresh();
    let all = calls(&place, &commit);
    for number in (1..=all).step_by(stride()) {
        fresh();
        killed_at(&place, number, &commit);
        // Every file is the old one or the new one.
        for (file, texts) in [("a", ["old\n", "new\n"]), ("b", ["old\n", ""])] {
            let text = fs::read_to_string(workspace.join(file)).unwrap_or_default();
            assert!(
                texts.contains(&text.as_str()),
                "before call {number}: {file} is {text:?}"
            );
        }
        let again = place.nucleus(&commit);
        assert!(
            again.code == 0 || again.stderr.contains("no workspace copy"),
            "before call {number} of {all}: {again:?}"
        );
        // What was swept half removed is removed by the next call.
        place.nucleus(&["workspace", "list"]).exits(0);
        assert!(place.left_in("workspaces").is_empty(), "before call {number}");
        assert_eq!(fs::read_to_string(workspace.join("a")).expect("a"), "new\n");
        assert_eq!(fs::read_to_string(workspace.join("d/e/f")).expect("f"), "in\n");
        assert_eq!(fs::read_to_string(workspace.join("gone")).expect("gone"), "x\n");
        assert!(!workspace.join("b").exists());
        let mut names: Vec<_> = fs::read_dir(&workspace)
            .expect("read")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["a", "c", "d", "gone", "l"], "before call {number}");
    }
}

/// A mount in its directory keeps it from being removed.
#[test]
fn one_that_cannot_be_removed_is_told_of_and_keeps_nobody_from_starting() {
    let Some(place) = Place::new() else { return };
    place.sh(&[], "true").exits(0);
    let stuck = place.root().join("sandboxes/stuck/mount");
    fs::create_dir_all(&stuck).expect("mkdir");
    let script = "mount -t tmpfs none \"$1\" && shift && exec \"$@\"";
    let held = |args: &[&str]| -> support::Finished {
        let command = place.command(args);
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", script, "sh"])
            .arg(&stuck)
            .arg(command.get_program())
            .args(command.get_args())
            .output();
        output.expect("start unshare").into()
    };
    let ran = held(&["run", "--", "echo", "ran"]);
    assert_eq!(ran.exits(0), "ran\n");
    for word in ["warning: stuck was left behind", "busy", "nucleus rm stuck"] {
        assert!(ran.stderr.contains(word), "{word}: {ran:?}");
    }
    assert_eq!(held(&["--quiet", "run", "--", "true"]).stderr, "");
    held(&["rm", "stuck"]).fails_with(&["stuck", "busy"]);
    place.nucleus(&["rm", "stuck"]).exits(0);
    assert_eq!(place.sh(&[], "true").stderr, "");
}

/// The runtime is started while a request is decided.
#[test]
fn no_runtime_stays_of_a_request_that_is_refused() {
    let Some(place) = Place::new() else { return };
    place.sh(&[], "true").exits(0);
    let word = place.path("").display().to_string();
    for option in [["--memory", "much"], ["--workspace", "/nowhere"]] {
        let finished = place.sh(&option, "true");
        assert!(
            finished.code == 1 && !finished.stderr.contains("config-fd"),
            "{finished:?}"
        );
        assert_eq!(processes(&word), Vec::<String>::new());
        place.expect_nothing_left();
    }
}
