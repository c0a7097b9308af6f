//! `nucleus run`: what the sandbox has, what it keeps out, how endings are told, and that nothing is left.

mod support;

use rustix::fs::{CWD, FileType, Mode};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use support::{Place, events, eventually};

#[test]
fn streams_arguments_and_the_exit_code_pass_through() {
    let Some(place) = Place::new() else { return };
    let finished = place.sh(&["--env", "A=b c"], "echo \"$A\"; echo err >&2; exit 7");
    assert_eq!(finished.exits(7), "b c\n");
    assert_eq!(finished.stderr, "err\n");
    let mut command = place.command(&["run", "--", "cat"]);
    let input = place.path("input");
    fs::write(&input, "through\n").expect("write");
    command.stdin(fs::File::open(&input).expect("open"));
    assert_eq!(
        support::Finished::from(command.output().expect("run")).exits(0),
        "through\n"
    );
}

#[test]
fn a_standard_error_that_takes_nothing_changes_no_end_and_leaves_nothing() {
    let Some(place) = Place::new() else { return };
    let full = || fs::File::options().write(true).open("/dev/full").expect("open");
    let killed = ["run", "--init", "--", "sh", "-c", "kill -KILL $$"];
    let timed = ["run", "--timeout", "0.2", "--", "sleep", "60"];
    for (args, code) in [(&killed[..], 137), (&timed, 124), (&["run", "--no-such-flag"], 1)] {
        let status = place.command(args).stderr(full()).status().expect("start");
        assert_eq!(status.code(), Some(code), "{args:?}");
        place.expect_nothing_left();
    }
}

#[test]
fn a_program_that_is_missing_or_may_not_run_ends_as_in_a_shell() {
    let Some(place) = Place::new() else { return };
    for (program, code) in [
        ("no-such-program", 127),
        ("/no/such/program", 127),
        ("/etc/passwd", 126),
        ("/etc", 126),
    ] {
        for mode in ["agent", "strict-agent"] {
            let finished = place.nucleus(&["run", "--mode", mode, "--", program]);
            finished.exits(code);
            assert!(finished.stderr.contains(program), "{finished:?}");
        }
    }
}

#[test]
fn a_root_may_be_a_relative_path() {
    let Some(place) = Place::new() else { return };
    fs::create_dir(place.path("workspace")).expect("mkdir");
    let copying = ["--workspace", "workspace", "--workspace-mode", "copy-in-out"];
    for options in [
        &[][..],
        &copying,
        &["--init", "--report", "report"],
        &["--detach"],
    ] {
        let mut command = std::process::Command::new(support::NUCLEUS);
        command
            .args(["--root", "root", "run", "--name", place.name()])
            .args(options);
        let status = command.args(["--", "true"]).current_dir(place.path("")).status();
        assert_eq!(status.expect("start").code(), Some(0), "{options:?}");
    }
    place.nucleus(&["rm", "--force", place.name()]).exits(0);
}

#[test]
fn a_workspace_is_changed_as_its_owner() {
    let Some(place) = Place::new() else { return };
    let workspace = place.path("workspace");
    fs::create_dir(&workspace).expect("mkdir");
    chown(&workspace, Some(12_345), Some(12_346)).expect("chown");
    let workspace = workspace.to_str().expect("UTF-8");
    place
        .sh(&["--workspace", workspace], "pwd; id -u; echo new > made")
        .exits(0);
    let made = fs::metadata(format!("{workspace}/made")).expect("made");
    assert_eq!((made.uid(), made.gid()), (12_345, 12_346));
    let finished = place.sh(
        &["--workspace", workspace, "--workspace-mode", "bind-ro"],
        "cat made; echo x > made",
    );
    assert_ne!(finished.code, 0);
    assert_eq!(finished.stdout, "new\n");
    let script = "cp /bin/true run && ./run";
    assert_eq!(place.sh(&["--workspace", workspace], script).code, 126);
    place
        .sh(&["--workspace", workspace, "--workspace-exec"], script)
        .exits(0);
}

#[test]
fn a_context_is_a_copy_and_a_volume_is_not() {
    let Some(place) = Place::new() else { return };
    let directory = place.path("context");
    fs::create_dir(&directory).expect("mkdir");
    fs::write(directory.join("file"), "before\n").expect("write");
    chown(&directory, Some(12_345), Some(12_345)).expect("chown");
    let directory = directory.to_str().expect("UTF-8");
    let finished = place.sh(&["--context", directory], "cat file; echo after > new; ls");
    assert_eq!(finished.exits(0), "before\nfile\nnew\n");
    assert!(!place.path("context/new").exists(), "the copy was no copy");
    let volume = format!("{directory}:/data");
    place.sh(&["--volume", &volume], "echo kept > /data/new").exits(0);
    assert_eq!(
        fs::read_to_string(place.path("context/new")).expect("new"),
        "kept\n"
    );
    let volume = format!("{directory}:/data:ro");
    assert_ne!(place.sh(&["--volume", &volume], "echo x > /data/new").code, 0);
}

