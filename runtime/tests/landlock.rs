//! The annotation `dev.nucleus.landlock`: each right and scope is attacked from inside.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use support::{Bundle, Finished, Host, lacking, probe};

const ANNOTATION: &str = "dev.nucleus.landlock";
const ENFORCED: &str = "dev.nucleus.landlock.enforced";

const EACCES: i32 = libc::EACCES;
const EPERM: i32 = libc::EPERM;

/// Every right of files but `refer`.
const ALL: [&str; 15] = [
    "execute",
    "write_file",
    "read_file",
    "read_dir",
    "remove_dir",
    "remove_file",
    "make_char",
    "make_dir",
    "make_reg",
    "make_sock",
    "make_fifo",
    "make_block",
    "make_sym",
    "truncate",
    "ioctl_dev",
];

/// The newest ABI that the annotation's words need.
const NEEDED_ABI: u32 = 6;

/// Nothing where the kernel cannot do it, or where the tests cannot run at all.
fn host() -> Option<Host> {
    let host = Host::new()?;
    if nucleus_runtime::host::landlock_abi() < NEEDED_ABI {
        lacking("a kernel with Landlock ABI 6 (Linux 6.12)");
        return None;
    }
    Some(host)
}

fn handled() -> Vec<&'static str> {
    [&ALL[..], &["refer"]].concat()
}

/// A ruleset for all rights of files, and these rules beside the one that lets the probe run.
fn files(rules: Value) -> Value {
    let mut paths = vec![json!({"allowedAccess": ["execute", "read_file", "read_dir"], "paths": ["/bin"]})];
    paths.extend(rules.as_array().expect("a list").clone());
    json!({
        "ruleset": {"handledAccessFS": handled()},
        "rules": {"pathBeneath": paths},
        "minABI": 1,
        "disableBestEffort": true
    })
}

fn annotate(config: &mut Value, rules: &Value) {
    config["annotations"][ANNOTATION] = json!(rules.to_string());
}

/// Directories with something of each kind in them.
fn fill(bundle: &Bundle, directories: &[&str]) {
    for directory in directories {
        fs::create_dir_all(bundle.rootfs(directory).join("dir")).expect("mkdir");
        for name in ["file", "doomed", "moved", "linked"] {
            fs::write(bundle.rootfs(directory).join(name), "content").expect("write");
        }
        fs::copy(
            bundle.rootfs("bin/busybox"),
            bundle.rootfs(directory).join("true"),
        )
        .expect("copy");
    }
}

/// Runs the probe once with the rules and once without: with them each attempt ends with the first errno, without
/// them with the second, so that it is Landlock that makes the difference.
fn attack(
    host: &Host,
    rules: &Value,
    attempts: &[(&str, i32, i32)],
    prepare: impl Fn(&Bundle),
    edit: impl Fn(&mut Value),
) {
    let Some(probe) = probe::build("confined") else {
        return;
    };
    for with in [true, false] {
        let bundle = host.bundle(|config| {
            let mut args = vec!["confined"];
            args.extend(attempts.iter().map(|(attempt, ..)| *attempt));
            config["process"]["args"] = json!(args);
            config["linux"]["resources"] = json!({"devices": [{"allow": true, "access": "rwm"}]});
            edit(config);
            if with {
                annotate(config, rules);
            }
        });
        fs::copy(&probe, bundle.rootfs("bin/confined")).expect("copy the probe");
        prepare(&bundle);
        let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
        let expected: Vec<String> = attempts
            .iter()
            .map(|(attempt, confined, free)| format!("{attempt} {}", if with { confined } else { free }))
            .collect();
        let seen: Vec<&str> = run.stdout.lines().collect();
        assert_eq!(seen, expected, "with rules: {with}\n{run}");
    }
}

