//! `shim/src/reach.rs` against the spec Gvisor: every network that can be asked for, in both directions, refusals
//! included, and where and how the runtime is called then.

use super::code::{Asked, Space, decide};
use nucleus_formal::binding::{Agrees, Property, same};
use nucleus_formal::graph::{Graph, shared, text};
use nucleus_formal::wish::{network, runtimes};
use nucleus_shim::facts::Runtime;
use nucleus_shim::mode::Rules;
use nucleus_shim::request::Mode;
use serde_json::Value;
use std::collections::BTreeSet;

/// The comparisons.
pub const PROPERTIES: &[Property] = &[
    ("every network", every_network),
    ("every call", every_call),
    ("user namespaces", user_namespaces),
];

/// A request of the spec, once for each runtime that the spec does not tell apart.
fn asked(wish: &Value) -> Vec<Asked> {
    let modes = [Mode::Agent, Mode::StrictAgent, Mode::Production];
    let mode = modes.into_iter().find(|mode| mode.word() == text(&wish["mode"]));
    let (mode, network) = (mode.expect("a mode"), network(wish).expect("a network"));
    let asked = |runtime: &Runtime| Asked {
        network,
        runtime: *runtime,
        root: wish["root"] == true,
        host_network: Rules::of(mode).host_network,
        host_consent: wish["host_consent"] == true,
    };
    runtimes(wish).iter().map(asked).collect()
}

/// The requests, each with the state in which it is decided.
fn decided(graph: &Graph) -> impl Iterator<Item = (Vec<Asked>, &Value)> {
    graph.initial.iter().map(|start| {
        let [step] = &graph.edges[*start][..] else {
            panic!("{} is decided once", graph.states[*start]);
        };
        assert_eq!(step.action, "Decide");
        let after = &graph.states[step.target];
        (asked(&after["wish"]), after)
    })
}

fn has(set: &Value, word: &str) -> bool {
    set.as_array().into_iter().flatten().any(|item| item == word)
}

fn every_network() -> Agrees {
    let mut outcomes = BTreeSet::new();
    for (asked, after) in decided(shared("Gvisor")) {
        let spec = !has(&after["denied"], "network");
        for asked in asked {
            same(&decide(&asked).is_ok(), &spec, || format!("{asked:?}"))?;
            outcomes.insert((format!("{:?}", asked.runtime), asked.network.word(), spec));
        }
    }
    // Without a network nothing is refused, a bridge never to ours, and only gVisor gets `gvisor-host`.
    assert_eq!(outcomes.len(), 5 + 7 + 3 * 6, "{outcomes:?}");
    Ok(())
}

/// Where it is started, and what it is told: in each state in which a command of the runtime comes next.
fn every_call() -> Agrees {
    let graph = shared("Gvisor");
    let mut seen = BTreeSet::new();
    for (index, before) in graph.states.iter().enumerate() {
        for edge in &graph.edges[index] {
            if !["Create", "Start"].contains(&edge.action.as_str()) {
                continue;
            }
            let after = &graph.states[edge.target];
            for asked in asked(&before["wish"]) {
                let place = || format!("{} of {asked:?}", edge.action);
                let space = decide(&asked).ok();
                same(&space.map(word), &Some(text(&before["space"])), place)?;
                let space = space.expect("as the spec has it");
                if asked.runtime == Runtime::Gvisor {
                    same(&space.told(), &text(&after["stack"]), place)?;
                }
                // The others are told in the bundle.
                let enters = asked.runtime == Runtime::Gvisor && before["space"] == "ruled";
                same(&space.is_entered(asked.runtime), &enters, place)?;
                seen.insert((format!("{:?}", asked.runtime), word(space), edge.action.as_str()));
            }
        }
    }
    assert_eq!(seen.len(), 5 * 3 * 2, "{seen:?}");
    Ok(())
}

/// The spec's word.
fn word(space: Space) -> &'static str {
    match space {
        Space::Empty => "empty",
        Space::Ruled => "ruled",
        Space::Host => "host",
    }
}

/// Where there is none around the workload is told, or refused.
fn user_namespaces() -> Agrees {
    let mut seen = BTreeSet::new();
    for (asked, after) in decided(shared("Gvisor")) {
        let other = has(&after["wish"]["asks"], "ignored");
        for asked in asked {
            let code = Space::of(asked.network).has_user_namespace(asked.runtime);
            let spec = match text(&after["road"]) {
                "taken" => !has(&after["informed"], "user namespace"),
                // What else is left out is refused in the same word.
                _ if other
                    || after["wish"]["root"] == false
                    || (after["wish"]["mode"] == "agent" && after["wish"]["consent"] == true) =>
                {
                    continue;
                }
                _ => !has(&after["denied"], "runtime"),
            };
            same(&code, &spec, || format!("{asked:?}"))?;
            seen.insert((
                format!("{:?}", asked.runtime),
                asked.network.word(),
                text(&after["wish"]["mode"]),
            ));
        }
    }
    assert_eq!(seen.len(), 5 * 4 * 3, "{seen:?}");
    Ok(())
}
