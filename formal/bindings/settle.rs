//! `network/src/resolver/settle.rs`, which decides what an answer asks of the rules and when it is told, against the
//! steps Answered, Load, LoadFails and Lost of the spec Egress: in each state, with each answer, the same transaction,
//! and the same is heard after it, for as long, whether it was made or refused.

use super::code::{MARGIN, Outcome, Permitted, settle};
use nucleus_formal::binding::{Agrees, Property, holds, same};
use nucleus_formal::graph::{Graph, shared_with, text};
use nucleus_network::resolver::answer::Answer;
use nucleus_network::resolver::reply::Verdict;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The comparisons.
pub const PROPERTIES: &[Property] = &[
    ("every answer", every_answer),
    ("several answers", several_answers),
];

/// The spec's unit of time; the margin comes on top of it.
const UNIT: Duration = Duration::from_secs(100);

/// Each family, with answers that hold for a short and for a long time.
fn graphs() -> [&'static Graph; 2] {
    ["n4", "n6"].map(|name| {
        let all: &[&str] = if name == "n4" {
            &["n4", "private"]
        } else {
            &["n6", "private"]
        };
        shared_with("Egress", &[("Answers", all), ("Short", all), ("Long", all)])
    })
}

fn address(word: &str) -> IpAddr {
    let text = match word {
        "n4" => "93.184.216.34",
        "n6" => "2606:4700::1111",
        _ => "10.2.0.1",
    };
    text.parse().expect("an address")
}

fn units(value: &Value) -> Duration {
    UNIT * u32::try_from(value.as_u64().expect("a number")).expect("a small one")
}

/// What the rules permit in a state.
fn permitted(state: &Value, now: Instant) -> Permitted {
    let mut permitted = Permitted::default();
    let life = state["life"].as_object().expect("a function");
    let there = life.iter().filter(|(_, life)| **life != 0);
    let there: Vec<_> = there.map(|(word, life)| (address(word), units(life))).collect();
    permitted.change(&there, now);
    permitted
}

fn answer(word: &str, lasts: Duration) -> Option<Answer> {
    Some(Answer {
        addresses: vec![address(word)],
        exists: true,
        lasts,
    })
}

/// What the workload hears by a step, if it has asked: an address for so long, or nothing that it could use.
fn heard(before: &Value, after: &Value) -> Option<(IpAddr, Duration)> {
    let changed = [&before["holds"], &before["left"]] != [&after["holds"], &after["left"]];
    let told = changed || before["dns"] == before["holds"];
    (told && after["holds"] != "none").then(|| (address(text(&after["holds"])), units(&after["left"])))
}

fn says(outcome: &Outcome) -> Option<(IpAddr, Duration)> {
    match &outcome.verdict {
        Verdict::Addresses(addresses, lasts) => Some((*addresses.first()?, *lasts)),
        _ => None,
    }
}

fn one(outcomes: Vec<Outcome>) -> Outcome {
    <[Outcome; 1]>::try_from(outcomes)
        .map(|[one]| one)
        .expect("one answer")
}

fn every_answer() -> Agrees {
    let now = Instant::now();
    for graph in graphs() {
        let mut seen = BTreeSet::new();
        for (index, before) in graph.states.iter().enumerate() {
            let edges = graph.edges[index].iter();
            for edge in edges.filter(|edge| ["Answered", "Lost"].contains(&edge.action.as_str())) {
                let after = &graph.states[edge.target];
                let rules = permitted(before, now);
                let settle =
                    |answer: &Option<Answer>| settle(std::slice::from_ref(answer), &[], &[], &rules, now);
                let asked = before["upstream"] == "permitted";
                let place = || format!("{} in {before}", edge.action);
                if edge.action == "Lost" {
                    let settled = settle(&None);
                    same(&settled.wanted, &vec![], place)?;
                    same(&one(settled.told(true)).verdict, &Verdict::Failed, place)?;
                    continue;
                }
                let word = text(&before["dns"]);
                let waits = after["pending"] != "none";
                let lasts = units(&after[if waits { "lasts" } else { "fresh" }]);
                let came = answer(word, lasts);
                seen.insert((word, before["life"][word].as_u64(), lasts));
                let settled = settle(&came);
                if !waits {
                    same(&settled.wanted, &vec![], place)?;
                    let outcome = one(settled.told(true));
                    same(
                        &(outcome.verdict == Verdict::Filtered),
                        &(word == "private"),
                        place,
                    )?;
                    if asked {
                        same(&says(&outcome), &heard(before, after), place)?;
                    }
                    continue;
                }
                same(&settled.wanted, &vec![(address(word), lasts + MARGIN)], place)?;
                transaction(graph, edge.target, &came, &rules, now)?;
            }
        }
        // Each life of the address with each time of an answer; one that is private is never in the rules.
        assert_eq!(seen.len(), 3 * 2 + 2, "{seen:?}");
    }
    Ok(())
}

