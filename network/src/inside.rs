//! The rules of a sandbox's network, whoever made it.

use crate::admit::{Admit, NotAdmitted};
use crate::counts::{self, Refused};
use crate::nftables::{self, Transaction};
use crate::rootless::{self, Space};
use crate::{Error, namespace, rules};
use nucleus_netlink::Socket;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// The rules of one network namespace.
#[derive(Debug)]
pub struct Rules {
    /// It belongs to the namespace.
    socket: Socket,
    owner: Owner,
}

/// Who may change them.
#[derive(Debug)]
pub enum Owner {
    /// The host's root, in whose user namespace the network was made.
    Root(OwnedFd),
    /// A user, in a user namespace of its own.
    User(Space),
}

impl Rules {
    /// Those of a network that this process has made, with a socket that was opened in it.
    pub fn new(owner: Owner, socket: Socket) -> Self {
        Self { socket, owner }
    }

    /// Those of a running workload, made by `user` without root.
    ///
    /// # Errors
    /// There is no such process, or it is somebody else's.
    pub fn of(pid: i32, user: bool) -> Result<Self, Error> {
        if user {
            let space = Space::of(pid)?;
            let socket = space.rules()?;
            return Ok(Self::new(Owner::User(space), socket));
        }
        let namespace = namespace::open(&namespace::of(pid))?;
        let socket = namespace::rules_of(namespace.as_fd())?;
        Ok(Self::new(Owner::Root(namespace), socket))
    }

    /// Their namespace.
    pub fn namespace(&self) -> BorrowedFd<'_> {
        match &self.owner {
            Owner::Root(namespace) => namespace.as_fd(),
            Owner::User(space) => space.network.as_fd(),
        }
    }

    /// Their namespace, without the way to change them.
    pub fn into_namespace(self) -> OwnedFd {
        match self.owner {
            Owner::Root(namespace) => namespace,
            Owner::User(space) => space.network,
        }
    }

    /// The namespaces of a user's network.
    pub fn space(&self) -> Option<&Space> {
        match &self.owner {
            Owner::Root(_) => None,
            Owner::User(space) => Some(space),
        }
    }

    /// The same rules, through a socket of their own.
    ///
    /// # Errors
    /// As dup(2), and what keeps a socket from being opened there.
    pub fn try_clone(&self) -> Result<Self, Error> {
        match &self.owner {
            Owner::Root(namespace) => {
                let copy = namespace.try_clone();
                let copy = copy.map_err(|error| Error::io("dup", Path::new("the namespace"), error))?;
                let socket = namespace::rules_of(copy.as_fd())?;
                Ok(Self::new(Owner::Root(copy), socket))
            }
            Owner::User(space) => {
                let socket = space.rules()?;
                Ok(Self::new(Owner::User(space.try_clone()?), socket))
            }
        }
    }

    /// The descriptors that they are known by: the socket, and then the namespace, or those of [`Space::into_fds`].
    pub fn into_fds(self) -> Vec<OwnedFd> {
        let mut all = vec![self.socket.into()];
        match self.owner {
            Owner::Root(namespace) => all.push(namespace),
            Owner::User(space) => all.extend(space.into_fds()),
        }
        all
    }

    /// What [`into_fds`](Self::into_fds) gave; `None` if it is something else.
    pub fn from_fds(fds: Vec<OwnedFd>) -> Option<Self> {
        let mut fds = fds.into_iter();
        let socket = fds.next()?.into();
        let owner = match <[OwnedFd; 3]>::try_from(fds.collect::<Vec<_>>()) {
            Ok([outer, network, inner]) => Owner::User(Space::from_fds(outer, network, inner)),
            Err(one) => Owner::Root(one.into_iter().next()?),
        };
        Some(Self::new(owner, socket))
    }

    /// Makes a change, whole or not at all.
    ///
    /// # Errors
    /// What the kernel has against it.
    pub fn change(&mut self, change: Transaction, what: &'static str) -> Result<(), Error> {
        change.commit(&mut self.socket, what)
    }

    /// What was refused until now.
    ///
    /// # Errors
    /// The kernel's.
    pub fn refused(&mut self) -> Result<Refused, Error> {
        counts::read(&mut self.socket)
    }

    /// All that is in force in the namespace, without what changes by itself: the same text for the same rules.
    ///
    /// # Errors
    /// The kernel's.
    pub fn in_force(&mut self) -> Result<String, Error> {
        nftables::in_force(&mut self.socket)
    }
}

impl Admit for Rules {
    fn admit(&mut self, addresses: &[(IpAddr, Duration)]) -> Result<(), NotAdmitted> {
        let changed = self.change(rules::admitted(addresses), "permit the addresses of a name");
        changed.map_err(|error| NotAdmitted(Box::new(error)))
    }
}

impl From<rootless::Error> for Error {
    fn from(error: rootless::Error) -> Self {
        Self::User(error)
    }
}
