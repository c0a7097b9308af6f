//! `network/src/resolver/address.rs`, which parts the addresses of every answer, against the step Answered of the spec
//! Egress: what the rules are to permit and what the workload hears, for each address that a name can have in it.

use super::code::admit;
use nucleus_formal::binding::{Agrees, Property, same};
use nucleus_formal::graph::{shared, text};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The comparisons.
pub const PROPERTIES: &[Property] = &[("every answer", every_answer)];

/// The permitted network `s4` of the spec, and this host's own address, which is a public one.
const NETWORK: &str = "10.1.0.0/16";
const OWN: &str = "192.0.2.1";

/// What the spec's word stands for: each kind of address that the code has rules of its own for.
fn addresses(word: &str) -> Vec<IpAddr> {
    let texts: &[&str] = match word {
        "n4" => &[
            "93.184.216.34",
            "100.63.255.255",
            "100.128.0.1",
            "198.20.0.1",
            "172.32.0.1",
        ],
        "n6" => &["2606:4700::1111", "64:ff9b::5db8:d822", "2002:5db8:d822::1"],
        _ => &[
            "127.0.0.1",
            "10.2.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.1",
            "192.88.99.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "0.0.0.0",
            OWN,
            "::1",
            "::ffff:10.2.0.1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "2002:a02:1::1",
            "2001::1",
        ],
    };
    texts
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect()
}

fn has(set: &Value, word: &str) -> bool {
    set.as_array().into_iter().flatten().any(|one| one == word)
}

fn every_answer() -> Agrees {
    let graph = shared("Egress");
    let (network, own) = (
        NETWORK.parse().expect("a network"),
        [OWN.parse().expect("an address")],
    );
    let mut seen = BTreeSet::new();
    for (index, before) in graph.states.iter().enumerate() {
        for edge in graph.edges[index].iter().filter(|edge| edge.action == "Answered") {
            let after = &graph.states[edge.target];
            let word = text(&before["dns"]);
            let permitted = after["pending"] == word || after["life"][word] != 0;
            // Nobody is told the answer to a question of the resolver's own.
            let told = before["upstream"] != "refresh";
            let hears = after["pending"] == word || after["holds"] == word;
            for address in addresses(word) {
                let admission = admit(&[address], &[network], &own);
                let place = || format!("{address} as {word} after {}", before["upstream"]);
                same(&admission.admitted.contains(&address), &permitted, place)?;
                if told {
                    same(&admission.told.contains(&address), &hears, place)?;
                    same(&admission.filtered.contains(&address), &!hears, place)?;
                }
            }
            seen.insert((word, told));
        }
        // A fixed network is permitted always, so that no name has to bring it in.
        if has(&before["fixed"], "s4") {
            let address = "10.1.2.3".parse().expect("an address");
            let admission = admit(&[address], &[network], &own);
            same(&(admission.told.len(), admission.admitted.len()), &(1, 0), || {
                "a permitted network".into()
            })?;
        }
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
    Ok(())
}
