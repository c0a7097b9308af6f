//! `nucleus_policy` against the spec Policy: what `load` makes of the bytes that it gets, and what `apply` makes of a
//! configuration. Every state of the spec in which one of the two begins, and what must come of it.

use nucleus_formal::graph::Graph;
use nucleus_policy::{Choice, Digest, Kind, Origin, Request, VerifiedPolicy, load};
use nucleus_shim::mode::Rules;
use nucleus_shim::request::Mode;
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, LinuxSeccomp, Spec};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// A capability policy in two halves. Each may be exchanged for the other text's, and then it is none.
fn half(text: &Value, second: bool) -> &'static str {
    match (text == "good", second) {
        (true, false) => "keep = [\"CAP_KILL\"",
        (true, true) => "]\n",
        (false, false) => "keep = ['CAP_KILL",
        (false, true) => "', 'CAP_SYS_ADMIN']",
    }
}

fn seccomp(text: &str) -> &'static str {
    if text == "good" {
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"]}"#
    } else {
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"]}"#
    }
}

fn rules(mode: &Value) -> Rules {
    let modes = [Mode::Agent, Mode::StrictAgent, Mode::Production];
    let mode = modes.into_iter().find(|each| *mode == each.word());
    Rules::of(mode.expect("a mode"))
}

fn choice(path: &Path, pin: Option<Digest>) -> Choice {
    Choice {
        origin: Origin::File(path.to_owned()),
        pin,
    }
}

/// Where the spec goes from a state by these steps alone.
fn follow(graph: &Graph, from: usize, actions: &[&str]) -> usize {
    actions.iter().fold(from, |at, action| {
        let mut steps = graph.edges[at].iter().filter(|edge| edge.action == *action);
        steps.next().map_or(at, |edge| edge.target)
    })
}

#[test]
fn what_is_loaded_is_what_the_spec_lets_pass() {
    let graph = Graph::of("Policy").expect("the spec's graph");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("caps.toml");
    let good = serde_json::json!("good");
    let pin = Digest::of(format!("{}{}", half(&good, false), half(&good, true)).as_bytes());
    let mut seen = BTreeSet::new();
    for (index, state) in graph.states.iter().enumerate() {
        if state["phase"] != "read" {
            continue;
        }
        let text = format!("{}{}", half(&state["first"], false), half(&state["second"], true));
        std::fs::write(&path, &text).expect("write");
        let pinned = state["pinned"] == true;
        let request = Request {
            capabilities: Some(choice(&path, pinned.then_some(pin))),
            pins_required: rules(&state["ask"]["mode"]).pins_required,
            ..Request::default()
        };
        let loaded = load(&request);
        let end = &graph.states[follow(&graph, index, &["Check", "Parse"])];
        let passes = end["phase"] == "parsed";
        assert_eq!(loaded.is_ok(), passes, "{state}\n{text:?}\n{loaded:?}");
        seen.insert((passes, pinned, text));
    }
    // Both outcomes, with and without a pin.
    for passes in [true, false] {
        for pinned in [true, false] {
            assert!(
                seen.iter().any(|each| (each.0, each.1) == (passes, pinned)),
                "{seen:?}"
            );
        }
    }
}

#[test]
fn a_pipe_is_refused_at_once() {
    let graph = Graph::of("Policy").expect("the spec's graph");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pipe");
    let status = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(status.expect("mkfifo").success());
    for (index, state) in graph.states.iter().enumerate() {
        if state["phase"] == "loading" && state["named"] == "pipe" {
            let end = &graph.states[follow(&graph, index, &["Open"])];
            assert_eq!(end["phase"], "failed");
        }
    }
    let request = Request {
        capabilities: Some(choice(&path, None)),
        ..Request::default()
    };
    assert!(load(&request).is_err());
}

/// A capability of the spec.
fn capability(word: &str) -> Capability {
    match word {
        "kill" => Capability::Kill,
        _ => Capability::SysAdmin,
    }
}

fn capabilities(words: &Value) -> Capabilities {
    let words = words.as_array().expect("a set").iter();
    words
        .map(|word| capability(word.as_str().expect("a word")))
        .collect()
}

