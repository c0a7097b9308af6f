//! Bad input: exit code 1, one line on the standard error that names the thing, the same message whole in the
//! JSON log, and nothing left behind.

mod support;

use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use support::Host;
use support::refusal::{one_line, refused};

#[test]
fn bad_command_lines() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|_| {});
    let bundle = bundle.path();
    let long = "x".repeat(1025);
    let table: &[(&[&str], &[&str])] = &[
        (&["nope"], &["nope"]),
        (&["stat", "x"], &["stat", "did you mean", "start"]),
        (&["state"], &["ID", "state --help"]),
        (&["state", "a", "b"], &["'b'"]),
        (&["state", "--nope", "a"], &["--nope", "state --help"]),
        (&["run", "--bundel", bundle, "a"], &["--bundel", "--bundle"]),
        (
            &["run", "--preserve-fds", "some", "a"],
            &["--preserve-fds", "some"],
        ),
        (&["run", "--bundle", bundle, "a/b"], &["a/b"]),
        (&["run", "--bundle", bundle, "../a"], &["../a"]),
        (&["run", "--bundle", bundle, ".."], &["\"..\""]),
        (&["run", "--bundle", bundle, ""], &["id"]),
        (&["run", "--bundle", bundle, "a b"], &["a b"]),
        (&["run", "--bundle", bundle, &long], &["1024"]),
        (
            &["run", "--bundle", "/does/not/exist", "a"],
            &["/does/not/exist", "No such file"],
        ),
        (
            &["run", "--bundle", "/etc/passwd", "a"],
            &["/etc/passwd", "not a directory"],
        ),
        (
            &[
                "create",
                "--bundle",
                bundle,
                "--pid-file",
                "/does/not/exist/pid",
                "a",
            ],
            &["/does/not/exist/pid"],
        ),
        (
            &[
                "create",
                "--bundle",
                bundle,
                "--console-socket",
                "/does/not/exist",
                "a",
            ],
            &["console-socket"],
        ),
        (&["start", "a"], &["\"a\"", "does not exist"]),
        (&["state", "a"], &["\"a\"", "does not exist"]),
        (&["kill", "a", "TERM"], &["\"a\"", "does not exist"]),
        (&["kill", "a", "NOPE"], &["NOPE"]),
        (&["kill", "a", "99"], &["99"]),
        (&["kill", "a", "-9"], &["-9"]),
        (&["delete", "a"], &["\"a\"", "does not exist"]),
        (&["exec", "a", "true"], &["\"a\"", "does not exist"]),
        (&["exec", "--user", "root", "a", "true"], &["a"]),
        (&["pause", "a"], &["\"a\"", "does not exist"]),
        (&["resume", "a"], &["\"a\"", "does not exist"]),
        (&["update", "--memory", "1M", "a"], &["\"a\"", "does not exist"]),
        (&["update", "--memory", "much", "a"], &["--memory", "much"]),
        (&["events", "--interval", "0", "a"], &["--interval"]),
        (&["ps", "a"], &["\"a\"", "does not exist"]),
        (&["list", "--format", "yaml"], &["yaml", "table", "json"]),
        (
            &["spec", "--bundle", "/does/not/exist"],
            &["/does/not/exist/config.json"],
        ),
        (&["restore", "a"], &["not supported yet"]),
    ];
    for (args, named) in table {
        let message = refused(&host, args, "a");
        for word in *named {
            assert!(
                message.to_lowercase().contains(&word.to_lowercase()),
                "{args:?}: {message:?} does not name {word:?}"
            );
        }
    }
    assert!(!host.root().exists() || fs::read_dir(host.root()).unwrap().next().is_none());
}

#[test]
fn options_before_the_command() {
    let Some(host) = Host::new() else { return };
    let table: &[(&[&str], &str)] = &[
        (&["--nope", "list"], "--nope"),
        (&["--log-format", "xml", "list"], "xml"),
        (&["--log", "/does/not/exist/log", "list"], "/does/not/exist/log"),
        (&["--rootless", "perhaps", "list"], "perhaps"),
    ];
    for (args, named) in table {
        let message = one_line(&host.run(args));
        assert!(message.contains(named), "{args:?}: {message}");
    }
}

#[test]
fn without_a_log_file_json_goes_to_the_standard_error() {
    let Some(host) = Host::new() else { return };
    let finished = host.run(&["--log-format", "json", "state", "nope"]);
    let line: Value =
        serde_json::from_str(&finished.stderr).unwrap_or_else(|error| panic!("{error}: {finished}"));
    assert_eq!(line["level"], "error");
    assert!(
        line["msg"].as_str().unwrap().contains("\"nope\" does not exist"),
        "{finished}"
    );
}

#[test]
fn a_used_id_is_refused_and_the_container_goes_on() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|_| {});
    let bundle = host.bundle(|_| {});
    for command in ["run", "create"] {
        let message = one_line(&host.run(&[command, "--bundle", bundle.path(), &id]));
        assert!(
            message.contains("already exists") && message.contains(&id),
            "{message}"
        );
    }
    assert_eq!(host.state(&id)["status"], "running");
    assert_eq!(host.ok(&["exec", &id, "echo", "alive"]), "alive\n");
}

