//! `nucleus policy`.

use crate::facts::Facts;
use crate::mode::Rules;
use crate::request::{Mode, Request};
use clap::{Args, Subcommand};
use nucleus_policy::{Kind, builtin};
use std::path::PathBuf;

/// What is done with policies.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Policy {
    /// Print a built-in policy
    Show(Show),
    /// Say what policies allow and refuse
    Explain(Explain),
    /// Write a lock file that pins policies
    Lock(Lock),
    /// Tell what one policy, or one lock file's policies, allow beyond another's
    Diff(Diff),
}

/// Tell what one policy, or one lock file's policies, allow beyond another's.
#[derive(Debug, Args)]
#[command(after_help = "\
A policy is a file, a lock file (*.lock) or the name of a built-in one. A line with + tells what NEW allows and OLD does \
not, one with - the reverse; where conditions on arguments differ so that neither is known to hold the other, both.

Example:
  nucleus policy diff --fail-if-wider policy.lock proposed.lock")]
pub struct Diff {
    /// The policy that is compared with
    old: String,
    /// The policy that is compared
    new: String,
    /// What kind of policy both are [default: what they look like]
    #[arg(long, value_parser = ["seccomp", "capabilities", "landlock"])]
    kind: Option<String>,
    /// Exit with 1 if NEW allows anything beyond OLD
    #[arg(long)]
    fail_if_wider: bool,
}

/// Print a built-in policy.
#[derive(Debug, Args)]
pub struct Show {
    /// seccomp, capabilities or landlock
    #[arg(value_parser = ["seccomp", "capabilities", "landlock"])]
    kind: String,
    /// Its name
    name: Option<String>,
}

/// Say what policies allow and refuse.
#[derive(Debug, Args)]
pub struct Explain {
    #[command(flatten)]
    which: Which,
}

/// Which policies.
#[derive(Debug, Args)]
pub struct Which {
    /// Seccomp profile: a JSON file, or default or service
    #[arg(long, value_name = "FILE")]
    seccomp_profile: Option<String>,
    /// Capability policy: a TOML file, or none
    #[arg(long, value_name = "FILE")]
    caps_policy: Option<String>,
    /// Landlock policy: a TOML file, or agent
    #[arg(long, value_name = "FILE")]
    landlock_policy: Option<String>,
    /// File that names and pins the three
    #[arg(long, value_name = "FILE")]
    pub(super) policy_lock: Option<PathBuf>,
}

impl Which {
    fn load(&self) -> Result<nucleus_policy::VerifiedPolicy, anyhow::Error> {
        self.load_pinned(None, true)
    }

    /// The same with a pin for the lock file, and perhaps without the Landlock policy.
    pub(super) fn load_pinned(
        &self,
        lock_pin: Option<&str>,
        landlock: bool,
    ) -> Result<nucleus_policy::VerifiedPolicy, anyhow::Error> {
        let request = Request {
            policy_lock_sha256: lock_pin.map(str::to_owned),
            seccomp_profile: self.seccomp_profile.clone(),
            caps_policy: self.caps_policy.clone(),
            landlock_policy: self.landlock_policy.clone(),
            policy_lock: self.policy_lock.clone(),
            ..Request::default()
        };
        Ok(crate::policy::load(
            &request,
            &Rules::of(Mode::Agent),
            landlock,
            Facts::kernel(),
        )?)
    }
}

/// Write a lock file that pins policies.
#[derive(Debug, Args)]
pub struct Lock {
    #[command(flatten)]
    which: Which,
    /// The lock file, which must not be there yet; the policies' paths in it are relative to it
    #[arg(long, short, value_name = "FILE", default_value = "policy.lock")]
    output: PathBuf,
}

impl Policy {
    /// Does it.
    ///
    /// # Errors
    /// What is wrong with the policies.
    pub fn run(&self) -> Result<i32, anyhow::Error> {
        match self {
            Self::Show(show) => show.run(),
            Self::Explain(Explain { which }) => super::print(which.load()?.explain().to_string().trim_end()),
            Self::Lock(lock) => lock.run(),
            Self::Diff(diff) => diff.run(),
        }
    }
}

fn kind(word: &str) -> Kind {
    match word {
        "seccomp" => Kind::Seccomp,
        "capabilities" => Kind::Capabilities,
        _ => Kind::Landlock,
    }
}

impl Diff {
    fn run(&self) -> Result<i32, anyhow::Error> {
        let of = self.kind.as_deref().map(kind);
        let (old, new) = (
            super::verify::named(&self.old, of)?,
            super::verify::named(&self.new, of)?,
        );
        for kind in Kind::ALL {
            let (had, has) = (old.digest(kind).is_some(), new.digest(kind).is_some());
            anyhow::ensure!(had == has, "{kind}: only one of the two has such a policy");
        }
        let found = nucleus_policy::compare::compare(&old, &new);
        super::print(found.to_string().trim_end())?;
        Ok(i32::from(self.fail_if_wider && !found.wider.is_empty()))
    }
}

impl Show {
    fn run(&self) -> Result<i32, anyhow::Error> {
        let kind = kind(&self.kind);
        let names: Vec<&str> = builtin::names(kind).collect();
        let name = self
            .name
            .as_deref()
            .or_else(|| names.first().copied())
            .unwrap_or_default();
        match builtin::text(kind, name) {
            Some(text) => super::print(text.trim_end()),
            None => anyhow::bail!(
                "{kind} policy {name:?}: the built-in ones are {}",
                names.join(", ")
            ),
        }
    }
}

impl Lock {
    fn run(&self) -> Result<i32, anyhow::Error> {
        use std::io::Write;
        let lock = nucleus_policy::lock::Lock::of(&self.which.load()?);
        let directory = match self.output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let at = |error| anyhow::Error::new(error).context(format!("create {}", self.output.display()));
        let text = lock.render(&directory.canonicalize().map_err(at)?)?;
        let mut file = std::fs::File::create_new(&self.output).map_err(at)?;
        file.write_all(text.as_bytes())?;
        Ok(0)
    }
}
