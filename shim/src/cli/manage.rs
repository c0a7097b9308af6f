//! What is done to a sandbox that is there: `ps`, `state`, `kill`, `stop`, `rm`.

use crate::cleanup;
use crate::egress;
use crate::made_with;
use crate::run;
use crate::say::say;
use crate::store::Store;
use crate::workspace::around;
use crate::workspace::copies::Copies;
use clap::Args;
use nucleus_sys::signal;
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A command of the runtime that a sandbox was made with.
fn runtime(store: &Store, name: &str) -> Result<Command, anyhow::Error> {
    Ok(made_with::of(&store.directory(name)?)?.command(&store.runtime_root()))
}

/// The state that the runtime prints; an error text if it has none.
pub(super) fn state_of(store: &Store, name: &str) -> Result<Result<Value, String>, anyhow::Error> {
    let program = made_with::of(&store.directory(name)?)?;
    Ok(program.state(&store.runtime_root(), name)?)
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
            let (state, otherwise) = match state_of(&store, &name) {
                Ok(state) => (state.unwrap_or_default(), "starting or left behind"),
                Err(error) => {
                    say!("nucleus: warning: {name}: {}", super::chain(&error));
                    (Value::Null, "unknown")
                }
            };
            let annotation = |key: &str| state["annotations"][key].as_str().unwrap_or("-").to_owned();
            rows.push(json!({
                "name": name,
                "status": state["status"].as_str().unwrap_or(otherwise),
                "pid": run::pid_in(&state).unwrap_or(0),
                "mode": annotation(crate::bundle::MODE),
            }));
        }
        if self.json || self.format == "json" {
            return super::print(&serde_json::to_string_pretty(&rows)?);
        }
        let mut text = format!("{:<24} {:<10} {:>8} {}", "NAME", "STATUS", "PID", "MODE");
        for row in &rows {
            let word = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            let pid = row["pid"].as_i64().filter(|pid| *pid > 0);
            let pid = pid.map_or("-".to_owned(), |pid| pid.to_string());
            text += &format!(
                "\n{:<24} {:<10} {pid:>8} {}",
                word("name"),
                word("status"),
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
        let status = runtime(&store, &self.name)?
            .args(["kill", &self.name, &self.signal])
            .status()?;
        Ok(i32::from(!status.success()))
    }
}

/// End sandboxes: SIGTERM, and SIGKILL after a while.
#[derive(Debug, Args)]
#[command(after_help = "\
A command that is a sandbox's first process takes SIGTERM only if it asks for it: most programs end after the time alone. \
With run --init they end at once. One that waits for its start is ended at once.")]
pub struct Stop {
    /// The sandboxes
    #[arg(required = true)]
    names: Vec<String>,
    /// Time between SIGTERM and SIGKILL: a number with s, m or h
    #[arg(long, short, alias = "time", value_name = "TIME", default_value = "10s", value_parser = grace)]
    timeout: Duration,
}

/// How long an end may take after SIGKILL.
const END: Duration = Duration::from_secs(10);

/// A time, or none at all.
fn grace(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s") {
        return Ok(Duration::ZERO);
    }
    crate::parse::duration(text)
}

impl Stop {
    /// Ends them; returns when they have ended.
    ///
    /// # Errors
    /// There is no such sandbox, or it does not end.
    pub fn run(&self, root: Option<PathBuf>) -> Result<i32, anyhow::Error> {
        let store = Store::open(root)?;
        Ok(for_each(&self.names, |name| self.stop(&store, name)))
    }

    fn stop(&self, store: &Store, name: &str) -> Result<(), anyhow::Error> {
        let state = state_of(store, name)?.map_err(anyhow::Error::msg)?;
        match state["status"].as_str() {
            Some("stopped") => return Ok(()),
            Some("created") => kill(store, name, "created")?,
            status => {
                let mut term = runtime(store, name)?;
                let sent = term.args(["kill", name, "TERM"]).stdin(Stdio::null()).output()?;
                let time = if sent.status.success() {
                    self.timeout
                } else {
                    Duration::ZERO
                };
                if has_ended(store, name, time)? {
                    return Ok(());
                }
                let told = String::from_utf8_lossy(&sent.stderr);
                anyhow::ensure!(sent.status.success(), "stop {name}: {}", told.trim_end());
                kill(store, name, status.unwrap_or_default())?;
            }
        }
        anyhow::ensure!(
            has_ended(store, name, END)?,
            "stop {name}: it has not ended {} seconds after SIGKILL",
            END.as_secs()
        );
        Ok(())
    }
}

