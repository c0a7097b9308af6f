//! `runtime/src/plan/order.rs`, against which every plan is held, against the spec Isolation: the same next step in
//! every state of every configuration, and a plan passes only as the spec has it.

use super::code::{Asked, Kind, follows, road};
use nucleus_formal::binding::{Agrees, Property, holds, same};
use nucleus_formal::graph::{shared, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The comparisons.
pub const PROPERTIES: &[Property] = &[("every next step", every_next_step), ("plans", plans)];

fn asked(state: &Value) -> Asked {
    let asked = &state["plan"];
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

const OTHER: [&str; 5] = ["Fail", "RuntimeDiesFirst", "RuntimeDies", "Deserted", "Rest"];

fn every_next_step() -> Agrees {
    let graph = shared("Isolation");
    let mut configurations = BTreeSet::new();
    for (index, state) in graph.states.iter().enumerate() {
        if state["fate"] != "works" {
            continue;
        }
        configurations.insert(state["plan"].to_string());
        let steps: Vec<&str> = graph.edges[index]
            .iter()
            .map(|edge| edge.action.as_str())
            .filter(|action| !OTHER.contains(action))
            .collect();
        let spec: BTreeSet<String> = state["taken"]
            .as_array()
            .expect("a set")
            .iter()
            .map(|step| text(step).to_owned())
            .collect();
        let road: Vec<Kind> = road(asked(state)).collect();
        let code: BTreeSet<String> = road.iter().take(spec.len()).map(Kind::to_string).collect();
        same(&code, &spec, || state.to_string())?;
        let next = road
            .get(spec.len())
            .map_or_else(|| "Exec".to_owned(), |kind| format!("{kind:?}"));
        let needs_runtime = match next.as_str() {
            "RuntimeHooks" | "Ready" => true,
            "Filter" => asked(state).listener,
            _ => false,
        };
        // Nothing follows there when the runtime is gone.
        let is_possible = state["attended"] == true || !needs_runtime;
        let next: Vec<&str> = is_possible.then_some(next.as_str()).into_iter().collect();
        same(&next, &steps, || state.to_string())?;
    }
    assert!(configurations.len() > 100, "{}", configurations.len());
    Ok(())
}

/// The steps of each configuration in the spec's order.
fn roads() -> BTreeMap<String, (Asked, Vec<String>)> {
    let graph = shared("Isolation");
    let roads = graph.initial.iter().map(|start| {
        let mut steps = Vec::new();
        let mut at = *start;
        while let Some(edge) = graph.edges[at]
            .iter()
            .find(|edge| !OTHER.contains(&edge.action.as_str()))
        {
            steps.push(edge.action.clone());
            at = edge.target;
        }
        assert_eq!(steps.remove(0), "Clone");
        assert_eq!(steps.pop().as_deref(), Some("Exec"));
        let state = &graph.states[*start];
        (state["plan"].to_string(), (asked(state), steps))
    });
    roads.collect()
}

const KINDS: [Kind; 20] = [
    Kind::BecomeRoot,
    Kind::Root,
    Kind::Terminal,
    Kind::RuntimeHooks,
    Kind::ContainerHooks,
    Kind::Hide,
    Kind::Pivot,
    Kind::Close,
    Kind::Directory,
    Kind::NoNewPrivileges,
    Kind::Home,
    Kind::Landlock,
    Kind::Filter,
    Kind::Credentials,
    Kind::Program,
    Kind::Dumpable,
    Kind::Release,
    Kind::Ready,
    Kind::AwaitStart,
    Kind::StartHooks,
];

/// The check that every plan passes before anything is made: the spec's order passes, and no order with a step left
/// out, doubled, exchanged with the next one, or put in that was not asked for. A root file system and what hides
/// paths take several steps, and there may be nothing to hide.
fn plans() -> Agrees {
    for (asked, words) in roads().into_values() {
        let kind = |word: &String| KINDS.into_iter().find(|kind| format!("{kind:?}") == *word);
        let road: Vec<Kind> = words.iter().map(|word| kind(word).expect("a kind")).collect();
        let passes = |kinds: &[Kind]| follows(asked, kinds.iter().copied()).is_ok();
        holds(passes(&road), || format!("{road:?} is refused"))?;
        for at in 0..road.len() {
            let mut less = road.clone();
            let gone = less.remove(at);
            same(&passes(&less), &(gone == Kind::Hide), || {
                format!("without {gone:?}: {asked:?}")
            })?;
            let mut twice = road.clone();
            twice.insert(at, road[at]);
            let many = matches!(road[at], Kind::Root | Kind::Hide);
            same(&passes(&twice), &many, || {
                format!("twice {:?}: {asked:?}", road[at])
            })?;
            if at > 0 {
                let mut swapped = road.clone();
                swapped.swap(at - 1, at);
                holds(!passes(&swapped), || {
                    format!("{:?} before {:?}: {asked:?}", road[at], road[at - 1])
                })?;
            }
            for other in KINDS.into_iter().filter(|kind| !road.contains(kind)) {
                let mut more = road.clone();
                more.insert(at, other);
                holds(!passes(&more), || format!("with {other:?}: {asked:?}"))?;
            }
        }
    }
    Ok(())
}
