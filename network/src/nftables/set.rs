//! Sets, maps, and what is in them.

use super::{DATA_VALUE, ELEMENT_DATA, ELEMENT_FLAGS, ELEMENT_KEY};
use ipnet::IpNet;
use nucleus_netlink::Attributes;
use std::net::IpAddr;
use std::time::Duration;

const ELEMENT_TIMEOUT: u16 = 4;
const INTERVAL_END: u32 = 1;

/// What a set's keys and a map's values are made of: the types of nft(8), by whose numbers it prints them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `ipv4_addr`.
    Address4,
    /// `ipv6_addr`.
    Address6,
    /// `inet_proto`.
    Protocol,
    /// `inet_service`.
    Port,
    /// `icmpv6_type`.
    Icmp6,
}

impl Kind {
    /// Its number, and its length in bytes.
    fn number(self) -> (u32, u32) {
        match self {
            Self::Address4 => (7, 4),
            Self::Address6 => (8, 16),
            Self::Protocol => (12, 1),
            Self::Port => (13, 2),
            Self::Icmp6 => (29, 1),
        }
    }

    /// The number and the length of these types one after the other.
    pub(super) fn numbers(kinds: &[Self]) -> (u32, u32) {
        if let [kind] = kinds {
            return kind.number();
        }
        kinds.iter().fold((0, 0), |(all, length), kind| {
            let (number, bytes) = kind.number();
            (all << 6 | number, length + bytes.next_multiple_of(4))
        })
    }
}

/// A named set; with `data` a map.
#[derive(Debug, Clone, Copy)]
pub struct Set<'a> {
    /// Its name.
    pub name: &'a str,
    /// What its keys are made of.
    pub key: &'a [Kind],
    /// What they lead to.
    pub data: &'a [Kind],
    /// `NFT_SET_*`.
    pub flags: u32,
    /// The most of elements.
    pub size: Option<u32>,
}

impl Set<'_> {
    /// `NFT_SET_INTERVAL`.
    pub const INTERVAL: u32 = 0x4;
    /// `NFT_SET_TIMEOUT`.
    pub const TIMEOUT: u32 = 0x10;
    /// `NFT_SET_EVAL`: rules add to it.
    pub const DYNAMIC: u32 = 0x20;
}

/// An element of a set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// Its key.
    pub key: Vec<u8>,
    /// What it leads to, in a map.
    pub data: Option<Vec<u8>>,
    /// Whether it is the first value behind an interval.
    pub end: bool,
    /// How long it stays.
    pub timeout: Option<Duration>,
}

impl Member {
    /// One of a plain set.
    pub fn of(key: Vec<u8>) -> Self {
        Self {
            key,
            ..Self::default()
        }
    }

    pub(super) fn attributes(&self) -> Attributes {
        let value = |bytes: &[u8]| Attributes::new().bytes(DATA_VALUE, bytes);
        let mut all = Attributes::new();
        if self.end {
            all = all.be32(ELEMENT_FLAGS, INTERVAL_END);
        }
        if let Some(time) = self.timeout {
            let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            all = all.be64(ELEMENT_TIMEOUT, milliseconds);
        }
        all = all.nested(ELEMENT_KEY, value(&self.key));
        match &self.data {
            Some(data) => all.nested(ELEMENT_DATA, value(data)),
            None => all,
        }
    }
}

/// Parts one after the other, each filled up to a multiple of four bytes: a key of several types.
pub fn concatenated(parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::new();
    for part in parts {
        key.extend_from_slice(part);
        key.resize(key.len().next_multiple_of(4), 0);
    }
    key
}

/// The elements of an interval set for networks, none inside another: for each its first address, and the first one
/// behind it.
pub fn intervals(networks: impl IntoIterator<Item = IpNet>) -> Vec<Member> {
    let mut networks: Vec<IpNet> = networks.into_iter().collect();
    networks.sort_unstable_by_key(IpNet::network);
    let mut all: Vec<Member> = Vec::new();
    for network in networks {
        let first = octets(network.network());
        match all.last() {
            None if first.iter().any(|octet| *octet > 0) => all.push(Member {
                key: vec![0; first.len()],
                end: true,
                ..Member::default()
            }),
            _ => {}
        }
        all.push(Member::of(first));
        // The last address of all has none behind it: the interval stays open.
        if let Some(key) = behind(network.broadcast()) {
            all.push(Member {
                key,
                end: true,
                ..Member::default()
            });
        }
    }
    all
}

fn behind(address: IpAddr) -> Option<Vec<u8>> {
    match address {
        IpAddr::V4(address) => u32::from(address)
            .checked_add(1)
            .map(|next| next.to_be_bytes().to_vec()),
        IpAddr::V6(address) => u128::from(address)
            .checked_add(1)
            .map(|next| next.to_be_bytes().to_vec()),
    }
}

/// An address in network byte order.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_intervals() {
        let of = |texts: &[&str]| {
            intervals(texts.iter().map(|text| text.parse().unwrap()))
                .into_iter()
                .map(|member| (member.key, member.end))
                .collect::<Vec<_>>()
        };
        let start = |key: [u8; 4]| (key.to_vec(), false);
        let end = |key: [u8; 4]| (key.to_vec(), true);
        assert_eq!(
            of(&["192.0.2.0/24", "10.0.0.1/32"]),
            [
                end([0; 4]),
                start([10, 0, 0, 1]),
                end([10, 0, 0, 2]),
                start([192, 0, 2, 0]),
                end([192, 0, 3, 0]),
            ]
        );
        assert_eq!(of(&["0.0.0.0/0"]), [start([0; 4])]);
        assert_eq!(of(&[]), []);
    }

    #[test]
    fn types_have_the_numbers_of_nft() {
        use Kind::{Address4, Address6, Port, Protocol};
        assert_eq!(Kind::numbers(&[Address4, Protocol, Port]), (0x730d, 12));
        assert_eq!(Kind::numbers(&[Protocol, Address6, Port]), (0xc20d, 24));
        assert_eq!(Kind::numbers(&[Protocol]), (12, 1));
    }
}
