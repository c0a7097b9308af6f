//! Attestation of root file systems: a manifest of all that is in a tree, and the comparison with it.
//!
//! The manifest is the file [`MANIFEST`] at the tree's top. Version 1 of it:
//!
//! ```text
//! # nucleus-rootfs-manifest 1
//! #dir 0555 .
//! #dir 0555 bin
//! #file 0555 1131168
//! b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c  ./bin/busybox
//! #link bin/sh
//! #to busybox
//! ```
//!
//! `sha256sum -c` takes it as it is: lines that begin with `#` are comments to it. A `#file` line (mode in octal,
//! size in bytes) belongs to the checksum behind it, a `#to` line to the `#link` before it. In names and targets a
//! backslash is written `\\`, a newline `\n`, a carriage return `\r`; a checksum line with one of them in its name
//! begins with a backslash, as sha256sum has it. Every entry of the tree is listed but the manifest itself: a
//! directory before what is in it, names within a directory in the order of their bytes. There is one text for one
//! tree, and [`verify()`] takes no other.
//!
//! Both sides are streams in the same order, so that memory does not grow with the tree: what is held are the names
//! of the directories from the top to the present one ([`MAX_NAMES`] bytes at most), their descriptors
//! ([`MAX_DEPTH`] at most), a fixed number of files in work, and of results that wait for one of them.
//!
//! Not covered: owners, times, hard links, and extended attributes but the capabilities of programs, which are refused. An
//! absolute link is meant from the tree's own top; a relative one that climbs above it is refused.

mod create;
mod lanes;
mod manifest;
mod pool;
mod tree;
mod verify;

pub use create::create;
pub use tree::{MAX_DEPTH, MAX_NAMES, open_root};
pub use verify::verify;

use crate::digest::{Digest, NotADigest};
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::sync::atomic::AtomicU64;

/// The manifest's name at the top of a tree.
pub const MANIFEST: &str = ".nucleus-rootfs-sha256";

/// How an attestation is done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// What the manifest's own digest must be.
    pub pin: Option<Digest>,
    /// Threads that read and hash; 0 for the number of processors, 12 at most.
    pub threads: usize,
    /// Record modes as a Nix store gives them: 0555 for directories and executable files, 0444 for others.
    pub store_modes: bool,
    /// Told what has been done while it is done.
    pub progress: Option<&'a Progress>,
}

/// What has been done so far.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files hashed.
    pub files: AtomicU64,
    /// Bytes hashed.
    pub bytes: AtomicU64,
    /// Bytes of the manifest that have been compared, out of [`Self::manifest_size`].
    pub manifest_read: AtomicU64,
    /// Bytes of the manifest; 0 while it is being made.
    pub manifest_size: AtomicU64,
}

/// What a tree holds, and whether it is what its manifest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Regular files, the manifest not counted.
    pub files: u64,
    /// Directories, the top counted.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes in the files.
    pub bytes: u64,
    /// Mismatches that were reported: the tree is attested only if there are none.
    pub mismatches: u64,
    /// The manifest's digest: the pin.
    pub manifest: Digest,
}

impl Summary {
    /// Before the first entry.
    fn none() -> Self {
        Self {
            files: 0,
            directories: 0,
            links: 0,
            bytes: 0,
            mismatches: 0,
            manifest: Digest::from([0; 32]),
        }
    }
}

/// One way in which a tree is not what its manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// From the tree's top; any bytes but NUL.
    pub path: Vec<u8>,
    /// What is wrong there.
    pub difference: Difference,
}

/// What is wrong at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The file's bytes are others.
    Changed,
    /// It is in the manifest, not in the tree.
    Missing,
    /// It is in the tree, not in the manifest; what is in an extra directory is not listed.
    Extra(FileKind),
    /// It is something else.
    WrongType {
        /// By the manifest.
        expected: FileKind,
        /// In the tree.
        actual: FileKind,
    },
    /// Its permissions, or the set-id and sticky bits, are others.
    WrongMode {
        /// By the manifest.
        expected: u32,
        /// In the tree.
        actual: u32,
    },
    /// The link leads elsewhere.
    WrongTarget {
        /// By the manifest.
        expected: Vec<u8>,
        /// In the tree.
        actual: Vec<u8>,
    },
    /// The link climbs above the tree's top.
    Escapes(Vec<u8>),
    /// The file gives capabilities to who executes it.
    Capabilities,
    /// Something is mounted there.
    MountPoint,
    /// It changed while it was looked at.
    Unsteady,
    /// It could not be looked at.
    Unreadable(Errno),
}

