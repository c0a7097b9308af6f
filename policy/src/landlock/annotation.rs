//! The annotation [`KEY`], by which a bundle carries its Landlock rules: the shape of runtime-spec's open
//! proposal (pull request 1241), extended with ports and scopes.

use serde::{Deserialize, Serialize};

/// The annotation's key.
pub const KEY: &str = "dev.nucleus.landlock";

/// The annotation's value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Annotation {
    /// What is refused unless a rule allows it.
    pub ruleset: Ruleset,
    /// What is allowed.
    #[serde(default)]
    pub rules: Rules,
    /// The Landlock ABI that the kernel must have at least; 0 for any.
    #[serde(default, rename = "minABI")]
    pub min_abi: u32,
    /// Whether the start fails where something cannot be enforced.
    #[serde(default)]
    pub disable_best_effort: bool,
}

impl Annotation {
    /// The annotation's value: JSON without spaces.
    #[must_use]
    pub fn render(&self) -> String {
        // Strings, numbers and lists of them: nothing that JSON lacks.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Kernel names in lower case, without `LANDLOCK_ACCESS_FS_` and so on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ruleset {
    /// `LANDLOCK_ACCESS_FS_*`.
    #[serde(default, rename = "handledAccessFS")]
    pub handled_access_fs: Vec<String>,
    /// `LANDLOCK_ACCESS_NET_*`, ABI 4.
    #[serde(default)]
    pub handled_access_net: Vec<String>,
    /// `LANDLOCK_SCOPE_*`, ABI 6.
    #[serde(default)]
    pub scoped: Vec<String>,
}

/// What is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rules {
    /// File trees.
    #[serde(default)]
    pub path_beneath: Vec<PathBeneath>,
    /// TCP ports.
    #[serde(default)]
    pub net_port: Vec<NetPort>,
}

/// Rights below some paths inside the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PathBeneath {
    /// `LANDLOCK_ACCESS_FS_*`.
    pub allowed_access: Vec<String>,
    /// Absolute paths.
    pub paths: Vec<String>,
    /// Whether a path may be missing.
    #[serde(default)]
    pub optional: bool,
}

/// Rights on some TCP ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetPort {
    /// `LANDLOCK_ACCESS_NET_*`.
    pub allowed_access: Vec<String>,
    /// Ports; 0 for any that bind(2) picks.
    pub ports: Vec<u16>,
}
