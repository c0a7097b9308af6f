//! One rule of a profile.

use oci_spec::runtime::{
    LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator as Operator, LinuxSyscall,
};

use super::Conditions;
use super::form::{Argument, Filter, RuleText, offset, read};
use super::names;
use crate::capabilities;
use crate::fault::{Problem, Problems};
use crate::request::KernelVersion;

/// The largest errno(3) that the kernel gives back as such (`MAX_ERRNO`).
const MAX_ERRNO: u32 = 4095;

/// A rule that is well formed.
pub(super) struct Rule {
    /// Calls, and the lines that they are on.
    pub(super) names: Vec<(String, usize)>,
    pub(super) action: Action,
    pub(super) errno: Option<u32>,
    args: Vec<LinuxSeccompArg>,
    arguments: String,
    pub(super) comment: Option<String>,
    /// The conditions as text, to compare them.
    pub(super) conditions: String,
    /// Whether they hold.
    pub(super) in_force: bool,
}

impl Rule {
    pub(super) fn to_oci(&self, names: Vec<String>) -> LinuxSyscall {
        let mut syscall = LinuxSyscall::default();
        syscall.set_names(names);
        syscall.set_action(self.action);
        syscall.set_errno_ret(self.errno);
        syscall.set_args((!self.args.is_empty()).then(|| self.args.clone()));
        syscall
    }

    /// The argument conditions in one order, to compare them.
    pub(super) fn arguments_key(&self) -> &str {
        &self.arguments
    }
}

pub(super) fn parse(
    text: &str,
    part: &str,
    conditions: &Conditions,
    problems: &mut Problems<'_>,
) -> Option<Rule> {
    let rule: RuleText<'_> = read(text, part, problems)?;
    let line = problems.line(offset(text, part));
    let names = calls(text, &rule, line, problems);
    let errno = errno(rule.action, rule.errno_ret, rule.errno.as_deref(), ("errnoRet", "errno"));
    let errno = errno.unwrap_or_else(|problem| {
        problems.at_line(line, problem);
        None
    });
    if rule.action == Action::ScmpActNotify && names.iter().any(|(name, _)| name == "write") {
        let reason = "the runtime could not send the listener's descriptor";
        problems.at_line(line, Problem::refused("action", "SCMP_ACT_NOTIFY for `write`", reason));
    }
    let args = arguments(text, &rule, problems);
    let mut sorted = args.clone();
    sorted.sort_by_key(LinuxSeccompArg::index);
    let includes = holds(rule.includes.as_ref(), conditions, line, problems);
    let excludes = holds(rule.excludes.as_ref(), conditions, line, problems);
    Some(Rule {
        names,
        action: rule.action,
        errno,
        args,
        arguments: format!("{sorted:?}"),
        comment: rule.comment.filter(|comment| !comment.is_empty()),
        conditions: format!("{}{}", key(rule.includes.as_ref()), key(rule.excludes.as_ref())),
        in_force: includes.all && !excludes.any,
    })
}

fn calls(text: &str, rule: &RuleText<'_>, line: usize, problems: &mut Problems<'_>) -> Vec<(String, usize)> {
    let raw: Vec<_> = rule.names.iter().flatten().chain(&rule.name).map(|raw| raw.get()).collect();
    if rule.names.is_some() && rule.name.is_some() {
        let against = "says the same as `names`: give one of the two";
        problems.at_line(line, Problem::Contradiction { what: "field", name: "name".to_owned(), against });
    }
    if raw.is_empty() {
        problems.at_line(line, Problem::Missing("a system call in `names`"));
    }
    let mut calls = Vec::with_capacity(raw.len());
    for raw in raw {
        let Some(name) = read::<String>(text, raw, problems) else { continue };
        let line = problems.line(offset(text, raw));
        if !names::is_call(&name) {
            problems.at_line(line, Problem::unknown("system call", &name));
        }
        calls.push((name, line));
    }
    calls
}

