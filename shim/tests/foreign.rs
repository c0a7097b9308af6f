//! Sandboxes under runc, crun and gVisor: everything that is done with one of ours is done with theirs, and what
//! they cannot do is refused or told.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{Finished, Place, events, eventually};

/// A runtime's name, and the options that choose it.
type Choice = (&'static str, &'static [&'static str]);

/// Options that choose a runtime; crun 1.8 takes no host with both versions of control groups.
const RUNTIMES: [Choice; 3] = [
    (
        "runc",
        &["--allow-degraded-security", "--runtime", "/usr/sbin/runc"],
    ),
    (
        "crun",
        &["--allow-degraded-security", "--runtime", "/usr/bin/crun"],
    ),
    (
        "gvisor",
        &[
            "--allow-degraded-security",
            "--runtime",
            "gvisor",
            "--gvisor-platform",
            "ptrace",
        ],
    ),
];

/// The runtimes that are installed, in a place that their containers' users reach.
fn installed() -> Option<(Place, Vec<Choice>)> {
    let place = Place::new()?;
    fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o711)).expect("chmod");
    let there = |name: &str| match name {
        "gvisor" => Path::new("/usr/bin/runsc").exists(),
        name => ["/usr/bin", "/usr/sbin"]
            .iter()
            .any(|directory| Path::new(directory).join(name).exists()),
    };
    let (found, missing): (Vec<_>, Vec<_>) = RUNTIMES.into_iter().partition(|(name, _)| there(name));
    let missing: Vec<&str> = missing.into_iter().map(|(name, _)| name).collect();
    assert!(
        missing.is_empty() || std::env::var_os("NUCLEUS_TESTS_MUST_RUN").is_none(),
        "not installed: {missing:?}"
    );
    Some((place, found))
}

/// `nucleus` in a mount namespace that shows version 1 of control groups only.
fn command(place: &Place, args: &[&str]) -> Command {
    let view = "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", view, "sh", support::NUCLEUS, "--root"]);
    command.arg(place.root()).args(args).stdin(Stdio::null());
    command
}

fn nucleus(place: &Place, args: &[&str]) -> Finished {
    command(place, args).output().expect("start nucleus").into()
}

#[test]
fn no_runtime_gives_the_callers_files_and_devices_away() {
    let Some((place, runtimes)) = installed() else {
        return;
    };
    let (input, output, device) = (place.path("input"), place.path("output"), place.path("device"));
    fs::write(&input, "in\n").expect("write");
    // As /dev/null.
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &device,
        rustix::fs::FileType::CharacterDevice,
        0o666.into(),
        rustix::fs::makedev(1, 3),
    )
    .expect("mknod");
    let name = place.name();
    for (kind, runtime) in runtimes {
        let run = |words: &[&str], from: &Path| {
            let mut command = command(&place, words);
            command.stdin(fs::File::open(from).expect("open"));
            command.stdout(fs::File::create(&output).expect("create"));
            command.stderr(fs::File::options().write(true).open(&device).expect("open"));
            let code = command.status().expect("start").code();
            for path in [&input, &output, &device] {
                let found = fs::metadata(path).expect("it is there");
                assert_eq!((found.uid(), found.gid()), (0, 0), "{kind}: {}", path.display());
            }
            (code, fs::read_to_string(&output).expect("read"))
        };
        let words = [&["run"], runtime, &["--", "cat"]].concat();
        assert_eq!(run(&words, &input), (Some(0), "in\n".to_owned()), "{kind}");
        assert_eq!(run(&words, &device), (Some(0), String::new()), "{kind}");
        let null = fs::metadata("/dev/null").expect("it is there").uid();
        let words = [
            &["run", "--detach", "--name", name],
            runtime,
            &["--", "sleep", "60"],
        ]
        .concat();
        assert_eq!(run(&words, &device), (Some(0), String::new()), "{kind}");
        assert_eq!(
            fs::metadata("/dev/null").expect("it is there").uid(),
            null,
            "{kind}"
        );
        // crun 1.8 enters none of these.
        if kind != "crun" {
            assert_eq!(
                run(&["exec", name, "cat"], &input),
                (Some(0), "in\n".to_owned()),
                "{kind}"
            );
        }
        nucleus(&place, &["rm", "--force", name]).exits(0);
    }
}

