//! What a caller asks for: which policies, from where, and with which pins.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::digest::Digest;

/// The kinds of policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Which system calls may be made.
    Seccomp,
    /// Which capabilities(7) a process may have.
    Capabilities,
    /// What landlock(7) lets a process open, connect to and signal.
    Landlock,
}

impl Kind {
    /// All kinds, in the order in which they are loaded and reported.
    pub const ALL: [Self; 3] = [Self::Seccomp, Self::Capabilities, Self::Landlock];

    /// The word used in lock files, annotations and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::Capabilities => "capabilities",
            Self::Landlock => "landlock",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Where a policy comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// One of this library's own; see [`crate::builtin::names`].
    BuiltIn(&'static str),
    /// A regular file. Symbolic links are followed: a pin, not a path, says which bytes are meant.
    File(PathBuf),
}

impl Origin {
    /// Reads a command line's or configuration's word: the name of a built-in policy of this kind, or
    /// else a path (`./default` for a file with the name of a built-in).
    #[must_use]
    pub fn named(kind: Kind, word: &str) -> Self {
        match crate::builtin::names(kind).find(|name| *name == word) {
            Some(name) => Self::BuiltIn(name),
            None => Self::File(PathBuf::from(word)),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(name) => write!(formatter, "built-in {name:?}"),
            Self::File(path) => write!(formatter, "{path:?}"),
        }
    }
}

/// A policy that is asked for, and the digest that it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Where it comes from.
    pub origin: Origin,
    /// The digest that its bytes must have; `None` takes whatever is there.
    pub pin: Option<Digest>,
}

impl Choice {
    /// [`Origin::named`] without a pin.
    #[must_use]
    pub fn named(kind: Kind, word: &str) -> Self {
        Self {
            origin: Origin::named(kind, word),
            pin: None,
        }
    }

    /// The same with `pin`.
    #[must_use]
    pub fn pinned(self, pin: Digest) -> Self {
        Self {
            pin: Some(pin),
            ..self
        }
    }
}

/// A kernel's version, for `minKernel` in seccomp profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// 6 in 6.18.
    pub major: u32,
    /// 18 in 6.18.
    pub minor: u32,
}

/// A text that does not begin with a kernel version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a kernel version: {0:?}")]
pub struct NotAKernelVersion(pub String);

impl FromStr for KernelVersion {
    type Err = NotAKernelVersion;

    /// Takes `6.18` and a release as uname(2) gives it, `6.18.44-generic`.
    fn from_str(text: &str) -> Result<Self, NotAKernelVersion> {
        let number = |part: Option<&str>| {
            let digits = part?.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        };
        let mut parts = text.split('.');
        match (number(parts.next()), number(parts.next())) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(NotAKernelVersion(text.to_owned())),
        }
    }
}

/// The policies to load. A kind that is `None` is not loaded and changes nothing in the spec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The seccomp profile.
    pub seccomp: Option<Choice>,
    /// The capability policy.
    pub capabilities: Option<Choice>,
    /// The Landlock policy.
    pub landlock: Option<Choice>,
    /// Refuse a file without a pin. Built-in policies are part of the program and need none.
    pub pins_required: bool,
    /// Everything that the Landlock policy says must be enforced, or the container does not start.
    /// Otherwise what the kernel lacks is left out and reported.
    pub landlock_strict: bool,
    /// The kernel that the container will run on. A seccomp profile with `minKernel` needs it.
    pub kernel: Option<KernelVersion>,
}

impl Request {
    /// The choice made for `kind`.
    #[must_use]
    pub fn choice(&self, kind: Kind) -> Option<&Choice> {
        match kind {
            Kind::Seccomp => self.seccomp.as_ref(),
            Kind::Capabilities => self.capabilities.as_ref(),
            Kind::Landlock => self.landlock.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_read_from_releases() {
        for (text, major, minor) in [
            ("6.18", 6, 18),
            ("6.1.0-18-amd64", 6, 1),
            ("4.8-rc1", 4, 8),
            ("6.18.44-fc-v657", 6, 18),
        ] {
            assert_eq!(text.parse(), Ok(KernelVersion { major, minor }), "{text}");
        }
        for text in ["", "6", "six.one", ".1", "6."] {
            assert!(text.parse::<KernelVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_word_is_a_built_in_name_or_a_path() {
        assert_eq!(
            Origin::named(Kind::Seccomp, "default"),
            Origin::BuiltIn("default")
        );
        assert_eq!(
            Origin::named(Kind::Seccomp, "./default"),
            Origin::File("./default".into())
        );
        assert_eq!(
            Origin::named(Kind::Landlock, "default"),
            Origin::File("default".into())
        );
    }
}
