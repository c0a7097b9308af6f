//! From a request to all that is decided before anything is made.

use crate::adapt::{Features, Loss, adapt};
use crate::attested::Attested;
use crate::bundle;
use crate::config::Config;
use crate::facts::{Facts, Program, Runtime};
use crate::launch::{self, Launch, Root};
use crate::mode::{self, Violation};
use crate::policy;
use crate::request::Request;
use crate::skeleton::Skeleton;
use nucleus_policy::{CapabilityPolicy, VerifiedPolicy};
use oci_spec::runtime::Spec;
use std::path::Path;

/// A request that its mode refuses, and what is wrong with its policies besides.
#[derive(Debug)]
pub struct Refused {
    violations: Vec<Violation>,
    policies: Option<policy::Error>,
}

impl std::error::Error for Refused {}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the request is refused")?;
        for violation in &self.violations {
            write!(f, "\n  {violation}")?;
        }
        let policies = self.policies.as_ref().map(policy::Error::told);
        for fault in policies.iter().flat_map(|text| text.lines()) {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

/// All that was decided before anything is made.
#[derive(Debug)]
pub struct Decided {
    /// The runtime.
    pub program: Program,
    /// What it can do.
    pub features: Features,
    /// What is started.
    pub launch: Launch,
    /// What it is held to.
    pub policy: VerifiedPolicy,
    /// The root file system that was compared with its manifest.
    pub rootfs: Option<Attested>,
}

/// Decides a request. Nothing is made; all that is wrong with the request is told at once.
///
/// # Errors
/// What is wrong.
pub fn decide(request: &Request, terminal: bool, quiet: bool) -> Result<Decided, anyhow::Error> {
    let program = Program::of(request)?;
    let facts = Facts::of(&program, request);
    decide_by(request, program, &facts, terminal, quiet)
}

/// The same for a host with these facts.
///
/// # Errors
/// What is wrong.
pub fn decide_by(
    request: &Request,
    program: Program,
    facts: &Facts,
    terminal: bool,
    quiet: bool,
) -> Result<Decided, anyhow::Error> {
    let (decision, mut violations) = mode::judge(request, facts);
    let policy = policy::load(request, &decision.rules, !decision.without_landlock, facts.kernel);
    // Only our own makes a terminal without being handed a socket for it.
    let terminal = terminal && program.kind == Runtime::Native;
    let launch = match launch::resolve(request, facts, decision, terminal) {
        Ok(launch) => launch,
        Err(faults) => {
            violations.extend(faults);
            let policies = policy.err();
            return Err(Refused { violations, policies }.into());
        }
    };
    let policy = match policy {
        Err(error) if violations.is_empty() => return Err(error.into()),
        Err(error) => {
            let policies = Some(error);
            return Err(Refused { violations, policies }.into());
        }
        Ok(policy) => policy,
    };
    if launch.decision.without_user_namespace && !policy.capabilities().is_some_and(keeps_none) {
        violations.push(Violation {
            field: "caps-policy",
            reason: "it keeps capabilities, which would be the host's own without a user namespace".into(),
        });
    }
    let mut decided = Decided {
        features: program.features(),
        rootfs: None,
        program,
        launch,
        policy,
    };
    if decided.program.kind != Runtime::Native {
        let (_, _, losses) = decided.compose(Path::new("/"))?;
        let (warnings, lost) = mode::weigh(request, &losses);
        decided.launch.decision.warnings.extend(warnings);
        violations.extend(lost);
    }
    if !violations.is_empty() {
        let policies = None;
        return Err(Refused { violations, policies }.into());
    }
    // Last, because it may read all of a root file system.
    decided.rootfs = Attested::of(request, &decided.launch, quiet)?;
    if let (Some(rootfs), Root::Directory(path)) = (&decided.rootfs, &decided.launch.root) {
        rootfs.has_targets(path, &bundle::targets(&decided.launch))?;
    }
    Ok(decided)
}

/// Whether a policy leaves no capability.
pub(crate) fn keeps_none(policy: &CapabilityPolicy) -> bool {
    policy.sets().into_iter().all(|(_, names)| names.is_empty())
}

impl Decided {
    /// The configuration for this runtime, what its root directory consists of, and what it leaves out.
    ///
    /// # Errors
    /// A policy that cannot be applied.
    pub fn compose(&self, secrets: &Path) -> Result<(Config, Skeleton, Vec<Loss>), anyhow::Error> {
        let (config, skeleton) = bundle::compose(&self.launch, &self.policy, secrets)?;
        if self.program.kind == Runtime::Native {
            return Ok((config, skeleton, Vec::new()));
        }
        let mut adapted = serde_json::to_value(config.whole()?)?;
        let losses = adapt(&mut adapted, self.program.kind, &self.features);
        let spec: Spec = serde_json::from_value(adapted)?;
        Ok((spec.into(), skeleton, losses))
    }
}
