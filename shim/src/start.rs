//! The road of `create` and `start`, which are two calls: what is promised is kept, and held against the kernel when the
//! program is let go.

use crate::LANDLOCK_ENFORCED;
use crate::begin::{self, Teller};
use crate::cleanup;
use crate::decide::Decided;
use crate::events::Events;
use crate::facts::{Program, Runtime};
use crate::made_with;
use crate::report::pledge::{self, Kept, Pledge};
use crate::report::promise::{Promise, What};
use crate::report::{document, facts, look, verdict};
use crate::run::{self, at};
use crate::store::Store;
use crate::watch::Watch;
use crate::workspace::around;
use crate::workspace::copies::Copies;
use crate::write::Bundle;
use anyhow::Context;
use nucleus_policy::Digest;
use nucleus_sys::clone::end_with_parent;
use nucleus_sys::trace::Tracee;
use serde_json::json;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Keeps what is promised of a sandbox that waits for `start`, and has the runtime know of it.
///
/// # Errors
/// What could not be looked at or written.
pub fn keep(decided: &Decided, bundle: &mut Bundle) -> Result<(), anyhow::Error> {
    let write = |(path, error): (PathBuf, io::Error)| at("write", &path)(error);
    let digest = Pledge::of(decided, bundle)?
        .keep(&bundle.directory)
        .map_err(write)?;
    bundle.config.annotate(pledge::ANNOTATION, digest.to_string());
    bundle.bytes = bundle.config.bytes()?;
    pledge::keep_config(&bundle.directory, &bundle.bytes).map_err(write)?;
    let path = bundle.directory.join("config.json");
    std::fs::write(&path, &bundle.bytes).map_err(at("write", &path))
}

/// Options of `start`.
#[derive(Debug, Default)]
pub struct Start<'a> {
    /// The sandbox.
    pub name: &'a str,
    /// `--root`.
    pub root: Option<PathBuf>,
    /// `--report`.
    pub report: Option<&'a Path>,
    /// `--events`.
    pub events: Option<&'a str>,
    /// `--quiet`.
    pub quiet: bool,
}

/// Holds a created sandbox against its promises, and starts its command.
///
/// # Errors
/// It does not wait for that, or its promises are not what they were: then nothing has happened. A promise that is not
/// kept, or a command that cannot be started: then it is gone.
pub fn start(options: &Start<'_>) -> Result<i32, anyhow::Error> {
    let name = options.name;
    let copies = Copies::of(options.root.as_deref());
    let store = Store::open(options.root.clone())?;
    let sandbox = store.orphan(name)?;
    let sandbox = sandbox.with_context(|| format!("start {name}: another nucleus call is at it"))?;
    let program = made_with::of(sandbox.directory())?;
    let root = store.runtime_root();
    let state = program.state(&root, name)?.map_err(anyhow::Error::msg)?;
    let status = state["status"].as_str().unwrap_or_default();
    anyhow::ensure!(
        status == "created",
        "start {name}: it is {status}, and only what nucleus create made waits for its start"
    );
    let pid = run::pid_in(&state).context("the runtime's state has no pid")?;
    let word = |key: &str| state["annotations"][key].as_str().map(str::to_owned);
    let annotation = word(pledge::ANNOTATION).unwrap_or_default();
    let kept = Pledge::kept(sandbox.directory(), &annotation).with_context(|| format!("start {name}"))?;
    let mut events = run::open_events(name, options.events)?;
    let waiting = Waiting {
        program: &program,
        root: &root,
        name,
        pid,
        landlock: word(LANDLOCK_ENFORCED),
        promises: Some(kept.digest),
    };
    let started = waiting.begin(&kept, options.report, &mut events);
    if started.is_err() {
        let removed = cleanup::remove(&store, sandbox, true);
        let reviewed = copies
            .open(name)
            .map_or(Ok(0), |copy| around::look_at(copy, options.quiet));
        started?;
        removed?.finish()?;
        reviewed?;
    }
    Ok(0)
}

