//! The whole protocol between the runtime (parent) and the container's first process (child).
//!
//! One `SOCK_SEQPACKET` pair; each message is one packet. In order:
//!
//! | direction | message | when | then |
//! |---|---|---|---|
//! | parent → child | `Proceed` | id maps written, cgroup ready (only with a user namespace, network devices or a cgroup that the parent assigns) | the child sets up |
//! | child → parent | `Terminal` + fd | the terminal is open (only without `--console-socket`) | the parent relays it |
//! | child → parent | `Mounted` | mounts are there (only with hooks) | the parent runs prestart and createRuntime hooks |
//! | parent → child | `HooksDone` | | the child runs createContainer hooks and pivots |
//! | child → parent | `Listener` + fd | a filter with `SCMP_ACT_NOTIFY` was loaded | the parent passes it to `listenerPath` |
//! | parent → child | `ListenerSent` | | |
//! | child → parent | `Ready` | everything before `start` is done | the status is `created` |
//! | parent → child | `Start` | the child is recorded, so that `delete` finds it; after `create` the byte of `start` comes through a FIFO | startContainer hooks, exec |
//! | child → parent | `Failed` | any step failed; nothing follows | the parent reports it and cleans up |
//! | child closes | – | exec succeeded (after `Start`), or the child died | |
//!
//! Either side's end of file means that the other has died. The child never waits for anything but this
//! socket, the start FIFO and its hooks, so a dead parent never leaves a child behind before `created`.

use crate::fault::{Call, Fault};
use crate::protocol::Heard;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg, socketpair,
};
use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

/// A message of the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ToChild {
    /// Id maps are written and the cgroup is ready.
    Proceed = 1,
    /// The hooks of the runtime namespace have run.
    HooksDone = 2,
    /// The seccomp listener was handed over.
    ListenerSent = 3,
    /// The container is recorded: go on to the program, or to wait for `start`.
    Start = 4,
}

impl fmt::Display for ToChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proceed => "proceed",
            Self::HooksDone => "hooks done",
            Self::ListenerSent => "listener sent",
            Self::Start => "start",
        })
    }
}

/// A message of the child.
#[derive(Debug)]
pub enum FromChild {
    /// The mounts are there.
    Mounted,
    /// Everything before `start` is done.
    Ready,
    /// The terminal's master.
    Terminal(OwnedFd),
    /// The listener of a filter with `SCMP_ACT_NOTIFY`.
    Listener(OwnedFd),
    /// A step failed.
    Failed(Failure),
    /// The child closed its end: it exec'ed or died.
    Closed,
}

impl From<&FromChild> for Heard {
    fn from(message: &FromChild) -> Self {
        match message {
            FromChild::Mounted => Self::Mounted,
            FromChild::Ready => Self::Ready,
            FromChild::Terminal(_) => Self::Terminal,
            FromChild::Listener(_) => Self::Listener,
            FromChild::Failed(_) => Self::Failed,
            FromChild::Closed => Self::Closed,
        }
    }
}

/// A step that failed in the child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Index into the plan's steps.
    pub step: usize,
    /// The failed call.
    pub fault: Fault,
}

const MOUNTED: u8 = 101;
const READY: u8 = 102;
const TERMINAL: u8 = 103;
const LISTENER: u8 = 104;
const FAILED: u8 = 105;

/// Longest message: a failure with its text.
const LONGEST: usize = 512;

/// One end of the protocol.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

