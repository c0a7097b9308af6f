//! Cases that run inside their sandbox: this program starts itself there and prints the outcome.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::host::View;
use crate::lab::Lab;
use crate::sandbox::{self, Request};
use crate::suite::{Case, Outcome, Target};
use crate::{diff, own, schema};

/// A case that runs inside its sandbox.
#[derive(Clone, Copy)]
pub(crate) struct Inside {
    /// Unique in its suite.
    pub(crate) name: &'static str,
    /// Returns normally if every expectation held; see [`skip`] for the third outcome.
    pub(crate) body: fn(&Lab) -> Result<()>,
}

/// A case that found that the host lacks what it needs.
#[derive(Debug)]
struct Skip(String);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// Ends a case as skipped: `return skip("this kernel has no …")`.
pub(crate) fn skip<T>(reason: impl Into<String>) -> Result<T> {
    Err(anyhow::Error::new(Skip(reason.into())))
}

/// Everything in a sandbox is killed after this time.
const TIMEOUT: Duration = Duration::from_secs(60);

/// As `TIMEOUT`, where everything is tried.
const FULL_TIMEOUT: Duration = Duration::from_secs(3600);

/// Whether races and crashes are tried thousands of times: `NUCLEUS_TESTS_FULL`.
pub(crate) fn full() -> bool {
    std::env::var_os("NUCLEUS_TESTS_FULL").is_some()
}

/// Marks the line of standard output that holds the outcome.
const MARK: &str = "nucleus-conformance outcome: ";

/// The hidden command line of this stage.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    suite: String,
    case: String,
    view: View,
    runtime: PathBuf,
    #[arg(long)]
    schemas: Option<PathBuf>,
}

/// Wraps a case for the host's side.
pub(crate) fn case(suite: &'static str, name: impl Into<String>, schemas: Option<PathBuf>) -> Case {
    let name = name.into();
    let case = name.clone();
    let run = move |target: &Target<'_>| {
        start(suite, &case, target, schemas.as_ref())
            .unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")))
    };
    Case {
        name,
        run: Box::new(run),
    }
}

fn start(suite: &str, case: &str, target: &Target<'_>, schemas: Option<&PathBuf>) -> Result<Outcome> {
    let mut command: Vec<OsString> = vec![sandbox::own_program()?.into()];
    command.extend(["inside", suite, case, &target.view.to_string()].map(OsString::from));
    command.push(target.runtime.into());
    if let Some(dir) = schemas {
        command.extend(["--schemas".into(), dir.into()]);
    }
    let timeout = match suite {
        "diff" => diff::TIMEOUT,
        _ if full() => FULL_TIMEOUT,
        _ => TIMEOUT,
    };
    let request = Request {
        view: target.view,
        command,
        env: Vec::new(),
        dir: None,
        timeout,
    };
    let ended = sandbox::run(&request)?;
    if ended.status.is_none() {
        return Ok(Outcome::Failed(format!("no end after {} s", timeout.as_secs())));
    }
    let line = ended.stdout.lines().find_map(|line| line.strip_prefix(MARK));
    let Some(line) = line else {
        let what = "every process of the sandbox was killed, or the case itself ended";
        return Ok(Outcome::Failed(format!("{what}: {}", ended.stderr.trim())));
    };
    let (word, reason) = line.split_once(' ').unwrap_or((line, ""));
    Ok(match word {
        "passed" => Outcome::Passed,
        "skipped" => Outcome::Skipped(reason.to_owned()),
        _ => Outcome::Failed(reason.to_owned()),
    })
}

/// Runs one case here, and prints its outcome.
///
/// # Errors
/// There is no such case, or its surroundings could not be made.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let lab = Lab::new(&arguments.runtime, arguments.view, arguments.schemas.as_deref())?;
    let outcome = match outcome(body(&lab, &arguments.suite, &arguments.case)) {
        Outcome::Passed => "passed".to_owned(),
        Outcome::Skipped(reason) => format!("skipped {reason}"),
        Outcome::Failed(seen) => format!("failed {seen}"),
    };
    use std::io::Write;
    writeln!(std::io::stdout(), "\n{MARK}{outcome}")?;
    Ok(ExitCode::SUCCESS)
}

/// How a case ended that returned this.
pub(crate) fn outcome(result: Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Passed,
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(skip) => Outcome::Skipped(skip.to_string()),
            None => Outcome::Failed(format!("{error:#}").replace('\n', " | ")),
        },
    }
}

fn body(lab: &Lab, suite: &str, name: &str) -> Result<()> {
    let all = match suite {
        "own" => own::all(),
        "schema" => schema::all(),
        "diff" => return diff::run(lab, name),
        other => anyhow::bail!("no suite {other} runs inside"),
    };
    let case = all.iter().find(|case| case.name == name);
    (case.with_context(|| format!("no case {name}"))?.body)(lab)
}
