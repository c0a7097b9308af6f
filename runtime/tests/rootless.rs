//! Containers of an unprivileged user: user 12345, who needs no entry anywhere, with its own id alone; and with
//! further ids through newuidmap(1), granted in a private copy of `/etc`.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use support::eventually;
use support::rootless::{
    GRANTED, Rootless, USER, has_map_helpers, map_granted_ids, remove_namespace, shell, with_granted_ids,
};

#[test]
fn a_user_maps_its_own_id_without_any_help() {
    let Some(rootless) = Rootless::new() else { return };
    let (run, bundle) = rootless.run_bundle(|config| {
        shell(
            config,
            "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; \
             echo x > /dev/null && touch /tmp/made && hostname",
        );
    });
    let words: Vec<&str> = run.stdout.split_whitespace().collect();
    let own = ["0", "12345", "1"];
    let expected = [&["0", "0"][..], &own, &own, &["deny", "container"]].concat();
    assert_eq!(words, expected, "{run}");
    let made = fs::metadata(bundle.rootfs("tmp/made")).expect("the file");
    assert_eq!((made.uid(), made.gid()), (USER, USER));
}

#[test]
fn the_whole_life_of_a_container() {
    let Some(rootless) = Rootless::new() else { return };
    let bundle = rootless.bundle(|config| {
        config["process"]["args"] = json!(["sleep", "1000"]);
        config["process"]["oomScoreAdj"] = json!(500);
    });
    let id = rootless.host.id();
    rootless.ok(&["create", "--bundle", bundle.path(), &id]);
    assert!(
        rootless.run.join("nucleus-runtime").join(&id).exists(),
        "below XDG_RUNTIME_DIR"
    );
    assert_eq!(rootless.status(&id), "created");
    rootless.ok(&["start", &id]);
    assert_eq!(rootless.status(&id), "running");

    let script = "id -u; cat /proc/1/comm /proc/self/oom_score_adj; grep CapInh /proc/self/status; exit 7";
    let exec = rootless.run(&["exec", &id, "sh", "-c", script]);
    assert_eq!(exec.code, 7, "{exec}");
    let words: Vec<&str> = exec.stdout.split_whitespace().collect();
    assert_eq!(
        words,
        ["0", "sleep", "500", "CapInh:", "0000000000000000"],
        "{exec}"
    );

    let pid_file = rootless.run.join("pid");
    let text = pid_file.to_str().expect("UTF-8");
    rootless.ok(&["exec", "--detach", "--pid-file", text, &id, "sleep", "1000"]);
    let pid = fs::read_to_string(&pid_file).expect("the pid file");
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).expect("the process");
    assert_eq!(comm, "sleep\n");

    let refused = rootless.run(&["delete", &id]);
    assert!(
        refused.code == 1 && refused.stderr.contains("running"),
        "{refused}"
    );
    rootless.ok(&["kill", &id, "KILL"]);
    eventually("the container has stopped", || rootless.status(&id) == "stopped");
    rootless.ok(&["delete", &id]);
    assert_eq!(rootless.host.leftovers(&id), [""; 0]);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_terminal_is_the_users() {
    let Some(rootless) = Rootless::new() else { return };
    let (run, _) = rootless.run_bundle(|config| {
        config["process"]["terminal"] = json!(true);
        shell(config, "test -t 0 && stat -c '%u %t:%T' /dev/console");
    });
    assert!(run.stdout.contains("0 88:0"), "{run}");
}

#[test]
fn the_hosts_network_needs_a_bound_sys() {
    let Some(rootless) = Rootless::new() else { return };
    let (refused, _) = rootless.run_bundle(|config| remove_namespace(config, "network"));
    assert_eq!(refused.code, 1, "{refused}");
    assert!(
        refused
            .stderr
            .contains("mounts[4] (/sys): sysfs in a user namespace"),
        "{refused}"
    );

    let (run, _) = rootless.run_bundle(|config| {
        remove_namespace(config, "network");
        config["mounts"][4] = json!({
            "destination": "/sys", "type": "none", "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]
        });
        shell(
            config,
            "ls -d /sys/kernel; touch /sys/made 2>/dev/null || echo read-only; readlink /proc/self/ns/net",
        );
    });
    let own = fs::read_link("/proc/self/ns/net").expect("a namespace");
    assert_eq!(
        run.stdout,
        format!("/sys/kernel\nread-only\n{}\n", own.display()),
        "{run}"
    );
}

