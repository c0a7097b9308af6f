//! The shipped code and its mutants, held against the specs.

use nucleus_formal::binding::{Agrees, Bound, Property};
use nucleus_formal::parallel;
use nucleus_formal::report::CodeRow;
use std::panic::catch_unwind;
use std::time::Instant;

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));
include!(concat!(env!("OUT_DIR"), "/mutants.rs"));

/// A comparison that is held against fewer mutants may as well be true of everything.
const FEWEST: usize = 3;

/// Runs every comparison of the shipped code, and of each mutant the one that has to notice it.
///
/// What is wrong is told by the second: a comparison that fails, a mutant that survives, and a comparison that
/// cannot tell, which is no kill.
pub(crate) fn check() -> (Vec<CodeRow>, Vec<String>) {
    let checked = parallel::map(BOUND, of);
    let (rows, faults): (_, Vec<_>) = checked.into_iter().unzip();
    (rows, faults.into_iter().flatten().collect())
}

/// The same for one file.
pub(crate) fn of(bound: &Bound) -> (CodeRow, Vec<String>) {
    let started = Instant::now();
    let mut faults = Vec::new();
    for property in bound.properties {
        match ask(property) {
            Some(Ok(())) => {}
            Some(Err(told)) => faults.push(format!("{}, {}: {told}", bound.file, property.0)),
            None => faults.push(format!(
                "{}, {}: the comparison cannot tell",
                bound.file, property.0
            )),
        }
    }
    if bound.mutants.len() < FEWEST {
        faults.push(format!("{}: too few mutants", bound.file));
    }
    let mut killed = 0;
    for mutant in bound.mutants {
        let named = mutant
            .properties
            .iter()
            .find(|property| property.0 == mutant.killed_by);
        let place = format!("mutant {}/{} ({})", bound.name, mutant.name, mutant.what);
        match named.map(ask) {
            None => faults.push(format!("{place}: there is no comparison {:?}", mutant.killed_by)),
            Some(None) => faults.push(format!("{place}: {:?} cannot tell", mutant.killed_by)),
            Some(Some(Ok(()))) => faults.push(format!("{place}: survives {:?}", mutant.killed_by)),
            Some(Some(Err(_))) => killed += 1,
        }
    }
    let row = CodeRow {
        file: bound.file,
        properties: bound.properties.len(),
        time: started.elapsed(),
        mutants: (bound.mutants.len(), killed),
    };
    (row, faults)
}

/// Nothing where it panics.
fn ask(property: &Property) -> Option<Agrees> {
    catch_unwind(property.1).ok()
}
