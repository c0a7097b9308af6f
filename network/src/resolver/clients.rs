//! The workload's side: packets and connections that may come in any number and form.

use super::sockets::Sockets;
use rustix::event::{PollFd, PollFlags};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How many connections there are at most: one more closes the one that was silent longest.
const MOST: usize = 16;
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(10);
/// The most octets of a question: a header, a name, and the few of EDNS.
const LONGEST: usize = 1024;
/// How many packets of a socket are taken before others have their turn.
const AT_ONCE: usize = 16;

/// Where a reply goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Client {
    /// Over the socket of this index to this address.
    Datagram(usize, SocketAddr),
    /// Over the connection of this number, if it is still there.
    Stream(u64),
}

#[derive(Debug)]
struct Connection {
    number: u64,
    stream: TcpStream,
    received: Vec<u8>,
    heard: Instant,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Clients {
    sockets: Sockets,
    connections: Vec<Connection>,
    opened: u64,
}

impl Clients {
    /// Nobody is there yet.
    pub(super) fn new(sockets: Sockets) -> Self {
        Self {
            sockets,
            connections: Vec::new(),
            opened: 0,
        }
    }

    /// What to wait for. Its order is that of `receive`.
    pub(super) fn awaited(&self) -> Vec<PollFd<'_>> {
        let udp = self.sockets.udp.iter().map(|one| PollFd::new(one, PollFlags::IN));
        let tcp = self.sockets.tcp.iter().map(|one| PollFd::new(one, PollFlags::IN));
        let open = self.connections.iter();
        let open = open.map(|one| PollFd::new(&one.stream, PollFlags::IN));
        udp.chain(tcp).chain(open).collect()
    }

    /// When the next connection was silent for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.connections.iter().map(|one| one.heard + IDLE).min()
    }

    /// Takes what has come where `ready` says so.
    pub(super) fn receive(&mut self, ready: &[bool], now: Instant) -> Vec<(Client, Vec<u8>)> {
        let mut packets = Vec::new();
        let (udp, rest) = ready.split_at(self.sockets.udp.len().min(ready.len()));
        let (tcp, open) = rest.split_at(self.sockets.tcp.len().min(rest.len()));
        for (index, socket) in self.sockets.udp.iter().enumerate() {
            let mut buffer = [0; LONGEST];
            for _ in 0..if udp.get(index) == Some(&true) { AT_ONCE } else { 0 } {
                let Ok((length, peer)) = socket.recv_from(&mut buffer) else {
                    break;
                };
                packets.push((Client::Datagram(index, peer), buffer[..length].to_vec()));
            }
        }
        let mut index = 0;
        self.connections.retain_mut(|connection| {
            let ready = open.get(index) == Some(&true);
            index += 1;
            now < connection.heard + IDLE && (!ready || connection.receive(&mut packets, now))
        });
        for (index, listener) in self.sockets.tcp.iter().enumerate() {
            if tcp.get(index) != Some(&true) {
                continue;
            }
            let Ok((stream, _)) = listener.accept() else {
                continue;
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.connections.len() >= MOST {
                let silent = self.connections.iter().enumerate();
                if let Some((silent, _)) = silent.min_by_key(|(_, one)| one.heard) {
                    self.connections.remove(silent);
                }
            }
            self.opened += 1;
            self.connections.push(Connection {
                number: self.opened,
                stream,
                received: Vec::new(),
                heard: now,
            });
        }
        packets
    }

    /// Sends a reply. Whoever does not take it has lost it.
    pub(super) fn send(&mut self, client: Client, packet: &[u8]) {
        match client {
            Client::Datagram(index, peer) => {
                if let Some(socket) = self.sockets.udp.get(index) {
                    let _ = socket.send_to(packet, peer);
                }
            }
            Client::Stream(number) => self
                .connections
                .retain_mut(|one| one.number != number || one.send(packet)),
        }
    }
}

impl Connection {
    /// False at its end.
    fn receive(&mut self, packets: &mut Vec<(Client, Vec<u8>)>, now: Instant) -> bool {
        let mut buffer = [0; LONGEST];
        match self.stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => self.received.extend_from_slice(&buffer[..length]),
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
        self.heard = now;
        while let Some((prefix, rest)) = self.received.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*prefix));
            if length > LONGEST {
                return false;
            }
            let Some(packet) = rest.get(..length) else { break };
            packets.push((Client::Stream(self.number), packet.to_vec()));
            self.received.drain(..2 + length);
        }
        true
    }

    /// False if the client does not read.
    fn send(&mut self, packet: &[u8]) -> bool {
        let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
        let bytes = [&length.to_be_bytes()[..], packet].concat();
        self.stream
            .write(&bytes)
            .is_ok_and(|written| written == bytes.len())
    }
}
