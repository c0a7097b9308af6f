//! The rules inside a sandbox's network namespace. Pure. `tests/inside.nft` has them in the words of nft(8).
//!
//! What leaves is refused unless it is permitted, and what comes in is dropped unless it was asked for or published,
//! in both families and for every protocol. The host's user namespace owns the network namespace, so nobody inside can
//! change them, whatever capabilities the workload has in its own.

use crate::egress::{Egress, Ports, Protocol, Publish};
use crate::nftables::{Field, Hook, Kind, Member, Part, Rule, Set, Transaction, intervals, octets};
use ipnet::{IpNet, Ipv6Net};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// The counter of what is refused.
pub const REFUSED: &str = "refused";
/// Whereto that was, of each family.
pub const REMEMBERED: [&str; 2] = ["refused4", "refused6"];

/// How many different refused destinations are remembered.
const MOST_REMEMBERED: u32 = 256;

/// What is on the link.
const NEAR: [IpNet; 2] = [
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
        10,
    )),
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0),
        16,
    )),
];
/// Types of ICMPv6: of the kernel's own questions about its neighbours, and its answers.
const NEIGHBOURS: [u8; 2] = [135, 136];
/// Reports to routers and groups: `mld-listener-report`, `mld2-listener-report`, `mld-listener-done`,
/// `nd-router-solicit`.
const REPORTS: [u8; 4] = [131, 143, 132, 133];

/// The whole rule set of a namespace.
pub fn inside(egress: &Egress, published: &[Publish]) -> Transaction {
    let mut all = Transaction::new();
    all.add_table();
    all.chain("permitted");
    all.filter(Hook::Output, false);
    all.filter(Hook::Input, false);
    all.filter(Hook::Forward, false);
    all.counter(REFUSED);
    sets(&mut all, egress);
    permitted(&mut all, egress);
    output(&mut all);
    input(&mut all, published);
    all
}

fn sets(all: &mut Transaction, egress: &Egress) {
    let (four, six) = egress.families();
    for (name, kind, networks) in [
        (
            "networks4",
            Kind::Address4,
            intervals(four.into_iter().map(IpNet::V4)),
        ),
        (
            "networks6",
            Kind::Address6,
            intervals(six.into_iter().map(IpNet::V6)),
        ),
    ] {
        all.set(set(name, &[kind], Set::INTERVAL));
        all.add(name, &networks);
    }
    all.set(set("names4", &[Kind::Address4], Set::TIMEOUT));
    all.set(set("names6", &[Kind::Address6], Set::TIMEOUT));
    for (name, address) in REMEMBERED.into_iter().zip([Kind::Address4, Kind::Address6]) {
        all.set(Set {
            size: Some(MOST_REMEMBERED),
            ..set(name, &[address, Kind::Protocol, Kind::Port], Set::DYNAMIC)
        });
    }
}

fn set<'a>(name: &'a str, key: &'a [Kind], flags: u32) -> Set<'a> {
    Set {
        name,
        key,
        data: &[],
        flags,
        size: None,
    }
}

fn permitted(all: &mut Transaction, egress: &Egress) {
    let (tcp, udp) = egress.ports();
    for (protocol, ports) in [(Protocol::Tcp, tcp), (Protocol::Udp, udp)] {
        match ports {
            Ports::All => all.rule("permitted", Rule::new().protocol(protocol).accept()),
            Ports::Only(ports) => to_ports(all, "permitted", protocol, &ports),
        }
    }
}

fn to_ports(all: &mut Transaction, chain: &str, protocol: Protocol, ports: &[u16]) {
    if ports.is_empty() {
        return;
    }
    let mut ports = ports.to_vec();
    ports.sort_unstable();
    ports.dedup();
    let ports: Vec<Vec<u8>> = ports.iter().map(|port| port.to_be_bytes().to_vec()).collect();
    let rule = all.among(
        Rule::new().protocol(protocol).load(Field::PORT),
        Kind::Port,
        &ports,
    );
    all.rule(chain, rule.accept());
}

