//! Side-by-side measurements of OCI runtimes on one bundle, and the floor that no runtime can pass.
//!
//! [`bundle`] makes the bundles and, from the same constants, the header that the native `limit` program is
//! compiled with; [`launcher`] starts and times commands from a small process in namespaces of its own;
//! [`measure`] interleaves the runtimes; [`stats`] and [`report`] turn samples into tables.

pub mod attest;
pub mod bundle;
pub mod cgroup;
pub mod device;
pub mod filter;
pub mod launcher;
pub mod measure;
pub mod native;
pub mod network;
pub mod peers;
pub mod profile;
pub mod report;
pub mod sandbox;
pub mod stats;
pub mod work;
