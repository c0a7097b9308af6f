//! Capability policies: TOML that says which capabilities(7) a container may have, set by set.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::FromStr;

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};
use serde::Deserialize;
use toml::Spanned;

use crate::fault::{Found, Problem, Problems};
use crate::toml_text::list;

/// The most that each set may hold.
///
/// Always consistent: effective and ambient are within permitted, permitted and inheritable within
/// bounding, ambient within inheritable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CapabilityPolicy {
    pub(crate) bounding: Capabilities,
    pub(crate) permitted: Capabilities,
    pub(crate) effective: Capabilities,
    pub(crate) inheritable: Capabilities,
    pub(crate) ambient: Capabilities,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    keep: Option<List>,
    bounding: Option<List>,
    permitted: Option<List>,
    effective: Option<List>,
    inheritable: Option<List>,
    ambient: Option<List>,
}

type List = Spanned<Vec<Spanned<String>>>;

impl CapabilityPolicy {
    /// Parses the TOML form; see the crate's README.
    ///
    /// # Errors
    /// Everything that is wrong, with its line.
    pub(crate) fn parse(text: &str) -> Result<Self, Found> {
        let mut problems = Problems::of(text);
        let policy = problems
            .toml::<Text>()
            .map(|sets| Self::check(sets, &mut problems));
        problems.or(policy)
    }

    fn check(text: Text, problems: &mut Problems<'_>) -> Self {
        let long = [
            &text.bounding,
            &text.permitted,
            &text.effective,
            &text.inheritable,
            &text.ambient,
        ];
        if let Some(keep) = &text.keep {
            if let Some(other) = long.into_iter().flatten().next() {
                let against = "says all five sets: give it or the sets, not both";
                let problem = Problem::Contradiction {
                    what: "list",
                    name: "keep".to_owned(),
                    against,
                };
                problems.at(other.span().start, problem);
            }
            let kept = set(Some(keep), problems);
            return Self {
                bounding: kept.clone(),
                permitted: kept.clone(),
                effective: kept,
                ..Self::default()
            };
        }
        if long.iter().all(|list| list.is_none()) {
            problems.somewhere(Problem::Missing("`keep`, or one of the five sets,"));
        }
        let policy = Self {
            bounding: set(text.bounding.as_ref(), problems),
            permitted: set(text.permitted.as_ref(), problems),
            effective: set(text.effective.as_ref(), problems),
            inheritable: set(text.inheritable.as_ref(), problems),
            ambient: set(text.ambient.as_ref(), problems),
        };
        within(
            &text.permitted,
            &policy.bounding,
            "is permitted but not in `bounding`",
            problems,
        );
        within(
            &text.inheritable,
            &policy.bounding,
            "is inheritable but not in `bounding`",
            problems,
        );
        within(
            &text.effective,
            &policy.permitted,
            "is effective but not in `permitted`",
            problems,
        );
        within(
            &text.ambient,
            &policy.permitted,
            "is ambient but not in `permitted`",
            problems,
        );
        within(
            &text.ambient,
            &policy.inheritable,
            "is ambient but not in `inheritable`",
            problems,
        );
        policy
    }

    /// What is left of `had` under this policy: each set's intersection, cut to what the other sets
    /// still carry.
    #[must_use]
    pub fn narrow(&self, had: &LinuxCapabilities) -> LinuxCapabilities {
        let both = |ours: &Capabilities, theirs: &Option<Capabilities>| -> Capabilities {
            theirs
                .as_ref()
                .map_or_else(Capabilities::new, |theirs| ours & theirs)
        };
        let bounding = both(&self.bounding, had.bounding());
        let permitted = &both(&self.permitted, had.permitted()) & &bounding;
        let effective = &both(&self.effective, had.effective()) & &permitted;
        let inheritable = &both(&self.inheritable, had.inheritable()) & &bounding;
        let ambient = &(&both(&self.ambient, had.ambient()) & &permitted) & &inheritable;
        let mut left = LinuxCapabilities::default();
        left.set_bounding(Some(bounding));
        left.set_permitted(Some(permitted));
        left.set_effective(Some(effective));
        left.set_inheritable(Some(inheritable));
        left.set_ambient(Some(ambient));
        left
    }

    /// The five sets with their names, bounding first.
    #[must_use]
    pub fn sets(&self) -> [(&'static str, &Capabilities); 5] {
        [
            ("bounding", &self.bounding),
            ("permitted", &self.permitted),
            ("effective", &self.effective),
            ("inheritable", &self.inheritable),
            ("ambient", &self.ambient),
        ]
    }

    /// The TOML form; [`crate::load`] reads it back as an equal policy.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (name, set) in self.sets() {
            let _ = writeln!(text, "{name} = {}", list(names(set).iter().map(String::as_str)));
        }
        text
    }
}

/// The names of a set with `CAP_`, sorted.
#[must_use]
pub fn names(set: &Capabilities) -> Vec<String> {
    let mut names: Vec<_> = set.iter().map(|capability| format!("CAP_{capability}")).collect();
    names.sort_unstable();
    names
}

/// The names with `CAP_`, in the order given.
pub(crate) fn names_in_order(list: &[Capability]) -> Vec<String> {
    list.iter()
        .map(|capability| format!("CAP_{capability}"))
        .collect()
}

/// The capability called `name`, as capabilities(7) writes it (`CAP_KILL`).
pub(crate) fn named(name: &str) -> Option<Capability> {
    let capability = Capability::from_str(name.strip_prefix("CAP_")?).ok()?;
    // The registry's parser may take other spellings.
    (format!("CAP_{capability}") == name).then_some(capability)
}

fn set(list: Option<&List>, problems: &mut Problems<'_>) -> Capabilities {
    let mut seen = BTreeMap::new();
    for name in list.into_iter().flat_map(|list| list.get_ref()) {
        match named(name.get_ref()) {
            None => problems.at(name.span().start, Problem::unknown("capability", name.get_ref())),
            Some(capability) => {
                if seen.insert(name.get_ref().clone(), capability).is_some() {
                    problems.at(
                        name.span().start,
                        Problem::duplicate("capability", name.get_ref()),
                    );
                }
            }
        }
    }
    seen.into_values().collect()
}

fn within(list: &Option<List>, outer: &Capabilities, against: &'static str, problems: &mut Problems<'_>) {
    for name in list.iter().flat_map(|list| list.get_ref()) {
        if named(name.get_ref()).is_some_and(|capability| !outer.contains(&capability)) {
            let name_ = name.get_ref().clone();
            problems.at(
                name.span().start,
                Problem::Contradiction {
                    what: "capability",
                    name: name_,
                    against,
                },
            );
        }
    }
}
