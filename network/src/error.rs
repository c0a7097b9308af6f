//! What can go wrong with a network.

use ipnet::Ipv4Net;
use std::io;
use std::path::{Path, PathBuf};

/// Why a sandbox has no network, or could not be freed of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not take rules, or does not tell of them.
    #[error("network: rules: {what}{}{object}{remedy}", if object.is_empty() { "" } else { ": " })]
    Rules {
        /// What was to be done.
        what: &'static str,
        /// The table, set or chain.
        object: String,
        /// What can be done about it.
        remedy: &'static str,
        /// Why.
        source: nucleus_netlink::Error,
    },
    /// A call with a path failed.
    #[error("network: {call} {}", path.display())]
    Io {
        /// The call.
        call: &'static str,
        /// Its object.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A call failed.
    #[error("network: {call}")]
    Call {
        /// The call.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A message to the kernel failed.
    #[error("network: {object}")]
    Link {
        /// Which link, address or route.
        object: String,
        /// Why.
        source: nucleus_netlink::Error,
    },
    /// All addresses are taken.
    #[error(
        "network: all {size} addresses of {pool} are taken: end a sandbox, or name a larger network with --network-subnet"
    )]
    Exhausted {
        /// The pool.
        pool: Ipv4Net,
        /// How many.
        size: u32,
    },
    /// The host knows these addresses already.
    #[error(
        "network: this host has a route to {route}, within the sandboxes' {pool}: name another network with --network-subnet"
    )]
    Collision {
        /// What it knows.
        route: Ipv4Net,
        /// The pool.
        pool: Ipv4Net,
    },
    /// A port of the host is taken.
    #[error("publish: port {port} of the host is taken by {by}: {remedy}, or publish at another port")]
    PortTaken {
        /// The port and its protocol.
        port: String,
        /// By whom.
        by: String,
        /// How it becomes free.
        remedy: String,
    },
    /// A network without root.
    #[error(transparent)]
    User(crate::rootless::Error),
    /// The kernel has answered, and what was asked for is not in the answer.
    #[error("network: the kernel's answer about {object} lacks its {lacks}")]
    Answer {
        /// What it is about.
        object: String,
        /// What is not in it.
        lacks: &'static str,
    },
    /// A step came before what it needs: a defect.
    #[error("network: {0} came before what it needs")]
    Order(&'static str),
    /// A thread ended without an answer: a defect.
    #[error("network: the thread that prepares it has failed")]
    Thread,
}

impl Error {
    pub(crate) fn io(call: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            call,
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn call(call: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Call {
            call,
            source: errno.into(),
        }
    }

    pub(crate) fn link(object: impl Into<String>) -> impl FnOnce(nucleus_netlink::Error) -> Self {
        let object = object.into();
        move |source| Self::Link { object, source }
    }
}
