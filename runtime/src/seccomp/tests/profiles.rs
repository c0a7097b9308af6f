//! Random profiles.

use std::collections::BTreeSet;

use oci_spec::runtime::LinuxSeccomp;
use proptest::prelude::*;

use super::super::syscalls::{self, Multiplexer};
use super::super::table::SYSCALLS;

fn operand() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..8_u64,
        1 => Just(u64::from(u32::MAX)),
        1 => (0..4_u64).prop_map(|n| 0x1_0000_0000 + n),
        1 => (0..4_u64).prop_map(|n| n << 32),
        1 => any::<u64>(),
        1 => Just(u64::MAX),
    ]
}

fn condition(index: u32, operators: &'static [&'static str]) -> impl Strategy<Value = String> {
    (prop::sample::select(operators), operand(), operand()).prop_map(move |(operator, value, second)| {
        format!(r#"{{"index":{index},"value":{value},"valueTwo":{second},"op":"SCMP_CMP_{operator}"}}"#)
    })
}

const ANY: &[&str] = &["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];

/// The conditions of one rule.
fn args(shape: Shape) -> BoxedStrategy<Vec<String>> {
    let one = (0..6_u32).prop_flat_map(|index| condition(index, ANY));
    let repeated = (0..6_u32).prop_flat_map(|index| prop::collection::vec(condition(index, ANY), 2..4));
    let several = prop::sample::subsequence(vec![0, 1, 2, 3, 4, 5], 2..=4).prop_flat_map(move |indices| {
        let last = indices.len() - 1;
        let operators = |at| {
            if at == last || shape != Shape::Meeting {
                ANY
            } else {
                &["EQ", "MASKED_EQ"]
            }
        };
        indices
            .into_iter()
            .enumerate()
            .map(|(at, index)| condition(index, operators(at)))
            .collect::<Vec<_>>()
    });
    prop_oneof![
        1 => Just(Vec::new()),
        2 => one.prop_map(|condition| vec![condition]),
        1 => repeated,
        2 => several,
    ]
    .boxed()
}

/// How rules may relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Shape {
    /// Every condition everywhere, several rules a call.
    Free,
    /// Several rules a call; inequalities only as a rule's last condition. Elsewhere libseccomp 2.5 shares
    /// parts of its tree between rules, and then widens them or loops for ever.
    Meeting,
    /// Every condition everywhere, but one rule a call.
    Alone,
}

/// Names for which `known` holds; some of them often, so that rules meet.
fn names(shape: Shape, known: fn(&str) -> bool) -> BoxedStrategy<Vec<&'static str>> {
    let names: Vec<&str> = SYSCALLS
        .iter()
        .map(|syscall| syscall.0)
        .filter(|name| known(name))
        .collect();
    let known = prop::sample::select(names);
    if shape == Shape::Alone {
        // Each call of the socket and ipc families is a rule for i386's multiplexer.
        let alone = |name: &&str| syscalls::find(name).is_some_and(|call| call.4 == Multiplexer::Direct);
        return prop::collection::vec(known.prop_filter("multiplexed", alone), 1..2).boxed();
    }
    let often = prop::sample::select(vec![
        "ioctl",
        "clone",
        "socket",
        "shmat",
        "prctl",
        "socketcall",
        "send",
    ]);
    prop::collection::vec(prop_oneof![2 => often, 3 => known], 1..4).boxed()
}

pub(in super::super) const ACTIONS: [&str; 8] = [
    r#""SCMP_ACT_ALLOW""#,
    r#""SCMP_ACT_ERRNO""#,
    r#""SCMP_ACT_ERRNO","errnoRet":38"#,
    r#""SCMP_ACT_KILL""#,
    r#""SCMP_ACT_KILL_PROCESS""#,
    r#""SCMP_ACT_TRAP""#,
    r#""SCMP_ACT_TRACE","errnoRet":9"#,
    r#""SCMP_ACT_LOG""#,
];

/// Random profiles; `actions` bounds how many actions the rules use, and so how often rules contradict.
pub(in super::super) fn profiles(
    shape: Shape,
    actions: usize,
    known: fn(&str) -> bool,
) -> impl Strategy<Value = LinuxSeccomp> {
    let rule = (names(shape, known), 0..actions, args(shape));
    let architectures = prop::sample::subsequence(
        vec![
            "SCMP_ARCH_X86_64",
            "SCMP_ARCH_X86",
            "SCMP_ARCH_X32",
            "SCMP_ARCH_AARCH64",
        ],
        0..=4,
    );
    let rules = prop::collection::vec(rule, 1..24);
    (0..actions.max(2), architectures, rules).prop_map(move |(default, architectures, rules)| {
        let mut seen = BTreeSet::new();
        let rules: Vec<String> = rules
            .into_iter()
            .filter(|(names, ..)| shape != Shape::Alone || seen.insert(names[0]))
            .map(|(names, action, args)| {
                let (action, args) = (ACTIONS[action], args.join(","));
                format!(r#"{{"names":{names:?},"action":{action},"args":[{args}]}}"#)
            })
            .collect();
        let (default, rules) = (
            ACTIONS[default].replace("errnoRet", "defaultErrnoRet"),
            rules.join(","),
        );
        let json = format!(
            r#"{{"defaultAction":{default},"architectures":{architectures:?},"syscalls":[{rules}]}}"#
        );
        serde_json::from_str(&json).expect("a valid profile")
    })
}