#[test]
fn another_id_than_0_can_be_the_one() {
    let Some(rootless) = Rootless::new() else { return };
    let (run, _) = rootless.run_bundle(|config| {
        for ids in ["uidMappings", "gidMappings"] {
            config["linux"][ids][0]["containerID"] = json!(1000);
        }
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        shell(config, "id -u; touch /tmp/made && stat -c %u:%g /tmp/made");
    });
    assert_eq!(run.stdout, "1000\n1000:1000\n", "{run}");
}

#[test]
fn what_a_user_cannot_do_is_refused_with_its_reason() {
    let Some(rootless) = Rootless::new() else { return };
    type Edit = fn(&mut Value);
    let cases: [(Edit, &str); 6] = [
        (
            |config| remove_namespace(config, "user"),
            "without root the container needs a user namespace",
        ),
        (
            |config| config["linux"]["resources"] = json!({"memory": {"limit": 100_000_000}}),
            "cgroup",
        ),
        (
            |config| config["process"]["user"]["uid"] = json!(7),
            "process.user.uid: 7 has no uid mapping",
        ),
        (
            |config| config["process"]["user"]["additionalGids"] = json!([0]),
            "process.user.additionalGids",
        ),
        (
            |config| {
                let options = config["mounts"][2]["options"].as_array_mut().expect("a list");
                options.push(json!("gid=5"));
            },
            "mounts[2] (/dev/pts): option gid=5: 5 has no gid mapping",
        ),
        (
            |config| config["linux"]["netDevices"] = json!({"lo": {}}),
            "linux.netDevices cannot be enforced: moving network devices needs root",
        ),
    ];
    for (edit, expected) in cases {
        let (run, _) = rootless.run_bundle(edit);
        assert_eq!(run.code, 1, "{run}");
        assert!(run.stderr.contains(expected), "{expected}: {run}");
        assert_eq!(run.stderr.lines().count(), 1, "{run}");
    }
}

#[test]
fn landlock_holds_without_root() {
    let Some(rootless) = Rootless::new() else { return };
    if nucleus_runtime::host::landlock_abi() == 0 {
        support::lacking("a kernel with Landlock");
        return;
    }
    let rules = json!({
        "ruleset": {"handledAccessFS": ["read_file", "write_file", "make_reg"]},
        "rules": {"pathBeneath": [
            {"allowedAccess": ["read_file"], "paths": ["/bin", "/etc/group"]},
            {"allowedAccess": ["read_file", "write_file", "make_reg"], "paths": ["/tmp"]}
        ]},
        "disableBestEffort": true
    });
    for no_new_privileges in [true, false] {
        let (run, bundle) = rootless.run_bundle(|config| {
            config["annotations"] = json!({"dev.nucleus.landlock": rules.to_string()});
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            shell(
                config,
                "cat /etc/group; cat /etc/passwd; echo x > /tmp/made; echo x > /root/made",
            );
        });
        assert_eq!(run.stdout, "root:x:0:\n", "{run}");
        assert_eq!(run.stderr.matches("Permission denied").count(), 2, "{run}");
        assert!(
            bundle.rootfs("tmp/made").exists() && !bundle.rootfs("root/made").exists(),
            "{run}"
        );
    }
}

