//! `nucleus-clients`: drives podman, containerd and dockerd with any OCI runtimes and compares.

#[path = "../clients/mod.rs"]
mod clients;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

use clients::hierarchy::{View, hierarchies};
use clients::report::{Counts, Runtime, Suite, render, unexpected};
use clients::sandbox::{Sandbox, sweep};
use clients::{Name, Outcome, Verdict, packages};

/// Drives real clients from the distribution with OCI runtimes and prints one table.
///
/// Every client runs in namespaces and cgroups of its own, with a private /run, /var/lib, /tmp and /dev and
/// the rest of the host read-only. Needs root. Exits with 1 if the first runtime fails a case that is not
/// among the known exceptions.
#[derive(Debug, Parser)]
#[command(name = "nucleus-clients", version)]
struct Arguments {
    /// A runtime under test, a path or a name on PATH; the first decides the exit code.
    #[arg(long = "runtime", value_name = "RUNTIME", required_unless_present = "list")]
    runtimes: Vec<PathBuf>,
    /// Only this client; may be given several times.
    #[arg(long = "client", value_name = "CLIENT")]
    clients: Vec<Name>,
    /// Only the cases whose name contains this.
    #[arg(long = "case", value_name = "TEXT", default_value = "")]
    filter: String,
    /// The cgroup version that clients and runtimes see [default: the one with the memory controller].
    #[arg(long)]
    view: Option<View>,
    /// Do not install missing packages.
    #[arg(long)]
    no_install: bool,
    /// Print every result as it comes.
    #[arg(long)]
    verbose: bool,
    /// List the cases and do nothing.
    #[arg(long)]
    list: bool,
    /// How many clients to drive at once.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Run one suite in the namespaces of this process, which must be a sandbox of this program.
    #[arg(long, hide = true)]
    inside: bool,
}

/// Seconds after which a suite counts as hung.
const LIMIT: Duration = Duration::from_secs(400);

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "nucleus-clients: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(mut arguments: Arguments) -> Result<ExitCode> {
    if arguments.clients.is_empty() {
        arguments.clients = Name::ALL.to_vec();
    }
    if arguments.list {
        return list(&arguments);
    }
    let view = arguments
        .view
        .map_or_else(|| Ok::<_, anyhow::Error>(View::of_host(&hierarchies()?)), Ok)?;
    if arguments.inside {
        arguments.clients[0].run(&arguments.runtimes[0], view, &arguments.filter)?;
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = arguments.clients.iter().flat_map(|client| client.cases());
    ensure!(
        chosen.into_iter().any(|case| case.contains(&arguments.filter)),
        "no case has {:?} in its name",
        arguments.filter
    );
    let runtimes = identify(&mut arguments.runtimes)?;
    if !arguments.no_install {
        packages::install(&arguments.clients);
    }
    let suites = drive(&arguments, &runtimes, view)?;
    write!(std::io::stdout(), "{}", render(&suites, &runtimes))?;
    Ok(ExitCode::from(u8::from(unexpected(&suites, &runtimes) > 0)))
}