/// A container whose program is the probe.
fn confined(
    host: &Host,
    rules: &Value,
    attempts: &[&str],
    edit: impl FnOnce(&mut Value),
) -> Option<Finished> {
    let probe = probe::build("confined")?;
    let bundle = host.bundle(|config| {
        config["process"]["args"] = json!([&["confined"], attempts].concat());
        annotate(config, rules);
        edit(config);
    });
    fs::copy(&probe, bundle.rootfs("bin/confined")).expect("copy the probe");
    fill(&bundle, &["free", "closed"]);
    Some(host.run(&["run", "--bundle", bundle.path(), &host.id()]))
}

#[test]
fn each_right_of_files_is_refused_where_it_is_not_allowed() {
    let Some(host) = host() else { return };
    let rules = files(json!([
        {"allowedAccess": ["read_file", "read_dir"], "paths": ["/closed"]},
        {"allowedAccess": ALL, "paths": ["/free"]}
    ]));
    let attempts = [
        ("read:/closed/file", 0, 0),
        ("list:/closed", 0, 0),
        ("read:/etc/passwd", EACCES, 0),
        ("list:/etc", EACCES, 0),
        ("write:/closed/file", EACCES, 0),
        ("truncate:/closed/file", EACCES, 0),
        ("exec:/closed/true", EACCES, 0),
        ("unlink:/closed/doomed", EACCES, 0),
        ("rmdir:/closed/dir", EACCES, 0),
        ("create:/closed/new", EACCES, 0),
        ("mkdir:/closed/newdir", EACCES, 0),
        ("symlink:/closed/symlink", EACCES, 0),
        ("fifo:/closed/fifo", EACCES, 0),
        ("char:/closed/char", EACCES, 0),
        ("block:/closed/block", EACCES, 0),
        ("socket:/closed/socket", EACCES, 0),
        ("rename:/closed/moved:/closed/renamed", EACCES, 0),
        ("link:/closed/linked:/closed/link", EACCES, 0),
        ("write:/free/file", 0, 0),
        ("truncate:/free/file", 0, 0),
        ("exec:/free/true", 0, 0),
        ("unlink:/free/doomed", 0, 0),
        ("rmdir:/free/dir", 0, 0),
        ("create:/free/new", 0, 0),
        ("mkdir:/free/newdir", 0, 0),
        ("symlink:/free/symlink", 0, 0),
        ("fifo:/free/fifo", 0, 0),
        ("char:/free/char", 0, 0),
        ("block:/free/block", 0, 0),
        ("socket:/free/socket", 0, 0),
        ("rename:/free/moved:/free/renamed", 0, 0),
    ];
    attack(
        &host,
        &rules,
        &attempts,
        |bundle| fill(bundle, &["free", "closed"]),
        |_| {},
    );
}

#[test]
fn files_move_between_directories_only_with_refer() {
    let Some(host) = host() else { return };
    let rules = files(json!([
        {"allowedAccess": ALL, "paths": ["/a", "/b"]},
        {"allowedAccess": handled(), "paths": ["/c", "/d"]}
    ]));
    let attempts = [
        ("rename:/a/moved:/b/from-a", libc::EXDEV, 0),
        ("link:/a/linked:/b/link", libc::EXDEV, 0),
        ("rename:/c/moved:/d/from-c", 0, 0),
        ("link:/c/linked:/d/link", 0, 0),
    ];
    attack(
        &host,
        &rules,
        &attempts,
        |bundle| fill(bundle, &["a", "b", "c", "d"]),
        |_| {},
    );
}

