//! The systemd driver (`--systemd-cgroup`): the container's cgroup is a transient scope, for cgroup2 alone.
//!
//! systemd starts a scope around a process that exists, but the container's first process is to be born inside
//! a finished cgroup. So a placeholder goes first: a fork that does nothing, holds the scope open until the
//! container's process is there, and dies with [`Entered`](super::Entered) or its parent.
//!
//! The limits are given to systemd as properties too: what it does not know of, it resets when it reloads.

mod annotations;
mod bus;
mod gvariant;
mod message;
mod placeholder;
mod properties;
mod unit;

pub(crate) use annotations::PREFIX;
pub(super) use annotations::properties as annotated;
pub(super) use message::Property;
pub(super) use placeholder::Placeholder;
pub(super) use unit::Scope;

use super::Error;
use super::writes::Write;
use bus::Bus;
use message::Value;

/// Starts the scope; returns its cgroup, relative to the mount point, and what holds it open. `asked` are
/// properties that the bundle asks for; they give way to the limits.
pub(super) fn start(
    scope: &Scope,
    asked: &[Property],
    writes: &[Write],
) -> Result<(String, Placeholder), Error> {
    let mut bus = Bus::connect(scope.user)?;
    let manager = bus.manager_cgroup()?;
    let placeholder = Placeholder::new().map_err(Error::io("fork a placeholder for", &scope.name))?;
    let mut properties = vec![
        (
            "Description".into(),
            Value::Text(format!("container {}", scope.name)),
        ),
        ("Slice".into(), Value::Text(scope.slice.clone())),
        // The container's cgroup and all below it are ours: systemd keeps its hands off.
        ("Delegate".into(), Value::Bool(true)),
        // Not stopped with the others at shutdown before the services that use it.
        ("DefaultDependencies".into(), Value::Bool(false)),
        ("CollectMode".into(), Value::Text("inactive-or-failed".to_owned())),
        ("PIDs".into(), Value::Numbers(vec![placeholder.pid()])),
    ];
    // The last of two values is in force.
    properties.extend(asked.iter().cloned());
    properties.extend(properties::properties(writes));
    bus.start(scope, &properties)?;
    let below = scope.path()?;
    Ok((
        if manager.is_empty() {
            below
        } else {
            format!("{manager}/{below}")
        },
        placeholder,
    ))
}

/// Stops the scope, with all processes in it.
pub(super) fn stop(scope: &Scope) -> Result<(), Error> {
    Bus::connect(scope.user)?.stop(scope)
}

/// Tells systemd about new limits.
pub(super) fn update(scope: &Scope, writes: &[Write]) -> Result<(), Error> {
    let properties = properties::properties(writes);
    if properties.is_empty() {
        return Ok(());
    }
    Bus::connect(scope.user)?.set(scope, &properties)
}
