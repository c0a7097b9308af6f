//! The policies that are part of this library: the files of `data/`, word for word.
//!
//! What does not change between two calls is worked out before the first: their digests, and what the seccomp profiles
//! are in a spec. `tests/built_in.rs` holds both against the text, and writes them anew when that is changed.

use crate::digest::Digest;
use crate::request::Kind;

/// A policy of this library.
#[derive(Debug)]
pub struct BuiltIn {
    /// Of which kind.
    pub kind: Kind,
    /// What it is asked for by.
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
    /// The digest of the text.
    pub digest: Digest,
    /// A seccomp profile as `linux.seccomp`, for a process without capabilities.
    pub resolved: Option<&'static str>,
}

static ALL: [BuiltIn; 5] = [
    BuiltIn {
        kind: Kind::Seccomp,
        name: "default",
        text: include_str!("../data/seccomp-default.json"),
        digest: Digest::known("4f38f2f72323d975202a7a7bbd8d7cc98b3b8a526fca65798be5deadb000faac"),
        resolved: Some(include_str!("../data/resolved/seccomp-default.json")),
    },
    BuiltIn {
        kind: Kind::Seccomp,
        name: "service",
        text: include_str!("../data/seccomp-service.json"),
        digest: Digest::known("c7d7ad661bcd5d1a03d26b55dd16414f49923920bc6ff520550a9705a64a7714"),
        resolved: Some(include_str!("../data/resolved/seccomp-service.json")),
    },
    BuiltIn {
        kind: Kind::Capabilities,
        name: "none",
        text: include_str!("../data/capabilities-none.toml"),
        digest: Digest::known("8820352738161dcd405827123fea903b277b07cf88ca0867880d43fd69fbe035"),
        resolved: None,
    },
    BuiltIn {
        kind: Kind::Landlock,
        name: "agent",
        text: include_str!("../data/landlock-agent.toml"),
        digest: Digest::known("c26fee0bd2d3e1cf5fc4b979b8772f7a810a32d973f863b0498f931ee2c8ceb9"),
        resolved: None,
    },
    BuiltIn {
        kind: Kind::Landlock,
        name: "agent-network",
        text: include_str!("../data/landlock-agent-network.toml"),
        digest: Digest::known("058ae5fc6165566362454fb35e06d54bc971ea93cebfdd5c96a30cdd4a85b660"),
        resolved: None,
    },
];

/// The names of the built-in policies of a kind.
pub fn names(kind: Kind) -> impl Iterator<Item = &'static str> {
    ALL.iter().filter(move |row| row.kind == kind).map(|row| row.name)
}

/// A built-in policy.
#[must_use]
pub fn find(kind: Kind, name: &str) -> Option<&'static BuiltIn> {
    ALL.iter().find(|row| row.kind == kind && row.name == name)
}

/// The text of a built-in policy, as it is hashed and parsed.
#[must_use]
pub fn text(kind: Kind, name: &str) -> Option<&'static str> {
    find(kind, name).map(|row| row.text)
}
