//! The launch report: what an honest runtime keeps, and that a runtime which does not is caught before the
//! workload's first instruction.

mod support;

use serde_json::Value;
use std::fs;
use std::path::Path;
use support::{Place, liar};

/// What the script does, and the promise that it breaks.
const LIES: [(&str, &str); 39] = [
    ("del l['seccomp']", "seccomp mode"),
    ("del l['seccomp']", "seccomp filter"),
    (
        "l['seccomp'] = {'defaultAction': 'SCMP_ACT_ALLOW'}",
        "seccomp refuses keyctl",
    ),
    (
        "l['seccomp']['syscalls'].append({'names': ['ptrace'], 'action': 'SCMP_ACT_ALLOW'}); \
         [s['names'].remove('ptrace') for s in l['seccomp']['syscalls'][:-1] if 'ptrace' in s['names']]",
        "seccomp refuses ptrace",
    ),
    (
        "[s['names'].remove('mount') for s in l['seccomp']['syscalls'] if 'mount' in s['names']]; \
         l['seccomp']['syscalls'].append({'names': ['mount'], 'action': 'SCMP_ACT_ALLOW'})",
        "seccomp refuses mount",
    ),
    (
        "[s['names'].remove('io_uring_enter') for s in l['seccomp']['syscalls'] if 'io_uring_enter' in s['names']]; \
         l['seccomp']['syscalls'].append({'names': ['io_uring_enter'], 'action': 'SCMP_ACT_ALLOW'})",
        "seccomp refuses io_uring_enter",
    ),
    (
        "p1['noNewPrivileges'] = False; del l['seccomp']; del c['annotations']['dev.nucleus.landlock']",
        "no new privileges",
    ),
    (
        "p1['capabilities']['bounding'] = ['CAP_SYS_ADMIN']",
        "capabilities CapBnd",
    ),
    (
        "p1['capabilities'] = {k: ['CAP_KILL'] for k in ('bounding', 'permitted', 'effective', 'inheritable', 'ambient')}",
        "capabilities CapEff",
    ),
    (
        "p1['capabilities'] = {k: ['CAP_KILL'] for k in ('bounding', 'permitted', 'inheritable')}",
        "capabilities CapInh",
    ),
    ("p1['user']['uid'] = 0", "user"),
    ("p1['user']['gid'] = 0", "group"),
    ("p1['user']['additionalGids'] = [7]", "supplementary groups"),
    (
        "l['maskedPaths'].remove('/proc/timer_list')",
        "masked /proc/timer_list",
    ),
    ("l['maskedPaths'].remove('/proc/acpi')", "masked /proc/acpi"),
    ("l['readonlyPaths'].remove('/proc/sys')", "read-only /proc/sys"),
    (
        "c['mounts'].append({'destination': '/proc/bus', 'type': 'bind', 'source': '/etc', 'options': ['bind', 'ro']})",
        "read-only /proc/bus",
    ),
    (
        "l['maskedPaths'].remove('/proc/acpi'); \
         c['mounts'].append({'destination': '/proc/acpi', 'type': 'bind', 'source': '/dev/shm', 'options': ['bind', 'ro']})",
        "masked /proc/acpi",
    ),
    ("os.dup2(os.open('/', os.O_RDONLY), 0)", "descriptors"),
    (
        "l['resources']['memory'].update(limit=128 << 20, swap=128 << 20)",
        "memory limit",
    ),
    ("del l['resources']['pids']", "process limit"),
    ("l['resources']['cpu']['quota'] = 100000", "processor limit"),
    ("l['cgroupsPath'] += '-other'", "control group"),
    ("l['namespaces'].remove({'type': 'network'})", "namespace net"),
    ("l['namespaces'].remove({'type': 'network'})", "network"),
    (
        "l['namespaces'].remove({'type': 'ipc'}); c['mounts'].remove(m['/dev/mqueue'])",
        "namespace ipc",
    ),
    (
        "l['namespaces'].remove({'type': 'uts'}); del c['hostname']",
        "namespace uts",
    ),
    ("l['namespaces'].remove({'type': 'cgroup'})", "namespace cgroup"),
    ("l['namespaces'].remove({'type': 'time'})", "namespace time"),
    ("l['uidMappings'][0]['hostID'] += 65536", "user ids"),
    ("l['gidMappings'][0]['hostID'] += 65536", "group ids"),
    ("c['root']['readonly'] = False", "root directory"),
    (
        "m['/usr']['options'].remove('rro'); m['/usr']['options'].append('rw')",
        "mount /usr",
    ),
    ("m['/tmp']['options'].remove('nosuid')", "mount /tmp"),
    (
        "m['/etc/alternatives']['source'] = '/etc/ssl'",
        "mount /etc/alternatives",
    ),
    ("c['mounts'].remove(m['/home/agent'])", "mount /home/agent"),
    (
        "c['mounts'].append({'destination': '/tmp/host', 'type': 'bind', 'source': '/', 'options': ['bind', 'ro']})",
        "no other mount",
    ),
    ("del c['annotations']['dev.nucleus.landlock']", "landlock"),
    (
        "k = 'dev.nucleus.landlock'; x = json.loads(c['annotations'][k]); \
         x['rules']['pathBeneath'].append({'allowedAccess': ['write_file'], 'paths': ['/']}); \
         c['annotations'][k] = json.dumps(x)",
        "landlock refuses write_file",
    ),
];

