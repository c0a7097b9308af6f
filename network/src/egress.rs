//! What a workload is allowed to reach, and what reaches it: the request's words, parsed.

use crate::names::Pattern;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What is permitted. Everything else is refused, in both address families and for every protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    /// `--egress-allow`: permitted networks.
    pub networks: Vec<IpNet>,
    /// `--egress-domain`: permitted names.
    pub names: Vec<Pattern>,
    /// `--egress-tcp-port`: the TCP ports that may be reached there.
    pub tcp_ports: Vec<u16>,
    /// `--egress-udp-port`: the UDP ports that may be reached there.
    pub udp_ports: Vec<u16>,
    /// `--dns`: whom the resolver asks.
    pub servers: Vec<SocketAddr>,
    /// `--credential-broker`: the one endpoint that may be reached, instead of all of the above.
    pub broker: Option<SocketAddr>,
}

/// Which ports of a protocol may be reached at permitted addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// Every one.
    All,
    /// These, perhaps none.
    Only(Vec<u16>),
}

impl Egress {
    /// The ports of TCP and of UDP. Without any list every port is permitted; with a list for one protocol only, the
    /// other one is closed.
    pub fn ports(&self) -> (Ports, Ports) {
        if let Some(broker) = self.broker {
            return (Ports::Only(vec![broker.port()]), Ports::Only(Vec::new()));
        }
        if self.tcp_ports.is_empty() && self.udp_ports.is_empty() {
            return (Ports::All, Ports::All);
        }
        let only = |ports: &[u16]| {
            let mut ports = ports.to_vec();
            ports.sort_unstable();
            ports.dedup();
            Ports::Only(ports)
        };
        (only(&self.tcp_ports), only(&self.udp_ports))
    }

    /// The permitted networks of each family, none inside another, and without [`METADATA`] unless that is named itself.
    pub fn families(&self) -> (Vec<Ipv4Net>, Vec<Ipv6Net>) {
        let broker = self.broker.map(|broker| IpNet::from(broker.ip()));
        let (mut four, mut six) = (Vec::new(), Vec::new());
        let networks = METADATA.iter().fold(self.networks.clone(), |networks, part| {
            networks
                .into_iter()
                .flat_map(|network| without(network, *part))
                .collect()
        });
        for network in networks.into_iter().chain(broker) {
            match network {
                IpNet::V4(network) => four.push(network),
                IpNet::V6(network) => six.push(network),
            }
        }
        (Ipv4Net::aggregate(&four), Ipv6Net::aggregate(&six))
    }

    /// Whether an address of the host itself is meant: not by a network that is everything.
    pub fn means(&self, address: IpAddr) -> bool {
        let mut networks = self.networks.iter();
        self.broker.is_some_and(|broker| broker.ip() == address)
            || networks.any(|network| network.prefix_len() > 0 && network.contains(&address))
    }
}

/// Where clouds answer their machines with the machine's own credentials: link-local addresses, and those of EC2 in
/// version 6. Who permits the world does not mean them.
pub const METADATA: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)),
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0),
        32,
    )),
];

/// A network but for a part that lies in it; what is all of that part, or less, stays as it is.
fn without(network: IpNet, part: IpNet) -> Vec<IpNet> {
    if network == part || !network.contains(&part) {
        return vec![network];
    }
    // One step down leaves the half that the part is not in.
    let beside = |length: u8| {
        let address = match part.addr() {
            IpAddr::V4(address) => IpAddr::from(Ipv4Addr::from(u32::from(address) ^ (1 << (32 - length)))),
            IpAddr::V6(address) => IpAddr::from(Ipv6Addr::from(u128::from(address) ^ (1 << (128 - length)))),
        };
        IpNet::new_assert(address, length).trunc()
    };
    (network.prefix_len() + 1..=part.prefix_len())
        .map(beside)
        .collect()
}

/// A network or an address.
///
/// # Errors
/// What is wrong, for a person.
pub fn network(text: &str) -> Result<IpNet, String> {
    let network = match text.parse::<IpNet>() {
        Ok(network) => network,
        Err(_) => IpNet::from(
            text.parse::<IpAddr>()
                .map_err(|_| format!("{text:?}: not an address or a network such as 192.0.2.0/24"))?,
        ),
    };
    if network != network.trunc() {
        return Err(format!("{text}: the network is {}", network.trunc()));
    }
    if network.addr().is_loopback() {
        return Err(format!(
            "{text}: the sandbox's own loopback is always open to it, and it has no other"
        ));
    }
    Ok(network)
}

/// The address of a server, with port 53 if there is none.
///
/// # Errors
/// What is wrong, for a person.
pub fn server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
    address
        .or_else(|_| text.parse())
        .map_err(|_| format!("{text:?}: not IP or IP:PORT ([IP]:PORT for version 6)"))
}

/// The endpoint of a credential broker.
///
/// # Errors
/// What is wrong, for a person.
pub fn broker(text: &str) -> Result<SocketAddr, String> {
    let broker: SocketAddr = text
        .parse()
        .map_err(|_| format!("{text:?}: not IP:PORT ([IP]:PORT for version 6)"))?;
    if broker.port() == 0 || broker.ip().is_unspecified() || broker.ip().is_multicast() {
        return Err(format!("{text}: not an endpoint"));
    }
    if broker.ip().is_loopback() {
        return Err(format!(
            "{text}: loopback is the sandbox's own; let the broker listen on an address that the sandbox reaches"
        ));
    }
    Ok(broker)
}

