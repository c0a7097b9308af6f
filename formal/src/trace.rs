//! Whether a spec allows what was seen of a real run. Steps that cannot be seen may come in between.

use crate::graph::{Edge, Graph};
use serde_json::Value;
use std::collections::BTreeSet;

/// A step of the graph: the state before it, its action and the state after it. One without an action changes nothing:
/// it stands for an event that only tells in which state the spec has to be.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Before it.
    pub before: &'a Value,
    /// The action; empty if there is none.
    pub action: &'a str,
    /// After it.
    pub after: &'a Value,
    /// The graph, and the number of the state before it.
    pub place: (&'a Graph, usize),
}

impl Step<'_> {
    /// Whether the state before it allows a step that is so.
    pub fn could(&self, is: impl Fn(Step<'_>) -> bool) -> bool {
        let (graph, from) = self.place;
        graph.edges[from].iter().any(|edge| is(step(graph, from, edge)))
    }
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
        let steps = now
            .iter()
            .flat_map(|from| graph.edges[*from].iter().map(move |edge| (*from, edge)))
            .filter(|(from, edge)| is(event, step(graph, *from, edge)))
            .map(|(_, edge)| edge.target);
        let seen = now.iter().copied().filter(|from| is(event, rest(graph, *from)));
        now = steps.chain(seen).collect();
        close(graph, &mut now, &hidden);
    }
    now.into_iter().map(|state| &graph.states[state]).collect()
}

fn step<'a>(graph: &'a Graph, from: usize, edge: &'a Edge) -> Step<'a> {
    Step {
        before: &graph.states[from],
        action: &edge.action,
        after: &graph.states[edge.target],
        place: (graph, from),
    }
}

fn rest(graph: &Graph, at: usize) -> Step<'_> {
    Step {
        before: &graph.states[at],
        action: "",
        after: &graph.states[at],
        place: (graph, at),
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
