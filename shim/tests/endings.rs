//! How workloads end, told apart by the real kernel.

mod support;

use std::fs;
use std::path::Path;
use support::{Finished, Place, events};

/// Runs a script and returns what is told of its end: the event, and the line on standard error.
fn ending(place: &Place, options: &[&str], script: &str) -> (serde_json::Value, Finished) {
    let log = place.path("events");
    let _ = fs::remove_file(&log);
    let mut all = vec!["--events", log.to_str().expect("UTF-8")];
    all.extend_from_slice(options);
    let finished = place.sh(&all, script);
    let exited = events(Path::new(&log))
        .into_iter()
        .find(|event| event["event"] == "exited");
    (exited.expect("an event"), finished)
}

fn profile(place: &Place, calls: &str, action: &str) -> String {
    let path = place.path("profile.json");
    let text = format!(
        r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": [{calls}], "action": "{action}"}}]}}"#
    );
    fs::write(&path, text).expect("write");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn seccomp_names_the_system_call() {
    let Some(place) = Place::new() else { return };
    for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL"] {
        let profile = profile(&place, "\"mkdir\", \"mkdirat\"", action);
        for options in [
            &["--seccomp-profile", &profile][..],
            &["--init", "--seccomp-profile", &profile],
        ] {
            let (event, finished) = ending(&place, options, "exec mkdir /tmp/x");
            assert_eq!(event["reason"], "seccomp", "{options:?}: {event}");
            assert_eq!(event["system-call"], "mkdir", "{options:?}: {event}");
            assert_eq!(finished.code, 159);
            assert_eq!(
                finished.stderr,
                "nucleus: killed by the seccomp profile for mkdir\n"
            );
        }
    }
    // A workload that sends itself the signal has broken no rule, and no rule is named.
    let (event, finished) = ending(&place, &["--init"], "kill -SYS $$");
    assert_eq!(
        (event["reason"].as_str(), &event["system-call"]),
        (Some("seccomp"), &serde_json::Value::Null)
    );
    assert!(finished.stderr.contains("does not tell"), "{finished:?}");
}

#[test]
fn the_other_endings_are_told_apart() {
    let Some(place) = Place::new() else { return };
    let table: [(&[&str], &str, &str, i32, &str); 9] = [
        (&[], "exit 0", "exited", 0, ""),
        (&[], "exit 137", "exited", 137, ""),
        (
            &["--init"],
            "kill -SEGV $$",
            "signaled",
            139,
            "nucleus: ended by signal 11\n",
        ),
        (
            &["--init"],
            "kill -KILL $$",
            "signaled",
            137,
            "nucleus: ended by signal 9\n",
        ),
        (&["--timeout", "300ms"], "true", "", 1, ""),
        (
            &["--timeout", "0.3"],
            "exec sleep 100",
            "timed-out",
            124,
            "nucleus: ended: it ran longer than --timeout\n",
        ),
        (
            &["--timeout", "0.3", "--init"],
            "exec sleep 100",
            "timed-out",
            124,
            "nucleus: ended: it ran longer than --timeout\n",
        ),
        (
            &["--memory", "16M"],
            "exec python3 -c 'x = bytearray(100 << 20)'",
            "out-of-memory",
            137,
            "nucleus: killed: out of memory (--memory)\n",
        ),
        (
            &["--pids", "4"],
            "sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait",
            "pids-limit",
            2,
            "nucleus: exited with 2; --pids refused it a process\n",
        ),
    ];
    for (options, script, reason, code, line) in table {
        if reason.is_empty() {
            place.sh(options, script).fails_with(&["timeout"]);
            continue;
        }
        let (event, finished) = ending(&place, options, script);
        assert_eq!(event["reason"], reason, "{script}: {event}");
        assert_eq!(finished.code, code, "{script}: {finished:?}");
        assert!(finished.stderr.ends_with(line), "{script}: {finished:?}");
    }
    let (event, _) = ending(
        &place,
        &["--memory", "16M", "--init"],
        "exec python3 -c 'x = bytearray(100 << 20)'",
    );
    assert_eq!(event["reason"], "out-of-memory");
}

/// A workload that goes on without the process that was killed or refused has hit its limit nevertheless.
#[test]
fn a_limit_that_was_hit_is_an_event_also_where_the_workload_ends_well() {
    let Some(place) = Place::new() else { return };
    let log = place.path("events");
    let eater = "python3 -c 'x = bytearray(100 << 20)'; exit 0";
    let forks = "(sleep 0.2 & sleep 0.2 & sleep 0.2 & sleep 0.2 & wait); exit 0";
    for (limit, value, script) in [("memory", "16M", eater), ("pids", "4", forks)] {
        let option = format!("--{limit}");
        let (event, _) = ending(&place, &[&option, value], script);
        assert_eq!(event["reason"], "exited", "{event}");
        let seen = events(&log);
        let hit = seen.iter().find(|event| event["event"] == "limit-hit");
        let hit = hit.unwrap_or_else(|| panic!("{limit}: {seen:?}"));
        assert_eq!(hit["limit"], limit);
        assert!(hit["times"].as_u64() > Some(0), "{hit}");
    }
    let _ = ending(&place, &["--memory", "64M"], "exit 0");
    assert!(events(&log).iter().all(|event| event["event"] != "limit-hit"));
}

/// Without `--pids`: the first processes are there, and the rest are refused.
#[test]
fn a_workload_that_starts_processes_without_end_is_refused_more() {
    let Some(place) = Place::new() else { return };
    let script = "i=0; while [ $i -lt 4000 ]; do sleep 600 & i=$((i + 1)); echo $i; done; echo all";
    let ended = place.sh(&[], script);
    assert_ne!(ended.code, 0, "{}", ended.stderr);
    let last: u32 = ended
        .stdout
        .lines()
        .last()
        .expect("some")
        .parse()
        .expect("a number");
    assert!((1500..2048).contains(&last), "{last}: {}", ended.stderr);
    assert!(ended.stderr.contains("fork"), "{}", ended.stderr);
    // As many as are asked for.
    let all = "for i in 1 2 3 4 5 6; do sleep 600 & done; echo all";
    assert_eq!(place.sh(&["--pids", "20"], all).exits(0), "all\n");
    place
        .sh(&[], "ulimit -p | grep -x 2048 && ! ulimit -p 4096 2>/dev/null")
        .exits(0);
}
