//! What runsc passes over in silence or refuses, shown on the real one: the reason for each row of the table in
//! `adapt.rs`. A newer runsc that enforces one of them makes its line here fail, and the row can go.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use support::{Finished, Place};

/// A bundle of its own, changed by `edit`, run by runsc with these options.
fn runsc(place: &Place, options: &[&str], script: &str, edit: impl Fn(&mut Value)) -> Finished {
    let bundle = place.path("bundle");
    let root = bundle.join("rootfs");
    fs::create_dir_all(root.join("bin")).expect("mkdir");
    for directory in ["proc", "tmp", "data", "sys"] {
        let _ = fs::create_dir(root.join(directory));
    }
    fs::copy("/usr/bin/busybox", root.join("bin/busybox")).expect("busybox");
    for directory in [&bundle, &root, &root.join("bin")] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    fs::write(root.join("data/file"), "secret\n").expect("write");
    let mut config = json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": false},
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/busybox", "sh", "-c", script],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": {"bounding": [], "effective": [], "permitted": []},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
        ],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}]},
    });
    edit(&mut config);
    fs::write(bundle.join("config.json"), config.to_string()).expect("write");
    let output = Command::new("/usr/bin/runsc")
        .arg(format!("--root={}", place.path("runsc").display()))
        .args(["--platform=ptrace", "--network=none", "--ignore-cgroups"])
        .args(options)
        .args(["run", "--bundle"])
        .arg(&bundle)
        .arg("ignoring")
        .output();
    output.expect("runsc").into()
}

fn add_mount(config: &mut Value, mount: Value) {
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.push(mount);
    }
}

/// What, a script that prints `ignored`, and the property that would keep it from that.
type Row = (&'static str, &'static str, fn(&mut Value));

const IGNORED: [Row; 8] = [
    (
        "maskedPaths",
        "busybox grep -q secret /data/file && echo ignored",
        |config| {
            config["linux"]["maskedPaths"] = json!(["/data/file"]);
        },
    ),
    (
        "readonlyPaths",
        "busybox touch /tmp/new && echo ignored",
        |config| {
            config["linux"]["readonlyPaths"] = json!(["/tmp"]);
        },
    ),
    (
        "umask",
        "busybox [ \"$(umask)\" = 0022 ] && echo ignored",
        |config| {
            config["process"]["user"]["umask"] = json!(0o077);
        },
    ),
    (
        "hidepid",
        "busybox grep -q hidepid /proc/mounts || echo ignored",
        |config| {
            config["mounts"][0]["options"] = json!(["hidepid=2"]);
        },
    ),
    (
        "time namespace",
        "busybox [ -e /proc/self/ns/time ] || echo ignored",
        |config| {
            if let Some(list) = config["linux"]["namespaces"].as_array_mut() {
                list.push(json!({"type": "time"}));
            }
        },
    ),
    (
        "mount type",
        "busybox grep -q /data /proc/mounts || echo ignored",
        |config| {
            add_mount(
                config,
                json!({"destination": "/data", "type": "mqueue", "source": "mqueue"}),
            );
        },
    ),
    (
        "nr_inodes",
        "for i in 1 2 3 4 5 6; do busybox touch /tmp/$i || exit; done; echo ignored",
        |config| {
            config["mounts"][1]["options"] = json!(["nr_inodes=3"]);
        },
    ),
    (
        "sysctl",
        "busybox [ \"$(busybox cat /proc/sys/net/ipv4/ip_forward 2>/dev/null)\" = 1 ] || echo ignored",
        |config| {
            config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
        },
    ),
];

#[test]
fn what_the_table_leaves_out_is_ignored_or_refused_by_the_real_runsc() {
    let Some(place) = Place::new() else { return };
    if !Path::new("/usr/bin/runsc").exists() {
        assert!(
            std::env::var_os("NUCLEUS_TESTS_MUST_RUN").is_none(),
            "runsc is not installed"
        );
        return;
    }
    for (what, script, edit) in IGNORED {
        let finished = runsc(&place, &[], script, edit);
        assert_eq!(finished.stdout, "ignored\n", "{what}: {finished:?}");
    }
    // Seccomp counts only with an option of runsc's, and then any refusal is EPERM.
    let script = "busybox mkdir /tmp/new && echo ignored";
    let seccomp = |config: &mut Value| {
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]});
    };
    assert_eq!(runsc(&place, &[], script, seccomp).stdout, "ignored\n");
    let finished = runsc(&place, &["--oci-seccomp"], script, seccomp);
    assert!(
        finished.stdout.is_empty() && finished.stderr.contains("Operation not permitted"),
        "{finished:?}"
    );
    // With the network that it finds it starts its kernel in the user namespace without becoming its root: the kernel
    // has rights there only as the host's own root, and that is no user namespace to promise.
    for host in [100_000, 0] {
        let log = place.path("log");
        let options = [
            "--network=host",
            "--debug",
            &format!("--debug-log={}/", log.display()),
        ];
        let finished = runsc(&place, &options, "echo ran", |config| {
            let map = json!([{"containerID": 0, "hostID": host, "size": 65_536}]);
            config["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "mount"}, {"type": "user"}]);
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
        });
        let logs = fs::read_dir(&log).expect("logs").flatten();
        let told = logs
            .map(|file| fs::read_to_string(file.path()).expect("a log"))
            .collect::<String>();
        let refused =
            told.contains("error setting up chroot: error converting mounts: operation not permitted");
        assert_eq!(
            (refused, finished.stdout == "ran\n"),
            (host != 0, host == 0),
            "{finished:?}"
        );
        fs::remove_dir_all(&log).expect("remove");
    }
    // What it does not take at all.
    for option in ["rro", "idmap"] {
        let finished = runsc(&place, &[], "echo ran", |config| {
            let bind = json!({"destination": "/data", "type": "bind", "source": "/etc", "options": ["bind", option]});
            add_mount(config, bind);
        });
        assert!(
            finished.code != 0 && finished.stderr.contains(option),
            "{option}: {finished:?}"
        );
    }
    for capability in ["CAP_BPF", "CAP_PERFMON", "CAP_CHECKPOINT_RESTORE"] {
        let finished = runsc(&place, &[], "echo ran", |config| {
            config["process"]["capabilities"]["bounding"] = json!([capability]);
        });
        assert_ne!(finished.code, 0, "{capability}: {finished:?}");
    }
}
