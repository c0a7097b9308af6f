//! Whom the resolver asks.

use std::net::{IpAddr, SocketAddr};

/// The port of DNS.
pub const PORT: u16 = 53;
/// As many as the C library asks; `resolv.conf(5)`.
const MOST: usize = 3;

/// The servers of a `resolv.conf(5)`, in order. They are asked from the host's network, where an address such as
/// systemd-resolved's 127.0.0.53 is what it says.
pub fn of_resolv_conf(text: &str) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // With a zone: fe80::1%eth0. A link-local server is not reachable without it, and is passed over.
        if let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) {
            servers.push(SocketAddr::new(address, PORT));
        }
    }
    servers.truncate(MOST);
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_the_c_library_does() {
        let text = "# a comment\nsearch example.com\nnameserver 127.0.0.53\nnameserver\t2001:db8::1 # x\n\
                    nameserver fe80::1%eth0\noptions edns0\nnameservers 1.2.3.4\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n";
        let expected = ["127.0.0.53:53", "[2001:db8::1]:53", "10.0.0.1:53"];
        assert_eq!(
            of_resolv_conf(text),
            expected.map(|text| text.parse().expect("an address"))
        );
        assert_eq!(of_resolv_conf(""), []);
    }
}
