//! `runtime/src/plan/tree.rs`, against which every plan is held, against the spec Filesystem: the one order for
//! whatever is asked for, that a plan passes only in it, and how mounts are kept from reaching the host.

use super::code::{Asked, Kind, follows, propagations, road};
use nucleus_formal::binding::{Agrees, Property, holds, same};
use nucleus_formal::graph::{Graph, shared_with, text};
use nucleus_runtime::plan::step::Place;
use nucleus_runtime::rootfs::mount::Propagation;
use serde_json::Value;

/// The comparisons.
pub const PROPERTIES: &[Property] = &[
    ("one order", one_order),
    ("plans", plans),
    ("kept off the host", kept_off_the_host),
];

/// The spec without anybody who renames, with what is asked for.
fn graph(propagation: &str, protections: &[&str]) -> &'static Graph {
    shared_with(
        "Filesystem",
        &[
            ("Swaps", &[]),
            ("Propagations", &[propagation]),
            ("Protections", protections),
        ],
    )
}

/// The step of the plan that an action of the spec belongs to, whose hidden paths may not be there.
fn kind(action: &str, after: &Value) -> Option<Kind> {
    Some(match (action, text(&after["stage"])) {
        ("Inherit", _) => Kind::Inherited,
        ("AttachRoot", _) => Kind::Root,
        ("AttachBind" | "AttachProc", _) => Kind::Content,
        ("Hooks", _) => Kind::Hooks,
        ("ReadonlyPaths", _) | ("NothingToHide", "readonly") => Kind::ReadonlyPaths,
        ("Mask", _) | ("NothingToHide", "masked") => Kind::Mask,
        ("Pivot" | "LetOldRootGo" | "DetachOldRoot", _) => Kind::Pivot,
        ("RootReadonly", _) => Kind::ReadonlyRoot,
        _ => return None,
    })
}

/// Every order in which the spec lets the program run.
fn orders(graph: &Graph, at: usize, kinds: &mut Vec<Kind>, found: &mut Vec<Vec<Kind>>) {
    if graph.states[at]["stage"] == "running" && !found.contains(kinds) {
        found.push(kinds.clone());
    }
    // Moving `y` away brings the lookup back to where it has been, so it is left out.
    let steps = graph.edges[at]
        .iter()
        .filter(|edge| !["Move", "Fail", "Rest"].contains(&edge.action.as_str()));
    for edge in steps {
        let length = kinds.len();
        let kind = kind(&edge.action, &graph.states[edge.target]);
        kinds.extend(kind.filter(|kind| kinds.last() != Some(kind)));
        orders(graph, edge.target, kinds, found);
        kinds.truncate(length);
    }
}

const PROTECTIONS: [&str; 3] = ["readonly", "masked", "root"];

/// Whatever can be asked for, with the spec's order.
fn every_order() -> Vec<(Asked, Vec<Kind>)> {
    let mut all = Vec::new();
    for bits in 0..32_u32 {
        let bit = |at: u32| bits & (1 << at) != 0;
        let protections: Vec<&str> = PROTECTIONS
            .into_iter()
            .zip(0..)
            .filter(|(_, at)| bit(*at))
            .map(|(name, _)| name)
            .collect();
        let asked = Asked {
            readonly_paths: bit(0),
            masked_paths: bit(1),
            readonly_root: bit(2),
            hooks: bit(3),
            propagation: bit(4),
        };
        for propagation in ["slave", "shared"] {
            let graph = graph(propagation, &protections);
            let mut found = Vec::new();
            for start in &graph.initial {
                orders(graph, *start, &mut Vec::new(), &mut found);
            }
            assert_eq!(found.len(), 1, "{propagation}, {protections:?}");
            let mut order = found.remove(0);
            order.retain(|kind| asked.hooks || *kind != Kind::Hooks);
            // The spec leaves the container's own propagation out: it is set when the host's tree is gone.
            if asked.propagation {
                let pivot = order
                    .iter()
                    .position(|kind| *kind == Kind::Pivot)
                    .expect("a pivot");
                order.insert(pivot + 1, Kind::Propagation);
            }
            all.push((asked, order));
        }
    }
    all
}

