//! The measurements: which commands are timed, in which order, and what is read from them.

mod mode;
mod round;

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

pub use mode::{Metric, Mode, Pace};

use crate::bundle::Kind;
use crate::cgroup::{self, View};
use crate::launcher::Launcher;
use crate::peers::{Interface, Runtime};
use crate::sandbox::{BASES, Sandbox};
use crate::stats::{self, Random, Ratio, Summary};
use crate::work::Work;
use round::{Place, Prepared};

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Rounds of interleaved starts: samples a runtime.
    pub rounds: usize,
    /// Containers in a [`Mode::Sequence`].
    pub sequence: usize,
    /// Containers at once in [`Mode::Throughput`].
    pub parallel: usize,
    /// Runtimes that the others are compared with.
    pub bases: Vec<String>,
    /// Where the order starts.
    pub seed: u64,
}

/// One table: a mode under one kind of bundle, view and pace.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// What was measured.
    pub mode: Mode,
    /// On which bundle.
    pub bundle: Kind,
    /// Under which view of the cgroups.
    pub view: View,
    /// How closely the starts followed each other.
    pub pace: Pace,
    /// The metric and unit of `value`.
    pub metric: Metric,
    /// Limits left out for want of a controller.
    pub missing_limits: Vec<&'static str>,
    /// A row for each runtime that ran.
    pub rows: Vec<Row>,
    /// The others, with the reason.
    pub skipped: Vec<(String, String)>,
}

/// One runtime's figures in a [`Table`].
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The runtime.
    pub runtime: String,
    /// In the table's metric.
    pub value: Summary,
    /// User and system ms a container, of the runtime and the processes it waited for.
    pub cpu: Summary,
    /// Peak RSS in MiB.
    pub peak: Summary,
    /// Against each base that has a row.
    pub ratios: Vec<(String, Ratio)>,
    /// The samples, in the order of the rounds.
    pub samples: Vec<f64>,
}

/// What one start gave.
#[derive(Clone, Copy, Debug)]
struct Sample {
    value: f64,
    cpu: f64,
    peak: f64,
}

/// Makes one table. `progress` gets a line now and then.
///
/// # Errors
/// When bundles cannot be written or the launcher ends. A runtime that fails is skipped, with the reason.
pub fn table(
    work: &Work,
    runtimes: &[Runtime],
    (mode, kind, view, pace): (Mode, Kind, View, Pace),
    settings: &Settings,
    progress: &mut dyn FnMut(&str),
) -> anyhow::Result<Option<Table>> {
    let Some(bundles) = work.bundles(kind, view)? else {
        return Ok(None);
    };
    let mut launcher = Launcher::start(&work.launcher, view, &work.path("stderr"))?;
    let mut skipped = Vec::new();
    let mut prepared = Vec::new();
    let sandbox = match mode {
        Mode::Sandbox => Sandbox::prepare(work, runtimes)?,
        _ => None,
    };
    let place = Place {
        bundles: &bundles,
        sandbox: sandbox.as_ref(),
        trace: work.path("strace"),
    };
    for runtime in runtimes.iter().filter(|runtime| mode.concerns(runtime)) {
        match prepare(&mut launcher, &place, runtime, (mode, kind), settings)? {
            Ok(ready) => prepared.push(ready),
            Err(reason) => {
                progress(&format!("{}: skipped: {reason}", runtime.name));
                skipped.push((runtime.name.clone(), reason));
            }
        }
    }
    let mut random = Random::new(settings.seed);
    let samples = match mode {
        Mode::Sequence => sequence(&mut launcher, &prepared, settings, progress)?,
        _ => interleaved(&mut launcher, &prepared, pace, settings, &mut random)?,
    };
    for ready in &prepared {
        ready.finish(&mut launcher)?;
    }
    drop(launcher);
    let left = cgroup::remove_leftovers("")?;
    anyhow::ensure!(left.is_empty(), "cgroups that will not go: {left:?}");
    let mut rows: Vec<_> = prepared
        .iter()
        .zip(&samples)
        .map(|(p, samples)| row(&p.name, samples))
        .collect();
    let sandbox_bases = BASES.map(str::to_owned);
    let bases = match mode {
        Mode::Sandbox => sandbox_bases.as_slice(),
        _ => &settings.bases,
    };
    compare(&mut rows, bases, &mut random);
    let metric = mode.metric();
    Ok(Some(Table {
        mode,
        bundle: kind,
        view,
        pace,
        metric,
        missing_limits: bundles.missing_limits(),
        rows,
        skipped,
    }))
}

/// Prepares a runtime and tries it; the inner error is why it cannot take part.
fn prepare<'a>(
    launcher: &mut Launcher,
    place: &Place<'_>,
    runtime: &'a Runtime,
    (mode, kind): (Mode, Kind),
    settings: &Settings,
) -> anyhow::Result<Result<Prepared<'a>, String>> {
    let mut runtime = std::borrow::Cow::Borrowed(runtime);
    if runtime.interface == Interface::Limit {
        runtime.to_mut().path.clone_from(&place.bundles.limit);
    }
    let Some(prepared) = Prepared::new(runtime, place, (mode, kind), settings.parallel)? else {
        return Ok(Err(format!("has no {}", mode.name())));
    };
    if let Err(reason) = prepared.begin(launcher)? {
        return Ok(Err(reason));
    }
    // Twice: the first brings the program into the page cache.
    for _ in 0..2 {
        if let Err(reason) = prepared.sample(launcher)? {
            prepared.clear(launcher)?;
            return Ok(Err(reason));
        }
    }
    Ok(Ok(prepared))
}