fn sh(place: &Place, runtime: &[&str], more: &[&str], script: &str) -> Finished {
    let mut args = vec!["--quiet", "run"];
    args.extend(runtime);
    args.extend(more);
    args.extend(["--", "sh", "-c", script]);
    nucleus(place, &args)
}

fn nothing_left(place: &Place) {
    place.expect_nothing_left();
    let open = fs::read_dir(place.path("root-open")).map_or(0, |entries| entries.count());
    assert_eq!(open, 0, "a root directory is left");
}

#[test]
fn streams_and_exit_codes_pass_through() {
    let Some((place, runtimes)) = installed() else {
        return;
    };
    let input = place.path("input");
    fs::write(&input, "through\n").expect("write");
    for (name, runtime) in runtimes {
        let mut args = vec!["--quiet", "run", "--env", "A=b c"];
        args.extend(runtime);
        args.extend(["--", "sh", "-c", "cat; echo \"$A\"; id -u; echo err >&2; exit 7"]);
        let mut command = command(&place, &args);
        command.stdin(fs::File::open(&input).expect("open"));
        let finished = Finished::from(command.output().expect("run"));
        assert_eq!(finished.exits(7), "through\nb c\n1000\n", "{name}");
        assert!(finished.stderr.ends_with("err\n"), "{name}: {finished:?}");
        // Into files as well, behind what is there.
        let out = place.path("out");
        fs::write(&out, "before\n").expect("write");
        let file = fs::File::options().append(true).open(&out).expect("open");
        let mut command = self::command(&place, &args);
        let status = command.stdout(file).stderr(Stdio::null()).status();
        assert_eq!(status.expect("run").code(), Some(7), "{name}");
        assert_eq!(
            fs::read_to_string(&out).expect("out"),
            "before\nb c\n1000\n",
            "{name}"
        );
        sh(&place, runtime, &[], "exec no-such-program").exits(127);
        nothing_left(&place);
    }
}

#[test]
fn time_limits_and_signals_are_supervised() {
    let Some((place, runtimes)) = installed() else {
        return;
    };
    let log = place.path("events");
    let path = log.to_str().expect("UTF-8");
    let mark = place.path("mark");
    fs::create_dir(&mark).expect("mkdir");
    fs::set_permissions(&mark, fs::Permissions::from_mode(0o777)).expect("chmod");
    let volume = format!("{}:/mark", mark.display());
    for (name, runtime) in runtimes {
        let _ = fs::remove_file(&log);
        let finished = sh(
            &place,
            runtime,
            &["--timeout", "0.5", "--events", path],
            "exec sleep 100",
        );
        finished.exits(124);
        let seen = events(&log);
        let names: Vec<&str> = seen.iter().filter_map(|event| event["event"].as_str()).collect();
        assert_eq!(names, ["created", "started", "exited", "cleaned-up"], "{name}");
        assert_eq!(seen[2]["reason"], "timed-out", "{name}");
        let _ = fs::remove_file(mark.join("up"));
        let mut args = vec!["--quiet", "run", "--volume", &volume];
        args.extend(runtime);
        let script = "trap 'exit 9' TERM; echo > /mark/up; while :; do sleep 0.05; done";
        args.extend(["--", "sh", "-c", script]);
        let mut child = command(&place, &args).spawn().expect("start");
        eventually("the workload runs", || mark.join("up").exists());
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
        assert_eq!(child.wait().expect("wait").code(), Some(9), "{name}");
        nothing_left(&place);
    }
}

