//! What is done to a sandbox that is there: `ps`, `state`, `exec`, `kill`, `stop`, `rm`.

use crate::cleanup;
use crate::delegation;
use crate::egress;
use crate::facts::{Program, Runtime};
use crate::run;
use crate::store::Store;
use crate::supervise::exit_code;
use crate::workspace::around;
use crate::workspace::copies::Copies;
use anyhow::Context;
use clap::Args;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The runtime that a sandbox was started with.
fn program_of(store: &Store, name: &str) -> Result<Program, anyhow::Error> {
    Ok(Program::of_sandbox(&store.directory(name)?)?)
}

/// A command of it.
fn runtime(store: &Store, name: &str) -> Result<Command, anyhow::Error> {
    runtime_behind(store, name, &[])
}

/// The same, behind words that lead to it.
fn runtime_behind(store: &Store, name: &str, words: &[OsString]) -> Result<Command, anyhow::Error> {
    let program = program_of(store, name)?;
    let Some((first, rest)) = words.split_first() else {
        return Ok(program.command(&store.runtime_root()));
    };
    let mut command = Command::new(first);
    command
        .args(rest)
        .arg(&program.path)
        .args(program.common(&store.runtime_root()));
    Ok(command)
}

/// The state that the runtime prints; an error text if it has none.
pub(super) fn state_of(store: &Store, name: &str) -> Result<Result<Value, String>, anyhow::Error> {
    Ok(program_of(store, name)?.state(&store.runtime_root(), name)?)
}

/// The first process of a sandbox, if there is one.
pub(super) fn process_of(store: &Store, name: &str) -> Result<Option<OwnedFd>, anyhow::Error> {
    let state = state_of(store, name)?.unwrap_or_default();
    let pid = run::pid_in(&state).and_then(Pid::from_raw);
    Ok(pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()))
}

/// List sandboxes.
#[derive(Debug, Args)]
pub struct Ps {
    /// table or json
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// Print JSON
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

impl Ps {
    /// Prints them.
    ///
    /// # Errors
    /// The store or the runtime cannot be asked.
    pub fn run(&self, root: Option<PathBuf>) -> Result<i32, anyhow::Error> {
        let store = Store::open(root)?;
        let mut rows = Vec::new();
        for name in store.names()? {
            let state = state_of(&store, &name)?.unwrap_or_default();
            let annotation = |key: &str| state["annotations"][key].as_str().unwrap_or("-").to_owned();
            rows.push(json!({
                "name": name,
                "status": state["status"].as_str().unwrap_or("starting or left behind"),
                "pid": state["pid"].as_i64().unwrap_or(0),
                "mode": annotation(crate::bundle::MODE),
            }));
        }
        if self.json || self.format == "json" {
            return super::print(&serde_json::to_string_pretty(&rows)?);
        }
        let mut text = format!("{:<24} {:<10} {:>8} {}", "NAME", "STATUS", "PID", "MODE");
        for row in &rows {
            let word = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            text += &format!(
                "\n{:<24} {:<10} {:>8} {}",
                word("name"),
                word("status"),
                row["pid"],
                word("mode")
            );
        }
        super::print(&text)
    }
}

/// Print the state of a sandbox as JSON.
#[derive(Debug, Args)]
pub struct Name {
    /// The sandbox
    name: String,
}

impl Name {
    /// Prints the state.
    ///
    /// # Errors
    /// There is no such sandbox.
    pub fn state(&self, root: Option<PathBuf>) -> Result<i32, anyhow::Error> {
        let store = Store::open(root)?;
        let directory = store.directory(&self.name)?;
        match state_of(&store, &self.name)? {
            Ok(mut state) => {
                if let Some(pid) = run::pid_in(&state)
                    && let Some(refused) = egress::refused_of(&directory, pid)?
                {
                    state["egressDenied"] = serde_json::to_value(refused)?;
                }
                super::print(&serde_json::to_string_pretty(&state)?)
            }
            Err(error) => anyhow::bail!(error),
        }
    }
}

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
    /// There is no such sandbox.
    pub fn run(self, root: Option<PathBuf>) -> Result<i32, anyhow::Error> {
        let store = Store::open(root)?;
        let directory = store.directory(&self.name)?;
        let mut command = if rustix::process::geteuid().is_root() {
            runtime(&store, &self.name)?
        } else {
            self.of_user(&store, &directory)?
        };
        command.arg("exec");
        if Program::recorded(&directory).is_some_and(|program| program.kind == Runtime::Gvisor) {
            // Others take the user of the workload by themselves; runsc would take root.
            command.args(["--user", &workload_user(&directory)?]);
        }
        command.args(self.env.iter().flat_map(|pair| ["--env", pair]));
        command.args(self.workdir.iter().flat_map(|path| ["--cwd", path]));
        command.args(self.tty.then_some("--tty"));
        command.arg(&self.name).args(&self.command);
        Ok(exit_code(command.status()?))
    }