/// The transaction is made, or it is refused.
fn transaction(graph: &Graph, at: usize, came: &Option<Answer>, rules: &Permitted, now: Instant) -> Agrees {
    let before = &graph.states[at];
    let mut ends = 0;
    for edge in &graph.edges[at] {
        let made = edge.action == "Load";
        if !made && edge.action != "LoadFails" {
            continue;
        }
        ends += 1;
        let after = &graph.states[edge.target];
        let place = || format!("{} in {before}", edge.action);
        let settled = settle(std::slice::from_ref(came), &[], &[], rules, now);
        let mut rules = rules.clone();
        if made {
            rules.change(&settled.wanted, now);
        }
        let word = text(&before["pending"]);
        let spec = units(&after["life"][word]);
        let margin = if made { MARGIN } else { Duration::ZERO };
        let life = rules
            .until(address(word))
            .map_or(Duration::ZERO, |until| until - now);
        same(&life, &(spec + margin), place)?;
        let outcome = one(settled.told(made));
        same(&(outcome.verdict == Verdict::Failed), &!made, place)?;
        if before["upstream"] == "permitted" {
            same(&says(&outcome), &heard(before, after).filter(|_| made), place)?;
        }
        holds(outcome.filtered.is_empty(), place)?;
    }
    assert_eq!(ends, 2, "{before}");
    Ok(())
}

/// Answers that come together are each decided as if they came alone, in one transaction; an address that several
/// bring is permitted for the longest time.
fn several_answers() -> Agrees {
    let now = Instant::now();
    let times = [UNIT, 2 * UNIT];
    let mut answers = vec![None];
    answers.extend(
        ["n4", "n6", "private"]
            .into_iter()
            .flat_map(|word| times.map(|time| answer(word, time))),
    );
    let lives = [Duration::ZERO, UNIT, 2 * UNIT];
    for (four, six) in lives.into_iter().flat_map(|four| lives.map(|six| (four, six))) {
        let mut rules = Permitted::default();
        rules.change(&[(address("n4"), four), (address("n6"), six)], now);
        for first in &answers {
            for second in &answers {
                let both = || settle(&[first.clone(), second.clone()], &[], &[], &rules, now);
                let alone =
                    |answer: &Option<Answer>| settle(std::slice::from_ref(answer), &[], &[], &rules, now);
                let place = || format!("{first:?} with {second:?} where {four:?} and {six:?} are left");
                let mut wanted: Vec<(IpAddr, Duration)> = Vec::new();
                for (address, lasts) in [alone(first).wanted, alone(second).wanted].concat() {
                    match wanted.iter_mut().find(|(other, _)| *other == address) {
                        Some((_, longest)) => *longest = lasts.max(*longest),
                        None => wanted.push((address, lasts)),
                    }
                }
                wanted.sort();
                same(&both().wanted, &wanted, place)?;
                for made in [true, false] {
                    let told = |answer| {
                        let settled = alone(answer);
                        // There is nothing to be refused where nothing is wanted.
                        let made = made || settled.wanted.is_empty();
                        settled.told(made)
                    };
                    same(&both().told(made), &[told(first), told(second)].concat(), place)?;
                }
                let mut changed = rules.clone();
                changed.change(&wanted, now);
                for (name, life) in [("n4", four), ("n6", six)] {
                    let wanted = wanted.iter().find(|(other, _)| *other == address(name));
                    let lasts = wanted.map_or(life, |(_, lasts)| *lasts);
                    let until = (lasts > Duration::ZERO).then(|| now + lasts);
                    same(&changed.until(address(name)), &until, place)?;
                }
            }
        }
    }
    Ok(())
}
