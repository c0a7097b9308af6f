//! Bad input at every command and flag: one clear error, exit code 1, nothing left.

mod support;

use support::Place;

/// Arguments, and words that the error must have.
const TABLE: &[(&[&str], &str)] = &[
    (&[], "nucleus: no command was given (see nucleus --help)"),
    (&["no-such-command"], "no-such-command"),
    (&["runn"], "did you mean run? (see nucleus --help)"),
    (&["help", "nothing"], "(see nucleus --help)"),
    (&["policy"], "no command was given (see nucleus policy --help)"),
    (&["policy", "show"], "<KIND> (see nucleus policy show --help)"),
    (&["run"], "command: there is none"),
    (
        &["run", "--no-such-flag", "--", "true"],
        "(see nucleus run --help)",
    ),
    (&["run", "--name", "a/b", "--", "true"], "name: "),
    (&["run", "--name", "", "--", "true"], "name: "),
    (&["run", "--mode", "lax", "--", "true"], "lax"),
    (&["run", "--runtime", "/nowhere", "--", "true"], "/nowhere"),
    (
        &["run", "--runtime", "/bin/true", "--", "true"],
        "not an OCI runtime",
    ),
    (
        &["run", "--rootfs", "/etc/ssl", "--", "/bin/true"],
        "the root file system lacks it",
    ),
    (&["run", "--rootfs", "/nowhere", "--", "true"], "rootfs: /nowhere"),
    (
        &["run", "--rootfs", "/etc/passwd", "--", "true"],
        "not a directory",
    ),
    (
        &["run", "--toolchain-rootfs", "/nowhere", "--", "true"],
        "toolchain-rootfs",
    ),
    (
        &["run", "--context", "/nowhere", "--", "true"],
        "context: /nowhere",
    ),
    (&["run", "--context-mode", "move", "--", "true"], "move"),
    (
        &["run", "--verify-context", "abc", "--", "true"],
        "verify-context",
    ),
    (
        &["run", "--workspace", "/nowhere", "--", "true"],
        "workspace: /nowhere",
    ),
    (&["run", "--workspace-mode", "steal", "--", "true"], "steal"),
    (
        &[
            "run",
            "--workspace",
            "/",
            "--workspace-mode",
            "copy-in-out",
            "--",
            "true",
        ],
        "holds the place of the copies",
    ),
    (&["run", "--home", "/nowhere", "--", "true"], "home: /nowhere"),
    (
        &["run", "--provider-config-ro", "/etc/passwd", "--", "true"],
        "not SRC:DEST",
    ),
    (
        &["run", "--provider-config-rw", "/nowhere:/x", "--", "true"],
        "provider-config-rw: /nowhere",
    ),
    (
        &["run", "--secret", "/etc/passwd:relative", "--", "true"],
        "secret: ",
    ),
    (
        &["run", "--secret", "/nowhere:/x", "--", "true"],
        "secret: /nowhere",
    ),
    // It has no end.
    (
        &["run", "--secret", "/dev/zero:/x", "--", "true"],
        "secret: /dev/zero: not a regular file",
    ),
    (
        &["run", "--config", "/dev/zero", "--", "true"],
        "config: read /dev/zero: more than 1048576 bytes",
    ),
    (
        &["run", "--volume", "/etc:/proc", "--", "true"],
        "volume: \"/proc\": the sandbox has its own",
    ),
    (&["run", "--tmpfs", "/proc/sys", "--", "true"], "tmpfs: "),
    (&["run", "--hostname", "two words", "--", "true"], "hostname: "),
    (&["run", "--env", "=x", "--", "true"], "env: "),
    (
        &["run", "--env", "NO_SUCH_VARIABLE_HERE", "--", "true"],
        "not set",
    ),
    (
        &["run", "--env-fd", "99", "--", "true"],
        "env-fd 99: read /proc/self/fd/99",
    ),
    (&["run", "--workdir", "x", "--", "true"], "workdir: "),
    (&["run", "--user", "-1", "--", "true"], "-1"),
    (
        &["run", "--user", "nobody", "--", "true"],
        "not the number of a user",
    ),
    (&["run", "--report", "-", "--", "true"], "/dev/stdout"),
    (&["run", "--events", "-", "--", "true"], "/dev/stdout"),
    (&["start", "--report", "-", "x"], "/dev/stdout"),
    (&["run", "--user", "70000", "--", "true"], "user: not below"),
    (&["run", "--group", "70000", "--", "true"], "group: not below"),
    (
        &["run", "--additional-group", "70000", "--", "true"],
        "additional-group: not below",
    ),
    (
        &["run", "--runtime", "no-such-runtime", "--", "true"],
        "no-such-runtime: not in $PATH",
    ),
    (
        &["run", "--additional-group", "x", "--", "true"],
        "additional-group",
    ),
    (&["run", "--memory", "0", "--", "true"], "memory: "),
    (&["run", "--cpus", "nan", "--", "true"], "cpus: "),
    (&["run", "--pids", "0", "--", "true"], "pids: "),
    (&["run", "--io", "/dev/null:rbps=1", "--", "true"], "io: "),
    (&["run", "--volume", "/etc", "--", "true"], "volume: "),
    (
        &["run", "--volume", "/etc:/x:rx", "--", "true"],
        "neither ro nor rw",
    ),
    (&["run", "--tmpfs", "/x:exec", "--", "true"], "tmpfs: "),
    (&["run", "--tmpfs", "/", "--", "true"], "tmpfs: "),
    (&["run", "--network", "moon", "--", "true"], "moon"),
    (
        &["run", "--network", "host", "--", "true"],
        "--allow-host-network",
    ),
    (
        &["run", "--time-namespace", "x", "--", "true"],
        "time-namespace: ",
    ),
    (&["run", "--terminal", "--", "true"], "terminal: "),
    (&["run", "--console-socket", "/nowhere", "--", "true"], "/nowhere"),
    (
        &["run", "--seccomp-profile", "/nowhere", "--", "true"],
        "/nowhere",
    ),
    (
        &["run", "--seccomp-profile-sha256", "xyz", "--", "true"],
        "seccomp-profile-sha256",
    ),
    (&["run", "--caps-policy", "/nowhere", "--", "true"], "/nowhere"),
    (
        &["run", "--landlock-policy", "/nowhere", "--", "true"],
        "/nowhere",
    ),
    (&["run", "--policy-lock", "/nowhere", "--", "true"], "/nowhere"),
    (&["run", "--timeout", "never", "--", "true"], "timeout: "),
    (
        &["run", "--events", "/nowhere/x", "--", "true"],
        "events: open /nowhere/x",
    ),
    (
        &["run", "--report", "/nowhere/x", "--", "true"],
        "report: write /nowhere/x",
    ),
    (
        &["run", "--config", "/nowhere", "--", "true"],
        "config: read /nowhere",
    ),
    (
        &["run", "--config-fd", "99", "--", "true"],
        "config-fd: read /proc/self/fd/99",
    ),
    (&["create"], "command: there is none"),
    (&["create", "--timeout", "1s", "--", "true"], "timeout: "),
    (
        &["start", "nobody"],
        "no sandbox with the name \"nobody\"; nucleus ps lists them",
    ),
    (&["start"], "NAME"),
    (&["bundle", "--", "true"], "--output"),
    (
        &[
            "bundle",
            "--output",
            "x",
            "--runtime",
            "/usr/sbin/runc",
            "--allow-degraded-security",
            "--context",
            "/etc/apt",
            "--",
            "true",
        ],
        "context: only nucleus-runtime",
    ),
    (
        &["bundle", "--output", "/nowhere/x", "--", "true"],
        "mkdir /nowhere/x",
    ),
    (
        &["bundle", "--check", "--output", "/nowhere", "--", "true"],
        "open /nowhere",
    ),
    (
        &["bundle", "--output", "/etc", "--", "true"],
        "mkdir /etc (--output makes a new directory",
    ),
    (&["verify", "--policy-lock", "/nowhere"], "/nowhere"),
    (&["verify", "--bundle", "/nowhere"], "/nowhere/config.json"),
    (&["verify", "--config-sha256", "0"], "config-sha256"),
    (&["context-digest", "/nowhere"], "/nowhere"),
    (&["ps", "--format", "xml"], "xml"),
    (&["ps", "--json", "--format", "json"], "--format"),
    (&["state", "nobody"], "nobody"),
    (&["state", "../x"], "../x"),
    (&["exec", "nobody", "true"], "nobody"),
    (&["exec", "nobody"], "COMMAND"),
    (&["logs", "nobody"], "nobody"),
    (&["attach", "nobody"], "nobody"),
    (&["kill", "nobody"], "nobody"),
    (&["stop", "nobody"], "nobody"),
    (&["stop", "--timeout", "-1", "nobody"], "-1"),
    (&["rm", "nobody"], "nobody"),
    (&["rm"], "NAMES"),
    (
        &["workspace", "diff", "nobody"],
        "no workspace copy with the name \"nobody\"",
    ),
    (&["workspace", "diff", "../x"], "no workspace copy"),
    (&["workspace", "commit", "nobody"], "nobody"),
    (&["workspace", "drop", "nobody"], "nobody"),
    (&["policy", "show", "seccomp", "nothing"], "nothing"),
    (&["policy", "show", "magic"], "magic"),
    (&["policy", "explain", "--caps-policy", "/nowhere"], "/nowhere"),
    (&["policy", "lock", "--output", "/nowhere/x"], "create /nowhere/x"),
    (&["policy", "diff", "default"], "NEW"),
    (&["policy", "diff", "/nowhere", "default"], "/nowhere"),
    (&["completions", "tcsh"], "tcsh"),
    (&["man", "/proc/nowhere"], "mkdir /proc/nowhere"),
];

