//! The whole check: every spec, every mutant and the shipped code, on all processors.

use crate::code;
use anyhow::Result;
use nucleus_formal::binding::Bound;
use nucleus_formal::check::{Checked, check as check_spec};
use nucleus_formal::model::{home, names};
use nucleus_formal::mutant::{self, Mutant};
use nucleus_formal::pins::{self, Pin};
use nucleus_formal::report::{CodeRow, Row, code_table, table};
use nucleus_formal::{parallel, tlc::Tlc};
use std::collections::BTreeMap;

/// A piece of the work that needs no other.
enum Piece {
    Code(&'static Bound),
    Spec(String),
    Mutant(Mutant),
}

/// What came of it.
enum Done {
    Code(CodeRow, Vec<String>),
    Spec(String, Result<Checked>),
    /// A mutant of this spec, and why it has not died.
    Mutant(String, Option<String>),
}

/// Checks these specs, or all of them and the code, prints the tables, and tells what is wrong. With `pin` it writes
/// what was found to `formal/pins` instead of comparing it.
///
/// # Errors
/// A tool or a file cannot be had.
pub(crate) fn check(specs: Vec<String>, no_mutants: bool, pin: bool) -> Result<Vec<String>> {
    let target = home().join("../target");
    std::fs::create_dir_all(&target)?;
    let tlc = Tlc::fetch(&target)?;
    let all = specs.is_empty();
    let specs = if all { names()? } else { specs };
    let mut mutants = BTreeMap::new();
    for spec in &specs {
        mutants.insert(spec.clone(), mutant::of(spec)?);
    }
    let pieces = pieces(&mutants, no_mutants, all)?;
    let mut faults = Vec::new();
    let (mut checked, mut killed, mut code_rows) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for done in parallel::map(&pieces, |piece| piece.work(&tlc)) {
        match done {
            Done::Code(row, found) => {
                code_rows.push(row);
                faults.extend(found);
            }
            Done::Spec(spec, Ok(found)) => {
                checked.insert(spec, found);
            }
            Done::Spec(_, Err(error)) => faults.push(format!("{error:#}")),
            Done::Mutant(spec, None) => *killed.entry(spec).or_default() += 1,
            Done::Mutant(_, Some(fault)) => faults.push(fault),
        }
    }
    if all {
        let pinned = pins::names()?;
        let lost = pinned.iter().filter(|name| !specs.contains(name));
        faults.extend(lost.map(|name| format!("{name} is pinned, but there is no such spec")));
    }
    let mut rows = Vec::new();
    for (spec, found) in checked {
        let mutants = &mutants[&spec];
        let seen = Pin {
            mutants: mutants.len(),
            ..found.pin
        };
        faults.extend(spared(&spec, &seen, mutants));
        if pin {
            pins::write(&spec, &seen)?;
        } else {
            faults.extend(unlike_pinned(&spec, &seen)?);
        }
        let tried = if no_mutants { 0 } else { mutants.len() };
        rows.push(Row {
            states: seen.states,
            actions: seen.actions.len(),
            properties: seen.properties.len(),
            tlc: found.tlc,
            native: found.native,
            mutants: (tried, killed.get(&spec).copied().unwrap_or_default()),
            name: spec,
        });
    }
    println!("{}", table(&rows));
    if !code_rows.is_empty() {
        code_rows.sort_by_key(|row| row.file);
        println!("{}", code_table(&code_rows));
    }
    Ok(faults)
}

/// The pieces, those that take long first, so that no processor is left alone with one at the end.
fn pieces(mutants: &BTreeMap<String, Vec<Mutant>>, no_mutants: bool, all: bool) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    if all && !no_mutants {
        pieces.extend(code::BOUND.iter().map(Piece::Code));
    }
    let mut by_size = Vec::new();
    for spec in mutants.keys() {
        by_size.push((pins::read(spec)?.map_or(0, |pin| pin.states), spec));
    }
    by_size.sort();
    by_size.reverse();
    pieces.extend(by_size.iter().map(|(_, spec)| Piece::Spec((*spec).clone())));
    if !no_mutants {
        let of_each = by_size.iter().flat_map(|(_, spec)| &mutants[*spec]);
        pieces.extend(of_each.cloned().map(Piece::Mutant));
    }
    Ok(pieces)
}

impl Piece {
    fn work(&self, tlc: &Tlc) -> Done {
        match self {
            Self::Code(bound) => {
                let (row, faults) = code::of(bound);
                Done::Code(row, faults)
            }
            Self::Spec(spec) => Done::Spec(spec.clone(), check_spec(tlc, spec)),
            Self::Mutant(mutant) => {
                let fault = mutant.kill(tlc).err().map(|error| {
                    let Mutant { spec, name, what, .. } = mutant;
                    format!("mutant {spec}/{name} ({what}): {error:#}")
                });
                Done::Mutant(mutant.spec.clone(), fault)
            }
        }
    }
}

/// A property that kills nothing may as well be true of everything.
fn spared(spec: &str, seen: &Pin, mutants: &[Mutant]) -> Vec<String> {
    let kills = |property: &String| mutants.iter().any(|mutant| mutant.killed_by == *property);
    let idle = seen.properties.iter().filter(|property| !kills(property));
    idle.map(|property| format!("{spec}: no mutant dies by {property}"))
        .collect()
}

fn unlike_pinned(spec: &str, seen: &Pin) -> Result<Option<String>> {
    let pinned = pins::read(spec)?;
    Ok((pinned.as_ref() != Some(seen))
        .then(|| format!("{spec} is not as pinned in formal/pins:\npinned {pinned:?}\nfound  {seen:?}")))
}
