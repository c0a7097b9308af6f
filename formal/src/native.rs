//! tla-checker: the second checker, an independent one written in Rust.

use crate::model::{Ask, Model};
use crate::verdict::{Outcome, Verdict};
use anyhow::{Context, Result};
use std::path::Path;
use std::sync::Arc;
use tla_checker::ast::Value;
use tla_checker::checker::{CheckResult, CheckStats, check_result_to_json};
use tla_checker::load::{Prepared, prepare_from_path};

/// Reads a model with a configuration, and other values for some constants; always with true integers and without a limit of depth, because the
/// defaults (0 to 100, and 100 steps) have let false specs pass.
///
/// # Errors
/// Something that does not parse, or a name that is not there.
pub fn prepare(model: &Model, configuration: &Path, constants: &[(Arc<str>, Value)]) -> Result<Prepared> {
    let mut prepared = prepare_from_path(&model.module(), Some(configuration), constants)
        .with_context(|| format!("tla-checker cannot read {}", model.name))?;
    tla_checker::eval::set_symbolic_integers(true);
    let config = &mut prepared.checker_config;
    config.symbolic_integers = true;
    config.max_depth = usize::MAX;
    config.max_states = 5_000_000;
    config.check_liveness = true;
    config.quiet = true;
    Ok(prepared)
}

/// Checks a model.
///
/// # Errors
/// The model cannot be read. What could not be decided is a verdict.
pub fn check(model: &Model, ask: &Ask) -> Result<Outcome> {
    let scratch = tempfile::tempdir().context("a directory for tla-checker")?;
    let config = scratch.path().join("asked.cfg");
    std::fs::write(&config, model.configuration(ask)?)?;
    let mut prepared = match prepare(model, &config, &[]) {
        Ok(prepared) => prepared,
        Err(error) => return Ok(Outcome::error(format!("{error:#}"))),
    };
    let only_property = match ask {
        Ask::Everything => false,
        Ask::Only(name) => model.properties.contains(name),
        Ask::NoDeadlock => true,
    };
    if only_property {
        // Without any in the configuration it would guess them by their names.
        prepared.spec.invariants.clear();
        prepared.spec.invariant_names.clear();
    }
    prepared.checker_config.allow_deadlock = matches!(ask, Ask::Only(_));
    let result = tla_checker::checker::check(&prepared.spec, &prepared.domains, &prepared.checker_config);
    let details = check_result_to_json(&result, &prepared.spec);
    let (verdict, states) = match &result {
        CheckResult::Ok(stats) if stats.states_explored == 0 => {
            (Verdict::Error("no initial state".to_owned()), 0)
        }
        CheckResult::Ok(stats) => (Verdict::Holds, explored(stats)),
        CheckResult::InvariantViolation(_, stats)
        | CheckResult::RefinementViolation(_, stats)
        | CheckResult::LivenessViolation(_, stats)
        | CheckResult::PropertyViolation(_, stats) => (Verdict::Violated, explored(stats)),
        CheckResult::Deadlock(_, _, stats) => (Verdict::Deadlock, explored(stats)),
        _ => (Verdict::Error(details.clone()), 0),
    };
    Ok(Outcome {
        verdict,
        states,
        details,
    })
}

fn explored(stats: &CheckStats) -> usize {
    stats.states_explored
}
