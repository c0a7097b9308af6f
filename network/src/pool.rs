//! Which addresses sandboxes have. Pure.
//!
//! A sandbox is one number of the pool: it gives both of its addresses and the name of its link on the host. The
//! kernel takes a name once, so to make the link is to claim the addresses, for all users and all stores of a host;
//! and they are free again when the link is gone, whoever was killed.

use ipnet::Ipv4Net;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What every link of a sandbox begins with on the host.
pub const PREFIX: &str = "nucleus-";

/// The gateway of version 6: every link has it.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The addresses of sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool(Ipv4Net);

/// One sandbox's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The link on the host.
    pub link: String,
    /// Of version 4.
    pub four: Ipv4Addr,
    /// Of version 6.
    pub six: Ipv6Addr,
    /// Where packets of version 4 leave.
    pub gateway: Ipv4Addr,
}

impl Default for Pool {
    /// `10.209.0.0/16`: neither what Docker, podman and Kubernetes take nor what routers at home do.
    fn default() -> Self {
        Self(Ipv4Net::new_assert(Ipv4Addr::new(10, 209, 0, 0), 16))
    }
}

impl Pool {
    /// A pool of a network.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn new(text: &str) -> Result<Self, String> {
        let network: Ipv4Net = text
            .parse()
            .map_err(|_| format!("{text:?}: not a network such as 10.209.0.0/16"))?;
        if !(8..=29).contains(&network.prefix_len()) {
            return Err(format!("{text}: between /8 and /29 it has to be"));
        }
        if network != network.trunc() {
            return Err(format!("{text}: the network is {}", network.trunc()));
        }
        Ok(Self(network))
    }

    /// The network.
    pub fn network(self) -> Ipv4Net {
        self.0
    }

    /// How many sandboxes it has addresses for: all but the network's, the gateway's and the last one.
    pub fn size(self) -> u32 {
        (1 << (32 - self.0.prefix_len())) - 3
    }

    /// The addresses with this number, from 0 to [`size`](Self::size).
    pub fn addresses(self, number: u32) -> Addresses {
        let at = |offset: u32| Ipv4Addr::from(u32::from(self.0.network()) + offset);
        let offset = number + 2;
        // A prefix of its own for each pool (RFC 4193): fd, "Nucle", and a word made of the network.
        let word = u32::from(self.0.network());
        let [.., third, fourth] = word.to_be_bytes();
        let subnet = u16::from_be_bytes([third, fourth]) ^ u16::try_from(word >> 16).unwrap_or(0);
        let [high, low] = [offset >> 16, offset & 0xffff].map(|half| u16::try_from(half).unwrap_or(0));
        Addresses {
            link: format!("{PREFIX}{offset:x}"),
            four: at(offset),
            six: Ipv6Addr::new(0xfd4e, 0x7563, 0x6c65, subnet, 0, 0, high, low),
            gateway: at(1),
        }
    }

    /// The numbers in the order in which they are tried: from one that the name gives, so that an address is not
    /// soon another sandbox's.
    pub fn order(self, name: &str) -> impl Iterator<Item = u32> {
        let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let size = self.size();
        (0..size).map(move |step| (hash % size + step) % size)
    }
}

impl Addresses {
    /// The hardware address inside: of the kind that is administered locally.
    pub fn hardware(&self) -> [u8; 6] {
        let [a, b, c, d] = self.four.octets();
        [0x02, 0x6e, a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn addresses_are_in_the_pool_and_no_two_are_the_same(base in any::<u32>(), length in 8u8..=29, a in any::<u32>(), b in any::<u32>()) {
            let network = Ipv4Net::new_assert(base.into(), length).trunc();
            let pool = Pool::new(&network.to_string()).unwrap();
            let (a, b) = (a % pool.size(), b % pool.size());
            let (one, other) = (pool.addresses(a), pool.addresses(b));
            prop_assert!(network.contains(&one.four) && one.four != one.gateway);
            prop_assert!(one.four != network.network() && one.four != network.broadcast());
            prop_assert!(one.link.len() <= 15);
            prop_assert_eq!(a == b, one.four == other.four);
            prop_assert_eq!(a == b, one.six == other.six);
            prop_assert_eq!(a == b, one.link == other.link);
        }
    }

    #[test]
    fn every_number_is_tried_once() {
        let pool = Pool::new("10.1.0.0/24").expect("a pool");
        let mut all: Vec<u32> = pool.order("box").collect();
        all.sort_unstable();
        assert_eq!(all, (0..253).collect::<Vec<u32>>());
    }

    #[test]
    fn what_is_no_pool() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/30",
            "10.0.0.0/7",
            "10.0.0.1/24",
            "fd00::/64",
        ] {
            assert!(Pool::new(text).is_err(), "{text}");
        }
    }
}
