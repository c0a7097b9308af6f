//! Where the workload asks: port 53 of its own loopback interface, and nobody else's.

use super::servers::PORT;
use rustix::fd::OwnedFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::BorrowedFd;

/// What the workload's `resolv.conf` says.
pub const RESOLV_CONF: &str = "nameserver 127.0.0.1\n";

/// Sockets of the container's network namespace. They stay there, whoever holds them.
#[derive(Debug)]
pub struct Sockets {
    /// One for each address.
    pub udp: Vec<UdpSocket>,
    /// One for each address.
    pub tcp: Vec<TcpListener>,
}

impl Sockets {
    /// Opens them in a network namespace, by a thread that enters it and ends. Loopback has to be up there; without
    /// IPv6 in the kernel there are those of IPv4 alone.
    ///
    /// # Errors
    /// As setns(2), socket(2) and bind(2).
    pub fn open_in(namespace: BorrowedFd<'_>) -> io::Result<Self> {
        let opened = std::thread::scope(|scope| {
            let enter = || {
                move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
                Self::open()
            };
            scope.spawn(enter).join()
        });
        opened.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    }

    /// As descriptors, to be handed to another process.
    pub fn into_fds(self) -> Vec<OwnedFd> {
        let tcp = self.tcp.into_iter().map(OwnedFd::from);
        self.udp.into_iter().map(OwnedFd::from).chain(tcp).collect()
    }

    /// What [`into_fds`](Self::into_fds) gave.
    pub fn from_fds(mut fds: Vec<OwnedFd>) -> Self {
        let tcp = fds.split_off(fds.len() / 2);
        Self {
            udp: fds.into_iter().map(UdpSocket::from).collect(),
            tcp: tcp.into_iter().map(TcpListener::from).collect(),
        }
    }

    /// Opens them in this thread's network namespace.
    ///
    /// # Errors
    /// As socket(2) and bind(2).
    pub fn open() -> io::Result<Self> {
        let mut sockets = Self {
            udp: Vec::new(),
            tcp: Vec::new(),
        };
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let address = SocketAddr::new(address, PORT);
            let udp = match UdpSocket::bind(address) {
                Err(error) if address.is_ipv6() && has_none(&error) => break,
                bound => bound?,
            };
            let tcp = TcpListener::bind(address)?;
            udp.set_nonblocking(true)?;
            tcp.set_nonblocking(true)?;
            sockets.udp.push(udp);
            sockets.tcp.push(tcp);
        }
        Ok(sockets)
    }
}

/// No such protocol, or none on this interface.
fn has_none(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}
