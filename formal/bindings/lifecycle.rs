//! `runtime/src/lifecycle.rs`, which every command of the runtime asks, against the specs Lifecycle and Resources: in
//! each state and for each operation both decide the same, refusals included, and take down in the same order.

use super::code::{Act, Found, OPERATIONS, Operation, STATUSES, TAKE_DOWN, decide};
use nucleus_formal::binding::{Agrees, Property, holds, same};
use nucleus_formal::graph::{Graph, shared, shared_with, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The comparisons.
pub const PROPERTIES: &[Property] = &[
    ("concurrent commands", concurrent_commands),
    ("every operation", every_operation),
    ("the way back", the_way_back),
    ("one order", one_order),
    ("delete takes all", delete_takes_all),
];

/// The spec's word for an operation.
fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Start => "start",
        Operation::Kill => "kill",
        Operation::KillAll => "kill all",
        Operation::Delete => "delete",
        Operation::ForceDelete => "force",
        Operation::Exec => "exec",
        Operation::ExecInPaused => "exec in paused",
        Operation::Pause => "pause",
        Operation::Resume => "resume",
        Operation::Update => "update",
    }
}

fn is_unlocked(operation: Operation) -> bool {
    use Operation as O;
    matches!(operation, O::Kill | O::KillAll | O::Exec | O::ExecInPaused)
}

/// What the code would find in this state.
fn found(state: &Value, locked: bool) -> Found {
    Found {
        recorded: state["recorded"] == true,
        alive: ["setup", "waiting", "program"].contains(&text(&state["proc"])),
        frozen: state["frozen"] == true,
        waits: state["fifo"] == "start",
        locked,
    }
}

/// The code's decision as the spec's list of acts; nothing where it refuses.
fn decided(state: &Value, operation: Operation) -> Option<Value> {
    let status = found(state, !is_unlocked(operation)).status();
    let acts = decide(status, state["fifo"] == "starting", operation).ok()?;
    Some(words(acts))
}

fn words(acts: &[Act]) -> Value {
    acts.iter().map(Act::to_string).collect()
}

/// Compares every decision of `command`; `refusable` are those that the spec both allows and refuses somewhere.
fn compare(graph: &Graph, command: &str, asked: &[Operation], outcomes: usize) -> Agrees {
    let mut seen = BTreeSet::new();
    for (index, state) in graph.states.iter().enumerate() {
        let (op, todo) = (&state["op"][command], &state["todo"][command]);
        for operation in asked {
            let (idle, asks) = (op == "none", op == word(*operation));
            let decides = if is_unlocked(*operation) {
                idle && state["dir"] != "none"
            } else {
                asks && todo == &json!(["lock"])
                    && state["handle"][command] == "live"
                    && state["lock"] == "free"
            };
            // What the spec goes on with: the acts of the one step that decides.
            let goes: Vec<&Value> = graph.edges[index]
                .iter()
                .filter(|edge| ["Look", "LockAndGo"].contains(&edge.action.as_str()))
                .map(|edge| &graph.states[edge.target])
                .filter(|next| next["op"][command] == word(*operation) && &next["todo"][command] != todo)
                .map(|next| &next["todo"][command])
                .collect();
            if !decides {
                assert!(goes.is_empty(), "{operation} decides in {state}");
                continue;
            }
            assert!(goes.len() <= 1, "{operation} by {command} in {state}: {goes:?}");
            let spec = goes.first().map(|acts| (*acts).clone());
            if asks && !is_unlocked(*operation) {
                let refuses = graph.edges[index].iter().any(|edge| {
                    edge.action == "LockAndRefuse" && graph.states[edge.target]["op"][command] == "none"
                });
                assert_eq!(refuses, spec.is_none(), "{operation} by {command} in {state}");
            }
            seen.insert((word(*operation), spec.is_some()));
            let code = decided(state, *operation);
            same(&code, &spec, || format!("{operation} by {command} in {state}"))?;
        }
    }
    assert_eq!(seen.len(), outcomes, "{seen:?}");
    Ok(())
}

/// Two commands at the same time.
fn concurrent_commands() -> Agrees {
    let asked = [
        Operation::Start,
        Operation::Kill,
        Operation::Delete,
        Operation::ForceDelete,
        Operation::Exec,
        Operation::Pause,
        Operation::Resume,
    ];
    let graph = shared("Lifecycle");
    // delete --force is never refused.
    compare(graph, "c1", &asked, 2 * asked.len() - 1)?;
    compare(graph, "c2", &[Operation::ForceDelete], 1)
}

