//! `runtime/src/rootfs/lookup.rs`, by which every path of a container is found or made, against the spec Filesystem:
//! the kernel's answers under the flags of the code, whatever the other container renames, and what the code asks next.

use super::code::{Answer, Ask, Failed, Lookup, RETRIES, may_follow_links, nothing_to_hide, resolve};
use nucleus_formal::binding::{Agrees, Property, holds, same};
use nucleus_formal::graph::{Edge, Graph, shared, text};
use rustix::fs::ResolveFlags;
use rustix::io::Errno;
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};

/// The comparisons.
pub const PROPERTIES: &[Property] = &[
    ("every component", every_component),
    ("every answer", every_answer),
    ("errors", errors),
    ("what hides", what_hides),
    ("links", links),
];

/// Of the spec's configuration.
const MAX_LINKS: u64 = 2;
const MAX_RETRIES: u32 = 1;
const COMPONENTS: usize = 2;

/// What `openat2(2)` does with the next component.
#[derive(Debug, PartialEq)]
enum Goes {
    /// To a directory, what is left, and whether it was a link.
    On(String, Vec<String>, bool),
    /// It ends with this error.
    No(Errno),
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.map(|item| text(item).to_owned()).collect()
}

/// The tree that the spec describes, as the kernel finds it: the directory or the link of a name.
enum Entry {
    Directory(&'static str),
    Link(bool, &'static [&'static str]),
    Nothing,
}

fn entry(state: &Value, directory: &str, name: &str) -> Entry {
    let x = text(&state["x"]);
    match (directory, name, x) {
        ("root", "x", "dir") | ("root", "d", "up" | "abs" | "loop" | "through" | "nothing" | "new") => {
            Entry::Directory("x")
        }
        ("root", "x", "new") => Entry::Directory("new x"),
        ("root", "x", "up") => Entry::Link(false, &["..", "h"]),
        ("root", "x", "abs") => Entry::Link(true, &["h"]),
        ("root", "x", "loop") => Entry::Link(false, &["x"]),
        ("root", "x", "through") => Entry::Link(false, &["d", "y", "..", "..", "h"]),
        ("x", "y", _) if state["above"] == "x" => Entry::Directory("y"),
        (_, "y", _) if state["made"] == directory => Entry::Directory("new"),
        ("host", "h", _) => Entry::Directory("secret"),
        _ => Entry::Nothing,
    }
}

fn parent(state: &Value, directory: &str) -> String {
    match directory {
        "x" | "new x" => "root".to_owned(),
        "y" => text(&state["above"]).to_owned(),
        "new" => text(&state["made"]).to_owned(),
        _ => "host".to_owned(),
    }
}

/// As `openat2(2)` says, for flags.
fn kernel(flags: ResolveFlags, state: &Value) -> Goes {
    let in_root = flags.contains(ResolveFlags::IN_ROOT);
    let at = text(&state["at"]);
    let mut rest = strings(&state["rest"]);
    let name = rest.remove(0);
    if name == ".." {
        if at == "root" {
            let to = if in_root { "root" } else { "host" };
            return Goes::On(to.to_owned(), rest, false);
        }
        // Whether it is still below the root cannot be told when it was moved.
        let moved = at == "y" && state["above"] == "host";
        return match in_root && moved {
            true => Goes::No(Errno::AGAIN),
            false => Goes::On(parent(state, at), rest, false),
        };
    }
    match entry(state, at, &name) {
        Entry::Directory(directory) => Goes::On(directory.to_owned(), rest, false),
        Entry::Nothing => Goes::No(Errno::NOENT),
        Entry::Link(..) if flags.contains(ResolveFlags::NO_SYMLINKS) => Goes::No(Errno::LOOP),
        Entry::Link(..) if state["followed"].as_u64() >= Some(MAX_LINKS) => Goes::No(Errno::LOOP),
        Entry::Link(absolute, target) => {
            let from = match (absolute, in_root) {
                (false, _) => at,
                (true, true) => "root",
                (true, false) => "host",
            };
            let target = target.iter().map(|name| (*name).to_owned());
            Goes::On(from.to_owned(), target.chain(rest).collect(), true)
        }
    }
}

