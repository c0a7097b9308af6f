//! `shim/src/mode.rs` against the step Decide of the specs Policy and Gvisor: every request on every kind of host, for
//! every runtime, in both directions, refusals included.

use super::code::{decide, judge, weigh};
use nucleus_formal::binding::{Agrees, Property, same};
use nucleus_formal::graph::{shared, text};
use nucleus_formal::wish::{network, runtimes};
use nucleus_shim::adapt::Loss;
use nucleus_shim::delegation::Cgroups;
use nucleus_shim::facts::{Facts, Runtime};
use nucleus_shim::request::{Mode, Network, Request};
use nucleus_shim::swap::Swap;
use rustix::io::Errno;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The comparisons.
pub const PROPERTIES: &[Property] = &[("every request", every_request), ("every runtime", every_runtime)];

/// What a decision comes to, in the spec's words.
#[derive(Debug, PartialEq, Eq)]
struct Decided {
    phase: &'static str,
    refused: BTreeSet<String>,
    without: BTreeSet<String>,
    warned: usize,
}

/// Every request as far as the spec tells them apart, with each way to say the same.
fn requests() -> Vec<(Value, Request, Facts)> {
    let mut all = Vec::new();
    let modes = [Mode::Agent, Mode::StrictAgent, Mode::Production];
    let roots = ["none", "plain", "attested"];
    for mode in modes {
        for bits in 0..1 << 8 {
            let bit = |at: u32| bits >> at & 1 == 1;
            let [
                consent,
                host,
                host_consent,
                user,
                asked,
                cgroups,
                landlock,
                userns,
            ] = [0, 1, 2, 3, 4, 5, 6, 7].map(bit);
            for root in roots {
                for limits in ["none", "other", "memory"] {
                    let ask = json!({
                        "mode": mode.word(), "consent": consent, "network": if host { "host" } else { "none" },
                        "host_consent": host_consent, "rootfs": root, "user": user, "limits": limits,
                        "asked": asked, "cgroups": cgroups, "landlock": landlock, "userns": userns,
                    });
                    let plain = Request {
                        mode: Some(mode),
                        allow_degraded_security: consent,
                        network: host.then_some(Network::Host),
                        allow_host_network: host_consent,
                        rootfs: (root != "none").then(|| "/".into()),
                        rootfs_manifest_sha256: (root == "attested").then(|| "0".repeat(64)),
                        user: user.then_some(1000),
                        memory: (limits == "memory").then(|| "1G".to_owned()),
                        ..Request::default()
                    };
                    let facts = Facts {
                        uid: 0,
                        gid: 0,
                        cgroups: if cgroups { Cgroups::All } else { Cgroups::None },
                        landlock,
                        holds_rootfs: true,
                        rootfs_fixed: false,
                        swap: Swap::Counted,
                        no_user_namespace: (!userns).then_some(Errno::PERM),
                        kernel: None,
                        runtime: Runtime::Native,
                    };
                    for request in spellings(plain, limits, asked) {
                        all.extend(
                            attestations(request, facts)
                                .map(|(request, facts)| (ask.clone(), request, facts)),
                        );
                    }
                }
            }
        }
    }
    all
}

/// The same root file system, attested in other ways: as the toolchain's, or as a store path that nobody can write.
fn attestations(request: Request, facts: Facts) -> impl Iterator<Item = (Request, Facts)> {
    let pinned = request.rootfs_manifest_sha256.is_some();
    let toolchain = pinned.then(|| Request {
        toolchain_rootfs: request.rootfs.clone(),
        rootfs: None,
        ..request.clone()
    });
    let fixed = pinned.then(|| Request {
        rootfs_manifest_sha256: None,
        ..request.clone()
    });
    let on_a_fixed_one = Facts {
        rootfs_fixed: true,
        ..facts
    };
    let others = toolchain.map(|request| (request, facts)).into_iter();
    let others = others.chain(fixed.map(|request| (request, on_a_fixed_one)));
    std::iter::once((request, facts)).chain(others)
}

/// The same request in other words: another limit, Landlock through a lock file, the defaults spelled out.
fn spellings(plain: Request, limits: &str, asked: bool) -> Vec<Request> {
    let limited: Vec<Request> = match limits {
        "none" => vec![plain],
        "other" => vec![
            Request {
                cpus: Some(1.5),
                ..plain.clone()
            },
            Request {
                pids: Some(10),
                ..plain
            },
        ],
        _ => vec![
            plain.clone(),
            Request {
                pids: Some(10),
                ..plain
            },
        ],
    };
    let mut all = Vec::new();
    for request in limited {
        if asked {
            all.push(Request {
                landlock_policy: Some("agent".to_owned()),
                ..request.clone()
            });
            all.push(Request {
                policy_lock: Some("policy.lock".into()),
                ..request
            });
        } else {
            all.push(Request {
                network: request.network.or(Some(Network::None)),
                ..request.clone()
            });
            if request.mode == Some(Mode::Agent) {
                all.push(Request {
                    mode: None,
                    ..request.clone()
                });
            }
            all.push(request);
        }
    }
    all
}

