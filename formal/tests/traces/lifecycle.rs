//! What commands change on disk and in the kernel against the spec Lifecycle, and how the first process goes on and
//! ends.

use super::hold::{Event, either, ends, is_whole, one_of, rests, when};
use super::seen::{Seen, What, Who, is_end};
use nucleus_formal::graph::Graph;
use nucleus_formal::trace::Step;
use serde_json::Value;

/// All that a command may be asked for.
pub const ASKED: [&str; 7] = ["create", "run", "start", "kill", "delete", "force", "exec"];

/// The life of one container.
#[derive(Debug, Clone)]
pub struct Life {
    /// What each command was asked for.
    pub asked: Vec<&'static str>,
}

/// Decisions within a command, and acts that find nothing to do.
fn is_hidden(step: Step<'_>) -> bool {
    match step.action {
        "Fail" => true,
        "End" => step.before["proc"] == "none",
        "Free" => step.before["cgroup"] == false,
        "Tell" => step.before["proc"] != "waiting" && step.before["proc"] != "setup",
        _ => false,
    }
}

impl Life {
    /// The first of them that makes one; the others are refused while that one is there.
    fn creator(&self) -> Option<usize> {
        self.asked.iter().position(|op| matches!(*op, "create" | "run"))
    }

    /// What of a trace belongs to it. The spec makes control group and process in one step: what is freed when there
    /// was no process it cannot tell.
    pub fn of(&self, seen: &[Seen]) -> Vec<Seen> {
        let spawned = seen.iter().any(|seen| {
            matches!(seen.who, Who::Command(number) if Some(number) == self.creator())
                && seen.what == What::Spawn
        });
        let begun = seen
            .iter()
            .any(|seen| matches!(seen.who, Who::Child(_)) && seen.what == What::ReadByte);
        let mut signalled = Vec::new();
        let belongs = |seen: &&Seen| match (seen.who, &seen.what) {
            (Who::Child(number), what) => {
                let starts = self.asked[number] == "create" && *what == What::Exec;
                Some(number) == self.creator() && (starts || is_end(what) || begun && *what == What::Told)
            }
            (Who::Command(number), What::Signal(_)) => {
                signalled.push(number);
                self.asked[number] != "exec"
            }
            (Who::Command(number), What::Waited) => {
                !signalled.contains(&number) && self.asked[number] == "run"
            }
            (_, What::Free) => spawned,
            (_, What::Said(said)) => *said == "start",
            (_, What::Heard(_) | What::Answer(_)) => false,
            _ => true,
        };
        let mut seen: Vec<Seen> = seen.iter().filter(belongs).cloned().collect();
        // `start`, and the program, are one step there. It is made unless the command undoes everything.
        let undone: Vec<Who> = seen
            .iter()
            .filter(|seen| seen.what == What::Free)
            .map(|seen| seen.who)
            .collect();
        let undone = |who: Who| undone.contains(&who);
        let signalled = |who: &Who| matches!(who, Who::Command(number) if signalled.contains(number));
        seen.retain(|seen| match (seen.who, &seen.what) {
            (Who::Command(number), What::Said(_)) => {
                matches!(self.asked[number], "create")
                    || self.asked[number] == "run" && !(undone(seen.who) && signalled(&seen.who))
            }
            _ => true,
        });
        seen
    }

