//! Two specs at once, in step in the variables that they share: what one changes of them, the other changes with it.
//! A step that changes nothing shared is made by one alone.
//!
//! What is looked for is that each waits for a step of the other that never comes. Fairness is that of the two specs,
//! of steps that both can make together: a group of steps that stays possible is taken at last.

use crate::graph::Graph;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

/// A step of both or of one; the action of each that makes it.
type Made<'a> = (Option<&'a str>, Option<&'a str>);

/// Steps of one process: it goes on while it can.
#[derive(Debug, Clone)]
pub struct Group {
    /// What it is called, for the one who reads what went wrong.
    pub name: String,
    /// Its actions in the first spec.
    pub one: BTreeSet<String>,
    /// Its actions in the second.
    pub other: BTreeSet<String>,
}

impl Group {
    fn has(&self, (one, other): Made<'_>) -> bool {
        one.is_some_and(|action| self.one.contains(action))
            || other.is_some_and(|action| self.other.contains(action))
    }
}

/// All pairs of states that both can be in at the same time.
#[derive(Debug)]
pub struct Product<'a> {
    graphs: [&'a Graph; 2],
    /// The pairs.
    pub pairs: Vec<[usize; 2]>,
    steps: Vec<Vec<(Made<'a>, usize)>>,
}

impl<'a> Product<'a> {
    /// Explores both from their initial states, which have what they share in common.
    pub fn of(one: &'a Graph, other: &'a Graph, shared: &[&str]) -> Self {
        let part = |graph: &Graph| -> Vec<String> {
            let value = |state: &Value| shared.iter().map(|name| format!("{} ", state[*name])).collect();
            graph.states.iter().map(value).collect()
        };
        let parts = [part(one), part(other)];
        let (mut numbers, mut pairs, mut steps) = (HashMap::new(), Vec::new(), Vec::new());
        let mut number = |pair: [usize; 2], pairs: &mut Vec<[usize; 2]>| {
            *numbers.entry(pair).or_insert_with(|| {
                pairs.push(pair);
                pairs.len() - 1
            })
        };
        for a in &one.initial {
            for b in other.initial.iter().filter(|b| parts[1][**b] == parts[0][*a]) {
                number([*a, *b], &mut pairs);
            }
        }
        while steps.len() < pairs.len() {
            let [a, b] = pairs[steps.len()];
            let mut from = Vec::new();
            for edge in &one.edges[a] {
                let made = Some(edge.action.as_str());
                if parts[0][a] == parts[0][edge.target] {
                    from.push(((made, None), number([edge.target, b], &mut pairs)));
                    continue;
                }
                for with in other.edges[b]
                    .iter()
                    .filter(|with| parts[1][with.target] == parts[0][edge.target])
                {
                    let both = (made, Some(with.action.as_str()));
                    from.push((both, number([edge.target, with.target], &mut pairs)));
                }
            }
            for edge in other.edges[b]
                .iter()
                .filter(|edge| parts[1][edge.target] == parts[1][b])
            {
                let alone = (None, Some(edge.action.as_str()));
                from.push((alone, number([a, edge.target], &mut pairs)));
            }
            steps.push(from);
        }
        Self {
            graphs: [one, other],
            pairs,
            steps,
        }
    }

    /// The two states of a pair.
    pub fn states(&self, pair: usize) -> [&Value; 2] {
        let [a, b] = self.pairs[pair];
        [&self.graphs[0].states[a], &self.graphs[1].states[b]]
    }

    /// Which actions are ever made together.
    pub fn together(&self) -> BTreeSet<(&'a str, &'a str)> {
        let all = self.steps.iter().flatten();
        all.filter_map(|((one, other), _)| Some(((*one)?, (*other)?)))
            .collect()
    }

    /// The steps of each graph that are never made here, as action and state before it.
    pub fn never_made(&self) -> [BTreeSet<(&'a str, usize)>; 2] {
        let mut left = self.graphs.map(|graph| {
            let steps = graph.edges.iter().enumerate();
            let steps =
                steps.flat_map(|(from, edges)| edges.iter().map(move |edge| (edge.action.as_str(), from)));
            steps.collect::<BTreeSet<_>>()
        });
        for (from, ((one, other), _)) in self
            .steps
            .iter()
            .enumerate()
            .flat_map(|(from, steps)| steps.iter().map(move |step| (from, step)))
        {
            for (half, action) in [one, other].into_iter().enumerate() {
                if let Some(action) = action {
                    left[half].remove(&(*action, self.pairs[from][half]));
                }
            }
        }
        left
    }

    /// The pairs of the first way found to go on for ever, fairly, without an end: to stop where no group can go on,
    /// or to turn in a circle in which each group makes a step or cannot always make one.
    ///
    /// A circle within a larger one is fair only if the larger is, so the largest are enough.
    pub fn never_ends(&self, groups: &[Group], end: impl Fn([&Value; 2]) -> bool) -> Option<Vec<usize>> {
        let over: Vec<bool> = (0..self.pairs.len()).map(|pair| end(self.states(pair))).collect();
        self.circles(&over).into_iter().find(|circle| {
            let inside: BTreeSet<usize> = circle.iter().copied().collect();
            groups.iter().all(|group| {
                circle.iter().any(|pair| {
                    let mut own = self.steps[*pair]
                        .iter()
                        .filter(|(made, _)| group.has(*made))
                        .peekable();
                    own.peek().is_none() || own.any(|(_, to)| to != pair && inside.contains(to))
                })
            })
        })
    }

    /// The largest sets of pairs of which each can be reached from each other, without those that are the end; a pair
    /// alone is one, for it can be stayed in (Tarjan's algorithm, without recursion).
    fn circles(&self, over: &[bool]) -> Vec<Vec<usize>> {
        let count = self.pairs.len();
        let (mut index, mut low, mut waiting) = (vec![usize::MAX; count], vec![0; count], vec![false; count]);
        let (mut stack, mut circles, mut next) = (Vec::new(), Vec::new(), 0);
        for start in (0..count).filter(|pair| !over[*pair]) {
            let mut road = if index[start] == usize::MAX {
                vec![(start, 0)]
            } else {
                Vec::new()
            };
            while let Some((pair, at)) = road.pop() {
                if at == 0 {
                    (index[pair], low[pair]) = (next, next);
                    next += 1;
                    stack.push(pair);
                    waiting[pair] = true;
                }
                if let Some((_, to)) = self.steps[pair].get(at) {
                    road.push((pair, at + 1));
                    if over[*to] {
                        continue;
                    }
                    if index[*to] == usize::MAX {
                        road.push((*to, 0));
                    } else if waiting[*to] {
                        low[pair] = low[pair].min(index[*to]);
                    }
                    continue;
                }
                if let Some((above, _)) = road.last() {
                    low[*above] = low[*above].min(low[pair]);
                }
                if low[pair] == index[pair] {
                    let at = stack.iter().rposition(|one| *one == pair).unwrap_or(0);
                    let circle = stack.split_off(at);
                    circle.iter().for_each(|one| waiting[*one] = false);
                    circles.push(circle);
                }
            }
        }
        circles
    }
}