/// As with our own runtime: what kills a workload is told apart, and `/tmp` is everybody's.
#[test]
fn endings_are_told_apart() {
    let Some((place, runtimes)) = installed() else {
        return;
    };
    let (log, profile) = (place.path("events"), place.path("profile.json"));
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_KILL"}]}"#;
    fs::write(&profile, text).expect("write");
    let (log_path, profile) = (log.to_str().expect("UTF-8"), profile.to_str().expect("UTF-8"));
    let killed: &[&str] = &["--seccomp-profile", profile];
    let eater = "exec tail /dev/zero";
    let forks = "for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done; wait";
    let table = [
        (killed, "exec mkdir /tmp/x", "seccomp", 159, true),
        (&["--init"], "kill -KILL $$", "signaled", 137, true),
        (&["--init"], "touch /tmp/x; exit 3", "exited", 3, true),
        (&[], "touch /tmp/x && exit 5", "exited", 5, true),
        // These are a control group's, and gVisor has none.
        (&["--memory", "64M"], eater, "out-of-memory", 137, false),
        (&["--pids", "4"], forks, "pids-limit", 2, false),
    ];
    for (name, runtime) in runtimes {
        for (options, script, reason, code, everywhere) in table {
            if name == "gvisor" && !everywhere {
                continue;
            }
            let _ = fs::remove_file(&log);
            let options = [&["--events", log_path], options].concat();
            let finished = sh(&place, runtime, &options, script);
            assert_eq!(finished.code, code, "{name} {script}: {finished:?}");
            let seen = events(&log);
            let exited = seen
                .iter()
                .find(|event| event["event"] == "exited")
                .expect("an event");
            assert_eq!(exited["reason"], reason, "{name} {script}: {exited}");
            // gVisor's kernel keeps to itself which call it was.
            if reason == "seccomp" && name != "gvisor" {
                assert_eq!(exited["system-call"], "mkdir", "{name}: {exited}");
            }
        }
        nothing_left(&place);
    }
}

/// Processes whose command line or control group has this word.
fn processes(word: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("proc").flatten();
    let found = entries.filter_map(|entry| {
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let line = [read("cmdline"), b" ".to_vec(), read("cgroup")].concat();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(word).then_some(line)
    });
    found.collect()
}

/// Also while the other runtime makes the container, and has no record of it yet.
#[test]
fn a_front_end_that_is_killed_at_any_moment_leaves_no_process() {
    let Some((place, runtimes)) = installed() else {
        return;
    };
    let name = place.name();
    for (runtime, options) in runtimes {
        for moment in 0..20 {
            let mut args = vec!["--quiet", "run", "--name", name];
            args.extend(options);
            args.extend(["--", "sleep", "1000"]);
            let mut child = command(&place, &args).spawn().expect("start");
            std::thread::sleep(Duration::from_millis(4 * moment));
            child.kill().expect("SIGKILL");
            child.wait().expect("wait");
            eventually(&format!("no process of {runtime} is left"), || {
                processes(name).is_empty()
            });
            nucleus(&place, &["rm", "--force", name]).exits(0);
            nothing_left(&place);
        }
    }
}

/// runc, with this in front of it: part of a `case` of all arguments.
fn runc_with(place: &Place, case: &str) -> Option<String> {
    if !Path::new("/usr/sbin/runc").exists() {
        return None;
    }
    fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o711)).expect("chmod");
    let runtime = place.path("runtime");
    let script = format!("#!/bin/sh\ncase \"$*\" in {case} esac\nexec /usr/sbin/runc \"$@\"\n");
    fs::write(&runtime, script).expect("write");
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).expect("chmod");
    Some(runtime.to_str().expect("UTF-8").to_owned())
}

/// Starts a sandbox, and kills `nucleus` when this file is there; then there is to be no process of it.
fn kill_when(place: &Place, runtime: &str, there: &Path) {
    let run = ["-q", "run", "--name", place.name(), "--allow-degraded-security"];
    let mut child = place
        .command(&[&run[..], &["--runtime", runtime, "--", "sleep", "1000"]].concat())
        .spawn()
        .expect("start");
    eventually("it is there", || there.exists());
    child.kill().expect("SIGKILL");
    child.wait().expect("wait");
    eventually("no process is left", || processes(place.name()).is_empty());
    place.nucleus(&["rm", "--force", place.name()]).exits(0);
}

