//! Netlink messages: built and read with every length checked. `netlink(7)`, `rtnetlink(7)`.
//!
//! A length that does not fit its field is refused, never cut (CVE-2021-43784), and an answer is believed only
//! as far as it was received.

mod attributes;
mod batch;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, send, socket_with,
};

use std::borrow::Cow;
use std::fmt;

pub use attributes::Attributes;
pub use batch::Refused;

/// A failed call, or an answer or a value that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What failed.
    pub call: Cow<'static, str>,
    /// The errno, if it was a call.
    pub errno: Option<Errno>,
}

impl Error {
    fn finding(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            call: text.into(),
            errno: None,
        }
    }

    fn of(call: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self {
            call: call.into(),
            errno: Some(errno),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.call)?;
        match self.errno {
            Some(errno) => write!(f, ": {errno}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Length of `struct nlattr`.
const ATTRIBUTE_HEADER: usize = 4;
/// The two highest bits of an attribute's type are flags.
const TYPE_MASK: u16 = 0x3fff;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;

/// The kernel never makes a message longer than this; `netlink_recvmsg`.
const LONGEST_ANSWER: usize = 64 * 1024;

/// How often a dump is repeated that was changed while it was made.
const DUMP_TRIES: u32 = 5;

/// A request while it is being built.
#[derive(Debug, Clone)]
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A request of this type (`RTM_*`) with the fixed part of its payload.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        pad(&mut bytes);
        Self { bytes }
    }

    /// Adds an attribute.
    ///
    /// # Errors
    /// That the value is longer than an attribute's 16-bit length can say.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Result<Self, Error> {
        append(&mut self.bytes, kind, value)?;
        Ok(self)
    }

    /// Adds an attribute that holds a C string.
    ///
    /// # Errors
    /// As [`attribute`](Self::attribute).
    pub fn text(self, kind: u16, value: &str) -> Result<Self, Error> {
        self.attribute(kind, &[value.as_bytes(), b"\0"].concat())
    }

    /// Adds an attribute that holds a number.
    ///
    /// # Errors
    /// None in practice.
    pub fn number(self, kind: u16, value: u32) -> Result<Self, Error> {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Adds attributes that were made apart.
    ///
    /// # Errors
    /// As [`attribute`](Self::attribute), of the first of them that is too long.
    pub fn with(mut self, attributes: Attributes) -> Result<Self, Error> {
        self.bytes.extend(attributes.finish()?);
        Ok(self)
    }

    fn finish(mut self, flags: u16, sequence: u32) -> Result<Vec<u8>, Error> {
        let length = u32::try_from(self.bytes.len())
            .map_err(|_| Error::finding("netlink message longer than 4 GiB"))?;
        let flags = flags | u16::from_ne_bytes([self.bytes[6], self.bytes[7]]);
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        Ok(self.bytes)
    }
}

fn append(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) -> Result<(), Error> {
    let length = u16::try_from(ATTRIBUTE_HEADER + value.len())
        .map_err(|_| Error::finding(format!("netlink attribute {kind} of {} bytes", value.len())))?;
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    pad(bytes);
    Ok(())
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A netlink socket. It belongs to the network namespace in which it was made.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// A `NETLINK_ROUTE` socket of the calling thread's network namespace.
    ///
    /// # Errors
    /// As `socket(2)`.
    pub fn open() -> Result<Self, Error> {
        Self::of_protocol(None)
    }

    /// A `NETLINK_NETFILTER` socket of the calling thread's network namespace.
    ///
    /// # Errors
    /// As `socket(2)`.
    pub fn open_netfilter() -> Result<Self, Error> {
        Self::of_protocol(Some(NETFILTER))
    }

    fn of_protocol(protocol: Option<Protocol>) -> Result<Self, Error> {
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )
        .map_err(Error::of("socket AF_NETLINK"))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends a request and waits for the kernel's word on it.
    ///
    /// # Errors
    /// The kernel's errno, or the failed call.
    pub fn change(&mut self, request: Request, call: &'static str) -> Result<(), Error> {
        self.exchange(request, NLM_F_ACK, call, &mut |_| Ok(())).map(drop)
    }

    /// Sends a request that has one answer and gives its payload to `answer`.
    ///
    /// # Errors
    /// The kernel's errno, or the failed call.
    pub fn get(
        &mut self,
        request: Request,
        call: &'static str,
        mut answer: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.exchange(request, NLM_F_ACK, call, &mut answer).map(drop)
    }

    /// Sends a request for a list; `start` is called before each try, `answer` for each entry's payload.
    ///
    /// # Errors
    /// The kernel's errno, the failed call, or that the list kept changing.
    pub fn dump<T: Default>(
        &mut self,
        request: &Request,
        call: &'static str,
        mut answer: impl FnMut(&mut T, &[u8]) -> Result<(), Error>,
    ) -> Result<T, Error> {
        for _ in 0..DUMP_TRIES {
            let mut list = T::default();
            let whole = self.exchange(request.clone(), NLM_F_DUMP, call, &mut |payload| {
                answer(&mut list, payload)
            })?;
            if whole {
                return Ok(list);
            }
        }
        Err(Error::of(call)(Errno::AGAIN))
    }

    /// Returns whether the answer is of one moment.
    fn exchange(
        &mut self,
        request: Request,
        flags: u16,
        call: &'static str,
        answer: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        self.sequence += 1;
        let bytes = request.finish(flags, self.sequence)?;
        send(&self.fd, &bytes, SendFlags::empty()).map_err(Error::of(call))?;
        let mut buffer = vec![0; LONGEST_ANSWER];
        let mut whole = true;
        loop {
            let length = self.receive(&mut buffer, RecvFlags::empty(), call)?;
            for message in Messages::new(&buffer[..length]) {
                let message =
                    message.ok_or_else(|| Error::finding(format!("{call}: cut netlink message")))?;
                if message.sequence != self.sequence {
                    continue;
                }
                whole &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_DONE => return Ok(whole),
                    NLMSG_ERROR => {
                        return match error_code(message.payload) {
                            Some(0) => Ok(whole),
                            Some(errno) => Err(Error::of(call)(Errno::from_raw_os_error(errno))),
                            None => Err(Error::finding(format!("{call}: cut netlink error"))),
                        };
                    }
                    _ => answer(message.payload)?,
                }
            }
        }
    }

    fn receive(&self, buffer: &mut [u8], flags: RecvFlags, call: &'static str) -> Result<usize, Error> {
        loop {
            let (length, real, from) = match recvfrom(&self.fd, &mut *buffer, RecvFlags::TRUNC | flags) {
                Err(Errno::INTR) => continue,
                result => result.map_err(Error::of(call))?,
            };
            if real > length {
                return Err(Error::of(call)(Errno::MSGSIZE));
            }
            // Only the kernel has port 0; what other processes send is not an answer.
            let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
            if from.is_some_and(|from| from.pid() == 0) {
                return Ok(length);
            }
        }
    }
}