#[test]
fn each_is_one_clear_error_and_leaves_nothing() {
    let Some(place) = Place::new() else { return };
    for (args, word) in TABLE {
        let finished = place.nucleus(args);
        assert_eq!(finished.code, 1, "{args:?}: {finished:?}");
        assert!(
            finished.stderr.contains(word),
            "{args:?}: {word:?} is not in {finished:?}"
        );
        assert_eq!(finished.stdout, "", "{args:?}");
        let own =
            finished.stderr.starts_with("nucleus: ") || finished.stderr.starts_with("nucleus-runtime: ");
        // A refused request lists its faults.
        let lines = finished.stderr.lines().count();
        let most = if finished.stderr.contains("the request is refused") {
            2
        } else {
            1
        };
        assert!(own && lines <= most, "{args:?}: {finished:?}");
        place.expect_nothing_left();
    }
    for (text, told) in [
        ("[\"true\"]\nx = 1", ", line 1: "),
        (
            "command = [\"true\"]\ncomand = 1",
            ", line 2: unknown field `comand`; nucleus schema prints those that there are\n",
        ),
        ("command = [", ", line 1: "),
        ("{\"command\": [\"true\"],\n\"pids\": \"many\"}", ", line 2: "),
    ] {
        let path = place.path("launch");
        std::fs::write(&path, text).expect("write");
        let finished = place.nucleus(&["run", "--config", path.to_str().expect("UTF-8")]);
        finished.fails_with(&["nucleus: launch configuration ", told]);
        assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
    }
    for root in ["/proc/nowhere", "/etc/passwd"] {
        let output = std::process::Command::new(support::NUCLEUS)
            .args(["--root", root, "ps"])
            .output();
        support::Finished::from(output.expect("start")).fails_with(&[root]);
    }
}
