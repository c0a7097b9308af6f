//! The policies that are part of this library: the files of `data/`, word for word.

use crate::request::Kind;

/// Kind, name, text.
static ALL: [(Kind, &str, &str); 5] = [
    (
        Kind::Seccomp,
        "default",
        include_str!("../data/seccomp-default.json"),
    ),
    (
        Kind::Seccomp,
        "service",
        include_str!("../data/seccomp-service.json"),
    ),
    (
        Kind::Capabilities,
        "none",
        include_str!("../data/capabilities-none.toml"),
    ),
    (
        Kind::Landlock,
        "agent",
        include_str!("../data/landlock-agent.toml"),
    ),
    (
        Kind::Landlock,
        "agent-network",
        include_str!("../data/landlock-agent-network.toml"),
    ),
];

/// The names of the built-in policies of a kind.
pub fn names(kind: Kind) -> impl Iterator<Item = &'static str> {
    ALL.iter().filter(move |row| row.0 == kind).map(|row| row.1)
}

/// The text of a built-in policy, as it is hashed and parsed.
#[must_use]
pub fn text(kind: Kind, name: &str) -> Option<&'static str> {
    ALL.iter()
        .find(|row| row.0 == kind && row.1 == name)
        .map(|row| row.2)
}
