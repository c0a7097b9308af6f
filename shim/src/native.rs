//! A bundle under `nucleus-runtime`: started, supervised to its end, or left to itself.

use crate::begin::{begin, is_held};
use crate::decide::Decided;
use crate::egress::Network;
use crate::ending::Ending;
use crate::events::Events;
use crate::facts::no_user_namespace;
use crate::keeper::Keeper;
use crate::kernel_log::{self, Killed};
use crate::mode::{Weaker, none_of_this_host};
use crate::protected::Protected;
use crate::run::{Call, at};
use crate::store::Store;
use crate::supervise::{self, Supervised, Waiting};
use crate::write::Bundle;
use anyhow::Context;
use oci_spec::runtime::Spec;
use serde_json::json;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;

/// Names the container's state and bundle, which lie in its store.
pub(crate) fn name_bundle(runtime: &mut Protected, store: &Store, name: &str, command: &str) {
    let runtime = runtime.command.arg("--root").arg(store.runtime_root());
    runtime.args([command, "--bundle"]).arg(store.place_of(name));
}

/// Names who gets the terminal.
pub(crate) fn name_console(runtime: &mut Protected, socket: Option<&Path>) {
    if let Some(socket) = socket {
        runtime.command.arg("--console-socket").arg(socket);
    }
}

/// The runtime as it is started for what was decided, and a descriptor that has to be open until the container is
/// created.
fn decided_start(
    decided: &Decided,
    store: &Store,
    network: Option<&Network>,
    call: &Call,
) -> Result<(Protected, Option<OwnedFd>), anyhow::Error> {
    let launch = &decided.launch;
    let words = match launch.delegated.filter(|_| launch.cgroups_path.is_some()) {
        Some(place) => place.words().context("this program")?,
        None => Vec::new(),
    };
    let mut runtime = Protected::behind(&words, &decided.program.path);
    let command = if call.create { "create" } else { "run" };
    name_bundle(&mut runtime, store, &launch.name, command);
    if let Some(network) = network {
        network.enter(&mut runtime.command)?;
    }
    let verified = match &decided.rootfs {
        Some(rootfs) => Some(rootfs.inherited()?),
        None => None,
    };
    if let Some(verified) = &verified {
        let number = verified.as_raw_fd().to_string();
        runtime.command.args(["--rootfs-fd", &number]);
    }
    name_console(&mut runtime, launch.console_socket.as_deref());
    Ok((runtime, verified))
}

/// Runs a bundle, and returns the exit code. `waiting` is the runtime, if it was started early.
///
/// # Errors
/// What kept it from starting, or from being followed to its end.
pub fn run(
    decided: &Decided,
    store: &Store,
    bundle: &Bundle,
    waiting: Option<Waiting>,
    network: Option<&mut Network>,
    call: &Call,
    events: &mut Events,
) -> Result<i32, anyhow::Error> {
    let launch = &decided.launch;
    if call.detach {
        let (mut runtime, _verified) = decided_start(decided, store, network.as_deref(), call)?;
        let keeper =
            (launch.terminal && launch.console_socket.is_none()).then(|| Keeper::start(&bundle.directory));
        let keeper = keeper
            .transpose()
            .map_err(at("keep a terminal in", &bundle.directory))?;
        name_console(
            &mut runtime,
            keeper.as_ref().map(|keeper| keeper.console.as_path()),
        );
        let outcome = detached(runtime, decided, bundle, call, events);
        if let (Some(keeper), false) = (keeper, outcome.as_ref().is_ok_and(|code| *code == 0)) {
            keeper.stop();
        }
        return outcome;
    }
    let begun = kernel_log::now();
    let held = is_held(&launch.decision.rules, call);
    let (waiting, _verified) = match waiting {
        Some(waiting) => (waiting, None),
        None => {
            let (runtime, verified) = decided_start(decided, store, network.as_deref(), call)?;
            (Waiting::start(runtime, &launch.name, held, true)?, verified)
        }
    };
    let mut supervised = waiting.give(&bundle.bytes)?;
    let Some(pid) = begin(&mut supervised, decided, bundle, call, events)? else {
        return not_started(&mut supervised, decided, events);
    };
    let (status, timed_out) = supervised.wait(launch.timeout)?;
    let Some(mut status) = status else {
        return not_started(&mut supervised, decided, events);
    };
    if store.runtime_root().join(&launch.name).exists() {
        // It is telling why it could not remove that.
        supervised.code()?;
    }
    let mut killed = Killed::Process(pid);
    if launch.init.is_some() {
        status = status.behind_init();
        killed = Killed::User(launch.ids.outside().0);
    }
    if let Some(network) = network {
        network.tell_refused(events, call.quiet)?;
    }
    let ending = Ending::of(status, timed_out).with_call(killed, begun);
    for hit in status.limits_hit() {
        events.write("limit-hit", &hit)?;
    }
    events.write("exited", &ending.json())?;
    ending.tell(call.quiet);
    Ok(ending.code(status))
}

/// Whether the runtime passes on what the program tells a service manager: where one waits for it, and the program has
/// no other address.
pub fn notified(spec: &Spec) -> bool {
    let env = spec.process().as_ref().and_then(|process| process.env().as_ref());
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|address| !address.is_empty())
        && !env
            .into_iter()
            .flatten()
            .any(|entry| entry.starts_with("NOTIFY_SOCKET="))
}

/// The runtime has told on standard error why; this adds what helps where there is no user namespace.
fn not_started(
    supervised: &mut Supervised,
    decided: &Decided,
    events: &mut Events,
) -> Result<i32, anyhow::Error> {
    let code = supervised.code()?;
    events.write("exited", &Ending::NotStarted(code).json())?;
    let decision = &decided.launch.decision;
    let is_spared = decision.without_user_namespace || decision.rules.weaker != Weaker::WithConsent;
    let is_asked = rustix::process::geteuid().is_root() && !is_spared;
    match is_asked.then(no_user_namespace).flatten() {
        Some(errno) => anyhow::bail!(
            "user namespace: {}; --allow-degraded-security goes on without it",
            none_of_this_host(errno)
        ),
        None => Ok(code),
    }
}

/// Leaves the workload to itself; what it prints goes to the sandbox's log.
fn detached(
    mut runtime: Protected,
    decided: &Decided,
    bundle: &Bundle,
    call: &Call,
    events: &mut Events,
) -> Result<i32, anyhow::Error> {
    let log = bundle.directory.join("log");
    let out = std::fs::OpenOptions::new().append(true).create(true).open(&log);
    let out = out.map_err(at("create", &log))?;
    let failure = bundle.directory.join("detached");
    std::fs::File::create(&failure).map_err(at("create", &failure))?;
    runtime
        .command
        .args((!call.create).then_some("--detach"))
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out);
    let name = &decided.launch.name;
    let code = if call.create {
        let code = supervise::exit_code(runtime.command.arg(name).status()?);
        if code == 0 {
            events.write("created", &json!({"mode": decided.launch.mode}))?;
        }
        code
    } else {
        let held = is_held(&decided.launch.decision.rules, call);
        let mut supervised = Waiting::start(runtime, name, held, false)?.give(&bundle.bytes)?;
        begin(&mut supervised, decided, bundle, call, events)?;
        supervised.code()?
    };
    if code != 0 {
        let told = std::fs::read_to_string(&log).unwrap_or_default();
        anyhow::bail!("{}", told.trim_end());
    }
    Ok(code)
}
