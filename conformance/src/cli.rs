//! The command line, and the run that it asks for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};

use crate::host::{self, Hierarchy, View};
use crate::known::Known;
use crate::suite::{Case, Kind, Outcome, Record, Target};
use crate::{beds, diff, inside, pool, report, sandbox};

/// Runs black-box suites against OCI runtimes and prints one table.
///
/// The exit code is 1 if the first runtime fails a case that is not a known exception.
#[derive(Parser)]
#[command(name = "nucleus-conformance", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    stage: Option<Stage>,
    /// A runtime under test, a path or a name on PATH; repeat to compare
    #[arg(long = "runtime", value_name = "PATH")]
    runtimes: Vec<PathBuf>,
    /// Only this suite; may be repeated [default: all]
    #[arg(long = "suite", value_name = "NAME")]
    suites: Vec<Kind>,
    /// Only this view of the cgroups [default: what suits the suite]
    #[arg(long)]
    view: Option<View>,
    /// Only the cases whose name contains this text
    #[arg(long, value_name = "TEXT")]
    case: Option<String>,
    /// How many cases run at once [default: twice the processors]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Where built programs are kept [default: nucleus-conformance in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// List passing cases and times too
    #[arg(long, short)]
    verbose: bool,
}

/// The beds, and what this program does when it starts itself again.
#[derive(Subcommand)]
enum Stage {
    /// Run the cases that need a systemd or a kernel of their own
    Beds(beds::Arguments),
    /// Run the cases of a bed, in it
    #[command(hide = true)]
    BedInside(beds::guest::Arguments),
    /// Become the systemd of a container
    #[command(hide = true)]
    BedInit(beds::container::Arguments),
    /// Be the first process of a sandbox
    #[command(hide = true)]
    SandboxInit {
        view: View,
        scratch: PathBuf,
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// Run one case inside a sandbox
    #[command(hide = true)]
    Inside(inside::Arguments),
    /// Report what a container's process sees
    #[command(hide = true)]
    Probe(diff::probe::Arguments),
}

/// Does what the command line says.
///
/// # Errors
/// The run could not be made; failing cases are no error.
pub(crate) fn run() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.stage {
        Some(Stage::SandboxInit {
            view,
            scratch,
            command,
        }) => sandbox::init::run(view, &scratch, &command),
        Some(Stage::Inside(arguments)) => inside::run(&arguments),
        Some(Stage::Beds(arguments)) => beds::run(&arguments),
        Some(Stage::BedInside(arguments)) => beds::guest::run(&arguments),
        Some(Stage::BedInit(arguments)) => beds::container::init(&arguments),
        Some(Stage::Probe(arguments)) => diff::probe::run(&arguments),
        None => run_suites(&arguments),
    }
}

/// One case against one runtime in one view.
struct Job<'a> {
    suite: Kind,
    view: View,
    runtime: &'a Path,
    case: &'a Case,
}

fn run_suites(arguments: &Arguments) -> Result<ExitCode> {
    let known = Known::load()?;
    ensure!(
        !arguments.runtimes.is_empty(),
        "no runtime to test: pass --runtime PATH"
    );
    ensure!(
        rustix::process::geteuid().is_root(),
        "the suites make mounts and cgroups: run as root"
    );
    let runtimes = arguments
        .runtimes
        .iter()
        .map(|runtime| find_program(runtime))
        .collect::<Result<Vec<PathBuf>>>()?;
    let cache = arguments.cache.clone().map_or_else(host::cache_dir, Ok)?;
    let suites = if arguments.suites.is_empty() {
        Kind::ALL.to_vec()
    } else {
        arguments.suites.clone()
    };

    let mut records = Vec::new();
    for suite in suites {
        records.extend(run_suite(suite, arguments, &runtimes, &cache)?);
    }
    let good = report::print(&records, &runtimes, &known, arguments.verbose)?;
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run_suite(suite: Kind, arguments: &Arguments, runtimes: &[PathBuf], cache: &Path) -> Result<Vec<Record>> {
    let hierarchies = host::hierarchies()?;
    let cases = match suite.cases(cache) {
        Ok(cases) => cases,
        Err(error) => vec![unavailable(&error)],
    };
    let wanted = |case: &&Case| {
        arguments
            .case
            .as_ref()
            .is_none_or(|text| case.name.contains(text.as_str()))
    };
    let mut jobs = Vec::new();
    for view in views(suite, arguments.view, &hierarchies) {
        for runtime in runtimes {
            jobs.extend(cases.iter().filter(wanted).map(|case| Job {
                suite,
                view,
                runtime,
                case,
            }));
        }
    }
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    let threads = arguments.jobs.unwrap_or(2 * processors);
    let start = Instant::now();
    let records = pool::map(&jobs, threads, |job| run_job(job, &hierarchies));
    report::remark(&format!(
        "{}: {} cases in {:.1} s",
        suite.name(),
        jobs.len(),
        start.elapsed().as_secs_f64()
    ));
    Ok(records)
}

/// A suite that cannot be built stands in the table as one case.
fn unavailable(error: &anyhow::Error) -> Case {
    let outcome = unavailable_outcome(error);
    Case {
        name: "whole suite".into(),
        run: Box::new(move |_| outcome.clone()),
    }
}

/// How something ended that could not be made: skipped with the reason, failed where the tests must run (in CI).
pub(crate) fn unavailable_outcome(error: &anyhow::Error) -> Outcome {
    let reason = format!("{error:#}");
    if must_run() {
        Outcome::Failed(reason)
    } else {
        Outcome::Skipped(reason)
    }
}

/// Whether tests that cannot run have failed: `NUCLEUS_TESTS_MUST_RUN=1`.
pub(crate) fn must_run() -> bool {
    std::env::var_os("NUCLEUS_TESTS_MUST_RUN").is_some_and(|value| value == "1")
}

/// The view asked for, or those of the suite; a host without v1 has v2 in place of v1.
fn views(suite: Kind, asked: Option<View>, hierarchies: &[Hierarchy]) -> Vec<View> {
    if let Some(view) = asked {
        return vec![view];
    }
    let mut views: Vec<View> = Vec::new();
    for view in suite.views() {
        let view = if host::lacks(*view, hierarchies).is_some() {
            View::V2
        } else {
            *view
        };
        if !views.contains(&view) {
            views.push(view);
        }
    }
    views
}

fn run_job(job: &Job<'_>, hierarchies: &[Hierarchy]) -> Record {
    let start = Instant::now();
    let outcome = match host::lacks(job.view, hierarchies) {
        Some(reason) => Outcome::Skipped(reason.to_owned()),
        None => (job.case.run)(&Target {
            runtime: job.runtime,
            view: job.view,
        }),
    };
    Record {
        suite: job.suite.name(),
        place: job.view.to_string(),
        runtime: job.runtime.to_owned(),
        case: job.case.name.clone(),
        outcome,
        seconds: start.elapsed().as_secs_f64(),
    }
}

/// The absolute path of a runtime given as a path or as a name on PATH.
///
/// # Errors
/// There is none.
pub(crate) fn find_program(program: &Path) -> Result<PathBuf> {
    if program.components().count() > 1 {
        return std::path::absolute(program)
            .and_then(std::fs::canonicalize)
            .with_context(|| format!("find runtime {}", program.display()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file());
    found.with_context(|| format!("find runtime {} on PATH", program.display()))
}
