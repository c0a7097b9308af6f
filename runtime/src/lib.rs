//! An OCI runtime for Linux: one straight road of pure decisions, then one executor.

pub mod cgroup;
pub mod seccomp;
