//! Landlock policies: TOML that says what a container may open, run, connect to and signal, and its
//! compilation to the annotation that a runtime enforces (landlock(7)).

mod access;
pub mod annotation;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Deserialize;
use toml::Spanned;

pub use access::{Access, Domain, Scope};
use access::{FILE_RIGHTS, TCP_RIGHTS};
use annotation::{Annotation, NetPort, PathBeneath, Rules, Ruleset};

use crate::fault::{Found, Problem, Problems};
use crate::toml_text::list;

/// The newest ABI that this library knows the rights of (Linux 6.15).
const NEWEST_ABI: u32 = 7;

/// What is refused, and what is allowed nevertheless.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LandlockPolicy {
    pub(crate) min_abi: u32,
    pub(crate) restrict: BTreeSet<Domain>,
    pub(crate) scope: BTreeSet<Scope>,
    pub(crate) paths: Vec<PathRule>,
    pub(crate) tcp: Vec<TcpRule>,
}

/// Access below some paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRule {
    /// Absolute paths inside the container.
    pub paths: Vec<String>,
    /// What is allowed there.
    pub access: BTreeSet<Access>,
    /// Whether a path may be missing.
    pub optional: bool,
    /// The line of the policy that says so.
    pub line: usize,
}

/// TCP ports that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpRule {
    /// Ports for bind(2); 0 is any port that the kernel picks.
    pub bind: Vec<u16>,
    /// Ports for connect(2).
    pub connect: Vec<u16>,
    /// The line of the policy that says so.
    pub line: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    min_abi: Option<Spanned<u32>>,
    restrict: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    scope: Vec<Spanned<String>>,
    #[serde(default)]
    path: Vec<Spanned<PathText>>,
    #[serde(default)]
    tcp: Vec<Spanned<TcpText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PathText {
    paths: Spanned<Vec<Spanned<String>>>,
    access: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    optional: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TcpText {
    #[serde(default)]
    bind: Vec<Spanned<u16>>,
    #[serde(default)]
    connect: Vec<Spanned<u16>>,
}

impl LandlockPolicy {
    /// Parses the TOML form; see the crate's README.
    ///
    /// # Errors
    /// Everything that is wrong, with its line.
    pub(crate) fn parse(text: &str) -> Result<Self, Found> {
        let mut problems = Problems::of(text);
        let policy = problems
            .toml::<Text>()
            .map(|text| Self::check(text, &mut problems));
        problems.or(policy)
    }

    fn check(text: Text, problems: &mut Problems<'_>) -> Self {
        let min_abi = text.min_abi.as_ref().map_or(0, |abi| {
            if *abi.get_ref() > NEWEST_ABI {
                let reason = "no Landlock ABI above 7 is known";
                problems.at(
                    abi.span().start,
                    Problem::refused("min_abi", abi.get_ref(), reason),
                );
            }
            *abi.get_ref()
        });
        let restrict = match &text.restrict {
            Some(words) => words_of(words, "domain", Domain::named, problems),
            None => BTreeSet::from([Domain::Files, Domain::Tcp]),
        };
        let scope = words_of(&text.scope, "scope", Scope::named, problems);
        let policy = Self {
            min_abi,
            scope,
            paths: path_rules(&text.path, problems),
            tcp: tcp_rules(&text.tcp, problems),
            restrict,
        };
        policy.check_restricted(&text, problems);
        policy
    }

    /// A rule for something that is not restricted would read as a restriction and be none.
    fn check_restricted(&self, text: &Text, problems: &mut Problems<'_>) {
        let against = "has rules but is not in `restrict`";
        let mut check = |domain: Domain, first: Option<usize>| {
            if let Some(offset) = first.filter(|_| !self.restrict.contains(&domain)) {
                let problem = Problem::Contradiction {
                    what: "domain",
                    name: domain.word().to_owned(),
                    against,
                };
                problems.at(offset, problem);
            }
        };
        check(Domain::Files, text.path.first().map(|rule| rule.span().start));
        check(Domain::Tcp, text.tcp.first().map(|rule| rule.span().start));
        if self.restrict.is_empty() && self.scope.is_empty() {
            problems.somewhere(Problem::Missing("anything to restrict"));
        }
    }

    /// The annotation that enforces this policy. `strict`: the start fails where the kernel cannot.
    #[must_use]
    pub fn compile(&self, strict: bool) -> Annotation {
        let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let handled = |domain, names: &[&str]| {
            if self.restrict.contains(&domain) {
                strings(names)
            } else {
                Vec::new()
            }
        };
        Annotation {
            ruleset: Ruleset {
                handled_access_fs: handled(Domain::Files, &FILE_RIGHTS),
                handled_access_net: handled(Domain::Tcp, &TCP_RIGHTS),
                scoped: self
                    .scope
                    .iter()
                    .map(|scope| scope.kernel_name().to_owned())
                    .collect(),
            },
            rules: Rules {
                path_beneath: self.paths.iter().map(path_beneath).collect(),
                net_port: self.tcp.iter().flat_map(net_ports).collect(),
            },
            min_abi: self.min_abi,
            disable_best_effort: strict,
        }
    }

    /// The rules for paths, in the policy's order.
    #[must_use]
    pub fn paths(&self) -> &[PathRule] {
        &self.paths
    }

    /// The rules for TCP ports, in the policy's order.
    #[must_use]
    pub fn tcp(&self) -> &[TcpRule] {
        &self.tcp
    }

    /// What is refused unless a rule allows it.
    #[must_use]
    pub fn restrict(&self) -> &BTreeSet<Domain> {
        &self.restrict
    }

    /// What cannot be reached outside the container's Landlock domain.
    #[must_use]
    pub fn scope(&self) -> &BTreeSet<Scope> {
        &self.scope
    }

    /// The least Landlock ABI of the kernel; 0 for any.
    #[must_use]
    pub fn min_abi(&self) -> u32 {
        self.min_abi
    }

    /// The TOML form; [`crate::load`] reads it back as an equal policy, but for the lines.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "min_abi = {}", self.min_abi);
        let _ = writeln!(
            text,
            "restrict = {}",
            list(self.restrict.iter().map(|domain| domain.word()))
        );
        let _ = writeln!(
            text,
            "scope = {}",
            list(self.scope.iter().map(|scope| scope.word()))
        );
        for rule in &self.paths {
            let _ = writeln!(
                text,
                "\n[[path]]\npaths = {}",
                list(rule.paths.iter().map(String::as_str))
            );
            let _ = writeln!(
                text,
                "access = {}",
                list(rule.access.iter().map(|access| access.word()))
            );
            if rule.optional {
                text.push_str("optional = true\n");
            }
        }
        for rule in &self.tcp {
            let _ = writeln!(
                text,
                "\n[[tcp]]\nbind = {:?}\nconnect = {:?}",
                rule.bind, rule.connect
            );
        }
        text
    }
}

