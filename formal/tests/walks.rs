//! Random walks through a spec's graph, which is the reference, with the code's own state carried along; and the walks
//! of the road to exec as ITF, the exchange format of Apalache, replayed through tla-connect.

use nucleus_formal::graph::{Edge, Graph, text};
use nucleus_runtime::plan::order::{Asked, Kind, road};
use nucleus_runtime::protocol::{MESSAGES, Protocol, Stage};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::OnceLock;
use tla_connect::{Driver, DriverError, ExtractState, State, replay_traces};

fn handshake() -> &'static Graph {
    static GRAPH: OnceLock<Graph> = OnceLock::new();
    GRAPH.get_or_init(|| Graph::of("Handshake").unwrap())
}

/// A place in the graph.
#[derive(Debug)]
struct Reference;

impl ReferenceStateMachine for Reference {
    type State = usize;
    type Transition = Edge;

    fn init_state() -> BoxedStrategy<usize> {
        proptest::sample::select(handshake().initial.clone()).boxed()
    }

    fn transitions(state: &usize) -> BoxedStrategy<Edge> {
        proptest::sample::select(handshake().edges[*state].clone()).boxed()
    }

    fn apply(_: usize, edge: &Edge) -> usize {
        edge.target
    }

    fn preconditions(state: &usize, edge: &Edge) -> bool {
        handshake().edges[*state].contains(edge)
    }
}

/// The code's protocol, which hears what the spec's parent hears.
struct Walk {
    at: usize,
    protocol: Protocol,
}

fn owed(state: &Value) -> [bool; 3] {
    ["hooks", "terminal", "listener"].map(|what| state["owed"][what] == true)
}

impl StateMachineTest for Walk {
    type SystemUnderTest = Self;
    type Reference = Reference;

    fn init_test(at: &usize) -> Self {
        let [hooks, terminal, listener] = owed(&handshake().states[*at]);
        let protocol = Protocol {
            stage: Stage::SetUp,
            hooks,
            terminal,
            listener,
        };
        Self { at: *at, protocol }
    }

    fn apply(mut walk: Self, _: &usize, edge: Edge) -> Self {
        let (before, after) = (&handshake().states[walk.at], &handshake().states[edge.target]);
        let heard =
            before["toParent"].as_array().unwrap().len() > after["toParent"].as_array().unwrap().len();
        if heard {
            let word = text(&before["toParent"][0]);
            let message = MESSAGES
                .into_iter()
                .find(|message| message.to_string() == word)
                .unwrap();
            match walk.protocol.hear(message) {
                Ok((_, next)) => {
                    assert_ne!(edge.action, "Refuses");
                    walk.protocol = next;
                }
                Err(_) => assert_eq!(edge.action, "Refuses"),
            }
        }
        if after["parent"] == "started" {
            walk.protocol = walk.protocol.started();
        }
        walk.at = edge.target;
        walk
    }

    fn check_invariants(walk: &Self, at: &usize) {
        let state = &handshake().states[*at];
        if state["parent"] != "failed" {
            let Protocol {
                hooks,
                terminal,
                listener,
                ..
            } = walk.protocol;
            assert_eq!([hooks, terminal, listener], owed(state), "{state}");
        }
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_protocol_follows_every_walk(sequential 1..40 => Walk);
}

/// What is compared after each step.
#[derive(Debug, PartialEq, Deserialize)]
struct Done {
    done: BTreeSet<String>,
}

impl State for Done {}

#[derive(Default)]
struct Isolation {
    road: Vec<Kind>,
    done: usize,
}

impl ExtractState<Isolation> for Done {
    fn from_driver(driver: &Isolation) -> Result<Self, DriverError> {
        Ok(Self {
            done: driver.road[..driver.done].iter().map(Kind::to_string).collect(),
        })
    }
}

#[derive(Deserialize)]
struct Wanted {
    asked: Wants,
}

#[derive(Deserialize)]
struct Wants {
    enters: bool,
    userns: bool,
    nnp: bool,
    landlock: bool,
    filter: String,
    terminal: bool,
    hooks: bool,
    traced: bool,
}

impl Driver for Isolation {
    type State = Done;

    fn step(&mut self, step: &tla_connect::Step) -> Result<(), DriverError> {
        if step.action_taken != "init" {
            let next = self
                .road
                .get(self.done)
                .map_or_else(|| "Exec".to_owned(), |kind| format!("{kind:?}"));
            if next != step.action_taken {
                let message = format!("the code takes {next}, the trace {}", step.action_taken);
                return Err(DriverError::StateExtraction(message));
            }
            self.done = self.road.len().min(self.done + 1);
            return Ok(());
        }
        let Wanted { asked } = Wanted::deserialize(step.state.clone())
            .map_err(|error| DriverError::StateExtraction(error.to_string()))?;
        let asked = Asked {
            enters: asked.enters,
            user_namespace: asked.userns && !asked.enters,
            no_new_privileges: asked.nnp,
            landlock: asked.landlock,
            filter: asked.filter != "none",
            listener: asked.filter == "listener",
            terminal: asked.terminal,
            runtime_hooks: asked.hooks,
            container_hooks: asked.hooks,
            start_hooks: asked.hooks,
            traced: asked.traced,
        };
        self.road = road(asked).collect();
        self.done = 0;
        Ok(())
    }
}

/// The way of one configuration to exec, in ITF.
fn itf(graph: &Graph, at: usize) -> Value {
    let mut states = Vec::new();
    let mut action = "init".to_owned();
    let [clone] = &graph.edges[at][..] else {
        panic!("nothing but its birth is before its first step");
    };
    let mut at = clone.target;
    loop {
        let state = &graph.states[at];
        states.push(
            json!({"#meta": {"index": states.len()}, "action_taken": action, "asked": state["plan"],
            "done": {"#set": state["taken"]}}),
        );
        let other = ["Fail", "RuntimeDies", "Deserted", "Rest"];
        let Some(edge) = graph.edges[at]
            .iter()
            .find(|edge| !other.contains(&edge.action.as_str()))
        else {
            break;
        };
        (at, action) = (edge.target, edge.action.clone());
    }
    json!({"#meta": {"format": "ITF"}, "vars": ["action_taken", "asked", "done"], "states": states})
}

#[test]
fn every_road_replays_from_itf() {
    let graph = Graph::of("Isolation").unwrap();
    let traces: Vec<itf::Trace<itf::Value>> = graph
        .initial
        .iter()
        .map(|at| serde_json::from_value(itf(&graph, *at)).unwrap())
        .collect();
    let stats = replay_traces(Isolation::default, &traces).unwrap();
    assert_eq!(stats.traces_replayed, graph.initial.len());
    // A trace with a step of another configuration's is refused.
    let mut wrong = itf(&graph, graph.initial[0]);
    wrong["states"][2]["done"]["#set"] = json!(["pivot"]);
    let wrong: itf::Trace<itf::Value> = serde_json::from_value(wrong).unwrap();
    assert!(replay_traces(Isolation::default, [&wrong]).is_err());
}
