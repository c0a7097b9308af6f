//! The annotation `dev.nucleus.promises`: whoever does not hold the container against its promises neither starts it
//! nor puts a process into it, and whoever does may trace it while it waits, without root too.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use support::rootless::{Rootless, USER, has_map_helpers, map_granted_ids, with_granted_ids};
use support::{Host, eventually, finish, probe};

const DIGEST: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn promised(config: &mut Value) {
    config["annotations"]["dev.nucleus.promises"] = json!(DIGEST);
    config["process"]["args"] = json!(["sh", "-c", "echo ran >/tmp/ran; exec sleep 1000"]);
}

#[test]
fn a_container_with_promises_is_started_by_who_names_them() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(promised);
    let id = host.id();
    host.ok(&["create", "--bundle", bundle.path(), &id]);
    let other = DIGEST.replace('0', "1");
    for (args, words) in [
        (vec!["start", &id], "--promises-sha256 (nucleus start does)"),
        (vec!["start", "--promises-sha256", &other, &id], &other),
        (
            vec!["start", "--promises-sha256", "abc", &id],
            "not a SHA-256 digest",
        ),
        (
            vec!["exec", &id, "true"],
            "is not started yet, and is held against its promises",
        ),
    ] {
        let refused = host.run(&args);
        assert_eq!(refused.code, 1, "{args:?}: {refused}");
        assert!(refused.stderr.contains(words), "{args:?}: {refused}");
        assert_eq!(host.state(&id)["status"], "created", "{args:?}");
    }
    host.ok(&["start", "--promises-sha256", &DIGEST.to_uppercase(), &id]);
    eventually("it runs", || {
        host.run(&["exec", &id, "cat", "/tmp/ran"]).stdout == "ran\n"
    });
    // It is over with the start.
    assert_eq!(host.run(&["start", "--promises-sha256", DIGEST, &id]).code, 1);
}

#[test]
fn promises_are_not_asked_for_where_there_are_none_nor_named() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|_| {});
    let id = host.id();
    host.ok(&["create", "--bundle", bundle.path(), &id]);
    let refused = host.run(&["start", "--promises-sha256", DIGEST, &id]);
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.stderr.contains("is not its annotation"), "{refused}");
    host.ok(&["start", &id]);
}

/// A process that has changed its user is not the user's to trace, without the annotation.
#[test]
fn a_user_traces_the_process_that_waits_to_be_held_against_its_promises() {
    let Some(rootless) = Rootless::new() else { return };
    let Some(launcher) = probe::build("launcher") else {
        return;
    };
    if !has_map_helpers() {
        return;
    }
    let looker = rootless.host.directory().join("launcher");
    fs::copy(launcher, &looker).expect("copy the launcher");
    for with in [true, false] {
        let bundle = rootless.bundle(|config| {
            map_granted_ids(config, 1000);
            config["process"]["user"] = json!({"uid": 50, "gid": 50});
            config["process"]["capabilities"] = json!({});
            if with {
                promised(config);
            }
        });
        let id = rootless.host.id();
        let created = with_granted_ids(&rootless, &[], &["create", "--bundle", bundle.path(), &id]);
        assert_eq!(created.code, 0, "{created}");
        let pid = rootless.host.state(&id)["pid"].to_string();
        let mut seize = Command::new("setpriv");
        let user = USER.to_string();
        seize
            .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
            .arg(&looker)
            .args(["--seize", &pid]);
        let errno = if with { 0 } else { libc::EPERM };
        assert_eq!(
            finish(seize).stdout,
            format!("seize {errno}\n"),
            "promises: {with}"
        );
    }
}
