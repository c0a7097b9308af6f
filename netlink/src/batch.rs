//! Transactions of nfnetlink: messages that the kernel takes whole or not at all.

use crate::{Error, LONGEST_ANSWER, Messages, NLM_F_ACK, NLMSG_ERROR, Request, Socket, error_code};
use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_send_buffer_size, set_socket_send_buffer_size_force, socket_send_buffer_size,
};
use rustix::net::{RecvFlags, SendFlags, send};
use std::fmt;

const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;

/// A transaction that was not taken. Nothing of it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The number of the first message that the kernel does not want, if it is one of them.
    pub message: Option<usize>,
    /// Why.
    pub error: Error,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Refused {}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { message: None, error }
    }
}

impl Socket {
    /// Has the messages taken in one transaction of this subsystem (`NFNL_SUBSYS_*`).
    ///
    /// # Errors
    /// The kernel's errno for the first message that it refuses, or the failed call.
    pub fn commit(
        &mut self,
        subsystem: u16,
        messages: Vec<Request>,
        call: &'static str,
    ) -> Result<(), Refused> {
        let Some(last) = u32::try_from(messages.len()).ok().filter(|last| *last > 0) else {
            return Ok(());
        };
        let begin = self.sequence + 1;
        self.sequence += last + 2;
        // `struct nfgenmsg`: family, version, and the subsystem in network byte order.
        let [high, low] = subsystem.to_be_bytes();
        let bound = |kind| Request::new(kind, 0, &[0, 0, high, low]);
        let mut bytes = bound(NFNL_MSG_BATCH_BEGIN).finish(0, begin)?;
        for (message, sequence) in messages.into_iter().zip(begin + 1..) {
            // The answer to the last one ends the reading. (That the end itself is answered is new in Linux 6.10.)
            let flags = if sequence == begin + last { NLM_F_ACK } else { 0 };
            bytes.extend(message.finish(flags, sequence)?);
        }
        bytes.extend(bound(NFNL_MSG_BATCH_END).finish(0, self.sequence)?);
        self.make_room(bytes.len());
        send(&self.fd, &bytes, SendFlags::empty()).map_err(Error::of(call))?;
        self.answer(begin, begin + last, call)
    }

    /// A batch is one message of the socket, and has to fit into what it may send.
    fn make_room(&self, length: usize) {
        // The kernel doubles what it is told, for its own part.
        if socket_send_buffer_size(&self.fd).is_ok_and(|size| size / 2 < length)
            && set_socket_send_buffer_size_force(&self.fd, length).is_err()
        {
            // If it is too much for this user, send(2) tells.
            let _ = set_socket_send_buffer_size(&self.fd, length);
        }
    }

    fn answer(&self, begin: u32, last: u32, call: &'static str) -> Result<(), Refused> {
        let mut buffer = vec![0; LONGEST_ANSWER];
        let mut refused = None;
        loop {
            // All answers are there when send(2) returns: to wait for more is to wait for ever.
            let length = self.receive(&mut buffer, RecvFlags::DONTWAIT, call)?;
            for message in Messages::new(&buffer[..length]) {
                let cut = || Error::finding(format!("{call}: cut netlink message"));
                let message = message.ok_or_else(cut)?;
                if message.kind != NLMSG_ERROR || !(begin..=last).contains(&message.sequence) {
                    continue;
                }
                let code = error_code(message.payload).ok_or_else(cut)?;
                if code != 0 {
                    let number = message.sequence.checked_sub(begin + 1);
                    refused.get_or_insert_with(|| Refused {
                        message: number.and_then(|number| usize::try_from(number).ok()),
                        error: Error::of(call)(Errno::from_raw_os_error(code)),
                    });
                }
                // What is said of the beginning is of the whole, and nothing need follow.
                if message.sequence == last || message.sequence == begin {
                    return refused.map_or(Ok(()), Err);
                }
            }
        }
    }
}
