//! The life of a container through the command line.

mod support;

use serde_json::json;
use std::path::Path;
use std::process::Command;
use support::Host;

#[test]
fn run_passes_on_output_and_exit_code() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| {
        config["process"]["args"] = json!(["sh", "-c", "echo out; echo err >&2; exit 7"]);
    });
    let id = host.id();
    let run = host.run(&["run", "--bundle", bundle.path(), &id]);
    assert_eq!(
        (run.code, run.stdout.as_str(), run.stderr.as_str()),
        (7, "out\n", "err\n"),
        "{run}"
    );
    assert_eq!(host.leftovers(&id), Vec::<String>::new());
}

#[test]
fn run_passes_on_a_signal_as_128_and_its_number() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| {
        config["process"]["args"] = json!(["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]);
    });
    let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!(run.code, 137, "{run}");
}

#[test]
fn the_states_follow_each_other() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    let id = host.id();
    host.ok(&["create", "--bundle", bundle.path(), &id]);
    let status = || host.state(&id)["status"].clone();
    assert_eq!(status(), "created");
    host.ok(&["start", &id]);
    assert_eq!(status(), "running");
    let traces = host.leftovers(&id);
    for kind in ["state directory", "process", "cgroup"] {
        assert!(
            traces.iter().any(|trace| trace.starts_with(kind)),
            "{kind} in {traces:?}"
        );
    }
    assert_eq!(host.ok(&["exec", &id, "echo", "inside"]), "inside\n");
    let early = host.run(&["delete", &id]);
    assert_eq!(early.code, 1, "{early}");
    host.ok(&["kill", &id, "KILL"]);
    support::eventually("the container stops", || status() == "stopped");
    assert_eq!(host.state(&id)["pid"], 0);
    host.ok(&["delete", &id]);
    assert_eq!(host.leftovers(&id), Vec::<String>::new());
}

#[test]
fn a_memory_limit_that_is_too_small_for_set_up_is_named() {
    let Some(host) = Host::new() else { return };
    if !Path::new("/sys/fs/cgroup/memory").exists() {
        let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        if !controllers.split_whitespace().any(|name| name == "memory") {
            return support::lacking("the memory controller");
        }
    }
    let bundle = host.bundle(|config| config["linux"]["resources"]["memory"] = json!({"limit": 4096}));
    let id = host.id();
    let run = host.run(&["run", "--bundle", bundle.path(), &id]);
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains("is the memory limit too small"), "{run}");
    assert_eq!(host.leftovers(&id), [""; 0]);
}

#[test]
fn another_kill_during_set_up_is_not_blamed_on_memory() {
    let Some(host) = Host::new() else { return };
    let script = r#"kill -KILL $(sed 's/.*"pid":\([0-9]*\).*/\1/')"#;
    let kill = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    let bundle = host.bundle(|config| config["hooks"] = json!({"createRuntime": kill}));
    let id = host.id();
    let run = host.run(&["run", "--bundle", bundle.path(), &id]);
    assert_eq!(run.code, 1, "{run}");
    assert!(
        run.stderr.contains("died during set-up, killed by SIGKILL\n"),
        "{run}"
    );
    assert_eq!(host.leftovers(&id), [""; 0]);
}

/// `process` is required only by `start`.
#[test]
fn a_container_without_process_is_created_and_not_started() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| {
        config.as_object_mut().expect("an object").remove("process");
    });
    let id = host.id();
    host.ok(&["create", "--bundle", bundle.path(), &id]);
    let start = host.run(&["start", &id]);
    assert_eq!(start.code, 1, "{start}");
    assert!(start.stderr.contains("has no process"), "{start}");
    assert_eq!(host.state(&id)["status"], "created");
    host.ok(&["delete", "--force", &id]);
    assert_eq!(host.leftovers(&id), [""; 0]);
}

/// A version 1 group takes a process with a real-time policy only if it has time for that (`CONFIG_RT_GROUP_SCHED`).
#[test]
fn a_caller_with_a_real_time_policy_hears_what_the_cgroup_lacks() {
    let Some(host) = Host::new() else { return };
    let real_time = |args: &[&str]| {
        let ours = host.command(args);
        let mut command = Command::new("chrt");
        command
            .args(["--rr", "1"])
            .arg(ours.get_program())
            .args(ours.get_args());
        support::finish(command)
    };
    let policy = json!(["busybox", "cut", "-d", " ", "-f", "41", "/proc/self/stat"]);
    let plain = host.bundle(|config| config["process"]["args"] = policy.clone());
    let run = real_time(&["run", "--bundle", plain.path(), &host.id()]);
    let Ok(budget) = std::fs::read_to_string("/sys/fs/cgroup/cpu/cpu.rt_runtime_us") else {
        assert_eq!((run.code, run.stdout.as_str()), (0, "2\n"), "{run}");
        return;
    };
    let remedies = [
        "real-time policy",
        "chrt --other 0",
        "linux.resources.cpu.realtimeRuntime",
    ];
    let refused = |finished: &support::Finished| {
        assert_eq!(finished.code, 1, "{finished}");
        assert!(
            remedies.iter().all(|word| finished.stderr.contains(word)),
            "{finished}"
        );
    };
    refused(&run);
    let id = host.running(|_| {});
    refused(&real_time(&["exec", &id, "true"]));
    assert_eq!(host.ok(&["exec", &id, "echo", "inside"]), "inside\n");
    if budget.trim() == "0" {
        // Of nothing nothing can be given.
        return;
    }
    let given = host.bundle(|config| {
        config["process"]["args"] = policy;
        config["linux"]["resources"]["cpu"] = json!({"realtimeRuntime": 1000, "realtimePeriod": 1_000_000});
    });
    let run = real_time(&["run", "--bundle", given.path(), &host.id()]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "2\n"), "{run}");
}
