//! One container's trace against the three specs at once.

use super::handshake::{Exchange, wanted};
use super::hold::only_as_it_is;
use super::isolation::Isolated;
use super::lifecycle::{ASKED, Life};
use super::seen::Seen;
use nucleus_formal::graph::{Graph, shared, shared_with};
use serde_json::{Value, json};

/// What a first process without anything special is asked for.
pub fn plan() -> Value {
    json!({"enters": false, "userns": false, "nnp": false, "landlock": false, "filter": "none", "terminal": false,
        "hooks": false, "traced": false})
}

pub fn lifecycle() -> &'static Graph {
    shared_with("Lifecycle", &[("Commands", &["c1"]), ("Asked", &ASKED)])
}

/// Whether nothing is left.
pub fn gone(state: &Value) -> bool {
    state["dir"] == "none" && state["cgroup"] == false && state["proc"] == "none"
}

/// A container, as each spec sees it.
pub struct Subject {
    pub exchange: Exchange,
    pub isolated: Isolated,
    pub life: Life,
}

impl Subject {
    /// One that the first command makes.
    pub fn of(creator: &'static str) -> Self {
        Self {
            exchange: Exchange {
                wanted: wanted(creator, false, false),
                maker: 0,
                starter: None,
            },
            isolated: Isolated {
                plan: plan(),
                maker: 0,
                waits: creator == "create",
            },
            life: Life { asked: vec![creator] },
        }
    }

    /// Sets what is asked for, wherever a spec knows it.
    pub fn asks(&mut self, what: &[&str], is: bool) {
        for part in [&mut self.exchange.wanted, &mut self.isolated.plan] {
            let part = part.as_object_mut().expect("an object");
            for what in what {
                part.entry(*what).and_modify(|value| *value = json!(is));
            }
        }
    }

    /// Each spec allows its part of the trace and refuses every changed one; the caller was answered so and the process
    /// has ended so. In the end nothing is left.
    pub fn holds(&self, seen: &[Seen], answer: &str, fate: &str) {
        self.exchanges(seen, answer);
        self.isolates(seen, fate);
        self.lives(seen);
    }

    /// A further process, which a command makes.
    pub fn enters(&mut self, maker: usize) {
        self.exchange.maker = maker;
        self.isolated.maker = maker;
        self.isolated.plan["enters"] = json!(true);
    }

    /// The spec Handshake, whatever the caller was answered.
    pub fn exchanges_somehow(&self, seen: &[Seen]) {
        only_as_it_is(&self.exchange.of(seen), |trace| {
            !self.exchange.answers(shared("Handshake"), trace).is_empty()
        });
    }

    /// The spec Isolation, however the process has ended.
    pub fn isolates_somehow(&self, seen: &[Seen]) {
        only_as_it_is(&self.isolated.of(seen), |trace| {
            !self.isolated.fates(shared("Isolation"), trace).is_empty()
        });
    }

    /// The spec Handshake alone.
    pub fn exchanges(&self, seen: &[Seen], answer: &str) {
        only_as_it_is(&self.exchange.of(seen), |trace| {
            self.exchange
                .answers(shared("Handshake"), trace)
                .contains(&answer)
        });
    }

    /// The spec Isolation alone.
    pub fn isolates(&self, seen: &[Seen], fate: &str) {
        only_as_it_is(&self.isolated.of(seen), |trace| {
            self.isolated.fates(shared("Isolation"), trace).contains(&fate)
        });
    }

    /// The spec Lifecycle alone.
    pub fn lives(&self, seen: &[Seen]) {
        only_as_it_is(&self.life.of(seen), |trace| {
            self.life.ends(lifecycle(), trace).into_iter().any(gone)
        });
    }
}
