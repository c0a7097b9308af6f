//! Bad input: exit code 1, one line on the standard error that names the thing, the same message whole in the
//! JSON log, and nothing left behind.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use support::{Bundle, Finished, Host};

/// Runs a command that must fail as every bad input does, and returns its message.
fn refused(host: &Host, args: &[&str], id: &str) -> String {
    let log = host.directory().join("log");
    let _ = fs::remove_file(&log);
    let mut all = vec!["--log", log.to_str().unwrap(), "--log-format", "json"];
    all.extend(args);
    let finished = host.run(&all);
    let message = one_line(&finished);
    let logged = fs::read_to_string(&log).unwrap_or_default();
    let last: Value = serde_json::from_str(logged.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error} in the log {logged:?}: {finished}"));
    assert_eq!(last["msg"], message, "the log has the whole message: {finished}");
    assert_eq!(last["level"], "error", "{finished}");
    assert!(
        last["time"].as_str().is_some_and(|time| time.ends_with('Z')),
        "{logged}"
    );
    assert_eq!(host.leftovers(id), Vec::<String>::new(), "{finished}");
    message
}

fn one_line(finished: &Finished) -> String {
    assert_eq!(finished.code, 1, "{finished}");
    assert_eq!(finished.stdout, "", "{finished}");
    let lines: Vec<&str> = finished.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{finished}");
    lines[0]
        .strip_prefix("nucleus-runtime: ")
        .unwrap_or_else(|| panic!("{finished}"))
        .to_owned()
}

