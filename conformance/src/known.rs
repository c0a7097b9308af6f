//! The list of known exceptions, `known.toml`: cases that may fail, each with who is at fault and why.

use std::fmt;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::suite::Record;

const LIST: &str = include_str!("../known.toml");

/// Why a known exception fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fault {
    /// The test itself.
    Program,
    /// The host lacks something, and the case cannot find that out by itself.
    Host,
    /// Nobody: the field's runtimes and their clients agree on something else.
    Custom,
    /// The runtime named in the entry.
    Runtime,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Program => "the program is at fault",
            Fault::Host => "the host lacks it",
            Fault::Custom => "custom differs",
            Fault::Runtime => "the runtime is at fault",
        })
    }
}

/// One entry.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exception {
    suite: String,
    cases: Vec<String>,
    /// Only in this view or bed; otherwise in each.
    view: Option<String>,
    /// Only for a runtime whose file has this name; otherwise for each.
    runtime: Option<String>,
    /// It passes as often as not: that it passed is not worth a line.
    #[serde(default)]
    pub(crate) races: bool,
    pub(crate) fault: Fault,
    pub(crate) reason: String,
}

/// The whole list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    known: Vec<Exception>,
}

impl Known {
    /// Reads the list that is built into this program.
    ///
    /// # Errors
    /// It is not well formed, or blames "the runtime" without naming one.
    pub(crate) fn load() -> Result<Known> {
        let known: Known = toml::from_str(LIST).context("read known.toml")?;
        for entry in &known.known {
            let named = entry.runtime.is_some() || entry.fault != Fault::Runtime;
            anyhow::ensure!(
                named,
                "known.toml: {:?} blames a runtime without naming it",
                entry.cases
            );
        }
        Ok(known)
    }

    /// The entry for a record, if there is one.
    pub(crate) fn find(&self, record: &Record) -> Option<&Exception> {
        self.known.iter().find(|entry| entry.covers(record))
    }
}

impl Exception {
    fn covers(&self, record: &Record) -> bool {
        let runtime = record.runtime.file_name().unwrap_or_default();
        self.suite == record.suite
            && self.cases.contains(&record.case)
            && self.view.as_deref().is_none_or(|view| view == record.place)
            && self.runtime.as_deref().is_none_or(|name| name == runtime)
    }
}

#[cfg(test)]
mod tests {
    use super::Known;
    use crate::{own, schema};

    #[test]
    fn the_list_names_cases_that_exist() {
        for entry in &Known::load().unwrap().known {
            let all = match entry.suite.as_str() {
                "own" => own::all(),
                "schema" => schema::all(),
                // The programs are known only once they are built.
                "oci" => continue,
                other => panic!("no suite {other}"),
            };
            for name in &entry.cases {
                assert!(all.iter().any(|case| case.name == name), "no case {name}");
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = own::all()
            .iter()
            .chain(&schema::all())
            .map(|case| case.name)
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
