//! Control groups, versions 1, 2 and hybrid: `linux.cgroupsPath` and `linux.resources` of an OCI bundle.
//!
//! The road: [`detect`] the host's hierarchies, [`plan()`] directories and writes (pure), [`create()`] them with
//! every limit in place before a process enters, keep the [`Record`] in the container's state.
//!
//! No process is ever moved by a write to `cgroup.procs`: that waits for an RCU grace period (11 ms when the
//! machine is idle). On cgroup2 the child is born inside through `clone3(CLONE_INTO_CGROUP)`; on version 1 the
//! single-threaded child writes `0` to its own `tasks` files. [`Entered`] holds the descriptors for both.

mod create;
mod devices;
mod enter;
mod error;
mod freezer;
mod kill;
mod layout;
mod limits;
mod oom;
mod path;
mod plan;
mod processes;
mod record;
pub mod stats;
mod systemd;
mod update;
mod view;
mod writes;

pub use create::{Entered, create};
pub use error::Error;
pub use layout::{Hierarchy, Layout, detect};
pub use oom::OomWatch;
pub use plan::{Driver, Plan, Request, plan};
pub use record::Record;
pub use stats::Stats;
pub(crate) use systemd::PREFIX as SYSTEMD_PROPERTY;
pub use view::View;
