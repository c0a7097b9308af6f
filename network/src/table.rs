//! Our table on the host. Pure. `tests/host.nft` has it in the words of nft(8).
//!
//! It translates addresses, and it refuses: a sandbox reaches another one, or the host itself, only where that was
//! asked for; nobody else reaches a sandbox but through a published port. Tables of others are never changed: what
//! they drop stays dropped.

use crate::egress::{Protocol, Publish};
use crate::host::Changed;
use crate::nftables::{Field, Found, Hook, Kind, Member, Part, Rule, Set, Transaction, concatenated, octets};
use crate::pool::Addresses;
use crate::rules::{neighbours, refuse, with_ports};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Every link of a sandbox.
const OURS: &str = "nucleus-*";

/// What sandboxes have in it: maps whose values begin with a sandbox's address, and sets whose keys do.
pub const SETS: [Set<'static>; 6] = {
    use Kind::{Address4, Address6, Port, Protocol};
    const fn set(name: &'static str, key: &'static [Kind], data: &'static [Kind]) -> Set<'static> {
        Set {
            name,
            key,
            data,
            flags: 0,
            size: None,
        }
    }
    [
        set("published4", &[Protocol, Port], &[Address4, Port]),
        set("published6", &[Protocol, Port], &[Address6, Port]),
        set("bound4", &[Protocol, Address4, Port], &[Address4, Port]),
        set("bound6", &[Protocol, Address6, Port], &[Address6, Port]),
        set("host4", &[Address4, Address4], &[]),
        set("host6", &[Address6, Address6], &[]),
    ]
};

/// All of it, where there is none; an error where there is.
pub fn new(changed: Changed) -> Transaction {
    let mut all = Transaction::new();
    all.create_table();
    whole(&mut all, changed);
    all
}

/// All of it, in the place of what there may be.
pub fn anew(changed: Changed) -> Transaction {
    let mut all = Transaction::new();
    all.add_table();
    all.delete_table();
    all.add_table();
    whole(&mut all, changed);
    all
}

fn whole(all: &mut Transaction, changed: Changed) {
    all.chain("published");
    all.nat(Hook::Prerouting, -100);
    all.nat(Hook::Output, -100);
    all.nat(Hook::Postrouting, 100);
    all.filter(Hook::Forward, true);
    all.filter(Hook::Input, true);
    sets(all);
    translation(all);
    forward(all, changed);
    input(all);
}

fn sets(all: &mut Transaction) {
    SETS.into_iter().for_each(|set| all.set(set));
}

fn translation(all: &mut Transaction) {
    let others = all.not_among(Rule::new().any_protocol(), Kind::Protocol, &with_ports());
    all.rule("published", others.leave());
    all.rule("published", Rule::new().not_to_this_host().leave());
    let loopback = Rule::new()
        .family(false)
        .load(Field::DESTINATION6)
        .is(&Ipv6Addr::LOCALHOST.octets());
    all.rule("published", loopback.leave());
    let port = Part::Of(Field::PORT);
    for (map, four, field) in [
        ("bound4", true, Field::DESTINATION4),
        ("bound6", false, Field::DESTINATION6),
    ] {
        let rule = Rule::new()
            .family(four)
            .key(&[Part::Protocol, Part::Of(field), port]);
        all.rule("published", rule.dnat(four, map));
    }
    for (map, four) in [("published4", true), ("published6", false)] {
        let rule = Rule::new().family(four).key(&[Part::Protocol, port]);
        all.rule("published", rule.dnat(four, map));
    }
    all.rule("prerouting", Rule::new().jump("published"));
    all.rule("output", Rule::new().jump("published"));
    let from = || Rule::new().from(OURS);
    all.rule("postrouting", from().not_to(OURS).masquerade());
    all.rule("postrouting", from().to(OURS).translated().masquerade());
    // 127.0.0.0/8
    let looped = Rule::new().to(OURS).family(true).load(Field::SOURCE4.first(1));
    all.rule("postrouting", looped.is(&[127]).masquerade());
}

fn forward(all: &mut Transaction, changed: Changed) {
    all.rule("forward", Rule::new().established().accept());
    // Where forwarding was off, nothing is forwarded but for sandboxes.
    for (was_off, four) in [(changed.forward4, true), (changed.forward6, false)] {
        if was_off {
            let others = Rule::new().family(four).not_from(OURS).not_to(OURS);
            all.rule("forward", others.drop());
        }
    }
    all.rule("forward", Rule::new().to(OURS).translated().accept());
    let between = || Rule::new().from(OURS).to(OURS);
    all.rule("forward", between().protocol(Protocol::Tcp).reset());
    all.rule("forward", between().prohibit());
    all.rule("forward", Rule::new().to(OURS).drop());
}

fn input(all: &mut Transaction) {
    all.rule("input", Rule::new().not_from(OURS).accept());
    all.rule("input", Rule::new().established().accept());
    neighbours(all, "input", Rule::new().family(false));
    for (set, four, parts) in [
        ("host4", true, [Field::SOURCE4, Field::DESTINATION4]),
        ("host6", false, [Field::SOURCE6, Field::DESTINATION6]),
    ] {
        let rule = Rule::new().family(four).key(&parts.map(Part::Of));
        all.rule("input", rule.within(set).accept());
    }
    refuse(all, "input");
}

/// What one sandbox has in the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Element {
    /// A port of the host leads to it.
    Published {
        /// The protocol.
        protocol: Protocol,
        /// At which of the host's addresses; `None`: every one.
        address: Option<IpAddr>,
        /// The port there.
        host: u16,
        /// The sandbox's address and port.
        to: SocketAddr,
    },
    /// It reaches an address of the host.
    Host {
        /// The sandbox's address.
        from: IpAddr,
        /// The host's.
        to: IpAddr,
    },
}