    /// The states in which all may be left, where the spec allows this trace.
    pub fn ends<'a>(&self, graph: &'a Graph, trace: &[Seen]) -> Vec<&'a Value> {
        let events: Option<Vec<Event>> = trace
            .iter()
            .enumerate()
            .map(|(at, seen)| self.event(seen, &trace[at..]))
            .collect();
        // No command ends before it has begun, unless it is killed.
        let begun = |number: usize| {
            let own: Vec<&Seen> = trace
                .iter()
                .filter(|seen| seen.who == Who::Command(number))
                .collect();
            own.len() > 1 || own.first().is_some_and(|seen| seen.what == What::Killed)
        };
        match events.filter(|_| is_whole(trace, self.creator()) && (0..self.asked.len()).all(begun)) {
            Some(events) => ends(graph, |_| true, &events, is_hidden),
            None => Vec::new(),
        }
    }

    fn event(&self, seen: &Seen, rest: &[Seen]) -> Option<Event> {
        let Who::Command(number) = seen.who else {
            return child(&seen.what);
        };
        let op = self.asked[number];
        Some(match (op, &seen.what) {
            ("create" | "run", What::Make) => begins("MakeDirectory", op),
            // Then it has nothing more to do.
            (_, What::Exists | What::Missing) if !is_last(seen, rest) => return None,
            ("kill" | "exec", What::Open) if is_last(seen, rest) => {
                let killed = rest
                    .iter()
                    .any(|later| later.who == seen.who && later.what == What::Killed);
                if killed {
                    either(begins("Look", op), refused(op))
                } else {
                    refused(op)
                }
            }
            ("kill" | "exec", What::Open) => begins("Look", op),
            ("create" | "run", What::Exists) => rests(|state| state["dir"] != "none"),
            (_, What::Missing) => rests(|state| state["dir"] == "none"),
            ("create" | "run", What::Open) => one_of(&["Open"]),
            (_, What::Open) => begins("OpenToLock", op),
            (_, What::Lock) => one_of(&["LockToCreate", "LockAndGo", "LockAndRefuse", "Relock"]),
            (_, What::Claim) => one_of(&["ClaimDirectory"]),
            ("exec", What::Spawn) => one_of(&["Enter"]),
            (_, What::Spawn) => one_of(&["Spawn"]),
            (_, What::Record) => one_of(&["Record"]),
            ("create", What::Said(_)) => one_of(&["Leave"]),
            ("run", What::Said(_)) => one_of(&["Go"]),
            ("kill", What::Signal(_)) => one_of(&["Signal"]),
            (_, What::Signal(_)) => when("End", |step| step.before["proc"] != "none"),
            (_, What::Waited) => one_of(&["Await"]),
            (_, What::ClaimStart) => one_of(&["ClaimStart"]),
            (_, What::Byte) => one_of(&["Tell"]),
            (_, What::Forget) => one_of(&["Forget"]),
            (_, What::Free) => one_of(&["Free"]),
            (_, What::Remove) => one_of(&["Remove"]),
            (_, What::Exited(_)) => rests(is_idle),
            (_, What::Killed) => either(one_of(&["Crash"]), rests(is_idle)),
            _ => return None,
        })
    }
}

/// Whether nothing but its end is seen of who did this.
fn is_last(seen: &Seen, rest: &[Seen]) -> bool {
    let next = rest.iter().skip(1).find(|later| later.who == seen.who);
    next.is_some_and(|next| is_end(&next.what))
}

fn is_idle(state: &Value) -> bool {
    state["op"]["c1"] == "none"
}

fn begins(action: &'static str, op: &'static str) -> Event {
    when(action, move |step| step.after["op"]["c1"] == op)
}

/// What is refused without the lock is over before it begins.
fn refused(op: &'static str) -> Event {
    Box::new(move |step| {
        step.action.is_empty()
            && is_idle(step.before)
            && !step.could(|step| step.action == "Look" && step.after["op"]["c1"] == op)
    })
}

fn child(what: &What) -> Option<Event> {
    Some(match what {
        What::Exec => one_of(&["BecomeProgram"]),
        // Who was told to go on and has said why it cannot does nothing more.
        What::Told => when("Exit", |step| step.before["told"] == true),
        What::Exited(_) | What::Killed => either(
            one_of(&["OrphanEnds", "Exit", "DieBySignal"]),
            rests(|state| state["proc"] == "dead" || state["dir"] == "none"),
        ),
        _ => return None,
    })
}
