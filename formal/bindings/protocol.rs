//! `runtime/src/protocol.rs`, which create, run and exec ask, against the spec Handshake: every message in every state
//! of the parent, those included that do not belong there.

use super::code::{Heard, MESSAGES, Protocol, Reply, Stage};
use nucleus_formal::binding::{Agrees, Property, same};
use nucleus_formal::graph::{shared, text};
use serde_json::Value;
use std::collections::BTreeSet;

/// The comparisons.
pub const PROPERTIES: &[Property] = &[
    ("every message", every_message),
    ("started", a_started_child_can_only_fail_or_end),
];

/// The spec's action for what the code does.
fn action(reply: Option<Reply>) -> &'static str {
    match reply {
        Some(Reply::RunHooks) => "RunsHooks",
        Some(Reply::KeepTerminal) => "KeepsTerminal",
        Some(Reply::PassListener) => "PassesListener",
        Some(Reply::GoOn) => "GoesOn",
        Some(Reply::Report) => "Reports",
        Some(Reply::Died) => "SeesDeath",
        Some(Reply::Executed) => "SeesExec",
        None => "Refuses",
    }
}

const ANSWERS: [&str; 8] = [
    "RunsHooks",
    "KeepsTerminal",
    "PassesListener",
    "GoesOn",
    "Reports",
    "SeesDeath",
    "SeesExec",
    "Refuses",
];

fn protocol(state: &Value, stage: Stage) -> Protocol {
    let owed = |what: &str| state["owed"][what] == true;
    Protocol {
        stage,
        hooks: owed("hooks"),
        terminal: owed("terminal"),
        listener: owed("listener"),
    }
}

fn every_message() -> Agrees {
    let graph = shared("Handshake");
    let mut seen = BTreeSet::new();
    for (index, state) in graph.states.iter().enumerate() {
        let answers: Vec<_> = graph.edges[index]
            .iter()
            .filter(|edge| ANSWERS.contains(&edge.action.as_str()))
            .collect();
        let stage = match text(&state["parent"]) {
            "setup" => Stage::SetUp,
            "started" => Stage::Started,
            _ => {
                assert!(answers.is_empty(), "it does not listen in {state}");
                continue;
            }
        };
        let Some(message) = state["toParent"].as_array().and_then(|queue| queue.first()) else {
            assert!(answers.is_empty(), "it hears nothing in {state}");
            continue;
        };
        let [answer] = &answers[..] else {
            panic!("{answers:?} in {state}");
        };
        let heard = MESSAGES
            .into_iter()
            .find(|heard| heard.to_string() == text(message));
        let heard = heard.expect("a message");
        seen.insert((
            format!("{} {}", state["parent"], state["owed"]),
            heard.to_string(),
        ));
        let code = protocol(state, stage).hear(heard);
        let reply = action(code.ok().map(|(reply, _)| reply));
        same(&reply, &answer.action.as_str(), || format!("{heard} in {state}"))?;
        if let Ok((_, after)) = code {
            let spec = protocol(&graph.states[answer.target], stage);
            same(&after, &spec, || format!("after {heard} in {state}"))?;
        }
    }
    // Every message was heard with each of the eight things that can be owed, and after the start.
    assert!(seen.len() >= 8 * MESSAGES.len(), "{}: {seen:?}", seen.len());
    Ok(())
}

/// Whatever was still owed: `run` begins here without having heard what was sent before.
fn a_started_child_can_only_fail_or_end() -> Agrees {
    for (heard, owed) in MESSAGES
        .into_iter()
        .flat_map(|heard| (0..8).map(move |owed| (heard, owed)))
    {
        let started = Protocol {
            stage: Stage::SetUp,
            hooks: owed & 1 != 0,
            terminal: owed & 2 != 0,
            listener: owed & 4 != 0,
        }
        .started();
        let allowed = matches!(heard, Heard::Failed | Heard::Closed);
        same(&started.hear(heard).is_ok(), &allowed, || {
            format!("{heard} with {started:?}")
        })?;
    }
    Ok(())
}
