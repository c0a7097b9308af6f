//! The runtime is started once, before the command line is parsed; what was started for nothing leaves nothing.

mod support;

use std::fs;
use support::{Finished, Place};

/// Runs it under strace(1), and tells how many processes it started itself: the runtime is one. Without `-f`, since
/// the workload is traced in the stricter modes.
fn traced(place: &Place, args: &[&str]) -> (Finished, usize) {
    let log = place.path("strace").display().to_string();
    let options = ["-qq", "-e", "trace=clone,clone3,vfork,fork", "-o", &log];
    let output = place.straced(&options, args).output().expect("strace");
    let log = fs::read_to_string(&log).expect("a log");
    (output.into(), log.lines().count())
}

#[test]
fn what_is_guessed_is_what_is_used() {
    let Some(place) = Place::new() else { return };
    // The store is there: a place that has yet to be made has another name until then.
    place.sh(&[], "true").exits(0);
    let report = place.path("report").display().to_string();
    // A report tells what version the runtime is.
    for (options, processes) in [
        (vec![], 1),
        (vec!["--name", place.name()], 1),
        (vec!["--mode", "strict-agent"], 1),
        (vec!["--report", &report, "--quiet"], 2),
        (vec!["--events=2", "--hostname", "other"], 1),
    ] {
        let args: Vec<&str> = [vec!["run"], options.clone(), vec!["--", "true"]].concat();
        let (finished, started) = traced(&place, &args);
        finished.exits(0);
        assert_eq!(started, processes, "{options:?}");
    }
}

#[test]
fn what_was_started_for_nothing_says_nothing_and_leaves_nothing() {
    let Some(place) = Place::new() else { return };
    place.sh(&[], "true").exits(0);
    for (args, said) in [
        (vec!["run", "--no-such-option", "--", "true"], "--no-such-option"),
        (vec!["run", "--memory", "lots", "--", "true"], "memory"),
        (
            vec!["run", "--seccomp-profile", "/nowhere", "--", "true"],
            "/nowhere",
        ),
        (vec!["run", "--name", "no/name", "--", "true"], "no/name"),
        (vec!["run", "--name", "one", "--"], "command"),
    ] {
        let (finished, _) = traced(&place, &args);
        assert_eq!(finished.code, 1, "{args:?}");
        assert!(finished.stderr.contains(said), "{args:?}: {}", finished.stderr);
        assert!(
            !finished.stderr.contains("nucleus-runtime"),
            "{args:?}: {}",
            finished.stderr
        );
        for directory in ["sandboxes", "runtime"] {
            assert!(place.left_in(directory).is_empty(), "{args:?}");
        }
    }
}