/// A container whose program waits.
pub struct Waiting<'a> {
    /// Its runtime.
    pub program: &'a Program,
    /// Where that keeps its states.
    pub root: &'a Path,
    /// Its name.
    pub name: &'a str,
    /// The process that becomes the program.
    pub pid: i32,
    /// What the runtime says of Landlock.
    pub landlock: Option<String>,
    /// The digest that `nucleus-runtime` wants to hear.
    pub promises: Option<Digest>,
}

impl Waiting<'_> {
    fn begin(&self, kept: &Kept, report: Option<&Path>, events: &mut Events) -> Result<(), anyhow::Error> {
        let watch = Watch::new().context("block signals")?;
        if kept.pledge.checked || report.is_some() {
            let teller = Teller {
                program: self.program,
                config: kept.config,
                report,
                events,
            };
            self.go_held(&watch, &kept.pledge, teller)?;
        } else {
            self.go(&watch)?;
        }
        Ok(events.write("started", &json!({"pid": self.pid}))?)
    }

    fn command(&self) -> Command {
        let mut command = self.program.command(self.root);
        command.arg("start");
        if let (Some(digest), Runtime::Native) = (self.promises, self.program.kind) {
            command.args(["--promises-sha256", &digest.to_string()]);
        }
        if self.program.kind != Runtime::Native {
            // Where the container is gone meanwhile, crun waits for it for ever.
            end_with_parent(&mut command);
        }
        command.arg(self.name).stdin(std::process::Stdio::null());
        command
    }

    /// Lets the program begin.
    ///
    /// # Errors
    /// The runtime's.
    pub fn go(&self, watch: &Watch) -> Result<(), anyhow::Error> {
        self.started(&watch.spawn(&mut self.command())?.wait_with_output()?)
    }

    /// Lets the program begin, and holds it against what was promised before its first instruction.
    ///
    /// # Errors
    /// The runtime's, what could not be looked at or told, and the promises that are not kept.
    pub fn go_held(&self, watch: &Watch, pledge: &Pledge, teller: Teller<'_>) -> Result<(), anyhow::Error> {
        if self.program.kind == Runtime::Gvisor {
            return self.go_within_sentry(watch, pledge, teller);
        }
        let pid = self.pid;
        let trace = || format!("ptrace process {pid}, to look at it before its first instruction");
        let tracee = Tracee::seize(pid).map_err(io::Error::from).with_context(trace)?;
        let start = watch.spawn(&mut self.command())?;
        if watch.until_exec(&tracee, Watch::give_up).with_context(trace)? {
            teller.tell(pledge, &begin::look(pledge, &tracee, pid, self.landlock.clone())?)?;
            tracee.detach().map_err(io::Error::from).with_context(trace)?;
        }
        self.started(&start.wait_with_output()?)
    }

    /// From outside only the confinement of gVisor's kernel can be seen, and of that what `status` shows, its filter,
    /// only when the workload has begun. What is inside is its word.
    fn go_within_sentry(
        &self,
        watch: &Watch,
        pledge: &Pledge,
        teller: Teller<'_>,
    ) -> Result<(), anyhow::Error> {
        let mut facts = look::outside(self.pid, &pledge.promises)?;
        let is_early = |promise: &&Promise| !matches!(promise.what, What::Status(..));
        let early: Vec<Promise> = pledge.promises.iter().filter(is_early).cloned().collect();
        let seen = verdict::judge(&early, &pledge.maker, &facts);
        if !document::broken(&seen).is_empty() {
            return teller.tell(pledge, &seen);
        }
        self.go(watch)?;
        // Of a child that has ended meanwhile this still is there.
        let path = PathBuf::from(format!("/proc/{}/status", self.pid));
        facts.status = facts::status(&std::fs::read_to_string(&path).map_err(at("read", &path))?);
        let mut findings = verdict::judge(&pledge.promises, &pledge.maker, &facts);
        findings.extend(pledge.on_trust.iter().map(verdict::taken_on_trust));
        teller.tell(pledge, &findings)
    }

    fn started(&self, output: &Output) -> Result<(), anyhow::Error> {
        let told = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(
            output.status.success(),
            "{} start: {}",
            self.program.path.display(),
            told.trim_end()
        );
        Ok(())
    }
}