fn words_of<T: Ord>(
    words: &[Spanned<String>],
    what: &'static str,
    named: fn(&str) -> Option<T>,
    problems: &mut Problems<'_>,
) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    for word in words {
        match named(word.get_ref()) {
            None => problems.at(word.span().start, Problem::unknown(what, word.get_ref())),
            Some(value) => {
                if !set.insert(value) {
                    problems.at(word.span().start, Problem::duplicate(what, word.get_ref()));
                }
            }
        }
    }
    set
}

fn path_rules(rules: &[Spanned<PathText>], problems: &mut Problems<'_>) -> Vec<PathRule> {
    let mut seen = BTreeSet::new();
    let mut checked = Vec::with_capacity(rules.len());
    for rule in rules {
        let PathText {
            paths,
            access,
            optional,
        } = rule.get_ref();
        for path in paths.get_ref() {
            if let Some(reason) = unfit(path.get_ref()) {
                let problem = Problem::refused("path", format!("{:?}", path.get_ref()), reason);
                problems.at(path.span().start, problem);
            } else if !seen.insert(path.get_ref().clone()) {
                problems.at(path.span().start, Problem::duplicate("path", path.get_ref()));
            }
        }
        if paths.get_ref().is_empty() {
            problems.at(paths.span().start, Problem::Missing("a path in `paths`"));
        }
        if access.get_ref().is_empty() {
            problems.at(access.span().start, Problem::Missing("a word in `access`"));
        }
        checked.push(PathRule {
            paths: paths
                .get_ref()
                .iter()
                .map(|path| path.get_ref().clone())
                .collect(),
            access: words_of(access.get_ref(), "access", Access::named, problems),
            optional: *optional,
            line: problems.line(rule.span().start),
        });
    }
    checked
}

/// Why a path cannot be taken as written. One spelling a path, so that no rule is there twice unseen.
fn unfit(path: &str) -> Option<&'static str> {
    if path.contains(char::is_control) {
        Some("control characters are not allowed")
    } else if !path.starts_with('/') {
        Some("not absolute")
    } else if path != "/" && path[1..].split('/').any(|part| matches!(part, "" | "." | "..")) {
        Some("write it without `.`, `..`, `//` and a `/` at the end")
    } else {
        None
    }
}

fn tcp_rules(rules: &[Spanned<TcpText>], problems: &mut Problems<'_>) -> Vec<TcpRule> {
    let (mut bound, mut connected) = (BTreeSet::new(), BTreeSet::new());
    let mut ports = |list: &[Spanned<u16>], seen: &mut BTreeSet<u16>, what| {
        for port in list.iter().filter(|port| !seen.insert(*port.get_ref())) {
            problems.at(
                port.span().start,
                Problem::duplicate(what, port.get_ref().to_string()),
            );
        }
        list.iter().map(|port| *port.get_ref()).collect::<Vec<_>>()
    };
    let mut checked = Vec::with_capacity(rules.len());
    for rule in rules {
        let bind = ports(&rule.get_ref().bind, &mut bound, "port to bind");
        let connect = ports(&rule.get_ref().connect, &mut connected, "port to connect to");
        checked.push((rule.span().start, bind, connect));
    }
    checked
        .into_iter()
        .map(|(start, bind, connect)| {
            if bind.is_empty() && connect.is_empty() {
                problems.at(start, Problem::Missing("a port in `bind` or `connect`"));
            }
            TcpRule {
                bind,
                connect,
                line: problems.line(start),
            }
        })
        .collect()
}

fn path_beneath(rule: &PathRule) -> PathBeneath {
    let allowed: BTreeSet<&str> = rule
        .access
        .iter()
        .flat_map(|access| access.rights().iter().copied())
        .collect();
    PathBeneath {
        allowed_access: FILE_RIGHTS
            .iter()
            .filter(|right| allowed.contains(**right))
            .map(|right| (*right).to_owned())
            .collect(),
        paths: rule.paths.clone(),
        optional: rule.optional,
    }
}

fn net_ports(rule: &TcpRule) -> impl Iterator<Item = NetPort> {
    [("bind_tcp", &rule.bind), ("connect_tcp", &rule.connect)]
        .into_iter()
        .filter(|(_, ports)| !ports.is_empty())
        .map(|(right, ports)| NetPort {
            allowed_access: vec![right.to_owned()],
            ports: ports.clone(),
        })
}