#[test]
fn a_pod_of_a_user_shares_namespaces() {
    let Some(rootless) = Rootless::new() else { return };
    let first = rootless.bundle(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    let id = rootless.host.id();
    rootless.ok(&["run", "--detach", "--bundle", first.path(), &id]);
    let state: Value = serde_json::from_str(&rootless.ok(&["state", &id])).expect("JSON");
    let pid = state["pid"].as_u64().expect("a pid");
    let shared = [
        ("user", "user"),
        ("network", "net"),
        ("ipc", "ipc"),
        ("pid", "pid"),
    ];
    let (run, _) = rootless.run_bundle(|config| {
        for (typ, name) in shared {
            remove_namespace(config, typ);
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
            namespaces.push(json!({"type": typ, "path": format!("/proc/{pid}/ns/{name}")}));
        }
        shell(
            config,
            "for n in user net ipc pid; do readlink /proc/self/ns/$n; done; cat /proc/1/comm; hostname",
        );
    });
    let expected: String = shared
        .iter()
        .map(|(_, name)| fs::read_link(format!("/proc/{pid}/ns/{name}")).expect("a namespace"))
        .map(|link| format!("{}\n", link.display()))
        .collect();
    assert_eq!(run.stdout, format!("{expected}sleep\ncontainer\n"), "{run}");
}

#[test]
fn the_runtime_runs_inside_a_user_namespace_as_its_root() {
    let Some(rootless) = Rootless::new() else { return };
    // As under rootless podman: user 0, but without privilege over devices and cgroups of the host.
    let bundle = rootless.bundle(|config| {
        remove_namespace(config, "user");
        let linux = config["linux"].as_object_mut().expect("an object");
        linux.remove("uidMappings");
        linux.remove("gidMappings");
        shell(
            config,
            "echo x > /dev/null && stat -c %t:%T /dev/null && id -u && cat /proc/self/uid_map",
        );
    });
    let id = rootless.host.id();
    let root = rootless.run.join("inside");
    let args = [
        "--root",
        root.to_str().expect("UTF-8"),
        "--cgroup-manager",
        "disabled",
        "run",
        "--bundle",
        bundle.path(),
        &id,
    ];
    let run = rootless.as_user(&["unshare", "--map-root-user", "--mount"], &args);
    let words: Vec<&str> = run.stdout.split_whitespace().collect();
    assert_eq!(words, ["1:3", "0", "0", "12345", "1"], "{run}");
}

#[test]
fn granted_ids_are_mapped_by_newuidmap() {
    let Some(rootless) = Rootless::new() else { return };
    if !has_map_helpers() {
        return;
    }
    let bundle = rootless.bundle(|config| {
        map_granted_ids(config, 1000);
        config["process"]["user"] = json!({"uid": 50, "gid": 60, "additionalGids": [70, 80]});
        let options = config["mounts"][2]["options"].as_array_mut().expect("a list");
        options.push(json!("gid=5"));
        shell(
            config,
            "id -u; id -G; cat /proc/self/setgroups; touch /tmp/made; stat -c %g /dev/pts/ptmx",
        );
    });
    fs::set_permissions(bundle.rootfs("tmp"), fs::Permissions::from_mode(0o777)).expect("chmod");
    let id = rootless.host.id();
    let run = with_granted_ids(&rootless, &[], &["run", "--bundle", bundle.path(), &id]);
    assert_eq!(run.stdout, "50\n60 70 80\nallow\n0\n", "{run}");
    let made = fs::metadata(bundle.rootfs("tmp/made")).expect("the file");
    assert_eq!((made.uid(), made.gid()), (GRANTED + 49, GRANTED + 59));
}

#[test]
fn a_container_with_granted_ids_is_entered_and_ended() {
    let Some(rootless) = Rootless::new() else { return };
    if !has_map_helpers() {
        return;
    }
    let bundle = rootless.bundle(|config| {
        map_granted_ids(config, 1000);
        config["process"]["user"] = json!({"uid": 50, "gid": 60});
        config["process"]["args"] = json!(["sleep", "1000"]);
    });
    let id = rootless.host.id();
    let run = with_granted_ids(
        &rootless,
        &[],
        &["run", "--detach", "--bundle", bundle.path(), &id],
    );
    assert_eq!(run.code, 0, "{run}");
    let exec = rootless.ok(&["exec", "--user", "90:91", "--additional-gids", "92", &id, "id"]);
    assert_eq!(exec, "uid=90 gid=91 groups=92\n");
    rootless.ok(&["kill", &id, "TERM"]);
    rootless.ok(&["kill", &id, "KILL"]);
    eventually("the container has stopped", || rootless.status(&id) == "stopped");
    rootless.ok(&["delete", &id]);
}

#[test]
fn ids_that_are_not_granted_are_refused() {
    let Some(rootless) = Rootless::new() else { return };
    if !has_map_helpers() {
        return;
    }
    let bundle = rootless.bundle(|config| map_granted_ids(config, 1001));
    let id = rootless.host.id();
    let run = with_granted_ids(&rootless, &[], &["run", "--bundle", bundle.path(), &id]);
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains("write the id maps: newuidmap"), "{run}");
    assert!(run.stderr.contains("/etc/subuid"), "{run}");
    assert_eq!(rootless.host.leftovers(&id), [""; 0]);
}