fn one_order() -> Agrees {
    for (asked, spec) in every_order() {
        let code: Vec<Kind> = road(asked).collect();
        same(&code, &spec, || format!("{asked:?}"))?;
    }
    Ok(())
}

const KINDS: [Kind; 9] = [
    Kind::Inherited,
    Kind::Root,
    Kind::Content,
    Kind::Hooks,
    Kind::ReadonlyPaths,
    Kind::Mask,
    Kind::Pivot,
    Kind::Propagation,
    Kind::ReadonlyRoot,
];

/// The check that every plan passes: the spec's order passes, and none with a step left out, doubled, exchanged with
/// the next one, or put in that was not asked for. What is mounted and the hooks may take several steps.
fn plans() -> Agrees {
    for (asked, order) in every_order() {
        let passes = |kinds: &[Kind]| follows(asked, kinds.iter().copied()).is_ok();
        holds(passes(&order), || format!("{order:?} is refused"))?;
        for at in 0..order.len() {
            let mut less = order.clone();
            let gone = less.remove(at);
            holds(!passes(&less), || format!("without {gone:?}: {asked:?}"))?;
            let mut twice = order.clone();
            twice.insert(at, gone);
            let many = matches!(gone, Kind::Content | Kind::Hooks);
            same(&passes(&twice), &many, || format!("twice {gone:?}: {asked:?}"))?;
            if at > 0 {
                let mut swapped = order.clone();
                swapped.swap(at - 1, at);
                holds(!passes(&swapped), || format!("{gone:?} too early: {asked:?}"))?;
            }
            for other in KINDS.into_iter().filter(|kind| !order.contains(kind)) {
                let mut more = order.clone();
                more.insert(at, other);
                holds(!passes(&more), || format!("with {other:?}: {asked:?}"))?;
            }
        }
    }
    Ok(())
}

/// The first state after an action.
fn after<'a>(graph: &'a Graph, action: &str) -> Option<&'a Value> {
    let edge = graph.edges.iter().flatten().find(|edge| edge.action == action)?;
    Some(&graph.states[edge.target])
}

fn kept_off_the_host() -> Agrees {
    let flags = [
        libc::MS_PRIVATE,
        libc::MS_SLAVE,
        libc::MS_SHARED,
        libc::MS_UNBINDABLE,
    ];
    let asked = flags
        .into_iter()
        .flat_map(|flag| [true, false].map(|recursive| Some(Propagation { flag, recursive })));
    for asked in asked.chain([None]) {
        let code = propagations(asked, false);
        let shared = asked.is_some_and(|asked| asked.flag == libc::MS_SHARED);
        let graph = graph(if shared { "shared" } else { "slave" }, &PROTECTIONS);
        // Private mounts are as little seen on the host as those of a slave.
        let inherited = match code.inherited.flag {
            libc::MS_SHARED => "shared",
            libc::MS_SLAVE | libc::MS_PRIVATE => "slave",
            _ => "which no bind mount can be made from",
        };
        let place = || format!("{asked:?}: {code:?}");
        let rooted = after(graph, "AttachRoot").expect("a root");
        same(&inherited, &text(&rooted["propagation"]), place)?;
        holds(code.inherited.recursive, || {
            format!("not the whole tree: {}", place())
        })?;
        let mountpoint = match code.place {
            Place::OverRoot => "over",
            Place::Path => "path",
        };
        same(&mountpoint, &text(&rooted["mountpoint"]), place)?;
        same(&code.shared, &after(graph, "LetOldRootGo").is_some(), place)?;
        // Beside the spec: where nothing is pivoted, the root file system must cover the root directory.
        let covering = propagations(asked, true);
        same(&covering.place, &Place::OverRoot, || {
            format!("--no-pivot: {covering:?}")
        })?;
        same(&covering.inherited, &code.inherited, || {
            format!("--no-pivot: {covering:?}")
        })?;
    }
    Ok(())
}
