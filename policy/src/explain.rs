//! What the policies say, statement by statement, each with the line that it comes from.

use std::fmt;

use crate::capabilities;
use crate::digest::Digest;
use crate::request::{Kind, Origin};
use crate::seccomp::Rule;
use crate::verified::VerifiedPolicy;

/// One thing that a policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement<'a> {
    /// The kind of policy.
    pub kind: Kind,
    /// Where the policy comes from.
    pub origin: &'a Origin,
    /// The line of the policy, where there is one.
    pub line: Option<usize>,
    /// What it says, in words.
    pub text: String,
    /// Why, where the policy gives a reason.
    pub reason: Option<&'a str>,
}

/// Everything that policies say, in their order. `Display` has a heading a policy and a line a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation<'a> {
    /// The policies: kind, origin, digest of the bytes.
    pub policies: Vec<(Kind, &'a Origin, Digest)>,
    /// What they say.
    pub statements: Vec<Statement<'a>>,
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, origin, digest) in &self.policies {
            writeln!(formatter, "{kind}: {origin}, sha256 {digest}")?;
            for statement in self.statements.iter().filter(|statement| statement.kind == *kind) {
                let line = statement.line.map_or_else(String::new, |line| line.to_string());
                writeln!(formatter, "{line:>6}  {}", statement.text)?;
                if let Some(reason) = statement.reason {
                    writeln!(formatter, "{:>6}  - {reason}", "")?;
                }
            }
        }
        Ok(())
    }
}

impl VerifiedPolicy {
    /// Everything that the policies say, in their order.
    #[must_use]
    pub fn explain(&self) -> Explanation<'_> {
        let mut said = Vec::new();
        self.explain_seccomp(&mut said);
        self.explain_capabilities(&mut said);
        self.explain_landlock(&mut said);
        Explanation {
            policies: self.digests().collect(),
            statements: said,
        }
    }

    fn explain_seccomp<'a>(&'a self, said: &mut Vec<Statement<'a>>) {
        let Some(loaded) = &self.seccomp else { return };
        let mut say = |line, text, reason| {
            said.push(Statement {
                kind: Kind::Seccomp,
                origin: &loaded.origin,
                line,
                text,
                reason,
            });
        };
        let default = loaded.policy.parsed().default;
        say(
            None,
            format!(
                "system calls that no rule names: {}",
                verdict(default.action, default.errno)
            ),
            None,
        );
        for rule in &loaded.policy.parsed().rules {
            let reason = Some(rule.comment.as_str()).filter(|reason| !reason.is_empty());
            say(Some(rule.line), seccomp_rule(rule), reason);
        }
    }

    fn explain_capabilities<'a>(&'a self, said: &mut Vec<Statement<'a>>) {
        let Some(loaded) = &self.capabilities else { return };
        for (name, set) in loaded.policy.sets() {
            let names = capabilities::names(set);
            let text = if names.is_empty() {
                "none".to_owned()
            } else {
                format!("at most {}", names.join(" "))
            };
            let text = format!("{name}: {text}");
            said.push(Statement {
                kind: Kind::Capabilities,
                origin: &loaded.origin,
                line: None,
                text,
                reason: None,
            });
        }
    }

    fn explain_landlock<'a>(&'a self, said: &mut Vec<Statement<'a>>) {
        let Some(loaded) = &self.landlock else { return };
        let policy = &loaded.policy;
        let mut say = |line, text| {
            said.push(Statement {
                kind: Kind::Landlock,
                origin: &loaded.origin,
                line,
                text,
                reason: None,
            });
        };
        for domain in policy.restrict() {
            say(
                None,
                format!("{}: refused unless a rule allows it", domain.word()),
            );
        }
        for scope in policy.scope() {
            say(None, format!("{}: not outside the container", scope.word()));
        }
        if policy.min_abi() > 0 {
            say(
                None,
                format!("the kernel must have Landlock ABI {} or newer", policy.min_abi()),
            );
        }
        for rule in policy.paths() {
            let words: Vec<_> = rule.access.iter().map(|access| access.word()).collect();
            let optional = if rule.optional { " (where there)" } else { "" };
            say(
                Some(rule.line),
                format!("{}: {}{optional}", rule.paths.join(" "), words.join(", ")),
            );
        }
        for rule in policy.tcp() {
            for (what, ports) in [("bind to", &rule.bind), ("connect to", &rule.connect)] {
                if !ports.is_empty() {
                    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
                    say(Some(rule.line), format!("{what} TCP ports {}", ports.join(" ")));
                }
            }
        }
    }
}

fn verdict(action: oci_spec::runtime::LinuxSeccompAction, errno: Option<u32>) -> String {
    let errno = errno.map_or_else(String::new, |number| format!(" {number}"));
    format!("{}{errno}", word(action))
}

/// A word of the specification, as a profile writes it.
fn word(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn seccomp_rule(rule: &Rule) -> String {
    let mut text = format!(
        "{}: {}",
        verdict(rule.verdict.action, rule.verdict.errno),
        rule.names.join(" ")
    );
    for (number, arg) in rule.args.iter().enumerate() {
        let second = arg
            .value_two()
            .map_or_else(String::new, |value| format!(" {value:#x}"));
        let joint = if number == 0 { "where" } else { "and" };
        text += &format!(
            ", {joint} argument {} {} {:#x}{second}",
            arg.index(),
            word(arg.op()),
            arg.value()
        );
    }
    let lists = [("with", &rule.guard.includes), ("without", &rule.guard.excludes)];
    for (joint, list) in lists.into_iter().filter(|row| !row.1.is_empty()) {
        text += &format!(", {joint} {}", capabilities::names_in_order(list).join(" "));
    }
    text
}
