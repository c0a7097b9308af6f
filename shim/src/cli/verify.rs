//! `nucleus verify`.

use super::policy::Which;
use crate::landlock;
use anyhow::{Context, ensure};
use clap::Args;
use nucleus_policy::{Digest, Kind, Origin, VerifiedPolicy, digest_annotation};
use oci_spec::runtime::Spec;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Hold policies, and a bundle, against their pins.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --bundle the policies alone are read and held against their pins. With it, the bundle must name the very \
policies, and hold what they demand: applying them again would change nothing. `nucleus attest` verifies root file \
systems.

Examples:
  nucleus verify --policy-lock policy.lock
  nucleus verify --policy-lock policy.lock --bundle /srv/app --config-sha256 $(cat app.sha256)")]
pub struct Verify {
    #[command(flatten)]
    which: Which,
    /// SHA-256 that the lock file must have
    #[arg(long, value_name = "DIGEST", requires = "policy_lock")]
    policy_lock_sha256: Option<String>,
    /// Bundle that must have been made with these policies
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// SHA-256 that the bundle's config.json must have
    #[arg(long, value_name = "DIGEST", requires = "bundle")]
    config_sha256: Option<Digest>,
}

/// Print the digest that --verify-context takes.
#[derive(Debug, Args)]
pub struct ContextDigest {
    /// The context
    directory: PathBuf,
}

impl ContextDigest {
    /// Prints it.
    ///
    /// # Errors
    /// What cannot be read, or has no digest.
    pub fn run(&self) -> Result<i32, anyhow::Error> {
        let tree = crate::workspace::tree::Tree::open(&self.directory)?;
        super::print(&crate::context::digest(&tree)?.to_string())
    }
}

impl Verify {
    /// Verifies, and prints the digests.
    ///
    /// # Errors
    /// What is not as it was pinned.
    pub fn run(&self) -> Result<i32, anyhow::Error> {
        let policy = self.which.load_pinned(self.policy_lock_sha256.as_deref(), true)?;
        let mut text = String::new();
        for (kind, origin, digest) in policy.digests() {
            writeln!(text, "{digest}  {kind}: {origin}")?;
        }
        if let Some(bundle) = &self.bundle {
            let path = bundle.join("config.json");
            // One read: the bytes that are hashed are those that are looked at.
            let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let digest = Digest::of(&bytes);
            if let Some(pin) = self.config_sha256 {
                ensure!(
                    digest == pin,
                    "{}: its SHA-256 is {digest}, not {pin}",
                    path.display()
                );
            }
            self.hold(&policy, &bytes)
                .with_context(|| path.display().to_string())?;
            writeln!(text, "{digest}  {}", path.display())?;
        }
        super::print(text.trim_end())
    }

    fn hold(&self, policy: &VerifiedPolicy, bytes: &[u8]) -> Result<(), anyhow::Error> {
        let spec: Spec = serde_json::from_slice(bytes)?;
        for (kind, _, digest) in policy.digests() {
            let key = digest_annotation(kind);
            let found = spec.annotations().as_ref().and_then(|all| all.get(key));
            match found {
                Some(found) if *found == digest.to_string() => {}
                Some(found) => anyhow::bail!("{kind}: it was made with the policy {found}, not {digest}"),
                None => anyhow::bail!("{kind}: it was made without such a policy: no annotation {key}"),
            }
        }
        if let Some((_, origin, _)) = policy.digests().find(|(kind, ..)| *kind == Kind::Landlock) {
            let built_in = matches!(origin, Origin::BuiltIn(_));
            landlock::hold(&spec, policy, built_in)?;
        }
        // A bundle has rules of its own places beside the policy's: what is left are the other two.
        let exact = self
            .which
            .load_pinned(self.policy_lock_sha256.as_deref(), false)?;
        let mut again = spec.clone();
        exact.apply(&mut again)?;
        let (before, after) = (crate::config::json(&spec)?, crate::config::json(&again)?);
        ensure!(
            before["process"]["capabilities"] == after["process"]["capabilities"],
            "capabilities: it has more than the policy leaves"
        );
        ensure!(
            before["linux"]["seccomp"] == after["linux"]["seccomp"],
            "seccomp: it has no filter, or not the policy's"
        );
        ensure!(
            before["process"]["noNewPrivileges"] == true,
            "process: noNewPrivileges is not set"
        );
        Ok(())
    }
}

/// Which policies a word names, and of which kind: a lock file, a file, or a built-in one.
///
/// # Errors
/// It is none, or could be of several kinds.
pub(super) fn named(word: &str, kind: Option<Kind>) -> Result<VerifiedPolicy, anyhow::Error> {
    use nucleus_policy::{Choice, Lock, Request, builtin};
    let of = |kind: Kind| {
        let mut request = Request::default();
        let choice = Some(Choice::named(kind, word));
        match kind {
            Kind::Seccomp => request.seccomp = choice,
            Kind::Capabilities => request.capabilities = choice,
            Kind::Landlock => request.landlock = choice,
        }
        nucleus_policy::load(&request)
    };
    if let Some(kind) = kind {
        return Ok(of(kind)?);
    }
    let built_in = Kind::ALL
        .into_iter()
        .find(|kind| builtin::names(*kind).any(|name| name == word));
    if let Some(kind) = built_in {
        return Ok(of(kind)?);
    }
    if Path::new(word)
        .extension()
        .is_some_and(|extension| extension == "lock")
    {
        let mut request = Request::default();
        Lock::load(Path::new(word), None)?.fill(&mut request);
        return Ok(nucleus_policy::load(&request)?);
    }
    let mut loaded = Kind::ALL.into_iter().filter_map(|kind| of(kind).ok());
    match (loaded.next(), loaded.next()) {
        (Some(policy), None) => Ok(policy),
        (Some(_), Some(_)) => anyhow::bail!("{word}: could be of several kinds; say which with --kind"),
        (None, _) => {
            std::fs::metadata(word).with_context(|| format!("policy {word:?}: cannot be read"))?;
            anyhow::bail!(
                "{word}: no policy of any kind; --kind tells what is wrong with it as one of a kind"
            )
        }
    }
}