#[test]
fn a_deleted_bundle_does_not_keep_a_container_from_its_end() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    let id = host.id();
    host.ok(&["create", "--bundle", bundle.path(), &id]);
    fs::remove_file(bundle.file("config.json")).unwrap();
    host.ok(&["start", &id]);
    assert_eq!(host.state(&id)["status"], "running");
    fs::remove_dir_all(bundle.path()).unwrap();
    host.ok(&["kill", &id, "KILL"]);
    support::eventually("it stops", || host.state(&id)["status"] == "stopped");
    host.ok(&["delete", &id]);
    assert_eq!(host.leftovers(&id), Vec::<String>::new());
}

#[test]
fn a_profile_that_refuses_the_program_itself_is_told() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| {
        config["process"]["noNewPrivileges"] = json!(true);
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["read", "write", "exit_group"], "action": "SCMP_ACT_ALLOW"}],
        });
    });
    let id = host.id();
    let message = refused(&host, &["run", "--bundle", bundle.path(), &id], &id);
    assert!(
        message.contains("exec") && message.contains("operation not permitted (EPERM)"),
        "{message}"
    );
}

#[test]
fn a_bundle_deleted_before_create_is_named() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|_| {});
    fs::remove_dir_all(bundle.path()).unwrap();
    let id = host.id();
    let message = refused(&host, &["create", "--bundle", bundle.path(), &id], &id);
    assert!(message.contains(bundle.path()), "{message}");
}

#[test]
fn a_bundle_whose_path_no_state_can_tell_is_named() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|_| {});
    let odd = host.directory().join(OsStr::from_bytes(b"odd\xff"));
    fs::rename(bundle.path(), &odd).unwrap();
    let id = host.id();
    let args = ["run", "--bundle"].map(OsStr::new);
    let run = host.run(&[args[0], args[1], odd.as_os_str(), OsStr::new(&id)]);
    assert_eq!(run.code, 1, "{run}");
    assert!(
        run.stderr.contains("odd\\xFF\": a path that is not UTF-8"),
        "{run}"
    );
    assert_eq!(host.leftovers(&id), Vec::<String>::new());
}

#[test]
fn operations_that_the_status_forbids() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    let (created, running) = (host.id(), host.running(|_| {}));
    host.ok(&["create", "--bundle", bundle.path(), &created]);
    let stopped = host.running(|_| {});
    host.ok(&["kill", &stopped, "KILL"]);
    support::eventually("it stops", || host.state(&stopped)["status"] == "stopped");
    let table: &[(&[&str], &str)] = &[
        (&["resume", &created], "created"),
        (&["start", &running], "running"),
        (&["delete", &running], "running"),
        (&["resume", &running], "running"),
        (&["start", &stopped], "stopped"),
        (&["kill", &stopped, "TERM"], "container not running"),
        (&["exec", &stopped, "true"], "stopped"),
        (&["pause", &stopped], "stopped"),
        (&["update", "--pids-limit", "5", &stopped], "stopped"),
        (&["events", "--stats", &stopped], "stopped"),
    ];
    for (args, status) in table {
        let finished = host.run(args);
        assert_ne!(finished.code, 0, "{finished}");
        assert!(finished.stderr.contains(status), "{finished}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
    }
}

/// Fills a tmpfs up to some pages and runs the command with its states there, all in a mount namespace of its
/// own. Prints what is left there.
const FULL: &str = r#"
root=$1 free=$2; shift 2
mkdir -p "$root" && mount -t tmpfs -o size=64k tmpfs "$root" || exit 99
dd if=/dev/zero of="$root/filler" bs=4096 count=$((16 - free)) 2>/dev/null
"$@" >&2
code=$?
ls -A "$root"
exit $code
"#;

#[test]
fn a_full_disk_for_the_state() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|_| {});
    let root = host.directory().join("full");
    let root = root.to_str().unwrap();
    let mut codes = Vec::new();
    for free in ["0", "1", "2", "3", "4", "16"] {
        let id = host.id();
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                FULL,
                "sh",
                root,
                free,
            ])
            .args([
                support::PROGRAM,
                "--root",
                root,
                "run",
                "--bundle",
                bundle.path(),
                &id,
            ]);
        let finished = support::finish(command);
        assert_eq!(finished.stdout, "filler\n", "no state stays: {finished}");
        if finished.code != 0 {
            assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
            assert!(finished.stderr.contains(&format!("{root}/{id}")), "{finished}");
            assert!(finished.stderr.contains("No space left on device"), "{finished}");
        }
        assert_eq!(host.leftovers(&id), Vec::<String>::new());
        codes.push(finished.code);
    }
    assert_eq!((codes[0], codes[5]), (1, 0), "full and empty: {codes:?}");
}
