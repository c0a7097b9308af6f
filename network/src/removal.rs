//! The end of a network that nobody has to wait for.
//!
//! The kernel removes a link, and frees what was deleted of rules, only when every processor has let go of it: it waits
//! for grace periods of RCU, 25 ms and more for each, in the call that removes the link and in the one that closes the
//! socket. What was deleted is out of force before that, and the link is nobody's. So a process of its own waits.

use crate::order::{LAST, Last};
use crate::{Error, link};
use nucleus_netlink::Socket;
use nucleus_sys::clone::{Forked, clone3};
use nucleus_sys::process::{close_range, exit_now};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};

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
    /// With the rules that are in force until the link is gone.
    namespace: Option<OwnedFd>,
}

impl Rest {
    /// There was nothing to remove.
    pub fn nothing() -> Self {
        Self(None)
    }

    pub(crate) fn new(
        host: Socket,
        links: Vec<u32>,
        shared: Option<Socket>,
        namespace: Option<OwnedFd>,
    ) -> Self {
        Self(Some(Sockets {
            host,
            links,
            shared,
            namespace,
        }))
    }

    /// Removes it, and returns when it is gone.
    ///
    /// # Errors
    /// The kernel's.
    pub fn finish(self) -> Result<(), Error> {
        let Some(mut sockets) = self.0 else {
            return Ok(());
        };
        for part in LAST {
            match part {
                Last::Link => sockets.remove_links()?,
                Last::Namespace => sockets.namespace = None,
            }
        }
        Ok(())
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
    fn remove_links(&mut self) -> Result<(), Error> {
        let mut links = std::mem::take(&mut self.links).into_iter();
        links.try_for_each(|index| link::remove(&mut self.host, index))
    }

    /// Closes all other descriptors: who reads what the workload wrote waits for the last who could write there.
    fn keep_alone(&self) {
        let shared = self.shared.as_ref().map(AsFd::as_fd);
        let namespace = self.namespace.as_ref().map(AsFd::as_fd);
        let kept = [Some(self.host.as_fd()), shared, namespace];
        let mut kept: Vec<i32> = kept.iter().flatten().map(AsRawFd::as_raw_fd).collect();
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