/// A change to a good bundle, and what the message must name.
type Case = (&'static str, fn(&Bundle, &mut Value), &'static [&'static str]);

const BUNDLES: &[Case] = &[
    (
        "no config.json",
        |bundle, _| delete_config(bundle),
        &["config.json", "does not exist"],
    ),
    (
        "broken JSON",
        |bundle, _| write_later(bundle, "{\"ociVersion\": \"1.0.0\",,}"),
        &["config.json", "line 1 column"],
    ),
    (
        "an empty file",
        |bundle, _| write_later(bundle, ""),
        &["config.json", "EOF"],
    ),
    (
        "an array",
        |bundle, _| write_later(bundle, "[1]"),
        &["config.json"],
    ),
    (
        "no version",
        |_, config| remove(config, "ociVersion"),
        &["config.json", "ociVersion"],
    ),
    (
        "a version from the future",
        |_, config| config["ociVersion"] = json!("2.0.0"),
        &["ociVersion", "2.0.0"],
    ),
    (
        "wrong type",
        |_, config| config["process"]["args"] = json!("sh"),
        &["config.json", "expected a sequence"],
    ),
    (
        "a negative id",
        |_, config| config["process"]["user"]["uid"] = json!(-1),
        &["config.json", "-1"],
    ),
    ("no process", |_, config| remove(config, "process"), &["process"]),
    (
        "no arguments",
        |_, config| config["process"]["args"] = json!([]),
        &["process.args"],
    ),
    ("no root", |_, config| remove(config, "root"), &["root"]),
    (
        "a missing root file system",
        |_, config| config["root"]["path"] = json!("nope"),
        &["nope", "no such file"],
    ),
    (
        "a root that is a file",
        |bundle, config| {
            fs::write(bundle.file("plain"), "").unwrap();
            config["root"]["path"] = json!("plain");
        },
        &["plain"],
    ),
    (
        "an absent program",
        |_, config| config["process"]["args"] = json!(["nope"]),
        &["nope", "executable file not found in $PATH"],
    ),
    (
        "an absent program by path",
        |_, config| config["process"]["args"] = json!(["/bin/nope"]),
        &["/bin/nope", "no such file or directory"],
    ),
    (
        "a program that may not be executed",
        |bundle, config| {
            fs::write(bundle.rootfs("/bin/data"), "x").unwrap();
            fs::set_permissions(bundle.rootfs("/bin/data"), fs::Permissions::from_mode(0o644)).unwrap();
            config["process"]["args"] = json!(["/bin/data"]);
        },
        &["/bin/data", "permission denied"],
    ),
    (
        "a program of no format",
        |bundle, config| {
            fs::write(bundle.rootfs("/bin/data"), "neither ELF nor script").unwrap();
            fs::set_permissions(bundle.rootfs("/bin/data"), fs::Permissions::from_mode(0o755)).unwrap();
            config["process"]["args"] = json!(["/bin/data"]);
        },
        &["/bin/data", "exec format error"],
    ),
    (
        "a program that leads to itself",
        |bundle, config| {
            symlink("loop", bundle.rootfs("/bin/loop")).unwrap();
            config["process"]["args"] = json!(["/bin/loop"]);
        },
        &["/bin/loop"],
    ),
    (
        "a relative working directory",
        |_, config| config["process"]["cwd"] = json!("tmp"),
        &["process.cwd", "tmp"],
    ),
    (
        "a working directory that is a file",
        |_, config| config["process"]["cwd"] = json!("/etc/passwd"),
        &["/etc/passwd", "not a directory"],
    ),
    (
        "an unknown namespace",
        |_, config| config["linux"]["namespaces"][0]["type"] = json!("moon"),
        &["config.json", "moon"],
    ),
    (
        "a namespace that is not there",
        |_, config| config["linux"]["namespaces"][1]["path"] = json!("/does/not/exist"),
        &["/does/not/exist"],
    ),
    (
        "a namespace of another type",
        |_, config| config["linux"]["namespaces"][1]["path"] = json!("/proc/self/ns/uts"),
        &["/proc/self/ns/uts"],
    ),
    (
        "a namespace twice",
        |_, config| config["linux"]["namespaces"][5]["type"] = json!("pid"),
        &["namespaces", "pid"],
    ),
    (
        "a mount without source",
        |_, config| {
            config["mounts"][0] = json!({"destination": "/mnt", "type": "bind", "source": "/does/not/exist",
                                         "options": ["bind"]});
        },
        &["/does/not/exist", "/mnt"],
    ),
    (
        "an unknown file system",
        |_, config| config["mounts"][0] = json!({"destination": "/mnt", "type": "nofs", "source": "none"}),
        &["nofs", "/mnt"],
    ),
    (
        "an unknown mount option",
        |_, config| config["mounts"][1]["options"] = json!(["nope=1"]),
        &["nope", "/dev"],
    ),
    (
        "an unknown limit of a process",
        |_, config| config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOPE", "soft": 1, "hard": 1}]),
        &["RLIMIT_NOPE"],
    ),
    (
        "a soft limit above the hard one",
        |_, config| config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 1}]),
        &["RLIMIT_NOFILE"],
    ),
    (
        "a limit out of range",
        |_, config| config["linux"]["resources"]["cpu"] = json!({"shares": 1}),
        &["linux.resources.cpu.shares"],
    ),
    (
        "a cgroup outside the hierarchy",
        |_, config| config["linux"]["cgroupsPath"] = json!("/../../x"),
        &["cgroupsPath"],
    ),
    (
        "a setting of the host's kernel",
        |_, config| config["linux"]["sysctl"] = json!({"kernel.panic": "1"}),
        &["kernel.panic"],
    ),
    (
        "an unknown seccomp action",
        |_, config| config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_NOPE"}),
        &["SCMP_ACT_NOPE"],
    ),
    (
        "a hook that is not there",
        |_, config| config["hooks"] = json!({"createRuntime": [{"path": "/does/not/exist"}]}),
        &["createRuntime", "/does/not/exist"],
    ),
    (
        "a hook with a relative path",
        |_, config| config["hooks"] = json!({"poststop": [{"path": "x"}]}),
        &["poststop", "x"],
    ),
    (
        "a hook that fails",
        |_, config| config["hooks"] = json!({"prestart": [{"path": "/bin/false"}]}),
        &["prestart", "/bin/false"],
    ),
    (
        "an AppArmor profile without AppArmor",
        |_, config| config["process"]["apparmorProfile"] = json!("nope"),
        &["process.apparmorProfile", "not enabled"],
    ),
];

fn remove(config: &mut Value, member: &str) {
    config.as_object_mut().unwrap().remove(member);
}

/// [`Host::bundle`] writes the configuration last, so these say what is to be there instead of it.
fn write_later(bundle: &Bundle, text: &str) {
    fs::write(bundle.file("instead"), text).unwrap();
}

fn delete_config(bundle: &Bundle) {
    fs::write(bundle.file("without"), "").unwrap();
}

fn prepare(host: &Host, change: fn(&Bundle, &mut Value)) -> Bundle {
    let bundle = host.bundle(|_| {});
    let mut config = support::config();
    change(&bundle, &mut config);
    bundle.write(&config);
    if let Ok(text) = fs::read(bundle.file("instead")) {
        fs::write(bundle.file("config.json"), text).unwrap();
    }
    if bundle.file("without").exists() {
        fs::remove_file(bundle.file("config.json")).unwrap();
    }
    bundle
}

