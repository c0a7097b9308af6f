//! What one set of policies allows beyond another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use oci_spec::runtime::{Capabilities, LinuxSeccomp, LinuxSeccompAction};

use crate::capabilities;
use crate::landlock::annotation::Annotation;
use crate::request::Kind;
use crate::verified::VerifiedPolicy;

/// What is different between two policies of a kind that both sides have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What the second allows and the first does not.
    pub wider: Vec<(Kind, String)>,
    /// What the first allows and the second does not.
    pub narrower: Vec<(Kind, String)>,
}

impl fmt::Display for Comparison {
    /// A line a difference: `+` for wider, `-` for narrower.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in Kind::ALL {
            for (sign, side) in [('+', &self.wider), ('-', &self.narrower)] {
                for (_, text) in side.iter().filter(|(of, _)| *of == kind) {
                    writeln!(formatter, "{sign} {kind}: {text}")?;
                }
            }
        }
        Ok(())
    }
}

/// Compares what `new` allows with what `old` allows. Where conditions on arguments differ, so that neither is known
/// to hold the other, it is told as both.
#[must_use]
pub fn compare(old: &VerifiedPolicy, new: &VerifiedPolicy) -> Comparison {
    Comparison {
        wider: beyond(old, new),
        narrower: beyond(new, old),
    }
}

/// What `new` allows and `old` does not.
fn beyond(old: &VerifiedPolicy, new: &VerifiedPolicy) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    if let (Some(_), Some(_)) = (old.seccomp(), new.seccomp()) {
        let texts = seccomp_beyond(&resolved(old), &resolved(new));
        found.extend(texts.into_iter().map(|text| (Kind::Seccomp, text)));
    }
    if let (Some(old), Some(new)) = (old.capabilities(), new.capabilities()) {
        for ((set, had), (_, has)) in old.sets().into_iter().zip(new.sets()) {
            let more: Capabilities = has.difference(had).copied().collect();
            if !more.is_empty() {
                let names = capabilities::names(&more).join(" ");
                found.push((Kind::Capabilities, format!("{set}: {names}")));
            }
        }
    }
    if let (Some(old), Some(new)) = (old.landlock(), new.landlock()) {
        let texts = landlock_beyond(&old.compile(true), &new.compile(true));
        found.extend(texts.into_iter().map(|text| (Kind::Landlock, text)));
    }
    found
}

fn resolved(policy: &VerifiedPolicy) -> Option<LinuxSeccomp> {
    let none = Capabilities::new();
    let sets = policy.capabilities().map(|policy| policy.sets());
    let bounding = sets.and_then(|sets| sets.into_iter().find(|(name, _)| *name == "bounding"));
    let bounding = bounding.map_or(&none, |(_, set)| set);
    Some(policy.seccomp()?.resolve(bounding))
}

/// For which arguments a system call is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reach {
    Never,
    /// If one of these conditions holds.
    Where(BTreeSet<String>),
    /// Unless one of these conditions holds.
    Unless(BTreeSet<String>),
    Always,
}

impl Reach {
    /// Whether everything that this allows is known to be allowed by `other`.
    fn is_in(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Never, _) | (_, Self::Always) => true,
            (Self::Where(this), Self::Where(other)) => this.is_subset(other),
            (Self::Unless(this), Self::Unless(other)) => this.is_superset(other),
            _ => false,
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |conditions: &BTreeSet<String>| conditions.iter().cloned().collect::<Vec<_>>().join(", or ");
        match self {
            Self::Never => formatter.write_str("never"),
            Self::Where(conditions) => write!(formatter, "where {}", list(conditions)),
            Self::Unless(conditions) => write!(formatter, "unless {}", list(conditions)),
            Self::Always => formatter.write_str("always"),
        }
    }
}

/// What a workload gets to do: an agent or a tracer may allow it too.
fn lets(action: LinuxSeccompAction) -> bool {
    matches!(
        action,
        LinuxSeccompAction::ScmpActAllow
            | LinuxSeccompAction::ScmpActLog
            | LinuxSeccompAction::ScmpActNotify
            | LinuxSeccompAction::ScmpActTrace
    )
}