/// The port, as a person names it.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Published {
                protocol,
                address: Some(address),
                host,
                ..
            } => write!(f, "{}/{protocol}", SocketAddr::new(*address, *host)),
            Self::Published { protocol, host, .. } => write!(f, "{host}/{protocol}"),
            Self::Host { from, to } => write!(f, "{from} to {to}"),
        }
    }
}

impl Element {
    /// The set or map, and its element there.
    fn member(&self) -> (&'static str, Member) {
        match self {
            Self::Published {
                protocol,
                address,
                host,
                to,
            } => {
                let (protocol, port) = ([protocol.number()], host.to_be_bytes());
                let address = address.map(octets);
                let key = match &address {
                    Some(address) => concatenated(&[&protocol, address, &port]),
                    None => concatenated(&[&protocol, &port]),
                };
                let set = match (address.is_some(), to.is_ipv4()) {
                    (false, true) => "published4",
                    (false, false) => "published6",
                    (true, true) => "bound4",
                    (true, false) => "bound6",
                };
                let data = concatenated(&[&octets(to.ip()), &to.port().to_be_bytes()]);
                let member = Member {
                    data: Some(data),
                    ..Member::of(key)
                };
                (set, member)
            }
            Self::Host { from, to } => {
                let set = if from.is_ipv4() { "host4" } else { "host6" };
                (set, Member::of(concatenated(&[&octets(*from), &octets(*to)])))
            }
        }
    }
}

/// What one sandbox has in the table.
pub fn elements(of: &Addresses, published: &[Publish], host: &BTreeSet<IpAddr>) -> Vec<Element> {
    let (four, six) = (IpAddr::V4(of.four), IpAddr::V6(of.six));
    let mut all = Vec::new();
    for publish in published {
        let to = |address| Element::Published {
            protocol: publish.protocol,
            address: publish.address,
            host: publish.host,
            to: SocketAddr::new(address, publish.inside),
        };
        match publish.address {
            None => all.extend([to(four), to(six)]),
            Some(IpAddr::V4(_)) => all.push(to(four)),
            Some(IpAddr::V6(_)) => all.push(to(six)),
        }
    }
    all.extend(host.iter().map(|address| Element::Host {
        from: if address.is_ipv4() { four } else { six },
        to: *address,
    }));
    all
}

/// Adds an element; none like it may be there.
pub fn create(element: &Element) -> Transaction {
    let mut all = Transaction::new();
    let (set, member) = element.member();
    all.create(set, &[member]);
    all
}

/// Adds elements that may be there.
pub fn add(all: &mut Transaction, elements: &[Element]) {
    for element in elements {
        let (set, member) = element.member();
        all.add(set, &[member]);
    }
}

/// Deletes an element, whether it is there or not; an error if it is another sandbox's by now.
pub fn take_back(element: &Element) -> Transaction {
    let mut all = Transaction::new();
    let (set, member) = element.member();
    // One that leads elsewhere cannot be added.
    all.add(set, std::slice::from_ref(&member));
    all.delete(set, &[member]);
    all
}

/// Deletes what was found in the table of who had these addresses before; `None` if there is nothing.
pub fn leftovers(found: &[(&Set<'_>, Vec<Found>)], of: &Addresses) -> Option<Transaction> {
    let ours = [octets(of.four.into()), octets(of.six.into())];
    let mut all = None;
    for (set, members) in found {
        for (key, data) in members {
            let leads = data.as_ref().unwrap_or(key);
            let kind = set.data.first().or(set.key.first());
            let address = &ours[usize::from(kind == Some(&Kind::Address6))];
            if leads.starts_with(address) {
                let member = Member {
                    data: data.clone(),
                    ..Member::of(key.clone())
                };
                all.get_or_insert_with(Transaction::new)
                    .delete(set.name, &[member]);
            }
        }
    }
    all
}