/// Protocols with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its number in packets: `IPPROTO_*`.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of the host that leads into the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// Which of the host's addresses; `None`: every one.
    pub address: Option<IpAddr>,
    /// The port there.
    pub host: u16,
    /// The port inside.
    pub inside: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{}", SocketAddr::new(address, self.host))?,
            None => write!(f, "{}", self.host)?,
        }
        write!(f, "/{}", self.protocol)
    }
}

/// `[IP:]HOST:INSIDE`, with `/tcp` or `/udp` behind it; IP of version 6 in brackets.
///
/// # Errors
/// What is wrong, for a person.
pub fn publish(text: &str) -> Result<Publish, String> {
    let wrong = || format!("{text:?}: not [IP:]HOST:INSIDE, perhaps with /udp");
    let (ports, protocol) = match text.rsplit_once('/') {
        None => (text, Protocol::Tcp),
        Some((ports, "tcp")) => (ports, Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some(_) => return Err(wrong()),
    };
    let (outside, inside) = ports.rsplit_once(':').ok_or_else(wrong)?;
    let port = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(wrong)
    };
    let (address, host) = match outside.rsplit_once(':') {
        None => (None, port(outside)?),
        Some((address, host)) => {
            let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let address: IpAddr = bare.unwrap_or(address).parse().map_err(|_| wrong())?;
            if address.is_ipv6() != bare.is_some() {
                return Err(wrong());
            }
            (Some(address), port(host)?)
        }
    };
    if address == Some(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)) {
        return Err(format!(
            "{text}: the kernel forwards nothing from ::1; use 127.0.0.1"
        ));
    }
    Ok(Publish {
        address: address.filter(|address| !address.is_unspecified()),
        host,
        inside: port(inside)?,
        protocol,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        assert_eq!(
            network("192.0.2.1").map(|net| net.to_string()),
            Ok("192.0.2.1/32".into())
        );
        assert_eq!(
            network("2001:db8::/32").map(|net| net.to_string()),
            Ok("2001:db8::/32".into())
        );
        for text in [
            "",
            "192.0.2.1/24",
            "192.0.2.0/33",
            "example.com",
            "127.0.0.1",
            "::1",
            "192.0.2.0/-1",
        ] {
            assert!(network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_world_is_without_what_clouds_tell_their_machines() {
        let egress = |texts: &[&str]| Egress {
            networks: texts
                .iter()
                .map(|text| network(text).expect("a network"))
                .collect(),
            ..Egress::default()
        };
        let permits = |egress: &Egress, text: &str| {
            let (four, six) = egress.families();
            match text.parse().expect("an address") {
                IpAddr::V4(address) => four.iter().any(|network| network.contains(&address)),
                IpAddr::V6(address) => six.iter().any(|network| network.contains(&address)),
            }
        };
        let world = egress(&["0.0.0.0/0", "::/0"]);
        let secrets = [
            "169.254.169.254",
            "169.254.0.0",
            "169.254.255.255",
            "fd00:ec2::254",
        ];
        let beside = [
            "0.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "255.255.255.255",
            "fd00:ec1:ffff::",
            "fd00:ec3::",
            "::",
        ];
        assert!(secrets.iter().all(|address| !permits(&world, address)));
        assert!(beside.iter().all(|address| permits(&world, address)));
        for named in ["169.254.169.254", "169.254.0.0/16"] {
            assert!(
                permits(&egress(&["0.0.0.0/0", named]), "169.254.169.254"),
                "{named}"
            );
        }
        assert!(!permits(&egress(&["169.0.0.0/8"]), "169.254.169.254"));
        let broker = Egress {
            broker: Some(([169, 254, 169, 254], 80).into()),
            ..Egress::default()
        };
        assert!(permits(&broker, "169.254.169.254"));
    }

    #[test]
    fn published_ports() {
        let shown = |text| publish(text).map(|publish| format!("{publish} {}", publish.inside));
        assert_eq!(shown("8080:80"), Ok("8080/tcp 80".into()));
        assert_eq!(shown("127.0.0.1:53:5353/udp"), Ok("127.0.0.1:53/udp 5353".into()));
        assert_eq!(
            shown("[2001:db8::1]:80:80/tcp"),
            Ok("[2001:db8::1]:80/tcp 80".into())
        );
        assert_eq!(shown("0.0.0.0:80:80"), Ok("80/tcp 80".into()));
        for text in [
            "80",
            "0:80",
            "80:0",
            "80:80/sctp",
            "::1:80:80",
            "[1.2.3.4]:80:80",
            "[::1]:80:80",
            "a:80:80",
            "70000:1",
        ] {
            assert!(publish(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_of_ports_closes_the_other_protocol() {
        let mut egress = Egress::default();
        assert_eq!(egress.ports(), (Ports::All, Ports::All));
        egress.tcp_ports = vec![443, 80, 443];
        assert_eq!(egress.ports(), (Ports::Only(vec![80, 443]), Ports::Only(vec![])));
        egress.broker = "192.0.2.1:3128".parse().ok();
        assert_eq!(egress.ports(), (Ports::Only(vec![3128]), Ports::Only(vec![])));
    }

    #[test]
    fn everything_does_not_mean_the_host() {
        let host: IpAddr = "192.0.2.1".parse().expect("an address");
        let with = |text: &str| Egress {
            networks: vec![network(text).expect("a network")],
            ..Egress::default()
        };
        assert!(!with("0.0.0.0/0").means(host));
        assert!(with("192.0.2.0/24").means(host));
        assert!(!with("198.51.100.0/24").means(host));
    }
}
