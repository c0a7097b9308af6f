//! What is known of a container between commands: a directory a container, below `--root`.
//!
//! | file | written | meaning |
//! |---|---|---|
//! | `state.json` | before anything else is made | what `delete` needs to undo everything |
//! | `config.json` | with it | the configuration as it was at `create`; `exec` takes its defaults from here |
//! | `init` | when the child is ready | the first process: pid and start time |
//! | `start`, `result` | by `create` | FIFOs between the waiting child and `start` |
//! | `notify` | by `create`, under a service manager | directory of the readiness socket, seen by the container |
//! | `starting` | `start` renames `start` to it | the start was claimed |
//!
//! Each file appears complete or not at all. The directory itself is the lock (`flock(2)`).

mod directory;
mod process;
mod record;

pub use directory::Directory;
pub use process::{FOREIGN_PROC, Process};
pub use record::{HookState, Init, Loaded, Record, annotations};

use std::path::PathBuf;

/// The version of runtime-spec that is implemented.
pub const OCI_VERSION: &str = "1.3.0";

/// Why the state of a container cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An id that cannot be a directory's name.
    #[error(
        "container id {0:?} is invalid: use letters, digits and _ + - . (at most 1024, not \".\" or \"..\")"
    )]
    InvalidId(String),
    /// No such container.
    #[error("container {id:?} does not exist (no such directory: {})", .directory.display())]
    Missing {
        /// The id.
        id: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// The id is in use.
    #[error("container {0:?} already exists")]
    Exists(String),
    /// Another command has been working on the container for too long.
    #[error("container {0:?} is busy: another command holds its lock")]
    Busy(String),
    /// A failed call on a file of the state.
    #[error("{call} {}", .path.display())]
    File {
        /// The call.
        call: &'static str,
        /// The file.
        path: PathBuf,
        /// Its errno.
        #[source]
        source: std::io::Error,
    },
    /// The directory of states is not the caller's to use.
    #[error(
        "{call} {}, where states are kept (give --root DIR, or without root's privileges set XDG_RUNTIME_DIR)",
        .path.display()
    )]
    Root {
        /// The call.
        call: &'static str,
        /// The path.
        path: PathBuf,
        /// Its errno.
        #[source]
        source: std::io::Error,
    },
    /// A file that does not hold what it should.
    #[error("{} is damaged", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// Checks that an id is one path component of harmless characters, as runc does.
///
/// # Errors
/// [`Error::InvalidId`].
pub fn check_id(id: &str) -> Result<(), Error> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    if id.is_empty() || id.len() > 1024 || matches!(id, "." | "..") || !id.chars().all(harmless) {
        return Err(Error::InvalidId(id.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_one_harmless_component() {
        for good in ["a", "Web_1.2+x-y", "..."] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "/", "a b", "ä", "a\0"] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }
}