impl Channel {
    /// Both ends: the parent's and the child's.
    ///
    /// # Errors
    /// As `socketpair(2)`.
    pub fn pair() -> rustix::io::Result<(Self, Self)> {
        let (parent, child) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self { socket: parent }, Self { socket: child }))
    }

    /// The socket.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Parent: sends a message. A child that has died is noticed at the next receive.
    ///
    /// # Errors
    /// As `send(2)`.
    pub fn send(&self, message: ToChild) -> rustix::io::Result<()> {
        match send(&self.socket, &[message as u8], SendFlags::NOSIGNAL) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Child: waits for exactly this message.
    ///
    /// # Errors
    /// The failed call, or that the parent has died.
    pub fn expect(&self, message: ToChild) -> Result<(), Fault> {
        let mut buffer = [0u8; 1];
        let (length, _) =
            retry_on_intr(|| recv(&self.socket, &mut buffer[..], RecvFlags::empty())).call("recv")?;
        match length {
            0 => Err(Fault::finding("the runtime has died")),
            _ if buffer[0] == message as u8 => Ok(()),
            _ => Err(Fault::finding("unexpected message of the runtime")),
        }
    }

    /// Child: says that the mounts are there.
    ///
    /// # Errors
    /// The failed call.
    pub fn mounted(&self) -> Result<(), Fault> {
        self.tell(&[MOUNTED])
    }

    /// Child: says that everything before `start` is done.
    ///
    /// # Errors
    /// The failed call.
    pub fn ready(&self) -> Result<(), Fault> {
        self.tell(&[READY])
    }

    /// Child: hands the terminal's master over.
    ///
    /// # Errors
    /// The failed call.
    pub fn terminal(&self, master: BorrowedFd<'_>) -> Result<(), Fault> {
        send_fd(self.fd(), &[TERMINAL], master).call("sendmsg")
    }

    /// Child: hands the seccomp listener over.
    ///
    /// # Errors
    /// The failed call.
    pub fn listener(&self, listener: BorrowedFd<'_>) -> Result<(), Fault> {
        send_fd(self.fd(), &[LISTENER], listener).call("sendmsg")
    }

    /// Child: reports a failure; there is nobody to tell when this fails too.
    pub fn failed(&self, failure: &Failure) {
        let message = encode(failure);
        // A seccomp profile that refuses execve(2) may well refuse this, but hardly ever write(2).
        if send(&self.socket, &message, SendFlags::NOSIGNAL).is_err() {
            let _ = rustix::io::write(&self.socket, &message);
        }
    }

    fn tell(&self, message: &[u8]) -> Result<(), Fault> {
        send(&self.socket, message, SendFlags::NOSIGNAL)
            .call("send")
            .map(drop)
    }

    /// Parent: waits for the child's next message.
    ///
    /// # Errors
    /// As `recvmsg(2)`; `EPROTO` for a message that is none.
    pub fn receive(&self) -> rustix::io::Result<FromChild> {
        let mut buffer = [0u8; LONGEST];
        let (length, fd) = receive_fd(self.fd(), &mut buffer)?;
        let message = &buffer[..length];
        match (message.first(), fd) {
            (None, _) => Ok(FromChild::Closed),
            (Some(&MOUNTED), None) => Ok(FromChild::Mounted),
            (Some(&READY), None) => Ok(FromChild::Ready),
            (Some(&TERMINAL), Some(fd)) => Ok(FromChild::Terminal(fd)),
            (Some(&LISTENER), Some(fd)) => Ok(FromChild::Listener(fd)),
            (Some(&FAILED), None) => decode(message).map(FromChild::Failed).ok_or(Errno::PROTO),
            _ => Err(Errno::PROTO),
        }
    }
}

/// A failure as bytes: kind, step, errno, text.
pub fn encode(failure: &Failure) -> Vec<u8> {
    let mut bytes = vec![FAILED];
    bytes.extend((failure.step as u32).to_le_bytes());
    bytes.extend(failure.fault.errno.to_le_bytes());
    bytes.extend(failure.fault.call.as_bytes());
    bytes.truncate(LONGEST);
    bytes
}

/// The failure in these bytes.
pub fn decode(bytes: &[u8]) -> Option<Failure> {
    let (&kind, rest) = bytes.split_first()?;
    let (step, rest) = rest.split_first_chunk::<4>()?;
    let (errno, text) = rest.split_first_chunk::<4>()?;
    (kind == FAILED).then(|| Failure {
        step: u32::from_le_bytes(*step) as usize,
        fault: Fault {
            errno: i32::from_le_bytes(*errno),
            call: String::from_utf8_lossy(text).into_owned().into(),
        },
    })
}

/// Sends bytes with one descriptor. `unix(7)`, `SCM_RIGHTS`.
///
/// # Errors
/// As `sendmsg(2)`.
pub fn send_fd(socket: BorrowedFd<'_>, bytes: &[u8], fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Errno::NOBUFS);
    }
    sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )
    .map(drop)
}

/// Receives bytes and at most one descriptor, which is close-on-exec.
///
/// # Errors
/// As `recvmsg(2)`.
pub fn receive_fd(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> rustix::io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut receive = || {
        retry_on_intr(|| {
            recvmsg(
                socket,
                &mut [IoSliceMut::new(bytes)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            )
        })
    };
    let received = match receive() {
        // The other end is gone and had not read everything. The kernel says so once, and before it hands over
        // what that end has sent: its failure, perhaps.
        Err(Errno::CONNRESET) => receive(),
        result => result,
    };
    let received = match received {
        Err(Errno::CONNRESET) => return Ok((0, None)),
        other => other?,
    };
    let fd = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((received.bytes, fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_wire() {
        let failure = Failure {
            step: 12,
            fault: Fault {
                call: "fsmount proc".into(),
                errno: 1,
            },
        };
        assert_eq!(decode(&encode(&failure)), Some(failure));
        assert_eq!(decode(&[FAILED, 0, 0]), None);
    }

    #[test]
    fn a_closed_end_is_seen() {
        let (parent, child) = Channel::pair().unwrap();
        drop(child);
        assert!(matches!(parent.receive(), Ok(FromChild::Closed)));
    }

    #[test]
    fn the_last_word_of_one_who_did_not_listen_is_heard() {
        let (parent, child) = Channel::pair().unwrap();
        parent.send(ToChild::Proceed).unwrap();
        let failure = Failure {
            step: 3,
            fault: Fault::finding("no"),
        };
        child.failed(&failure);
        drop(child);
        assert!(matches!(parent.receive(), Ok(FromChild::Failed(told)) if told == failure));
        assert!(matches!(parent.receive(), Ok(FromChild::Closed)));
    }

    #[test]
    fn descriptors_cross_the_channel() {
        let (parent, child) = Channel::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        child.terminal(null.as_fd()).unwrap();
        assert!(matches!(parent.receive(), Ok(FromChild::Terminal(_))));
    }
}