const LIMITS: [&str; 6] = ["--memory", "64M", "--pids", "50", "--cpus", "0.5"];

fn run(place: &Place, runtime: &Path, mode: &str, more: &[&str]) -> support::Finished {
    let mut args = vec![
        "run",
        "--mode",
        mode,
        "--runtime",
        runtime.to_str().expect("UTF-8"),
    ];
    args.extend(LIMITS);
    args.extend(more);
    args.extend(["--", "echo", "the workload has run"]);
    place.nucleus(&args)
}

#[test]
fn every_lie_of_a_runtime_is_caught_before_the_workload_runs() {
    let Some(place) = Place::new() else { return };
    // The script itself is not what is caught.
    let honest = run(&place, &liar(&place, "pass"), "strict-agent", &[]);
    assert_eq!(honest.exits(0), "the workload has run\n");
    for (lie, promise) in LIES {
        let finished = run(&place, &liar(&place, lie), "strict-agent", &[]);
        assert_eq!(
            (finished.code, finished.stdout.as_str()),
            (1, ""),
            "{lie}: {finished:?}"
        );
        let told = finished
            .stderr
            .lines()
            .any(|line| line.starts_with(&format!("  {promise}: expected ")));
        assert!(told, "{lie}: {finished:?}");
        place.expect_nothing_left();
    }
}

/// Between `create` and `start` nobody looks; what the runtime made there is found at the start.
#[test]
fn every_lie_at_create_is_caught_at_start() {
    let Some(place) = Place::new() else { return };
    let name = place.name();
    let create = |lie: &str| {
        let runtime = liar(&place, lie).display().to_string();
        let args = [
            "create",
            "--name",
            name,
            "--mode",
            "strict-agent",
            "--runtime",
            &runtime,
        ];
        let command = ["--", "echo", "the workload has run"];
        place.nucleus(&[&args[..], &LIMITS, &command].concat()).exits(0);
        place.nucleus(&["start", name])
    };
    create("pass").exits(0);
    support::eventually("its output is in the log", || {
        place.nucleus(&["logs", name]).stdout == "the workload has run\n"
    });
    place.nucleus(&["rm", "--force", name]).exits(0);
    for (lie, promise) in LIES {
        let started = create(lie);
        started.fails_with(&[&format!("\n  {promise}: expected ")]);
        place.expect_nothing_left();
    }
}

/// A program has what the kernel leaves it of them when it is executed, which is not what the policy keeps.
#[test]
fn capabilities_that_a_policy_keeps_are_what_is_expected() {
    let Some(place) = Place::new() else { return };
    let policy = place.path("caps.toml");
    let path = policy.to_str().expect("UTF-8");
    let set = r#"["CAP_KILL", "CAP_SYS_ADMIN"]"#;
    let some = format!("bounding = {set}\npermitted = {set}\neffective = [\"CAP_KILL\"]\n");
    let every = format!("{some}inheritable = [\"CAP_KILL\"]\nambient = [\"CAP_KILL\"]\n");
    let kept = format!("keep = {set}\n");
    for (text, user, effective) in [
        (kept.as_str(), "1000", "0000000000000000"),
        (&kept, "0", "0000000000200020"),
        (&some, "1000", "0000000000000000"),
        (&some, "0", "0000000000200020"),
        (&every, "1000", "0000000000000020"),
    ] {
        fs::write(&policy, text).expect("write");
        let options = ["--mode", "strict-agent", "--caps-policy", path, "--user", user];
        let finished = place.sh(&options, "grep CapEff /proc/self/status");
        assert_eq!(
            finished.exits(0),
            format!("CapEff:\t{effective}\n"),
            "{text} {user}"
        );
    }
    // A runtime that gives more is found out.
    let runtime = liar(&place, "p1['capabilities']['bounding'].append('CAP_NET_ADMIN')");
    let options = ["--caps-policy", path];
    run(&place, &runtime, "strict-agent", &options).fails_with(&["capabilities CapBnd: expected "]);
}

