//! Which addresses the world may give a name: none of this host, of its networks, or of special use.
//!
//! A name's owner decides what it resolves to, and may say 127.0.0.1 or an address inside of the network that the host
//! is in (DNS rebinding). A network that was permitted as such needs no name.

use crate::resolver::answer::MOST;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What becomes of the addresses of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission {
    /// The workload hears of these.
    pub told: Vec<IpAddr>,
    /// These of them the rules have to permit first; the others are in a permitted network.
    pub admitted: Vec<IpAddr>,
    /// These are of this host or not public: they are neither told nor admitted.
    pub filtered: Vec<IpAddr>,
}

/// Parts the addresses of an answer. `own`: this host's.
pub fn admit(addresses: &[IpAddr], networks: &[IpNet], own: &[IpAddr]) -> Admission {
    let mut admission = Admission::default();
    for address in addresses.iter().take(MOST) {
        if networks.iter().any(|network| network.contains(address)) {
            admission.told.push(*address);
        } else if is_public(*address) && !own.contains(address) {
            admission.told.push(*address);
            admission.admitted.push(*address);
        } else {
            admission.filtered.push(*address);
        }
    }
    admission
}

/// Whether an address is one of the public Internet: the special-purpose registries of RFC 6890 without what is
/// reserved for documentation, which leads nowhere.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        // Behind a provider's address translation; RFC 6598.
        || a == 100 && b & 0xc0 == 64
        || (a, b, c) == (192, 0, 0)
        // A relay to IPv6 near whoever asks; RFC 7526.
        || (a, b, c) == (192, 88, 99)
        // Benchmarks inside of a network; RFC 2544.
        || a == 198 && b & 0xfe == 18
        // Reserved, and broadcast.
        || a >= 240;
    !special
}

/// Global unicast and NAT64, but for what carries an IPv4 address or a tunnel's end in it: that one is judged.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |at: usize| {
        let octets = address.octets();
        Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3])
    };
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => is_public_v4(embedded(12)),
        [0x2002, ..] => is_public_v4(embedded(2)),
        // Teredo, ORCHID and other protocols' own.
        [0x2001, second, ..] if second < 0x200 => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(texts: &[&str]) -> Vec<IpAddr> {
        texts
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect()
    }

    #[test]
    fn what_is_not_public_is_known() {
        for address in all(&[
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.170",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "100::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "2001::1",
            "2001:10::1",
            "2001:20::1",
            "5f00::1",
            "4000::1",
        ]) {
            assert!(!is_public(address), "{address}");
        }
        for address in all(&[
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "203.0.113.7",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2001:db8::1",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ]) {
            assert!(is_public(address), "{address}");
        }
    }

    #[test]
    fn a_private_address_passes_in_a_permitted_network_alone_and_the_hosts_own_never() {
        let answer = all(&["10.1.2.3", "10.9.9.9", "203.0.113.7", "203.0.113.1"]);
        let networks = ["10.1.0.0/16".parse().expect("a network")];
        let admission = admit(&answer, &networks, &all(&["203.0.113.1"]));
        assert_eq!(admission.told, all(&["10.1.2.3", "203.0.113.7"]));
        assert_eq!(admission.admitted, all(&["203.0.113.7"]));
        assert_eq!(admission.filtered, all(&["10.9.9.9", "203.0.113.1"]));
    }

    proptest! {
        #[test]
        fn only_public_addresses_are_admitted(bits in proptest::collection::vec(any::<u128>(), 0..60), four in any::<u32>()) {
            let mut addresses: Vec<IpAddr> = bits.iter().map(|bits| IpAddr::V6((*bits).into())).collect();
            addresses.push(IpAddr::V4(four.into()));
            let own = addresses.last().copied().into_iter().collect::<Vec<_>>();
            let admission = admit(&addresses, &[], &own);
            prop_assert_eq!(&admission.told, &admission.admitted);
            prop_assert!(admission.told.len() + admission.filtered.len() <= MOST);
            prop_assert!(admission.told.iter().all(|address| is_public(*address) && !own.contains(address)));
        }
    }
}
