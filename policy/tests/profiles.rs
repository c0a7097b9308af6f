//! What the built-in seccomp profiles say, read from the rules alone.

use nucleus_policy::seccomp::Rule;
use nucleus_policy::{Choice, Kind, Request, VerifiedPolicy, load};
use oci_spec::runtime::{LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator as Operator};

fn profile(name: &str) -> VerifiedPolicy {
    let request = Request {
        seccomp: Some(Choice::named(Kind::Seccomp, name)),
        ..Request::default()
    };
    load(&request).expect("a built-in profile")
}

/// The rules of both profiles, each with its profile's name.
fn rules() -> Vec<(&'static str, Vec<Rule>)> {
    let of = |name| {
        let policy = profile(name);
        (name, policy.seccomp().expect("a profile").rules().to_vec())
    };
    vec![of("default"), of("service")]
}

fn mask_and_value(arg: &LinuxSeccompArg) -> (u64, u64) {
    assert_eq!(arg.op(), Operator::ScmpCmpMaskedEq, "{arg:?}");
    (arg.value(), arg.value_two().unwrap_or(0))
}

/// Whether no call can meet both rules: some argument would need a bit to be 0 and 1.
fn apart(one: &Rule, other: &Rule) -> bool {
    one.args.iter().any(|left| {
        other.args.iter().any(|right| {
            let ((mask, value), (mask2, value2)) = (mask_and_value(left), mask_and_value(right));
            left.index() == right.index() && (value ^ value2) & mask & mask2 != 0
        })
    })
}

#[test]
fn rules_of_different_verdicts_never_meet() {
    for (name, rules) in rules() {
        for (at, one) in rules.iter().enumerate() {
            for other in &rules[..at] {
                let both = one.names.iter().find(|call| other.names.contains(call));
                let Some(call) = both.filter(|_| one.verdict != other.verdict) else {
                    continue;
                };
                let (line, line2) = (other.line, one.line);
                assert!(apart(one, other), "{name}: {call}, lines {line} and {line2}");
            }
        }
    }
}

#[test]
fn every_rule_has_a_reason() {
    for (name, rules) in rules() {
        for rule in rules {
            assert!(rule.comment.len() > 6, "{name}, line {}", rule.line);
        }
    }
}

/// The verdict for a call: that of the rule that it meets.
fn allowed(rules: &[Rule], call: &str, args: [u64; 6]) -> bool {
    let meets = |rule: &&Rule| {
        rule.names.contains(&call)
            && rule.args.iter().all(|arg| {
                let (mask, value) = mask_and_value(arg);
                args[arg.index()] & mask == value
            })
    };
    rules
        .iter()
        .find(meets)
        .is_some_and(|rule| rule.verdict.action == Action::ScmpActAllow)
}

#[test]
fn terminal_input_is_the_only_request_refused() {
    // Every request with no direction and size, and those near the refused ones with any.
    let plain = 0..=u64::from(u16::MAX);
    let near = [1, 0x8004, 0xc020, 0xffff].map(|high| (high << 16 | 0x5400)..=(high << 16 | 0x54ff));
    let requests: Vec<u64> = plain.chain(near.into_iter().flatten()).collect();
    for (name, mut rules) in rules() {
        rules.retain(|rule| rule.names.contains(&"ioctl"));
        for upper in [0, 1 << 32, u64::MAX << 32] {
            for request in requests.iter().map(|request| upper | request) {
                let expected = !matches!(request & 0xffff_ffff, 0x5412 | 0x541c);
                let found = allowed(&rules, "ioctl", [1, request, 0, 0, 0, 0]);
                assert_eq!(found, expected, "{name}: {request:#x}");
            }
        }
    }
}

#[test]
fn no_clone_makes_a_namespace() {
    // CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET: clone(2).
    const NAMESPACES: u64 = 0x7e02_0000;
    for (name, rules) in rules() {
        for bit in 0..64 {
            let flags = 1 << bit | 17;
            let found = allowed(&rules, "clone", [flags, 0, 0, 0, 0, 0]);
            assert_eq!(found, flags & NAMESPACES == 0, "{name}: {flags:#x}");
        }
        // What the C library passes for a thread.
        assert!(allowed(&rules, "clone", [0x3d_0f00, 0, 0, 0, 0, 0]), "{name}");
    }
}
