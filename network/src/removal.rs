//! The end of a network that nobody has to wait for.
//!
//! The kernel removes a link, and frees what was deleted of rules, only when every processor has let go of it: it waits
//! for grace periods of RCU, 25 ms and more for each, in the call that removes the link and in the one that closes the
//! socket. What was deleted is out of force before that, and the link is nobody's. So a process of its own waits.

use crate::{Error, link};
use nucleus_netlink::Socket;
use nucleus_sys::clone::{Forked, clone3};
use nucleus_sys::process::{close_range, exit_now};
use rustix::fd::{AsFd, AsRawFd};

/// What remains to be removed.
#[derive(Debug)]
#[must_use = "the link is there until this is finished or left"]
pub struct Rest(Option<Sockets>);

#[derive(Debug)]
struct Sockets {
    host: Socket,
    /// Numbers of links.
    links: Vec<u32>,
    /// Through which rules were deleted.
    shared: Option<Socket>,
}

impl Rest {
    /// There was nothing to remove.
    pub fn nothing() -> Self {
        Self(None)
    }

    pub(crate) fn new(host: Socket, links: Vec<u32>, shared: Option<Socket>) -> Self {
        Self(Some(Sockets { host, links, shared }))
    }

    /// Removes it, and returns when it is gone.
    ///
    /// # Errors
    /// The kernel's.
    pub fn finish(self) -> Result<(), Error> {
        let Some(Sockets { mut host, links, .. }) = self.0 else {
            return Ok(());
        };
        links
            .into_iter()
            .try_for_each(|index| link::remove(&mut host, index))
    }

    /// Leaves it to a child, which ends when it is gone, and which nobody has to wait for: for a process with one thread
    /// that is about to end. If the child is killed, the link goes with its network namespace.
    ///
    /// # Errors
    /// No child can be had, and as [`finish`](Self::finish).
    pub fn leave(self) -> Result<(), Error> {
        let Some(sockets) = &self.0 else {
            return Ok(());
        };
        match clone3(0, None) {
            Ok(Forked::Parent { .. }) => Ok(()),
            Ok(Forked::Child) => {
                sockets.keep_alone();
                let _ = self.finish();
                exit_now(0)
            }
            Err(_) => self.finish(),
        }
    }
}

impl Sockets {
    /// Closes all other descriptors: who reads what the workload wrote waits for the last who could write there.
    fn keep_alone(&self) {
        let shared = self.shared.as_ref().map(|shared| shared.as_fd().as_raw_fd());
        let mut kept: Vec<i32> = shared
            .into_iter()
            .chain([self.host.as_fd().as_raw_fd()])
            .collect();
        kept.sort_unstable();
        let mut first = 0;
        for number in kept {
            if first < number {
                let _ = close_range(first, number - 1);
            }
            first = number + 1;
        }
        let _ = close_range(first, i32::MAX);
    }
}
