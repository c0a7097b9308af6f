//! How a trace is held against a spec: it is accepted, and none in which an event is left out, doubled, or exchanged with
//! its neighbour.

use super::seen::{Seen, What, Who, is_end};
use nucleus_formal::graph::Graph;
use nucleus_formal::trace::{Step, follow};
use serde_json::Value;

/// An event of a spec: which steps it may be.
pub type Event = Box<dyn Fn(Step<'_>) -> bool>;

/// The step is one of these actions.
pub fn one_of(actions: &'static [&'static str]) -> Event {
    Box::new(move |step| actions.contains(&step.action))
}

/// The step is this action, and so.
pub fn when(action: &'static str, is: impl Fn(Step<'_>) -> bool + 'static) -> Event {
    Box::new(move |step| step.action == action && is(step))
}

/// The spec is in such a state, and stays in it.
pub fn rests(is: impl Fn(&Value) -> bool + 'static) -> Event {
    Box::new(move |step| step.action.is_empty() && is(step.before))
}

/// One or the other.
pub fn either(one: Event, other: Event) -> Event {
    Box::new(move |step| one(step) || other(step))
}

/// The states that the spec may be in after these events.
pub fn ends<'a>(
    graph: &'a Graph,
    starts: impl Fn(&Value) -> bool,
    events: &[Event],
    hidden: impl Fn(Step<'_>) -> bool,
) -> Vec<&'a Value> {
    follow(graph, starts, events, hidden, |event, step| event(step))
}

/// Whether each process that is seen ends once, and is not seen after it, the commands come one after the other, and
/// what this one has made is among them.
pub fn is_whole(seen: &[Seen], maker: Option<usize>) -> bool {
    let mut over: Vec<Who> = Vec::new();
    let mut now = None;
    for Seen { who, what, .. } in seen {
        if over.contains(who) {
            return false;
        }
        if let Who::Command(_) = who {
            if now.is_some_and(|now| now != *who) {
                return false;
            }
            now = Some(*who).filter(|_| !is_end(what));
        }
        if is_end(what) {
            over.push(*who);
        }
    }
    let made = |seen: &&Seen| seen.what == What::Spawn && maker.map(Who::Command) == Some(seen.who);
    let children = seen.iter().filter(made).filter_map(|_| maker).map(Who::Child);
    seen.iter()
        .map(|seen| seen.who)
        .chain(children)
        .all(|who| over.contains(&who))
}

/// Whether the second could not have come first: one process does both, or the one is heard, read or made by the other.
fn is_bound(first: &Seen, second: &Seen) -> bool {
    let message = match (&first.what, &second.what) {
        (What::Said(said), What::Heard(heard)) => said == heard,
        (What::Byte, What::ReadByte) => true,
        (What::Spawn, _) => first.who != second.who && matches!(second.who, Who::Child(_)),
        _ => false,
    };
    first.who == second.who || message
}

/// A trace, for a person.
pub fn told(trace: &[Seen]) -> String {
    let lines = trace
        .iter()
        .map(|seen| format!("  {:?} {:?}\n", seen.who, seen.what));
    lines.collect()
}

/// Whether this is the last that is seen of a process before it is killed, fails, or gives up, which may strike a step
/// sooner as well.
fn may_lack(trace: &[Seen], at: usize) -> bool {
    let Seen { who, what, .. } = &trace[at];
    let next = trace[at + 1..].iter().find(|seen| seen.who == *who);
    next.is_some_and(|next| match &next.what {
        What::Killed | What::Told | What::Said("failed") => true,
        What::Exited(code) => *code != 0 && matches!(who, Who::Child(_)),
        What::Signal(_) => match what {
            What::Heard(message) => !["failed", "closed"].contains(message),
            _ => matches!(what, What::Record | What::Said(_)),
        },
        _ => false,
    })
}

/// Panics unless the trace is accepted, and each changed one refused. Events of two processes that have nothing to do
/// with one another are not exchanged: both orders are right. Nor is the last left out that somebody did before
/// a failure or a kill. Returns how many changed ones there were.
pub fn only_as_it_is(trace: &[Seen], accepts: impl Fn(&[Seen]) -> bool) -> usize {
    assert!(accepts(trace), "refused:\n{}", told(trace));
    let mut changed = 0;
    let mut refuse = |other: &[Seen], what: &str| {
        changed += 1;
        assert!(
            !accepts(other),
            "accepted, {what}:\n{}of\n{}",
            told(other),
            told(trace)
        );
    };
    for at in 0..trace.len() {
        let one = &trace[at];
        if !may_lack(trace, at) {
            let mut other = trace.to_vec();
            other.remove(at);
            refuse(&other, &format!("without {one:?}"));
        }
        let mut other = trace.to_vec();
        other.insert(at, one.clone());
        refuse(&other, &format!("twice {one:?}"));
        if at > 0 && trace[at - 1].what != one.what && is_bound(&trace[at - 1], one) {
            let mut other = trace.to_vec();
            other.swap(at, at - 1);
            refuse(&other, &format!("{one:?} first"));
        }
    }
    changed
}
