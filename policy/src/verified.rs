//! Loading: every policy of a request read, checked and parsed, or everything that is wrong with them.

use crate::capabilities::CapabilityPolicy;
use crate::digest::Digest;
use crate::fault::{self, Document, Errors, Fault, Found};
use crate::landlock::LandlockPolicy;
use crate::request::{Choice, Kind, Origin, Request};
use crate::seccomp::{Profile, SeccompPolicy};
use crate::source::{self, Verified};

/// Policies whose pins were checked and whose bytes were understood. Only [`load`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedPolicy {
    pub(crate) seccomp: Option<Loaded<Profile>>,
    pub(crate) capabilities: Option<Loaded<CapabilityPolicy>>,
    pub(crate) landlock: Option<Loaded<LandlockPolicy>>,
    pub(crate) landlock_strict: bool,
}

/// A policy and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Loaded<T> {
    pub(crate) origin: Origin,
    pub(crate) digest: Digest,
    pub(crate) policy: T,
}

impl VerifiedPolicy {
    /// The seccomp policy, where one was asked for.
    #[must_use]
    pub fn seccomp(&self) -> Option<&SeccompPolicy> {
        self.seccomp.as_ref().map(|loaded| loaded.policy.parsed())
    }

    /// The capability policy, where one was asked for.
    #[must_use]
    pub fn capabilities(&self) -> Option<&CapabilityPolicy> {
        self.capabilities.as_ref().map(|loaded| &loaded.policy)
    }

    /// The Landlock policy, where one was asked for.
    #[must_use]
    pub fn landlock(&self) -> Option<&LandlockPolicy> {
        self.landlock.as_ref().map(|loaded| &loaded.policy)
    }

    /// What was loaded, from where, and the digest of its bytes; in the order of [`Kind::ALL`].
    pub fn digests(&self) -> impl Iterator<Item = (Kind, &Origin, Digest)> {
        let seccomp = self
            .seccomp
            .as_ref()
            .map(|it| (Kind::Seccomp, &it.origin, it.digest));
        let capabilities = self
            .capabilities
            .as_ref()
            .map(|it| (Kind::Capabilities, &it.origin, it.digest));
        let landlock = self
            .landlock
            .as_ref()
            .map(|it| (Kind::Landlock, &it.origin, it.digest));
        [seccomp, capabilities, landlock].into_iter().flatten()
    }

    /// The digest of one policy's bytes.
    #[must_use]
    pub fn digest(&self, kind: Kind) -> Option<Digest> {
        self.digests().find(|row| row.0 == kind).map(|row| row.2)
    }
}

/// Reads each policy of the request once, checks its pin, and parses the bytes that were hashed.
///
/// # Errors
/// Everything that is wrong with any of them: unreadable, not a regular file, over [`crate::MAX_BYTES`],
/// a missing or wrong pin, unknown fields or names, rules that repeat or contradict each other.
pub fn load(request: &Request) -> Result<VerifiedPolicy, Errors> {
    let mut faults = Vec::new();
    let seccomp = one(request, Kind::Seccomp, &mut faults, |verified| {
        Profile::of(verified, request.kernel)
    });
    let capabilities = one(request, Kind::Capabilities, &mut faults, |verified| {
        CapabilityPolicy::parse(&verified.text)
    });
    let landlock = one(request, Kind::Landlock, &mut faults, |verified| {
        LandlockPolicy::parse(&verified.text)
    });
    Errors::unless_empty(faults)?;
    Ok(VerifiedPolicy {
        seccomp,
        capabilities,
        landlock,
        landlock_strict: request.landlock_strict,
    })
}

fn one<T>(
    request: &Request,
    kind: Kind,
    faults: &mut Vec<Fault>,
    parse: impl FnOnce(&Verified) -> Result<T, Found>,
) -> Option<Loaded<T>> {
    let choice: &Choice = request.choice(kind)?;
    let found = match source::read(kind, choice, request.pins_required) {
        Err(problem) => vec![(None, problem)],
        Ok(verified) => match parse(&verified) {
            Ok(policy) => {
                return Some(Loaded {
                    origin: choice.origin.clone(),
                    digest: verified.digest,
                    policy,
                });
            }
            Err(found) => found,
        },
    };
    faults.extend(fault::in_file(found, Document::Policy(kind), &choice.origin));
    None
}