fn by_the_code(request: &Request, facts: &Facts) -> Decided {
    match decide(request, facts) {
        Ok(decision) => Decided {
            phase: "taken",
            refused: BTreeSet::new(),
            without: [
                ("limits", decision.without_limits.any()),
                ("landlock", decision.without_landlock),
                ("user namespace", decision.without_user_namespace),
            ]
            .into_iter()
            .filter(|(_, left_out)| *left_out)
            .map(|(word, _)| word.to_owned())
            .collect(),
            warned: decision.warnings.len(),
        },
        Err(violations) => Decided {
            phase: "refused",
            refused: violations
                .iter()
                .map(|violation| violation.field.to_owned())
                .collect(),
            without: BTreeSet::new(),
            warned: 0,
        },
    }
}

fn words(value: &Value) -> BTreeSet<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn by_the_spec(state: &Value) -> Decided {
    Decided {
        phase: if state["phase"] == "taken" {
            "taken"
        } else {
            "refused"
        },
        refused: words(&state["refused"]),
        without: words(&state["without"]),
        warned: words(&state["warned"]).len(),
    }
}

fn every_request() -> Agrees {
    let graph = shared("Policy");
    let mut decided: BTreeMap<String, Decided> = BTreeMap::new();
    for &start in &graph.initial {
        let [step] = &graph.edges[start][..] else {
            panic!("{} is decided once", graph.states[start]);
        };
        assert_eq!(step.action, "Decide");
        let outcome = by_the_spec(&graph.states[step.target]);
        decided.insert(graph.states[start]["ask"].to_string(), outcome);
    }
    let mut missing: BTreeSet<&str> = decided.keys().map(String::as_str).collect();
    for (ask, request, facts) in requests() {
        let key = ask.to_string();
        let expected = decided.get(&key);
        let expected = expected.unwrap_or_else(|| panic!("the spec has no {key}"));
        same(&by_the_code(&request, &facts), expected, || {
            format!("{key}\n{request:?}")
        })?;
        missing.remove(key.as_str());
    }
    assert!(
        missing.is_empty(),
        "the code was not asked for {} requests of the spec",
        missing.len()
    );
    Ok(())
}

/// The requests of the spec Gvisor, as the front-end gets them: with all that each mode wants besides.
fn of_gvisor(wish: &Value) -> Vec<(Request, Facts)> {
    let modes = [Mode::Agent, Mode::StrictAgent, Mode::Production];
    let rejected = words(&wish["asks"]).contains("rejected");
    let request = Request {
        mode: modes.into_iter().find(|mode| mode.word() == text(&wish["mode"])),
        network: network(wish),
        allow_degraded_security: wish["consent"] == true,
        allow_host_network: wish["host_consent"] == true,
        rootfs: Some("/".into()),
        user: Some(1000),
        memory: Some("1G".into()),
        ..Request::default()
    };
    let with_terminal = Request {
        terminal: rejected,
        ..request.clone()
    };
    let with_socket = Request {
        console_socket: rejected.then(|| "/run/console".into()),
        ..request
    };
    let facts = |runtime: &Runtime| Facts {
        uid: if wish["root"] == true { 0 } else { 1000 },
        gid: 0,
        cgroups: Cgroups::All,
        landlock: *runtime == Runtime::Native,
        holds_rootfs: *runtime == Runtime::Native,
        rootfs_fixed: true,
        swap: Swap::Counted,
        no_user_namespace: None,
        kernel: None,
        runtime: *runtime,
    };
    let each = |request: &Request| -> Vec<(Request, Facts)> {
        runtimes(wish)
            .iter()
            .map(|runtime| (request.clone(), facts(runtime)))
            .collect()
    };
    [each(&with_terminal), each(&with_socket)].concat()
}

fn every_runtime() -> Agrees {
    let graph = shared("Gvisor");
    for &start in &graph.initial {
        let after = &graph.states[graph.edges[start][0].target];
        let wish = &after["wish"];
        let ignored = Loss {
            what: "--memory".into(),
            why: "it is not there",
        };
        let losses = words(&wish["asks"]).contains("ignored").then_some(ignored);
        for (request, facts) in of_gvisor(wish) {
            let (decision, mut violations) = judge(&request, &facts);
            let (mut warnings, lost) = weigh(&request, losses.as_slice());
            violations.extend(lost);
            warnings.extend(decision.warnings);
            let first = |field: &str| field.split(',').next().unwrap_or_default().to_owned();
            let refused: BTreeSet<String> = violations.iter().map(|one| first(one.field)).collect();
            same(&refused, &words(&after["denied"]), || format!("{wish}"))?;
            if refused.is_empty() {
                same(&warnings.len(), &words(&after["informed"]).len(), || {
                    format!("{wish}: {warnings:?}")
                })?;
                same(
                    &decision.without_landlock,
                    &words(&after["informed"]).contains("landlock"),
                    || format!("{wish}"),
                )?;
            }
        }
    }
    Ok(())
}
