//! `network/src/order.rs`, by which every network is made and taken back, against the spec Egress: what the code makes
//! next is what the spec allows next, at whatever point it fails or is killed, and so is what it takes back.

use super::code::{HOST, Host, INSIDE, Inside, JOINED, Joined, KEPT, Kept, LAST, Last, TAKE_DOWN, Taken};
use nucleus_formal::binding::{Agrees, Property, holds, same};
use nucleus_formal::graph::{Graph, shared};
use std::collections::BTreeSet;

/// The comparisons.
pub const PROPERTIES: &[Property] = &[("made", made), ("taken back", taken_back)];

fn inside() -> Vec<&'static str> {
    let action = |step| match step {
        Inside::Namespace => "MakeNetns",
        Inside::Rules => "LoadRules",
    };
    INSIDE.into_iter().map(action).collect()
}

fn host() -> Vec<&'static str> {
    let action = |step| match step {
        Host::Note => "Note",
        Host::Table => "MakeTable",
    };
    HOST.into_iter().map(action).collect()
}

fn joined() -> Vec<&'static str> {
    let action = |step| match step {
        Joined::Link => "Claim",
        Joined::List => "List",
        Joined::Connection => "Connect",
        Joined::Ports => "Publish",
    };
    JOINED.into_iter().map(action).collect()
}

/// Every order in which two can be made at the same time.
fn at_once(one: &[&'static str], other: &[&'static str]) -> Vec<Vec<&'static str>> {
    let (Some((first, one_left)), Some((second, other_left))) = (one.split_first(), other.split_first())
    else {
        return vec![[one, other].concat()];
    };
    let ahead = |step: &'static str, rest: Vec<Vec<&'static str>>| {
        rest.into_iter().map(move |rest| [&[step][..], &rest].concat())
    };
    ahead(first, at_once(one_left, other))
        .chain(ahead(second, at_once(one, other_left)))
        .collect()
}

/// By root: the link is there when somebody keeps the network up.
fn of_root() -> Vec<Vec<&'static str>> {
    let kept = KEPT.into_iter().filter(|step| *step == Kept::Resolver);
    let after = [joined(), kept.map(|_| "StartResolver").collect()].concat();
    let both = at_once(&inside(), &host()).into_iter();
    both.map(|before| [before, after.clone()].concat()).collect()
}

/// By a user: what is made on the host is nothing, which is so at once; the way out is one program.
fn of_a_user() -> Vec<Vec<&'static str>> {
    let steps = KEPT.into_iter().flat_map(|step| match step {
        Kept::Resolver => vec!["StartResolver"],
        Kept::Connection => vec!["Claim", "List", "Connect", "Publish"],
    });
    let kept: Vec<_> = steps.collect();
    let without = kept
        .iter()
        .position(|step| *step == "Claim")
        .unwrap_or(kept.len());
    let before = [inside(), kept[..without].to_vec()].concat();
    let all = at_once(&before, &["Note", "MakeTable"]).into_iter();
    all.map(|before| [&before, &kept[without..]].concat()).collect()
}

fn step(graph: &Graph, from: usize, action: &str) -> Option<usize> {
    let edge = graph.edges[from].iter().find(|edge| edge.action == action);
    edge.map(|edge| edge.target)
}

/// Both ways: each step of the code is one of the spec's, until the workload begins; and the spec has no state of a
/// network that is being made but those that the code comes through. From each of them it may fail or be killed.
fn made() -> Agrees {
    let graph = shared("Egress");
    let mut seen = BTreeSet::new();
    for start in &graph.initial {
        let begun = step(graph, *start, "Begin").expect("a beginning");
        for road in of_root().into_iter().chain(of_a_user()) {
            let mut at = begun;
            seen.insert(at);
            for action in road.iter().chain(&["Launch"]) {
                for end in ["Fail", "Kill"] {
                    assert!(step(graph, at, end).is_some(), "{end}: {}", graph.states[at]);
                }
                let next = step(graph, at, action);
                holds(next.is_some(), || {
                    format!("{action} comes too early in {road:?}: {}", graph.states[at])
                })?;
                at = next.unwrap_or(at);
                seen.insert(at);
            }
            seen.remove(&at);
        }
    }
    let states = graph.states.iter().enumerate();
    let making = states.filter(|(_, state)| state["front"] == "making");
    let spec: BTreeSet<usize> = making.map(|(index, _)| index).collect();
    assert!(spec.len() > 50, "{}", spec.len());
    same(&seen.len(), &spec.len(), || {
        "states in which a network is being made".into()
    })?;
    holds(seen == spec, || {
        "other states in which a network is being made".into()
    })
}

/// What takes a part back, and whether it is there.
fn taken(part: Taken) -> (&'static str, &'static str, &'static str) {
    match part {
        Taken::Kept => ("StopResolver", "resolver", "running"),
        Taken::Owner => ("Disown", "link", "up"),
        Taken::Ports => ("TakePorts", "ports", "there"),
        Taken::Table => ("RemoveTable", "table", "there"),
    }
}

fn last(part: Last, killed: bool) -> (&'static str, &'static str, &'static str) {
    match part {
        Last::Link => ("Disconnect", "link", "left"),
        // By who holds it, or when nobody does by the kernel.
        Last::Namespace => (if killed { "Vanish" } else { "LetGo" }, "netns", "present"),
    }
}

const TAKING: [&str; 6] = [
    "StopResolver",
    "Disown",
    "TakePorts",
    "RemoveTable",
    "Disconnect",
    "LetGo",
];

/// From whatever is there when somebody begins to take back: in each state the next part of the code is the one that
/// the spec allows, and in the end nothing is left, or what is another's.
fn taken_back() -> Agrees {
    let graph = shared("Egress");
    let mut seen = BTreeSet::new();
    for (index, state) in graph.states.iter().enumerate() {
        let killed = state["front"] == "dead";
        if !(killed || state["front"] == "stopping") || state["workload"] != "none" {
            continue;
        }
        let parts = ["resolver", "link", "ports", "table", "netns"].map(|part| state[part].to_string());
        seen.insert((killed, parts));
        let mut at = index;
        let order = TAKE_DOWN.into_iter().map(taken);
        for (action, part, there) in order.chain(LAST.into_iter().map(|part| last(part, killed))) {
            let state = &graph.states[at];
            // The host's table is another's.
            if state[part] != there || part == "table" && state["link"] == "other" {
                continue;
            }
            let spec = graph.edges[at].iter().map(|edge| edge.action.as_str());
            let spec: Vec<&str> = spec.filter(|action| TAKING.contains(action)).collect();
            // The kernel has its own time.
            let code = if action == "Vanish" { vec![] } else { vec![action] };
            same(&code, &spec, || format!("taken back next in {state}"))?;
            at = step(graph, at, action).expect("it is allowed");
        }
        let end = &graph.states[at];
        let others = end["link"] == "other";
        let gone = end["resolver"] == "none"
            && end["netns"] == "none"
            && end["ports"] == "none"
            && (others || end["link"] == "none" && end["table"] == "none");
        holds(gone, || {
            format!("{TAKE_DOWN:?} and {LAST:?} leave {end} of {state}")
        })?;
    }
    // By who has made it and by who comes after: each that can be there.
    assert_eq!(seen.len(), 29, "{seen:?}");
    Ok(())
}
