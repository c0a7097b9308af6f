//! `nucleus doctor`.

use crate::doctor::Doctor;
use crate::doctor::attempt::Attempt;
use crate::doctor::verdict::{Finding, Outcome};
use crate::request::Mode;
use crate::store::Store;
use anyhow::Context;
use clap::Args;
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;

/// Try what this host can enforce.
#[derive(Debug, Args)]
#[command(after_help = "\
Attacks are run in real sandboxes, and again without the protection that they are against. The exit code is 0 if all \
that the mode needs holds. What production mode asks of a request besides (a root file system with its pin, --memory, \
--user) is not this host's matter.")]
pub struct Options {
    /// The mode that is to work
    #[arg(long, value_enum, default_value_t = Mode::Agent)]
    mode: Mode,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The runtime to try [default: nucleus-runtime]
    #[arg(long, value_name = "PATH")]
    runtime: Option<PathBuf>,
    /// Make one attempt, and tell with the exit code whether it got through: what `doctor` runs in its sandboxes
    #[arg(long, hide = true)]
    attempt: Option<Attempt>,
}

impl Options {
    /// Examines this host.
    ///
    /// # Errors
    /// Nothing could be tried.
    pub fn run(self, root: Option<PathBuf>) -> Result<i32, anyhow::Error> {
        if let Some(attempt) = self.attempt {
            attempt.make()?;
            return Ok(0);
        }
        // What is in the way of every sandbox is no finding about this host.
        Store::open(root.clone())?;
        let doctor =
            Doctor::new(root.as_deref(), self.runtime).context("mkdir in the temporary directory")?;
        let findings = doctor.examine(self.mode).context("start a sandbox")?;
        let failed = findings.iter().any(|finding| finding.fails(self.mode));
        let text = if self.json {
            serde_json::to_string_pretty(&json!({"mode": self.mode, "works": !failed, "findings": findings}))?
        } else {
            table(&findings, self.mode)?
        };
        super::print(&text)?;
        Ok(i32::from(failed))
    }
}

fn table(findings: &[Finding], mode: Mode) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for finding in findings {
        let Finding {
            name,
            outcome,
            detail,
            ..
        } = finding;
        writeln!(text, "{name:<20}{:<10}{detail}", outcome.word())?;
        if let Some(remedy) = finding.remedy.as_ref().filter(|_| *outcome != Outcome::Holds) {
            writeln!(text, "{:30}{remedy}", "")?;
        }
    }
    let lacking: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.fails(mode))
        .map(|finding| finding.name.as_ref())
        .collect();
    match lacking.as_slice() {
        [] => write!(text, "{} mode works on this host", mode.word())?,
        all => write!(
            text,
            "{} mode does not work on this host, for want of: {}",
            mode.word(),
            all.join(", ")
        )?,
    }
    Ok(text)
}
