//! The policy front-end: a request becomes a bundle, and the bundle a sandbox.
//!
//! The road: [`request`] (flags and launch configuration) → [`mode`] (pure: what the mode makes of it, or all that
//! it refuses) → [`policy`] (loaded and checked against their pins) → [`launch`] (every word parsed, every path
//! looked up) → [`bundle`] (pure: [`config`]) → [`run`] (the runtime, supervised, and the way back).

pub mod adapt;
pub mod attested;
pub mod begin;
pub mod block_io;
pub mod bundle;
pub mod cleanup;
pub mod cli;
pub mod config;
pub mod context;
pub mod counters;
pub mod decide;
pub mod delegation;
pub mod doctor;
pub mod early;
pub mod egress;
pub mod ending;
pub mod escape;
pub mod events;
pub mod facts;
pub mod foreign;
pub mod init;
pub mod keeper;
pub mod kept;
pub mod kernel_log;
pub mod landlock;
pub mod launch;
pub mod made_with;
pub mod mode;
pub mod native;
pub mod network_keeper;
pub mod output;
pub mod parse;
pub mod policy;
pub mod protected;
pub mod ranges;
pub mod reach;
pub mod report;
pub mod request;
pub mod run;
pub mod say;
pub mod secrets;
pub mod skeleton;
pub mod start;
pub mod store;
pub mod streams;
pub mod supervise;
pub mod swap;
pub mod unit;
pub mod unrecorded;
pub mod upkeep;
pub mod watch;
pub mod workspace;
pub mod write;

/// The annotation that carries the Landlock rules.
pub const LANDLOCK: &str = "dev.nucleus.landlock";
/// What `nucleus-runtime` says in the state that it enforces of them.
pub const LANDLOCK_ENFORCED: &str = "dev.nucleus.landlock.enforced";
