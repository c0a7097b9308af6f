//! Hash-pinned policies for containers: which system calls, which capabilities, which files and ports.
//!
//! The road: a [`Request`] names three policies ([`Choice`]), perhaps through a [`Lock`];
//! [`load`] reads each once, checks its pin and parses the very bytes that were hashed;
//! [`VerifiedPolicy::apply`] puts them into an OCI spec, which never widens it.
//!
//! The file formats are in the crate's README, the built-in policies in `data/`.

mod apply;
pub mod attest;
pub mod builtin;
pub mod capabilities;
pub mod compare;
mod digest;
mod explain;
mod fault;
pub mod landlock;
pub mod lock;
mod request;
pub mod seccomp;
mod source;
mod toml_text;
mod verified;

pub use apply::{ANNOTATION_VERSION, ApplyError, digest_annotation};
pub use capabilities::{CapabilityPolicy, names as capability_names};
pub use digest::{Digest, NotADigest};
pub use explain::{Explanation, Statement};
pub use fault::{Document, Errors, Fault, Problem};
pub use landlock::LandlockPolicy;
pub use lock::Lock;
pub use request::{Choice, KernelVersion, Kind, NotAKernelVersion, Origin, Request};
pub use seccomp::SeccompPolicy;
pub use source::MAX_BYTES;
pub use verified::{VerifiedPolicy, load};
