//! Reading a profile: the JSON, strictly, and what makes no sense in it.

use std::borrow::Cow;
use std::ops::Deref;
use std::path::PathBuf;

use oci_spec::runtime::{
    Arch, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator,
};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde_json::value::RawValue;

use super::guard::{self, FilterText};
use super::{Rule, SeccompPolicy, Verdict, names};
use crate::fault::{Found, Problem, Problems};
use crate::request::KernelVersion;

/// The largest errno that the kernel returns (`MAX_ERRNO`).
const MAX_ERRNO: u32 = 4095;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Text<'a> {
    default_action: String,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchText>>,
    flags: Option<Vec<String>>,
    listener_path: Option<PathBuf>,
    listener_metadata: Option<String>,
    /// Kept as text, so that each rule has its line and its own errors.
    #[serde(borrow)]
    syscalls: Option<Vec<&'a RawValue>>,
    #[serde(rename = "comment")]
    _comment: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ArchText {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

/// A part of the text, copied only where it has escapes: a profile has a thousand.
#[derive(Deserialize)]
struct Word<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Word<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RuleText<'a> {
    #[serde(borrow)]
    name: Option<Word<'a>>,
    #[serde(borrow)]
    names: Option<Vec<Word<'a>>>,
    #[serde(borrow)]
    action: Word<'a>,
    errno_ret: Option<u32>,
    errno: Option<String>,
    #[serde(borrow)]
    args: Option<Vec<ArgText<'a>>>,
    comment: Option<String>,
    includes: Option<FilterText>,
    excludes: Option<FilterText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ArgText<'a> {
    index: usize,
    value: u64,
    value_two: Option<u64>,
    #[serde(borrow)]
    op: Word<'a>,
}

impl SeccompPolicy {
    /// Parses a profile for x86_64 and this kernel; without one, `minKernel` is an error.
    pub(crate) fn parse(text: &str, kernel: Option<KernelVersion>) -> Result<Self, Found> {
        let mut problems = Problems::of(text);
        let policy = match serde_json::from_str::<Text<'_>>(text) {
            Ok(parsed) => Some(check(parsed, text, kernel, &mut problems)),
            Err(error) => {
                problems.at_line(error.line(), Problem::Syntax(message(&error)));
                None
            }
        };
        problems.or(policy)
    }
}

/// The parser's words without the position, which the fault has.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

fn check(
    parsed: Text<'_>,
    text: &str,
    kernel: Option<KernelVersion>,
    problems: &mut Problems<'_>,
) -> SeccompPolicy {
    let mut report = |word: &str, problem| {
        let offset = text.find(&format!("\"{word}\"")).unwrap_or(0);
        problems.at(offset, problem);
    };
    let default = verdict(
        &parsed.default_action,
        parsed.default_errno_ret,
        parsed.default_errno.as_deref(),
        &mut report,
    );
    if default.action == Action::ScmpActNotify {
        let reason = "no agent can be given the descriptor then";
        report(
            &parsed.default_action,
            Problem::refused("defaultAction", "SCMP_ACT_NOTIFY", reason),
        );
    }
    let architectures = architectures(parsed.architectures, parsed.arch_map, &mut report);
    let mut flags = Vec::new();
    for word in parsed.flags.iter().flatten() {
        let flag = named("flag", word, &mut report);
        if flag.is_some_and(|flag| flags.contains(&flag)) {
            report(word, Problem::duplicate("flag", word));
        }
        flags.extend(flag);
    }
    let mut rules = Rules::default();
    for raw in parsed.syscalls.iter().flatten() {
        // The rule is a part of the text.
        let start = raw.get().as_ptr() as usize - text.as_ptr() as usize;
        rule(raw.get(), start, kernel, &mut rules, problems);
    }
    SeccompPolicy {
        default,
        architectures,
        flags,
        listener_path: parsed.listener_path.filter(|path| !path.as_os_str().is_empty()),
        listener_metadata: parsed.listener_metadata.filter(|text| !text.is_empty()),
        rules: rules.all,
    }
}

type Report<'a> = dyn FnMut(&str, Problem) + 'a;