/// As crun's does where the container is removed before it.
#[test]
fn a_start_that_waits_for_ever_ends_with_the_front_end() {
    let Some(place) = Place::new() else { return };
    let there = place.path("there");
    let case = format!(
        "*' start '*) touch {}; while :; do sleep 0.1; done;;",
        there.display()
    );
    let Some(runtime) = runc_with(&place, &case) else {
        return;
    };
    kill_when(&place, &runtime, &there);
}

/// crun's process would wait for ever for what was removed.
#[test]
fn nothing_is_removed_under_a_create_that_goes_on() {
    let Some(place) = Place::new() else { return };
    let (there, log) = (place.path("there"), place.path("log"));
    let case = format!(
        "*' create '*) touch {}; sleep 0.5;; *' delete '*) [ -e \"$2/{}\" ]; echo $? >>{log};;",
        there.display(),
        place.name(),
        log = log.display()
    );
    let Some(runtime) = runc_with(&place, &case) else {
        return;
    };
    kill_when(&place, &runtime, &there);
    let log = fs::read_to_string(&log).expect("a log");
    assert!(log.starts_with("0\n"), "removed before there was a record: {log}");
}

#[test]
fn a_killed_front_end_takes_the_workload_along() {
    let Some((place, runtimes)) = installed() else {
        return;
    };
    let mark = place.path("mark");
    fs::create_dir(&mark).expect("mkdir");
    fs::set_permissions(&mark, fs::Permissions::from_mode(0o777)).expect("chmod");
    let volume = format!("{}:/mark", mark.display());
    for (_, runtime) in runtimes {
        let _ = fs::remove_file(mark.join("beat"));
        let mut args = vec!["--quiet", "run", "--volume", &volume];
        args.extend(runtime);
        args.extend([
            "--",
            "sh",
            "-c",
            "while :; do sleep 0.05; date +%N > /mark/beat; done",
        ]);
        let mut child = command(&place, &args).spawn().expect("start");
        eventually("the workload runs", || {
            fs::read(mark.join("beat")).is_ok_and(|text| !text.is_empty())
        });
        child.kill().expect("SIGKILL");
        child.wait().expect("wait");
        let beat = || fs::read_to_string(mark.join("beat")).expect("beat");
        eventually("the workload ends", || {
            let before = beat();
            std::thread::sleep(Duration::from_millis(400));
            before == beat()
        });
        // The next call takes away what is left.
        sh(&place, runtime, &[], "exit 3").exits(3);
        nothing_left(&place);
    }
}

#[test]
fn a_detached_sandbox_is_listed_entered_stopped_and_removed() {
    let Some((place, runtimes)) = installed() else {
        return;
    };
    for (name, runtime) in runtimes {
        // runsc knows sandboxes by their name alone, whatever their root is.
        let unique = format!("{name}-{}", std::process::id());
        let (kind, name) = (name, unique.as_str());
        let mut args = vec!["--quiet", "run", "--detach", "--name", name];
        args.extend(runtime);
        args.extend(["--", "sh", "-c", "echo hello; exec sleep 1000"]);
        nucleus(&place, &args).exits(0);
        assert!(nucleus(&place, &["ps"]).exits(0).contains("running"), "{name}");
        eventually("its output is in the log", || {
            nucleus(&place, &["logs", name]).stdout.ends_with("hello\n")
        });
        let entered = nucleus(&place, &["exec", name, "sh", "-c", "id -u; exit 5"]);
        if kind == "crun" && entered.code != 5 {
            // crun 1.8 sets groups after it has given up the right to.
            entered.fails_with(&[
                "setgroups: Operation not permitted\nnucleus: exec",
                "has not begun the command",
            ]);
        } else {
            assert_eq!(entered.exits(5), "1000\n", "{name}");
        }
        let state = nucleus(&place, &["state", name]);
        let state: serde_json::Value = serde_json::from_str(state.exits(0)).expect("JSON");
        assert_eq!(state["status"], "running", "{name}");
        nucleus(&place, &["rm", name]).fails_with(&["it is running"]);
        nucleus(&place, &["stop", "--time", "1", name]).exits(0);
        eventually("it has ended", || {
            nucleus(&place, &["state", name]).stdout.contains("stopped")
        });
        nucleus(&place, &["rm", name]).exits(0);
        nothing_left(&place);
    }
}

