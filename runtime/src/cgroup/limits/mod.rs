//! From `linux.resources` to ordered file writes.
//!
//! Zero means "not set" wherever runc has it so (the clients rely on it: dockerd's `update` sends zeros for
//! what it does not change); -1 means unlimited. Nothing that was asked for is left out: what the controller's
//! version cannot express is an error that names the property.

mod block_io;
mod convert;
mod cpu;
mod memory;
mod other;

use std::borrow::Cow;

use oci_spec::runtime::LinuxResources;

use super::Error;
use super::writes::Write;

/// Which interface a controller has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// Whether the cgroup is new, or has values already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Create,
    Update,
}

/// A write and the controller whose directory it goes to (empty for the core files of cgroup2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: Cow<'static, str>,
    pub(super) write: Write,
}

/// Collects settings; knows where each controller is to be found.
struct Settings<'a> {
    version: &'a dyn Fn(&str) -> Option<Version>,
    phase: Phase,
    list: Vec<Setting>,
}

impl Settings<'_> {
    /// The version of `controller`'s interface, or an error naming the property that needs it.
    fn version(&self, property: &'static str, controller: &str) -> Result<Version, Error> {
        (self.version)(controller).ok_or_else(|| {
            Error::unsupported(property, format!("no hierarchy has the {controller} controller"))
        })
    }

    /// The same, for what only version 1 has.
    fn need_v1(&self, property: &'static str, controller: &str) -> Result<(), Error> {
        match self.version(property, controller)? {
            Version::V1 => Ok(()),
            Version::V2 => Err(Error::unsupported(
                property,
                format!("version 2 of the {controller} controller has no such setting"),
            )),
        }
    }

    fn push(&mut self, controller: &'static str, write: Write) {
        self.list.push(Setting {
            controller: Cow::Borrowed(controller),
            write,
        });
    }

    fn set(
        &mut self,
        controller: &'static str,
        property: &'static str,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
    ) {
        self.push(controller, Write::new(property, file, value.to_string()));
    }
}

/// All writes for `resources` except the device rules, in an order that a new cgroup accepts.
///
/// `version` tells where a controller is: on a hybrid host each can be in either kind of hierarchy.
pub(super) fn settings(
    resources: &LinuxResources,
    version: &dyn Fn(&str) -> Option<Version>,
    phase: Phase,
) -> Result<Vec<Setting>, Error> {
    let mut settings = Settings {
        version,
        phase,
        list: Vec::new(),
    };
    if let Some(memory) = resources.memory() {
        memory::memory(&mut settings, memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu::cpu(&mut settings, cpu)?;
        cpu::cpuset(&mut settings, cpu)?;
    }
    if let Some(pids) = resources.pids() {
        other::pids(&mut settings, pids)?;
    }
    if let Some(block_io) = resources.block_io() {
        block_io::block_io(&mut settings, block_io)?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        other::hugepages(&mut settings, limit)?;
    }
    if let Some(network) = resources.network() {
        other::network(&mut settings, network)?;
    }
    if let Some(rdma) = resources.rdma() {
        other::rdma(&mut settings, rdma)?;
    }
    if let Some(unified) = resources.unified() {
        other::unified(&mut settings, unified)?;
    }
    Ok(settings.list)
}

/// A signed limit of the spec: zero is "not set", -1 "unlimited", anything below that an error.
fn limit(property: &'static str, value: Option<i64>) -> Result<Option<i64>, Error> {
    match value {
        None | Some(0) => Ok(None),
        Some(value) if value < -1 => Err(Error::invalid(property, format!("{value} is less than -1"))),
        some => Ok(some),
    }
}

/// A limit in the words of version 2.
fn or_max(value: i64) -> String {
    if value == -1 {
        "max".to_owned()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests;
