//! The orders in which a sandbox's network is made and taken back, as data. Whoever makes and takes back walks these:
//! `bridge` and `removal` here, the front-end's `egress` and `upkeep`, for a user too. `formal/bindings/network.rs`
//! holds them against `formal/specs/Egress.tla`.
//!
//! By root, [`INSIDE`] and [`HOST`] are walked at the same time; when both are done [`JOINED`]; and then [`KEPT`], where
//! the link is there already. By a user, [`INSIDE`] and then [`KEPT`]: there is nothing to make on the host. The workload
//! begins after all of them. Back it goes by [`TAKE_DOWN`], and then by [`LAST`], which nobody has to wait for.

/// What is made inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    /// The network namespace.
    Namespace,
    /// The rules in it: they refuse all but what is permitted.
    Rules,
}

/// What is made on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// The record of whose the link is, by which it is found again.
    Note,
    /// The table that all sandboxes share, and forwarding.
    Table,
}

/// What joins the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// The link, which is the claim on the addresses.
    Link,
    /// The record of what the sandbox is going to have in the table.
    List,
    /// Addresses and routes; both ends are set up.
    Connection,
    /// What the sandbox has in the table: published ports.
    Ports,
}

/// What somebody keeps up for as long as there is a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Who answers for permitted names.
    Resolver,
    /// A user's way out, with its published ports.
    Connection,
}

/// What is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Who kept it up.
    Kept,
    /// Whose the link is: nobody counts it any more.
    Owner,
    /// What the sandbox has in the table.
    Ports,
    /// The table, with the last link that is somebody's.
    Table,
}

/// What the kernel takes its time over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// The link.
    Link,
    /// The namespace, with the rules in it.
    Namespace,
}

/// Inside: nothing but what the rules permit is ever sent.
pub const INSIDE: [Inside; 2] = [Inside::Namespace, Inside::Rules];

/// On the host: what is changed is noted first.
pub const HOST: [Host; 2] = [Host::Note, Host::Table];

/// From here on there is a way out: not before the rules and the table, and ports only when it is noted which.
pub const JOINED: [Joined; 4] = [Joined::Link, Joined::List, Joined::Connection, Joined::Ports];

/// What a user's workload cannot do without is there when there is a way out.
pub const KEPT: [Kept; 2] = [Kept::Resolver, Kept::Connection];

/// Back: nothing leads to a link that may be another's soon, and the table is not counted on by who has a link.
pub const TAKE_DOWN: [Taken; 4] = [Taken::Kept, Taken::Owner, Taken::Ports, Taken::Table];

/// The rules are there until the way out is not.
pub const LAST: [Last; 2] = [Last::Link, Last::Namespace];
