//! An OCI runtime for Linux: one straight road of pure decisions, then one executor.
//!
//! `cli` → [`bundle`] → [`host`] → [`plan`](mod@plan) (pure) → [`create`](mod@create) (parent) ⇄ [`sync`] ⇄
//! [`init`] (child) → exec. See each module for its part.

pub mod attend;
pub mod bundle;
pub mod cgroup;
pub mod cli;
pub mod container;
pub mod create;
pub mod credentials;
pub mod exec;
pub mod fault;
pub mod first;
pub mod handshake;
pub mod hooks;
pub mod host;
pub mod idmap;
pub mod init;
pub mod intel_rdt;
pub mod landlock;
pub mod lifecycle;
pub mod log;
pub mod loopback;
pub mod net_device;
pub mod notify;
pub mod plan;
pub mod program;
pub mod protect;
pub mod protocol;
pub mod readiness;
pub mod rootfs;
pub mod run;
pub mod seccomp;
pub mod spawn;
pub mod start;
pub mod state;
pub mod supervise;
pub mod sync;
pub mod terminal;
pub mod update;
