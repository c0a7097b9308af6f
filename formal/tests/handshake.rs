//! `runtime/src/protocol.rs`, which create, run and exec ask, against `specs/Handshake.tla`: every message in every
//! state of the parent, those included that do not belong there.

use nucleus_formal::graph::{Graph, text};
use nucleus_runtime::protocol::{Heard, MESSAGES, Protocol, Reply, Stage};
use serde_json::Value;
use std::collections::BTreeSet;

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

#[test]
fn the_code_answers_every_message_as_the_spec() {
    let graph = Graph::of("Handshake").unwrap();
    let mut seen = BTreeSet::new();
    for (index, state) in graph.states.iter().enumerate() {
        let answers: Vec<_> = graph.edges[index]
            .iter()
            .filter(|edge| ANSWERS.contains(&edge.action.as_str()))
            .collect();
        let stage = match text(&state["stage"]) {
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
        let heard = MESSAGES
            .into_iter()
            .find(|heard| heard.to_string() == text(message))
            .unwrap();
        let code = protocol(state, stage).hear(heard);
        assert_eq!(answers.len(), 1, "{answers:?} in {state}");
        assert_eq!(
            answers[0].action,
            action(code.ok().map(|(reply, _)| reply)),
            "{heard} in {state}"
        );
        if let Ok((_, after)) = code {
            assert_eq!(
                protocol(&graph.states[answers[0].target], stage),
                after,
                "{heard} in {state}"
            );
        }
        seen.insert((protocol_word(state), heard.to_string()));
    }
    // Every message was heard with each of the eight things that can be owed, and after the start.
    assert!(seen.len() >= 8 * MESSAGES.len(), "{}: {seen:?}", seen.len());
}

fn protocol_word(state: &Value) -> String {
    format!("{} {}", state["stage"], state["owed"])
}

#[test]
fn a_started_child_can_only_fail_or_end() {
    for heard in MESSAGES {
        let started = Protocol {
            stage: Stage::SetUp,
            hooks: false,
            terminal: false,
            listener: false,
        }
        .started();
        let allowed = matches!(heard, Heard::Failed | Heard::Closed);
        assert_eq!(started.hear(heard).is_ok(), allowed, "{heard}");
    }
}