#[test]
fn a_secret_is_in_memory_for_the_workload_alone() {
    let Some(place) = Place::new() else { return };
    let source = place.path("token");
    fs::write(&source, "s3cret").expect("write");
    let secret = format!("{}:/run/secrets/token", source.display());
    let finished = place.sh(
        &["--secret", &secret, "--name", "keeper"],
        "cat /run/secrets/token; stat -c ' %a %u' /run/secrets/token; stat -f -c %T /run/secrets/token",
    );
    assert_eq!(finished.exits(0), "s3cret 400 1000\ntmpfs\n");
    let left = fs::read_dir("/dev/shm")
        .expect("shm")
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().contains("keeper"));
    assert!(!left, "the secret stays in memory");
    // Nobody is waited for, and the host's memory is not filled.
    let (pipe, large) = (place.path("pipe"), place.path("large"));
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::from(0o600), 0).expect("mkfifo");
    let file = fs::File::create(&large).expect("create");
    file.set_len((1 << 20) + 1).expect("ftruncate");
    for (source, what) in [(pipe, "not a regular file"), (large, "more than 1048576 bytes")] {
        let secret = format!("{}:/run/secrets/token", source.display());
        place
            .sh(&["--secret", &secret], "true")
            .fails_with(&["secret: ", what]);
    }
}

#[test]
fn endings_are_told_apart() {
    let Some(place) = Place::new() else { return };
    let log = place.path("events");
    let log = log.to_str().expect("UTF-8");
    let inner = |script: &str| format!("({script}); code=$?; exit $code");
    let table: [(&[&str], String, i32, &str); 5] = [
        (&[], "exit 0".into(), 0, "exited"),
        (&[], inner("exit 3"), 3, "exited"),
        (&["--timeout", "300ms"], "sleep 100".into(), 1, ""),
        (&["--timeout", "0.3"], "exec sleep 100".into(), 124, "timed-out"),
        (
            &["--pids", "4"],
            "sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait".into(),
            2,
            "pids-limit",
        ),
    ];
    for (options, script, code, reason) in table {
        let _ = fs::remove_file(log);
        let mut all = vec!["--events", log];
        all.extend_from_slice(options);
        let finished = place.sh(&all, &script);
        finished.exits(code);
        if reason.is_empty() {
            continue;
        }
        let events = events(std::path::Path::new(log));
        let names: Vec<&str> = events
            .iter()
            .filter_map(|event| event["event"].as_str())
            .collect();
        let mut expected = vec!["created", "started", "exited", "cleaned-up"];
        if reason == "pids-limit" {
            expected.insert(2, "limit-hit");
        }
        assert_eq!(names, expected, "{script}");
        assert_eq!(events[names.len() - 2]["reason"], reason, "{script}");
    }
}

#[test]
fn too_much_memory_is_told() {
    let Some(place) = Place::new() else { return };
    let log = place.path("events");
    let log = log.to_str().expect("UTF-8");
    let finished = place.sh(
        &["--memory", "16M", "--events", log],
        "head -c 100M /dev/zero | tail -c 90M",
    );
    assert_ne!(finished.code, 0, "{finished:?}");
    assert!(finished.stderr.contains("out of memory"), "{finished:?}");
    let seen = events(std::path::Path::new(log));
    assert_eq!(seen[2]["limit"], "memory", "{seen:?}");
    assert_eq!(seen[3]["reason"], "out-of-memory", "{seen:?}");
}

#[test]
fn a_killed_front_end_takes_the_workload_along_and_the_next_call_cleans_up() {
    let Some(place) = Place::new() else { return };
    let mark = place.path("mark");
    fs::create_dir(&mark).expect("mkdir");
    chown(&mark, Some(12_345), Some(12_345)).expect("chown");
    let volume = format!("{}:/mark", mark.display());
    let script = "echo $$ > /mark/up; while :; do sleep 0.05; date +%N > /mark/beat; done";
    let mut child = place
        .command(&["run", "--volume", &volume, "--", "sh", "-c", script])
        .spawn()
        .expect("start");
    eventually("the workload runs", || mark.join("beat").exists());
    child.kill().expect("SIGKILL");
    child.wait().expect("wait");
    eventually("the runtime has removed the container", || {
        fs::read_dir(place.root().join("runtime")).is_ok_and(|mut entries| entries.next().is_none())
    });
    let beat = || fs::read_to_string(mark.join("beat")).expect("beat");
    let before = beat();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(before, beat(), "the workload lives on");
    place.sh(&[], "true").exits(0);
    place.expect_nothing_left();
}

