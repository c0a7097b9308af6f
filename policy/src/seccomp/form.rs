//! The fields of a profile file.

use oci_spec::runtime::{
    Arch, LinuxSeccompAction as Action, LinuxSeccompFilterFlag, LinuxSeccompOperator as Operator,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fault::{Problem, Problems};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Profile<'a> {
    pub(super) default_action: Action,
    pub(super) default_errno_ret: Option<u32>,
    pub(super) default_errno: Option<String>,
    pub(super) architectures: Option<Vec<Arch>>,
    pub(super) arch_map: Option<Vec<ArchMap>>,
    pub(super) flags: Option<Vec<LinuxSeccompFilterFlag>>,
    pub(super) listener_path: Option<String>,
    pub(super) listener_metadata: Option<String>,
    // Raw, so that each rule is read by itself and knows its line.
    #[serde(borrow)]
    pub(super) syscalls: Option<Vec<&'a RawValue>>,
    #[serde(rename = "comment")]
    _comment: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ArchMap {
    pub(super) architecture: Arch,
    pub(super) sub_architectures: Option<Vec<Arch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RuleText<'a> {
    #[serde(borrow)]
    pub(super) names: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub(super) name: Option<&'a RawValue>,
    pub(super) action: Action,
    pub(super) errno_ret: Option<u32>,
    pub(super) errno: Option<String>,
    #[serde(borrow)]
    pub(super) args: Option<Vec<&'a RawValue>>,
    pub(super) comment: Option<String>,
    pub(super) includes: Option<Filter>,
    pub(super) excludes: Option<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Argument {
    pub(super) index: u64,
    pub(super) value: u64,
    #[serde(default)]
    pub(super) value_two: u64,
    pub(super) op: Operator,
}

/// Docker's conditions of a rule.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Filter {
    #[serde(default)]
    pub(super) caps: Option<Vec<String>>,
    #[serde(default)]
    pub(super) arches: Option<Vec<String>>,
    pub(super) min_kernel: Option<String>,
}

/// Where `part`, which is a piece of `text`, begins.
pub(super) fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize).min(text.len())
}

/// Reads `part`, a piece of `text`; a fault is reported on its line of `text`.
pub(super) fn read<'a, T: Deserialize<'a>>(
    text: &str,
    part: &'a str,
    problems: &mut Problems<'_>,
) -> Option<T> {
    match serde_json::from_str(part) {
        Ok(value) => Some(value),
        Err(error) => {
            let line = problems.line(offset(text, part)) + error.line().saturating_sub(1);
            // The parser's own "at line .. column .." counts from the part's start.
            let message = error.to_string();
            let words = message.rsplit_once(" at line ").map_or(message.as_str(), |(words, _)| words);
            problems.at_line(line, Problem::Syntax(words.to_owned()));
            None
        }
    }
}

pub(super) fn profile<'a>(text: &'a str, problems: &mut Problems<'_>) -> Option<Profile<'a>> {
    read(text, text, problems)
}
