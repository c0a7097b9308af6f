//! Prints what was found: failing cases with their reasons, one table, one last line.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::known::Known;
use crate::suite::{Outcome, Record};

/// How many of each kind.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    passed: usize,
    failed: usize,
    /// Failed, and in the list of known exceptions.
    known: usize,
    skipped: usize,
}

impl Count {
    fn of<'a>(records: impl Iterator<Item = &'a Record>, known: &Known) -> Count {
        let mut count = Count::default();
        for record in records {
            match &record.outcome {
                Outcome::Passed => count.passed += 1,
                Outcome::Skipped(_) => count.skipped += 1,
                Outcome::Failed(_) if known.find(record).is_some() => count.known += 1,
                Outcome::Failed(_) => count.failed += 1,
            }
        }
        count
    }
}

/// Prints an error that ends the program.
pub(crate) fn complain(error: &anyhow::Error) {
    // Nowhere is left to report that standard error is closed.
    let _ = writeln!(io::stderr(), "nucleus-conformance: {error:#}");
}

/// Prints a remark about the run on standard error.
pub(crate) fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints everything; the result says whether the first runtime failed nothing unknown.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn print(
    records: &[Record],
    runtimes: &[PathBuf],
    known: &Known,
    verbose: bool,
) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    for (index, runtime) in runtimes.iter().enumerate() {
        let own: Vec<&Record> = records
            .iter()
            .filter(|record| &record.runtime == runtime)
            .collect();
        list(&mut out, &label(runtimes, index), &own, known, verbose)?;
    }
    table(&mut out, records, runtimes, known)?;
    let first = Count::of(
        records
            .iter()
            .filter(|record| Some(&record.runtime) == runtimes.first()),
        known,
    );
    if first.known > 0 {
        writeln!(
            out,
            "{} known failures, listed above with their reasons, count as skipped below",
            first.known
        )?;
    }
    let skipped = first.skipped + first.known;
    writeln!(
        out,
        "{} passed, {} failed, {skipped} skipped",
        first.passed, first.failed
    )?;
    Ok(first.failed == 0)
}

/// One runtime's cases that did not pass. With `verbose` all of them, and their times.
fn list(
    out: &mut impl Write,
    label: &str,
    records: &[&Record],
    known: &Known,
    verbose: bool,
) -> io::Result<()> {
    writeln!(out, "{label}")?;
    for record in records {
        let name = format!("{}/{} {}", record.suite, record.place, record.case);
        let time = if verbose {
            format!(" ({:.1} s)", record.seconds)
        } else {
            String::new()
        };
        match (&record.outcome, known.find(record)) {
            (Outcome::Passed, None) if !verbose => {}
            (Outcome::Passed, Some(entry)) if entry.races && !verbose => {}
            (Outcome::Passed, None) => writeln!(out, "  passed   {name}{time}")?,
            (Outcome::Passed, Some(entry)) => {
                writeln!(
                    out,
                    "  passed   {name}{time}, although known to fail: {}",
                    entry.reason
                )?;
            }
            (Outcome::Skipped(reason), _) => writeln!(out, "  skipped  {name}{time}: {reason}")?,
            (Outcome::Failed(seen), None) => writeln!(out, "  FAILED   {name}{time}: {seen}")?,
            (Outcome::Failed(seen), Some(entry)) => {
                writeln!(out, "  known    {name}{time}: {}: {}", entry.fault, entry.reason)?;
                if verbose {
                    writeln!(out, "           seen: {seen}")?;
                }
            }
        }
    }
    writeln!(out)
}

fn table(out: &mut impl Write, records: &[Record], runtimes: &[PathBuf], known: &Known) -> io::Result<()> {
    let mut rows: Vec<(&str, &str)> = Vec::new();
    for record in records {
        let row = (record.suite, record.place.as_str());
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let mut lines = vec![
        [
            "suite", "where", "runtime", "passed", "failed", "known", "skipped",
        ]
        .map(str::to_owned),
    ];
    for (suite, place) in rows {
        for (index, runtime) in runtimes.iter().enumerate() {
            let cell = |record: &&Record| {
                record.suite == suite && record.place == place && &record.runtime == runtime
            };
            let count = Count::of(records.iter().filter(cell), known);
            let numbers = [count.passed, count.failed, count.known, count.skipped].map(|n| n.to_string());
            let [passed, failed, exceptions, skipped] = numbers;
            let names = [suite.to_owned(), place.to_owned(), label(runtimes, index)];
            let [suite, place, runtime] = names;
            lines.push([suite, place, runtime, passed, failed, exceptions, skipped]);
        }
    }
    let widths: Vec<usize> = (0..7)
        .map(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0))
        .collect();
    for line in &lines {
        for (column, (text, width)) in line.iter().zip(&widths).enumerate() {
            // Names to the left, numbers to the right.
            if column < 3 {
                write!(out, "{text:<width$}  ")?;
            } else {
                write!(out, "{text:>width$}  ")?;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

/// A runtime's file name; its whole path where two have the same name.
fn label(runtimes: &[PathBuf], index: usize) -> String {
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let own = name(&runtimes[index]);
    if runtimes.iter().filter(|path| name(path) == own).count() > 1 {
        return runtimes[index].display().to_string();
    }
    own
}
