//! A network for a user without rights: a namespace that a user namespace of the user's owns, and slirp4netns(1), which
//! carries its packets as the user's own.
//!
//! Three user namespaces lie in each other, so that the rules hold without root:
//!
//! | namespace | ids | who is in it |
//! |---|---|---|
//! | *outer* | the user is its root | nobody, but slirp4netns(1), and for a moment who opens the socket for the rules. It owns the network namespace: who changes rules is root here, or the user outside, who owns outer |
//! | *inner*, in outer | the user is the user | the runtime, without a capability |
//! | the container's, in inner | as the bundle says | the workload, with what its policy leaves it there, which is nothing in outer |
//!
//! The namespaces are held by descriptors and by the workload: the kernel removes them with the last of them.

mod holder;
mod slirp;

use crate::own;
use crate::resolver::Sockets;
use nucleus_netlink::Socket;
use nucleus_sys::clone::{enter_in_child, owner_of_namespace, parent_of_user_namespace};
use rustix::fd::{AsFd, OwnedFd};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

pub use holder::{hand_over_rules, main, stand_in};
pub use slirp::{Slirp, Watch};

pub(crate) const CLONE_NEWUSER: i32 = 0x1000_0000;
pub(crate) const CLONE_NEWNET: i32 = 0x4000_0000;

/// What is written in a bundle in the place of the network namespace's path: the runtime is in it already.
pub const INHERITED: &str = "/proc/self/ns/net";

/// Why a user has no network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process that makes the namespaces failed.
    #[error("network: make the namespaces: {0}")]
    Holder(String),
    /// A call on an object failed.
    #[error("network: {call} {}", path.display())]
    Io {
        /// The call.
        call: &'static str,
        /// Its object.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no program for it.
    #[error(
        "network: bridge without root needs slirp4netns, which is not in $PATH (pasta is not supported): install it (apt install slirp4netns), or run nucleus as root"
    )]
    NoSlirp,
    /// The program failed.
    #[error("network: slirp4netns: {0}")]
    Slirp(String),
    /// A port could not be published.
    #[error(
        "publish: port {port}: slirp4netns: {why}: it is taken, or below net.ipv4.ip_unprivileged_port_start"
    )]
    Port {
        /// The port.
        port: String,
        /// What it says.
        why: String,
    },
}

impl Error {
    fn io(call: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { call, path, source }
    }
}

/// The namespaces of a user's sandbox.
#[derive(Debug)]
pub struct Space {
    /// The network namespace.
    pub network: OwnedFd,
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Space {
    /// Makes them, with loopback up, a socket for the rules, and the resolver's sockets if they are asked for. There are
    /// no rules yet, and no way out.
    ///
    /// # Errors
    /// The host lets no user have a user namespace, or as the calls.
    pub fn make(resolver: bool) -> Result<(Self, Socket, Option<Sockets>), Error> {
        holder::call(resolver)
    }

    /// Those of a running workload.
    ///
    /// # Errors
    /// As open(2) and ioctl_nsfs(2): there is no such process, or it is somebody else's.
    pub fn of(pid: i32) -> Result<Self, Error> {
        let network = open(format!("/proc/{pid}/ns/net"))?;
        let container = open(format!("/proc/{pid}/ns/user"))?;
        let failed =
            |call| move |errno: rustix::io::Errno| Error::io(call, format!("/proc/{pid}/ns"))(errno.into());
        let outer = owner_of_namespace(network.as_fd()).map_err(failed("NS_GET_USERNS"))?;
        let inner = parent_of_user_namespace(container.as_fd()).map_err(failed("NS_GET_PARENT"))?;
        Ok(Self {
            network,
            outer,
            inner,
        })
    }

    /// A socket for the rules, opened by a process that is the root of the network: the kernel asks who opened it, and
    /// who sends.
    ///
    /// # Errors
    /// What that process says.
    pub fn rules(&self) -> Result<Socket, Error> {
        holder::open_rules(self)
    }

    /// Lets a command begin as the root of the network.
    ///
    /// # Errors
    /// As dup(2).
    pub fn as_owner(&self, command: &mut Command) -> Result<(), Error> {
        self.enter(command, false)
    }

    /// Lets a command begin in the network as the user, without a privilege over it.
    ///
    /// # Errors
    /// As dup(2).
    pub fn as_user(&self, command: &mut Command) -> Result<(), Error> {
        self.enter(command, true)
    }

    /// The same namespaces.
    ///
    /// # Errors
    /// As dup(2).
    pub fn try_clone(&self) -> Result<Self, Error> {
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(Error::io("dup", "the namespaces"));
        Ok(Self {
            network: copy(&self.network)?,
            outer: copy(&self.outer)?,
            inner: copy(&self.inner)?,
        })
    }

    /// Outer, network, inner.
    pub fn into_fds(self) -> [OwnedFd; 3] {
        [self.outer, self.network, self.inner]
    }

    /// What [`into_fds`](Self::into_fds) gave.
    pub fn from_fds(outer: OwnedFd, network: OwnedFd, inner: OwnedFd) -> Self {
        Self {
            network,
            outer,
            inner,
        }
    }

    fn enter(&self, command: &mut Command, inner: bool) -> Result<(), Error> {
        let [outer, network, inner_one] = self.try_clone()?.into_fds();
        let mut namespaces = vec![(outer, CLONE_NEWUSER), (network, CLONE_NEWNET)];
        if inner {
            namespaces.push((inner_one, CLONE_NEWUSER));
        }
        enter_in_child(command, namespaces);
        Ok(())
    }
}

fn open(path: String) -> Result<OwnedFd, Error> {
    let opened = std::fs::File::open(&path).map(OwnedFd::from);
    opened.map_err(Error::io("open", path))
}

/// This host's own addresses but for those that are meant: slirp4netns reaches them as any process of the user does.
///
/// # Errors
/// The addresses cannot be read.
pub fn of_the_host(means: impl Fn(IpAddr) -> bool) -> Result<Vec<IpAddr>, Error> {
    let own = own::addresses().map_err(Error::io("read", own::SOURCE))?;
    let apart = |address: &IpAddr| !address.is_loopback() && !means(*address);
    Ok(own.into_iter().filter(apart).collect())
}