/// Rights of directories are in the rules too: the kernel would refuse them for a file.
#[test]
fn a_file_gets_the_rights_that_files_have() {
    let Some(host) = host() else { return };
    let rules = files(json!([
        {"allowedAccess": ["read_file", "read_dir", "make_reg", "remove_file"], "paths": ["/etc/passwd", "/link"]},
        {"allowedAccess": ["write_file"], "paths": ["/closed/file"]},
        {"allowedAccess": ["make_reg"], "paths": ["/etc/group"]},
        {"allowedAccess": ["read_file", "write_file"], "paths": ["/dev/null"]},
        {"allowedAccess": ["read_file", "write_file", "ioctl_dev"], "paths": ["/dev/zero"]}
    ]));
    let attempts = [
        ("read:/etc/passwd", 0, 0),
        ("write:/etc/passwd", EACCES, 0),
        ("read:/etc/group", EACCES, 0),
        ("read:/linked/file", 0, 0),
        ("write:/closed/file", 0, 0),
        ("truncate:/closed/file", EACCES, 0),
        ("ioctl:/dev/null", EACCES, libc::ENOTTY),
        ("ioctl:/dev/zero", libc::ENOTTY, libc::ENOTTY),
    ];
    let prepare = |bundle: &Bundle| {
        fill(bundle, &["linked", "closed"]);
        symlink("linked", bundle.rootfs("link")).expect("symlink");
    };
    attack(&host, &rules, &attempts, prepare, |_| {});
}

#[test]
fn tcp_ports_are_bound_and_reached_only_by_rule() {
    let Some(host) = host() else { return };
    let rules = json!({
        "ruleset": {"handledAccessNet": ["bind_tcp", "connect_tcp"]},
        "rules": {"netPort": [
            {"allowedAccess": ["bind_tcp"], "ports": [8080]},
            {"allowedAccess": ["connect_tcp"], "ports": [8081, 8082]}
        ]},
        "minABI": 4, "disableBestEffort": true
    });
    // Nobody listens: a connection that may be made is refused by the other end.
    let attempts = [
        ("bind:8080", 0, 0),
        ("bind:8081", EACCES, 0),
        ("connect:8080", EACCES, libc::ECONNREFUSED),
        ("connect:8081", libc::ECONNREFUSED, libc::ECONNREFUSED),
        ("connect:8082", libc::ECONNREFUSED, libc::ECONNREFUSED),
        ("connect:8083", EACCES, libc::ECONNREFUSED),
    ];
    attack(&host, &rules, &attempts, |_| {}, |_| {});
}

fn share(config: &mut Value, typ: &str) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.retain(|namespace| namespace["type"] != typ);
}

#[test]
fn scopes_keep_processes_and_abstract_sockets_outside_out_of_reach() {
    let Some(host) = host() else { return };
    let rules = json!({"ruleset": {"scoped": ["signal", "abstract_unix_socket"]}, "disableBestEffort": true});
    let name = format!("nucleus-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let listener = UnixListener::bind_addr(&address).expect("bind");
    let (signal, connect) = (
        format!("signal:{}", std::process::id()),
        format!("abstract:{name}"),
    );
    let attempts = [
        (signal.as_str(), EPERM, 0),
        (connect.as_str(), EPERM, 0),
        ("signal:0", 0, 0),
    ];
    let edit = |config: &mut Value| {
        share(config, "pid");
        share(config, "network");
    };
    attack(&host, &rules, &attempts, |_| {}, edit);
    drop(listener);
}

#[test]
fn optional_paths_may_be_missing_and_others_not() {
    let Some(host) = host() else { return };
    let rule = |optional: bool| {
        files(json!([
            {"allowedAccess": ["read_file"], "paths": ["/nowhere", "/etc/passwd/x"], "optional": optional},
            {"allowedAccess": ["read_file"], "paths": ["/free"]}
        ]))
    };
    let attempts = ["read:/free/file", "read:/closed/file"];
    let Some(run) = confined(&host, &rule(true), &attempts, |_| {}) else {
        return;
    };
    assert_eq!(run.stdout, "read:/free/file 0\nread:/closed/file 13\n", "{run}");

    let refusal = "landlock: add rule for \"/nowhere\": no such file or directory (ENOENT)\n";
    let Some(run) = confined(&host, &rule(false), &attempts, |_| {}) else {
        return;
    };
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run}");
    assert!(run.stderr.ends_with(refusal), "{run}");

    let bundle = host.bundle(|config| annotate(config, &rule(false)));
    let id = host.id();
    host.ok(&["create", "--bundle", bundle.path(), &id]);
    let start = host.run(&["start", &id]);
    assert_eq!(start.code, 1, "{start}");
    assert!(start.stderr.ends_with(refusal), "{start}");
}

