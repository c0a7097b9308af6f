//! This host's own addresses.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where they are.
pub const SOURCE: &str = "/proc/thread-self/net";

/// The addresses of this thread's network namespace, as the kernel lists them; `proc(5)`. A kernel without IPv6 has
/// no list of them.
///
/// # Errors
/// As read(2).
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let four = std::fs::read_to_string("/proc/thread-self/net/fib_trie")?;
    let six = match std::fs::read_to_string("/proc/thread-self/net/if_inet6") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    Ok(v4(&four)
        .map(IpAddr::V4)
        .chain(v6(&six).map(IpAddr::V6))
        .collect())
}

/// An address line, and below it `/32 host LOCAL`; once in each table.
fn v4(text: &str) -> impl Iterator<Item = Ipv4Addr> {
    let mut all = BTreeSet::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in text.lines() {
        let line = line.trim_start_matches([' ', '|', '+', '-']);
        if let Ok(address) = line.parse() {
            last = Some(address);
        } else if line.starts_with("/32 host LOCAL") {
            all.extend(last);
        }
    }
    all.into_iter()
}

/// Thirty-two digits in front of each line.
fn v6(text: &str) -> impl Iterator<Item = Ipv6Addr> + '_ {
    let digits = |line: &str| u128::from_str_radix(line.get(..32)?, 16).ok();
    text.lines().filter_map(digits).map(Ipv6Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lists_are_read() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
                    +-- 127.0.0.0/8 2 0 2\n        |-- 127.0.0.0\n           /8 host LOCAL\n        |-- 127.0.0.1\n           \
                    /32 host LOCAL\n        |-- 127.255.255.255\n           /32 link BROADCAST\n     |-- 192.0.2.2\n        \
                    /32 host LOCAL\nLocal:\n     |-- 192.0.2.2\n        /32 host LOCAL\n";
        let expected = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 2)];
        assert_eq!(v4(trie).collect::<Vec<_>>(), expected);
        let list = "00000000000000000000000000000001 01 80 10 80       lo\nshort\n";
        assert_eq!(v6(list).collect::<Vec<_>>(), [Ipv6Addr::LOCALHOST]);
        assert!(
            addresses()
                .expect("this host")
                .contains(&IpAddr::V4(Ipv4Addr::LOCALHOST))
        );
    }
}
