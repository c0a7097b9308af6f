//! Handing a seccomp listener to its agent: `config-linux.md#containerprocessstate`.

use crate::fault::{Call, Fault};
use crate::plan::Listener;
use rustix::fd::{AsFd, BorrowedFd};

/// Sends the listener with the state of the process that it watches.
///
/// # Errors
/// The failed call: the agent is not there.
pub fn send(agent: &Listener, state: &str, pid: u32, listener: BorrowedFd<'_>) -> Result<(), Fault> {
    let socket = crate::attend::connect(&agent.path)?;
    let state: serde_json::Value = serde_json::from_str(state).unwrap_or_default();
    let message = serde_json::json!({
        "ociVersion": state["ociVersion"],
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": agent.metadata,
        "state": state,
    });
    let bytes = serde_json::to_vec(&message).map_err(|error| Fault::finding(error.to_string()))?;
    crate::sync::send_fd(socket.as_fd(), &bytes, listener).call("sendmsg")
}