/// The errno in an `NLMSG_ERROR` payload, positive; 0 is an acknowledgement.
fn error_code(payload: &[u8]) -> Option<i32> {
    let code = i32::from_ne_bytes(*payload.first_chunk()?);
    (code > -4096 && code <= 0).then(|| -code)
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.fd
    }
}

impl From<OwnedFd> for Socket {
    /// A socket that was opened elsewhere. Only one process speaks through it at a time.
    fn from(fd: OwnedFd) -> Self {
        Self { fd, sequence: 0 }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// One message of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

/// The messages in received bytes; `None` for one that claims more than there is.
#[derive(Debug)]
struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Option<Message<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = split_message(self.rest);
        self.rest = message.map_or(&[], |(_, rest)| rest);
        Some(message.map(|(message, _)| message))
    }
}

fn split_message(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let header = bytes.get(..HEADER)?;
    let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let message = Message {
        kind: half(4),
        flags: half(6),
        sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
        payload: bytes.get(HEADER..length)?,
    };
    Some((message, after(bytes, length)))
}

/// What follows a part of this length, which ends at a multiple of four but may lack its padding at the end.
fn after(bytes: &[u8], length: usize) -> &[u8] {
    length
        .checked_next_multiple_of(4)
        .and_then(|end| bytes.get(end..))
        .unwrap_or_default()
}

/// The attributes in a payload: type and value. Ends at the first one that claims more than there is.
pub fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*rest.get(2..4)?.first_chunk()?) & TYPE_MASK;
        let value = rest.get(ATTRIBUTE_HEADER..length)?;
        rest = after(rest, length);
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_that_does_not_fit_its_length_is_refused() {
        let request = || Request::new(16, 0, &[0; 16]);
        let most = usize::from(u16::MAX) - ATTRIBUTE_HEADER;
        assert!(request().attribute(3, &vec![b'a'; most]).is_ok());
        // One byte more wraps to a length of 0, and what follows would be read as attributes.
        for length in [most + 1, most + 5, 1 << 16, (1 << 16) + 40] {
            let fault = request().attribute(3, &vec![b'a'; length]).unwrap_err();
            assert!(fault.call.contains(&length.to_string()), "{fault}");
        }
        assert!(request().text(3, &"n".repeat(most)).is_err());
    }

    #[test]
    fn what_is_built_is_what_is_read() {
        let bytes = Request::new(20, 0x400, &[7; 8])
            .text(3, "eth0")
            .unwrap()
            .number(28, 5)
            .unwrap()
            .finish(NLM_F_ACK, 9)
            .unwrap();
        let (message, rest) = split_message(&bytes).unwrap();
        assert!(rest.is_empty());
        assert_eq!((message.kind, message.sequence), (20, 9));
        assert_eq!(message.flags, 0x400 | NLM_F_ACK | NLM_F_REQUEST);
        let read: Vec<_> = attributes(&message.payload[8..]).collect();
        let five = 5u32.to_ne_bytes();
        assert_eq!(read, [(3, &b"eth0\0"[..]), (28, &five[..])]);
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        let header = |length: u32| {
            let mut bytes = vec![0u8; 32];
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            bytes
        };
        for length in [0, 1, 15, 33, u32::MAX, u32::MAX - 2] {
            let bytes = header(length);
            assert_eq!(Messages::new(&bytes).collect::<Vec<_>>(), [None], "{length}");
        }
        for length in [0u16, 3, 9, u16::MAX] {
            let bytes = [&length.to_ne_bytes()[..], &[1, 0, 0, 0, 0, 0]].concat();
            assert_eq!(attributes(&bytes).count(), 0, "{length}");
        }
        assert_eq!(error_code(&[1, 2]), None);
        assert_eq!(error_code(&i32::MIN.to_ne_bytes()), None);
        assert_eq!(error_code(&(-17i32).to_ne_bytes()), Some(17));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            prop_assert!(Messages::new(&bytes).count() <= bytes.len());
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }
}
