//! A bundle under `nucleus-runtime`: started, supervised to its end, or left to itself.

use crate::begin::{begin, is_held};
use crate::decide::Decided;
use crate::egress::Network;
use crate::ending::Ending;
use crate::events::Events;
use crate::keeper::Keeper;
use crate::kernel_log::{self, Killed};
use crate::protected::Protected;
use crate::run::{Call, at};
use crate::store::{Sandbox, Store};
use crate::supervise::{self, Supervised};
use crate::write::Bundle;
use anyhow::Context;
use oci_spec::runtime::Spec;
use serde_json::json;
use std::os::fd::AsRawFd;
use std::process::Stdio;

/// Runs a bundle, and returns the exit code.
///
/// # Errors
/// What kept it from starting, or from being followed to its end.
pub fn run(
    decided: &Decided,
    store: &Store,
    sandbox: &Sandbox,
    bundle: &Bundle,
    network: Option<&Network>,
    call: &Call,
    events: &mut Events,
) -> Result<i32, anyhow::Error> {
    let launch = &decided.launch;
    let words = match launch.delegated.filter(|_| launch.cgroups_path.is_some()) {
        Some(place) => place.words().context("this program")?,
        None => Vec::new(),
    };
    let mut runtime = Protected::behind(&words, &decided.program.path);
    runtime
        .command
        .arg("--root")
        .arg(store.runtime_root())
        .args([if call.create { "create" } else { "run" }, "--bundle"])
        .arg(sandbox.directory());
    if let Some(network) = network {
        network.enter(&mut runtime.command)?;
    }
    // Open until the container is created.
    let verified = match &decided.rootfs {
        Some(rootfs) => Some(rootfs.inherited()?),
        None => None,
    };
    if let Some(verified) = &verified {
        let number = verified.as_raw_fd().to_string();
        runtime.command.args(["--rootfs-fd", &number]);
    }
    if let Some(socket) = &launch.console_socket {
        runtime.command.arg("--console-socket").arg(socket);
    }
    if call.detach {
        let keeper =
            (launch.terminal && launch.console_socket.is_none()).then(|| Keeper::start(sandbox.directory()));
        let keeper = keeper
            .transpose()
            .map_err(at("keep a terminal in", sandbox.directory()))?;
        if let Some(keeper) = &keeper {
            runtime.command.arg("--console-socket").arg(&keeper.console);
        }
        let outcome = detached(runtime, decided, bundle, sandbox, call, events);
        if let (Some(keeper), false) = (keeper, outcome.as_ref().is_ok_and(|code| *code == 0)) {
            keeper.stop();
        }
        return outcome;
    }
    let begun = kernel_log::now();
    let mut supervised = Supervised::start(runtime, &launch.name, is_held(decided, call), true)?;
    let Some(pid) = begin(&mut supervised, decided, bundle, call, events)? else {
        return not_started(&mut supervised, events);
    };
    let (status, timed_out) = supervised.wait(launch.timeout)?;
    let Some(mut status) = status else {
        return not_started(&mut supervised, events);
    };
    let mut killed = Killed::Process(pid);
    if launch.init.is_some() {
        status = status.behind_init();
        killed = Killed::User(launch.ids.outside().0);
    }
    if let Some(network) = network {
        network.tell_refused(events, call.quiet)?;
    }
    let mut ending = Ending::of(status, timed_out);
    if let Ending::Seccomp(call) = &mut ending {
        *call = kernel_log::killed_call(killed, begun);
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

/// The runtime has told on standard error why.
fn not_started(supervised: &mut Supervised, events: &mut Events) -> Result<i32, anyhow::Error> {
    let code = supervised.code()?;
    events.write("exited", &Ending::NotStarted(code).json())?;
    Ok(code)
}

/// Leaves the workload to itself; what it prints goes to the sandbox's log.
fn detached(
    mut runtime: Protected,
    decided: &Decided,
    bundle: &Bundle,
    sandbox: &Sandbox,
    call: &Call,
    events: &mut Events,
) -> Result<i32, anyhow::Error> {
    let log = sandbox.directory().join("log");
    let out = std::fs::OpenOptions::new().append(true).create(true).open(&log);
    let out = out.map_err(at("create", &log))?;
    let failure = sandbox.directory().join("detached");
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
        let mut supervised = Supervised::start(runtime, name, is_held(decided, call), false)?;
        begin(&mut supervised, decided, bundle, call, events)?;
        supervised.code()?
    };
    if code != 0 {
        let told = std::fs::read_to_string(&log).unwrap_or_default();
        anyhow::bail!("{}", told.trim_end());
    }
    Ok(code)
}
