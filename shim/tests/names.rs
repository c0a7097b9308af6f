//! Permitted names, in a network of the sandbox's own: real programs ask, and the world that they ask about is a
//! namespace of this test's.

mod support;

use serde_json::{Value, json};
use std::time::Duration;
use support::world::{PRIVATE, PUBLIC, PUBLIC6, SERVER, World, reach};
use support::{Finished, Place, events, eventually};

struct Bed {
    place: Place,
    world: World,
}

impl Bed {
    fn new() -> Option<Self> {
        let place = Place::new()?;
        let world = World::new(&place);
        world.set(&json!({
            "a.test": [["a.test", "A", 60, PUBLIC[0]], ["a.test", "AAAA", 60, PUBLIC6], ["a.test", "TXT", 60, "text"]],
            "alias.test": [["alias.test", "CNAME", 60, "real.elsewhere"], ["real.elsewhere", "A", 60, PUBLIC[1]]],
            "real.elsewhere": [["real.elsewhere", "A", 60, PUBLIC[1]]],
            "other.test": [["other.test", "A", 60, PUBLIC[2]]],
            "rebound.test": [["rebound.test", "A", 60, PRIVATE], ["rebound.test", "A", 60, "127.0.0.1"],
                             ["rebound.test", "A", 60, "10.99.1.1"], ["rebound.test", "AAAA", 60, "fd99:1::2"]],
            "cut.test": "cut",
        }));
        Some(Self { place, world })
    }

    fn nucleus(&self, arguments: &[&str]) -> Finished {
        let output = self.world.nucleus(&self.place, arguments).output();
        output.expect("start nucleus").into()
    }

    fn sh(&self, options: &[&str], script: &str) -> Finished {
        let mut arguments = vec!["run"];
        arguments.extend_from_slice(options);
        arguments.extend_from_slice(&["--", "sh", "-c", script]);
        self.nucleus(&arguments)
    }

    /// The same, and the events that it told.
    fn told(&self, options: &[&str], script: &str) -> (Finished, Vec<Value>) {
        let log = self.place.path("events");
        let log_name = log.to_str().expect("UTF-8");
        let finished = self.sh(&[&["--events", log_name], options].concat(), script);
        (finished, events(&log))
    }

    fn expect_nothing_left(&self) {
        self.world.expect_nothing_left();
    }
}

#[test]
fn real_programs_reach_a_permitted_name_and_no_other() {
    let Some(bed) = Bed::new() else { return };
    let options = ["--egress-domain", "a.test", "--egress-domain", "alias.test"];
    let script = format!(
        "cat /etc/resolv.conf; getent ahostsv4 A.TEST | head -n1; getent ahostsv6 a.test | head -n1
         {}; python3 -c 'import socket; print(len({{i[4][0] for i in socket.getaddrinfo(\"a.test\", 80)}}))'
         busybox wget -qO- http://alias.test/
         {}; getent hosts other.test; echo $?; getent hosts real.elsewhere; echo $?
         {}",
        reach("alias.test"),
        reach(PUBLIC6),
        reach(PUBLIC[2]),
    );
    let (finished, events) = bed.told(&options, &script);
    let lines: Vec<&str> = finished.exits(0).lines().collect();
    assert_eq!(lines[0], "nameserver 127.0.0.1");
    assert!(
        lines[1].starts_with(PUBLIC[0]) && lines[2].starts_with(PUBLIC6),
        "{lines:?}"
    );
    let refused = "ConnectionRefusedError [Errno 111] Connection refused";
    assert_eq!(
        lines[3..],
        [PUBLIC[1], "2", PUBLIC[1], PUBLIC6, "2", "2", refused]
    );
    let asked = bed.world.asked();
    let permitted = |line: &String| line.starts_with("a.test ") || line.starts_with("alias.test ");
    assert!(asked.iter().all(permitted), "{asked:?}");
    let has = |event: &str, host: &str| {
        events
            .iter()
            .any(|line| line["event"] == event && line["host"] == host)
    };
    assert!(
        has("name-resolved", "a.test") && has("name-resolved", "alias.test"),
        "{events:?}"
    );
    assert!(
        has("name-refused", "other.test") && has("name-refused", "real.elsewhere"),
        "{events:?}"
    );
    assert!(finished.stderr.contains("names refused: "), "{finished:?}");
    bed.expect_nothing_left();
}

