//! `exec`.

use super::{Global, Outcome, Run};
use crate::exec::{self, Options};
use anyhow::{Context, bail};
use clap::Args;
use oci_spec::runtime as oci;
use std::path::PathBuf;

/// Run one more process in a container.
#[derive(Debug, Args)]
pub struct Exec {
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set an environment variable, NAME=VALUE (repeatable)
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Give the process a terminal
    #[arg(long, short)]
    tty: bool,
    /// User, as numbers: UID or UID:GID
    #[arg(long, short, value_name = "UID[:GID]")]
    user: Option<String>,
    /// Further groups, as numbers (repeatable)
    #[arg(long, short = 'g', value_name = "GID")]
    additional_gids: Vec<u32>,
    /// Read the process from this JSON file, in the form of config.json's process
    #[arg(long, short, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Return when the process has started
    #[arg(long, short)]
    detach: bool,
    /// Write the process's id to this file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Send the terminal to this Unix socket
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Send a descriptor of the process to this Unix socket
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// Add a capability (repeatable)
    #[arg(long, short, value_name = "CAP_NAME")]
    cap: Vec<String>,
    /// Forbid gaining privileges
    #[arg(long)]
    no_new_privs: bool,
    /// Let the process inherit N descriptors after the standard streams
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Run in a cgroup below the container's: PATH, or CONTROLLER:PATH on version 1 (repeatable)
    #[arg(long, value_name = "PATH")]
    cgroup: Vec<String>,
    /// Do not refuse a paused container: the process runs when it is resumed
    #[arg(long)]
    ignore_paused: bool,
    /// AppArmor profile of the process
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// SELinux label of the process
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// Accepted for compatibility: this runtime is never a subreaper
    #[arg(long, hide = true)]
    no_subreaper: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Program and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Run for Exec {
    const NAME: &'static str = "exec";
    const ABOUT: &'static str = "Run one more process in a container";
    const AFTER: &'static str = "\
It returns the program's exit code, or 128 and the number of the signal that ended it.

Examples:
  nucleus-runtime exec --tty one sh
  nucleus-runtime exec --user 1000:1000 --cwd /tmp --env A=b one id";
    const ENTERS: bool = true;

    fn run(self, global: &Global) -> Outcome {
        let options = Options {
            id: self.id.clone(),
            root: global.root(),
            console_socket: self.console_socket.clone(),
            pid_file: self.pid_file.clone(),
            pidfd_socket: self.pidfd_socket.clone(),
            preserved: super::create::preserved(self.preserve_fds),
            environment: super::create::environment(),
            cgroup: self.cgroup.clone(),
            rootless: global.rootless(),
            detach: self.detach,
            ignore_paused: self.ignore_paused,
        };
        let target = exec::find(&options)?;
        let process = self.process(&target.spec)?;
        Ok(exec::exec(&options, &target, &process)?)
    }
}

impl Exec {
    fn process(self, spec: &oci::Spec) -> Result<oci::Process, anyhow::Error> {
        if let Some(path) = &self.process {
            let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
            let mut process: oci::Process =
                serde_json::from_slice(&bytes).with_context(|| format!("{}", path.display()))?;
            if self.tty {
                process.set_terminal(Some(true));
            }
            return Ok(process);
        }
        if self.command.is_empty() {
            bail!(
                "no program given: nucleus-runtime exec {} COMMAND [ARGUMENT...]",
                self.id
            );
        }
        let mut process = spec
            .process()
            .clone()
            .context("the container's configuration has no process")?;
        process.set_terminal(Some(self.tty)).set_args(Some(self.command));
        if let Some(cwd) = self.cwd {
            process.set_cwd(cwd);
        }
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(self.env);
        process.set_env(Some(env));
        if self.no_new_privs {
            process.set_no_new_privileges(Some(true));
        }
        if let Some(profile) = self.apparmor {
            process.set_apparmor_profile(Some(profile));
        }
        if let Some(label) = self.process_label {
            process.set_selinux_label(Some(label));
        }
        let user = process.user_mut();
        if let Some(text) = &self.user {
            let (uid, gid) = parse_user(text)?;
            user.set_uid(uid);
            if let Some(gid) = gid {
                user.set_gid(gid);
            }
        }
        if !self.additional_gids.is_empty() {
            let mut gids = user.additional_gids().clone().unwrap_or_default();
            gids.extend(self.additional_gids);
            user.set_additional_gids(Some(gids));
        }
        if !self.cap.is_empty() {
            let sets = add_capabilities(
                process.capabilities().clone().unwrap_or_else(no_capabilities),
                &self.cap,
            )?;
            process.set_capabilities(Some(sets));
        }
        Ok(process)
    }
}

/// Numbers only: a name means another user in the container than here.
fn parse_user(text: &str) -> Result<(u32, Option<u32>), anyhow::Error> {
    let number = |part: &str| -> Result<u32, anyhow::Error> {
        let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        // The last number is the kernel's "no id".
        match part.parse() {
            Ok(id) if plain && id != u32::MAX => Ok(id),
            _ => bail!("user {text:?} is not UID or UID:GID in numbers below 4294967295"),
        }
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
        None => Ok((number(text)?, None)),
    }
}

fn no_capabilities() -> oci::LinuxCapabilities {
    let mut sets = oci::LinuxCapabilities::default();
    sets.set_bounding(None)
        .set_effective(None)
        .set_permitted(None)
        .set_inheritable(None)
        .set_ambient(None);
    sets
}

/// Bounding, permitted and effective; never inheritable (CVE-2022-29162).
fn add_capabilities(
    mut sets: oci::LinuxCapabilities,
    names: &[String],
) -> Result<oci::LinuxCapabilities, anyhow::Error> {
    for name in names {
        let upper = name.to_ascii_uppercase();
        let full = if upper.starts_with("CAP_") {
            upper
        } else {
            format!("CAP_{upper}")
        };
        let capability: oci::Capability =
            crate::bundle::typed(&full.into()).with_context(|| format!("unknown capability {name:?}"))?;
        let with = |set: &Option<oci::Capabilities>| {
            let mut set = set.clone().unwrap_or_default();
            set.insert(capability);
            Some(set)
        };
        let (bounding, effective, permitted) = (
            with(sets.bounding()),
            with(sets.effective()),
            with(sets.permitted()),
        );
        sets.set_bounding(bounding)
            .set_effective(effective)
            .set_permitted(permitted);
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        assert_eq!(parse_user("0").unwrap(), (0, None));
        assert_eq!(parse_user("1000:7").unwrap(), (1000, Some(7)));
        for bad in [
            "",
            "root",
            "1:",
            ":1",
            "1:2:3",
            "-1",
            "+1",
            "4294967295",
            "4294967296",
            "1 ",
            "0x0",
        ] {
            assert!(parse_user(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn added_capabilities_are_not_inheritable() {
        let sets = add_capabilities(no_capabilities(), &["net_admin".to_owned()]).unwrap();
        assert!(
            sets.effective()
                .as_ref()
                .unwrap()
                .contains(&oci::Capability::NetAdmin)
        );
        assert!(sets.inheritable().is_none());
        assert!(add_capabilities(no_capabilities(), &["CAP_NOPE".to_owned()]).is_err());
    }
}
