//! Which policies a request names, loaded and checked.

use crate::mode::{Landlock, Rules};
use crate::request::{Network, Request};
use nucleus_policy::lock::Lock;
use nucleus_policy::{Choice, Digest, Errors, KernelVersion, Kind, NotADigest, VerifiedPolicy};

/// Why there are no policies.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A digest is none.
    #[error("{0}")]
    Pin(&'static str, #[source] NotADigest),
    /// A file is not what it must be.
    #[error(transparent)]
    Policy(#[from] Errors),
}

impl Error {
    /// In words, with what is behind it: a line for each fault.
    pub fn told(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

/// Loads the policies: of the lock file, then of the flags, then the built-in ones. `landlock` tells whether the
/// runtime enforces such a policy, `kernel` for which version conditions are decided.
///
/// # Errors
/// Everything that is wrong with them.
pub fn load(
    request: &Request,
    rules: &Rules,
    landlock: bool,
    kernel: Option<KernelVersion>,
) -> Result<VerifiedPolicy, Error> {
    let pin = |field, text: &Option<String>| {
        text.as_deref()
            .map(|text| text.parse::<Digest>().map_err(|error| Error::Pin(field, error)))
            .transpose()
    };
    let lock_pin = pin("policy-lock-sha256", &request.policy_lock_sha256)?;
    let lock = request
        .policy_lock
        .as_ref()
        .map(|path| Lock::load(path, lock_pin))
        .transpose()?;
    let choose = |kind, word: &Option<String>, pin: Option<Digest>, default| {
        let locked = lock.as_ref().and_then(|lock| lock.choice(kind).cloned());
        let mut choice = match (word, locked) {
            (Some(word), _) => Choice::named(kind, word),
            (None, Some(locked)) => locked,
            (None, None) => Choice::named(kind, default),
        };
        choice.pin = pin.or(choice.pin);
        Some(choice)
    };
    let seccomp_pin = pin("seccomp-profile-sha256", &request.seccomp_profile_sha256)?;
    let caps_pin = pin("caps-policy-sha256", &request.caps_policy_sha256)?;
    let landlock_pin = pin("landlock-policy-sha256", &request.landlock_policy_sha256)?;
    // In a network namespace of its own a workload may talk to itself; the stricter modes do without that, unless
    // there is somebody to talk to.
    let default_landlock = match rules.landlock {
        _ if request.network() == Network::Bridge => "agent-network",
        Landlock::BestEffort => "agent-network",
        Landlock::Full | Landlock::FullFrom(_) => "agent",
    };
    let asked = nucleus_policy::Request {
        seccomp: choose(Kind::Seccomp, &request.seccomp_profile, seccomp_pin, "default"),
        capabilities: choose(Kind::Capabilities, &request.caps_policy, caps_pin, "none"),
        landlock: choose(
            Kind::Landlock,
            &request.landlock_policy,
            landlock_pin,
            default_landlock,
        )
        .filter(|_| landlock),
        pins_required: rules.pins_required,
        landlock_strict: rules.landlock != Landlock::BestEffort,
        kernel,
    };
    Ok(nucleus_policy::load(&asked)?)
}
