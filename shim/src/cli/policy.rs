//! `nucleus policy`.

use crate::mode::Rules;
use crate::request::{Mode, Request};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What is done with policies.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Print a built-in policy
    Show(Show),
    /// Say what policies allow and refuse
    Explain(Which),
    /// Write a lock file that pins policies
    Lock(Lock),
}

/// Options of `policy show`.
#[derive(Debug, Args)]
pub struct Show {
    /// seccomp, capabilities or landlock
    #[arg(value_parser = ["seccomp", "capabilities", "landlock"])]
    kind: String,
    /// Its name
    name: Option<String>,
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
    policy_lock: Option<PathBuf>,
}

impl Which {
    fn load(&self) -> Result<nucleus_policy::VerifiedPolicy, anyhow::Error> {
        let request = Request {
            seccomp_profile: self.seccomp_profile.clone(),
            caps_policy: self.caps_policy.clone(),
            landlock_policy: self.landlock_policy.clone(),
            policy_lock: self.policy_lock.clone(),
            ..Request::default()
        };
        Ok(crate::policy::load(&request, &Rules::of(Mode::Agent), true)?)
    }
}

/// Options of `policy lock`.
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
            Self::Explain(which) => super::print(which.load()?.explain().to_string().trim_end()),
            Self::Lock(lock) => lock.run(),
        }
    }
}

impl Show {
    fn run(&self) -> Result<i32, anyhow::Error> {
        use nucleus_policy::{Kind, builtin};
        let kind = match self.kind.as_str() {
            "seccomp" => Kind::Seccomp,
            "capabilities" => Kind::Capabilities,
            _ => Kind::Landlock,
        };
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
