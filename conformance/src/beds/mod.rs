//! Beds: places with a systemd or a kernel of their own, for cases that this host cannot run.
//!
//! Two kinds: a container whose first process is systemd ([`container`]), and an emulated machine ([`machine`]),
//! once with a current kernel and once with the oldest that is supported. A bed is booted once for all of its
//! cases. This program goes in with the runtime and the front-end, runs the [`cases`] there ([`guest`]), and tells
//! each outcome in a line; a case that told nothing has failed.

mod cases;
pub(crate) mod container;
pub(crate) mod guest;
mod image;
mod machine;
mod nix;

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::known::Known;
use crate::suite::{Outcome, Record};
use crate::{apt, cli, host, pool, report, sandbox};
use guest::Line;
use image::Image;

/// Where cases run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bed {
    /// systemd in a container, on this host's kernel.
    Container,
    /// Debian 13 in an emulated machine: kernel 6.12, systemd 257.
    Machine,
    /// Debian 12 in an emulated machine: kernel 6.1, the oldest that is supported, and systemd 252.
    OldMachine,
}

impl Bed {
    /// All of them, the slowest first.
    const ALL: [Bed; 3] = [Bed::OldMachine, Bed::Machine, Bed::Container];

    fn suite(self) -> &'static str {
        match self {
            Bed::Container | Bed::Machine => "trixie",
            Bed::OldMachine => "bookworm",
        }
    }

    /// Everything in a bed is over after this time.
    fn timeout(self) -> Duration {
        Duration::from_secs(match self {
            Bed::Container => 120,
            // A few minutes, but on a busy host much longer.
            Bed::Machine | Bed::OldMachine => 900,
        })
    }
}

impl fmt::Display for Bed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bed::Container => "container",
            Bed::Machine => "machine",
            Bed::OldMachine => "old-machine",
        })
    }
}

/// What goes into every bed.
const PROGRAMS: [&str; 3] = ["nucleus-runtime", "nucleus", "nucleus-conformance"];

/// Options of `beds`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The runtime under test
    #[arg(long, value_name = "PATH")]
    runtime: PathBuf,
    /// The front-end under test
    #[arg(long, value_name = "PATH")]
    nucleus: PathBuf,
    /// Only this bed; may be repeated [default: all]
    #[arg(long = "bed", value_name = "NAME")]
    beds: Vec<Bed>,
    /// Only the cases whose name contains this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    case: String,
    /// Where images are kept [default: nucleus-conformance in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Where the consoles and the lines of outcomes are left [default: nowhere]
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// List passing cases and times too
    #[arg(long, short)]
    verbose: bool,
}

/// Runs the beds and prints one table.
///
/// # Errors
/// The run could not be made; failing cases are no error.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the beds make mounts and cgroups: run as root"
    );
    let known = Known::load()?;
    let cache = arguments.cache.clone().map_or_else(host::cache_dir, Ok)?;
    let runtime = cli::find_program(&arguments.runtime)?;
    let payload = tempfile::tempdir()?;
    for (name, path) in [
        ("nucleus-runtime", runtime.clone()),
        ("nucleus", cli::find_program(&arguments.nucleus)?),
        ("nucleus-conformance", sandbox::own_program()?),
    ] {
        fs::copy(&path, payload.path().join(name)).with_context(|| format!("copy {}", path.display()))?;
    }
    let beds = if arguments.beds.is_empty() {
        Bed::ALL.to_vec()
    } else {
        arguments.beds.clone()
    };
    let filter = &arguments.case;
    ensure!(
        beds.iter().any(|bed| !guest::names(*bed, filter).is_empty()),
        "no case of these beds has {filter:?} in its name"
    );
    let run = Run {
        arguments,
        cache,
        runtime,
        payload: payload.path(),
    };
    // An emulated machine has one processor: two of them run side by side.
    let records: Vec<Record> = pool::map(&beds, 2, |bed| run.bed(*bed))
        .into_iter()
        .flatten()
        .collect();
    let good = report::print(
        &records,
        std::slice::from_ref(&run.runtime),
        &known,
        arguments.verbose,
    )?;
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What all beds of a run have in common.
struct Run<'a> {
    arguments: &'a Arguments,
    cache: PathBuf,
    runtime: PathBuf,
    payload: &'a Path,
}

