//! What the attempts say. Pure, but for looking for programs in `$PATH`.

use super::probes::{ALL, Probe};
use crate::mode::none_of_this_host;
use crate::request::Mode;
use rustix::io::Errno;
use serde::Serialize;
use serde_json::Value;

/// How an attack went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempt {
    /// Whether it began.
    pub tried: bool,
    /// Whether it succeeded.
    pub through: bool,
    /// Standard error.
    pub told: String,
}

/// What was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The protection holds.
    Holds,
    /// The attack got through.
    Broken,
    /// The attack failed, but so did its control.
    Unproven,
    /// The sandbox did not start, or the program is not there.
    Missing,
}

impl Outcome {
    /// The word in the table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Broken => "BROKEN",
            Self::Unproven => "unproven",
            Self::Missing => "missing",
        }
    }
}

/// One line of the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was tried.
    pub name: String,
    /// What was found out.
    pub outcome: Outcome,
    /// More, for a person.
    pub detail: String,
    /// Modes that need it.
    pub needed: Vec<Mode>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// Whether a mode lacks something that it needs.
    pub fn fails(&self, mode: Mode) -> bool {
        self.outcome != Outcome::Holds && self.needed.contains(&mode)
    }
}

/// Whether there are user namespaces. Agent mode goes without one for root, with consent.
pub fn user_namespace(refused: Option<Errno>, root: bool) -> Finding {
    Finding {
        name: "user namespace".into(),
        outcome: match refused {
            None => Outcome::Holds,
            Some(_) => Outcome::Missing,
        },
        detail: refused.map_or_else(|| "this process can make one".into(), none_of_this_host),
        needed: match root {
            true => vec![Mode::StrictAgent, Mode::Production],
            false => ALL.to_vec(),
        },
        remedy: refused.and(root.then(|| {
            "agent mode goes without one with --allow-degraded-security, as the sandboxes of this table did".into()
        })),
    }
}

/// What an attack and its control say together.
pub fn judge(probe: &Probe, attacked: &Attempt, control: &Attempt) -> Finding {
    let (outcome, detail) = match (attacked, control) {
        (
            Attempt {
                tried: false, told, ..
            },
            _,
        ) => (Outcome::Missing, last_line(told)),
        (Attempt { through: true, .. }, _) => (Outcome::Broken, "the attack got through".to_owned()),
        (
            _,
            Attempt {
                through: false, told, ..
            },
        ) => {
            let text = format!("refused, but without the protection as well: {}", last_line(told));
            (Outcome::Unproven, text)
        }
        _ => (
            Outcome::Holds,
            "refused, and let through without the protection".to_owned(),
        ),
    };
    Finding {
        name: probe.name.into(),
        outcome,
        detail,
        needed: match outcome {
            Outcome::Broken if probe.needed.is_empty() => ALL.to_vec(),
            _ => probe.needed.to_vec(),
        },
        remedy: (outcome != Outcome::Holds).then(|| probe.remedy.to_owned()),
    }
}

/// What the launch report says.
pub fn promises(attempt: &Attempt, report: Option<&[u8]>) -> Finding {
    let report: Option<Value> = report.and_then(|bytes| serde_json::from_slice(bytes).ok());
    let all = report.as_ref().and_then(|report| report["promises"].as_array());
    let broken: Vec<&str> = all
        .into_iter()
        .flatten()
        .filter(|promise| promise["kept"] != true)
        .filter_map(|promise| promise["promise"].as_str())
        .collect();
    let count = all.map_or(0, Vec::len);
    let (outcome, detail) = match (attempt.tried, count) {
        (_, 1..) if !broken.is_empty() => (Outcome::Broken, broken.join(", ")),
        (true, 1..) => (
            Outcome::Holds,
            format!("{count} promises were held against the kernel"),
        ),
        _ => (Outcome::Missing, last_line(&attempt.told)),
    };
    Finding {
        name: "launch report".into(),
        outcome,
        detail,
        needed: vec![Mode::Agent, Mode::StrictAgent, Mode::Production],
        remedy: (outcome != Outcome::Holds)
            .then(|| "nucleus run --report FILE tells what was expected and found".into()),
    }
}