/// The strictest mode with names: the same answers, held by the kernel before the first instruction.
#[test]
fn production_mode_reaches_a_permitted_name_and_no_other() {
    let Some(bed) = Bed::new() else { return };
    let production = support::production(&bed.place);
    let report = bed.place.path("report");
    let mut options: Vec<&str> = production.iter().map(String::as_str).collect();
    options.extend(["--egress-domain", "a.test", "--egress-tcp-port", "80", "--report"]);
    options.push(report.to_str().expect("UTF-8"));
    let script = format!(
        "cat /etc/resolv.conf; {}; {}; {}; {}; echo nameserver {SERVER} > /etc/resolv.conf; echo $?",
        reach("a.test"),
        reach("other.test"),
        reach(PUBLIC[2]),
        reach(SERVER),
    );
    let (finished, events) = bed.told(&options, &script);
    let lines: Vec<&str> = finished.exits(0).lines().collect();
    let refused = "ConnectionRefusedError [Errno 111] Connection refused";
    let unknown = "gaierror [Errno -2] Name or service not known";
    assert_eq!(
        lines,
        ["nameserver 127.0.0.1", PUBLIC[0], unknown, refused, refused, "2"],
        "{finished:?}"
    );
    let asked = bed.world.asked();
    assert!(
        !asked.is_empty() && asked.iter().all(|line| line.starts_with("a.test ")),
        "{asked:?}"
    );
    for (event, host) in [("name-resolved", "a.test"), ("name-refused", "other.test")] {
        let told = events
            .iter()
            .any(|line| line["event"] == event && line["host"] == host);
        assert!(told, "{event}: {events:?}");
    }
    let report: Value = serde_json::from_slice(&std::fs::read(&report).expect("a report")).expect("JSON");
    let promises = report["promises"].as_array().expect("promises");
    let rules = promises
        .iter()
        .find(|one| one["promise"] == "egress rules")
        .expect("a promise");
    assert_eq!(
        (&rules["kept"], &rules["proof"]),
        (&json!(true), &json!("kernel")),
        "{rules}"
    );
    bed.expect_nothing_left();
}

#[test]
fn dns_is_no_tunnel_and_no_way_around_the_rules() {
    let Some(bed) = Bed::new() else { return };
    let probe = include_str!("probes/ask.py");
    let script = format!(
        "python3 - {SERVER} <<'E'\n{probe}E\n{}; {}",
        reach(PRIVATE),
        reach("rebound.test")
    );
    let mut options = vec![];
    for name in ["a.test", "rebound.test", "cut.test"] {
        options.extend(["--egress-domain", name]);
    }
    let finished = bed.sh(&options, &script);
    let lines: Vec<&str> = finished.exits(0).lines().collect();
    let expected = [
        "permitted: (0, 1) (0, 1)",
        "other types: (0, 0) (0, 0) (0, 0)",
        "other names: (3, 0) (3, 0)",
        "strange labels: (3, 0) (3, 0)",
        "another server: PermissionError ConnectionRefusedError",
        "private addresses: (0, 0) (0, 0)",
        "cut: (0, 32)",
        "ConnectionRefusedError [Errno 111] Connection refused",
        "gaierror [Errno -5] No address associated with hostname",
    ];
    assert_eq!(lines, expected);
    let mut asked = bed.world.asked();
    asked.sort();
    asked.dedup();
    let expected = [
        "a.test 1 udp",
        "cut.test 1 tcp",
        "cut.test 1 udp",
        "rebound.test 1 udp",
        "rebound.test 28 udp",
    ];
    assert_eq!(asked, expected);
    // Where its network is permitted, a private address is what was asked for.
    let options = [
        "--egress-domain",
        "rebound.test",
        "--egress-allow",
        "10.99.2.0/24",
    ];
    assert_eq!(
        bed.sh(&options, &reach("rebound.test")).exits(0),
        format!("{PRIVATE}\n")
    );
    bed.expect_nothing_left();
}

#[test]
fn a_pattern_stands_for_names_below_and_without_names_there_is_no_dns() {
    let Some(bed) = Bed::new() else { return };
    bed.world.set(&json!({
        "x.below.test": [["x.below.test", "A", 60, PUBLIC[0]]],
        "below.test": [["below.test", "A", 60, PUBLIC[1]]],
    }));
    let script = "getent ahostsv4 X.Below.test | head -n1; getent hosts below.test; echo $?";
    let finished = bed.sh(&["--egress-domain", "*.below.test"], script);
    let lines: Vec<&str> = finished.exits(0).lines().collect();
    assert!(lines[0].starts_with(PUBLIC[0]) && lines[1] == "2", "{lines:?}");
    let script = "grep -c ^nameserver /etc/resolv.conf; grep :0035 /proc/net/udp /proc/net/tcp; exit 0";
    assert_eq!(bed.sh(&["--network", "bridge"], script).exits(0), "0\n");
    for (options, words) in [
        (
            ["--egress-domain", "https://a.test"],
            ["egress-domain", "without scheme"],
        ),
        (["--egress-domain", "*.test"], ["egress-domain", "two labels"]),
        (["--dns", "10.0.0.1"], ["dns", "only names of --egress-domain"]),
    ] {
        bed.sh(&options, "true").fails_with(&words);
    }
    bed.expect_nothing_left();
}

