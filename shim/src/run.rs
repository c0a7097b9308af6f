//! The road of `run`: request, mode, policies, bundle, runtime, supervision, and the way back.

use crate::begin::is_checked;
use crate::cleanup::{remove, remove_with, sweep};
use crate::context;
use crate::decide::{Decided, decide_by, keeps_none};
use crate::early::{self, Early};
use crate::egress::{self, Preparing};
use crate::events::Events;
use crate::facts::{Facts, Program, Runtime};
use crate::foreign;
use crate::launch::{self, Launch};
use crate::made_with;
use crate::native;
use crate::reach::Space;
use crate::request::Request;
use crate::say::say;
use crate::secrets;
use crate::start;
use crate::store::{Sandbox, Store};
use crate::supervise::Waiting;
use crate::workspace::copies::Copies;
use crate::workspace::{around, guard};
use crate::write::{Place, write_bundle};
use anyhow::Context;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Options of `run` that are about this call, not about the sandbox.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// `--root`.
    pub root: Option<PathBuf>,
    /// `--events`.
    pub events: Option<String>,
    /// `--detach`.
    pub detach: bool,
    /// `--report`.
    pub report: Option<PathBuf>,
    /// `create`: the command waits for `start`. Detached.
    pub create: bool,
    /// `--quiet`.
    pub quiet: bool,
}

/// Runs a request and returns the exit code. `guess` is a runtime that may have been started for it.
///
/// # Errors
/// What kept it from starting, or from being cleaned up.
pub fn run(mut request: Request, call: &Call, guess: Option<Early>) -> Result<i32, anyhow::Error> {
    let here = !call.detach && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let terminal = here || request.console_socket.is_some() || call.detach && request.terminal;
    anyhow::ensure!(
        terminal || !request.terminal,
        "terminal: standard input and output are none; --console-socket takes one"
    );
    let unnamed = request.name.is_none();
    request.name = request
        .name
        .or_else(|| guess.as_ref().map(|early| early.name().to_owned()))
        .or_else(|| Some(launch::made_up_name()));
    let program = Program::of(&request)?;
    let waiting = early::start(guess, &program, &request, call);
    let facts = Facts::of(&program, &request);
    let mut decided = decide_by(&request, program, &facts, terminal, call.quiet)?;
    // Nobody would be there to hold the workload to it.
    anyhow::ensure!(
        !call.detach || request.timeout.is_none(),
        "timeout: not with --detach"
    );
    warn(&decided.launch, call.quiet);
    let store = Store::open(call.root.clone())?;
    if request.cgroups_path.is_none() {
        decided.launch.set_group(&store.full_name(&decided.launch.name));
    }
    sweep(&store, call.quiet)?;
    let mut events = open_events(&decided.launch.name, call.events.as_deref())?;
    let guarded = decided.launch.workspace_guarded.clone();
    let before = guarded.as_deref().map(guard::present).transpose()?;
    let mut sandbox = store.create(&decided.launch.name)?;
    let copies = Copies::of(call.root.as_deref());
    let mut copy = None;
    let mut network = None;
    let outcome = take_range(&mut decided.launch, &store, &mut sandbox)
        .and_then(|()| Ok(around::copy_in(&mut decided.launch, &copies)?))
        .map(|made| copy = made)
        .and_then(|()| copy_context(&mut decided.launch, &sandbox))
        .and_then(|()| egress::begin(&mut decided.launch, &mut sandbox))
        .map(|begun| network = begun)
        .map(|()| decided.program.network = gvisor_network(&decided))
        .and_then(|()| {
            in_sandbox(
                &decided,
                &store,
                &mut sandbox,
                waiting,
                network,
                call,
                &mut events,
            )
        });
    if call.detach && outcome.as_ref().is_ok_and(|code| *code == 0) {
        if unnamed {
            // A reader that is gone is no reason to end it.
            let _ = writeln!(std::io::stdout(), "{}", decided.launch.name);
        }
        return outcome;
    }
    let removed = if decided.program.usual {
        remove_with(&decided.program, &store, sandbox, outcome.is_err())
    } else {
        remove(&store, sandbox, outcome.is_err())
    };
    let removed = removed.and_then(|rest| Ok(rest.leave()?));
    let reviewed = copy.map_or(Ok(0), |copy| around::look_at(copy, call.quiet));
    let code = outcome?;
    removed?;
    if let (Some(workspace), Some(before)) = (&guarded, before) {
        around::tell_newcomers(workspace, &before, call.quiet)?;
    }
    match reviewed? {
        0 => events.write("cleaned-up", &json!({}))?,
        changes => events.write("cleaned-up", &json!({"workspace-changes": changes}))?,
    }
    Ok(code)
}