/// Whether gVisor runs sandboxes: a kernel that is not this host's answers in them. Without root it cannot.
pub fn gvisor(attempt: &Attempt, root: bool) -> Finding {
    let (outcome, detail) = match attempt {
        Attempt {
            tried: false, told, ..
        } => (Outcome::Missing, last_line(told)),
        Attempt { through: true, .. } => (Outcome::Broken, "this host's kernel answered".into()),
        _ => (Outcome::Holds, "another kernel answers".into()),
    };
    Finding {
        name: "gVisor".into(),
        outcome,
        detail,
        needed: Vec::new(),
        remedy: (outcome != Outcome::Holds).then(|| {
            if root || attempt.told.contains("runsc is not in") {
                "--runtime gvisor needs runsc in $PATH, or named with --runsc".into()
            } else {
                "--runtime gvisor needs root: runsc makes no container for other users with create and start"
                    .into()
            }
        }),
    }
}

/// Whether another runtime is installed.
pub fn engine(name: &str) -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file());
    Finding {
        name: name.into(),
        outcome: if found.is_some() {
            Outcome::Holds
        } else {
            Outcome::Missing
        },
        detail: found.map_or_else(|| "not in $PATH".into(), |path| path.display().to_string()),
        needed: Vec::new(),
        remedy: None,
    }
}

/// Whether a sandbox reaches another one's published port, and so what is beyond this host's firewall. `told` is what
/// `nucleus` said of that firewall.
pub fn forwarding(attempt: &Attempt, told: &str) -> Finding {
    let warning = told
        .lines()
        .find_map(|line| line.strip_prefix("nucleus: warning: "));
    let (outcome, detail) = match attempt {
        Attempt { through: true, .. } => (
            Outcome::Holds,
            "a sandbox reaches another one's published port".to_owned(),
        ),
        Attempt { tried: true, .. } => (
            Outcome::Missing,
            "what a sandbox sends through this host does not arrive".to_owned(),
        ),
        Attempt { told, .. } => (Outcome::Missing, last_line(told)),
    };
    let remedy = warning.unwrap_or("a firewall of this host drops it: nft list ruleset, iptables-save");
    Finding {
        name: "network forwarding".into(),
        outcome,
        detail,
        needed: Vec::new(),
        remedy: (outcome != Outcome::Holds).then(|| remedy.to_owned()),
    }
}

fn last_line(text: &str) -> String {
    text.lines()
        .last()
        .unwrap_or("nothing was told")
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(tried: bool, through: bool) -> Attempt {
        Attempt {
            tried,
            through,
            told: "why".into(),
        }
    }

    #[test]
    fn only_an_attack_that_can_get_through_proves_a_protection() {
        let probe = &super::super::probes::table(&super::super::attempt::Means::new().expect("means"))[0];
        for (attacked, control, expected) in [
            (attempt(true, false), attempt(true, true), Outcome::Holds),
            (attempt(true, true), attempt(true, true), Outcome::Broken),
            (attempt(true, false), attempt(true, false), Outcome::Unproven),
            (attempt(true, false), attempt(false, false), Outcome::Unproven),
            (attempt(false, false), attempt(true, true), Outcome::Missing),
        ] {
            let finding = judge(probe, &attacked, &control);
            assert_eq!(finding.outcome, expected);
            assert_eq!(finding.fails(Mode::Agent), expected != Outcome::Holds);
        }
    }

    #[test]
    fn a_report_that_is_missing_or_breaks_a_promise_is_no_proof() {
        let kept = br#"{"promises":[{"promise":"user","kept":true}]}"#;
        let broken = br#"{"promises":[{"promise":"user","kept":false}]}"#;
        let outcome = |tried, report| promises(&attempt(tried, tried), report).outcome;
        assert_eq!(outcome(true, Some(&kept[..])), Outcome::Holds);
        assert_eq!(outcome(false, Some(&broken[..])), Outcome::Broken);
        assert_eq!(outcome(true, Some(&br#"{"promises":[]}"#[..])), Outcome::Missing);
        assert_eq!(outcome(true, None), Outcome::Missing);
    }
}