/// Each round runs every runtime in a new random order. In a burst each runs three times in a row and the
/// first is not counted: it pays for what its predecessor left to the kernel's workers.
fn interleaved(
    launcher: &mut Launcher,
    prepared: &[Prepared<'_>],
    pace: Pace,
    settings: &Settings,
    random: &mut Random,
) -> anyhow::Result<Vec<Vec<Sample>>> {
    let mut samples = vec![Vec::new(); prepared.len()];
    let mut order: Vec<_> = (0..prepared.len()).collect();
    for _ in 0..settings.rounds.div_ceil(pace.counted()) {
        random.shuffle(&mut order);
        for &at in &order {
            for repeat in 0..pace.counted() + pace.uncounted() {
                pace.rest();
                let sample = must(prepared[at].sample(launcher)?, &prepared[at].name)?;
                if repeat >= pace.uncounted() {
                    samples[at].push(sample);
                }
            }
        }
    }
    Ok(samples)
}

/// The last tenth of a long burst over its first tenth, a sample for each repetition of the whole.
fn sequence(
    launcher: &mut Launcher,
    prepared: &[Prepared<'_>],
    settings: &Settings,
    progress: &mut dyn FnMut(&str),
) -> anyhow::Result<Vec<Vec<Sample>>> {
    let mut all = Vec::new();
    for ready in prepared {
        progress(&format!("{} containers by {}", settings.sequence, ready.name));
        let mut samples = Vec::with_capacity(settings.sequence);
        for _ in 0..settings.sequence {
            samples.push(must(ready.sample(launcher)?, &ready.name)?);
        }
        let tenth = (samples.len() / 10).max(1);
        let middle = |part: &[Sample]| stats::median(&part.iter().map(|s| s.value).collect::<Vec<_>>());
        let value = middle(&samples[samples.len() - tenth..]) / middle(&samples[..tenth]);
        let last = *samples.last().context("an empty sequence")?;
        all.push(vec![Sample { value, ..last }]);
    }
    Ok(all)
}

fn must(result: Result<Sample, String>, name: &str) -> anyhow::Result<Sample> {
    result.map_err(|reason| anyhow::anyhow!("{name} ran at first and then failed: {reason}"))
}

fn row(name: &str, samples: &[Sample]) -> Row {
    let of = |field: fn(&Sample) -> f64| samples.iter().map(field).collect::<Vec<_>>();
    let values = of(|s| s.value);
    Row {
        runtime: name.to_owned(),
        value: Summary::of(&values),
        cpu: Summary::of(&of(|s| s.cpu)),
        peak: Summary::of(&of(|s| s.peak)),
        ratios: Vec::new(),
        samples: values,
    }
}

fn compare(rows: &mut [Row], bases: &[String], random: &mut Random) {
    for base in bases {
        let Some(those) = rows
            .iter()
            .find(|row| row.runtime == *base)
            .map(|row| row.samples.clone())
        else {
            continue;
        };
        for row in rows.iter_mut() {
            let ratio = stats::paired_ratio(&row.samples, &those, random);
            row.ratios.push((base.clone(), ratio));
        }
    }
}

/// Calls in `strace -c`'s summary: the fourth word of its last line.
fn count_system_calls(summary: &Path) -> Option<u64> {
    parse_strace(&std::fs::read_to_string(summary).ok()?)
}

fn parse_strace(summary: &str) -> Option<u64> {
    let total = summary
        .lines()
        .rev()
        .find(|line| line.trim_end().ends_with(" total"))?;
    total.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[(&str, &[f64])]) -> Vec<Row> {
        let sample = |&value: &f64| Sample {
            value,
            cpu: 1.0,
            peak: 2.0,
        };
        values
            .iter()
            .map(|(name, v)| row(name, &v.iter().map(sample).collect::<Vec<_>>()))
            .collect()
    }

    #[test]
    fn each_row_is_compared_with_each_base_that_ran() {
        let mut rows = rows(&[("a", &[2.0, 2.0]), ("b", &[4.0, 4.0])]);
        let bases = ["a", "absent"].map(str::to_owned);
        compare(&mut rows, &bases, &mut Random::new(1));
        assert_eq!(rows[1].ratios.len(), 1);
        assert_eq!(rows[1].ratios[0].1.value, 2.0);
    }

    #[test]
    fn the_total_is_read_from_straces_summary() {
        let summary = "% time     seconds  usecs/call     calls    errors syscall\n\
                       ------ ----------- ----------- --------- --------- ----------------\n\
                        60.00    0.000300          10        30         1 mount\n\
                       100.00    0.000500           3       154         4 total\n";
        assert_eq!(parse_strace(summary), Some(154));
        assert_eq!(parse_strace("strace: not permitted"), None);
    }
}