#[test]
fn what_a_runtime_cannot_do_is_refused_or_told() {
    let Some((place, runtimes)) = installed() else {
        return;
    };
    let lost: [(&str, &[&str], &[&str]); 3] = [
        (
            "runc",
            &["time namespace"],
            &["time namespace", "landlock-policy"],
        ),
        ("crun", &[], &["landlock-policy"]),
        ("gvisor", &[], &[]),
    ];
    for (name, runtime) in runtimes {
        let (_, agent, strict) = lost.iter().find(|(known, ..)| *known == name).expect("known");
        let run = |mode: &str, runtime: &[&str], more: &[&str]| {
            let mut args = vec!["run", "--mode", mode];
            args.extend(runtime);
            args.extend(more);
            args.extend(["--", "true"]);
            nucleus(&place, &args)
        };
        // Without consent.
        let finished = run("agent", &runtime[1..], &[]);
        if agent.is_empty() {
            finished.exits(0);
            assert!(
                finished.stderr.contains("warning: landlock-policy"),
                "{name}: {finished:?}"
            );
        } else {
            finished.fails_with(agent);
        }
        let finished = run("strict-agent", runtime, &[]);
        if strict.is_empty() {
            finished.exits(0);
        } else {
            finished.fails_with(strict);
        }
        if name == "gvisor" {
            let limits = ["--memory", "64M", "--seccomp-log-denied"];
            run("strict-agent", runtime, &limits).fails_with(&[
                "--memory",
                "--seccomp-log-denied",
                "strict-agent mode refuses",
            ]);
            let finished = run("agent", runtime, &limits);
            finished.exits(0);
            assert!(
                finished.stderr.contains("warning: runtime: --memory"),
                "{finished:?}"
            );
            // The host's network, without a user namespace, which the strict modes want.
            run("agent", runtime, &["--network", "host"]).fails_with(&["--allow-host-network"]);
            let host = ["--network", "host", "--allow-host-network"];
            run("strict-agent", runtime, &host).fails_with(&["user namespace", "strict-agent mode refuses"]);
            let finished = run("agent", runtime, &host);
            finished.exits(0);
            assert!(
                finished.stderr.contains("warning: runtime: user namespace"),
                "{finished:?}"
            );
        }
        nothing_left(&place);
    }
    let native = ["run", "--gvisor-platform", "kvm", "--", "true"];
    nucleus(&place, &native).fails_with(&["gvisor-platform: only with --runtime gvisor"]);
    let none = ["run", "--runtime", "gvisor", "--runsc", "/no/where", "--", "true"];
    nucleus(&place, &none).fails_with(&["/no/where"]);
}

const STRICT: [&str; 6] = [
    "--runtime",
    "gvisor",
    "--gvisor-platform",
    "ptrace",
    "--mode",
    "strict-agent",
];

/// What is promised at `create` is held against what is seen at `start`; under gVisor in strict-agent mode too.
#[test]
fn a_created_sandbox_is_held_against_its_promises_at_the_start() {
    let Some((place, runtimes)) = installed() else {
        return;
    };
    let (name, report) = (place.name(), place.path("report"));
    let start = ["start", "--report", report.to_str().expect("UTF-8"), name];
    let strict: Choice = ("gvisor", &STRICT);
    let is_there = runtimes.iter().any(|(name, _)| *name == "gvisor");
    for (runtime, options) in runtimes.iter().chain(is_there.then_some(&strict)) {
        let command = ["--", "sh", "-c", "echo began; exec sleep 1000"];
        let create = [&["--quiet", "create", "--name", name], *options, &command].concat();
        nucleus(&place, &create).exits(0);
        nucleus(&place, &start).exits(0);
        eventually("its output", || {
            nucleus(&place, &["logs", name]).stdout == "began\n"
        });
        let found: serde_json::Value =
            serde_json::from_slice(&fs::read(&report).expect("report")).expect("JSON");
        assert_eq!(found["kept"], true, "{runtime}");
        nucleus(&place, &start).fails_with(&["it is running"]);
        nucleus(&place, &["rm", "--force", name]).exits(0);
        nucleus(&place, &create).exits(0);
        let kept = place.root().join("sandboxes").join(name).join("promises.json");
        fs::write(kept, "{}").expect("write");
        nucleus(&place, &start).fails_with(&["it has changed since nucleus create"]);
        nucleus(&place, &["rm", "--force", name]).exits(0);
        nothing_left(&place);
    }
}

