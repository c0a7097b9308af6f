//! The list of intended differences, `diff-known.toml`: what may differ from the reference, and why.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::compare::Difference;
use super::generate::Config;

const LIST: &str = include_str!("../../diff-known.toml");

/// What stands for a fact that is not there.
const ABSENT: &str = "absent";

/// One entry. In patterns `*` stands for any text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Patterns of the names of the facts.
    facts: Vec<String>,
    /// A pattern of the value under the runtime; any if left out.
    ours: Option<String>,
    /// A pattern of the value under the reference; any if left out.
    reference: Option<String>,
    /// The reference, if it is only about one.
    of: Option<String>,
    /// The feature of the config that it needs, if any.
    with: Option<String>,
    /// Why it is right.
    reason: String,
}

/// The whole list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    #[serde(default)]
    difference: Vec<Entry>,
}

impl Known {
    /// Reads the list that is built into this program.
    ///
    /// # Errors
    /// It is not well formed.
    pub(super) fn load() -> Result<Known> {
        let known: Known = toml::from_str(LIST).context("read diff-known.toml")?;
        for entry in &known.difference {
            anyhow::ensure!(
                !entry.reason.is_empty(),
                "diff-known.toml: {:?} has no reason",
                entry.facts
            );
        }
        Ok(known)
    }

    /// Whether a difference from the reference of this name is in the list.
    pub(super) fn explains(&self, difference: &Difference, reference: &str, config: &Config) -> bool {
        self.difference
            .iter()
            .any(|entry| entry.covers(difference, reference, config))
    }
}

impl Entry {
    fn covers(&self, difference: &Difference, reference: &str, config: &Config) -> bool {
        let has = |name: &str| config.features.iter().any(|feature| feature.name == name);
        let fits = |pattern: &Option<String>, value: &Option<String>| {
            pattern
                .as_deref()
                .is_none_or(|pattern| matches(pattern, value.as_deref().unwrap_or(ABSENT)))
        };
        self.of.as_deref().is_none_or(|of| of == reference)
            && self.with.as_deref().is_none_or(has)
            && self
                .facts
                .iter()
                .any(|pattern| matches(pattern, &difference.name))
            && fits(&self.ours, &difference.ours)
            && fits(&self.reference, &difference.reference)
    }
}

/// Whether a text is what a pattern describes.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::{Known, matches};

    #[test]
    fn the_list_is_well_formed() {
        Known::load().unwrap();
    }

    #[test]
    fn a_star_is_any_text() {
        assert!(matches("mount * source", "mount /a b source"));
        assert!(matches("*", ""));
        assert!(matches("a*b*c", "a-b-b-c"));
        assert!(!matches("a*b", "a-b-c"));
        assert!(!matches("a*ab", "ab"));
        assert!(!matches("mount", "mount /"));
    }
}