    /// The runtime for a user's sandbox: in its control group, and in its network.
    fn of_user(&self, store: &Store, directory: &Path) -> Result<Command, anyhow::Error> {
        let state = state_of(store, &self.name)?;
        let pid = state.as_ref().ok().and_then(run::pid_in);
        let way = pid.map_or(Ok(Vec::new()), delegation::way_to).map_err(|group| {
            anyhow::anyhow!(
                "exec: this process may not start another in the sandbox's control group: start it in {}",
                group.display()
            )
        })?;
        let mut command = runtime_behind(store, &self.name, &way)?;
        if egress::is_users(directory) {
            state.map_err(anyhow::Error::msg)?;
            egress::enter_again(pid.context("it has no process")?, &mut command)?;
        }
        Ok(command)
    }
}

fn workload_user(directory: &Path) -> Result<String, anyhow::Error> {
    let path = directory.join("config.json");
    let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let config: Value = serde_json::from_slice(&text).with_context(|| format!("parse {}", path.display()))?;
    let user = &config["process"]["user"];
    Ok(format!("{}:{}", user["uid"], user["gid"]))
}

/// Send a signal to a sandbox's first process.
#[derive(Debug, Args)]
pub struct Kill {
    /// The sandbox
    name: String,
    /// Name or number of the signal
    #[arg(default_value = "TERM")]
    signal: String,
}

impl Kill {
    /// Sends it.
    ///
    /// # Errors
    /// There is no such sandbox.
    pub fn run(&self, root: Option<PathBuf>) -> Result<i32, anyhow::Error> {
        let store = Store::open(root)?;
        store.directory(&self.name)?;
        send(&store, &self.name, &self.signal)
    }
}

fn send(store: &Store, name: &str, signal: &str) -> Result<i32, anyhow::Error> {
    Ok(exit_code(
        runtime(store, name)?.args(["kill", name, signal]).status()?,
    ))
}

/// End a sandbox: SIGTERM, and SIGKILL after a while.
#[derive(Debug, Args)]
pub struct Stop {
    /// The sandbox
    name: String,
    /// Time between SIGTERM and SIGKILL: a number with s, m or h
    #[arg(long, short, alias = "time", value_name = "TIME", default_value = "10s", value_parser = grace)]
    timeout: Duration,
}

/// A time, or none at all.
fn grace(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s") {
        return Ok(Duration::ZERO);
    }
    crate::parse::duration(text)
}

impl Stop {
    /// Ends it; returns when it has ended or SIGKILL was sent.
    ///
    /// # Errors
    /// There is no such sandbox.
    pub fn run(&self, root: Option<PathBuf>) -> Result<i32, anyhow::Error> {
        let store = Store::open(root)?;
        store.directory(&self.name)?;
        let code = send(&store, &self.name, "TERM")?;
        if code != 0 {
            return Ok(code);
        }
        let deadline = Instant::now() + self.timeout;
        while is_running(&store, &self.name)? {
            if Instant::now() >= deadline {
                let _ = runtime(&store, &self.name)?
                    .args(["kill", "--all", &self.name, "KILL"])
                    .stderr(Stdio::null())
                    .status()?;
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(0)
    }
}

/// Removes a sandbox whose supervisor was killed; one that is detached stays.
pub(super) fn forget_left_behind(store: &Store, name: &str) -> Result<(), anyhow::Error> {
    if let Some(sandbox) = store.left_behind(name)? {
        cleanup::remove(store, &Program::find("native")?, sandbox, true)?.finish()?;
    }
    Ok(())
}

fn is_running(store: &Store, name: &str) -> Result<bool, anyhow::Error> {
    Ok(state_of(store, name)?.is_ok_and(|state| state["status"] != "stopped"))
}

/// Remove sandboxes; with --force running ones too.
#[derive(Debug, Args)]
pub struct Rm {
    /// The sandboxes
    #[arg(required = true)]
    names: Vec<String>,
    /// End it if it still runs, and say nothing if there is none
    #[arg(long, short)]
    force: bool,
}

impl Rm {
    /// Removes them.
    ///
    /// # Errors
    /// There is none, it runs, or something of it cannot be removed.
    pub fn run(&self, root: Option<PathBuf>, quiet: bool) -> Result<i32, anyhow::Error> {
        let copies = Copies::of(root.as_deref());
        let store = Store::open(root)?;
        let program = Program::find("native")?;
        for name in &self.names {
            let orphan = match store.orphan(name) {
                // As `rm -f` has it: it is not there, and that is what was asked for.
                Err(crate::store::Error::Unknown(_)) if self.force => continue,
                orphan => orphan?,
            };
            let Some(sandbox) = orphan else {
                anyhow::bail!("{name}: its nucleus run is there still; nucleus stop {name} ends it");
            };
            if !self.force && is_running(&store, name)? {
                anyhow::bail!("{name}: it is running; nucleus stop {name} ends it, rm --force too");
            }
            cleanup::remove(&store, &program, sandbox, true)?.finish()?;
            if let Ok(copy) = copies.open(name) {
                around::look_at(copy, quiet)?;
            }
        }
        Ok(0)
    }
}