#[test]
fn bad_bundles() {
    let Some(host) = Host::new() else { return };
    let mut wrong = Vec::new();
    for (name, change, named) in BUNDLES {
        let bundle = prepare(&host, *change);
        let id = host.id();
        let message = refused(&host, &["run", "--bundle", bundle.path(), &id], &id);
        let lower = message.to_lowercase();
        if !named.iter().all(|word| lower.contains(&word.to_lowercase())) {
            wrong.push(format!("{name}: {message:?} does not name {named:?}"));
        }
        fs::remove_dir_all(bundle.path()).unwrap();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn bad_command_lines() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|_| {});
    let bundle = bundle.path();
    let long = "x".repeat(1025);
    let table: &[(&[&str], &[&str])] = &[
        (&["nope"], &["nope"]),
        (&["stat", "x"], &["stat", "did you mean", "start"]),
        (&["state"], &["ID", "state --help"]),
        (&["state", "a", "b"], &["'b'"]),
        (&["state", "--nope", "a"], &["--nope", "state --help"]),
        (&["run", "--bundel", bundle, "a"], &["--bundel", "--bundle"]),
        (
            &["run", "--preserve-fds", "some", "a"],
            &["--preserve-fds", "some"],
        ),
        (&["run", "--bundle", bundle, "a/b"], &["a/b"]),
        (&["run", "--bundle", bundle, "../a"], &["../a"]),
        (&["run", "--bundle", bundle, ".."], &["\"..\""]),
        (&["run", "--bundle", bundle, ""], &["id"]),
        (&["run", "--bundle", bundle, "a b"], &["a b"]),
        (&["run", "--bundle", bundle, &long], &["1024"]),
        (
            &["run", "--bundle", "/does/not/exist", "a"],
            &["/does/not/exist", "No such file"],
        ),
        (
            &["run", "--bundle", "/etc/passwd", "a"],
            &["/etc/passwd", "not a directory"],
        ),
        (
            &[
                "create",
                "--bundle",
                bundle,
                "--pid-file",
                "/does/not/exist/pid",
                "a",
            ],
            &["/does/not/exist/pid"],
        ),
        (
            &[
                "create",
                "--bundle",
                bundle,
                "--console-socket",
                "/does/not/exist",
                "a",
            ],
            &["console-socket"],
        ),
        (&["start", "a"], &["\"a\"", "does not exist"]),
        (&["state", "a"], &["\"a\"", "does not exist"]),
        (&["kill", "a", "TERM"], &["\"a\"", "does not exist"]),
        (&["kill", "a", "NOPE"], &["NOPE"]),
        (&["kill", "a", "99"], &["99"]),
        (&["kill", "a", "-9"], &["-9"]),
        (&["delete", "a"], &["\"a\"", "does not exist"]),
        (&["exec", "a", "true"], &["\"a\"", "does not exist"]),
        (&["exec", "--user", "root", "a", "true"], &["a"]),
        (&["pause", "a"], &["\"a\"", "does not exist"]),
        (&["resume", "a"], &["\"a\"", "does not exist"]),
        (&["update", "--memory", "1M", "a"], &["\"a\"", "does not exist"]),
        (&["update", "--memory", "much", "a"], &["--memory", "much"]),
        (&["events", "--interval", "0", "a"], &["--interval"]),
        (&["ps", "a"], &["\"a\"", "does not exist"]),
        (&["list", "--format", "yaml"], &["yaml", "table", "json"]),
        (
            &["spec", "--bundle", "/does/not/exist"],
            &["/does/not/exist/config.json"],
        ),
        (&["restore", "a"], &["not supported yet"]),
    ];
    for (args, named) in table {
        let message = refused(&host, args, "a");
        for word in *named {
            assert!(
                message.to_lowercase().contains(&word.to_lowercase()),
                "{args:?}: {message:?} does not name {word:?}"
            );
        }
    }
    assert!(!host.root().exists() || fs::read_dir(host.root()).unwrap().next().is_none());
}

#[test]
fn options_before_the_command() {
    let Some(host) = Host::new() else { return };
    let table: &[(&[&str], &str)] = &[
        (&["--nope", "list"], "--nope"),
        (&["--log-format", "xml", "list"], "xml"),
        (&["--log", "/does/not/exist/log", "list"], "/does/not/exist/log"),
        (&["--rootless", "perhaps", "list"], "perhaps"),
    ];
    for (args, named) in table {
        let message = one_line(&host.run(args));
        assert!(message.contains(named), "{args:?}: {message}");
    }
}