/// The number that an action comes with, from either way to write it.
pub(super) fn errno(
    action: Action,
    number: Option<u32>,
    name: Option<&str>,
    fields: (&'static str, &'static str),
) -> Result<Option<u32>, Problem> {
    let named = match name {
        // An empty name is what Docker's tools write for none.
        None | Some("") => None,
        Some(name) => Some(names::errno(name).ok_or_else(|| Problem::unknown("error", name))?),
    };
    if number.zip(named).is_some_and(|(number, named)| number != named) {
        let name = name.unwrap_or_default().to_owned();
        return Err(Problem::Contradiction { what: "error", name, against: "is not the number beside it" });
    }
    let Some(value) = number.or(named) else { return Ok(None) };
    match action {
        Action::ScmpActErrno if value > MAX_ERRNO => {
            Err(Problem::refused(fields.0, value, "no errno is above 4095"))
        }
        Action::ScmpActTrace if value > u32::from(u16::MAX) => {
            Err(Problem::refused(fields.0, value, "only 16 bits reach the tracer"))
        }
        Action::ScmpActErrno | Action::ScmpActTrace => Ok(Some(value)),
        _ => Err(Problem::refused(fields.0, value, "only SCMP_ACT_ERRNO and SCMP_ACT_TRACE have one")),
    }
}

fn arguments(text: &str, rule: &RuleText<'_>, problems: &mut Problems<'_>) -> Vec<LinuxSeccompArg> {
    let mut args: Vec<LinuxSeccompArg> = Vec::new();
    for raw in rule.args.iter().flatten().map(|raw| raw.get()) {
        let Some(argument) = read::<Argument>(text, raw, problems) else { continue };
        let at = offset(text, raw);
        let masked = argument.op == Operator::ScmpCmpMaskedEq;
        if argument.index > 5 {
            problems.at(at, Problem::refused("index", argument.index, "a system call has arguments 0 to 5"));
        }
        if args.iter().any(|other| other.index() as u64 == argument.index) {
            let reason = "two conditions on one argument: some runtimes take either, some both";
            problems.at(at, Problem::refused("index", argument.index, reason));
        }
        if !masked && argument.value_two != 0 {
            let reason = "only SCMP_CMP_MASKED_EQ has two values";
            problems.at(at, Problem::refused("valueTwo", argument.value_two, reason));
        }
        if masked && argument.value_two & !argument.value != 0 {
            let reason = "has bits outside the mask in `value`, so that nothing can match";
            problems.at(at, Problem::refused("valueTwo", argument.value_two, reason));
        }
        let mut arg = LinuxSeccompArg::default();
        arg.set_index(usize::try_from(argument.index).unwrap_or(usize::MAX));
        arg.set_value(argument.value);
        arg.set_value_two(masked.then_some(argument.value_two));
        arg.set_op(argument.op);
        args.push(arg);
    }
    args
}

/// Whether every condition of a filter holds, and whether one does.
struct Holds {
    all: bool,
    any: bool,
}

/// As Docker decides: `includes` wants all capabilities, one of the architectures and the kernel;
/// `excludes` is met by any of them.
fn holds(filter: Option<&Filter>, given: &Conditions, line: usize, problems: &mut Problems<'_>) -> Holds {
    let mut holds = Holds { all: true, any: false };
    let Some(filter) = filter else { return holds };
    let mut found = |met: bool| {
        holds.all &= met;
        holds.any |= met;
    };
    for name in filter.caps.iter().flatten() {
        match capabilities::named(name) {
            None => problems.at_line(line, Problem::unknown("capability", name)),
            Some(capability) => found(given.capabilities.contains(&capability)),
        }
    }
    let arches = filter.arches.as_deref().unwrap_or_default();
    for arch in arches.iter().filter(|arch| !ARCHES.contains(&arch.as_str())) {
        problems.at_line(line, Problem::unknown("architecture", arch));
    }
    if !arches.is_empty() {
        found(arches.iter().any(|arch| arch == "amd64"));
    }
    if let Some(least) = &filter.min_kernel {
        match (least.parse::<KernelVersion>(), given.kernel) {
            (Err(_), _) => problems.at_line(line, Problem::unknown("kernel version", least)),
            (Ok(_), None) => {
                let reason = "the version of the kernel to run on was not given";
                problems.at_line(line, Problem::refused("minKernel", least, reason));
            }
            (Ok(least), Some(kernel)) => found(kernel >= least),
        }
    }
    holds
}

/// Docker's names of architectures.
const ARCHES: [&str; 24] = [
    "386", "amd64", "arm", "arm64", "loong64", "m68k", "mips", "mips64", "mips64n32", "mipsel", "mipsel64",
    "mipsel64n32", "parisc", "parisc64", "ppc", "ppc64", "ppc64le", "riscv64", "s390", "s390x", "sh", "sheb",
    "x32", "x86",
];

fn key(filter: Option<&Filter>) -> String {
    filter.map_or_else(String::new, |filter| {
        format!("{:?}{:?}{:?};", filter.caps, filter.arches, filter.min_kernel)
    })
}