/// By name; the empty name is every system call without a rule.
fn reaches(profile: &LinuxSeccomp) -> BTreeMap<&str, Reach> {
    let open = lets(profile.default_action());
    let default = if open { Reach::Always } else { Reach::Never };
    let mut reaches = BTreeMap::from([("", default.clone())]);
    for rule in profile.syscalls().iter().flatten() {
        let lets = lets(rule.action());
        let conditions: Vec<String> = rule
            .args()
            .iter()
            .flatten()
            .map(|arg| {
                let operator = serde_json::to_string(&arg.op()).unwrap_or_default();
                let second = arg
                    .value_two()
                    .map_or_else(String::new, |value| format!(" {value:#x}"));
                format!(
                    "argument {} {} {:#x}{second}",
                    arg.index(),
                    operator.trim_matches('"'),
                    arg.value()
                )
            })
            .collect();
        let condition = conditions.join(" and ");
        for name in rule.names() {
            let reach = reaches.entry(name.as_str()).or_insert_with(|| default.clone());
            match reach {
                _ if lets == open => {}
                reach if condition.is_empty() => *reach = if lets { Reach::Always } else { Reach::Never },
                Reach::Where(conditions) | Reach::Unless(conditions) => {
                    conditions.insert(condition.clone());
                }
                reach if *reach == default => {
                    let conditions = BTreeSet::from([condition.clone()]);
                    *reach = if lets {
                        Reach::Where(conditions)
                    } else {
                        Reach::Unless(conditions)
                    };
                }
                _ => {}
            }
        }
    }
    reaches
}

fn seccomp_beyond(old: &Option<LinuxSeccomp>, new: &Option<LinuxSeccomp>) -> Vec<String> {
    let (Some(old), Some(new)) = (old, new) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let architectures = |profile: &LinuxSeccomp| -> BTreeSet<String> {
        let all = profile.architectures().iter().flatten();
        all.filter_map(|architecture| serde_json::to_string(architecture).ok())
            .collect()
    };
    for more in architectures(new).difference(&architectures(old)) {
        found.push(format!("calls of the architecture {}", more.trim_matches('"')));
    }
    let (before, after) = (reaches(old), reaches(new));
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    for name in names {
        let of = |reaches: &BTreeMap<&str, Reach>| {
            let found = reaches.get(name).or_else(|| reaches.get(""));
            found.cloned().unwrap_or(Reach::Never)
        };
        let (had, has) = (of(&before), of(&after));
        if !has.is_in(&had) {
            let name = if name.is_empty() {
                "system calls that no rule names"
            } else {
                name
            };
            found.push(format!("{name}: {has} (in the other: {had})"));
        }
    }
    found
}

fn landlock_beyond(old: &Annotation, new: &Annotation) -> Vec<String> {
    let mut found = Vec::new();
    let rights = |annotation: &Annotation| -> BTreeSet<String> {
        annotation.ruleset.handled_access_fs.iter().cloned().collect()
    };
    let all: BTreeSet<String> = rights(old).union(&rights(new)).cloned().collect();
    let places = new.rules.path_beneath.iter().flat_map(|rule| &rule.paths);
    let places: BTreeSet<&str> = places.map(String::as_str).chain(["/"]).collect();
    for place in places {
        let more: Vec<&str> = all
            .iter()
            .filter(|right| may(new, place, right) && !may(old, place, right))
            .map(String::as_str)
            .collect();
        if !more.is_empty() {
            found.push(format!("{place}: {}", more.join(", ")));
        }
    }
    for right in ["bind_tcp", "connect_tcp"] {
        let more = match (ports(old, right), ports(new, right)) {
            (None, _) => continue,
            (Some(_), None) => "any port".to_owned(),
            (Some(old), Some(new)) => {
                let more: Vec<String> = new.difference(&old).map(u16::to_string).collect();
                if more.is_empty() {
                    continue;
                }
                more.join(" ")
            }
        };
        found.push(format!("{right}: {more}"));
    }
    for scope in &old.ruleset.scoped {
        if !new.ruleset.scoped.contains(scope) {
            found.push(format!("{scope}: outside the container too"));
        }
    }
    if new.min_abi < old.min_abi {
        found.push(format!(
            "kernels with Landlock ABI {} (the other needs {})",
            new.min_abi, old.min_abi
        ));
    }
    found
}

/// Whether the right is there at a path: it is not restricted, or a rule gives it there or above.
fn may(annotation: &Annotation, path: &str, right: &str) -> bool {
    let handled = annotation
        .ruleset
        .handled_access_fs
        .iter()
        .any(|handled| handled == right);
    !handled
        || annotation.rules.path_beneath.iter().any(|rule| {
            rule.allowed_access.iter().any(|allowed| allowed == right)
                && rule
                    .paths
                    .iter()
                    .any(|above| std::path::Path::new(path).starts_with(above))
        })
}

