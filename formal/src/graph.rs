//! The state graph of a spec, from the checker itself, for the tests that compare the code with it.

use crate::model::{Ask, Model, specs};
use crate::native;
use anyhow::{Context, Result, anyhow};
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, OnceLock};
use tla_checker::ast::{State, Value};

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The action that makes it.
    pub action: String,
    /// Index of the state after it.
    pub target: usize,
}

/// All reachable states and steps.
#[derive(Debug)]
pub struct Graph {
    /// Each state's variables by their names. Sets are sorted arrays, functions are objects.
    pub states: Vec<Json>,
    /// The steps from each state, without duplicates.
    pub edges: Vec<Vec<Edge>>,
    /// Indices of the initial states.
    pub initial: Vec<usize>,
}

impl Graph {
    /// Explores a spec with its own configuration.
    ///
    /// # Errors
    /// The spec cannot be read or evaluated.
    pub fn of(name: &str) -> Result<Self> {
        Self::with(name, &[])
    }

    /// The same with other values for some constants, each a set of strings.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn with(name: &str, constants: &[(&str, &[&str])]) -> Result<Self> {
        let set =
            |values: &[&str]| Value::set(values.iter().map(|value| Value::Str((*value).into())).collect());
        let constants: Vec<_> = constants
            .iter()
            .map(|(name, values)| ((*name).into(), set(values)))
            .collect();
        let model = Model::open(&specs(), name)?;
        let scratch = tempfile::tempdir()?;
        let config = scratch.path().join("graph.cfg");
        std::fs::write(&config, model.configuration(&Ask::Everything)?)?;
        let prepared = native::prepare(&model, &config, &constants)?;
        let spec = &prepared.spec;
        let (mut env, defs) =
            tla_checker::checker::prepare_spec(spec, &prepared.domains, Some(&prepared.spec_path), true)
                .map_err(|error| anyhow!("{name}: {error:?}"))?;
        let init = spec.init.as_ref().context("no Init")?;
        let next = spec.next.as_ref().context("no Next")?;
        let fault = |error| anyhow!("{name}: {error:?}");
        let mut numbers: HashMap<State, usize> = HashMap::new();
        let mut found = Vec::new();
        let mut queue = VecDeque::new();
        let mut number = |state: State, found: &mut Vec<Json>, queue: &mut VecDeque<State>| {
            let fresh = numbers.len();
            *numbers.entry(state.clone()).or_insert_with(|| {
                found.push(json(&spec.vars, &state));
                queue.push_back(state);
                fresh
            })
        };
        let mut initial = Vec::new();
        for state in tla_checker::eval::init_states(init, &spec.vars, &env, &defs).map_err(fault)? {
            initial.push(number(state, &mut found, &mut queue));
        }
        let primed = tla_checker::eval::make_primed_names(&spec.vars);
        let mut edges = Vec::new();
        while let Some(state) = queue.pop_front() {
            let steps = tla_checker::eval::next_states(next, &state, &spec.vars, &primed, &mut env, &defs)
                .map_err(fault)?;
            let mut from: Vec<Edge> = steps
                .into_iter()
                .map(|step| Edge {
                    action: step.action.as_deref().unwrap_or_default().to_owned(),
                    target: number(step.state, &mut found, &mut queue),
                })
                .collect();
            from.sort();
            from.dedup();
            edges.push(from);
        }
        Ok(Self {
            states: found,
            edges,
            initial,
        })
    }
}

fn json(vars: &[std::sync::Arc<str>], state: &State) -> Json {
    let fields = vars.iter().zip(&state.values);
    Json::Object(
        fields
            .map(|(name, value)| (name.to_string(), plain(value)))
            .collect(),
    )
}

/// A value as JSON: strings and model values as strings, sets and tuples as arrays, functions as objects.
fn plain(value: &Value) -> Json {
    match value {
        Value::Bool(bool) => Json::Bool(*bool),
        Value::Int(int) => Json::from(*int),
        Value::Str(text) | Value::Model(text) => Json::String(text.to_string()),
        Value::Set(set) => Json::Array(set.iter().map(plain).collect()),
        Value::Tuple(items) => Json::Array(items.iter().map(plain).collect()),
        Value::Record(fields) => Json::Object(
            fields
                .iter()
                .map(|(name, value)| (name.to_string(), plain(value)))
                .collect(),
        ),
        Value::Fn(map) => {
            let entry = |(key, value): (&Value, &Value)| {
                let key = match plain(key) {
                    Json::String(text) => text,
                    other => other.to_string(),
                };
                (key, plain(value))
            };
            Json::Object(map.iter().map(entry).collect::<Map<_, _>>())
        }
        Value::IntSet(_) => Json::Null,
    }
}

/// The graph of a spec, explored once and kept.
///
/// # Panics
/// Where [`Graph::of`] has an error.
pub fn shared(name: &str) -> &'static Graph {
    shared_with(name, &[])
}

/// The same with other values for some constants.
///
/// # Panics
/// Where [`Graph::with`] has an error.
pub fn shared_with(name: &str, constants: &[(&str, &[&str])]) -> &'static Graph {
    static KEPT: Mutex<BTreeMap<String, &'static OnceLock<Graph>>> = Mutex::new(BTreeMap::new());
    let key = format!("{name} {constants:?}");
    let kept = match KEPT.lock() {
        Ok(mut kept) => *kept.entry(key).or_insert_with(|| Box::leak(Box::default())),
        Err(poisoned) => panic!("{poisoned}"),
    };
    kept.get_or_init(|| Graph::with(name, constants).unwrap_or_else(|error| panic!("{name}: {error:#}")))
}

/// The text of a string.
pub fn text(value: &Json) -> &str {
    value.as_str().unwrap_or_default()
}
