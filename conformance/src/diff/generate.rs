//! Random valid configs: a list of features, each of which can be left out to find what makes a difference.

mod confinement;
mod mounts;
mod process;
mod resources;

use fastrand::Rng;
use serde_json::{Value, json};

pub(super) use mounts::SOURCES;

use super::probe::{PROGRAM, Request, STAY};
use crate::host::View;
use crate::lab::Bundle;

/// The feature that no config can be without.
const PROBE: &str = "the probe";

/// One change to the plain config.
#[derive(Debug, Clone)]
enum Edit {
    /// Sets what is at a JSON pointer.
    Set(String, Value),
    /// Appends to the list at a JSON pointer.
    Push(String, Value),
    /// Adds a new namespace.
    Namespace(&'static str),
    /// Leaves a namespace out.
    Inherit(&'static str),
}

/// Changes that belong together.
#[derive(Debug, Clone)]
pub(super) struct Feature {
    /// What it is, for messages.
    pub(super) name: &'static str,
    /// Whether the older reference knows it.
    pub(super) in_runc: bool,
    edits: Vec<Edit>,
}

impl Feature {
    fn new(name: &'static str) -> Feature {
        Feature {
            name,
            in_runc: true,
            edits: Vec::new(),
        }
    }

    fn set(mut self, pointer: &str, value: Value) -> Feature {
        self.edits.push(Edit::Set(pointer.to_owned(), value));
        self
    }

    fn push(mut self, pointer: &str, value: Value) -> Feature {
        self.edits.push(Edit::Push(pointer.to_owned(), value));
        self
    }

    fn edit(mut self, edit: Edit) -> Feature {
        self.edits.push(edit);
        self
    }

    /// Only the newer reference knows it.
    fn not_in_runc(mut self) -> Feature {
        self.in_runc = false;
        self
    }
}

/// A config and what to look at.
#[derive(Debug, Clone)]
pub(super) struct Config {
    /// What differs from the plain config.
    pub(super) features: Vec<Feature>,
    /// The second process, for `exec --process`.
    pub(super) exec: Value,
    /// What the probe looks at.
    pub(super) request: Request,
}

/// Which namespaces the container has of its own, besides its mounts.
struct Own {
    user: bool,
    network: bool,
    ipc: bool,
    uts: bool,
    cgroup: bool,
}

impl Config {
    /// The config of a seed; the same for the same seed, view and version of this program.
    pub(super) fn new(seed: u64, view: View) -> Config {
        let rng = &mut Rng::with_seed(seed);
        let mut features = vec![Feature::new(PROBE).set("/process/args", args(rng, STAY))];
        let own = namespaces(rng, &mut features);
        let mut request = Request::default();
        process::add(rng, &mut features);
        mounts::add(rng, &own, &mut features);
        confinement::add(rng, &own, &mut features, &mut request);
        resources::add(rng, view, &mut features);
        let mut exec = process::exec(rng);
        exec["args"] = args(rng, "once");
        Config {
            features,
            exec,
            request,
        }
    }

    /// What each reference is asked to run: runc all that it knows, crun the rest alone, so that only the
    /// rest has to be the same there.
    pub(super) fn parts(&self) -> Vec<(&'static str, Config)> {
        let with = |wanted: &dyn Fn(&Feature) -> bool| Config {
            features: self
                .features
                .iter()
                .filter(|feature| wanted(feature))
                .cloned()
                .collect(),
            ..self.clone()
        };
        let mut parts = vec![("runc", with(&|feature| feature.in_runc))];
        if self.features.iter().any(|feature| !feature.in_runc) {
            let rest = with(&|feature| !feature.in_runc || feature.name == PROBE);
            parts.push(("crun", rest));
        }
        parts
    }

    /// Changes a plain bundle.
    pub(super) fn apply(&self, bundle: &mut Bundle) {
        for edit in self.features.iter().flat_map(|feature| &feature.edits) {
            match edit {
                Edit::Set(pointer, value) => drop(bundle.set(pointer, value.clone())),
                Edit::Push(pointer, value) => drop(bundle.push(pointer, value.clone())),
                Edit::Namespace(kind) => drop(bundle.namespace(kind)),
                Edit::Inherit(kind) => drop(bundle.drop_namespace(kind)),
            }
        }
    }
}

fn args(rng: &mut Rng, kind: &str) -> Value {
    let mut args = vec![PROGRAM, "probe", kind];
    args.extend(some(rng, &["a b", "", "--flag", "*", "$HOME", "é"]));
    json!(args)
}

/// Holds once in `of` times.
fn once_in(rng: &mut Rng, of: u32) -> bool {
    rng.u32(..of) == 0
}

/// A random subset, in a random order.
fn some<T: Clone>(rng: &mut Rng, all: &[T]) -> Vec<T> {
    let count = rng.usize(..=all.len());
    choose(rng, all, count)
}

/// `count` different ones, in a random order.
fn choose<T: Clone>(rng: &mut Rng, all: &[T], count: usize) -> Vec<T> {
    let mut list = all.to_vec();
    rng.shuffle(&mut list);
    list.truncate(count);
    list
}

fn one<T: Clone>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.usize(..all.len())].clone()
}

fn namespaces(rng: &mut Rng, features: &mut Vec<Feature>) -> Own {
    let mut own = Own {
        user: once_in(rng, 4),
        network: true,
        ipc: true,
        uts: true,
        cgroup: once_in(rng, 2),
    };
    if own.user {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        let feature = Feature::new("user namespace").edit(Edit::Namespace("user"));
        features.push(
            feature
                .set("/linux/uidMappings", map.clone())
                .set("/linux/gidMappings", map),
        );
    }
    if own.cgroup {
        features.push(Feature::new("cgroup namespace").edit(Edit::Namespace("cgroup")));
    }
    if !own.user && once_in(rng, 8) {
        features.push(Feature::new("the caller's pid namespace").edit(Edit::Inherit("pid")));
    }
    // In a user namespace most of what follows needs the other namespaces to be new too.
    if !own.user {
        own.network = !once_in(rng, 5);
        own.ipc = !once_in(rng, 5);
        own.uts = !once_in(rng, 5);
    }
    for (present, kind) in [(own.network, "network"), (own.ipc, "ipc"), (own.uts, "uts")] {
        if !present {
            let feature = Feature::new("an inherited namespace").edit(Edit::Inherit(kind));
            features.push(if kind == "uts" {
                feature.set("/hostname", json!(""))
            } else {
                feature
            });
        }
    }
    own
}