/// The limit of processes that everybody has who asks for none.
#[test]
fn the_limit_of_processes_is_looked_at_too() {
    let Some(place) = Place::new() else { return };
    for (lie, code) in [("pass", 0), ("p1['rlimits'] = []", 1)] {
        let runtime = liar(&place, lie).display().to_string();
        let options = ["--mode", "strict-agent", "--runtime", &runtime];
        let finished = place.sh(&options, "true");
        assert_eq!(finished.code, code, "{finished:?}");
        assert_eq!(
            finished
                .stderr
                .contains("process limit: expected RLIMIT_NPROC 2048 2048"),
            code == 1,
            "{finished:?}"
        );
    }
}

/// A limit of memory is one of swap too, where the kernel has a file for that.
#[test]
fn the_limit_of_memory_leaves_no_swap() {
    let Some(place) = Place::new() else { return };
    let report = place.path("report.json");
    let options = ["--memory", "64M", "--report", report.to_str().expect("UTF-8")];
    for (lie, limit) in [("pass", 1), ("l['resources']['memory']['swap'] *= 2", 2)] {
        let runtime = liar(&place, lie).display().to_string();
        let mode = ["--mode", "strict-agent", "--runtime", &runtime];
        let finished = place.sh(&[&mode[..], &options].concat(), "true");
        let text = std::fs::read_to_string(&report).expect("a report");
        let all: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let promises = all["promises"].as_array().expect("promises");
        let memory = promises.iter().find(|one| one["promise"] == "memory limit");
        let found = memory.and_then(|one| one["found"].as_str()).expect("found");
        let version_1 = format!("memory.memsw.limit_in_bytes {}", limit << 26);
        let version_2 = format!("memory.swap.max {}", (limit - 1) << 26);
        assert!(
            found.ends_with(&version_1) || found.ends_with(&version_2),
            "{found}"
        );
        assert_eq!(finished.code, limit - 1, "{finished:?}");
    }
}

/// Rates are the control group's; the runtime's word is not taken for them.
#[test]
fn the_limits_of_a_disk_are_looked_at_too() {
    let Some(place) = Place::new() else { return };
    let limit = format!("{}:wbps=20M,riops=500", place.path("").display());
    for lie in [
        "pass",
        "del l['resources']['blockIO']",
        "l['resources']['blockIO']['throttleWriteBpsDevice'][0]['rate'] *= 2",
        "l['resources']['blockIO']['throttleReadIOPSDevice'] = []",
    ] {
        let runtime = liar(&place, lie).display().to_string();
        let options = ["--mode", "strict-agent", "--runtime", &runtime, "--io", &limit];
        let finished = place.sh(&options, "true");
        if lie == "pass" {
            finished.exits(0);
        } else {
            finished.fails_with(&["\n  limit of disk ", ": expected "]);
        }
    }
}

#[test]
fn what_a_service_manager_is_told_through_is_promised_too() {
    let Some(place) = Place::new() else { return };
    let address = place.path("manager");
    let _manager = std::os::unix::net::UnixDatagram::bind(&address).expect("bind");
    let run = |lie: &str| -> support::Finished {
        let runtime = liar(&place, lie);
        let runtime = runtime.to_str().expect("UTF-8");
        let args = ["run", "--mode", "strict-agent", "--runtime", runtime];
        let args = [&args[..], &LIMITS, &["--", "ls", "/run/notify"]].concat();
        let mut command = place.command(&args);
        command.env("NOTIFY_SOCKET", &address);
        command.output().expect("start nucleus").into()
    };
    assert_eq!(run("pass").exits(0), "notify.sock\n");
    // Then there is not even the directory that would be mounted.
    run("del os.environ['NOTIFY_SOCKET']").fails_with(&["/notify: No such file"]);
    place.expect_nothing_left();
}

