//! Networks for sandboxes: what a workload may reach, and nothing else.
//!
//! A network is made before the runtime is called and handed to it by path: the runtime itself never configures one,
//! so that every runtime joins the same. The orders in which it is made and taken back are data, [`order`], which
//! `formal/specs/Egress.tla` has too: no way out before the rules are there, and none when they are not any more.
//!
//! What lives as long as what. The namespace is held by an open descriptor of `nucleus` and by the workload's
//! processes, by no file and no mount: with the last of them the kernel removes it, and with it the rules, and the link
//! on the host, whose name is the claim on its addresses ([`pool`]). So nothing of a killed `nucleus` stays but a shared
//! table of rules and two switches ([`host`]), and elements of that table for published ports; [`bridge::remove`] takes
//! those back, as the next call's sweep does.
//!
//! There is a link between two ends for each sandbox, and no bridge device: sandboxes share no segment on which they
//! could answer for each other's addresses, no bridge filter of another program is in the way, and the kernel needs
//! 35 to 55 ms to remove a bridge.

pub mod admit;
mod background;
pub mod bridge;
pub mod counts;
pub mod egress;
mod error;
pub mod firewall;
pub mod host;
pub mod inside;
mod legacy;
pub mod link;
pub mod names;
pub mod namespace;
pub mod nftables;
pub mod order;
pub mod own;
pub mod pool;
pub mod program;
pub mod removal;
pub mod resolver;
pub mod rootless;
pub mod rules;
pub mod table;

pub use error::Error;