impl Difference {
    /// One word for programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::Extra(_) => "extra",
            Self::WrongType { .. } => "wrong-type",
            Self::WrongMode { .. } => "wrong-mode",
            Self::WrongTarget { .. } => "wrong-target",
            Self::Escapes(_) => "escaping-symlink",
            Self::Capabilities => "file-capabilities",
            Self::MountPoint => "mount-point",
            Self::Unsteady => "unsteady",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed => f.write_str("changed"),
            Self::Missing => f.write_str("missing"),
            Self::Extra(kind) => write!(f, "extra {kind}"),
            Self::WrongType { expected, actual } => write!(f, "wrong type: a {actual}, not a {expected}"),
            Self::WrongMode { expected, actual } => {
                write!(f, "wrong mode: {actual:04o}, not {expected:04o}")
            }
            Self::WrongTarget { expected, actual } => {
                write!(f, "wrong target: {}, not {}", Escaped(actual), Escaped(expected))
            }
            Self::Escapes(target) => write!(f, "escaping symlink: to {}", Escaped(target)),
            Self::Capabilities => f.write_str("has file capabilities (setcap -r removes them)"),
            Self::MountPoint => f.write_str("a mount point"),
            Self::Unsteady => f.write_str("changed while it was looked at"),
            Self::Unreadable(errno) => write!(f, "unreadable: {}", io::Error::from(*errno)),
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Escaped(&self.path), self.difference)
    }
}

/// Bytes of a name as text on one line.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() || character == '\\' {
                    write!(f, "{}", character.escape_default())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A device.
    Device,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Link => "symlink",
            Self::Fifo => "named pipe",
            Self::Socket => "socket",
            Self::Device => "device",
        })
    }
}

/// Why a tree could not be compared, or its manifest not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call failed.
    #[error("{call} {}", Escaped(path))]
    Call {
        /// The call.
        call: &'static str,
        /// Its object, from the tree's top.
        path: Vec<u8>,
        /// Why.
        source: io::Error,
    },
    /// There is no manifest.
    #[error("there is no {MANIFEST} in it (nucleus attest create writes one)")]
    NoManifest,
    /// There is one already.
    #[error("there is a {MANIFEST} in it; remove it to make a new one")]
    Exists,
    /// The manifest is something else than a regular file.
    #[error("{MANIFEST} is not a regular file")]
    NotRegular,
    /// The manifest is not one.
    #[error("{MANIFEST}, line {line}: {problem}")]
    Manifest {
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        problem: Malformed,
    },
    /// The manifest is not the reviewed one.
    #[error("{MANIFEST}: its SHA-256 is {actual}, not the pinned {expected}")]
    Pin {
        /// The pin.
        expected: Digest,
        /// What the bytes have.
        actual: Digest,
    },
    /// The tree holds what cannot be attested.
    #[error("{0}")]
    Unfit(Mismatch),
    /// More than this library goes into.
    #[error("{}: {what}", Escaped(path))]
    TooMuch {
        /// The directory.
        path: Vec<u8>,
        /// The limit.
        what: &'static str,
    },
}

impl Error {
    fn call(call: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> Self {
        let path = path.to_owned();
        move |errno| Self::Call {
            call,
            path,
            source: errno.into(),
        }
    }
}

/// What is wrong with a line of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The first line tells the version.
    #[error("it is not a manifest of version 1, whose first line is \"# nucleus-rootfs-manifest 1\"")]
    Version,
    /// The text ends within a line or an entry.
    #[error("it ends too early")]
    Truncated,
    /// A line that does not belong there.
    #[error("not an entry in the form of version 1")]
    Form,
    /// A digest.
    #[error(transparent)]
    Digest(#[from] NotADigest),
    /// A name that leads elsewhere.
    #[error("not a path below the tree's top: {0:?}")]
    Path(String),
    /// Names ascend, each once.
    #[error("out of order, or given twice: {0:?}")]
    Order(String),
    /// Longer than any path.
    #[error("too long")]
    Long,
}