#[test]
fn what_is_seen_of_other_runtimes_is_reported_and_lies_are_caught() {
    let Some((place, runtimes)) = installed() else {
        return;
    };
    let path = place.path("report");
    let report = path.to_str().expect("UTF-8");
    for (name, runtime) in &runtimes {
        sh(&place, runtime, &["--report", report], "exit 4").exits(4);
        let found: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).expect("report")).expect("JSON");
        assert_eq!(found["kept"], true, "{name}");
        let promises = found["promises"].as_array().expect("promises");
        let proof = |promise: &str| {
            let found = promises.iter().find(|one| one["promise"] == promise);
            found.map(|one| one["proof"].as_str().unwrap_or_default())
        };
        if *name == "gvisor" {
            assert_eq!(proof("sentry: seccomp mode"), Some("kernel"));
            assert_eq!(proof("no new privileges"), Some("runtimes-word"));
        } else {
            assert_eq!(proof("no new privileges"), Some("kernel"), "{name}");
            assert_eq!(proof("seccomp refuses keyctl"), Some("attempt"), "{name}");
        }
    }
    if !runtimes.iter().any(|(name, _)| *name == "crun") {
        return;
    }
    let liar = place.path("crun");
    let script = "#!/usr/bin/python3\nimport json, os, sys\na = sys.argv[1:]\nif 'create' in a:\n    \
                  p = a[a.index('--bundle') + 1] + '/config.json'\n    c = json.load(open(p))\n    \
                  del c['linux']['seccomp']\n    json.dump(c, open(p, 'w'))\nos.execv('/usr/bin/crun', ['crun', *a])\n";
    fs::write(&liar, script).expect("write");
    fs::set_permissions(&liar, fs::Permissions::from_mode(0o755)).expect("chmod");
    let runtime = ["--runtime", liar.to_str().expect("UTF-8")];
    let finished = sh(&place, &runtime, &["--report", report], "echo ran");
    finished.fails_with(&["seccomp mode: expected 2; found 0"]);
    assert_eq!(finished.stdout, "");
    nothing_left(&place);
}

/// They copy nothing themselves: the copy is made before, and belongs to the workload.
#[test]
fn a_copied_context_is_the_workloads_own() {
    let Some((place, runtimes)) = installed() else {
        return;
    };
    let context = place.path("context");
    fs::create_dir_all(context.join("private")).expect("mkdir");
    let file = context.join("private/key");
    for (path, mode) in [(&context.join("private"), 0o700), (&file, 0o600)] {
        if !path.exists() {
            fs::write(path, "before\n").expect("write");
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }
    let context = context.to_str().expect("UTF-8");
    let pin = nucleus(&place, &["context-digest", context]);
    let script = "cat private/key; echo after >private/key; cat private/key; mkdir new; pwd; echo *";
    for (name, runtime) in runtimes {
        for verified in [&[][..], &["--verify-context", pin.exits(0).trim()]] {
            let options = [&["--context", context], verified].concat();
            let finished = sh(&place, runtime, &options, script);
            assert_eq!(
                finished.exits(0),
                "before\nafter\n/context\nnew private\n",
                "{name}: {finished:?}"
            );
            assert_eq!(fs::read_to_string(&file).expect("read"), "before\n");
            nothing_left(&place);
        }
    }
}
