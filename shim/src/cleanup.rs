//! The way back, and what a killed `nucleus` has left behind. The order is data, [`TAKE_DOWN`], which
//! `formal/bindings/cleanup.rs` holds against `formal/specs/Sandbox.tla`.

use crate::egress::{self, Network};
use crate::facts::{Program, Runtime};
use crate::made_with;
use crate::say;
use crate::store::{Sandbox, Store};
use crate::unrecorded;
use nucleus_network::bridge;
use nucleus_network::removal::Rest;
use std::fmt;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A part of what `run` makes on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The processes, and all else that the runtime has made.
    Container,
    /// The link and what goes with it.
    Network,
    /// Secrets, and a root directory that is not in the bundle.
    Files,
    /// The sandbox's own directory, by which the rest is found again.
    Directory,
}

/// The parts in the order in which they are taken back, after any end and by whoever comes after a killed `nucleus`: what
/// a container uses stays as long as there is one, and what tells of the rest goes last.
pub const TAKE_DOWN: [Part; 4] = [Part::Container, Part::Network, Part::Files, Part::Directory];

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Container => "container",
            Self::Network => "network",
            Self::Files => "files",
            Self::Directory => "directory",
        })
    }
}

/// Takes back a sandbox that another call has made.
///
/// # Errors
/// Its runtime is gone, and as [`remove_with`].
pub fn remove(store: &Store, sandbox: Sandbox, force: bool) -> Result<Rest, anyhow::Error> {
    let program = made_with::remover_of(sandbox.directory())?;
    remove_with(&program, store, sandbox, force)
}

/// Takes back what `run` made with this runtime, but for what the kernel takes its time over. `force`: the runtime may
/// have left its part behind.
///
/// # Errors
/// What could not be removed. The parts that come after it stay, for `nucleus rm`.
pub fn remove_with(
    program: &Program,
    store: &Store,
    mut sandbox: Sandbox,
    force: bool,
) -> Result<Rest, anyhow::Error> {
    let mut rest = Rest::nothing();
    for part in TAKE_DOWN {
        match part {
            Part::Container if force && program.kind == Runtime::Gvisor => {
                // Before the record is looked for: whoever is still to write one is among them.
                unrecorded::end(sandbox.directory())?;
                container(store, program, &sandbox.name, force)?;
                let lock = format!("{0}_sandbox:{0}.lock", sandbox.name);
                let _ = std::fs::remove_file(store.runtime_root().join(lock));
            }
            Part::Container => container(store, program, &sandbox.name, force)?,
            Part::Network => rest = network(&mut sandbox)?,
            Part::Files => sandbox.remove_files()?,
            Part::Directory => sandbox.remove_directory()?,
        }
    }
    Ok(rest)
}

/// A user's goes with its processes.
fn network(sandbox: &mut Sandbox) -> Result<Rest, anyhow::Error> {
    let held = sandbox.network.take().map(Network::end);
    if !sandbox.networked {
        return Ok(Rest::nothing());
    }
    Ok(bridge::remove(&egress::record(sandbox), held)?)
}

fn container(store: &Store, program: &Program, name: &str, force: bool) -> Result<(), anyhow::Error> {
    let there = || is_recorded(store, program, name);
    if force || there() {
        let output = program
            .command(&store.runtime_root())
            .args(["delete", "--force", name])
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() && there() {
            anyhow::bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
    }
    Ok(())
}

/// Whether the runtime knows the container.
fn is_recorded(store: &Store, program: &Program, name: &str) -> bool {
    match program.kind {
        Runtime::Native => store.runtime_root().join(name).exists(),
        // Each has its own way to keep records.
        _ => program
            .command(&store.runtime_root())
            .args(["state", name])
            .stdin(Stdio::null())
            .output()
            .is_ok_and(|output| output.status.success()),
    }
}

/// How long a `create` of another runtime goes on at most when nobody waits for it: crun's may wait for ever then.
const CREATION: Duration = Duration::from_secs(5);

/// Stands by while `nucleus` runs a sandbox of another runtime, which does not end by itself with it: reads a line from
/// standard input, and if there comes none, because it was killed, takes its container back. The rest is for the next
/// call.
///
/// # Errors
/// What could not be removed.
pub fn guard(store: &Store, name: &str) -> Result<(), anyhow::Error> {
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line)? > 0 {
        return Ok(());
    }
    let bundle = store.place_of(name);
    let program = made_with::remover_of(&bundle)?;
    if program.kind == Runtime::Gvisor {
        unrecorded::end(&bundle)?;
        return container(store, &program, name, true);
    }
    // A `create` that nobody waits for any more goes on, and what it makes is known to the runtime only then: to remove it
    // earlier takes away what its own process waits for, which then waits for ever.
    let deadline = Instant::now() + CREATION;
    while Instant::now() < deadline {
        if unrecorded::processes(&bundle)?.is_empty() {
            return container(store, &program, name, true);
        }
        if is_recorded(store, &program, name) {
            // What is wrong is told when nobody is there any more.
            let _ = container(store, &program, name, true);
        }
        std::thread::sleep(unrecorded::ROUND);
    }
    unrecorded::end(&bundle)?;
    container(store, &program, name, true)
}

/// Removes what a killed `nucleus` has left behind. What cannot be removed is told of, and is no reason not to start
/// another sandbox.
pub fn sweep(store: &Store, quiet: bool) -> Result<(), anyhow::Error> {
    for name in store.names()? {
        let Ok(Some(sandbox)) = store.left_behind(&name) else {
            continue;
        };
        let removed = remove(store, sandbox, true).and_then(|rest| Ok(rest.finish()?));
        match removed {
            Err(error) if !quiet => {
                let told = format!("{error:#}").replace('\n', "; ");
                say::line(format_args!(
                    "nucleus: warning: {name} was left behind and cannot be removed: {told}"
                ));
                say::line(format_args!(
                    "nucleus: warning: once that is mended, nucleus rm {name} removes it"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}
