//! The rules of a network by themselves: what leaves it when whoever sends is root over it, as no workload is, with raw
//! sockets and packets made by hand. A tap in the world sees what arrives, and that all of it does without the rules.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use support::bed::{ASK, Bed};
use support::eventually;

/// Packets of [`send`] that are no TCP or UDP, of each version.
const OTHERS: [&str; 10] = [
    "echo", "igmp", "ipip", "6in4", "gre", "esp", "sctp", "dccp", "udplite", "253",
];
/// UDP in wrappings, of both versions, and of version 6 alone.
const DATAGRAMS: [&str; 4] = ["datagram", "large datagram", "raw datagram", "fragments"];
const DATAGRAMS6: [&str; 4] = [
    "hop-by-hop options",
    "destination options",
    "two headers",
    "one fragment",
];

/// What comes by in the world.
struct Tap {
    seen: PathBuf,
    child: Child,
}

impl Tap {
    fn new(bed: &Bed, probe: &Path) -> Self {
        let seen = bed.place.path("seen");
        fs::write(&seen, "").expect("write");
        let mut python = bed.world.command("/usr/bin/python3");
        python.arg(probe).arg("see").arg(&seen).arg("outer");
        let child = python.spawn().expect("python3");
        let tap = Self { seen, child };
        eventually("the tap", || tap.names().contains("ready"));
        tap
    }

    fn names(&self) -> BTreeSet<String> {
        let text = fs::read_to_string(&self.seen).expect("read");
        text.lines().map(str::to_owned).collect()
    }

    /// What arrives of all packets when they are sent in this process's network.
    fn send(&self, bed: &Bed, probe: &Path, pid: &str) -> BTreeSet<String> {
        fs::write(&self.seen, "").expect("write");
        let network = format!("--net=/proc/{pid}/ns/net");
        let mut python = bed.host.command("nsenter");
        python.arg(network).arg("/usr/bin/python3").arg(probe);
        python.args(["send", "10.99.1.2", "fd99:1::2", "10.99.2.2", "fd99:2::2"]);
        let output = python.output().expect("python3");
        assert!(output.status.success(), "{output:?}");
        let ends = BTreeSet::from(["end 4", "end 6"].map(str::to_owned));
        eventually("the last packets", || ends.is_subset(&self.names()));
        self.names().difference(&ends).cloned().collect()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The names of packets: of which destination, of which version.
fn named(label: &str, words: &[&str], version: u8) -> impl Iterator<Item = String> {
    words.iter().map(move |word| format!("{label} {word} {version}"))
}

fn datagrams(label: &str) -> BTreeSet<String> {
    let both = [4, 6]
        .into_iter()
        .flat_map(|version| named(label, &DATAGRAMS, version));
    both.chain(named(label, &DATAGRAMS6, 6)).collect()
}

#[test]
fn nothing_but_tcp_and_udp_to_what_is_allowed_passes_the_rules() {
    let Some(bed) = Bed::new() else { return };
    let probe = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probes/protocols.py");
    let tap = Tap::new(&bed, &probe);
    // Nothing may be lost while a neighbour is looked for.
    for address in ["10.99.1.2", "10.99.2.2", "fd99:1::2", "fd99:2::2"] {
        bed.host.sh(&format!("{ASK}udp {address} 5000"));
    }
    let name = bed.place.name();
    let start = |more: &[&str]| {
        let run = ["run", "--quiet", "--detach", "--name", name];
        let allowed = ["--egress-allow", "10.99.1.2", "--egress-allow", "fd99:1::2"];
        bed.nucleus(&[&run[..], &allowed, more, &["--", "sleep", "1000"]].concat())
            .exits(0);
        let state = bed.nucleus(&["state", name]);
        let state: serde_json::Value = serde_json::from_str(state.exits(0)).expect("JSON");
        state["pid"].to_string()
    };
    let remove = || drop(bed.nucleus(&["rm", "--force", name]).exits(0).to_owned());
    // A list of ports is for every wrapping.
    let pid = start(&["--egress-udp-port", "5000"]);
    assert_eq!(tap.send(&bed, &probe, &pid), datagrams("allowed"));
    remove();
    let pid = start(&[]);
    let expected: BTreeSet<_> = datagrams("allowed")
        .into_iter()
        .chain(datagrams("another port"))
        .collect();
    assert_eq!(tap.send(&bed, &probe, &pid), expected);
    // And without rules every one of these arrives.
    bed.host
        .sh(&format!("nsenter --net=/proc/{pid}/ns/net nft flush ruleset"));
    let mut all = expected;
    for label in ["allowed", "refused"] {
        all.extend(datagrams(label));
        all.extend(
            [4, 6]
                .into_iter()
                .flat_map(|version| named(label, &OTHERS, version)),
        );
        all.extend(named(label, &["solicitation", "advertisement"], 6));
    }
    all.insert("refused error 4".into());
    assert_eq!(tap.send(&bed, &probe, &pid), all);
    remove();
    bed.expect_clean();
}
