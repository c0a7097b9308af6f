//! `nucleus-benches`: makes bundles and measures runtimes on them.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use nucleus_benches::bundle::{Kind, PAYLOAD};
use nucleus_benches::cgroup::View;
use nucleus_benches::measure::{self, Mode, Pace, Settings, Table};
use nucleus_benches::peers::{self, Runtime};
use nucleus_benches::report::{self, Host, Report};
use nucleus_benches::work::Work;

/// Measures OCI runtimes side by side on the same bundles.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Times runtimes, interleaved, and prints tables.
    Measure(Box<Measure>),
    /// Times the verification of root file systems beside `sha256sum -c`, and prints a section in Markdown.
    Attest {
        /// The front-end.
        #[arg(long)]
        nucleus: PathBuf,
        /// Samples of each program.
        #[arg(long, default_value_t = 15)]
        rounds: usize,
        /// Where the trees are made, a gigabyte at most.
        #[arg(long, default_value = "/var/tmp/nucleus-benches")]
        work: PathBuf,
    },
    /// Times starts with each network and connections in them, and prints a section in Markdown.
    Network {
        /// The front-end.
        #[arg(long)]
        nucleus: PathBuf,
        /// Samples of each network.
        #[arg(long, default_value_t = 25)]
        rounds: usize,
    },
    /// Writes the bundles, the rootfs and the limit program, for use by hand.
    Generate {
        /// Where to.
        directory: PathBuf,
    },
}

// A later option wins, so that a script's choice can be changed by its caller.
#[derive(clap::Args)]
#[command(args_override_self = true)]
struct Measure {
    /// What to measure.
    #[arg(value_enum, default_values = ["run"])]
    modes: Vec<Mode>,
    /// Bundles, comma separated.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["real"])]
    bundle: Vec<Kind>,
    /// Views of the cgroups, comma separated; one that the host lacks is left out.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["v1", "v2"])]
    view: Vec<View>,
    /// Back to back, or 50 ms apart; comma separated.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["burst", "spaced"])]
    pace: Vec<Pace>,
    /// Samples of each runtime.
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Containers in a `sequence`.
    #[arg(long, default_value_t = 500)]
    sequence: usize,
    /// Containers at once in `throughput`.
    #[arg(long, default_value_t = 8)]
    parallel: usize,
    /// A runtime beside those found on PATH, as NAME=PATH; may be repeated.
    #[arg(long)]
    runtime: Vec<String>,
    /// Only these runtimes, comma separated.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Runtimes to give ratios against, comma separated.
    #[arg(long, value_delimiter = ',', default_values = ["limit"])]
    base: Vec<String>,
    /// Where the random order starts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where bundles and programs are made (not under /run).
    #[arg(long, default_value = "/var/tmp/nucleus-benches")]
    work: PathBuf,
    /// Write the results as JSON, samples included.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the results as Markdown.
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Write a bar chart: of the spaced `run`s if there are any, otherwise of all.
    #[arg(long)]
    svg: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Measure(options) => measure(&options),
        Command::Attest {
            nucleus,
            rounds,
            work,
        } => {
            fs::create_dir_all(&work)?;
            let nucleus = nucleus
                .canonicalize()
                .with_context(|| format!("open {}", nucleus.display()))?;
            let section = nucleus_benches::attest::measure(&nucleus, &work, rounds)?;
            Ok(io::stdout().write_all(section.as_bytes())?)
        }
        Command::Network { nucleus, rounds } => {
            let nucleus = nucleus
                .canonicalize()
                .with_context(|| format!("open {}", nucleus.display()))?;
            let section = nucleus_benches::network::measure(&nucleus, rounds)?;
            Ok(io::stdout().write_all(section.as_bytes())?)
        }
        Command::Generate { directory } => generate(&directory),
    }
}

fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn generate(directory: &Path) -> anyhow::Result<()> {
    let work = Work::prepare(directory)?;
    for kind in [Kind::Minimal, Kind::Real] {
        for view in [View::Host, View::V1, View::V2] {
            let Some(bundles) = work.bundles(kind, view)? else {
                continue;
            };
            let bundle = bundles.write("run-0", &[PAYLOAD])?;
            println!("{}\n{}", bundle.display(), bundles.limit.display());
        }
    }
    Ok(())
}

fn measure(options: &Measure) -> anyhow::Result<()> {
    let host = Host::probe();
    if host.load > 0.3 {
        say(&format!(
            "the machine is busy (load {}): the figures will be too",
            host.load
        ));
    }
    let runtimes = chosen(options)?;
    let work = Work::prepare(&options.work)?;
    let mut tables = Vec::new();
    for &mode in &options.modes {
        for &kind in &options.bundle {
            for &view in views(mode, &options.view) {
                for &pace in paces(mode, &options.pace) {
                    tables.extend(one_table(&work, &runtimes, (mode, kind, view, pace), options)?);
                }
            }
        }
    }
    let report = Report {
        command: command_line(),
        host,
        runtimes,
        filter_length: work.filter_length(),
        tables,
    };
    write(options.json.as_deref(), &report::json(&report)?)?;
    write(options.markdown.as_deref(), &report::markdown(&report))?;
    write(options.svg.as_deref(), &report::svg(&report))
}

fn one_table(
    work: &Work,
    runtimes: &[Runtime],
    what: (Mode, Kind, View, Pace),
    options: &Measure,
) -> anyhow::Result<Option<Table>> {
    let settings = Settings {
        rounds: what.0.rounds(options.rounds),
        sequence: options.sequence,
        parallel: options.parallel,
        bases: options.base.clone(),
        seed: options.seed,
    };
    let table = measure::table(work, runtimes, what, &settings, &mut say)?;
    match &table {
        Some(table) => println!("{}", report::text(table)),
        None => say(&format!("view {}: not on this host", what.2.name())),
    }
    Ok(table)
}

/// A mode that has no pace is measured once.
fn paces(mode: Mode, asked: &[Pace]) -> &[Pace] {
    if mode.has_pace() { asked } else { &[Pace::Burst] }
}

/// The front-end's own bundle has limits that need controllers, which the view `v2` of a hybrid host lacks.
fn views(mode: Mode, asked: &[View]) -> &[View] {
    if mode == Mode::Sandbox { &[View::V1] } else { asked }
}

fn chosen(options: &Measure) -> anyhow::Result<Vec<Runtime>> {
    let mut runtimes = peers::find(&options.runtime)?;
    for name in &options.only {
        let known = runtimes.iter().any(|runtime| runtime.name == *name);
        anyhow::ensure!(known, "--only {name}: neither on PATH nor named by --runtime");
    }
    if !options.only.is_empty() {
        runtimes.retain(|runtime| options.only.contains(&runtime.name));
    }
    Ok(runtimes)
}

/// The command line, with paths shortened to their last part: reports are published.
fn command_line() -> String {
    let shorten = |argument: String| match argument.rsplit_once('/') {
        Some((path, file)) => match path.split_once('=') {
            Some((name, _)) => format!("{name}={file}"),
            None => file.to_owned(),
        },
        None => argument,
    };
    std::env::args().map(shorten).collect::<Vec<_>>().join(" ")
}

fn write(path: Option<&Path>, text: &str) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
