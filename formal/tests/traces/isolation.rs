//! The steps of a process that isolates itself, and the death of its runtime, against the spec Isolation.

use super::hold::{Event, either, ends, is_whole, one_of, rests};
use super::seen::{Seen, What, Who};
use nucleus_formal::graph::{Graph, text};
use nucleus_formal::trace::Step;
use serde_json::Value;

/// A process that a command makes.
#[derive(Debug, Clone)]
pub struct Isolated {
    /// What is asked for, as the spec has it.
    pub plan: Value,
    pub maker: usize,
    /// It waits for the byte of `start`.
    pub waits: bool,
}

/// Steps that no call of their own tells: paths to hide that are not there, and the look for a home.
const HIDDEN: [&str; 2] = ["Hide", "Home"];

impl Isolated {
    /// What of a trace belongs to it.
    pub fn of(&self, seen: &[Seen]) -> Vec<Seen> {
        let belongs = |seen: &&Seen| match (seen.who, &seen.what) {
            (Who::Child(number), what) if number == self.maker => match what {
                What::Said(said) => *said == "ready",
                What::Heard(heard) => *heard == "hooks done" || *heard == "start" && !self.waits,
                What::Told => false,
                _ => true,
            },
            (Who::Command(number), what) if number == self.maker => {
                matches!(what, What::Spawn | What::Exited(_) | What::Killed)
            }
            _ => false,
        };
        seen.iter().filter(belongs).cloned().collect()
    }

    /// How the process has ended, where the spec allows this trace.
    pub fn fates<'a>(&self, graph: &'a Graph, trace: &[Seen]) -> Vec<&'a str> {
        let events: Option<Vec<Event>> = trace.iter().map(event).collect();
        let Some(events) = events.filter(|_| is_whole(trace, Some(self.maker))) else {
            return Vec::new();
        };
        let starts = |state: &Value| state["plan"] == self.plan;
        let hidden = |step: Step<'_>| HIDDEN.contains(&step.action);
        let ends = ends(graph, starts, &events, hidden);
        ends.into_iter().map(|state| text(&state["fate"])).collect()
    }
}

fn event(seen: &Seen) -> Option<Event> {
    Some(match (seen.who, &seen.what) {
        (Who::Command(_), What::Spawn) => one_of(&["Clone"]),
        (Who::Command(_), What::Killed) => either(
            one_of(&["RuntimeDies", "RuntimeDiesFirst"]),
            rests(|state| state["fate"] != "works"),
        ),
        (Who::Command(_), What::Exited(_)) => rests(|_| true),
        (_, What::Heard("hooks done")) => one_of(&["RuntimeHooks"]),
        (_, What::Step("Hooks")) => one_of(&["ContainerHooks", "StartHooks"]),
        (_, What::Step(step)) => {
            let step = *step;
            Box::new(move |made: Step<'_>| made.action == step)
        }
        (_, What::Said("ready")) => one_of(&["Ready"]),
        (_, What::Heard("start") | What::ReadByte) => one_of(&["AwaitStart"]),
        (_, What::Exec) => one_of(&["Exec"]),
        // Who fails says so.
        (_, What::Exited(0)) => rests(|state| state["fate"] == "program"),
        (_, What::Exited(_) | What::Killed) => either(
            one_of(&["Fail", "Deserted"]),
            rests(|state| matches!(text(&state["fate"]), "program" | "failed")),
        ),
        _ => return None,
    })
}
