//! `nucleus doctor`: what holds on this host is found to hold, and a runtime that leaves a protection out is found out.

mod support;

use serde_json::Value;
use std::path::Path;
use std::process::Command;
use support::bed::Bed;
use support::{Finished, NUCLEUS, liar};

const NAMES: [&str; 17] = [
    "user namespace",
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
    "network rules",
    "network forwarding",
    "gVisor",
    "runc",
    "crun",
];

/// On a host of the test's own: networks are tried too.
fn examine(bed: &Bed, mode: &str, runtime: Option<&Path>) -> (i32, Value) {
    let mut args = vec!["doctor", "--json", "--mode", mode];
    args.extend(
        runtime
            .into_iter()
            .flat_map(|path| ["--runtime", path.to_str().expect("UTF-8")]),
    );
    let finished = bed.nucleus(&args);
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
fn a_place_where_no_sandbox_can_be_is_no_finding() {
    let finished: Finished = Command::new(NUCLEUS)
        .args(["--root", "/proc/nowhere", "doctor"])
        .output()
        .expect("nucleus")
        .into();
    finished.fails_with(&["mkdir /proc/nowhere"]);
    assert_eq!(finished.stdout, "", "{finished:?}");
}

#[test]
fn what_holds_is_found_to_hold() {
    let Some(bed) = Bed::new() else { return };
    for mode in ["agent", "strict-agent", "production"] {
        let (code, found) = examine(&bed, mode, None);
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
    let text = bed.nucleus(&["doctor"]);
    assert!(
        text.exits(0).ends_with("agent mode works on this host\n"),
        "{text:?}"
    );
    assert_eq!(text.stderr, "");
    bed.expect_clean();
}

#[test]
fn without_user_namespaces_the_other_protections_are_tried_for_agent_mode() {
    let Some(bed) = Bed::new() else { return };
    for (mode, code, others) in [("agent", 0, "holds"), ("strict-agent", 1, "missing")] {
        let chrooted = bed.place.command(&["doctor", "--json", "--mode", mode]);
        let chrooted = bed.place.in_chroot(&chrooted);
        let mut command = bed.host.command("unshare");
        let finished: Finished = command
            .args(chrooted.get_args())
            .output()
            .expect("nucleus")
            .into();
        let found: Value = serde_json::from_str(&finished.stdout).expect("JSON");
        assert_eq!(finished.code, code, "{mode}: {finished:?}");
        assert_eq!(outcome(&found, "user namespace"), "missing", "{mode}: {found}");
        assert!(remedy(&found, "user namespace").contains("--allow-degraded-security"));
        for name in ["launch report", "read-only mounts", "connections", "set-user-ID"] {
            assert_eq!(outcome(&found, name), others, "{mode}, {name}: {found}");
        }
    }
    bed.expect_clean();
}

fn remedy<'a>(found: &'a Value, name: &str) -> &'a str {
    let all = found["findings"].as_array().expect("findings");
    let named = all.iter().find(|finding| finding["name"] == name);
    named
        .and_then(|one| one["remedy"].as_str())
        .unwrap_or_else(|| panic!("no {name}: {found}"))
}

/// Nobody has to have a network: what is in its way is told, and no failure.
#[test]
fn what_is_in_the_way_of_networks_is_told() {
    let Some(bed) = Bed::new() else { return };
    bed.host.sh(
        "nft 'table ip filter { chain FORWARD { type filter hook forward priority filter; policy drop; }; }'",
    );
    let (code, found) = examine(&bed, "agent", None);
    assert_eq!((code, outcome(&found, "network rules")), (0, "holds"), "{found}");
    assert_eq!(outcome(&found, "network forwarding"), "missing", "{found}");
    let told = remedy(&found, "network forwarding");
    assert!(
        told.contains("iptables -I FORWARD -i nucleus-+ -j ACCEPT"),
        "{told}"
    );
    bed.host.sh("nft delete table ip filter");
    // One that drops what comes to the host itself.
    bed.host.sh(
        "nft 'table ip filter { chain INPUT { type filter hook input priority filter; policy drop; iifname lo accept; }; }'",
    );
    let (code, found) = examine(&bed, "agent", None);
    assert_eq!(
        (code, outcome(&found, "network rules")),
        (0, "unproven"),
        "{found}"
    );
    bed.host.sh("nft delete table ip filter");
    // Somebody else has the addresses.
    bed.host.sh("ip route add 10.209.7.0/24 via 10.99.1.2");
    let (code, found) = examine(&bed, "agent", None);
    assert_eq!(
        (code, outcome(&found, "network rules")),
        (0, "missing"),
        "{found}"
    );
    assert!(found.to_string().contains("--network-subnet"), "{found}");
    bed.host.sh("ip route del 10.209.7.0/24");
    bed.expect_clean();
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
        &["host network", "connections", "network rules"],
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
    let Some(bed) = Bed::new() else { return };
    for (lie, names, agent) in LIES {
        let liar = liar(&bed.place, lie);
        let (code, found) = examine(&bed, "strict-agent", Some(&liar));
        assert_eq!(code, 1, "{lie}: {found}");
        for name in names {
            assert_eq!(outcome(&found, name), "broken", "{lie}: {found}");
        }
        assert_eq!(outcome(&found, "host processes"), "holds", "{lie}: {found}");
        if let Some(needed) = agent {
            let (code, _) = examine(&bed, "agent", Some(&liar));
            assert_eq!(code, i32::from(needed), "{lie}");
        }
    }
}

#[test]
fn a_host_without_the_runtime_is_told() {
    let Some(bed) = Bed::new() else { return };
    let (code, found) = examine(&bed, "agent", Some(Path::new("/nowhere/nucleus-runtime")));
    assert_eq!(
        (code, outcome(&found, "launch report")),
        (1, "missing"),
        "{found}"
    );
    bed.nucleus(&["doctor", "--mode", "careless"])
        .fails_with(&["careless", "strict-agent"]);
}
