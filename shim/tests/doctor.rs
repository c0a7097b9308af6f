//! `nucleus doctor`: what holds on this host is found to hold, and a runtime that leaves a protection out is found out.

mod support;

use serde_json::Value;
use std::path::Path;
use support::{Place, liar};

const NAMES: [&str; 14] = [
    "launch report",
    "read-only mounts",
    "host processes",
    "host network",
    "new namespaces",
    "masked paths",
    "memory limit",
    "process limit",
    "connections",
    "Landlock TCP",
    "set-user-ID",
    "gVisor",
    "runc",
    "crun",
];

fn examine(place: &Place, mode: &str, runtime: Option<&Path>) -> (i32, Value) {
    let mut args = vec!["doctor", "--json", "--mode", mode];
    args.extend(
        runtime
            .into_iter()
            .flat_map(|path| ["--runtime", path.to_str().expect("UTF-8")]),
    );
    let finished = place.nucleus(&args);
    let found = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("JSON: {finished:?}"));
    (finished.code, found)
}

fn outcome<'a>(found: &'a Value, name: &str) -> &'a str {
    let all = found["findings"].as_array().expect("findings");
    let mut named = all.iter().filter(|finding| finding["name"] == name);
    named
        .next()
        .and_then(|one| one["outcome"].as_str())
        .unwrap_or_else(|| panic!("no {name}: {found}"))
}

#[test]
fn what_holds_is_found_to_hold() {
    let Some(place) = Place::new() else { return };
    for mode in ["agent", "strict-agent", "production"] {
        let (code, found) = examine(&place, mode, None);
        assert_eq!(
            (code, &found["works"]),
            (0, &Value::Bool(true)),
            "{mode}: {found}"
        );
        let names: Vec<&str> = found["findings"]
            .as_array()
            .expect("findings")
            .iter()
            .filter_map(|finding| finding["name"].as_str())
            .collect();
        assert_eq!(names, NAMES, "{mode}");
        for name in NAMES {
            assert_eq!(outcome(&found, name), "holds", "{mode}, {name}: {found}");
        }
    }
    let text = place.nucleus(&["doctor"]);
    assert!(
        text.exits(0).ends_with("agent mode works on this host\n"),
        "{text:?}"
    );
    assert_eq!(text.stderr, "");
}

/// What is left out behind the front-end's back, the probes that see it, and whether agent mode is
/// seen to need it.
const LIES: [(&str, &[&str], Option<bool>); 6] = [
    (
        "c['annotations'].pop('dev.nucleus.landlock', None); '/probe' in m and m['/probe'].update(options=['bind', 'rw'])",
        &["read-only mounts", "Landlock TCP"],
        None,
    ),
    (
        "l['namespaces'] = [n for n in l['namespaces'] if n['type'] != 'network']",
        &["host network", "connections"],
        None,
    ),
    (
        "l['maskedPaths'].remove('/proc/interrupts')",
        &["masked paths"],
        Some(true),
    ),
    ("l.pop('seccomp')", &["new namespaces"], None),
    (
        "l['resources'].pop('memory', None)",
        &["memory limit"],
        Some(false),
    ),
    ("l['resources'].pop('pids', None)", &["process limit"], None),
];

#[test]
fn a_protection_that_is_left_out_is_missed() {
    let Some(place) = Place::new() else { return };
    for (lie, names, agent) in LIES {
        let liar = liar(&place, lie);
        let (code, found) = examine(&place, "strict-agent", Some(&liar));
        assert_eq!(code, 1, "{lie}: {found}");
        for name in names {
            assert_eq!(outcome(&found, name), "broken", "{lie}: {found}");
        }
        assert_eq!(outcome(&found, "host processes"), "holds", "{lie}: {found}");
        if let Some(needed) = agent {
            let (code, _) = examine(&place, "agent", Some(&liar));
            assert_eq!(code, i32::from(needed), "{lie}");
        }
    }
}

#[test]
fn a_host_without_the_runtime_is_told() {
    let Some(place) = Place::new() else { return };
    let (code, found) = examine(&place, "agent", Some(Path::new("/nowhere/nucleus-runtime")));
    assert_eq!(
        (code, outcome(&found, "launch report")),
        (1, "missing"),
        "{found}"
    );
    place
        .nucleus(&["doctor", "--mode", "careless"])
        .fails_with(&["careless", "strict-agent"]);
}
