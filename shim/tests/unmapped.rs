//! Where there is no user namespace to be had, as in a chroot: what agent mode makes of it with and without consent.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use support::{Finished, Place};

fn run(place: &Place, options: &[&str], command: &[&str]) -> Finished {
    let args = [&["run"], options, &["--"], command].concat();
    let mut chrooted = place.in_chroot(&place.command(&args));
    chrooted.output().expect("start nucleus").into()
}

const CONSENT: &str = "--allow-degraded-security";

#[test]
fn without_consent_the_error_names_it() {
    let Some(place) = Place::new() else { return };
    let finished = run(&place, &[], &["true"]);
    finished.fails_with(&["user namespace: none is made in a chroot", CONSENT]);
    place.expect_nothing_left();
}

#[test]
fn strict_modes_never_go_without() {
    let Some(place) = Place::new() else { return };
    run(&place, &["--mode", "strict-agent"], &["true"]).fails_with(&["user namespace"]);
    run(&place, &["--mode", "strict-agent", CONSENT], &["true"])
        .fails_with(&["user namespace", "strict-agent mode refuses that"]);
}

#[test]
fn with_consent_the_workload_is_a_user_of_the_host_who_has_nothing() {
    let Some(place) = Place::new() else { return };
    let script =
        "id -u; id -g; id -G; cat /proc/self/uid_map; grep ^Cap /proc/self/status; touch ~/file /tmp/file";
    let finished = run(
        &place,
        &[CONSENT, "--user", "0", "--additional-group", "5"],
        &["sh", "-c", script],
    );
    let lines: Vec<&str> = finished.exits(0).lines().collect();
    let [uid, gid, groups, map, caps @ ..] = lines.as_slice() else {
        panic!("{finished:?}")
    };
    // The ranges of ids that no user has begin at 524288, each with 65536 of them.
    let first: u32 = uid.parse().expect("a number");
    assert!(first >= 524_288 && first.is_multiple_of(65_536), "{finished:?}");
    assert_eq!(*gid, (first + 1000).to_string(), "{finished:?}");
    assert_eq!(*groups, format!("{} {}", first + 1000, first + 5), "{finished:?}");
    assert_eq!(
        map.split_whitespace().collect::<Vec<_>>(),
        ["0", "0", "4294967295"],
        "{finished:?}"
    );
    assert_eq!(caps.len(), 5, "{finished:?}");
    assert!(
        caps.iter().all(|line| line.ends_with("\t0000000000000000")),
        "{finished:?}"
    );
    assert!(
        finished.stderr.starts_with("nucleus: warning: user namespace: "),
        "{finished:?}"
    );
}

/// Each promise is held against the kernel, so that a report can be had.
#[test]
fn the_report_tells_of_no_user_namespace_and_of_all_else() {
    let Some(place) = Place::new() else { return };
    let report = place.path("report.json");
    let name = report.to_str().expect("UTF-8");
    run(&place, &[CONSENT, "--report", name], &["true"]).exits(0);
    let text = fs::read_to_string(&report).expect("a report");
    assert!(
        !text.contains("namespace user") && !text.contains("user ids"),
        "{text}"
    );
    for promise in [
        "namespace mnt",
        "capabilities CapEff",
        "seccomp filter",
        "landlock",
    ] {
        assert!(text.contains(promise), "{promise}: {text}");
    }
}

#[test]
fn capabilities_would_be_the_hosts_own_and_are_refused() {
    let Some(place) = Place::new() else { return };
    let policy = place.path("caps.toml");
    fs::write(
        &policy,
        "bounding = [\"CAP_CHOWN\"]\neffective = [\"CAP_CHOWN\"]\npermitted = [\"CAP_CHOWN\"]\n",
    )
    .expect("write");
    let policy = policy.to_str().expect("UTF-8");
    let finished = run(&place, &[CONSENT, "--caps-policy", policy], &["true"]);
    finished.fails_with(&["caps-policy: ", "the host's own"]);
    // In a user namespace they are taken.
    place.sh(&["--caps-policy", policy], "true").exits(0);
}

#[test]
fn of_a_writable_workspace_only_what_everyone_may_write_can_be_changed() {
    let Some(place) = Place::new() else { return };
    fs::set_permissions(place.path(""), Permissions::from_mode(0o755)).expect("chmod");
    let workspace = place.path("workspace");
    fs::create_dir(&workspace).expect("mkdir");
    for (name, mode) in [("theirs", 0o644), ("secret", 0o600), ("everyones", 0o666)] {
        let path = workspace.join(name);
        fs::write(&path, "before").expect("write");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("chmod");
        chown(&path, Some(1000), Some(1000)).expect("chown");
    }
    let script = "for name in theirs secret everyones; do cat $name; echo after >$name; done";
    let options = [CONSENT, "--workspace", workspace.to_str().expect("UTF-8")];
    let finished = run(&place, &options, &["sh", "-c", script]);
    assert_eq!(finished.stdout, "beforebefore", "{finished:?}");
    assert!(
        finished
            .stderr
            .contains("without a user namespace no ids are mapped"),
        "{finished:?}"
    );
    let read = |name: &str| fs::read_to_string(workspace.join(name)).expect("read");
    assert_eq!(
        [read("theirs"), read("secret"), read("everyones")],
        ["before", "before", "after\n"]
    );
}

#[test]
fn what_is_entered_later_is_the_same_sandbox() {
    let Some(place) = Place::new() else { return };
    run(
        &place,
        &[CONSENT, "--detach", "--name", place.name()],
        &["sleep", "1000"],
    )
    .exits(0);
    let first = place.nucleus(&[
        "exec",
        place.name(),
        "sh",
        "-c",
        "id -u; ls -d /work* /srv; echo >/usr/x",
    ]);
    let uid: u32 = first
        .stdout
        .lines()
        .next()
        .and_then(|line| line.parse().ok())
        .expect("an id");
    assert!(uid >= 524_288 + 1000, "{first:?}");
    assert!(first.stderr.contains("Read-only file system"), "{first:?}");
    assert!(
        first.stderr.contains("/srv"),
        "the host's root is there: {first:?}"
    );
    place.nucleus(&["rm", "--force", place.name()]).exits(0);
}
