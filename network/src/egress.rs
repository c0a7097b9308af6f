//! What a workload is allowed to reach: the request's words, parsed.

use crate::names::Pattern;
use ipnet::IpNet;
use std::net::SocketAddr;

/// What is permitted. Everything else is refused, in both address families and for every protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    /// `--egress-allow`: permitted networks.
    pub networks: Vec<IpNet>,
    /// `--egress-domain`: permitted names.
    pub names: Vec<Pattern>,
    /// `--egress-tcp-port`: the TCP ports that may be reached there; empty: every port.
    pub tcp_ports: Vec<u16>,
    /// `--egress-udp-port`: the UDP ports that may be reached there; empty: every port.
    pub udp_ports: Vec<u16>,
    /// `--dns`: whom the resolver asks.
    pub servers: Vec<SocketAddr>,
    /// `--credential-broker`: the one endpoint that may be reached, instead of all of the above.
    pub broker: Option<SocketAddr>,
}