fn output(all: &mut Transaction) {
    all.rule("output", Rule::new().to("lo").accept());
    all.rule("output", Rule::new().established().accept());
    // On this link; a workload cannot send these.
    let near = all.among_networks(Rule::new().family(false).load(Field::DESTINATION6), NEAR);
    neighbours(all, "output", near);
    // Nobody here hears them, and they are no attempts of the workload.
    let reports = Rule::new().family(false).icmp6();
    let reports = all.among(reports, Kind::Icmp6, &REPORTS.map(|kind| vec![kind]));
    all.rule("output", reports.drop());
    for (set, four) in [
        ("networks4", true),
        ("networks6", false),
        ("names4", true),
        ("names6", false),
    ] {
        let rule = Rule::new().family(four).load(destination(four));
        all.rule("output", rule.within(set).jump("permitted"));
    }
    all.rule("output", Rule::new().count(REFUSED));
    for (set, four) in REMEMBERED.into_iter().zip([true, false]) {
        let rule = all.among(Rule::new().any_protocol(), Kind::Protocol, &with_ports());
        let key = [Part::Of(destination(four)), Part::Protocol, Part::Of(Field::PORT)];
        all.rule("output", rule.family(four).key(&key).remember(set));
    }
    all.rule("output", Rule::new().seldom().log("nucleus egress refused: "));
    refuse(all, "output");
}

/// Quickly: a connection is reset, and for the rest an error is told.
pub(crate) fn refuse(all: &mut Transaction, chain: &str) {
    all.rule(chain, Rule::new().protocol(Protocol::Tcp).reset());
    all.rule(chain, Rule::new().prohibit());
}

/// Accepts the kernel's own questions about its neighbours and the answers to them, among packets of version 6.
pub(crate) fn neighbours(all: &mut Transaction, chain: &str, of: Rule) {
    let rule = all.among(of.icmp6(), Kind::Icmp6, &NEIGHBOURS.map(|kind| vec![kind]));
    // What came through a router has fewer.
    all.rule(chain, rule.load(Field::HOP_LIMIT).is(&[255]).accept());
}

/// The protocols with ports.
pub(crate) fn with_ports() -> [Vec<u8>; 2] {
    [Protocol::Tcp, Protocol::Udp].map(|protocol| vec![protocol.number()])
}

fn destination(four: bool) -> Field {
    if four {
        Field::DESTINATION4
    } else {
        Field::DESTINATION6
    }
}

fn input(all: &mut Transaction, published: &[Publish]) {
    all.rule("input", Rule::new().from("lo").accept());
    all.rule("input", Rule::new().established().accept());
    neighbours(all, "input", Rule::new().family(false));
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let ports: Vec<u16> = published
            .iter()
            .filter(|publish| publish.protocol == protocol)
            .map(|publish| publish.inside)
            .collect();
        to_ports(all, "input", protocol, &ports);
    }
}

/// Refuses addresses before anything is permitted: those of the host that a user's network reaches as any process of
/// the user does. Answers to who comes from there to a published port pass.
pub fn without(all: &mut Transaction, addresses: &[IpAddr]) {
    for four in [true, false] {
        let own: Vec<Vec<u8>> = addresses
            .iter()
            .filter(|address| address.is_ipv4() == four)
            .map(|address| octets(*address))
            .collect();
        if own.is_empty() {
            continue;
        }
        let kind = if four { Kind::Address4 } else { Kind::Address6 };
        let mut to_them = || {
            let rule = Rule::new().not_to("lo").not_established();
            let rule = rule.family(four).load(destination(four));
            all.among(rule, kind, &own)
        };
        let (other, tcp) = (to_them(), to_them());
        // Each goes in front of the one before.
        all.insert("output", other.count(REFUSED).prohibit());
        all.insert("output", tcp.protocol(Protocol::Tcp).count(REFUSED).reset());
    }
}

/// Permits the addresses of a name, each for so long; one that is there already anew for so long.
pub fn admitted(addresses: &[(IpAddr, Duration)]) -> Transaction {
    let mut all = Transaction::new();
    for (address, time) in addresses {
        let set = if address.is_ipv4() { "names4" } else { "names6" };
        let one = Member::of(octets(*address));
        let seconds = time.as_secs_f64().ceil().max(1.0);
        // An element that is there keeps its time when it is added again.
        all.add(set, std::slice::from_ref(&one));
        all.delete(set, std::slice::from_ref(&one));
        all.add(
            set,
            &[Member {
                timeout: Some(Duration::from_secs_f64(seconds)),
                ..one
            }],
        );
    }
    all
}
