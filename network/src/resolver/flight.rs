//! A question on its way to the servers and back, over UDP, and over TCP when the answer was cut off.

use super::answer::{self, Answer, Unusable};
use super::question::Question;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use rustix::rand::{GetRandomFlags, getrandom};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How long one server has.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How often a server is asked, the first of several less than the last.
const MOST_TRIES: usize = 4;
/// The most octets of an answer over TCP that is read.
const LONGEST: usize = 16 << 10;

/// How it goes.
#[derive(Debug)]
pub(super) enum Progress {
    /// No answer yet.
    Waiting,
    /// The answer.
    Landed(Answer),
    /// No server has one.
    Lost,
}

/// One question.
#[derive(Debug)]
pub(super) struct Flight {
    /// What is asked.
    pub(super) question: Question,
    id: u16,
    tries: usize,
    socket: Socket,
    deadline: Instant,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp {
        stream: TcpStream,
        unsent: Vec<u8>,
        received: Vec<u8>,
    },
}

impl Flight {
    /// Asks the first server. Nothing if none can be asked at all.
    pub(super) fn launch(question: Question, servers: &[SocketAddr], now: Instant) -> Option<Self> {
        for tries in 0..tries(servers) {
            if let Ok((id, socket)) = ask(&question, servers[tries % servers.len()]) {
                return Some(Self {
                    question,
                    id,
                    tries,
                    socket: Socket::Udp(socket),
                    deadline: now + PATIENCE,
                });
            }
        }
        None
    }

    /// What to wait for.
    pub(super) fn awaits(&self) -> (BorrowedFd<'_>, PollFlags) {
        match &self.socket {
            Socket::Udp(socket) => (socket.as_fd(), PollFlags::IN),
            Socket::Tcp { stream, unsent, .. } if unsent.is_empty() => (stream.as_fd(), PollFlags::IN),
            Socket::Tcp { stream, .. } => (stream.as_fd(), PollFlags::OUT),
        }
    }

    /// When the server's time is over.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Goes on: there is something to read or write, or the time is over.
    pub(super) fn proceed(&mut self, servers: &[SocketAddr], now: Instant) -> Progress {
        let outcome = match &mut self.socket {
            Socket::Udp(socket) => datagram(socket, self.id, &self.question),
            Socket::Tcp {
                stream,
                unsent,
                received,
            } => over_stream(stream, unsent, received, self.id, &self.question),
        };
        match outcome {
            Ok(Some(answer)) => return Progress::Landed(answer),
            Err(Unusable::Truncated) if matches!(self.socket, Socket::Udp(_)) => {
                if self.over_tcp(servers[self.tries % servers.len()], now).is_ok() {
                    return Progress::Waiting;
                }
            }
            Ok(None) | Err(Unusable::Foreign) if now < self.deadline => return Progress::Waiting,
            Ok(None) | Err(_) => {}
        }
        self.next(servers, now)
    }

    fn next(&mut self, servers: &[SocketAddr], now: Instant) -> Progress {
        while self.tries + 1 < tries(servers) {
            self.tries += 1;
            if let Ok((id, socket)) = ask(&self.question, servers[self.tries % servers.len()]) {
                (self.id, self.socket) = (id, Socket::Udp(socket));
                self.deadline = now + PATIENCE;
                return Progress::Waiting;
            }
        }
        Progress::Lost
    }

    fn over_tcp(&mut self, server: SocketAddr, now: Instant) -> io::Result<()> {
        let id = random()?;
        let query = answer::query(id, &self.question).ok_or(io::ErrorKind::InvalidInput)?;
        let length = u16::try_from(query.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let family = if server.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        match connect(&socket, &server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.id = id;
        self.deadline = now + PATIENCE;
        self.socket = Socket::Tcp {
            stream: TcpStream::from(socket),
            unsent: [&length.to_be_bytes()[..], &query].concat(),
            received: Vec::new(),
        };
        Ok(())
    }
}

fn tries(servers: &[SocketAddr]) -> usize {
    (2 * servers.len()).min(MOST_TRIES)
}

/// A number that cannot be guessed; getrandom(2).
fn random() -> io::Result<u16> {
    let mut bytes = [0; 2];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(bytes))
}

/// Sends the question from a port of its own that the kernel picks, under a number of its own. The kernel takes
/// packets of this server alone.
fn ask(question: &Question, server: SocketAddr) -> io::Result<(u16, UdpSocket)> {
    let any: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(server)?;
    let id = random()?;
    let query = answer::query(id, question).ok_or(io::ErrorKind::InvalidInput)?;
    socket.send(&query)?;
    Ok((id, socket))
}

fn datagram(socket: &UdpSocket, id: u16, question: &Question) -> Result<Option<Answer>, Unusable> {
    let mut packet = [0; 4096];
    match socket.recv(&mut packet) {
        Ok(length) => answer::read(&packet[..length], id, question).map(Some),
        Err(error) if is_later(&error) => Ok(None),
        // Nobody listens there, or there is no way.
        Err(_) => Err(Unusable::Failed),
    }
}

fn over_stream(
    stream: &mut TcpStream,
    unsent: &mut Vec<u8>,
    received: &mut Vec<u8>,
    id: u16,
    question: &Question,
) -> Result<Option<Answer>, Unusable> {
    if !unsent.is_empty() {
        return match stream.write(unsent) {
            Ok(length) => {
                unsent.drain(..length);
                Ok(None)
            }
            Err(error) if is_later(&error) => Ok(None),
            Err(_) => Err(Unusable::Failed),
        };
    }
    let mut bytes = [0; 4096];
    match stream.read(&mut bytes) {
        Ok(0) => return Err(Unusable::Failed),
        Ok(length) => received.extend_from_slice(&bytes[..length]),
        Err(error) if is_later(&error) => return Ok(None),
        Err(_) => return Err(Unusable::Failed),
    }
    let Some((prefix, packet)) = received.split_first_chunk::<2>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(*prefix));
    if length > LONGEST {
        return Err(Unusable::Failed);
    }
    match packet.get(..length) {
        // Nothing else can come on this connection.
        Some(packet) => answer::read(packet, id, question)
            .map(Some)
            .map_err(|_| Unusable::Failed),
        None => Ok(None),
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::NotConnected
    )
}
