//! The rules of a sandbox's network, wherever their owner is: what nft(8) is asked about them.

use crate::admit::{Admit, NotAdmitted};
use crate::counts::{self, Refused};
use crate::rootless::{self, CLONE_NEWNET, Space};
use crate::{Error, namespace, nft, rules};
use nucleus_sys::clone::enter_in_child;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The rules of one network namespace.
#[derive(Debug)]
pub struct Rules {
    nft: PathBuf,
    owner: Owner,
}

/// Who may change them.
#[derive(Debug)]
pub enum Owner {
    /// The host's root, in whose user namespace the network was made.
    Root(OwnedFd),
    /// A user, through namespaces of its own.
    User(Space),
}

impl Rules {
    /// Those of a network that this process has made.
    ///
    /// # Errors
    /// There is no nft(8).
    pub fn new(owner: Owner) -> Result<Self, Error> {
        let nft = nft::find()?;
        Ok(Self { nft, owner })
    }

    /// Those of a running workload, made by `user` without root.
    ///
    /// # Errors
    /// There is no such process, or no nft(8).
    pub fn of(pid: i32, user: bool) -> Result<Self, Error> {
        Self::new(if user {
            Owner::User(Space::of(pid)?)
        } else {
            Owner::Root(namespace::open(&namespace::of(pid))?)
        })
    }

    /// Their namespace.
    pub fn namespace(&self) -> BorrowedFd<'_> {
        match &self.owner {
            Owner::Root(namespace) => namespace.as_fd(),
            Owner::User(space) => space.network.as_fd(),
        }
    }

    /// The namespaces of a user's network.
    pub fn space(&self) -> Option<&Space> {
        match &self.owner {
            Owner::Root(_) => None,
            Owner::User(space) => Some(space),
        }
    }

    /// The same rules.
    ///
    /// # Errors
    /// As dup(2).
    pub fn try_clone(&self) -> Result<Self, Error> {
        let owner = match &self.owner {
            Owner::Root(namespace) => Owner::Root(duplicate(namespace)?),
            Owner::User(space) => Owner::User(space.try_clone()?),
        };
        Ok(Self {
            nft: self.nft.clone(),
            owner,
        })
    }

    /// The descriptors that they are known by: one, or those of [`Space::into_fds`].
    pub fn into_fds(self) -> Vec<OwnedFd> {
        match self.owner {
            Owner::Root(namespace) => vec![namespace],
            Owner::User(space) => space.into_fds().into(),
        }
    }

    /// Loads a text, whole or not at all.
    ///
    /// # Errors
    /// What nft(8) says.
    pub fn load(&self, text: &str, what: &'static str) -> Result<(), Error> {
        nft::begin_with(self.command()?, text)?.end(what).map(drop)
    }

    /// What was refused until now.
    ///
    /// # Errors
    /// What nft(8) says.
    pub fn refused(&self) -> Result<Refused, Error> {
        let arguments = ["-j", "list", "table", "inet", rules::TABLE];
        counts::parse(&nft::ask_with(self.command()?, &arguments)?)
    }

    /// All that is in force in the namespace, without what changes by itself: the same text for the same rules.
    ///
    /// # Errors
    /// What nft(8) says.
    pub fn in_force(&self) -> Result<String, Error> {
        counts::lasting(&nft::ask_with(self.command()?, &["-j", "list", "ruleset"])?)
    }

    fn command(&self) -> Result<Command, Error> {
        let mut command = Command::new(&self.nft);
        match &self.owner {
            Owner::Root(namespace) => {
                enter_in_child(&mut command, vec![(duplicate(namespace)?, CLONE_NEWNET)]);
            }
            Owner::User(space) => space.as_owner(&mut command)?,
        }
        Ok(command)
    }
}

fn duplicate(namespace: &OwnedFd) -> Result<OwnedFd, Error> {
    let copy = namespace.try_clone();
    copy.map_err(|error| Error::io("dup", Path::new("the namespace"), error))
}

impl Admit for Rules {
    fn admit(&mut self, addresses: &[(IpAddr, Duration)]) -> Result<(), NotAdmitted> {
        let loaded = self.load(&rules::admitted(addresses), "permit the addresses of a name");
        loaded.map_err(|error| NotAdmitted(Box::new(error)))
    }
}

impl From<rootless::Error> for Error {
    fn from(error: rootless::Error) -> Self {
        Self::User(error)
    }
}