const LOOKUP: [&str; 11] = [
    "Enter",
    "Follow",
    "RefuseLink",
    "GoUp",
    "BeginAgain",
    "GiveUp",
    "LookAbove",
    "NotThere",
    "FoundAbove",
    "Make",
    "Found",
];

/// The steps of the lookup from a state.
fn steps(graph: &Graph, at: usize) -> impl Iterator<Item = &Edge> {
    let edges = graph.edges[at].iter();
    edges.filter(|edge| LOOKUP.contains(&edge.action.as_str()))
}

/// A bind mount may be reached through links, procfs as its type says.
fn follows(stage: &str) -> bool {
    stage != "proc" || may_follow_links("proc")
}

fn every_component() -> Agrees {
    let graph = shared("Filesystem");
    let mut seen = BTreeSet::new();
    for (index, state) in graph.states.iter().enumerate() {
        let walking = state["walk"] == "walking" && state["stage"] != "failed";
        if !walking || strings(&state["rest"]).is_empty() {
            continue;
        }
        let flags = resolve(follows(text(&state["stage"])));
        let steps: Vec<&Edge> = steps(graph, index).collect();
        assert_eq!(steps.len(), 1, "{state}");
        let after = &graph.states[steps[0].target];
        let to = || (text(&after["at"]).to_owned(), strings(&after["rest"]));
        let action = steps[0].action.as_str();
        let spec = match action {
            "Enter" | "GoUp" => Goes::On(to().0, to().1, false),
            "Follow" => Goes::On(to().0, to().1, true),
            "RefuseLink" => Goes::No(Errno::LOOP),
            "BeginAgain" | "GiveUp" => Goes::No(Errno::AGAIN),
            "LookAbove" | "NotThere" => Goes::No(Errno::NOENT),
            _ => panic!("{action} in the middle of a path"),
        };
        seen.insert(action);
        same(&kernel(flags, state), &spec, || format!("{flags:?} in {state}"))?;
        // Links of procfs lead anywhere, and the spec has none.
        let magic = ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        holds(flags.intersects(magic), || {
            format!("{flags:?} follows links of procfs")
        })?;
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
    Ok(())
}

/// What the code asks in a state of the spec.
fn asked(state: &Value) -> Ask {
    let cut = state["cut"].as_u64().expect("a number") as usize;
    match state["walk"] == "making" {
        true => Ask::Make(cut),
        false => Ask::Open(cut),
    }
}

/// The code's lookup beside the spec's, from the beginning of each: at each step of the spec the code gets the answer
/// that makes it, and whatever else the kernel might answer is refused, as the spec's step `Fail` does.
fn every_answer() -> Agrees {
    let graph = shared("Filesystem");
    let mut waiting = Vec::new();
    for edges in &graph.edges {
        let begin = edges
            .iter()
            .filter(|edge| edge.action.starts_with("Begin") && edge.action != "BeginAgain");
        waiting.extend(begin.map(|edge| (edge.target, Lookup::of(COMPONENTS, MAX_RETRIES))));
    }
    let mut known: HashSet<(usize, String)> = HashSet::new();
    let mut seen = BTreeSet::new();
    while let Some((at, lookup)) = waiting.pop() {
        if !known.insert((at, format!("{lookup:?}"))) {
            continue;
        }
        let state = &graph.states[at];
        same(&lookup.ask(), &asked(state), || state.to_string())?;
        same(&lookup.next(Answer::Refused), &Err(Failed), || {
            format!("refused in {state}")
        })?;
        if state["walk"] == "making" {
            for answer in [Answer::Missing, Answer::Undecided] {
                same(&lookup.next(answer), &Err(Failed), || {
                    format!("{answer:?} in {state}")
                })?;
            }
            // Who has the directory open already begins here.
            if state["cut"] == 0 && state["turn"] == "up" {
                same(&Lookup::beside(COMPONENTS, MAX_RETRIES), &lookup, || {
                    state.to_string()
                })?;
            }
        }
        for edge in &graph.edges[at] {
            let action = edge.action.as_str();
            let answer = match action {
                // Within one question, or by the other container.
                "Enter" | "Follow" | "GoUp" | "Exchange" | "Move" => {
                    waiting.push((edge.target, lookup));
                    continue;
                }
                "RefuseLink" => Answer::Refused,
                "BeginAgain" | "GiveUp" => Answer::Undecided,
                "LookAbove" | "NotThere" => Answer::Missing,
                "FoundAbove" | "Make" | "Found" => Answer::There,
                _ => continue,
            };
            seen.insert(action);
            let place = || format!("{action} in {state}");
            let after = &graph.states[edge.target];
            match lookup.next(answer) {
                Err(Failed) => holds(after["stage"] == "failed", || {
                    format!("the code fails: {}", place())
                })?,
                Ok(None) => holds(after["walk"] == "found", || {
                    format!("the code has found it: {}", place())
                })?,
                Ok(Some(next)) => {
                    let goes_on = after["stage"] != "failed" && after["walk"] != "found";
                    holds(goes_on, || format!("the code goes on: {}", place()))?;
                    waiting.push((edge.target, next));
                }
            }
        }
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
    // The spec's limit is another number; there must be one, and more than none.
    holds((1..10_000).contains(&RETRIES), || format!("{RETRIES} retries"))
}

fn all_errors() -> impl Iterator<Item = Errno> {
    (1..134).map(Errno::from_raw_os_error)
}

/// What the kernel's errors are to the lookup: `openat2(2)`, ERRORS.
fn errors() -> Agrees {
    for errno in all_errors() {
        let expected = match errno {
            Errno::NOENT => Answer::Missing,
            Errno::AGAIN | Errno::INTR => Answer::Undecided,
            _ => Answer::Refused,
        };
        same(&Answer::from(errno), &expected, || errno.to_string())?;
    }
    Ok(())
}

/// A path that is not there needs no hiding; one of which that cannot be told is refused.
fn what_hides() -> Agrees {
    let graph = shared("Filesystem");
    let mut seen = BTreeSet::new();
    for (index, state) in graph.states.iter().enumerate() {
        let denied = match text(&state["seen"]) {
            "absent" => false,
            "denied" => true,
            _ => continue,
        };
        if state["stage"] == "failed" {
            continue;
        }
        let hides = ["NothingToHide", "RefuseToHide", "Mask", "ReadonlyPaths"];
        let spec: Vec<&str> = graph.edges[index]
            .iter()
            .map(|edge| edge.action.as_str())
            .collect();
        let spec: Vec<&str> = spec.into_iter().filter(|action| hides.contains(action)).collect();
        // A path is absent if it, or a directory above it, is: not there, or no directory.
        let is_absent = |errno: &Errno| [Errno::NOENT, Errno::NOTDIR].contains(errno);
        for errno in all_errors().filter(|errno| is_absent(errno) != denied) {
            let code = match nothing_to_hide(errno) {
                true => "NothingToHide",
                false => "RefuseToHide",
            };
            same(&vec![code], &spec, || format!("{errno} in {state}"))?;
        }
        seen.insert((text(&state["stage"]), denied));
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
    Ok(())
}

/// File systems of which paths are masked are reached without links, and only those.
fn links() -> Agrees {
    let graph = shared("Filesystem");
    let followed = |stage: &str| {
        let states = graph
            .states
            .iter()
            .enumerate()
            .filter(|(_, state)| state["stage"] == *stage);
        states
            .flat_map(|(index, _)| steps(graph, index))
            .any(|edge| edge.action == "Follow")
    };
    for (types, stage) in [
        (&["proc", "sysfs", "cgroup", "cgroup2"][..], "proc"),
        (
            &["bind", "tmpfs", "devpts", "mqueue", "overlay", "ext4", ""],
            "bind",
        ),
    ] {
        for fstype in types {
            same(&may_follow_links(fstype), &followed(stage), || {
                (*fstype).to_owned()
            })?;
        }
    }
    Ok(())
}
