//! Compares the facts of two runs.

use std::collections::BTreeSet;
use std::fmt;

use super::probe::Facts;

/// A fact that two runs do not share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// The name of the fact.
    pub(super) name: String,
    /// Under the runtime.
    pub(super) ours: Option<String>,
    /// Under the reference.
    pub(super) reference: Option<String>,
}

/// Words of an error are each runtime's own.
const ONLY_PRESENCE: &[&str] = &["create refused", "start refused", "exec refused"];

/// All differences, in the order of the facts' names.
pub(super) fn differences(ours: &Facts, reference: &Facts) -> Vec<Difference> {
    let names: BTreeSet<&String> = ours.keys().chain(reference.keys()).collect();
    let mut differences = Vec::new();
    for name in names {
        let (ours, reference) = (ours.get(name), reference.get(name));
        let same = if ONLY_PRESENCE.contains(&name.as_str()) {
            ours.is_some() == reference.is_some()
        } else {
            ours == reference
        };
        if !same {
            differences.push(Difference {
                name: name.clone(),
                ours: ours.cloned(),
                reference: reference.cloned(),
            });
        }
    }
    // Where one of them refuses, nothing else is to be compared.
    if let Some(refusal) = differences
        .iter()
        .find(|difference| ONLY_PRESENCE[..2].contains(&difference.name.as_str()))
    {
        return vec![refusal.clone()];
    }
    let exec = ONLY_PRESENCE[2];
    if differences.iter().any(|difference| difference.name == exec) {
        differences.retain(|difference| !difference.name.starts_with("exec ") || difference.name == exec);
    }
    differences
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| {
            value
                .as_ref()
                .map_or("absent".to_owned(), |value| format!("{value:?}"))
        };
        write!(
            f,
            "{}: {} instead of {}",
            self.name,
            value(&self.ours),
            value(&self.reference)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(list: &[(&str, &str)]) -> Facts {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn finds_other_values_and_facts_of_one_side() {
        let found = differences(
            &facts(&[("a", "1"), ("b", "2"), ("same", "")]),
            &facts(&[("a", "x"), ("c", "3"), ("same", "")]),
        );
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "a: \"1\" instead of \"x\"",
                "b: \"2\" instead of absent",
                "c: absent instead of \"3\""
            ]
        );
    }

    #[test]
    fn a_refusal_stands_for_all_else_and_its_words_are_free() {
        let refused = facts(&[("create refused", "no")]);
        assert_eq!(differences(&refused, &facts(&[("create refused", "never")])), []);
        let found = differences(&refused, &facts(&[("a", "1")]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "create refused");
    }
}
