//! Networks of sandboxes under runc and crun: the namespace is made before, with the same rules, and they join it.

mod support;

use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use support::bed::{ASK, Bed};
use support::world::{PUBLIC, World, reach};
use support::{CGROUPS_1, ENGINES, Finished, Place, events, eventually, installed};

/// The engines that are installed.
fn engines() -> impl Iterator<Item = (&'static str, [&'static str; 3])> {
    ENGINES.into_iter().filter(|(name, _)| installed(name))
}

/// In a place that the containers' users reach, for engines that open the bundle as one of them.
fn bed() -> Option<Bed> {
    let bed = Bed::new()?;
    fs::set_permissions(bed.place.path(""), Permissions::from_mode(0o711)).expect("chmod");
    bed.host.sh(CGROUPS_1);
    Some(bed)
}

#[test]
fn what_is_allowed_is_reached_what_is_refused_is_counted_and_ports_lead_in() {
    let Some(bed) = bed() else { return };
    let allowed = ["--egress-allow", "10.99.1.2", "--egress-tcp-port", "80"];
    let ask = "tcp 10.99.1.2 80; tcp 10.99.1.2 443; tcp 10.99.2.2 80; tcp fd99:1::2 80; udp 10.99.1.2 5000";
    let answer = "10.99.1.1\nrefused\nrefused\nrefused\ndenied\n";
    for (engine, runtime) in engines() {
        let log = bed.place.path(engine);
        let report = bed.place.path("report");
        let told = ["--events", log.to_str().expect("UTF-8")];
        let checked = ["--report", report.to_str().expect("UTF-8")];
        let options = [&runtime[..], &allowed, &told, &checked].concat();
        let finished = bed.bash(&options, ask);
        assert_eq!(finished.exits(0), answer, "{engine}: {finished:?}");
        let denied = events(&log)
            .into_iter()
            .find(|event| event["event"] == "egress-denied");
        let denied = denied.expect("an event of what was refused");
        assert!(denied["packets"].as_u64() >= Some(4), "{engine}: {denied}");
        let report: Value = serde_json::from_slice(&fs::read(&report).expect("a report")).expect("JSON");
        let rules = report["promises"].as_array().expect("promises").iter();
        let rules: Vec<&Value> = rules
            .filter(|one| one["promise"] == "egress rules")
            .map(|one| &one["proof"])
            .collect();
        assert_eq!(rules, ["kernel"], "{engine}");
        detached(&bed, &runtime, &allowed, (ask, answer));
        bed.expect_clean();
    }
}

/// What these engines' own `exec` says where it cannot enter a namespace that the host's root owns: runc 1.1 joins the
/// user namespace before it, crun 1.8 sets groups after it has given up the right to.
const NOT_ENTERED: [&str; 2] = [
    "failed to setns into net namespace: Operation not permitted",
    "setgroups: Operation not permitted",
];

