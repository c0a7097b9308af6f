//! `shim/src/cleanup.rs`, by which every end of a sandbox goes, against the spec Sandbox: from whatever is there when
//! somebody begins to take back, the order of the code is one of the spec's and leaves nothing.

use super::code::{Part, TAKE_DOWN};
use nucleus_formal::binding::{Agrees, Property, holds};
use nucleus_formal::graph::{Graph, shared};
use serde_json::Value;
use std::collections::BTreeSet;

/// The comparisons.
pub const PROPERTIES: &[Property] = &[("one order", one_order)];

fn action(part: Part) -> &'static str {
    match part {
        Part::Container => "TakeContainer",
        Part::Network => "TakeNetwork",
        Part::Files => "TakeFiles",
        Part::Directory => "TakeDirectory",
    }
}

fn is_there(state: &Value, part: Part) -> bool {
    let there = state["there"].as_array().expect("a set");
    there.iter().any(|one| *one == part.to_string())
}

/// Where the order leads, or the part that the spec does not let go yet. A part that is not there is passed over.
fn walk(graph: &Graph, from: usize, order: &[Part]) -> Result<usize, Part> {
    order.iter().try_fold(from, |at, part| {
        if !is_there(&graph.states[at], *part) {
            return Ok(at);
        }
        let edge = graph.edges[at].iter().find(|edge| edge.action == action(*part));
        edge.map(|edge| edge.target).ok_or(*part)
    })
}

fn one_order() -> Agrees {
    let graph = shared("Sandbox");
    let mut seen = BTreeSet::new();
    for (index, state) in graph.states.iter().enumerate() {
        if state["act"] != "taking" {
            continue;
        }
        seen.insert((state["holder"].to_string(), state["there"].to_string()));
        match walk(graph, index, &TAKE_DOWN) {
            Ok(end) => holds(graph.states[end]["act"] == "over", || {
                format!("{TAKE_DOWN:?} leaves {} of {state}", graph.states[end]["there"])
            })?,
            Err(part) => holds(false, || {
                format!("{TAKE_DOWN:?} takes the {part} too early in {state}")
            })?,
        }
    }
    // By `run` and by who comes after it: each that can be there, with the container and without.
    assert_eq!(seen.len(), 2 * 6, "{seen:?}");
    Ok(())
}