impl Run<'_> {
    /// Runs one bed; a bed that cannot be made is one skipped case, or a failed one where the tests must run.
    fn bed(&self, bed: Bed) -> Vec<Record> {
        let start = Instant::now();
        let record = |suite, case: &str, outcome, seconds| Record {
            suite,
            place: bed.to_string(),
            runtime: self.runtime.clone(),
            case: case.to_owned(),
            outcome,
            seconds,
        };
        let (lines, console) = match self.boot(bed) {
            Ok(told) => told,
            Err(error) => return vec![record("beds", "whole bed", cli::unavailable_outcome(&error), 0.0)],
        };
        let seconds = start.elapsed().as_secs_f64();
        report::remark(&format!("{bed}: {} cases in {seconds:.1} s", lines.len()));
        let expected = guest::names(bed, &self.arguments.case);
        let told =
            |suite: &str, case: &str| lines.iter().find(|line| line.suite == suite && line.case == case);
        let mut end = format!(": …{}", tail(&console));
        // Once is enough for all cases.
        let mut silent = || {
            Outcome::Failed(format!(
                "the bed ended before this case{}",
                std::mem::take(&mut end)
            ))
        };
        expected
            .into_iter()
            .map(|(suite, case)| match told(suite, case) {
                Some(line) => record(suite, case, line.outcome.clone(), line.seconds),
                None => record(suite, case, silent(), 0.0),
            })
            .collect()
    }

    /// Boots a bed; the result is what it told, and its console.
    fn boot(&self, bed: Bed) -> Result<(Vec<Line>, String)> {
        let image = {
            // One at a time: two beds have the same image.
            static MAKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
            let _one = MAKING.lock().expect("no thread panics with the lock");
            Image::of(bed.suite(), &self.cache)?
        };
        let dir = tempfile::tempdir()?;
        let (payload, results) = (dir.path().join("payload"), dir.path().join("results"));
        for each in [&payload, &results] {
            fs::create_dir(each)?;
        }
        for name in PROGRAMS {
            fs::hard_link(self.payload.join(name), payload.join(name))?;
        }
        if matches!(bed, Bed::Container | Bed::Machine) {
            let built = self.nix()?;
            apt::quiet(Command::new("cp").arg("-a").arg(built).arg(payload.join("nix")))?;
        }
        let script = payload.join("run");
        fs::write(&script, self.script(bed))?;
        fs::set_permissions(script, fs::Permissions::from_mode(0o755))?;
        match bed {
            Bed::Container => container::run(&image, &payload, &results, bed.timeout())?,
            Bed::Machine | Bed::OldMachine => machine::run(&image, &payload, &results, bed.timeout())?,
        }
        let read = |name: &str| {
            let bytes = fs::read(results.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (lines, console) = (read("lines"), read("console"));
        if let Some(logs) = &self.arguments.logs {
            fs::create_dir_all(logs)?;
            fs::write(logs.join(format!("{bed}.lines")), &lines)?;
            fs::write(logs.join(format!("{bed}.console")), &console)?;
        }
        let lines = lines.lines().filter_map(|line| serde_json::from_str(line).ok());
        Ok((lines.collect(), console))
    }

    /// What Nix has built, once for all beds.
    fn nix(&self) -> Result<PathBuf> {
        static BUILDING: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _one = BUILDING.lock().expect("no thread panics with the lock");
        let built = self.payload.join("nix");
        if !built.exists() {
            let half = self.payload.join("half-built");
            nix::prepare(self.payload, &half)?;
            fs::rename(half, &built)?;
        }
        Ok(built)
    }

    /// What a bed runs.
    fn script(&self, bed: Bed) -> String {
        let (results, end) = match bed {
            Bed::Container => (container::RESULTS, ""),
            Bed::Machine | Bed::OldMachine => (machine::RESULTS, machine::END),
        };
        // In a machine the channel may come up late.
        let wait = format!("modprobe -q virtio_console; until [ -e {results} ]; do sleep 0.1; done");
        let begin = if end.is_empty() { "" } else { &wait };
        let filter = self.arguments.case.replace('\'', "");
        let must_run = if cli::must_run() {
            "export NUCLEUS_TESTS_MUST_RUN=1\n"
        } else {
            ""
        };
        format!(
            "#!/bin/sh\n{must_run}{begin}\n./nucleus-conformance bed-inside {bed} --case '{filter}' >{results}\n{end}\n"
        )
    }
}

/// The end of a console.
fn tail(console: &str) -> String {
    let lines: Vec<&str> = console.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}
