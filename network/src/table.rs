//! Our table on the host, as a text for nft(8). Pure.
//!
//! It translates addresses, and it refuses: a sandbox reaches another one, or the host itself, only where that was
//! asked for; nobody else reaches a sandbox but through a published port. Tables of others are never changed: what
//! they drop stays dropped.

use crate::egress::Publish;
use crate::host::Changed;
use crate::pool::Addresses;
use crate::rules::TABLE;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

/// All of it, where there is none; an error where there is. The kernel takes its time over what is deleted, and nft(8)
/// waits for it: a first sandbox does without.
pub fn new(changed: Changed) -> String {
    format!("create table inet {TABLE}\n{}", whole(changed))
}

/// All of it, in the place of what there may be.
pub fn anew(changed: Changed) -> String {
    format!(
        "add table inet {TABLE}\ndelete table inet {TABLE}\n{}",
        whole(changed)
    )
}

/// Where forwarding was off, nothing is forwarded but for sandboxes.
fn whole(changed: Changed) -> String {
    let mut closed = String::new();
    for (was_off, family) in [(changed.forward4, "ipv4"), (changed.forward6, "ipv6")] {
        if was_off {
            let _ = writeln!(
                closed,
                "meta nfproto {family} iifname != \"nucleus-*\" oifname != \"nucleus-*\" drop"
            );
        }
    }
    format!(
        "table inet {TABLE} {{
map published4 {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
map published6 {{ type inet_proto . inet_service : ipv6_addr . inet_service; }}
map bound4 {{ type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }}
map bound6 {{ type inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service; }}
set host4 {{ type ipv4_addr . ipv4_addr; }}
set host6 {{ type ipv6_addr . ipv6_addr; }}
chain published {{
meta l4proto != {{ tcp, udp }} return
fib daddr type != local return
ip6 daddr ::1 return
dnat ip to meta l4proto . ip daddr . th dport map @bound4
dnat ip6 to meta l4proto . ip6 daddr . th dport map @bound6
meta nfproto ipv4 dnat ip to meta l4proto . th dport map @published4
meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @published6
}}
chain prerouting {{
type nat hook prerouting priority -100;
jump published
}}
chain output {{
type nat hook output priority -100;
jump published
}}
chain postrouting {{
type nat hook postrouting priority 100;
iifname \"nucleus-*\" oifname != \"nucleus-*\" masquerade
iifname \"nucleus-*\" oifname \"nucleus-*\" ct status dnat masquerade
oifname \"nucleus-*\" ip saddr 127.0.0.0/8 masquerade
}}
chain forward {{
type filter hook forward priority 0; policy accept;
ct state established,related accept
{closed}oifname \"nucleus-*\" ct status dnat accept
iifname \"nucleus-*\" oifname \"nucleus-*\" meta l4proto tcp reject with tcp reset
iifname \"nucleus-*\" oifname \"nucleus-*\" reject with icmpx admin-prohibited
oifname \"nucleus-*\" drop
}}
chain input {{
type filter hook input priority 0; policy accept;
iifname != \"nucleus-*\" accept
ct state established,related accept
icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} ip6 hoplimit 255 accept
ip saddr . ip daddr @host4 accept
ip6 saddr . ip6 daddr @host6 accept
meta l4proto tcp reject with tcp reset
reject with icmpx admin-prohibited
}}
}}
list chains
"
    )
}

/// What one sandbox has in the table: element and set, without the verb.
pub fn elements(of: &Addresses, published: &[Publish], host: &BTreeSet<IpAddr>) -> Vec<String> {
    let mut all = Vec::new();
    for publish in published {
        let Publish {
            address,
            host,
            inside,
            protocol,
        } = publish;
        let four = format!("{} . {inside}", of.four);
        let six = format!("{} . {inside}", of.six);
        match address {
            None => {
                all.push(format!("published4 {{ {protocol} . {host} : {four} }}"));
                all.push(format!("published6 {{ {protocol} . {host} : {six} }}"));
            }
            Some(IpAddr::V4(address)) => {
                all.push(format!("bound4 {{ {protocol} . {address} . {host} : {four} }}"));
            }
            Some(IpAddr::V6(address)) => {
                all.push(format!("bound6 {{ {protocol} . {address} . {host} : {six} }}"));
            }
        }
    }
    all.extend(host.iter().map(|address| match address {
        IpAddr::V4(address) => format!("host4 {{ {} . {address} }}", of.four),
        IpAddr::V6(address) => format!("host6 {{ {} . {address} }}", of.six),
    }));
    all
}

/// A text that does this to every one of the elements.
pub fn with(verb: &str, elements: &[String]) -> String {
    elements
        .iter()
        .map(|element| format!("{verb} element inet {TABLE} {element}\n"))
        .collect()
}
