//! The rules inside a sandbox's network namespace, as a text for nft(8). Pure.
//!
//! What leaves is refused unless it is permitted, and what comes in is dropped unless it was asked for or published,
//! in both families and for every protocol. The host's user namespace owns the network namespace, so nobody inside can
//! change them, whatever capabilities the workload has in its own.

use crate::egress::{Egress, Ports, Protocol, Publish};
use std::fmt::{Display, Write};
use std::net::IpAddr;
use std::time::Duration;

/// The name of our tables, inside and on the host.
pub const TABLE: &str = "nucleus";

/// How many different refused destinations are remembered.
const REMEMBERED: u32 = 256;

/// The whole rule set of a namespace.
pub fn inside(egress: &Egress, published: &[Publish]) -> String {
    let (four, six) = egress.families();
    let (tcp, udp) = egress.ports();
    let mut text = format!("table inet {TABLE} {{\n");
    set(&mut text, "networks4", "ipv4_addr", "interval", &four);
    set(&mut text, "networks6", "ipv6_addr", "interval", &six);
    set::<u8>(&mut text, "names4", "ipv4_addr", "timeout", &[]);
    set::<u8>(&mut text, "names6", "ipv6_addr", "timeout", &[]);
    for (name, kind) in [("refused4", "ipv4_addr"), ("refused6", "ipv6_addr")] {
        let _ = writeln!(
            text,
            "set {name} {{ type {kind} . inet_proto . inet_service; size {REMEMBERED}; flags dynamic; }}"
        );
    }
    text += "counter refused { }\n";
    text += "chain permitted {\n";
    for (protocol, ports) in [("tcp", &tcp), ("udp", &udp)] {
        match ports {
            Ports::All => {
                let _ = writeln!(text, "meta l4proto {protocol} accept");
            }
            Ports::Only(ports) if ports.is_empty() => {}
            Ports::Only(ports) => {
                let _ = writeln!(text, "{protocol} dport {} accept", elements(ports));
            }
        }
    }
    text += "}\n";
    // The kernel's own questions about its neighbours, which are on this link; a workload cannot send these. Reports to
    // routers and groups, which nobody here hears, are no attempts of the workload.
    text += "chain output {
type filter hook output priority filter; policy drop;
oifname \"lo\" accept
ct state established,related accept
ip6 daddr { fe80::/10, ff02::/16 } icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept
icmpv6 type { mld-listener-report, mld2-listener-report, mld-listener-done, nd-router-solicit } drop
ip daddr @networks4 jump permitted
ip6 daddr @networks6 jump permitted
ip daddr @names4 jump permitted
ip6 daddr @names6 jump permitted
counter name \"refused\"
meta l4proto { tcp, udp } update @refused4 { ip daddr . meta l4proto . th dport }
meta l4proto { tcp, udp } update @refused6 { ip6 daddr . meta l4proto . th dport }
limit rate 1/second burst 5 packets log prefix \"nucleus egress refused: \"
meta l4proto tcp reject with tcp reset
reject with icmpx admin-prohibited
}
chain input {
type filter hook input priority filter; policy drop;
iifname \"lo\" accept
ct state established,related accept
icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept
";
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let ports: Vec<u16> = published
            .iter()
            .filter(|publish| publish.protocol == protocol)
            .map(|publish| publish.inside)
            .collect();
        if !ports.is_empty() {
            let _ = writeln!(text, "{protocol} dport {} accept", elements(&ports));
        }
    }
    text += "}\nchain forward {\ntype filter hook forward priority filter; policy drop;\n}\n}\n";
    text
}

/// Permits the addresses of a name, each for so long; one that is there already anew for so long. One transaction.
pub fn admitted(addresses: &[(IpAddr, Duration)]) -> String {
    let mut text = String::new();
    for (address, time) in addresses {
        let family = if address.is_ipv4() { 4 } else { 6 };
        let seconds = time.as_secs_f64().ceil().max(1.0);
        // An element that is there keeps its time when it is added again.
        let _ = write!(
            text,
            "add element inet {TABLE} names{family} {{ {address} }}
delete element inet {TABLE} names{family} {{ {address} }}
add element inet {TABLE} names{family} {{ {address} timeout {seconds}s }}
"
        );
    }
    text
}

fn set<T: Display>(text: &mut String, name: &str, kind: &str, flags: &str, values: &[T]) {
    let _ = write!(text, "set {name} {{ type {kind}; flags {flags}; ");
    if !values.is_empty() {
        let _ = write!(text, "elements = {}; ", elements(values));
    }
    text.push_str("}\n");
}

fn elements<T: Display>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    format!("{{ {} }}", values.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::{network, publish};

    #[test]
    fn nothing_is_permitted_by_default() {
        let text = inside(&Egress::default(), &[]);
        assert!(text.contains("set networks4 { type ipv4_addr; flags interval; }"));
        assert!(!text.contains("elements"));
        assert_eq!(text.matches("policy drop").count(), 3);
    }

    #[test]
    fn networks_and_ports_are_in_it() {
        let egress = Egress {
            networks: vec![
                network("192.0.2.0/25").unwrap(),
                network("192.0.2.128/25").unwrap(),
            ],
            tcp_ports: vec![443],
            ..Egress::default()
        };
        let text = inside(
            &egress,
            &[publish("8080:80").unwrap(), publish("53:53/udp").unwrap()],
        );
        assert!(text.contains("elements = { 192.0.2.0/24 };"), "{text}");
        assert!(
            text.contains("chain permitted {\ntcp dport { 443 } accept\n}"),
            "{text}"
        );
        assert!(
            text.contains("tcp dport { 80 } accept\nudp dport { 53 } accept\n}"),
            "{text}"
        );
    }
}
