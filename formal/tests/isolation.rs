//! `runtime/src/plan/order.rs`, against which every plan is held, against `specs/Isolation.tla`: the same next step in
//! every state of every configuration.

use nucleus_formal::graph::{Graph, text};
use nucleus_runtime::plan::order::{Asked, Kind, road};
use serde_json::Value;
use std::collections::BTreeSet;

fn asked(state: &Value) -> Asked {
    let asked = &state["asked"];
    let wants = |what: &str| asked[what] == true;
    let filter = text(&asked["filter"]);
    Asked {
        enters: wants("enters"),
        // In `exec` the process joins the user namespace with its privileges.
        user_namespace: wants("userns") && !wants("enters"),
        no_new_privileges: wants("nnp"),
        landlock: wants("landlock"),
        filter: filter != "none",
        listener: filter == "listener",
        terminal: wants("terminal"),
        runtime_hooks: wants("hooks"),
        container_hooks: wants("hooks"),
        start_hooks: wants("hooks"),
        traced: wants("traced"),
    }
}

/// The spec's action of a step.
fn action(kind: Kind) -> String {
    format!("{kind:?}")
}

#[test]
fn the_code_takes_the_same_steps_as_the_spec() {
    let graph = Graph::of("Isolation").unwrap();
    let other = ["Fail", "RuntimeDies", "Deserted", "Rest"];
    let mut configurations = BTreeSet::new();
    for (index, state) in graph.states.iter().enumerate() {
        if state["at"] != "works" {
            continue;
        }
        let steps: Vec<&str> = graph.edges[index]
            .iter()
            .map(|edge| edge.action.as_str())
            .filter(|action| !other.contains(action))
            .collect();
        let done = state["done"].as_array().unwrap().len();
        let road: Vec<Kind> = road(asked(state)).collect();
        let words: BTreeSet<String> = road[..done].iter().map(Kind::to_string).collect();
        let spec: BTreeSet<String> = state["done"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| text(step).to_owned())
            .collect();
        assert_eq!(words, spec, "{state}");
        let next = road
            .get(done)
            .map_or_else(|| "Exec".to_owned(), |kind| action(*kind));
        if state["runtime"] == true || next != "Ready" {
            assert_eq!(steps, [next.as_str()], "{state}");
        }
        configurations.insert(state["asked"].to_string());
    }
    assert!(configurations.len() > 100, "{}", configurations.len());
}