#[test]
fn signals_reach_the_workload() {
    let Some(place) = Place::new() else { return };
    let mark = place.path("mark");
    fs::create_dir(&mark).expect("mkdir");
    let volume = format!("{}:/mark", mark.display());
    let script = "trap 'exit 9' TERM; echo > /mark/up; while :; do sleep 0.05; done";
    let mut child = place
        .command(&["run", "--volume", &volume, "--", "sh", "-c", script])
        .spawn()
        .expect("start");
    eventually("the workload runs", || mark.join("up").exists());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
    assert_eq!(child.wait().expect("wait").code(), Some(9));
}

#[test]
fn a_detached_sandbox_is_listed_entered_stopped_and_removed() {
    let Some(place) = Place::new() else { return };
    place
        .nucleus(&[
            "run",
            "--detach",
            "--name",
            "one",
            "--",
            "sh",
            "-c",
            "echo hello; exec sleep 1000",
        ])
        .exits(0);
    assert!(place.nucleus(&["ps"]).exits(0).contains("one"));
    eventually("its output is in the log", || {
        place.nucleus(&["logs", "one"]).stdout == "hello\n"
    });
    assert_eq!(place.nucleus(&["exec", "one", "id", "-u"]).exits(0), "1000\n");
    place.nucleus(&["exec", "one", "sh", "-c", "exit 5"]).exits(5);
    place
        .nucleus(&["run", "--name", "one", "--", "true"])
        .fails_with(&["there is a sandbox with the name \"one\""]);
    place.nucleus(&["rm", "one"]).fails_with(&["it is running"]);
    let state: serde_json::Value =
        serde_json::from_str(place.nucleus(&["state", "one"]).exits(0)).expect("JSON");
    assert_eq!(state["status"], "running");
    assert_eq!(state["annotations"]["dev.nucleus.mode"], "agent");
    place.nucleus(&["kill", "one", "KILL"]).exits(0);
    place.nucleus(&["stop", "--time", "5", "one"]);
    place.nucleus(&["rm", "one"]).exits(0);
    place
        .nucleus(&["state", "one"])
        .fails_with(&["no sandbox with the name \"one\""]);
}

#[test]
fn what_is_wrong_with_a_request_is_told_at_once_and_leaves_nothing() {
    let Some(place) = Place::new() else { return };
    place
        .nucleus(&["run", "--mode", "production", "--network", "host", "--", "true"])
        .fails_with(&["network:", "rootfs:", "user:", "memory:"]);
    // What is wrong with the policies belongs to it: each of them, a pin that production demands among it.
    let (profile, caps) = (place.path("seccomp.json"), place.path("caps.toml"));
    fs::write(&profile, r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).expect("write");
    fs::write(&caps, "keep = [\"CAP_NOTHING\"]\n").expect("write");
    let (profile, caps) = (profile.to_str().expect("UTF-8"), caps.to_str().expect("UTF-8"));
    let options = ["--mode", "production", "--seccomp-profile", profile];
    let policies = ["--caps-policy", caps, "--landlock-policy", "/nowhere.toml"];
    place
        .nucleus(&[&["run"], &options[..], &policies, &["--", "true"]].concat())
        .fails_with(&[
            "\n  rootfs: ",
            "\n  memory: ",
            "\n  seccomp policy",
            "it must be pinned",
            "\n  capabilities policy",
            "\n  landlock policy \"/nowhere.toml\": cannot be read",
        ]);
    place
        .sh(&["--memory", "lots", "--policy-lock-sha256", "abc"], "true")
        .fails_with(&["\n  memory: ", "\n  policy-lock-sha256: not a SHA-256 digest"]);
    place
        .nucleus(&[
            "run",
            "--memory",
            "lots",
            "--timeout",
            "soon",
            "--volume",
            "a",
            "--cpus",
            "0",
            "--",
            "true",
        ])
        .fails_with(&["memory:", "timeout:", "volume:", "cpus:"]);
    let table: [(&[&str], &str); 10] = [
        (&["--user", "4294967295"], "user: not below 65536"),
        (&["--detach", "--timeout", "5s"], "timeout: not with --detach"),
        (&["--network", "host"], "--allow-host-network"),
        (&["--rootfs", "/no/where"], "/no/where"),
        (&["--runtime", "/no/where"], "/no/where"),
        (&["--workdir", "relative"], "workdir"),
        (&["--name", "a/b"], "name"),
        (&["--seccomp-profile", "/nowhere.json"], "/nowhere.json"),
        (&["--config", "/nowhere.toml"], "/nowhere.toml"),
        (&["--secret", "/etc:/run/secrets/x"], "a directory"),
    ];
    for (options, word) in table {
        let mut args = vec!["run"];
        args.extend_from_slice(options);
        args.extend_from_slice(&["--", "true"]);
        place.nucleus(&args).fails_with(&[word]);
    }
    place.nucleus(&["run"]).fails_with(&["command"]);
    // A flag that does not exist is not the command.
    place
        .nucleus(&["run", "--memroy", "1G", "--", "true"])
        .fails_with(&["--memroy"]);
    let log = ["run", "--events", "/no/where", "--", "true"];
    place.nucleus(&log).fails_with(&["open /no/where"]);
    let lock = ["policy", "lock", "--output", "/no/where"];
    place.nucleus(&lock).fails_with(&["create /no/where"]);
}

