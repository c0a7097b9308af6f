//! `regex-lite` under the name of `regex`.
//!
//! `oci-spec` uses `regex` for one short anchored pattern (`process.execCPUAffinity`). The full engine
//! adds 1.1 MB to a static binary whose whole budget is 3 MB, and binary size is page faults at every
//! container start. `regex-lite` comes from the same authors and has the same interface for that use.
pub use regex_lite::*;
