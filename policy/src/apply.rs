//! Policies put into an OCI spec. Pure; the spec is left as it was where that is an error.

use std::collections::HashMap;

use oci_spec::runtime::{Capabilities, Linux, LinuxCapabilities, LinuxSeccomp, Process, Spec};

use crate::digest::Digest;
use crate::landlock::annotation::{self, Annotation};
use crate::request::Kind;
use crate::seccomp::Resolved;
use crate::verified::VerifiedPolicy;

/// The annotation with the version of this library that applied the policies.
pub const ANNOTATION_VERSION: &str = "dev.nucleus.version";

/// The annotation with the digest of the policy of this kind: 64 hexadecimal digits.
#[must_use]
pub const fn digest_annotation(kind: Kind) -> &'static str {
    match kind {
        Kind::Seccomp => "dev.nucleus.policy.seccomp.sha256",
        Kind::Capabilities => "dev.nucleus.policy.capabilities.sha256",
        Kind::Landlock => "dev.nucleus.policy.landlock.sha256",
    }
}

/// Why policies cannot be put into a spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The spec has no `process`: there is nothing to restrict.
    #[error("the spec has no process")]
    NoProcess,
    /// The spec has a profile, and it is not the policy's. Two profiles cannot be one without allowing
    /// what one of them refuses: their default actions may differ.
    #[error("the spec has another seccomp profile already")]
    OtherSeccomp,
    /// The spec has Landlock rules, and they are not the policy's.
    #[error("the spec has other Landlock rules already")]
    OtherLandlock,
    /// A built-in profile is none: a defect.
    #[error("the built-in seccomp profile: {0}")]
    BuiltIn(String),
    /// The spec says that a policy of other bytes was applied to it.
    #[error("the spec was made with another {kind} policy: {key} is {found:?}, not {ours}")]
    OtherDigest {
        /// The kind of policy.
        kind: Kind,
        /// The annotation.
        key: &'static str,
        /// What the spec has there.
        found: String,
        /// The digest of the policy.
        ours: Digest,
    },
}

/// What policies make of a spec; nothing where it keeps what it has.
struct Changes {
    capabilities: Option<LinuxCapabilities>,
    seccomp: Option<Resolved>,
    landlock: Option<Annotation>,
}

impl VerifiedPolicy {
    /// Narrows `spec` to what the policies allow, and says so in its annotations.
    ///
    /// Capabilities become the intersection of what the spec had (none, where it had no
    /// `process.capabilities`) and the policy. A seccomp profile or Landlock rules are set where the spec
    /// has none, and kept where it has the very same. `noNewPrivileges` is set. Applying twice is
    /// applying once.
    ///
    /// # Errors
    /// See [`ApplyError`]; the spec is not touched then.
    pub fn apply(&self, spec: &mut Spec) -> Result<(), ApplyError> {
        let mut changes = self.changes(spec)?;
        let profile = changes.seccomp.take().map(typed).transpose()?;
        self.make(changes, spec);
        if let Some(profile) = profile {
            spec.linux_mut()
                .get_or_insert_with(no_linux)
                .set_seccomp(Some(profile));
        }
        Ok(())
    }

    /// The same, but for the seccomp profile: that is returned, unless the spec keeps what it has. For who writes the
    /// spec and does not look into its profile.
    ///
    /// # Errors
    /// See [`ApplyError`]; the spec is not touched then.
    pub fn apply_apart(&self, spec: &mut Spec) -> Result<Option<Resolved>, ApplyError> {
        let mut changes = self.changes(spec)?;
        let profile = changes.seccomp.take();
        self.make(changes, spec);
        Ok(profile)
    }

    fn changes(&self, spec: &Spec) -> Result<Changes, ApplyError> {
        let process = spec.process().as_ref().ok_or(ApplyError::NoProcess)?;
        self.check_digests(spec)?;
        let capabilities = self.narrowed(process);
        Ok(Changes {
            seccomp: self.seccomp_for(spec, process, capabilities.as_ref())?,
            landlock: self.landlock_for(spec)?,
            capabilities,
        })
    }

    fn make(&self, changes: Changes, spec: &mut Spec) {
        if let Some(process) = spec.process_mut() {
            process.set_no_new_privileges(Some(true));
            if changes.capabilities.is_some() {
                process.set_capabilities(changes.capabilities);
            }
        }
        let annotations = spec.annotations_mut().get_or_insert_with(HashMap::new);
        if let Some(rules) = changes.landlock {
            annotations.insert(annotation::KEY.to_owned(), rules.render());
        }
        for (kind, _, digest) in self.digests() {
            annotations.insert(digest_annotation(kind).to_owned(), digest.to_string());
        }
        annotations.insert(
            ANNOTATION_VERSION.to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        );
    }

    /// An annotation that names other bytes would make the spec lie about one of the two.
    fn check_digests(&self, spec: &Spec) -> Result<(), ApplyError> {
        for (kind, _, ours) in self.digests() {
            let key = digest_annotation(kind);
            match spec
                .annotations()
                .as_ref()
                .and_then(|annotations| annotations.get(key))
            {
                Some(found) if *found != ours.to_string() => {
                    return Err(ApplyError::OtherDigest {
                        kind,
                        key,
                        found: found.clone(),
                        ours,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn narrowed(&self, process: &Process) -> Option<LinuxCapabilities> {
        let policy = self.capabilities()?;
        let had = process.capabilities().clone().unwrap_or_else(|| {
            let mut none = LinuxCapabilities::default();
            none.set_bounding(None).set_permitted(None).set_effective(None);
            none.set_inheritable(None).set_ambient(None);
            none
        });
        Some(policy.narrow(&had))
    }

    /// The profile to set; `None` where the spec keeps what it has. Rules that ask for capabilities are
    /// decided by the bounding set that the process will have: what it can ever get.
    fn seccomp_for(
        &self,
        spec: &Spec,
        process: &Process,
        narrowed: Option<&LinuxCapabilities>,
    ) -> Result<Option<Resolved>, ApplyError> {
        let Some(loaded) = &self.seccomp else {
            return Ok(None);
        };
        let none = Capabilities::new();
        let in_force = narrowed.or(process.capabilities().as_ref());
        let bounding = in_force
            .and_then(|sets| sets.bounding().as_ref())
            .unwrap_or(&none);
        let profile = loaded.policy.resolve(bounding);
        match spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) {
            None => Ok(Some(profile)),
            Some(existing) if *existing != typed(profile)? => Err(ApplyError::OtherSeccomp),
            Some(_) => Ok(None),
        }
    }

    fn landlock_for(&self, spec: &Spec) -> Result<Option<Annotation>, ApplyError> {
        let Some(policy) = self.landlock() else {
            return Ok(None);
        };
        let rules = policy.compile(self.landlock_strict);
        match spec
            .annotations()
            .as_ref()
            .and_then(|annotations| annotations.get(annotation::KEY))
        {
            None => Ok(Some(rules)),
            Some(existing) if serde_json::from_str(existing).is_ok_and(|it: Annotation| it == rules) => {
                Ok(None)
            }
            Some(_) => Err(ApplyError::OtherLandlock),
        }
    }
}

fn typed(profile: Resolved) -> Result<LinuxSeccomp, ApplyError> {
    profile
        .typed()
        .map_err(|error| ApplyError::BuiltIn(error.to_string()))
}

/// A `linux` object that says nothing: the library's default would set namespaces and paths.
fn no_linux() -> Linux {
    serde_json::from_str("{}").unwrap_or_default()
}
