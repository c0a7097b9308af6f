//! The one way in which names change what a workload may reach.

use std::net::IpAddr;
use std::time::Duration;

/// What the rules permit besides the fixed networks: addresses, each until its time is over.
pub trait Admit: Send {
    /// Permits all of these addresses, or none of them, in one transaction. An address that is permitted already is so
    /// for the new time: the caller never gives a shorter one than what is left. When this returns, packets to the
    /// addresses pass; when nobody calls again, the kernel lets the addresses expire by itself.
    ///
    /// # Errors
    /// The transaction was refused: what was permitted before still is, and nothing else.
    fn admit(&mut self, addresses: &[(IpAddr, Duration)]) -> Result<(), NotAdmitted>;
}

/// The rules could not be changed.
#[derive(Debug, thiserror::Error)]
#[error("addresses were not added to the rules")]
pub struct NotAdmitted(#[source] pub Box<dyn std::error::Error + Send + Sync>);
