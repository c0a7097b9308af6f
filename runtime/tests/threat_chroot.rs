//! A runtime that was started in a `chroot(2)`: what is mounted above it is the host's too, and no container gets there.

mod support;

use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Stdio};
use support::{Bundle, Finished, Host, finish, probe, program};

/// Starts the runtime in a chroot to a copy of the host's tree, below a mount namespace that shares all its mounts with
/// the copies that are made of it; then says which mounts it has lost.
const SCRIPT: &str = r#"
set -e
mount --make-rprivate /
mkdir -p "$1"
mount --rbind / "$1"
mount --make-rshared /
top=$1
shift
cat /proc/self/mountinfo >"$top.before"
code=0
chroot "$top" "$@" || code=$?
cat /proc/self/mountinfo >"$top.after"
diff "$top.before" "$top.after" >&2
exit $code
"#;

fn in_chroot<S: AsRef<OsStr>>(host: &Host, args: &[S]) -> Finished {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", SCRIPT, "sh"]);
    command.arg(host.directory().join("top"));
    command.arg(program()).arg("--root").arg(host.root()).args(args);
    command.stdin(Stdio::null());
    finish(command)
}

/// A container that climbs as far as it comes, and looks for a file that lies beside the chroot.
fn climber(host: &Host) -> Option<Bundle> {
    let climb = probe::build("climb")?;
    let canary = host.directory().join("canary");
    fs::write(&canary, "").expect("write the canary");
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["climb", canary]));
    fs::copy(climb, bundle.rootfs("/bin/climb")).expect("copy the probe");
    Some(bundle)
}

#[test]
fn no_container_climbs_out_of_it() {
    let Some(host) = Host::new() else { return };
    let Some(bundle) = climber(&host) else { return };
    for propagation in ["", "private", "slave", "shared"] {
        let text = fs::read(bundle.file("config.json")).expect("the configuration");
        let mut config: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        if !propagation.is_empty() {
            config["linux"]["rootfsPropagation"] = json!(propagation);
        }
        bundle.write(&config);
        let run = in_chroot(&host, &["run", "--bundle", bundle.path(), &host.id()]);
        assert_eq!(
            (run.code, run.stdout.as_str(), run.stderr.as_str()),
            (0, "not reached\n", ""),
            "{propagation}: {run}"
        );
    }
}

/// The same probe reaches it where the host's tree stays, which `--no-pivot` asks for.
#[test]
fn where_the_tree_stays_below_it_does() {
    let Some(host) = Host::new() else { return };
    let Some(bundle) = climber(&host) else { return };
    let run = in_chroot(
        &host,
        &["run", "--no-pivot", "--bundle", bundle.path(), &host.id()],
    );
    assert_eq!((run.code, run.stdout.as_str()), (0, "reached\n"), "{run}");
}

#[test]
fn who_enters_its_mount_namespace_is_in_its_root_file_system() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    fs::write(bundle.rootfs("/mark"), "").expect("write a mark");
    let id = host.id();
    let run = in_chroot(&host, &["run", "--detach", "--bundle", bundle.path(), &id]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run}");
    assert_eq!(host.ok(&["exec", &id, "ls", "/mark"]), "/mark\n");
    let pid = host.state(&id)["pid"].to_string();
    let mut enter = Command::new("nsenter");
    enter.args(["--target", &pid, "--mount", "/bin/busybox", "ls", "/mark"]);
    let enter = finish(enter);
    assert_eq!((enter.code, enter.stdout.as_str()), (0, "/mark\n"), "{enter}");
}

/// As ever outside of a chroot, whatever is asked of the mounts: the root file system may cover the root directory.
#[test]
fn outside_of_one_every_propagation_starts() {
    let Some(host) = Host::new() else { return };
    for propagation in ["private", "slave", "shared", "unbindable"] {
        let bundle = host.bundle(|config| config["linux"]["rootfsPropagation"] = json!(propagation));
        host.ok(&["run", "--bundle", bundle.path(), &host.id()]);
    }
}