#[test]
fn a_service_follows_a_name_that_moves() {
    let Some(bed) = Bed::new() else { return };
    let zone = |address: &str| json!({"moves.test": [["moves.test", "A", 5, address]]});
    bed.world.set(&zone(PUBLIC[0]));
    let directory = bed.place.path("shared");
    std::fs::create_dir(&directory).expect("mkdir");
    let volume = format!("{}:/shared", directory.display());
    let script = format!(
        "{}; touch /shared/ready; while [ ! -e /shared/go ]; do sleep 0.1; done; {}; {}",
        reach("moves.test"),
        // Without a question of its own: what was refreshed is in the rules already.
        reach(PUBLIC[1]),
        reach("moves.test"),
    );
    std::fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("chmod");
    let finished = std::thread::scope(|scope| {
        let run = scope.spawn(|| bed.sh(&["--egress-domain", "moves.test", "--volume", &volume], &script));
        eventually("the first answer", || directory.join("ready").exists());
        bed.world.set(&zone(PUBLIC[1]));
        bed.world.forget();
        eventually("the name is asked for again", || !bed.world.asked().is_empty());
        std::thread::sleep(Duration::from_millis(300));
        std::fs::write(directory.join("go"), "").expect("write");
        run.join().expect("a run")
    });
    assert_eq!(
        finished.exits(0),
        format!("{}\n{}\n{}\n", PUBLIC[0], PUBLIC[1], PUBLIC[1])
    );
    bed.expect_nothing_left();
}

/// What names have brought into the rules of the sandbox with this first process.
fn elements(bed: &Bed, pid: u64) -> String {
    let pid = pid.to_string();
    let list = [
        "--target", &pid, "--net", "nft", "list", "set", "inet", "nucleus", "names4",
    ];
    let output = bed.world.in_host("nsenter", &list).output().expect("nsenter");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The keepers of this test's host.
fn keepers(bed: &Bed) -> Vec<i32> {
    let text = bed
        .world
        .in_host("readlink", &["/proc/self/ns/net"])
        .output()
        .expect("readlink");
    let host = String::from_utf8_lossy(&text.stdout).trim().to_owned();
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_keeper = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let there = std::fs::read_link(format!("/proc/{pid}/ns/net"));
        line == b"nucleus\0keep-network\0" && there.is_ok_and(|there| there.to_string_lossy() == host)
    };
    pids.filter(is_keeper).collect()
}

#[test]
fn a_detached_sandbox_has_a_keeper_as_long_as_it_runs() {
    let Some(bed) = Bed::new() else { return };
    let name = bed.place.name().to_owned();
    let start = [
        "run",
        "--detach",
        "--name",
        &name,
        "--egress-domain",
        "a.test",
        "--",
        "sleep",
        "1000",
    ];
    bed.nucleus(&start).exits(0);
    let keeper = keepers(&bed);
    assert_eq!(keeper.len(), 1, "{keeper:?}");
    let exec = ["exec", &name, "sh", "-c", &reach("a.test")];
    assert_eq!(bed.nucleus(&exec).exits(0), format!("{}\n", PUBLIC[0]));
    let state: Value = serde_json::from_str(bed.nucleus(&["state", &name]).exits(0)).expect("JSON");
    let permitted = elements(&bed, state["pid"].as_u64().expect("a pid"));
    assert!(
        permitted.contains(PUBLIC[0]) && permitted.contains("expires"),
        "{permitted}"
    );
    bed.nucleus(&["rm", "--force", &name]).exits(0);
    eventually("the keeper's end", || keepers(&bed).is_empty());
    // Killed, it takes the resolver along: nothing is answered, and what was permitted expires.
    bed.nucleus(&start).exits(0);
    let keeper = rustix::process::Pid::from_raw(keepers(&bed)[0]).expect("a process");
    rustix::process::kill_process(keeper, rustix::process::Signal::KILL).expect("kill");
    eventually("the keeper's end", || keepers(&bed).is_empty());
    let finished = bed.nucleus(&exec);
    assert!(finished.stdout.contains("gaierror"), "{finished:?}");
    bed.nucleus(&["rm", "--force", &name]).exits(0);
    // One that waits to be started has a keeper too.
    let create = [
        "create",
        "--name",
        &name,
        "--egress-domain",
        "a.test",
        "--",
        "sh",
        "-c",
        &reach("a.test"),
    ];
    bed.nucleus(&create).exits(0);
    assert_eq!(keepers(&bed).len(), 1);
    bed.nucleus(&["start", &name]).exits(0);
    eventually("its output", || {
        bed.nucleus(&["logs", &name]).stdout == format!("{}\n", PUBLIC[0])
    });
    eventually("the keeper's end", || keepers(&bed).is_empty());
    bed.nucleus(&["rm", "--force", &name]).exits(0);
    bed.expect_nothing_left();
}