#[test]
fn a_pin_that_does_not_match_keeps_the_workload_from_starting() {
    let Some(place) = Place::new() else { return };
    let policy = place.path("caps.toml");
    fs::write(&policy, "keep = []\n").expect("write");
    let policy = policy.to_str().expect("UTF-8");
    let wrong = "0".repeat(64);
    place
        .sh(&["--caps-policy", policy, "--caps-policy-sha256", &wrong], "true")
        .fails_with(&[&wrong, "caps.toml"]);
    let lock = place.path("policy.lock");
    let lock = lock.to_str().expect("UTF-8");
    place
        .nucleus(&["policy", "lock", "--caps-policy", policy, "--output", lock])
        .exits(0);
    place.sh(&["--policy-lock", lock], "true").exits(0);
    fs::write(policy, "keep = [\"CAP_NET_ADMIN\"]\n").expect("write");
    place
        .sh(&["--policy-lock", lock], "true")
        .fails_with(&["caps.toml"]);
}

#[test]
fn a_launch_configuration_is_the_flags_in_a_file() {
    let Some(place) = Place::new() else { return };
    let config = place.path("launch.toml");
    fs::write(
        &config,
        "mode = 'strict-agent'\nhostname = 'from-file'\nenv = ['A=1']\ncommand = ['sh', '-c', 'hostname; echo $A']\n",
    )
    .expect("write");
    let config = config.to_str().expect("UTF-8");
    assert_eq!(
        place.nucleus(&["run", "--config", config]).exits(0),
        "from-file\n1\n"
    );
    let finished = place.nucleus(&["run", "--config", config, "--hostname", "flag", "--env", "A=2"]);
    assert_eq!(finished.exits(0), "flag\n2\n");
    fs::write(place.path("bad.toml"), "memmory = '1G'\n").expect("write");
    let bad = place.path("bad.toml");
    place
        .nucleus(&["run", "--config", bad.to_str().expect("UTF-8"), "--", "true"])
        .fails_with(&["memmory"]);
}

#[test]
fn a_bundle_runs_under_the_runtime_and_is_compared() {
    let Some(place) = Place::new() else { return };
    let output = place.path("app");
    let output = output.to_str().expect("UTF-8");
    let args = [
        "bundle",
        "--output",
        output,
        "--",
        "sh",
        "-c",
        "echo from the bundle",
    ];
    place.nucleus(&args).exits(0);
    let mut check = vec!["bundle", "--check"];
    check.extend_from_slice(&args[1..]);
    assert_eq!(place.nucleus(&check).exits(0), "");
    check[3] = output;
    check.insert(4, "--hostname=other");
    let compared = place.nucleus(&check);
    assert!(compared.exits(1).contains("/hostname"), "{compared:?}");
    let runtime = std::path::Path::new(support::NUCLEUS).with_file_name("nucleus-runtime");
    let finished: support::Finished = std::process::Command::new(runtime)
        .arg("--root")
        .arg(place.root().join("runtime"))
        .args(["run", "--bundle", output, "front-end-bundle"])
        .output()
        .expect("run")
        .into();
    assert_eq!(finished.exits(0), "from the bundle\n");
}
