//! What follows from the answers that have come: what the rules have to permit for them, and what the workload hears
//! then, and not before. Pure. `formal/bindings/settle.rs` holds it against `formal/specs/Egress.tla`.

use crate::resolver::address::{self, Admission};
use crate::resolver::answer::Answer;
use crate::resolver::reply::Verdict;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// For how long an address stays in the rules after the workload's time for it is over: from there to its first
/// packet, and so that names with short times do not change the rules each time.
pub const MARGIN: Duration = Duration::from_secs(60);

/// Until when the rules permit the addresses of names.
#[derive(Debug, Clone, Default)]
pub struct Permitted(BTreeMap<IpAddr, Instant>);

impl Permitted {
    /// Until when they permit this one; `None` if they do not.
    pub fn until(&self, address: IpAddr) -> Option<Instant> {
        self.0.get(&address).copied()
    }

    /// Notes a change that was made at `now` or later; forgets what is over.
    pub fn change(&mut self, wanted: &[(IpAddr, Duration)], now: Instant) {
        self.0.retain(|_, until| *until > now);
        self.0
            .extend(wanted.iter().map(|(address, lasts)| (*address, now + *lasts)));
    }
}

/// Answers before anybody hears of them.
#[derive(Debug)]
pub struct Settled {
    /// What the rules have to permit first, in one transaction: each address for so long.
    pub wanted: Vec<(IpAddr, Duration)>,
    judged: Vec<Judged>,
}

#[derive(Debug)]
struct Judged {
    outcome: Outcome,
    /// Something of it is among what is wanted.
    waits: bool,
}

/// What becomes of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What is told. The time in it is never longer than the rules permit the addresses.
    pub verdict: Verdict,
    /// Addresses that are withheld.
    pub filtered: Vec<IpAddr>,
}

/// Judges answers; one that did not come is `None`. `networks` are permitted in any case, `own` are this host's
/// addresses.
pub fn settle(
    answers: &[Option<Answer>],
    networks: &[IpNet],
    own: &[IpAddr],
    permitted: &Permitted,
    now: Instant,
) -> Settled {
    let mut wanted: BTreeMap<IpAddr, Duration> = BTreeMap::new();
    let judge = |answer: &Option<Answer>| {
        let Some(answer) = answer else {
            return Judged {
                outcome: Outcome::failed(),
                waits: false,
            };
        };
        let Admission {
            told,
            admitted,
            filtered,
        } = address::admit(&answer.addresses, networks, own);
        let mut waits = false;
        for address in admitted {
            let until = permitted.until(address);
            if until.is_none_or(|until| until < now + answer.lasts) {
                waits = true;
                let lasts = wanted.entry(address).or_default();
                *lasts = (answer.lasts + MARGIN).max(*lasts);
            }
        }
        let verdict = if !told.is_empty() {
            Verdict::Addresses(told, answer.lasts)
        } else if !filtered.is_empty() {
            Verdict::Filtered
        } else if answer.exists {
            Verdict::Nothing
        } else {
            Verdict::NoSuchName
        };
        Judged {
            outcome: Outcome { verdict, filtered },
            waits,
        }
    };
    let judged = answers.iter().map(judge).collect();
    Settled {
        wanted: wanted.into_iter().collect(),
        judged,
    }
}

impl Settled {
    /// What becomes of each, in their order, once the transaction was made, or was refused. What needs nothing of the
    /// rules is told all the same.
    pub fn told(self, changed: bool) -> Vec<Outcome> {
        let tell = |judged: Judged| match judged {
            Judged { waits: true, .. } if !changed => Outcome::failed(),
            Judged { outcome, .. } => outcome,
        };
        self.judged.into_iter().map(tell).collect()
    }
}

impl Outcome {
    fn failed() -> Self {
        Self {
            verdict: Verdict::Failed,
            filtered: Vec::new(),
        }
    }
}
