//! Whether a spec allows what was seen of a real run. Steps that cannot be seen may come in between.

use crate::graph::{Edge, Graph};
use serde_json::Value;
use std::collections::BTreeSet;

/// A step of the graph: the state before it, its action and the state after it.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Before it.
    pub before: &'a Value,
    /// The action.
    pub action: &'a str,
    /// After it.
    pub after: &'a Value,
}

/// The states in which the spec may be after these events; empty where it forbids them.
///
/// `starts` picks the initial states, `hidden` the steps that leave no event, and `is` tells whether a step is an event.
pub fn follow<'a, E>(
    graph: &'a Graph,
    starts: impl Fn(&Value) -> bool,
    events: &[E],
    hidden: impl Fn(Step<'_>) -> bool,
    is: impl Fn(&E, Step<'_>) -> bool,
) -> Vec<&'a Value> {
    let mut now: BTreeSet<usize> = graph
        .initial
        .iter()
        .copied()
        .filter(|state| starts(&graph.states[*state]))
        .collect();
    close(graph, &mut now, &hidden);
    for event in events {
        now = now
            .iter()
            .flat_map(|from| graph.edges[*from].iter().map(move |edge| (*from, edge)))
            .filter(|(from, edge)| is(event, step(graph, *from, edge)))
            .map(|(_, edge)| edge.target)
            .collect();
        close(graph, &mut now, &hidden);
    }
    now.into_iter().map(|state| &graph.states[state]).collect()
}

fn step<'a>(graph: &'a Graph, from: usize, edge: &'a Edge) -> Step<'a> {
    Step {
        before: &graph.states[from],
        action: &edge.action,
        after: &graph.states[edge.target],
    }
}

fn close(graph: &Graph, now: &mut BTreeSet<usize>, hidden: impl Fn(Step<'_>) -> bool) {
    let mut queue: Vec<usize> = now.iter().copied().collect();
    while let Some(from) = queue.pop() {
        for edge in &graph.edges[from] {
            if hidden(step(graph, from, edge)) && now.insert(edge.target) {
                queue.push(edge.target);
            }
        }
    }
}