/// A word of the specification.
fn named<'a, T: Deserialize<'a>>(what: &'static str, word: &'a str, report: &mut Report<'_>) -> Option<T> {
    let deserializer: StrDeserializer<'a, ValueError> = word.into_deserializer();
    let value = T::deserialize(deserializer).ok();
    if value.is_none() {
        report(word, Problem::unknown(what, word));
    }
    value
}

fn verdict(action: &str, number: Option<u32>, name: Option<&str>, report: &mut Report<'_>) -> Verdict {
    let word = action;
    // What is unknown has been reported: the policy is not used.
    let action: Action = named("action", word, report).unwrap_or(Action::ScmpActKillProcess);
    let name = name.filter(|name| !name.is_empty());
    let errno = match (number, name.map(|name| (name, names::errno(name)))) {
        (number, None) => number,
        (_, Some((name, None))) => {
            report(name, Problem::unknown("errno", name));
            None
        }
        (Some(number), Some((name, Some(value)))) if number != value => {
            let against = "is not the number that is given beside it";
            report(
                name,
                Problem::Contradiction {
                    what: "errno",
                    name: name.to_owned(),
                    against,
                },
            );
            None
        }
        (_, Some((_, value))) => value,
    };
    let limit = match action {
        Action::ScmpActErrno => Some(MAX_ERRNO),
        Action::ScmpActTrace => Some(u32::from(u16::MAX)),
        _ => None,
    };
    match (errno, limit) {
        (Some(number), None) => {
            let reason = "its action returns no number";
            report(word, Problem::refused("errnoRet", number, reason));
        }
        (Some(number), Some(limit)) if number > limit => {
            report(word, Problem::refused("errnoRet", number, "too large"));
        }
        _ => {}
    }
    Verdict { action, errno }
}

fn architectures(
    list: Option<Vec<String>>,
    map: Option<Vec<ArchText>>,
    report: &mut Report<'_>,
) -> Vec<Arch> {
    let list = list.unwrap_or_default();
    let map = map.unwrap_or_default();
    if !list.is_empty() && !map.is_empty() {
        let against = "and `architectures` say the same thing: give one";
        report(
            "archMap",
            Problem::Contradiction {
                what: "field",
                name: "archMap".to_owned(),
                against,
            },
        );
    }
    let mut found = Vec::new();
    for word in &list {
        let arch: Option<Arch> = named("architecture", word, report);
        if arch.is_some_and(|arch| found.contains(&arch)) {
            report(word, Problem::duplicate("architecture", word));
        }
        found.extend(arch);
    }
    for row in &map {
        let arch: Option<Arch> = named("architecture", &row.architecture, report);
        let others: Vec<Option<Arch>> = row
            .sub_architectures
            .iter()
            .flatten()
            .map(|word| named("architecture", word, report))
            .collect();
        if arch == Some(Arch::ScmpArchX86_64) {
            found.extend(arch.into_iter().chain(others.into_iter().flatten()));
        }
    }
    let here = |arch: &Arch| matches!(arch, Arch::ScmpArchX86_64 | Arch::ScmpArchNative);
    if !(list.is_empty() && map.is_empty() || found.iter().any(here)) {
        report(
            "architectures",
            Problem::Missing("the architecture SCMP_ARCH_X86_64"),
        );
    }
    found
}

/// The rules so far, and which of them name each system call.
struct Rules {
    all: Vec<Rule>,
    by_call: Vec<Vec<usize>>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            by_call: vec![Vec::new(); names::Call::COUNT],
        }
    }
}

