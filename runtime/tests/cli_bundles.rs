//! Bad bundles: exit code 1, one line on the standard error that names the thing, the same message whole in the
//! JSON log, and nothing left behind.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use support::refusal::refused;
use support::{Bundle, Host};

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
    (
        "a user who would stay root",
        |_, config| config["process"]["user"]["uid"] = json!(u32::MAX),
        &["process.user.uid: 4294967295"],
    ),
    (
        "a group that would stay root's",
        |_, config| config["process"]["user"]["gid"] = json!(u32::MAX),
        &["process.user.gid: 4294967295"],
    ),
    (
        "a further group that is none",
        |_, config| config["process"]["user"]["additionalGids"] = json!([u32::MAX]),
        &["process.user.additionalGids: 4294967295"],
    ),
    (
        "a device's owner who is none",
        |_, config| {
            let device = json!({"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "uid": u32::MAX});
            config["linux"]["devices"] = json!([device]);
        },
        &["linux.devices[0]", "4294967295"],
    ),
    (
        "a mask over everything",
        |_, config| config["linux"]["maskedPaths"] = json!(["/"]),
        &["linux.maskedPaths", "root directory"],
    ),
    (
        "all read-only by its path",
        |_, config| config["linux"]["readonlyPaths"] = json!(["/proc/../"]),
        &["linux.readonlyPaths", "root directory", "root.readonly"],
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
