//! `nucleus exec`.

use super::manage::state_of;
use crate::delegation;
use crate::egress;
use crate::facts::{Program, Runtime};
use crate::made_with;
use crate::run;
use crate::store::Store;
use crate::streams;
use crate::supervise::exit_code;
use anyhow::Context;
use clap::Args;
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Run another command in a sandbox.
#[derive(Debug, Args)]
pub struct Exec {
    /// The sandbox
    name: String,
    /// Variable for the command
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Working directory
    #[arg(long, short, value_name = "DIR")]
    workdir: Option<String>,
    /// Give it a terminal
    #[arg(long, short)]
    tty: bool,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Exec {
    /// Runs it, and returns its exit code.
    ///
    /// # Errors
    /// There is no such sandbox, or the runtime does not enter it.
    pub fn run(self, root: Option<PathBuf>) -> Result<i32, anyhow::Error> {
        let store = Store::open(root)?;
        let directory = store.directory(&self.name)?;
        let program = made_with::of(&directory)?;
        if program.kind == Runtime::Native {
            let mut command = if rustix::process::geteuid().is_root() {
                program.command(&store.runtime_root())
            } else {
                self.of_user(&program, &store, &directory)?
            };
            return Ok(exit_code(self.finish(&mut command, &[]).status()?));
        }
        self.by_another(&program, &store, &directory)
    }

    /// Adds the words of this call.
    fn finish<'a>(&self, command: &'a mut Command, more: &[&str]) -> &'a mut Command {
        command.arg("exec").args(more);
        command.args(self.env.iter().flat_map(|pair| ["--env", pair]));
        command.args(self.workdir.iter().flat_map(|path| ["--cwd", path]));
        command.args(self.tty.then_some("--tty"));
        command.arg(&self.name).args(&self.command)
    }

    /// Under a runtime whose own errors say little, and have exit codes that commands have too.
    fn by_another(&self, program: &Program, store: &Store, directory: &Path) -> Result<i32, anyhow::Error> {
        let name = &self.name;
        let state = program
            .state(&store.runtime_root(), name)?
            .map_err(anyhow::Error::msg)?;
        let status = state["status"].as_str().unwrap_or_default();
        let enters_created = program.kind != Runtime::Gvisor;
        anyhow::ensure!(
            status == "running" || status == "created" && enters_created,
            "exec {name}: it is {status}, and a command is run beside one that runs"
        );
        let mut command = program.command(&store.runtime_root());
        let copies = streams::keep_ours(&mut command)?;
        if program.kind == Runtime::Gvisor {
            // Others take the user of the workload by themselves; runsc would take root.
            let user = workload_user(directory)?;
            self.finish(&mut command, &["--user", &user]);
            return Ok(exit_code(copies.run(command)?));
        }
        // It is written when the command has begun.
        let begun = directory.join(format!("exec-{}.pid", std::process::id()));
        let path = begun.to_str().context("the sandbox's directory is not UTF-8")?;
        self.finish(&mut command, &["--pid-file", path]);
        let status = copies.run(command)?;
        let has_begun = std::fs::remove_file(&begun).is_ok();
        anyhow::ensure!(
            has_begun,
            "exec {name}: {} has not begun the command{}",
            program.path.display(),
            why_not(program.kind, directory.join(egress::RECORD).exists())
        );
        Ok(exit_code(status))
    }

    /// The runtime for a user's sandbox: in its control group, and in its network.
    fn of_user(&self, program: &Program, store: &Store, directory: &Path) -> Result<Command, anyhow::Error> {
        let state = state_of(store, &self.name)?;
        let pid = state.as_ref().ok().and_then(run::pid_in);
        let way = pid.map_or(Ok(Vec::new()), delegation::way_to).map_err(|group| {
            anyhow::anyhow!(
                "exec: this process may not start another in the sandbox's control group: start it in {}",
                group.display()
            )
        })?;
        let mut command = behind(&way, program, &store.runtime_root());
        if egress::is_users(directory) {
            state.map_err(anyhow::Error::msg)?;
            egress::enter_again(pid.context("it has no process")?, &mut command)?;
        }
        Ok(command)
    }
}

/// What is known of runtimes that do not enter sandboxes, and helps: their own words name a system call.
fn why_not(kind: Runtime, has_network: bool) -> String {
    let known = match kind {
        Runtime::Crun => "crun 1.8 cannot beside a workload without capabilities",
        _ if has_network => {
            "runc 1.1 cannot enter a network that was made for a sandbox, which is the host's user namespace's"
        }
        _ => return String::new(),
    };
    format!(": {known}; sandboxes of nucleus-runtime (without --runtime) and of gVisor can be entered")
}

/// A command of the runtime, behind words that lead to it.
fn behind(words: &[OsString], program: &Program, root: &Path) -> Command {
    let Some((first, rest)) = words.split_first() else {
        return program.command(root);
    };
    let mut command = Command::new(first);
    command.args(rest).arg(&program.path).args(program.common(root));
    command
}

fn workload_user(directory: &Path) -> Result<String, anyhow::Error> {
    let path = directory.join("config.json");
    let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let config: Value = serde_json::from_slice(&text).with_context(|| format!("parse {}", path.display()))?;
    let user = &config["process"]["user"];
    Ok(format!("{}:{}", user["uid"], user["gid"]))
}
