//! `runtime/src/lifecycle.rs`, which every command of the runtime asks, against `specs/Lifecycle.tla`: in each state
//! of the spec's graph and for each operation both decide the same, refusals included.

use nucleus_formal::graph::{Graph, text};
use nucleus_runtime::lifecycle::{Act, Found, OPERATIONS, Operation, TAKE_DOWN, decide};
use serde_json::{Value, json};
use std::collections::BTreeSet;

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

/// Compares every decision of `command`; returns the operations for which there was one, with and without refusal.
fn compare(graph: &Graph, command: &str, asked: &[Operation]) -> BTreeSet<(&'static str, bool)> {
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
            let code = decided(state, *operation);
            let spec = goes.first().map(|acts| (*acts).clone());
            assert_eq!(code, spec, "{operation} by {command} in {state}");
            assert!(goes.len() <= 1, "{operation} by {command} in {state}: {goes:?}");
            if asks && !is_unlocked(*operation) {
                let refuses = graph.edges[index].iter().any(|edge| {
                    edge.action == "LockAndRefuse" && graph.states[edge.target]["op"][command] == "none"
                });
                assert_eq!(refuses, code.is_none(), "{operation} by {command} in {state}");
            }
            seen.insert((word(*operation), code.is_some()));
        }
    }
    seen
}

#[test]
fn the_code_decides_as_the_spec_in_every_state() {
    let asked = [
        Operation::Start,
        Operation::Kill,
        Operation::Delete,
        Operation::ForceDelete,
        Operation::Pause,
        Operation::Resume,
    ];
    let graph = Graph::of("Lifecycle").unwrap();
    let seen = compare(&graph, "c1", &asked);
    // delete --force is never refused.
    assert_eq!(seen.len(), 2 * asked.len() - 1, "{seen:?}");
    let seen = compare(&graph, "c2", &[Operation::ForceDelete]);
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[test]
fn the_code_decides_as_the_spec_for_every_operation() {
    let words: Vec<&str> = OPERATIONS
        .iter()
        .map(|operation| word(*operation))
        .chain(["create", "run"])
        .collect();
    let graph = Graph::with("Lifecycle", &[("Commands", &["c1"]), ("Asked", &words)]).unwrap();
    let seen = compare(&graph, "c1", &OPERATIONS);
    assert_eq!(seen.len(), 2 * OPERATIONS.len() - 1, "{seen:?}");
}

#[test]
fn a_failed_creation_and_the_end_of_run_take_down_in_the_same_order() {
    let graph = Graph::of("Lifecycle").unwrap();
    let mut seen = 0;
    for (index, edges) in graph.edges.iter().enumerate() {
        for edge in edges {
            let (before, after) = (&graph.states[index], &graph.states[edge.target]);
            let expected = match edge.action.as_str() {
                "Fail" => words(&TAKE_DOWN),
                "Relock" => words(&TAKE_DOWN[1..]),
                _ => continue,
            };
            let changed = ["c1", "c2"]
                .iter()
                .find(|command| before["todo"][*command] != after["todo"][*command]);
            assert_eq!(
                after["todo"][changed.unwrap()],
                expected,
                "{} in {before}",
                edge.action
            );
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
}
