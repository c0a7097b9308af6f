//! Deliberately broken specs: each has to die by the property that it names, under both checkers.

use crate::model::{Ask, Model, home, specs};
use crate::native;
use crate::tlc::Tlc;
use crate::verdict::{Outcome, Verdict};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::path::Path;

/// The word for "no state is the last" in `killed_by`.
const DEADLOCK: &str = "Deadlock";

/// One substitution in one module.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// What is broken, in a person's words.
    pub what: String,
    /// The text to replace; it occurs exactly once.
    pub find: String,
    /// The text in its place.
    pub replace: String,
    /// The invariant or property that notices, or `Deadlock`.
    pub killed_by: String,
    /// The module, where it is not the spec's own.
    #[serde(default)]
    pub module: Option<String>,
    /// The file's name.
    #[serde(skip)]
    pub name: String,
    /// The spec's name.
    #[serde(skip)]
    pub spec: String,
}

/// The mutants of a spec, from `formal/mutants/SPEC/*.toml`.
///
/// # Errors
/// A file that is damaged.
pub fn of(spec: &str) -> Result<Vec<Mutant>> {
    let directory = home().join("mutants").join(spec);
    let mut mutants = Vec::new();
    let Ok(entries) = std::fs::read_dir(&directory) else {
        return Ok(mutants);
    };
    for entry in entries {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        let mutant: Mutant = toml::from_str(&text).with_context(|| path.display().to_string())?;
        mutants.push(Mutant {
            name: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            spec: spec.to_owned(),
            ..mutant
        });
    }
    mutants.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(mutants)
}

/// Replaces the one occurrence.
///
/// # Errors
/// There is none or more than one, or the text stays as it was.
pub fn substitute(text: &str, find: &str, replace: &str) -> Result<String> {
    let count = text.matches(find).count();
    ensure!(count == 1, "the text to replace occurs {count} times, not once");
    ensure!(find != replace, "the replacement changes nothing");
    Ok(text.replacen(find, replace, 1))
}

impl Mutant {
    /// Applies the substitution to a copy of all specs in `scratch`.
    ///
    /// # Errors
    /// It does not apply exactly once.
    pub fn apply(&self, scratch: &Path) -> Result<Model> {
        for entry in std::fs::read_dir(specs())? {
            let path = entry?.path();
            if let Some(file) = path.file_name() {
                std::fs::copy(&path, scratch.join(file))?;
            }
        }
        let module = self.module.as_ref().unwrap_or(&self.spec);
        let path = scratch.join(format!("{module}.tla"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {module}.tla"))?;
        std::fs::write(&path, substitute(&text, &self.find, &self.replace)?)?;
        Model::open(scratch, &self.spec)
    }

    /// Makes the broken spec and asks both checkers for the one property.
    ///
    /// # Errors
    /// It survives, dies by something else, or a tool could not tell.
    pub fn kill(&self, tlc: &Tlc) -> Result<()> {
        let scratch = tempfile::tempdir()?;
        let model = self.apply(scratch.path())?;
        let (ask, expected) = match self.killed_by.as_str() {
            DEADLOCK => (Ask::NoDeadlock, Verdict::Deadlock),
            name => (Ask::Only(name.to_owned()), Verdict::Violated),
        };
        let killed = |checker: &str, outcome: &Outcome| match &outcome.verdict {
            verdict if *verdict == expected => Ok(()),
            Verdict::Holds => bail!("survives {checker}: {} holds", self.killed_by),
            verdict => bail!("{checker}, asked for {}: {verdict}", self.killed_by),
        };
        killed("TLC", &tlc.check(&model, &ask, false)?.0)?;
        killed("tla-checker", &native::check(&model, &ask)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_substitution_applies_exactly_once() {
        assert_eq!(substitute("a b c", "b", "x").unwrap(), "a x c");
        assert!(substitute("a b b", "b", "x").is_err());
        assert!(substitute("a", "b", "x").is_err());
        assert!(substitute("a", "a", "a").is_err());
    }
}
