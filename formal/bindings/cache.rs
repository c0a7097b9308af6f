//! `network/src/resolver/cache.rs`, which remembers answers, against the spec Egress: what is told from memory (step
//! Recall), for how long, and when it is forgotten (Tick).

use super::code::Cache;
use nucleus_formal::binding::{Agrees, Property, same};
use nucleus_formal::graph::{Graph, shared_with, text};
use nucleus_network::resolver::question::{Family, Question};
use nucleus_network::resolver::reply::Verdict;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The comparisons.
pub const PROPERTIES: &[Property] = &[("recalled", recalled), ("forgotten", forgotten)];

/// The spec's unit of time.
const UNIT: Duration = Duration::from_secs(100);

const WORDS: &[&str] = &["n4", "private"];

fn graph() -> &'static Graph {
    shared_with("Egress", &[("Answers", WORDS), ("Short", WORDS), ("Long", WORDS)])
}

fn question() -> Question {
    Question {
        name: "a.test".parse().expect("a name"),
        family: Family::V4,
    }
}

fn verdict(word: &str, lasts: Duration) -> Verdict {
    match word {
        "private" => Verdict::Filtered,
        _ => Verdict::Addresses(vec![IpAddr::from([93, 184, 216, 34])], lasts),
    }
}

fn units(value: &Value) -> Duration {
    UNIT * u32::try_from(value.as_u64().expect("a number")).expect("a small one")
}

/// A memory that is as a state says: what it has now was put there by an answer of this time, and some of that is over.
fn remembers(state: &Value, lasts: Duration, now: Instant) -> Cache {
    let mut cache = Cache::default();
    let fresh = units(&state["fresh"]);
    let word = text(&state["known"]);
    // What was remembered before is no more.
    cache.keep(question(), verdict("private", UNIT), 4 * UNIT, now - lasts);
    cache.keep(question(), verdict(word, lasts), lasts, now + fresh - lasts);
    cache
}

/// The time that an answer had which is remembered for so long yet.
fn times(state: &Value) -> impl Iterator<Item = Duration> {
    let fresh = units(&state["fresh"]);
    [UNIT, 2 * UNIT].into_iter().filter(move |lasts| *lasts >= fresh)
}

fn recalled() -> Agrees {
    let graph = graph();
    let now = Instant::now() + 10 * UNIT;
    let mut seen = BTreeSet::new();
    for (index, state) in graph.states.iter().enumerate() {
        // What it does with a question when it is at leisure.
        let edges = graph.edges[index].iter();
        let edge = edges
            .clone()
            .find(|edge| edge.action == "Recall")
            .or_else(|| edges.clone().find(|edge| edge.action == "Forward"));
        let Some(edge) = edge else { continue };
        let after = &graph.states[edge.target];
        let place = || format!("{} in {state}", edge.action);
        if edge.action == "Forward" {
            let over = remembers(state, UNIT, now).look(&question(), now);
            same(&over, &None, place)?;
            same(&Cache::default().look(&question(), now), &None, place)?;
            seen.insert((state["known"].to_string(), 0));
            continue;
        }
        let (word, fresh) = (text(&state["known"]), units(&state["fresh"]));
        let told = if word == "private" {
            fresh
        } else {
            units(&after["left"])
        };
        for lasts in times(state) {
            let code = remembers(state, lasts, now).look(&question(), now);
            same(&code, &Some(verdict(word, told)), place)?;
        }
        seen.insert((state["known"].to_string(), fresh.as_secs()));
    }
    assert_eq!(seen.len(), 1 + 2 * 2, "{seen:?}");
    Ok(())
}

fn forgotten() -> Agrees {
    let graph = graph();
    let now = Instant::now() + 10 * UNIT;
    for (index, state) in graph.states.iter().enumerate() {
        let Some(edge) = graph.edges[index].iter().find(|edge| edge.action == "Tick") else {
            continue;
        };
        if state["known"] == "none" {
            continue;
        }
        let after = &graph.states[edge.target];
        let place = || format!("Tick in {state}");
        let (word, left) = (text(&state["known"]), units(&after["fresh"]));
        let spec = (after["known"] != "none").then(|| verdict(word, left));
        for lasts in times(state) {
            let code = remembers(state, lasts, now).look(&question(), now + UNIT);
            same(&code, &spec, place)?;
        }
    }
    Ok(())
}
