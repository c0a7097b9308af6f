//! `nucleus` as a user without rights: a home of its own, no control groups, no second id.

mod support;

use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use support::eventually;
use support::user::{UID, User};

#[test]
fn a_user_runs_a_command_in_both_agent_modes() {
    let Some(user) = User::new() else { return };
    for mode in ["agent", "strict-agent"] {
        let script = "id -u; id -g; ls -A ~; ls /proc | grep -c '^[0-9]' ; grep -c : /proc/net/dev; exit 7";
        let finished = user.sh(&["--mode", mode], script);
        let lines: Vec<&str> = finished.exits(7).lines().collect();
        assert_eq!(lines[..2], ["54321", "54321"], "{mode}");
        assert!(
            lines[2].parse::<u32>().expect("a number") <= 5,
            "{mode}: {lines:?}"
        );
        assert_eq!(lines[3], "1", "{mode}");
        let attacks = "
            touch /usr/x 2>/dev/null && echo 1; mount -t tmpfs x /tmp 2>/dev/null && echo 2
            unshare -Ur true 2>/dev/null && echo 3; cat /etc/shadow 2>/dev/null && echo 4
            [ -e /home/../root/.ssh ] && echo 5; echo > /proc/sys/kernel/hostname 2>/dev/null && echo 6
            grep -q '^CapBnd:.*[1-9a-f]' /proc/self/status && echo 7; exit 0";
        assert_eq!(user.sh(&["--mode", mode], attacks).exits(0), "", "{mode}");
    }
    user.expect_nothing_left();
}

#[test]
fn a_home_out_of_reach_keeps_only_copies_of_workspaces_from_being_made() {
    let Some(user) = User::new() else { return };
    let home = tempfile::tempdir().expect("a directory of root's");
    fs::set_permissions(home.path(), PermissionsExt::from_mode(0o700)).expect("chmod");
    let workspace = user.directory("workspace");
    for home in [home.path(), std::path::Path::new("/dev/null")] {
        let run = |args: &[&str]| {
            let mut command = user.command(args);
            let output = command.env_remove("XDG_STATE_HOME").env("HOME", home).output();
            support::Finished::from(output.expect("start"))
        };
        run(&["run", "--", "true"]).exits(0);
        let copying = ["--workspace", &workspace, "--workspace-mode", "copy-in-out"];
        let copied = run(&[&["run"], &copying[..], &["--", "true"]].concat());
        copied.fails_with(&[home.to_str().expect("UTF-8"), "nucleus/workspaces"]);
    }
    user.expect_nothing_left();
}