#[test]
fn without_a_log_file_json_goes_to_the_standard_error() {
    let Some(host) = Host::new() else { return };
    let finished = host.run(&["--log-format", "json", "state", "nope"]);
    let line: Value =
        serde_json::from_str(&finished.stderr).unwrap_or_else(|error| panic!("{error}: {finished}"));
    assert_eq!(line["level"], "error");
    assert!(
        line["msg"].as_str().unwrap().contains("\"nope\" does not exist"),
        "{finished}"
    );
}

#[test]
fn a_used_id_is_refused_and_the_container_goes_on() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|_| {});
    let bundle = host.bundle(|_| {});
    for command in ["run", "create"] {
        let message = one_line(&host.run(&[command, "--bundle", bundle.path(), &id]));
        assert!(
            message.contains("already exists") && message.contains(&id),
            "{message}"
        );
    }
    assert_eq!(host.state(&id)["status"], "running");
    assert_eq!(host.ok(&["exec", &id, "echo", "alive"]), "alive\n");
}

#[test]
fn a_deleted_bundle_does_not_keep_a_container_from_its_end() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    let id = host.id();
    host.ok(&["create", "--bundle", bundle.path(), &id]);
    fs::remove_file(bundle.file("config.json")).unwrap();
    host.ok(&["start", &id]);
    assert_eq!(host.state(&id)["status"], "running");
    fs::remove_dir_all(bundle.path()).unwrap();
    host.ok(&["kill", &id, "KILL"]);
    support::eventually("it stops", || host.state(&id)["status"] == "stopped");
    host.ok(&["delete", &id]);
    assert_eq!(host.leftovers(&id), Vec::<String>::new());
}

#[test]
fn a_bundle_deleted_before_create_is_named() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|_| {});
    fs::remove_dir_all(bundle.path()).unwrap();
    let id = host.id();
    let message = refused(&host, &["create", "--bundle", bundle.path(), &id], &id);
    assert!(message.contains(bundle.path()), "{message}");
}

#[test]
fn operations_that_the_status_forbids() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    let (created, running) = (host.id(), host.running(|_| {}));
    host.ok(&["create", "--bundle", bundle.path(), &created]);
    let stopped = host.running(|_| {});
    host.ok(&["kill", &stopped, "KILL"]);
    support::eventually("it stops", || host.state(&stopped)["status"] == "stopped");
    let table: &[(&[&str], &str)] = &[
        (&["resume", &created], "created"),
        (&["start", &running], "running"),
        (&["delete", &running], "running"),
        (&["resume", &running], "running"),
        (&["start", &stopped], "stopped"),
        (&["kill", &stopped, "TERM"], "container not running"),
        (&["exec", &stopped, "true"], "stopped"),
        (&["pause", &stopped], "stopped"),
        (&["update", "--pids-limit", "5", &stopped], "stopped"),
        (&["events", "--stats", &stopped], "stopped"),
    ];
    for (args, status) in table {
        let finished = host.run(args);
        assert_ne!(finished.code, 0, "{finished}");
        assert!(finished.stderr.contains(status), "{finished}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
    }
}

/// Fills a tmpfs up to some pages and runs the command with its states there, all in a mount namespace of its
/// own. Prints what is left there.
const FULL: &str = r#"
root=$1 free=$2; shift 2
mkdir -p "$root" && mount -t tmpfs -o size=64k tmpfs "$root" || exit 99
dd if=/dev/zero of="$root/filler" bs=4096 count=$((16 - free)) 2>/dev/null
"$@" >&2
code=$?
ls -A "$root"
exit $code
"#;

#[test]
fn a_full_disk_for_the_state() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|_| {});
    let root = host.directory().join("full");
    let root = root.to_str().unwrap();
    let mut codes = Vec::new();
    for free in ["0", "1", "2", "3", "4", "16"] {
        let id = host.id();
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                FULL,
                "sh",
                root,
                free,
            ])
            .args([
                support::PROGRAM,
                "--root",
                root,
                "run",
                "--bundle",
                bundle.path(),
                &id,
            ]);
        let finished = support::finish(command);
        assert_eq!(finished.stdout, "filler\n", "no state stays: {finished}");
        if finished.code != 0 {
            assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
            assert!(finished.stderr.contains(&format!("{root}/{id}")), "{finished}");
            assert!(finished.stderr.contains("No space left on device"), "{finished}");
        }
        assert_eq!(host.leftovers(&id), Vec::<String>::new());
        codes.push(finished.code);
    }
    assert_eq!((codes[0], codes[5]), (1, 0), "full and empty: {codes:?}");
}