/// The ports of a right; `None` if it is not restricted.
fn ports(annotation: &Annotation, right: &str) -> Option<BTreeSet<u16>> {
    let handled = &annotation.ruleset.handled_access_net;
    handled.iter().any(|handled| handled == right).then(|| {
        let rules = annotation.rules.net_port.iter();
        rules
            .filter(|rule| rule.allowed_access.iter().any(|allowed| allowed == right))
            .flat_map(|rule| rule.ports.iter().copied())
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Choice, Request};

    fn load(kind: Kind, name: &str) -> VerifiedPolicy {
        let choice = Some(Choice::named(kind, name));
        let mut request = Request::default();
        match kind {
            Kind::Seccomp => request.seccomp = choice,
            Kind::Capabilities => request.capabilities = choice,
            Kind::Landlock => request.landlock = choice,
        }
        crate::load(&request).expect("a policy")
    }

    fn written(kind: Kind, text: &str) -> VerifiedPolicy {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("policy");
        std::fs::write(&path, text).expect("write");
        load(kind, path.to_str().expect("UTF-8"))
    }

    #[test]
    fn a_policy_is_neither_wider_nor_narrower_than_itself() {
        for (kind, name) in [
            (Kind::Seccomp, "default"),
            (Kind::Capabilities, "none"),
            (Kind::Landlock, "agent"),
        ] {
            let policy = load(kind, name);
            assert_eq!(compare(&policy, &policy), Comparison::default());
        }
    }

    #[test]
    fn landlock_with_tcp_is_wider_than_without() {
        let found = compare(
            &load(Kind::Landlock, "agent"),
            &load(Kind::Landlock, "agent-network"),
        );
        assert!(
            found.wider.iter().any(|(_, text)| text.contains("connect_tcp")),
            "{found:?}"
        );
        assert!(found.narrower.is_empty(), "{found:?}");
    }

    #[test]
    fn capabilities_are_compared_by_set() {
        let found = compare(
            &written(Kind::Capabilities, "keep = [\"CAP_KILL\"]\n"),
            &written(Kind::Capabilities, "keep = [\"CAP_CHOWN\"]\n"),
        );
        assert!(
            found
                .wider
                .contains(&(Kind::Capabilities, "bounding: CAP_CHOWN".into())),
            "{found:?}"
        );
        assert!(
            found
                .narrower
                .contains(&(Kind::Capabilities, "bounding: CAP_KILL".into())),
            "{found:?}"
        );
    }

    #[test]
    fn seccomp_conditions_are_told() {
        let profile = |rules: &str| {
            written(
                Kind::Seccomp,
                &format!("{{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"syscalls\": [{rules}]}}"),
            )
        };
        let read = r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW"}"#;
        let one = r#"{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}"#;
        let two = r#"{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}"#;
        let found = compare(&profile(read), &profile(&format!("{read}, {one}")));
        assert_eq!(
            found.to_string(),
            "+ seccomp: socket: where argument 0 SCMP_CMP_EQ 0x1 (in the other: never)\n"
        );
        // Neither holds the other.
        let found = compare(&profile(one), &profile(two));
        assert_eq!((found.wider.len(), found.narrower.len()), (1, 1));
        let open = written(
            Kind::Seccomp,
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL_PROCESS"}]}"#,
        );
        let found = compare(&profile(read), &open);
        assert!(
            found
                .wider
                .iter()
                .any(|(_, text)| text.starts_with("system calls that no rule names")),
            "{found:?}"
        );
        assert_eq!(found.narrower.len(), 1, "{found:?}");
    }

    #[test]
    fn landlock_paths_below_a_rule_are_covered_by_it() {
        let old = "restrict = [\"files\"]\n[[path]]\npaths = [\"/usr\"]\naccess = [\"read\"]\n";
        let new =
            "restrict = [\"files\"]\n[[path]]\npaths = [\"/usr/bin\"]\naccess = [\"read\", \"write\"]\n";
        let found = compare(&written(Kind::Landlock, old), &written(Kind::Landlock, new));
        assert!(
            found
                .wider
                .iter()
                .all(|(_, text)| text.starts_with("/usr/bin: ") && !text.contains("read")),
            "{found:?}"
        );
        assert!(
            found
                .narrower
                .iter()
                .any(|(_, text)| text.starts_with("/usr: read")),
            "{found:?}"
        );
    }
}
