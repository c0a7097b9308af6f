//! Everything that is asked of one spec.

use crate::model::{Ask, Model, specs};
use crate::native;
use crate::pins::Pin;
use crate::tlc::{Action, Tlc};
use crate::verdict::{Outcome, Verdict};
use anyhow::{Result, bail, ensure};
use std::time::{Duration, Instant};

/// What both checkers found.
#[derive(Debug)]
pub struct Checked {
    /// What is to be pinned; the count of mutants is filled in later.
    pub pin: Pin,
    /// How long TLC took, with its start.
    pub tlc: Duration,
    /// How long tla-checker took.
    pub native: Duration,
}

/// Checks a spec with both checkers, and that they agree.
///
/// # Errors
/// A property does not hold, an action never makes a step, or the checkers differ.
pub fn check(tlc: &Tlc, name: &str) -> Result<Checked> {
    let model = Model::open(&specs(), name)?;
    tlc.parse(&model)?;
    let started = Instant::now();
    let (by_tlc, actions) = tlc.check(&model, &Ask::Everything, true)?;
    let tlc_time = started.elapsed();
    holds("TLC", name, &by_tlc)?;
    dead(name, &actions)?;
    let started = Instant::now();
    let by_native = native::check(&model, &Ask::Everything)?;
    let native_time = started.elapsed();
    holds("tla-checker", name, &by_native)?;
    ensure!(
        by_tlc.states == by_native.states,
        "{name}: TLC finds {} states and tla-checker {}",
        by_tlc.states,
        by_native.states
    );
    let mut actions: Vec<String> = actions.into_iter().map(|action| action.name).collect();
    actions.retain(|action| action != "Init");
    Ok(Checked {
        pin: Pin {
            states: by_tlc.states,
            actions,
            properties: model.all().map(str::to_owned).collect(),
            mutants: 0,
        },
        tlc: tlc_time,
        native: native_time,
    })
}

fn holds(checker: &str, name: &str, outcome: &Outcome) -> Result<()> {
    if outcome.verdict != Verdict::Holds {
        bail!("{name}, {checker}: {}\n{}", outcome.verdict, outcome.details);
    }
    Ok(())
}

fn dead(name: &str, actions: &[Action]) -> Result<()> {
    ensure!(actions.len() > 1, "{name}: TLC names no actions");
    for action in actions {
        ensure!(
            action.steps > 0,
            "{name}: the action {} never makes a step",
            action.name
        );
    }
    Ok(())
}