/// Reads one, and adds it to those so far unless architecture or kernel rule it out.
fn rule(
    raw: &str,
    start: usize,
    kernel: Option<KernelVersion>,
    rules: &mut Rules,
    problems: &mut Problems<'_>,
) {
    let text: RuleText<'_> = match serde_json::from_str(raw) {
        Ok(text) => text,
        Err(error) => {
            let line = problems.line(start) + error.line().saturating_sub(1);
            problems.at_line(line, Problem::Syntax(message(&error)));
            return;
        }
    };
    let line = problems.line(start);
    let mut report = |word: &str, problem| {
        let offset = raw.find(&format!("\"{word}\"")).unwrap_or(0);
        problems.at(start + offset, problem);
    };
    let verdict = verdict(&text.action, text.errno_ret, text.errno.as_deref(), &mut report);
    let args = arguments(text.args.unwrap_or_default(), &mut report);
    let guard = guard::read(
        text.includes.as_ref(),
        text.excludes.as_ref(),
        kernel,
        &mut report,
    );
    let names = match (text.name, text.names) {
        (Some(name), None) => vec![name],
        (None, Some(names)) => names,
        _ => {
            report("", Problem::Missing("one of `names` and `name`"));
            Vec::new()
        }
    };
    if names.is_empty() {
        report("names", Problem::Missing("a system call in `names`"));
    }
    let calls: Vec<Option<names::Call>> = names.iter().map(|name| names::Call::named(name)).collect();
    for (name, _) in names.iter().zip(&calls).filter(|(_, call)| call.is_none()) {
        report(name, Problem::unknown("system call", &**name));
    }
    let Some(guard) = guard else { return };
    let has_foreign = calls.iter().flatten().any(|call| !call.is_native());
    rules.add(
        Rule {
            names: calls.iter().flatten().map(|call| call.name()).collect(),
            verdict,
            args,
            guard,
            comment: text.comment.unwrap_or_default(),
            line,
            has_foreign,
        },
        &calls,
        &mut report,
    );
}

impl Rules {
    fn add(&mut self, rule: Rule, calls: &[Option<names::Call>], report: &mut Report<'_>) {
        let index = self.all.len();
        self.all.push(rule);
        for call in calls.iter().flatten() {
            self.compare(*call, index, report);
            self.by_call[call.index()].push(index);
        }
    }

    /// A rule for the same call and the same arguments, under capabilities that both rules take, is either
    /// superfluous or contradicts the other.
    fn compare(&self, call: names::Call, index: usize, report: &mut Report<'_>) {
        let name = call.name();
        let rule = &self.all[index];
        let before = self.by_call[call.index()].iter().map(|index| &self.all[*index]);
        let same = before
            .into_iter()
            .find(|other| other.args == rule.args && other.guard.overlaps(&rule.guard));
        match same {
            Some(other) if other.verdict == rule.verdict && other.guard == rule.guard => {
                report(name, Problem::duplicate("rule for system call", name));
            }
            Some(other) if other.verdict != rule.verdict => {
                let against = "has another action in an earlier rule with the same arguments";
                report(
                    name,
                    Problem::Contradiction {
                        what: "system call",
                        name: name.to_owned(),
                        against,
                    },
                );
            }
            _ => {}
        }
    }
}

fn arguments(texts: Vec<ArgText<'_>>, report: &mut Report<'_>) -> Vec<LinuxSeccompArg> {
    let mut args: Vec<LinuxSeccompArg> = Vec::with_capacity(texts.len());
    for text in texts {
        if text.index > 5 {
            let reason = "a system call has the arguments 0 to 5";
            report("index", Problem::refused("argument index", text.index, reason));
        }
        let op: Option<LinuxSeccompOperator> = named("operator", &text.op, report);
        let Some(op) = op else { continue };
        let second = text.value_two.unwrap_or(0);
        let mut arg = LinuxSeccompArgBuilder::default()
            .index(text.index)
            .value(text.value)
            .op(op);
        if op == LinuxSeccompOperator::ScmpCmpMaskedEq {
            // The mask is `value`, what must remain under it `valueTwo`.
            if second & !text.value != 0 {
                let reason = "bits outside the mask in `value`: never equal";
                report("valueTwo", Problem::refused("valueTwo", second, reason));
            }
            arg = arg.value_two(second);
        } else if second != 0 {
            let reason = "only SCMP_CMP_MASKED_EQ has a second value";
            report("valueTwo", Problem::refused("valueTwo", second, reason));
        }
        // All fields are there.
        let Ok(arg) = arg.build() else { continue };
        if args.contains(&arg) {
            report(
                "args",
                Problem::duplicate("condition on argument", text.index.to_string()),
            );
        }
        args.push(arg);
    }
    args
}
