//! Real clients from the distribution, driven with any OCI runtime.
//!
//! Outside, [`sandbox`] makes namespaces and cgroups; inside, [`world`] makes them a place to work in, a
//! [`Client`] starts its daemon there and its cases run one after the other. Each result is one JSON line.

mod command;
mod containerd;
mod docker;
mod engine;
mod facts;
pub(crate) mod hierarchy;
pub(crate) mod known;
pub(crate) mod packages;
mod podman;
pub(crate) mod report;
pub(crate) mod sandbox;
mod world;

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use hierarchy::View;
use world::World;

/// The clients that there are suites for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub(crate) enum Name {
    /// podman with conmon.
    Podman,
    /// containerd with ctr.
    Containerd,
    /// dockerd with docker.
    Docker,
}

impl Name {
    /// Every client, the slowest suites first.
    pub(crate) const ALL: [Self; 3] = [Self::Docker, Self::Podman, Self::Containerd];

    /// The word used on the command line and in tables.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::Docker => "docker",
        }
    }

    /// The names of its cases.
    pub(crate) fn cases(self) -> Vec<&'static str> {
        fn names<C>(cases: Vec<Case<C>>) -> Vec<&'static str> {
            cases.into_iter().map(|case| case.name).collect()
        }
        match self {
            Self::Podman => names(podman::Podman::cases()),
            Self::Containerd => names(containerd::Containerd::cases()),
            Self::Docker => names(docker::Docker::cases()),
        }
    }

    /// Runs the cases whose names contain `filter`, in the namespaces of this process, and writes an
    /// [`Outcome`] a line.
    pub(crate) fn run(self, runtime: &Path, view: View, filter: &str) -> Result<()> {
        let world = World::build(runtime, view)?;
        match self {
            Self::Podman => run_cases::<podman::Podman>(world, filter),
            Self::Containerd => run_cases::<containerd::Containerd>(world, filter),
            Self::Docker => run_cases::<docker::Docker>(world, filter),
        }
    }
}

/// A client, and how to drive it.
trait Client {
    /// What its cases work with.
    type Handle;

    /// Configures the client for the runtime under test, and starts its daemon where it has one. A [`Skip`]
    /// skips every case.
    fn start(world: World) -> Result<Self::Handle>;

    /// Its cases, in the order in which they run.
    fn cases() -> Vec<Case<Self::Handle>>;

    /// Removes what a failed case left, lest the next one fail of it.
    fn recover(handle: &Self::Handle);
}

/// One thing that must hold.
struct Case<C> {
    /// The name, unique for its client.
    name: &'static str,
    /// Returns an error that says why it does not hold, or a [`Skip`].
    check: fn(&C) -> Result<()>,
}

/// A [`Case`] of a function, or of one expression that is a `Result`.
macro_rules! case {
    ($name:literal, |$client:ident| $result:expr) => {
        $crate::clients::Case {
            name: $name,
            check: |$client| {
                $result?;
                Ok(())
            },
        }
    };
    ($name:literal, $check:path) => {
        $crate::clients::Case {
            name: $name,
            check: $check,
        }
    };
}
use case;

/// The error of a case that this host cannot run.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Skip(String);

impl Skip {
    fn because<T>(reason: impl Into<String>) -> Result<T> {
        Err(Self(reason.into()).into())
    }
}

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// This host cannot tell.
    Skipped,
}

/// The result of one case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The case's name.
    pub(crate) case: String,
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// Why it failed or was skipped.
    pub(crate) reason: String,
    /// How long it took, in ms.
    pub(crate) ms: u64,
}

fn run_cases<C: Client>(world: World, filter: &str) -> Result<()> {
    let mut cases = C::cases().into_iter().filter(|case| case.name.contains(filter));
    let client = match C::start(world) {
        Ok(client) => client,
        Err(error) if error.is::<Skip>() => {
            let skip = |case: Case<_>| tell(case.name, Verdict::Skipped, &error.to_string(), Instant::now());
            return cases.try_for_each(skip);
        }
        Err(error) => return Err(error),
    };
    for case in cases {
        let started = Instant::now();
        let (verdict, reason) = match (case.check)(&client) {
            Ok(()) => (Verdict::Passed, String::new()),
            Err(error) if error.is::<Skip>() => (Verdict::Skipped, format!("{error:#}")),
            Err(error) => (Verdict::Failed, format!("{error:#}")),
        };
        if verdict == Verdict::Failed {
            C::recover(&client);
        }
        tell(case.name, verdict, &reason, started)?;
    }
    Ok(())
}

/// Writes one [`Outcome`].
fn tell(case: &str, verdict: Verdict, reason: &str, started: Instant) -> Result<()> {
    let outcome = Outcome {
        case: case.to_owned(),
        verdict,
        reason: reason.to_owned(),
        ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(&outcome)?)?;
    Ok(stdout.flush()?)
}