#[test]
fn a_user_without_a_place_for_states_hears_what_to_do() {
    let Some(rootless) = Rootless::new() else { return };
    let bundle = rootless.bundle(|_| {});
    let without = ["env", "-u", "XDG_RUNTIME_DIR"];
    let run = rootless.as_user(&without, &["run", "--bundle", bundle.path(), "one"]);
    assert_eq!(run.code, 1, "{run}");
    for word in [
        "/run/nucleus-runtime",
        "--root",
        "XDG_RUNTIME_DIR",
        "Permission denied",
    ] {
        assert!(run.stderr.contains(word), "{word}: {run}");
    }
}

/// Whoever prepares a network for a user owns it through a user namespace above the container's, in which the runtime
/// has no privilege: it hands the runtime its own namespace.
#[test]
fn a_network_of_an_outer_user_namespace_is_inherited_and_cannot_be_changed() {
    let Some(rootless) = Rootless::new() else { return };
    let bundle = rootless.bundle(|config| {
        remove_namespace(config, "network");
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.push(json!({"type": "network", "path": "/proc/self/ns/net"}));
        // The kernel shows it only to the network's own user namespace.
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.retain(|mount| mount["type"] != "sysfs");
        shell(config, "sleep 1000");
    });
    let id = rootless.host.id();
    // The outer namespace has the user as its root; the inner one, where the runtime is, has it as itself.
    let ready = rootless.run.join("ready");
    let script = format!(
        "ip link set lo up; ip link add given type veth peer name other; readlink /proc/self/ns/net > {ready}; \
         unshare -U --map-user=12345 --map-group=12345 sh -c '\
         PROGRAM=$0; $PROGRAM create --bundle {bundle} {id} && $PROGRAM start {id} && readlink /proc/self/ns/net && \
         $PROGRAM exec {id} sh -c \"readlink /proc/self/ns/net; ip link set lo down 2>&1; cat /proc/net/dev\"; grep CapEff /proc/self/status' \"$0\"",
        ready = ready.display(),
        bundle = bundle.path(),
    );
    let run = rootless.as_user(&["unshare", "-Urn", "sh", "-c", &script], &[]);
    let made = fs::read_to_string(&ready).expect("the outer namespace");
    assert_eq!(run.stdout.matches(made.trim()).count(), 2, "{run}");
    assert!(run.stdout.contains("given:"), "{run}");
    assert!(run.stdout.contains("Operation not permitted"), "{run}");
    assert!(run.stdout.contains("CapEff:\t0000000000000000"), "{run}");
    // From elsewhere, `exec` has to join it, and has no privilege for that: it never runs in another network.
    let elsewhere = rootless.run(&["exec", &id, "true"]);
    assert!(
        elsewhere.code != 0 && elsewhere.stderr.contains("setns"),
        "{elsewhere}"
    );
    rootless.ok(&["kill", &id, "KILL"]);
    eventually("the container has stopped", || rootless.status(&id) == "stopped");
    rootless.ok(&["delete", &id]);
}
