//! What was refused: the counter and the destinations that the rules of a namespace remember.

use crate::{Error, nftables, rules};
use nucleus_netlink::Socket;
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a workload tried in vain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// How many packets.
    pub packets: u64,
    /// Whereto, the first 256 of each family: address, protocol and port.
    pub destinations: Vec<String>,
}

/// Asks the kernel.
pub(crate) fn read(socket: &mut Socket) -> Result<Refused, Error> {
    let mut refused = Refused {
        packets: nftables::counter(socket, rules::REFUSED)?,
        ..Refused::default()
    };
    if refused.packets > 0 {
        for set in rules::REMEMBERED {
            let keys = nftables::elements(socket, set)?;
            refused
                .destinations
                .extend(keys.iter().filter_map(|key| destination(key)));
        }
        refused.destinations.sort();
    }
    Ok(refused)
}

/// Address, protocol and port, each filled up to four bytes.
fn destination(key: &[u8]) -> Option<String> {
    let (address, rest): (IpAddr, &[u8]) = if key.len() == 12 {
        let (octets, rest) = key.split_first_chunk::<4>()?;
        (Ipv4Addr::from(*octets).into(), rest)
    } else {
        let (octets, rest) = key.split_first_chunk::<16>()?;
        (Ipv6Addr::from(*octets).into(), rest)
    };
    let [protocol, _, _, _, high, low, _, _] = rest else {
        return None;
    };
    let protocol = match protocol {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        number => number.to_string(),
    };
    let to = SocketAddr::new(address, u16::from_be_bytes([*high, *low]));
    Some(format!("{to}/{protocol}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read() {
        let four = [192, 0, 2, 9, 6, 0, 0, 0, 1, 187, 0, 0];
        assert_eq!(destination(&four).as_deref(), Some("192.0.2.9:443/tcp"));
        let six = [&Ipv6Addr::LOCALHOST.octets()[..], &[17, 0, 0, 0, 0, 53, 0, 0]].concat();
        assert_eq!(destination(&six).as_deref(), Some("[::1]:53/udp"));
        assert_eq!(destination(&four[..8]), None);
    }
}
