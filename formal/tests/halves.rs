//! The whole run is the specs System and Creation at once, in step in what they share: Resources and Lifecycle. That
//! they can be is seen here: each makes exactly the steps of the shared part that the other makes.

#![allow(clippy::expect_used, clippy::panic, reason = "a test may panic")]

use nucleus_formal::graph::{Graph, shared};
use serde_json::Value;
use std::collections::BTreeSet;

/// The variables of Resources and Lifecycle.
const SHARED: [&str; 20] = [
    "version", "pidns", "runtime", "record", "group", "place", "program", "deleter", "dir", "recorded",
    "fifo", "proc", "told", "killed", "cgroup", "frozen", "lock", "op", "todo", "handle",
];

fn part(state: &Value) -> String {
    let values = SHARED.map(|name| state.get(name).expect("both have it").to_string());
    values.join(" ")
}

/// The steps that change something shared, as the states before and after them.
fn steps(graph: &Graph) -> BTreeSet<(String, String)> {
    let parts: Vec<String> = graph.states.iter().map(part).collect();
    let all = graph.edges.iter().enumerate();
    let all = all.flat_map(|(from, edges)| edges.iter().map(move |edge| (from, edge.target)));
    all.filter(|(from, to)| parts[*from] != parts[*to])
        .map(|(from, to)| (parts[from].clone(), parts[to].clone()))
        .collect()
}

#[test]
fn both_halves_of_a_run_make_the_same_steps_of_what_they_share() {
    let (system, creation) = (steps(shared("System")), steps(shared("Creation")));
    assert!(system.len() > 100, "{} steps are not a run", system.len());
    if let Some(step) = system.symmetric_difference(&creation).next() {
        let half = if system.contains(step) {
            "System"
        } else {
            "Creation"
        };
        panic!("only {half} makes this step:\n{}\n{}", step.0, step.1);
    }
}
