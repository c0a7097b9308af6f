//! `formal/pins/SPEC.toml`: what is known of each spec, so that a spec that shrinks by accident is noticed.

use crate::model::home;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What is known of a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Distinct states.
    pub states: usize,
    /// How many mutants it has.
    pub mutants: usize,
    /// Its actions, all of which make steps.
    pub actions: Vec<String>,
    /// Its invariants and properties.
    pub properties: Vec<String>,
}

fn path(spec: &str) -> PathBuf {
    home().join("pins").join(format!("{spec}.toml"))
}

/// The specs that are pinned.
///
/// # Errors
/// The directory cannot be read.
pub fn names() -> Result<Vec<String>> {
    let entries = std::fs::read_dir(home().join("pins")).context("list formal/pins")?;
    entries
        .map(|entry| {
            let path = entry?.path();
            Ok(path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned())
        })
        .collect()
}

/// What is pinned of a spec, if anything.
///
/// # Errors
/// The file is damaged.
pub fn read(spec: &str) -> Result<Option<Pin>> {
    let path = path(spec);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path)?;
    toml::from_str(&text)
        .map(Some)
        .with_context(|| path.display().to_string())
}

/// Pins a spec anew.
///
/// # Errors
/// As write(2).
pub fn write(spec: &str, pin: &Pin) -> Result<()> {
    let mut text = format!(
        "# Written by `cargo run -p nucleus-formal -- check --pin {spec}`; look at the difference before a commit.\n\
         states = {}\nmutants = {}\n",
        pin.states, pin.mutants
    );
    for (key, list) in [("actions", &pin.actions), ("properties", &pin.properties)] {
        text.push_str(&format!("{key} = [\n"));
        for item in list {
            text.push_str(&format!("    \"{item}\",\n"));
        }
        text.push_str("]\n");
    }
    let path = path(spec);
    std::fs::create_dir_all(home().join("pins"))?;
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}
