//! `formal/pins.toml`: what is known of each spec, so that a spec that shrinks by accident is noticed.

use crate::model::home;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is known of a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Distinct states.
    pub states: usize,
    /// Its actions, all of which make steps.
    pub actions: Vec<String>,
    /// Its invariants and properties.
    pub properties: Vec<String>,
    /// How many mutants it has.
    pub mutants: usize,
}

/// The pins by the specs' names.
pub type Pins = BTreeMap<String, Pin>;

/// Reads the file.
///
/// # Errors
/// It is missing or damaged.
pub fn read() -> Result<Pins> {
    let text = std::fs::read_to_string(home().join("pins.toml")).context("read formal/pins.toml")?;
    toml::from_str(&text).context("formal/pins.toml")
}

/// Writes the file anew.
///
/// # Errors
/// As write(2).
pub fn write(pins: &Pins) -> Result<()> {
    let mut text = String::from(
        "# Written by `cargo run -p nucleus-formal -- check --pin`; look at the difference before you commit it.\n",
    );
    for (name, pin) in pins {
        text.push_str(&format!(
            "\n[{name}]\nstates = {}\nmutants = {}\n",
            pin.states, pin.mutants
        ));
        for (key, list) in [("actions", &pin.actions), ("properties", &pin.properties)] {
            text.push_str(&format!("{key} = [\n"));
            for item in list {
                text.push_str(&format!("    \"{item}\",\n"));
            }
            text.push_str("]\n");
        }
    }
    std::fs::write(home().join("pins.toml"), text).context("write formal/pins.toml")
}
