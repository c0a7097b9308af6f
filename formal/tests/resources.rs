//! The order in which the runtime takes a container down, `lifecycle::TAKE_DOWN`, against the spec Resources: it is
//! the one order that the spec allows, after a creation that failed and for `delete`.

use nucleus_formal::graph::Graph;
use nucleus_runtime::lifecycle::{Act, Operation, STATUSES, TAKE_DOWN, decide};

/// The spec's actions for the acts.
fn action(act: Act, undo: bool) -> &'static str {
    match (act, undo) {
        (Act::End, true) => "UndoProcesses",
        (Act::Free, true) => "UndoCgroup",
        (Act::Remove, true) => "UndoState",
        (Act::End, false) => "DeleteKills",
        (Act::Free, false) => "DeleteCgroup",
        (Act::Remove, false) => "DeleteState",
        (other, _) => panic!("{other} takes nothing down"),
    }
}

/// Where the acts lead from a state, or nothing where the spec does not allow one of them.
fn walk(graph: &Graph, from: usize, acts: &[Act], undo: bool) -> Option<usize> {
    acts.iter().try_fold(from, |at, act| {
        let edge = graph.edges[at]
            .iter()
            .find(|edge| edge.action == action(*act, undo))?;
        Some(edge.target)
    })
}

fn orders() -> Vec<[Act; 3]> {
    let [a, b, c] = TAKE_DOWN;
    vec![[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]]
}

#[test]
fn a_container_is_taken_down_in_the_one_order_that_the_spec_allows() {
    let graph = Graph::of("Resources").expect("the spec's graph");
    for (undo, key) in [(true, "runtime"), (false, "deleter")] {
        let mut complete = 0;
        for (index, state) in graph.states.iter().enumerate() {
            if state[key] != "killing" {
                continue;
            }
            for order in orders() {
                match walk(&graph, index, &order, undo) {
                    Some(end) => {
                        assert_eq!(order, TAKE_DOWN, "{state}");
                        let end = &graph.states[end];
                        assert_eq!((&end["record"], &end["group"]), (&"none".into(), &"none".into()));
                        complete += 1;
                    }
                    // Only a process that is still in the group may keep it.
                    None if order == TAKE_DOWN => {
                        let ended = walk(&graph, index, &order[..1], undo).expect("the first act");
                        let places = graph.states[ended]["place"].as_object().expect("a function");
                        assert!(
                            places.values().any(|place| place == "inside" || place == "below"),
                            "{state}"
                        );
                    }
                    None => {}
                }
            }
        }
        assert!(complete > 10, "{key}: {complete}");
    }
}

/// `delete --force` takes all of it down from every status, and `delete` where it is allowed.
#[test]
fn delete_takes_all_down() {
    for status in STATUSES {
        let forced = decide(status, false, Operation::ForceDelete).expect("never refused");
        assert!(TAKE_DOWN.ends_with(forced), "{status}: {forced:?}");
        if let Ok(acts) = decide(status, false, Operation::Delete) {
            assert!(TAKE_DOWN.ends_with(acts), "{status}: {acts:?}");
        }
    }
}