/// A rule follows the links of the root file system, not those of `/proc` that lead to other roots or descriptors.
#[test]
fn a_rule_follows_no_link_of_proc() {
    let Some(host) = host() else { return };
    for path in ["/proc/self/root", "/proc/1/cwd", "/proc/self/fd/0"] {
        let rules = files(json!([{"allowedAccess": ["read_file"], "paths": [path]}]));
        let Some(run) = confined(&host, &rules, &["read:/closed/file"], |_| {}) else {
            return;
        };
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run}");
        assert!(run.stderr.contains("ELOOP"), "{run}");
    }
}

#[test]
fn a_kernel_that_is_too_old_fails_the_start_best_effort_or_not() {
    let Some(host) = host() else { return };
    for strict in [true, false] {
        let bundle = host.bundle(|config| {
            let mut rules = files(json!([]));
            rules["minABI"] = json!(99);
            rules["disableBestEffort"] = json!(strict);
            annotate(config, &rules);
        });
        let id = host.id();
        let run = host.run(&["run", "--bundle", bundle.path(), &id]);
        assert_eq!(run.code, 1, "{run}");
        assert!(
            run.stderr
                .contains("minABI 99 cannot be enforced: this kernel's Landlock has ABI"),
            "{run}"
        );
        assert_eq!(host.leftovers(&id), [""; 0]);
    }
}