fn list(arguments: &Arguments) -> Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    for client in &arguments.clients {
        for case in client.cases() {
            writeln!(stdout, "{}: {case}", client.word())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the paths absolute and asks each runtime for its name.
fn identify(paths: &mut [PathBuf]) -> Result<Vec<Runtime>> {
    let mut runtimes: Vec<Runtime> = Vec::new();
    for path in paths {
        *path = find(path).with_context(|| format!("find the runtime {}", path.display()))?;
        let output = Command::new(&*path).arg("--version").output();
        let output = output.with_context(|| format!("run {} --version", path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let word = text.split_whitespace().next().unwrap_or("unknown").to_owned();
        let same = runtimes.iter().filter(|runtime| runtime.word == word).count();
        let label = if same == 0 {
            word.clone()
        } else {
            format!("{word} #{}", same + 1)
        };
        runtimes.push(Runtime { label, word });
    }
    Ok(runtimes)
}

/// The absolute path of a runtime; a name without a slash is looked up as a shell does.
fn find(runtime: &Path) -> Result<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let named = if runtime.components().count() == 1 {
        Some(runtime)
    } else {
        None
    };
    let found = std::env::split_paths(&on_path)
        .filter_map(|dir| Some(dir.join(named?)))
        .find(|path| path.is_file());
    Ok(found.unwrap_or_else(|| runtime.to_owned()).canonicalize()?)
}

/// A suite that runs.
struct Running {
    client: Name,
    runtime: usize,
    sandbox: Sandbox,
    since: Instant,
}

/// Runs every client with every runtime, a few at a time.
fn drive(arguments: &Arguments, runtimes: &[Runtime], view: View) -> Result<Vec<Suite>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("handle signals")?;
    }
    let mut suites = Vec::new();
    let mut waiting = VecDeque::new();
    for runtime in 0..runtimes.len() {
        for client in &arguments.clients {
            match obstacle(*client) {
                Some(reason) => suites.push(all(*client, runtime, arguments, Verdict::Skipped, &reason)),
                None => waiting.push_back((*client, runtime)),
            }
        }
    }
    if !waiting.is_empty() {
        sweep()?;
    }
    let mut running: Vec<Running> = Vec::new();
    while !(waiting.is_empty() && running.is_empty()) {
        while let Some((client, runtime)) = next(&mut waiting, running.len(), arguments.jobs) {
            running.push(start(arguments, client, runtime, view)?);
        }
        std::thread::sleep(Duration::from_millis(50));
        if interrupted.load(Ordering::Relaxed) {
            bail!("interrupted"); // dropping the sandboxes ends them
        }
        let mut still = Vec::new();
        for mut one in running {
            if one.sandbox.ended()?.is_some() || one.since.elapsed() > LIMIT {
                suites.push(finish(one, arguments, runtimes)?);
            } else {
                still.push(one);
            }
        }
        running = still;
    }
    suites.sort_by_key(|suite| suite.runtime);
    Ok(suites)
}

fn obstacle(client: Name) -> Option<String> {
    if rustix::process::geteuid().is_root() {
        packages::obstacle(client)
    } else {
        Some("only root can make the namespaces and cgroups".to_owned())
    }
}

fn next(waiting: &mut VecDeque<(Name, usize)>, running: usize, jobs: usize) -> Option<(Name, usize)> {
    if running < jobs.max(1) {
        waiting.pop_front()
    } else {
        None
    }
}

fn start(arguments: &Arguments, client: Name, runtime: usize, view: View) -> Result<Running> {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let mut command: Vec<OsString> = vec![
        std::env::current_exe().context("find this program")?.into(),
        "--inside".into(),
    ];
    command.extend(["--runtime".into(), arguments.runtimes[runtime].clone().into()]);
    command.extend(["--client", client.word(), "--view", view.word(), "--case"].map(OsString::from));
    command.push(arguments.filter.clone().into());
    let sandbox = Sandbox::start(NUMBER.fetch_add(1, Ordering::Relaxed), &command)?;
    Ok(Running {
        client,
        runtime,
        sandbox,
        since: Instant::now(),
    })
}

/// Reads the results; a case that has none failed.
fn finish(one: Running, arguments: &Arguments, runtimes: &[Runtime]) -> Result<Suite> {
    let (client, runtime, seconds) = (one.client, one.runtime, one.since.elapsed().as_secs_f32());
    let (stdout, stderr) = one.sandbox.finish()?;
    let mut outcomes: Vec<Outcome> = stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let reason = format!("the suite ended before this case: {}", stderr.trim());
    let missing = all(client, runtime, arguments, Verdict::Failed, &reason)
        .outcomes
        .into_iter();
    let missing: Vec<Outcome> = missing
        .filter(|lost| outcomes.iter().all(|outcome| outcome.case != lost.case))
        .collect();
    outcomes.extend(missing);
    let mut out = std::io::stderr().lock();
    if arguments.verbose {
        for outcome in &outcomes {
            writeln!(
                out,
                "{:6} ms {:?} {}: {}",
                outcome.ms,
                outcome.verdict,
                client.word(),
                outcome.case
            )?;
        }
    }
    let (label, counts) = (&runtimes[runtime].label, Counts::of(outcomes.iter()));
    writeln!(out, "{} with {label}: {counts} in {seconds:.0} s", client.word())?;
    Ok(Suite {
        client,
        runtime,
        outcomes,
    })
}

/// The same result for every chosen case of a client.
fn all(client: Name, runtime: usize, arguments: &Arguments, verdict: Verdict, reason: &str) -> Suite {
    let cases = client
        .cases()
        .into_iter()
        .filter(|case| case.contains(&arguments.filter));
    let outcomes = cases.map(|case| Outcome {
        case: case.to_owned(),
        verdict,
        reason: reason.to_owned(),
        ms: 0,
    });
    Suite {
        client,
        runtime,
        outcomes: outcomes.collect(),
    }
}