/// Sends SIGKILL to all that runs in a sandbox with this status. It may end meanwhile.
fn kill(store: &Store, name: &str, status: &str) -> Result<(), anyhow::Error> {
    // No program is there to hear a signal, and gVisor sends it none.
    if status == "created" {
        if let Some(process) = process_of(store, name)? {
            let _ = signal::pidfd_send_signal(process.as_fd(), Signal::KILL.as_raw());
        }
        return Ok(());
    }
    let mut kill = runtime(store, name)?;
    kill.args(["kill", "--all", name, "KILL"])
        .stderr(Stdio::null())
        .status()?;
    Ok(())
}

/// Waits for the end.
fn has_ended(store: &Store, name: &str, time: Duration) -> Result<bool, anyhow::Error> {
    let deadline = Instant::now() + time;
    // Where its nucleus run is there still, that removes it.
    while store.directory(name).is_ok()
        && status_of(store, name).is_ok_and(|status| status.is_some_and(|status| status != "stopped"))
    {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}

/// Does it to each of them, and tells what failed. The exit code.
fn for_each(names: &[String], mut act: impl FnMut(&str) -> Result<(), anyhow::Error>) -> i32 {
    let mut code = 0;
    for name in names {
        if let Err(error) = act(name) {
            say!("nucleus: {}", super::chain(&error));
            code = 1;
        }
    }
    code
}

/// Removes a sandbox whose supervisor was killed; one that is detached stays.
pub(super) fn forget_left_behind(store: &Store, name: &str) -> Result<(), anyhow::Error> {
    if let Some(sandbox) = store.left_behind(name)? {
        cleanup::remove(store, sandbox, true)?.finish()?;
    }
    Ok(())
}

/// Ends a sandbox whose `nucleus run` is there still, which removes it then. It may be about to make it.
fn end(store: &Store, name: &str) -> Result<(), anyhow::Error> {
    let deadline = Instant::now() + END;
    while store.directory(name).is_ok() {
        if let Ok(Some(status)) = status_of(store, name)
            && status != "stopped"
        {
            kill(store, name, &status)?;
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "rm {name}: its nucleus run is there still {} seconds after SIGKILL",
            END.as_secs()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// What the runtime says that it is, if it knows of it.
fn status_of(store: &Store, name: &str) -> Result<Option<String>, anyhow::Error> {
    let state = state_of(store, name)?.unwrap_or_default();
    Ok(state["status"].as_str().map(str::to_owned))
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
        Ok(for_each(&self.names, |name| {
            self.remove(&store, name)?;
            if let Ok(copy) = copies.open(name) {
                around::look_at(copy, quiet)?;
            }
            Ok(())
        }))
    }

    fn remove(&self, store: &Store, name: &str) -> Result<(), anyhow::Error> {
        let orphan = match store.orphan(name) {
            // As `rm -f` has it: it is not there, and that is what was asked for.
            Err(crate::store::Error::Unknown(_)) if self.force => return Ok(()),
            orphan => orphan?,
        };
        let Some(sandbox) = orphan else {
            anyhow::ensure!(
                self.force,
                "{name}: its nucleus run is there still; nucleus stop {name} ends it, rm --force too"
            );
            return end(store, name);
        };
        if !self.force
            && let Some(status) = status_of(store, name)?.filter(|status| status != "stopped")
        {
            anyhow::bail!("{name}: it is {status}; nucleus stop {name} ends it, rm --force too");
        }
        Ok(cleanup::remove(store, sandbox, true)?.finish()?)
    }
}
