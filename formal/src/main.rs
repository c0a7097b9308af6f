//! `nucleus-formal`: checks every spec with both checkers, and that every mutant dies.

mod code;
mod run;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use nucleus_formal::graph::Graph;
use nucleus_formal::report::code_table;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
        } => run::check(specs, no_mutants, pin).and_then(|faults| tell(&faults)),
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
