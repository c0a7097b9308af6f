//! The resolver of a sandbox: it answers for permitted names, and is the only one that the workload reaches.
//!
//! It listens inside the container's network namespace and asks the world from the host's. No byte of the workload's
//! packets gets out but the letters of a permitted name, in lower case and in a packet made here; no byte of the world's
//! gets in but addresses. The order is that of `formal/specs/Egress.tla`: another name's question goes nowhere
//! (*Refuse*); the answer's addresses are public or in a permitted network, and in the rules (*Load*), before the
//! workload hears of them; what it holds stays permitted for its time; names that were asked for are asked for again
//! before that is over (*Refresh*); when the resolver is gone, the kernel lets the addresses expire (*Expire*).
//!
//! [`question`], [`answer`], [`address`], [`settle`] and [`reply`] decide and are pure; [`serve()`] does.

pub mod address;
pub mod answer;
pub mod cache;
mod clients;
mod flight;
mod limit;
pub mod question;
pub mod reply;
mod serve;
pub mod servers;
pub mod settle;
mod sockets;
#[cfg(test)]
mod tests;

use crate::admit::{Admit, NotAdmitted};
use crate::background::Background;
use crate::names::{Name, Pattern};
use ipnet::IpNet;
use rustix::fd::AsFd;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use serve::serve;
pub use sockets::{RESOLV_CONF, Sockets};

/// What the resolver is held to.
#[derive(Debug, Clone)]
pub struct Config {
    /// The permitted names.
    pub names: Vec<Pattern>,
    /// Networks that are permitted whatever their names are.
    pub networks: Vec<IpNet>,
    /// Whom to ask, in order; at least one.
    pub servers: Vec<SocketAddr>,
}

/// What the resolver has to tell.
#[derive(Debug)]
pub enum Report {
    /// Another name was asked for: the first time at once, then how often in the ten seconds after that. Without a
    /// name: so many others.
    Refused {
        /// The name, escaped.
        name: Option<String>,
        /// How often.
        count: u64,
    },
    /// A name's addresses are known, or are others than they were.
    Resolved {
        /// The name.
        name: Name,
        /// What the workload was told.
        addresses: Vec<IpAddr>,
        /// For how long.
        lasts: Duration,
    },
    /// Addresses of a name that are of this host, or not public.
    Filtered {
        /// The name.
        name: Name,
        /// What was withheld.
        addresses: Vec<IpAddr>,
    },
    /// The rules could not be changed: what needed it was not answered.
    NotAdmitted(NotAdmitted),
    /// The resolver has ended by itself: nothing is resolved any more, and what was permitted expires.
    Ended(io::Error),
}

/// A resolver in a thread of this process. It ends when this is dropped.
#[derive(Debug)]
pub struct Resolver(#[expect(dead_code, reason = "held until it is dropped")] Background);

impl Resolver {
    /// Starts it. No signal of the process is handled by its thread.
    ///
    /// # Errors
    /// As pipe(2) and clone(2).
    pub fn start(
        config: Config,
        sockets: Sockets,
        mut admit: Box<dyn Admit>,
        mut report: impl FnMut(Report) + Send + 'static,
    ) -> io::Result<Self> {
        Background::start("resolver", move |until| {
            let ended = serve(&config, sockets, admit.as_mut(), &mut report, until.as_fd());
            if let Err(error) = ended {
                report(Report::Ended(error));
            }
        })
        .map(Self)
    }
}
