//! `nucleus-formal`: checks every spec with both checkers, and that every mutant dies.

mod code;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use nucleus_formal::check::{Checked, check};
use nucleus_formal::graph::Graph;
use nucleus_formal::model::{home, names};
use nucleus_formal::mutant::{self, Mutant};
use nucleus_formal::report::{Row, code_table, table};
use nucleus_formal::tlc::Tlc;
use nucleus_formal::{parallel, pins};
use std::process::ExitCode;

/// Checks the TLA+ specs in formal/.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check specs with TLC and tla-checker, and their mutants.
    Check {
        /// Only these specs; all by default.
        specs: Vec<String>,
        /// Leave the mutants out.
        #[arg(long)]
        no_mutants: bool,
        /// Write what was found to formal/pins instead of comparing it.
        #[arg(long)]
        pin: bool,
    },
    /// Check the shipped code and its mutants against the specs, which `check` does too.
    Code,
    /// Print the state graph of a spec as JSON lines.
    Graph {
        /// The spec.
        spec: String,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Check {
            specs,
            no_mutants,
            pin,
        } => run(specs, no_mutants, pin),
        Command::Code => code(),
        Command::Graph { spec } => print(&spec),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("nucleus-formal: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn code() -> Result<()> {
    let (rows, faults) = code::check();
    println!("{}", code_table(&rows));
    tell(&faults)
}

fn tell(faults: &[String]) -> Result<()> {
    for fault in faults {
        println!("{fault}\n");
    }
    ensure!(faults.is_empty(), "{} of the checks failed", faults.len());
    Ok(())
}

fn print(spec: &str) -> Result<()> {
    let graph = Graph::of(spec)?;
    for (index, state) in graph.states.iter().enumerate() {
        let steps: Vec<String> = graph.edges[index]
            .iter()
            .map(|edge| format!("{} {}", edge.action, edge.target))
            .collect();
        println!("{index} {state} -> {}", steps.join(", "));
    }
    Ok(())
}

fn run(specs: Vec<String>, no_mutants: bool, pin: bool) -> Result<()> {
    let target = home().join("../target");
    std::fs::create_dir_all(&target)?;
    let tlc = Tlc::fetch(&target)?;
    let all = specs.is_empty();
    let specs = if all { names()? } else { specs };
    let mut mutants = Vec::new();
    for spec in &specs {
        mutants.extend(mutant::of(spec)?);
    }
    let mut faults = Vec::new();
    let checked = parallel::map(&specs, |spec| check(&tlc, spec));
    let run: &[Mutant] = if no_mutants { &[] } else { &mutants };
    let killed = parallel::map(run, |mutant| {
        let result = mutant.kill(&tlc);
        if let Err(error) = &result {
            println!(
                "{}/{}: {}",
                mutant.spec,
                mutant.name,
                format!("{error:#}").lines().next().unwrap_or_default()
            );
        }
        result
    });
    for (mutant, result) in run.iter().zip(&killed) {
        if let Err(error) = result {
            faults.push(format!(
                "mutant {}/{} ({}): {error:#}",
                mutant.spec, mutant.name, mutant.what
            ));
        }
    }
    let mut rows = Vec::new();
    if all {
        for name in pins::names()?.iter().filter(|name| !specs.contains(name)) {
            faults.push(format!("{name} is pinned, but there is no such spec"));
        }
    }
    for (spec, result) in specs.iter().zip(checked) {
        let Checked {
            pin: mut seen,
            tlc,
            native,
        } = match result {
            Ok(checked) => checked,
            Err(error) => {
                faults.push(format!("{error:#}"));
                continue;
            }
        };
        let of_spec = || run.iter().zip(&killed).filter(|(mutant, _)| mutant.spec == *spec);
        seen.mutants = mutants.iter().filter(|mutant| mutant.spec == *spec).count();
        rows.push(Row {
            name: spec.clone(),
            states: seen.states,
            actions: seen.actions.len(),
            properties: seen.properties.len(),
            tlc,
            native,
            mutants: (
                of_spec().count(),
                of_spec().filter(|(_, result)| result.is_ok()).count(),
            ),
        });
        if pin {
            pins::write(spec, &seen)?;
            continue;
        }
        let pinned = pins::read(spec)?;
        if pinned.as_ref() != Some(&seen) {
            faults.push(format!(
                "{spec} is not as pinned in formal/pins:\npinned {pinned:?}\nfound  {seen:?}"
            ));
        }
    }
    println!("{}", table(&rows));
    if all && !no_mutants {
        let (rows, found) = code::check();
        println!("{}", code_table(&rows));
        faults.extend(found);
    }
    tell(&faults)
}
