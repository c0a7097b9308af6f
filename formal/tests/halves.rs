//! The whole run is the specs System and Creation at once, in step in what they share: Resources and Lifecycle. That
//! they can be is seen here: each makes exactly the steps of the shared part that the other makes, and both together
//! never wait for each other, whoever is killed.

#![allow(clippy::expect_used, clippy::panic, reason = "a test may panic")]

use nucleus_formal::graph::{Edge, Graph, shared};
use nucleus_formal::model::specs;
use nucleus_formal::product::{Group, Product};
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

/// What the two call differently: the front-end sees that the runtime has recorded the container, and neither tells
/// why a runtime fails as the other does.
const OTHERWISE: [(&str, &str); 4] = [
    ("Created", "Record"),
    ("RuntimeFails", "RuntimeReports"),
    ("RuntimeGivesUp", "RuntimeFails"),
    ("RuntimeGivesUp", "RuntimeReports"),
];

const PROCESSES: [&str; 8] = [
    "FrontEndGoesOn",
    "RuntimeGoesOn",
    "ChildGoesOn",
    "DeleteGoesOn",
    "ResolverGoesOn",
    "Tick",
    "InitExits",
    "OtherExits",
];

/// The actions of a process that a spec is fair to: what the definition lists, or the action of that name.
fn actions(text: &str, process: &str) -> BTreeSet<String> {
    if !text.contains(&format!("WF_vars({process})")) {
        return BTreeSet::new();
    }
    if !process.ends_with("GoesOn") {
        return BTreeSet::from([process.to_owned()]);
    }
    let (_, rest) = text.split_once(&format!("\n{process} ==")).expect("a definition");
    let words: Vec<&str> = rest.split_whitespace().collect();
    let words = words.strip_prefix(&["\\/"]).unwrap_or(&words);
    // The first name that no disjunction follows is the last one.
    let more = words
        .chunks(2)
        .take_while(|pair| pair.get(1) == Some(&"\\/"))
        .count();
    let names = words.iter().step_by(2).take(more + 1);
    names.map(|name| (*name).to_owned()).collect()
}

/// Who goes on while it can: what both specs are fair to, read from them.
fn groups() -> Vec<Group> {
    let text = |spec: &str| std::fs::read_to_string(specs().join(spec)).expect("read");
    let (system, creation) = (text("System.tla"), text("Creation.tla"));
    let groups = PROCESSES.map(|process| Group {
        name: process.to_owned(),
        one: actions(&system, process),
        other: actions(&creation, process),
    });
    let known =
        |half: fn(&Group) -> &BTreeSet<String>| groups.iter().filter(|group| !half(group).is_empty()).count();
    assert_eq!(known(|group| &group.one), system.matches("WF_vars(").count());
    assert_eq!(known(|group| &group.other), creation.matches("WF_vars(").count());
    groups.to_vec()
}

/// Nobody has anything to do any more. A front-end that could not prepare has called no runtime.
fn over([system, creation]: [&Value; 2]) -> bool {
    system["road"] == "done"
        && ["idle", "left", "dead"]
            .map(Value::from)
            .contains(&creation["runtime"])
        && creation["record"] == "none"
        && creation["deleter"] == "idle"
        && creation["child"] != "alive"
}

#[test]
fn both_halves_of_a_run_never_wait_for_each_other() {
    let product = Product::of(shared("System"), shared("Creation"), &SHARED);
    if let Some(circle) = product.never_ends(&groups(), over) {
        let [system, creation] = product.states(circle[0]);
        panic!(
            "it may stay in {} pairs of states for ever, among them:\n{system}\n{creation}",
            circle.len()
        );
    }
    // It is the whole of both: each step of each is possible, and steps at the same time mean the same.
    let never = product.never_made();
    assert!(never.iter().all(BTreeSet::is_empty), "{never:?}");
    let differing = product
        .together()
        .into_iter()
        .filter(|(system, creation)| system != creation);
    assert_eq!(differing.collect::<Vec<_>>(), OTHERWISE);
    // Not so few that they would always be in step, and not all that there could be.
    assert!(product.pairs.len() > 10_000, "{}", product.pairs.len());
}

fn without(graph: &Graph, action: &str) -> Graph {
    let edges = graph.edges.iter();
    let left = |edges: &Vec<_>| {
        edges
            .iter()
            .filter(|edge: &&Edge| edge.action != action)
            .cloned()
            .collect()
    };
    Graph {
        states: graph.states.clone(),
        edges: edges.map(left).collect(),
        initial: graph.initial.clone(),
    }
}

#[test]
fn halves_that_wait_for_each_other_are_noticed() {
    let (system, creation) = (shared("System"), shared("Creation"));
    let stays = |one: &Graph, other: &Graph, groups: &[Group]| {
        Product::of(one, other, &SHARED)
            .never_ends(groups, over)
            .is_some()
    };
    // One half does not do what the other waits for.
    for action in ["Ready", "HooksDone", "Reap"] {
        assert!(stays(system, &without(creation, action), &groups()), "{action}");
    }
    for action in ["Go", "Deleted", "MakeState"] {
        assert!(stays(&without(system, action), creation, &groups()), "{action}");
    }
    // Or somebody need not go on. Nobody waits for the resolver, and what the program has forked ends with it.
    for process in &PROCESSES[..4] {
        let mut others = groups();
        others.retain(|group| group.name != *process);
        assert!(stays(system, creation, &others), "{process}");
    }
}
