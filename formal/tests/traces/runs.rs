//! Whole lives of containers, failures among them.

use super::bed::{Bed, Trace};
use super::handshake::{Exchange, wanted};
use super::hold::only_as_it_is;
use super::isolation::Isolated;
use super::lifecycle::{ASKED, Life};
use super::seen::Seen;
use nucleus_formal::graph::{Graph, shared, shared_with};
use serde_json::{Value, json};

pub fn lifecycle() -> &'static Graph {
    shared_with("Lifecycle", &[("Commands", &["c1"]), ("Asked", &ASKED)])
}

/// What a process that does not enter a container is asked for.
pub fn plan(nnp: bool, landlock: bool, filter: bool, hooks: bool) -> Value {
    json!({"enters": false, "userns": false, "nnp": nnp, "landlock": landlock,
        "filter": if filter { "plain" } else { "none" }, "terminal": hooks, "hooks": hooks, "traced": false})
}

/// Holds a part of a trace against a spec that has to end so; returns how many changed traces were refused.
pub fn holds(seen: &[Seen], ends: impl Fn(&[Seen]) -> bool) -> usize {
    assert!(!seen.is_empty());
    only_as_it_is(seen, ends)
}

#[test]
fn a_whole_life() {
    let Some(bed) = Bed::new() else { return };
    bed.configure(&["sleep", "1000"], |_| {});
    let mut watch = bed.watch();
    watch.command(None, &["create"], &[]);
    watch.command(None, &["start"], &[]);
    watch.command(None, &["delete", "--force"], &[]);
    let Trace { seen, .. } = watch.finish();
    for s in &seen { println!("{:?} {:?}", s.who, s.what); }
    let exchange = Exchange { wanted: wanted("create", false, false), maker: 0, starter: Some(1) };
    let n = holds(&exchange.of(&seen), |trace| exchange.answers(shared("Handshake"), trace).contains(&"ok"));
    let isolated = Isolated { plan: plan(false, false, false, false), maker: 0, waits: true };
    let m = holds(&isolated.of(&seen), |trace| isolated.fates(shared("Isolation"), trace).contains(&"program"));
    let life = Life { asked: vec!["create", "start", "force"] };
    let gone = |state: &&Value| state["dir"] == "none" && state["cgroup"] == false;
    let o = holds(&life.of(&seen), |trace| life.ends(lifecycle(), trace).iter().any(gone));
    println!("{n} {m} {o}");
}
