//! Containers of an unprivileged user, who needs no entry anywhere for its own id, and gets further ids through
//! newuidmap(1), granted in a private copy of `/etc`.

use super::{Bundle, Finished, Host, PROGRAM, finish, lacking};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The user's id, and its group's.
pub(crate) const USER: u32 = 12_345;
/// The first of the further ids.
pub(crate) const GRANTED: u32 = 400_000;

/// The unprivileged user: a copy of the program that it can reach, and its run-time directory.
pub(crate) struct Rootless {
    /// Where its containers and bundles are.
    pub(crate) host: Host,
    /// The copy.
    pub(crate) program: PathBuf,
    /// `XDG_RUNTIME_DIR`.
    pub(crate) run: PathBuf,
}

impl Rootless {
    pub(crate) fn new() -> Option<Self> {
        let host = Host::new()?;
        let directory = host.directory().to_owned();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("chmod");
        let program = directory.join("nucleus-runtime");
        fs::copy(PROGRAM, &program).expect("copy the program");
        let run = directory.join("run");
        fs::create_dir(&run).expect("mkdir");
        chown(&run, Some(USER), Some(USER)).expect("chown");
        // What `Host` deletes and looks for at the end.
        host.set_root(&run.join("nucleus-runtime"));
        Some(Self { host, program, run })
    }

    /// The bundle of [`support::config`] in the form of `spec --rootless`, owned by the user.
    pub(crate) fn bundle(&self, edit: impl FnOnce(&mut Value)) -> Bundle {
        let bundle = self.host.bundle(|config| {
            let linux = config["linux"].as_object_mut().expect("an object");
            linux.remove("resources");
            linux["namespaces"]
                .as_array_mut()
                .expect("a list")
                .push(json!({"type": "user"}));
            for ids in ["uidMappings", "gidMappings"] {
                config["linux"][ids] = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
            }
            edit(config);
        });
        own(Path::new(bundle.path()));
        bundle
    }

    pub(crate) fn as_user(&self, before: &[&str], args: &[&str]) -> Finished {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "12345", "--regid", "12345", "--clear-groups"])
            .args(before);
        command.arg(&self.program).args(args).stdin(Stdio::null());
        command.env("XDG_RUNTIME_DIR", &self.run).current_dir("/");
        finish(command)
    }

    pub(crate) fn run(&self, args: &[&str]) -> Finished {
        self.as_user(&[], args)
    }

    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let finished = self.run(args);
        assert_eq!(finished.code, 0, "{finished}");
        finished.stdout
    }

    pub(crate) fn run_bundle(&self, edit: impl FnOnce(&mut Value)) -> (Finished, Bundle) {
        let bundle = self.bundle(edit);
        let id = self.host.id();
        let finished = self.run(&["run", "--bundle", bundle.path(), &id]);
        assert_eq!(self.host.leftovers(&id), [""; 0], "{finished}");
        (finished, bundle)
    }

    pub(crate) fn status(&self, id: &str) -> String {
        let state: Value = serde_json::from_str(&self.ok(&["state", id])).expect("JSON");
        state["status"].as_str().expect("a status").to_owned()
    }
}

fn own(path: &Path) {
    std::os::unix::fs::lchown(path, Some(USER), Some(USER)).expect("chown");
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).expect("read a directory") {
            own(&entry.expect("an entry").path());
        }
    }
}

pub(crate) fn shell(config: &mut Value, script: &str) {
    config["process"]["args"] = json!(["sh", "-c", script]);
}

pub(crate) fn remove_namespace(config: &mut Value, typ: &str) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.retain(|namespace| namespace["type"] != typ);
}

/// Runs as the user in a private mount namespace where `/etc` grants it further ids.
pub(crate) fn with_granted_ids(rootless: &Rootless, before: &[&str], args: &[&str]) -> Finished {
    let directory = rootless.host.directory();
    let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let grant = format!("granted:{GRANTED}:1000\n");
    for (name, text) in [
        ("passwd", format!("{passwd}granted:x:{USER}:{USER}::/:/bin/sh\n")),
        ("subuid", grant.clone()),
        ("subgid", grant),
    ] {
        fs::write(directory.join(name), text).expect("write");
    }
    let script = "
        for name in passwd subuid subgid; do
            [ -e /etc/$name ] || exec echo lacking /etc/$name
            mount --bind \"$0/$name\" /etc/$name
        done
        exec setpriv --reuid 12345 --regid 12345 --clear-groups \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", script]);
    command
        .arg(directory)
        .args(before)
        .arg(&rootless.program)
        .args(args)
        .stdin(Stdio::null());
    command.env("XDG_RUNTIME_DIR", &rootless.run);
    finish(command)
}

pub(crate) fn map_granted_ids(config: &mut Value, count: u32) {
    for ids in ["uidMappings", "gidMappings"] {
        config["linux"][ids] = json!([
            {"containerID": 0, "hostID": USER, "size": 1},
            {"containerID": 1, "hostID": GRANTED, "size": count}
        ]);
    }
}

pub(crate) fn has_map_helpers() -> bool {
    let found = ["newuidmap", "newgidmap"]
        .iter()
        .all(|name| Path::new("/usr/bin").join(name).exists());
    if !found {
        lacking("newuidmap and newgidmap (apt install uidmap)");
    }
    found
}