/// A configuration as the spec describes it.
fn configuration(state: &Value) -> Spec {
    let mut spec = Spec::default();
    let caps = capabilities(&state["caps"]);
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(caps.clone()))
        .set_permitted(Some(caps.clone()))
        .set_effective(Some(caps.clone()))
        .set_inheritable(Some(caps.clone()))
        .set_ambient(Some(caps));
    if let Some(process) = spec.process_mut() {
        process.set_capabilities(Some(sets));
    }
    let profile: Option<LinuxSeccomp> = match state["profile"].as_str().expect("a word") {
        "none" => None,
        "foreign" => Some(
            serde_json::from_str(
                r#"{"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_X86_64"]}"#,
            )
            .expect("a profile"),
        ),
        text => Some(serde_json::from_str(seccomp(text)).expect("a profile")),
    };
    spec.linux_mut().get_or_insert_default().set_seccomp(profile);
    spec
}

fn policy(text: &str) -> VerifiedPolicy {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("write");
        path
    };
    let keep = if text == "good" {
        "keep = [\"CAP_KILL\"]"
    } else {
        "keep = [\"CAP_KILL\", \"CAP_SYS_ADMIN\"]"
    };
    load(&Request {
        capabilities: Some(choice(&write("caps.toml", keep), None)),
        seccomp: Some(choice(&write("seccomp.json", seccomp(text)), None)),
        ..Request::default()
    })
    .expect("a policy")
}

fn set(spec: &Spec) -> BTreeSet<String> {
    let sets = spec.process().as_ref().and_then(|it| it.capabilities().as_ref());
    let sets = sets.expect("capabilities");
    let bounding = sets.bounding().clone();
    assert_eq!((sets.permitted(), sets.effective()), (&bounding, &bounding));
    let bounding = bounding.unwrap_or_default();
    bounding.iter().map(|each| format!("{each:?}")).collect()
}

fn profile(spec: &Spec) -> Option<LinuxSeccomp> {
    spec.linux()
        .as_ref()
        .and_then(|linux| linux.seccomp().as_ref())
        .map(|profile| {
            // What the policy adds of itself (the default errno, flags) is not the spec's matter.
            let mut plain: LinuxSeccomp = serde_json::from_str(seccomp("good")).expect("a profile");
            plain.set_default_action(profile.default_action());
            plain
        })
}

/// From each state in which a policy can be applied: the same outcome and the same configuration, and applied once
/// more, nothing else.
#[test]
fn what_is_applied_is_what_the_spec_says() {
    let graph = Graph::of("Policy").expect("the spec's graph");
    let (good, evil) = (policy("good"), policy("evil"));
    let (mut applied, mut refused) = (0, 0);
    for (index, state) in graph.states.iter().enumerate() {
        let Some(step) = graph.edges[index].iter().find(|edge| edge.action == "Apply") else {
            continue;
        };
        let policy = if state["first"] == "good" { &good } else { &evil };
        let end = &graph.states[step.target];
        let mut spec = configuration(state);
        // The profile that the policy itself would have set.
        if state["profile"] == state["first"] {
            let mut fresh = spec.clone();
            fresh.linux_mut().get_or_insert_default().set_seccomp(None);
            policy.apply(&mut fresh).expect("apply");
            spec = fresh;
            if let Some(process) = spec.process_mut() {
                process.set_capabilities(
                    configuration(state)
                        .process()
                        .as_ref()
                        .and_then(|it| it.capabilities().clone()),
                );
            }
        }
        let before = spec.clone();
        let outcome = policy.apply(&mut spec);
        assert_eq!(outcome.is_ok(), end["phase"] == "applied", "{state}\n{outcome:?}");
        if outcome.is_err() {
            assert_eq!(spec, before, "{state}");
            refused += 1;
            continue;
        }
        applied += 1;
        assert_eq!(set(&spec), set(&configuration(end)), "{state}");
        assert_eq!(profile(&spec), profile(&configuration(end)), "{state}");
        let once = spec.clone();
        policy.apply(&mut spec).expect("apply again");
        assert_eq!(spec, once, "{state}");
    }
    assert!(applied > 100 && refused > 100, "{applied} {refused}");
    assert_eq!(
        good.digests().filter(|row| row.0 == Kind::Capabilities).count(),
        1
    );
}