/// A sandbox that tries something, is entered, told of, reached through its port and stopped.
fn detached(bed: &Bed, runtime: &[&str], allowed: &[&str], (ask, answer): (&str, &str)) {
    let name = bed.place.name();
    let serve = "import socket
try: socket.create_connection((\"10.99.2.2\", 80), 2)
except ConnectionRefusedError: pass
s = socket.create_server((\"\", 7000))
while True: s.accept()[0].send(b\"inside\\n\")";
    let run = ["run", "--quiet", "--detach", "--name", name, "-p", "9000:7000"];
    let serve = ["--", "python3", "-c", serve];
    bed.nucleus(&[&run[..], runtime, allowed, &serve].concat())
        .exits(0);
    let from_world = || bed.world.sh(&format!("{ASK}tcp 10.99.1.1 9000"));
    eventually("the port leads in", || from_world() == "inside\n");
    let script = format!("{ASK}{ask}");
    let entered = bed.nucleus(&["exec", name, "bash", "-c", &script]);
    if NOT_ENTERED.iter().any(|told| entered.stderr.contains(told)) {
        entered.fails_with(&["has not begun the command", "sandboxes of nucleus-runtime"]);
    } else {
        assert_eq!(entered.exits(0), answer);
    }
    let state = bed.nucleus(&["state", name]);
    let state: Value = serde_json::from_str(state.exits(0)).expect("JSON");
    let denied = &state["egressDenied"]["destinations"];
    let denied = denied.as_array().expect("a list");
    assert!(denied.contains(&json!("10.99.2.2:80/tcp")), "{state}");
    bed.nucleus(&["stop", "--timeout", "1s", name]).exits(0);
    bed.nucleus(&["rm", "--force", name]).exits(0);
    assert_eq!(from_world(), "refused\n");
}

#[test]
fn a_killed_front_end_leaves_nothing_of_the_network() {
    let Some(bed) = bed() else { return };
    for (engine, runtime) in engines() {
        let name = bed.place.name();
        let run = ["run", "--quiet", "--name", name, "--egress-allow", "10.99.1.2"];
        let mut child = bed
            .command(
                &[
                    &run[..],
                    &runtime,
                    &["--", "sh", "-c", "echo up; exec sleep 1000"],
                ]
                .concat(),
            )
            .stdout(Stdio::piped())
            .spawn()
            .expect("nucleus");
        let mut up = [0; 3];
        let stdout = child.stdout.as_mut().expect("stdout");
        std::io::Read::read_exact(stdout, &mut up).expect("it is up");
        assert!(bed.host.left().contains("table inet nucleus"), "{engine}");
        child.kill().expect("SIGKILL");
        child.wait().expect("wait");
        eventually("the next call removes the rest", || {
            bed.nucleus(&["run", "--", "true"]).exits(0);
            bed.host.left().is_empty()
        });
        bed.expect_clean();
    }
}

#[test]
fn permitted_names_are_answered() {
    let Some(place) = Place::new() else { return };
    fs::set_permissions(place.path(""), Permissions::from_mode(0o711)).expect("chmod");
    let world = World::new(&place);
    world.set(&json!({"a.test": [["a.test", "A", 60, PUBLIC[0]]]}));
    let unmounted = world.in_host("sh", &["-c", CGROUPS_1]).status();
    assert!(unmounted.expect("sh").success());
    let script = format!(
        "{}; {}; {}",
        reach("a.test"),
        reach("other.test"),
        reach(PUBLIC[1])
    );
    for (engine, runtime) in engines() {
        let run = ["run", "--quiet", "--egress-domain", "a.test"];
        let run = [&run[..], &runtime, &["--", "sh", "-c", &script]].concat();
        let finished: Finished = world.nucleus(&place, &run).output().expect("nucleus").into();
        let expected = format!(
            "{}\ngaierror [Errno -2] Name or service not known\nConnectionRefusedError [Errno 111] Connection refused\n",
            PUBLIC[0]
        );
        assert_eq!(finished.exits(0), expected, "{engine}: {finished:?}");
        world.expect_nothing_left();
    }
}

/// An engine that leaves the namespace's path out makes a network of its own, without rules; one that leaves the
/// namespace out has the host's. Both are seen before the first instruction.
#[test]
fn an_engine_that_does_not_join_is_found_out() {
    let Some(bed) = bed() else { return };
    let script = "#!/usr/bin/python3\nimport json, os, sys\na = sys.argv[1:]\nif 'create' in a:\n    \
                  p = a[a.index('--bundle') + 1] + '/config.json'\n    c = json.load(open(p))\n    \
                  l = c['linux']['namespaces']\n    n = [one for one in l if one['type'] == 'network'][0]\n    \
                  LIE\n    json.dump(c, open(p, 'w'))\nos.execv('/usr/sbin/runc', ['runc', *a])\n";
    if !installed("runc") {
        return;
    }
    let (path, report) = (bed.place.path("runc"), bed.place.path("report"));
    let runtime = [
        "--allow-degraded-security",
        "--runtime",
        path.to_str().expect("UTF-8"),
    ];
    let checked = ["--report", report.to_str().expect("UTF-8"), "--network", "bridge"];
    for (lie, found) in [
        ("del n['path']", "egress rules"),
        ("l.remove(n)", "namespace net"),
    ] {
        fs::write(&path, script.replace("LIE", lie)).expect("write");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("chmod");
        let finished = bed.bash(&[&runtime[..], &checked].concat(), "echo ran");
        finished.fails_with(&[found]);
        assert_eq!(finished.stdout, "", "{lie}");
        bed.expect_clean();
    }
    if !installed("runsc") {
        return;
    }
    // gVisor's kernel in another network: seen from outside, and before the workload begins.
    let path = bed.place.path("runsc");
    let lie = script.replace("LIE", "l.remove(n); a = ['--net', 'runsc', *a]");
    let lie = lie.replace(
        "os.execv('/usr/sbin/runc', ['runc', *a])",
        "os.execvp('unshare' if 'create' in a else 'runsc', ['engine', *a])",
    );
    fs::write(&path, lie).expect("write");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("chmod");
    let runtime = [
        "--allow-degraded-security",
        "--runtime",
        "gvisor",
        "--runsc",
        path.to_str().expect("UTF-8"),
    ];
    let finished = bed.bash(&[&runtime[..], &checked].concat(), "echo ran");
    finished.fails_with(&["sentry: egress rules", "sentry: network"]);
    assert_eq!(finished.stdout, "");
    bed.expect_clean();
}
