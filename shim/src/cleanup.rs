//! The way back, and what a killed `nucleus` has left behind.

use crate::egress::{self, Network};
use crate::facts::{Program, Runtime};
use crate::store::{Sandbox, Store};
use nucleus_network::bridge;
use nucleus_network::removal::Rest;
use std::process::Stdio;

/// Takes back what `run` made, but for what the kernel takes its time over. `force`: the runtime may have left its part
/// behind.
///
/// # Errors
/// What could not be removed.
pub fn remove(
    store: &Store,
    program: &Program,
    mut sandbox: Sandbox,
    force: bool,
) -> Result<Rest, anyhow::Error> {
    let program = Program::recorded(sandbox.directory()).unwrap_or_else(|| program.clone());
    let there = || match program.kind {
        Runtime::Native => store.runtime_root().join(&sandbox.name).exists(),
        // Each has its own way to keep records.
        _ => program
            .command(&store.runtime_root())
            .args(["state", &sandbox.name])
            .stdin(Stdio::null())
            .output()
            .is_ok_and(|output| output.status.success()),
    };
    if force || there() {
        let output = program
            .command(&store.runtime_root())
            .args(["delete", "--force", &sandbox.name])
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() && there() {
            anyhow::bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
    }
    // While the namespace is there, so is the link: the kernel's own removal would be in the way of ours.
    let network = sandbox.network.take().map(Network::end);
    let rest = if sandbox.networked {
        bridge::remove(&egress::record(&sandbox))?
    } else {
        Rest::nothing()
    };
    drop(network);
    sandbox.remove()?;
    Ok(rest)
}

/// Removes what a killed `nucleus` has left behind. What cannot be removed is told of, and is no reason not to start
/// another sandbox.
#[expect(clippy::print_stderr, reason = "warnings are for the caller")]
pub fn sweep(store: &Store, program: &Program, quiet: bool) -> Result<(), anyhow::Error> {
    for name in store.names()? {
        let Ok(directory) = store.directory(&name) else {
            continue;
        };
        if directory.join("detached").exists() {
            continue;
        }
        let Ok(Some(sandbox)) = store.orphan(&name) else {
            continue;
        };
        let removed = remove(store, program, sandbox, true).and_then(|rest| Ok(rest.finish()?));
        match removed {
            Err(error) if !quiet => {
                let told = format!("{error:#}").replace('\n', "; ");
                eprintln!("nucleus: warning: {name} was left behind and cannot be removed: {told}");
                eprintln!("nucleus: warning: once that is mended, nucleus rm {name} removes it");
            }
            _ => {}
        }
    }
    Ok(())
}