fn take_range(launch: &mut Launch, store: &Store, sandbox: &mut Sandbox) -> Result<(), anyhow::Error> {
    if launch.has_range() {
        launch.set_range(sandbox.take_range(&store.full_name(&launch.name))?);
    }
    Ok(())
}

/// Where it is to be verified, or the runtime makes no copy.
fn copy_context(launch: &mut Launch, sandbox: &Sandbox) -> Result<(), anyhow::Error> {
    let place = if launch.context_apart {
        sandbox.make_apart()?.with_file_name("context")
    } else if launch.context_pin.is_some() {
        sandbox.directory().join("context")
    } else {
        return Ok(());
    };
    Ok(context::copy(launch, &place)?)
}

/// The place of `--events`.
pub(crate) fn open_events(name: &str, target: Option<&str>) -> Result<Events, anyhow::Error> {
    Events::open(name, target)
        .map_err(at("open", Path::new(target.unwrap_or_default())))
        .context("events")
}

/// Where gVisor has to be started to have the network that was made.
fn gvisor_network(decided: &Decided) -> Option<PathBuf> {
    let bridge = decided.launch.bridge.as_ref()?;
    Space::Ruled
        .is_entered(decided.program.kind)
        .then(|| bridge.namespace.clone())
}

fn warn(launch: &Launch, quiet: bool) {
    for warning in launch.decision.warnings.iter().filter(|_| !quiet) {
        say!("nucleus: warning: {warning}");
    }
}

/// A root directory is shared only among workloads that cannot mount it writable, and only while somebody watches.
fn may_share_root(decided: &Decided, call: &Call) -> bool {
    !call.detach && decided.policy.capabilities().is_some_and(keeps_none)
}

pub(crate) fn at(call: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> anyhow::Error {
    let path = path.display().to_string();
    move |error| anyhow::Error::new(error).context(format!("{call} {path}"))
}

fn in_sandbox(
    decided: &Decided,
    store: &Store,
    sandbox: &mut Sandbox,
    waiting: Option<Waiting>,
    network: Option<Preparing>,
    call: &Call,
    events: &mut Events,
) -> Result<i32, anyhow::Error> {
    let launch = &decided.launch;
    secrets::keep(sandbox.secrets(), &launch.secrets, launch.ids.outside())?;
    made_with::keep(&decided.program, sandbox.directory()).map_err(at("write", sandbox.directory()))?;
    let place = if decided.program.kind != Runtime::Native {
        Place::Apart(sandbox.make_apart()?)
    } else if may_share_root(decided, call) {
        Place::Kept(store.roots())
    } else {
        Place::Bundle
    };
    let mut bundle = write_bundle(decided, sandbox.directory(), sandbox.secrets(), &place)?;
    sandbox.root = bundle.kept.take();
    bundle.notify = native::notified(bundle.config.but_profile())
        .then(|| store.runtime_root().join(&launch.name).join("notify"));
    let mut network = network
        .zip(launch.bridge.as_ref())
        .map(|(preparing, bridge)| egress::finish(preparing, bridge, sandbox, call, events))
        .transpose()?;
    if let Some(network) = network
        .as_mut()
        .filter(|_| call.create || is_checked(&decided.launch.decision.rules, call))
    {
        bundle.rules = Some(network.rules_in_force()?);
    }
    if call.create {
        start::keep(decided, &mut bundle)?;
    }
    let outcome = if decided.program.kind == Runtime::Native {
        native::run(decided, store, &bundle, waiting, network.as_mut(), call, events)
    } else {
        foreign::run(decided, &bundle, store, sandbox, network.as_mut(), call, events)
    };
    match network {
        Some(network) if call.detach => {
            let begun = outcome.as_ref().is_ok_and(|code| *code == 0);
            let pid = begun.then(|| pid_of(decided, store)).transpose()?;
            network.leave(pid)?;
        }
        network => sandbox.network = network,
    }
    outcome
}

/// The workload's process, or who runs it for the runtime.
fn pid_of(decided: &Decided, store: &Store) -> Result<i32, anyhow::Error> {
    let state = decided
        .program
        .state(&store.runtime_root(), &decided.launch.name)?;
    let state = state.map_err(anyhow::Error::msg)?;
    pid_in(&state).context("the runtime's state has no pid")
}

/// The process that a runtime's state names, if there is one.
pub fn pid_in(state: &serde_json::Value) -> Option<i32> {
    let pid = i32::try_from(state["pid"].as_i64()?).ok()?;
    (pid > 0).then_some(pid)
}
