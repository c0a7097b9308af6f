//! A caller without privileges: a user namespace of one id.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::json;

use super::expect_eq;
use crate::inside::skip;
use crate::lab::{Bundle, Lab, finish};

super::list![
    rootless_run,
    rootless_create_exec_delete,
    rootless_cannot_raise_itself,
];

const USER: u32 = 1000;

/// The runtime as the user calls it; the copy is where the user may read it.
struct Caller<'a> {
    lab: &'a Lab,
}

impl<'a> Caller<'a> {
    fn new(lab: &'a Lab) -> Result<Caller<'a>> {
        if fs::read_to_string("/proc/sys/user/max_user_namespaces")?.trim() == "0" {
            return skip("this host allows no user namespaces");
        }
        let restricted = Path::new("/proc/sys/kernel/unprivileged_userns_clone");
        if restricted.exists() && fs::read_to_string(restricted)?.trim() == "0" {
            return skip("this host allows no user namespaces to users");
        }
        let program = lab.dir.join("runtime");
        fs::copy(lab.command::<&str>(&[]).get_program(), &program)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        for name in ["user-run", "user-state"] {
            fs::create_dir(lab.dir.join(name))?;
            chown(lab.dir.join(name), Some(USER), Some(USER))?;
        }
        Ok(Caller { lab })
    }

    fn command(&self, words: &[&str]) -> Command {
        let dir = &self.lab.dir;
        let mut command = Command::new("setpriv");
        command.args(["--reuid=1000", "--regid=1000", "--clear-groups", "--"]);
        command
            .arg(dir.join("runtime"))
            .arg("--root")
            .arg(dir.join("user-state"))
            .args(words);
        command
            .env("XDG_RUNTIME_DIR", dir.join("user-run"))
            .env("HOME", dir.join("user-run"));
        command
    }

    fn call(&self, words: &[&str]) -> Result<crate::lab::Output> {
        finish(&mut self.command(words))
    }
}

/// A bundle that belongs to the user, with a user namespace of that one id.
fn bundle(lab: &Lab, script: &str) -> Result<Bundle> {
    let mut bundle = lab.script(script)?;
    bundle.user_namespace(USER, 1).give_root_to(USER)?;
    chown(bundle.dir(), Some(USER), Some(USER))?;
    bundle.save()?;
    Ok(bundle)
}

fn rootless_run(lab: &Lab) -> Result<()> {
    let caller = Caller::new(lab)?;
    let bundle = bundle(lab, "id -u; cat /proc/self/uid_map; touch /made; hostname")?;
    let output = caller
        .call(&["run", "--bundle", bundle.path(), "user-container"])?
        .success()?;
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    expect_eq("process", words, ["0", "0", "1000", "1", "conformance"])?;
    use std::os::unix::fs::MetadataExt;
    expect_eq(
        "owner of a new file",
        fs::metadata(bundle.in_root("/made"))?.uid(),
        USER,
    )?;
    lab.expect_nothing_left("user-container")
}

fn rootless_create_exec_delete(lab: &Lab) -> Result<()> {
    let caller = Caller::new(lab)?;
    let bundle = bundle(lab, "sleep 1000")?;
    caller
        .call(&["create", "--bundle", bundle.path(), "user-container"])?
        .success()?;
    caller.call(&["start", "user-container"])?.success()?;
    let output = caller
        .call(&["exec", "user-container", "sh", "-c", "id -u; hostname"])?
        .success()?;
    expect_eq(
        "process",
        output.stdout.split_whitespace().collect::<Vec<_>>(),
        ["0", "conformance"],
    )?;
    caller.call(&["kill", "user-container", "KILL"])?.success()?;
    caller.call(&["delete", "--force", "user-container"])?.success()?;
    ensure!(
        fs::read_dir(lab.dir.join("user-state"))?
            .all(|entry| { entry.is_ok_and(|entry| entry.file_name() != "user-container") }),
        "the state is left"
    );
    lab.expect_nothing_left("user-container")
}

fn rootless_cannot_raise_itself(lab: &Lab) -> Result<()> {
    let caller = Caller::new(lab)?;
    let mut bundle = bundle(lab, "true")?;
    // Ids that nobody gave to this user.
    bundle
        .set(
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 0, "size": 1}]),
        )
        .save()?;
    caller
        .call(&["run", "--bundle", bundle.path(), "user-container"])?
        .exits_with(1)?;
    lab.expect_nothing_left("user-container")
}