#[test]
fn a_flood_of_questions_leaves_the_supervisor_and_the_resolver_at_work() {
    let Some(bed) = Bed::new() else { return };
    let probe = include_str!("probes/flood.py");
    let script = format!("python3 - <<'E'\n{probe}E\n{}; exit 5", reach("a.test"));
    let options = ["--egress-domain", "a.test", "--timeout", "60s"];
    let (finished, events) = bed.told(&options, &script);
    assert!(finished.exits(5).contains(PUBLIC[0]), "{finished:?}");
    let asked = bed.world.asked();
    assert!(asked.iter().all(|line| line.starts_with("a.test ")), "{asked:?}");
    let refused: Vec<&Value> = events
        .iter()
        .filter(|line| line["event"] == "name-refused")
        .collect();
    assert!(refused.len() < 150, "{} lines", refused.len());
    let counted: u64 = refused.iter().filter_map(|line| line["count"].as_u64()).sum();
    assert!(counted > 500, "{counted}");
    bed.expect_nothing_left();
}

#[test]
fn sigkill_of_nucleus_ends_the_resolver_and_leaves_nothing() {
    let Some(bed) = Bed::new() else { return };
    let ready = bed.place.path("shared");
    std::fs::create_dir(&ready).expect("mkdir");
    std::fs::set_permissions(&ready, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("chmod");
    let volume = format!("{}:/shared", ready.display());
    let script = format!("{}; touch /shared/ready; exec sleep 1000", reach("a.test"));
    let arguments = [
        "run",
        "--egress-domain",
        "a.test",
        "--volume",
        &volume,
        "--",
        "sh",
        "-c",
        &script,
    ];
    let mut run = bed.world.nucleus(&bed.place, &arguments).spawn().expect("start");
    eventually("the workload", || ready.join("ready").exists());
    // nsenter(1) has become nucleus.
    run.kill().expect("kill");
    run.wait().expect("wait");
    bed.nucleus(&["run", "--", "true"]).exits(0);
    eventually("nothing is left", || bed.world.left().is_empty());
}

#[test]
fn musl_and_node_resolve_by_it_too() {
    let Some(bed) = Bed::new() else { return };
    let directory = bed.place.path("programs");
    std::fs::create_dir(&directory).expect("mkdir");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/probes/lookup.c");
    let built = std::process::Command::new("musl-gcc")
        .args(["-static", "-o"])
        .arg(directory.join("lookup"))
        .arg(source)
        .status();
    assert!(built.expect("musl-gcc (musl-tools)").success());
    let script = format!(
        "./lookup a.test other.test alias.test
         node -e 'const dns = require(\"dns\")
dns.lookup(\"a.test\", 4, (e, a) => {{ console.log(a)
dns.lookup(\"other.test\", e => {{ console.log(e.code)
dns.resolve6(\"a.test\", (e, a) => {{ console.log(a[0])
dns.resolveTxt(\"a.test\", e => {{ console.log(e.code) }}) }}) }}) }})'
         busybox nslookup a.test 127.0.0.1 | grep -c {}",
        PUBLIC[0]
    );
    let workspace = directory.to_str().expect("UTF-8");
    let options = [
        "--workspace",
        workspace,
        "--workspace-exec",
        "--egress-domain",
        "a.test",
        "--egress-domain",
        "alias.test",
    ];
    let finished = bed.sh(&options, &script);
    let lines: Vec<&str> = finished.exits(0).lines().collect();
    let unknown = "Name does not resolve";
    assert_eq!(
        lines,
        [
            PUBLIC[0],
            unknown,
            PUBLIC[1],
            PUBLIC[0],
            "ENOTFOUND",
            PUBLIC6,
            "ENODATA",
            "1"
        ],
        "{finished:?}"
    );
    bed.expect_nothing_left();
}
