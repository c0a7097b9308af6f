//! Landlock beside what else a process is under: filters, user namespaces, hooks, `exec`.

mod confined;
mod support;

use confined::{annotate, confined, files, fill, host};
use serde_json::json;
use std::fs;
use std::os::unix::fs::chown;
use support::probe;

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
