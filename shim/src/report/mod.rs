//! The launch report: what a mode promises, held against what the kernel shows of the process that stands before
//! its first instruction.
//!
//! The road: [`promise`] (pure: the table of promises) → [`facts`] (what the kernel shows) and [`probe`] (system
//! calls that the process is made to try) → [`verdict`] (pure: promise × facts) → [`document`] (JSON). [`look`]
//! looks at the process while it is stopped, and [`pledge`] keeps the promises from `create` to `start`.

pub mod document;
pub mod facts;
pub mod look;
pub mod mounts;
pub mod pledge;
pub mod probe;
pub mod promise;
pub mod verdict;