#[test]
fn what_is_wrong_in_the_annotation_is_named() {
    let Some(host) = host() else { return };
    let path_rule = |rule: Value| {
        json!({"ruleset": {"handledAccessFS": ["read_file"]}, "rules": {"pathBeneath": [rule]}}).to_string()
    };
    let table = [
        ("{".to_owned(), "EOF"),
        ("[]".to_owned(), "annotations dev.nucleus.landlock"),
        ("{}".to_owned(), "missing field `ruleset`"),
        (r#"{"ruleset":{}}"#.to_owned(), "ruleset: nothing is handled"),
        (
            r#"{"ruleset":{"handledAccessFS":["fly"]}}"#.to_owned(),
            r#"ruleset.handledAccessFS: unknown word "fly""#,
        ),
        (
            r#"{"ruleset":{"handledAccessNet":["read_file"]}}"#.to_owned(),
            "ruleset.handledAccessNet",
        ),
        (
            r#"{"ruleset":{"scoped":["Signal"]}}"#.to_owned(),
            "ruleset.scoped",
        ),
        (
            r#"{"ruleset":{"scoped":["signal"]},"minAbi":3}"#.to_owned(),
            "unknown field `minAbi`",
        ),
        (
            r#"{"ruleset":{"scoped":["signal"]},"minABI":-1}"#.to_owned(),
            "-1",
        ),
        (
            r#"{"ruleset":{"scoped":["signal"],"scoped":["signal"]}}"#.to_owned(),
            "duplicate field",
        ),
        (
            path_rule(json!({"allowedAccess": ["read_file"], "paths": ["usr"]})),
            r#""usr" is not absolute"#,
        ),
        (
            path_rule(json!({"allowedAccess": ["read_file"], "paths": ["/a\0"]})),
            "NUL",
        ),
        (
            path_rule(json!({"allowedAccess": [], "paths": ["/"]})),
            "rules.pathBeneath[0].allowedAccess: empty",
        ),
        (
            path_rule(json!({"allowedAccess": ["execute"], "paths": ["/"]})),
            r#""execute" is not handled"#,
        ),
        (
            path_rule(json!({"paths": ["/"]})),
            "missing field `allowedAccess`",
        ),
        (
            json!({"ruleset": {"handledAccessNet": ["bind_tcp"]},
                "rules": {"netPort": [{"allowedAccess": ["bind_tcp"], "ports": [65536]}]}})
            .to_string(),
            "65536",
        ),
    ];
    for (text, message) in table {
        let bundle = host.bundle(|config| config["annotations"][ANNOTATION] = json!(text));
        let id = host.id();
        let run = host.run(&["run", "--bundle", bundle.path(), &id]);
        assert_eq!(run.code, 1, "{text}: {run}");
        assert!(run.stderr.contains(message), "{text}: {run}");
        assert!(run.stderr.contains(ANNOTATION), "{text}: {run}");
        assert_eq!(host.leftovers(&id), [""; 0]);
    }
    let bundle = host.bundle(|config| config["annotations"][ENFORCED] = json!("{}"));
    let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
    assert!(run.code == 1 && run.stderr.contains(ENFORCED), "{run}");
}

#[test]
fn a_further_process_is_under_the_same_rules() {
    let Some(host) = host() else { return };
    let Some(probe) = probe::build("confined") else {
        return;
    };
    let rules = files(json!([{"allowedAccess": ["read_file"], "paths": ["/free"]}]));
    let bundle = host.bundle(|config| {
        config["process"]["args"] = json!(["sleep", "1000"]);
        annotate(config, &rules);
    });
    fs::copy(&probe, bundle.rootfs("bin/confined")).expect("copy the probe");
    fill(&bundle, &["free", "closed"]);
    let id = host.id();
    host.ok(&["run", "--detach", "--bundle", bundle.path(), &id]);
    let attempts = ["confined", "read:/free/file", "read:/closed/file", "fds"];
    let expected = "read:/free/file 0\nread:/closed/file 13\n";
    assert_eq!(host.ok(&[&["exec", &id], &attempts[..]].concat()), expected);
    assert_eq!(
        host.ok(&[&["exec", "--user", "1000:1000", &id], &attempts[..]].concat()),
        expected
    );
    // Without no_new_privs, and as a file gives it.
    let process = bundle.file("process.json");
    let text = json!({
        "args": attempts, "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"], "noNewPrivileges": false
    });
    fs::write(&process, text.to_string()).expect("write");
    let path = process.to_str().expect("a path");
    assert_eq!(host.ok(&["exec", "--process", path, &id]), expected);
}

/// Landlock needs `CAP_SYS_ADMIN` then, and comes before it is dropped; the look for `HOME` comes before both.
#[test]
fn without_no_new_privs_the_rules_hold_as_well() {
    let Some(host) = host() else { return };
    let rules = files(json!([{"allowedAccess": ["read_file"], "paths": ["/free"]}]));
    let attempts = [
        "read:/free/file",
        "read:/closed/file",
        "read:/etc/passwd",
        "home",
        "fds",
    ];
    for uid in [0, 1000] {
        let run = confined(&host, &rules, &attempts, |config| {
            config["process"]["noNewPrivileges"] = json!(false);
            config["process"]["user"] = json!({"uid": uid, "gid": uid});
            config["process"]["env"] = json!(["PATH=/bin"]);
        });
        let Some(run) = run else { return };
        let home = if uid == 0 { "/root" } else { "/" };
        let expected = format!("read:/free/file 0\nread:/closed/file 13\nread:/etc/passwd 13\nhome {home}\n");
        assert_eq!(run.stdout, expected, "{run}");
    }
}

