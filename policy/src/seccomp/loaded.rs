//! A profile that was read: parsed, or one of this library's own, which is parsed only for who looks into it.

use std::cell::OnceCell;

use oci_spec::runtime::{Capabilities, LinuxSeccomp};

use super::SeccompPolicy;
use crate::builtin::BuiltIn;
use crate::fault::Found;
use crate::request::KernelVersion;
use crate::source::Verified;

/// A profile whose bytes were checked.
#[derive(Debug, Clone)]
pub(crate) enum Profile {
    /// Of a file.
    File(SeccompPolicy),
    /// Built in.
    BuiltIn {
        /// Its text is a profile, for every kernel (`tests/built_in.rs`).
        policy: &'static BuiltIn,
        /// What it says, once somebody has asked.
        parsed: OnceCell<SeccompPolicy>,
    },
}

/// A profile as it is in a spec.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// As `linux.seccomp` is written.
    Text(&'static str),
    /// As it is read.
    Typed(LinuxSeccomp),
}

impl Profile {
    /// What was read; for a file, for this kernel.
    pub(crate) fn of(verified: &Verified, kernel: Option<KernelVersion>) -> Result<Self, Found> {
        match verified.built_in {
            Some(policy) => Ok(Self::BuiltIn {
                policy,
                parsed: OnceCell::new(),
            }),
            None => SeccompPolicy::parse(&verified.text, kernel).map(Self::File),
        }
    }

    pub(crate) fn parsed(&self) -> &SeccompPolicy {
        match self {
            Self::File(policy) => policy,
            Self::BuiltIn { policy, parsed } => parsed.get_or_init(|| {
                SeccompPolicy::parse(policy.text, None)
                    .unwrap_or_else(|_| unreachable!("the built-in profile {} is one", policy.name))
            }),
        }
    }

    /// The profile for a process with this bounding set (capabilities(7)).
    pub(crate) fn resolve(&self, bounding: &Capabilities) -> Resolved {
        match self {
            Self::BuiltIn {
                policy: BuiltIn {
                    resolved: Some(text), ..
                },
                ..
            } if bounding.is_empty() => Resolved::Text(text),
            _ => Resolved::Typed(self.parsed().resolve(bounding)),
        }
    }
}

impl Resolved {
    /// As it is read.
    ///
    /// # Errors
    /// None that is known: the text is the library's own (`tests/built_in.rs`).
    pub fn typed(self) -> Result<LinuxSeccomp, serde_json::Error> {
        match self {
            Self::Text(text) => serde_json::from_str(text),
            Self::Typed(profile) => Ok(profile),
        }
    }
}