/// One command at a time, but all operations.
fn every_operation() -> Agrees {
    let words: Vec<&str> = OPERATIONS
        .iter()
        .map(|operation| word(*operation))
        .chain(["create", "run"])
        .collect();
    let graph = shared_with("Lifecycle", &[("Commands", &["c1"]), ("Asked", &words)]);
    compare(graph, "c1", &OPERATIONS, 2 * OPERATIONS.len() - 1)
}

/// A failed creation and the end of `run` take down in the same order.
fn the_way_back() -> Agrees {
    let graph = shared("Lifecycle");
    let mut seen = 0;
    for (index, edges) in graph.edges.iter().enumerate() {
        for edge in edges {
            let (before, after) = (&graph.states[index], &graph.states[edge.target]);
            let code = match edge.action.as_str() {
                "Fail" => words(&TAKE_DOWN),
                "Relock" => words(&TAKE_DOWN[1..]),
                _ => continue,
            };
            let changed = ["c1", "c2"]
                .iter()
                .find(|command| before["todo"][*command] != after["todo"][*command]);
            let spec = &after["todo"][changed.expect("one of them moves")];
            same(&code, spec, || format!("{} in {before}", edge.action))?;
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
    Ok(())
}

/// The spec's actions for the acts.
fn action(act: Act, undo: bool) -> Option<&'static str> {
    Some(match (act, undo) {
        (Act::End, true) => "UndoProcesses",
        (Act::Free, true) => "UndoCgroup",
        (Act::Remove, true) => "UndoState",
        (Act::End, false) => "DeleteKills",
        (Act::Free, false) => "DeleteCgroup",
        (Act::Remove, false) => "DeleteState",
        _ => return None,
    })
}

/// Where the acts lead from a state, or nothing where the spec does not allow one of them.
fn walk(graph: &Graph, from: usize, acts: &[Act], undo: bool) -> Option<usize> {
    acts.iter().try_fold(from, |at, act| {
        let action = action(*act, undo)?;
        let edge = graph.edges[at].iter().find(|edge| edge.action == action)?;
        Some(edge.target)
    })
}

/// A container is taken down in the one order that the spec allows, after a creation that failed and by `delete`.
fn one_order() -> Agrees {
    let graph = shared("Resources");
    for (undo, key) in [(true, "runtime"), (false, "deleter")] {
        let mut complete = 0;
        for (index, state) in graph.states.iter().enumerate() {
            if state[key] != "killing" {
                continue;
            }
            let Some(end) = walk(graph, index, &TAKE_DOWN, undo) else {
                // Only a process that is still in the group may keep it.
                let ended = walk(graph, index, &TAKE_DOWN[..1], undo);
                let keeps = ended.is_some_and(|ended| {
                    let places = graph.states[ended]["place"].as_object().expect("a function");
                    places.values().any(|place| place == "inside" || place == "below")
                });
                holds(keeps, || {
                    format!("{TAKE_DOWN:?} is not the spec's order in {state}")
                })?;
                continue;
            };
            let end = &graph.states[end];
            holds(end["record"] == "none" && end["group"] == "none", || {
                format!("{TAKE_DOWN:?} leaves something behind in {state}")
            })?;
            complete += 1;
        }
        // The spec has no other order, so that this one is not one of several.
        let [a, b, c] = [Act::End, Act::Free, Act::Remove];
        for other in [[a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
            let begin = (0..graph.states.len()).filter(|index| graph.states[*index][key] == "killing");
            assert_eq!(
                begin.filter_map(|at| walk(graph, at, &other, undo)).count(),
                0,
                "{other:?}"
            );
        }
        holds(complete > 10, || {
            format!("{TAKE_DOWN:?} takes down {complete} times")
        })?;
    }
    Ok(())
}

/// `delete --force` takes all of it down from every status, and `delete` where it is allowed.
fn delete_takes_all() -> Agrees {
    let ends = |acts: &[Act]| acts.ends_with(&[Act::Free, Act::Remove]);
    for status in STATUSES {
        let forced = decide(status, false, Operation::ForceDelete).unwrap_or_default();
        holds(ends(forced), || format!("force in {status}: {forced:?}"))?;
        if let Ok(acts) = decide(status, false, Operation::Delete) {
            holds(ends(acts), || format!("delete in {status}: {acts:?}"))?;
        }
    }
    Ok(())
}