#[test]
fn a_detached_workload_is_not_started_by_a_liar_either() {
    let Some(place) = Place::new() else { return };
    let runtime = liar(&place, "p1['user']['uid'] = 0");
    let finished = run(&place, &runtime, "strict-agent", &["--detach", "--name", "away"]);
    finished.fails_with(&["user: expected "]);
    place.expect_nothing_left();
    let honest = liar(&place, "pass");
    run(&place, &honest, "strict-agent", &["--detach", "--name", "away"]).exits(0);
    support::eventually("its output is in the log", || {
        place.nucleus(&["logs", "away"]).stdout == "the workload has run\n"
    });
    place.nucleus(&["rm", "--force", "away"]).exits(0);
}

#[test]
fn the_report_tells_what_was_held_against_what() {
    let Some(place) = Place::new() else { return };
    let (path, log) = (place.path("report.json"), place.path("events"));
    let (report, events) = (path.to_str().expect("UTF-8"), log.to_str().expect("UTF-8"));
    let options = ["--report", report, "--events", events];
    let real = Path::new(support::NUCLEUS).with_file_name("nucleus-runtime");
    // Agent mode looks when it is asked for a report.
    assert_eq!(
        run(&place, &real, "agent", &options).exits(0),
        "the workload has run\n"
    );
    let text = fs::read(&path).expect("a report");
    let found: Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(found["kept"], true, "{found:#}");
    assert_eq!(found["mode"], "agent");
    for key in ["kernel", "config-sha256"] {
        assert!(
            found[key].as_str().is_some_and(|text| !text.is_empty()),
            "{key}: {found:#}"
        );
    }
    assert_eq!(found["policies"].as_array().map(Vec::len), Some(3));
    let promises = found["promises"].as_array().expect("promises");
    let proofs: Vec<&Value> = promises.iter().map(|promise| &promise["proof"]).collect();
    for proof in ["kernel", "attempt", "runtimes-word"] {
        assert!(proofs.iter().any(|one| *one == proof), "{proof}: {found:#}");
    }
    let seen = support::events(&log);
    let checked = seen
        .iter()
        .find(|event| event["event"] == "checked")
        .expect("an event");
    let digest = std::process::Command::new("sha256sum")
        .arg(&path)
        .output()
        .expect("sha256sum");
    let digest = String::from_utf8_lossy(&digest.stdout);
    assert_eq!(checked["report-sha256"].as_str(), digest.split(' ').next());
    assert_eq!(checked["broken"], serde_json::json!([]));
    // A broken promise is in the report too.
    let runtime = liar(&place, "l['readonlyPaths'] = []");
    run(&place, &runtime, "agent", &options).fails_with(&["read-only /proc/sys: expected ro"]);
    let found: Value = serde_json::from_slice(&fs::read(&path).expect("a report")).expect("JSON");
    assert_eq!(found["kept"], false);
    // A report that cannot be written keeps the workload from running.
    let finished = run(&place, &real, "agent", &["--report", "/no/where/report"]);
    finished.fails_with(&["write /no/where/report"]);
    assert_eq!(finished.stdout, "");
}

#[test]
fn what_a_request_brings_in_is_promised_too() {
    let Some(place) = Place::new() else { return };
    let directory = place.path("data");
    fs::create_dir(&directory).expect("mkdir");
    fs::write(place.path("token"), "x").expect("write");
    let volume = format!("{}:/data", directory.display());
    let read_only = format!("{}:/again:ro", directory.display());
    let secret = format!("{}:/run/secrets/token", place.path("token").display());
    let context = directory.to_str().expect("UTF-8");
    let more = [
        "--volume",
        &volume,
        "--volume",
        &read_only,
        "--secret",
        &secret,
        "--context",
        context,
        "--workspace",
        context,
        "--tmpfs",
        "/scratch",
        "--user",
        "5",
        "--additional-group",
        "77",
    ];
    for mode in ["agent", "strict-agent"] {
        let mut all = more.to_vec();
        let report = place.path("report");
        all.extend(["--report", report.to_str().expect("UTF-8")]);
        let real = Path::new(support::NUCLEUS).with_file_name("nucleus-runtime");
        run(&place, &real, mode, &all).exits(0);
    }
    let runtime = liar(&place, "m['/again']['options'] = ['bind']");
    run(&place, &runtime, "strict-agent", &more).fails_with(&["mount /again: expected"]);
    let runtime = liar(&place, "m['/run/secrets/token']['source'] = '/etc/hostname'");
    run(&place, &runtime, "strict-agent", &more).fails_with(&["mount /run/secrets/token: expected"]);
}