#[test]
fn a_umask_that_takes_the_users_own_rights_leaves_nothing() {
    let Some(user) = User::new() else { return };
    // What is shared by all sandboxes is there.
    user.sh(&[], "true").exits(0);
    let command = user.command(&["run", "--", "true"]);
    let mut masked = std::process::Command::new("sh");
    masked
        .args(["-c", "umask 777; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .uid(UID)
        .gid(UID);
    for (name, value) in command.get_envs() {
        masked.env(name, value.unwrap_or_default());
    }
    support::Finished::from(masked.output().expect("start")).fails_with(&["open", "Permission denied"]);
    user.expect_nothing_left();
}

#[test]
fn a_users_files_come_in_as_the_users() {
    let Some(user) = User::new() else { return };
    let workspace = user.directory("workspace");
    user.file("workspace/file", "before\n");
    user.sh(
        &["--workspace", &workspace],
        "echo after > file; echo new > new; stat -c %u file",
    )
    .exits(0);
    assert_eq!(
        fs::metadata(user.home.join("workspace/new")).expect("new").uid(),
        UID
    );
    assert_eq!(
        fs::read_to_string(user.home.join("workspace/file")).expect("file"),
        "after\n"
    );
    assert_ne!(
        user.sh(
            &["--workspace", &workspace, "--workspace-mode", "bind-ro"],
            "echo x > file"
        )
        .code,
        0
    );
    let finished = user.sh(&["--context", &workspace], "cat file; echo x > file; cat file");
    assert_eq!(finished.exits(0), "after\nx\n");
    let pin = user.nucleus(&["context-digest", &workspace]);
    let pin = pin.exits(0).trim();
    user.sh(&["--context", &workspace, "--verify-context", pin], "cat file")
        .exits(0);
    let token = user.file("token", "secret");
    let finished = user.sh(
        &["--secret", &format!("{token}:/run/secrets/t")],
        "cat /run/secrets/t; stat -c %a /run/secrets/t",
    );
    assert_eq!(finished.exits(0), "secret400\n");
    let home = user.directory("inner");
    user.sh(&["--home", &home], "echo x > ~/kept").exits(0);
    assert!(user.home.join("inner/kept").exists());
    let config = user.file("config", "c\n");
    let finished = user.sh(
        &["--provider-config-ro", &format!("{config}:/etc/mine")],
        "cat /etc/mine",
    );
    assert_eq!(finished.exits(0), "c\n");
    user.expect_nothing_left();
}

#[test]
fn a_user_reviews_a_copied_workspace_with_modes_against_it() {
    let Some(user) = User::new() else { return };
    let workspace = user.directory("workspace");
    user.file("workspace/file", "before\n");
    user.file("workspace/.envrc", "x\n");
    let options = [
        "--name",
        "boxrootless",
        "--workspace",
        &workspace,
        "--workspace-mode",
        "copy-in-out",
    ];
    user.sh(&options, "echo after > file; echo evil > .envrc; mkdir -p d/e; echo x > d/e/f; chmod 000 d/e; mkdir closed; echo x > closed/f; chmod 500 closed").exits(0);
    let diff = user.nucleus(&["workspace", "diff", "boxrootless"]);
    assert!(
        diff.exits(0).contains("! d/e (directory that cannot be read"),
        "{diff:?}"
    );
    user.nucleus(&["workspace", "commit", "boxrootless"]).exits(0);
    assert_eq!(
        fs::read_to_string(user.home.join("workspace/file")).expect("file"),
        "after\n"
    );
    assert_eq!(
        fs::read_to_string(user.home.join("workspace/.envrc")).expect("file"),
        "x\n"
    );
    let closed = fs::metadata(user.home.join("workspace/closed")).expect("closed");
    assert_eq!((closed.mode() & 0o777, closed.uid()), (0o500, UID));
    assert!(user.home.join("workspace/closed/f").exists());
    user.nucleus(&["workspace", "drop", "boxrootless"]).exits(0);
    user.expect_nothing_left();
    // What the user may not read cannot be copied.
    fs::write(user.home.join("workspace/hidden"), "x").expect("write");
    fs::set_permissions(
        user.home.join("workspace/hidden"),
        PermissionsExt::from_mode(0o600),
    )
    .expect("chmod");
    user.sh(&options, "true")
        .fails_with(&["hidden", "Permission denied"]);
    user.expect_nothing_left();
}

#[test]
fn a_user_has_detached_sandboxes_and_an_init() {
    let Some(user) = User::new() else { return };
    assert_eq!(
        user.sh(&["--init"], "cat /proc/1/comm; exit 3").exits(3),
        "nucleus-init\n"
    );
    let name = "detachedrootless";
    user.nucleus(&[
        "run",
        "--detach",
        "--name",
        name,
        "--",
        "sh",
        "-c",
        "echo hello; exec sleep 1000",
    ])
    .exits(0);
    eventually("its output", || user.nucleus(&["logs", name]).stdout == "hello\n");
    assert_eq!(user.nucleus(&["exec", name, "id", "-u"]).exits(0), "54321\n");
    // Another user neither sees nor reaches it.
    assert!(!user.place.nucleus(&["ps"]).stdout.contains(name));
    user.nucleus(&["stop", "--timeout", "1s", name]).exits(0);
    user.nucleus(&["rm", name]).exits(0);
    user.expect_nothing_left();
}

#[test]
fn what_a_user_cannot_have_is_said() {
    let Some(user) = User::new() else { return };
    let finished = user.sh(&["--memory", "64M", "--pids", "50"], "true");
    finished.exits(0);
    assert!(
        finished.stderr.contains("limits need a control group"),
        "{finished:?}"
    );
    user.sh(&["--mode", "strict-agent", "--memory", "64M"], "true")
        .fails_with(&["memory, cpus, pids, io: limits need a control group"]);
    user.sh(&["--additional-group", "5"], "true")
        .fails_with(&["additional-group: needs root"]);
    user.sh(&["--workspace", "/root"], "true")
        .fails_with(&["workspace: "]);
    user.nucleus(&["--root", "/nowhere/x", "ps"])
        .fails_with(&["/nowhere/x", "Permission denied"]);
    // Before anything is made for a runtime that would only then refuse it.
    user.sh(&["--runtime", "gvisor", "--runsc", "/bin/true"], "true")
        .fails_with(&["runtime: gvisor needs root"]);
    let other = user.file("other", "#!/bin/sh\necho other version 1\n");
    fs::set_permissions(&other, PermissionsExt::from_mode(0o755)).expect("chmod");
    user.sh(&["--runtime", &other, "--network", "bridge"], "true")
        .fails_with(&["network: bridge without root: only with nucleus-runtime"]);
    user.sh(&["--runtime", &other, "--console-socket", "/tmp/socket"], "true")
        .fails_with(&["terminal, console-socket: only with nucleus-runtime"]);
    let other = user.place.path("other");
    fs::create_dir(&other).expect("mkdir");
    user.nucleus(&["--root", other.to_str().expect("UTF-8"), "ps"])
        .fails_with(&["not a directory of this user alone"]);
    user.expect_nothing_left();
}

#[test]
fn doctor_tells_a_user_what_holds_and_what_needs_root() {
    let Some(user) = User::new() else { return };
    let examine = |mode| {
        let finished = user.nucleus(&["doctor", "--json", "--mode", mode]);
        let found: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"));
        (finished.code, found["findings"].clone())
    };
    let (code, findings) = examine("agent");
    assert_eq!(code, 0, "{findings}");
    let of = |name: &str| {
        let mut all = findings.as_array().expect("findings").iter();
        all.find(|finding| finding["name"] == name)
    };
    for name in [
        "launch report",
        "read-only mounts",
        "host processes",
        "host network",
        "new namespaces",
        "masked paths",
        "connections",
        "Landlock TCP",
        // Without a control group RLIMIT_NPROC holds it.
        "process limit",
    ] {
        assert_eq!(of(name).expect(name)["outcome"], "holds", "{name}: {findings}");
    }
    // A user can make no file of another user's to try.
    assert!(of("set-user-ID").is_none(), "{findings}");
    for (name, outcome) in [("memory limit", "broken"), ("gVisor", "missing")] {
        let finding = of(name).expect(name);
        assert_eq!(finding["outcome"], outcome, "{name}: {findings}");
        let remedy = finding["remedy"].as_str().expect("a remedy");
        assert!(remedy.contains("root"), "{name}: {remedy}");
    }
    // Without a control group no limit of memory holds: it says so, and what to do, and is right.
    let told = user.nucleus(&["doctor", "--mode", "strict-agent"]);
    let lines: Vec<&str> = told.exits(1).lines().collect();
    assert_eq!(
        lines.last(),
        Some(&"strict-agent mode does not work on this host, for want of: memory limit"),
        "{told:?}"
    );
    let broken = lines
        .iter()
        .position(|line| line.starts_with("memory limit        BROKEN"));
    let remedy = lines[broken.expect("a line") + 1];
    assert!(
        remedy.contains("root or a control group that is delegated"),
        "{remedy}"
    );
    user.sh(&["--mode", "strict-agent", "--memory", "64M"], "true")
        .fails_with(&["limits need a control group"]);
    // What it needs no control group for does work.
    user.sh(&["--mode", "strict-agent"], "true").exits(0);
    user.expect_nothing_left();
}