#[test]
fn a_filter_need_not_allow_the_calls_of_landlock() {
    let Some(host) = host() else { return };
    let rules = files(json!([{"allowedAccess": ["read_file"], "paths": ["/free"]}]));
    for no_new_privileges in [true, false] {
        let run = confined(
            &host,
            &rules,
            &["read:/free/file", "read:/closed/file"],
            |config| {
                config["process"]["noNewPrivileges"] = json!(no_new_privileges);
                config["linux"]["seccomp"] = json!({
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{
                        "names": ["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "openat2"],
                        "action": "SCMP_ACT_KILL_PROCESS"
                    }]
                });
            },
        );
        let Some(run) = run else { return };
        assert_eq!(run.stdout, "read:/free/file 0\nread:/closed/file 13\n", "{run}");
    }
}

/// The hooks are the operator's: with `no_new_privs` they run before the rules.
#[test]
fn start_hooks_are_not_under_the_rules() {
    let Some(host) = host() else { return };
    let rules = files(json!([{"allowedAccess": ["read_file"], "paths": ["/free", "/made-by-hook"]}]));
    let run = confined(
        &host,
        &rules,
        &["read:/made-by-hook", "create:/made-by-program"],
        |config| {
            config["hooks"] =
                json!({"startContainer": [{"path": "/bin/touch", "args": ["touch", "/made-by-hook"]}]});
        },
    );
    let Some(run) = run else { return };
    assert_eq!(
        run.stdout, "read:/made-by-hook 0\ncreate:/made-by-program 13\n",
        "{run}"
    );
}

#[test]
fn no_descriptor_of_a_rule_stays_open() {
    let Some(host) = host() else { return };
    let rules =
        files(json!([{"allowedAccess": ["read_file"], "paths": ["/free", "/etc", "/dev/null", "/proc"]}]));
    let Some(run) = confined(&host, &rules, &["fds", "read:/etc/passwd"], |_| {}) else {
        return;
    };
    assert_eq!(run.stdout, "read:/etc/passwd 0\n", "{run}");
}

#[test]
fn the_rules_hold_in_a_user_namespace() {
    let Some(host) = host() else { return };
    let Some(probe) = probe::build("confined") else {
        return;
    };
    let rules = files(json!([{"allowedAccess": ["read_file"], "paths": ["/free"]}]));
    for no_new_privileges in [true, false] {
        let bundle = host.bundle(|config| {
            config["process"]["args"] = json!(["confined", "read:/free/file", "read:/closed/file"]);
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            config["linux"]["namespaces"]
                .as_array_mut()
                .expect("a list")
                .push(json!({"type": "user"}));
            for ids in ["uidMappings", "gidMappings"] {
                config["linux"][ids] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
            }
            annotate(config, &rules);
        });
        fs::copy(&probe, bundle.rootfs("bin/confined")).expect("copy the probe");
        fill(&bundle, &["free", "closed"]);
        chown(bundle.rootfs("/"), Some(100_000), Some(100_000)).expect("chown");
        let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
        assert_eq!(run.stdout, "read:/free/file 0\nread:/closed/file 13\n", "{run}");
    }
}

#[test]
fn state_and_features_tell_what_is_enforced() {
    let Some(host) = host() else { return };
    let rules = files(json!([]));
    let id = host.running(|config| annotate(config, &rules));
    let state = host.state(&id);
    let text = state["annotations"][ENFORCED].as_str().expect("an annotation");
    let enforced: Value = serde_json::from_str(text).expect("JSON");
    let abi = nucleus_runtime::host::landlock_abi();
    assert_eq!(enforced, json!({"status": "full", "abi": abi, "missing": []}));
    assert_eq!(state["annotations"][ANNOTATION], json!(rules.to_string()));

    let plain = host.running(|_| {});
    assert_eq!(host.state(&plain)["annotations"], Value::Null);

    let features: Value = serde_json::from_str(&host.ok(&["features"])).expect("JSON");
    assert_eq!(
        features["potentiallyUnsafeConfigAnnotations"],
        json!([ANNOTATION])
    );
    assert_eq!(
        features["annotations"]["dev.nucleus.landlock.abi"],
        json!(abi.to_string())
    );
}
