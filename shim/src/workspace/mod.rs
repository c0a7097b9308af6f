//! `--workspace-mode copy-in-out`: the workload changes a copy, and a person takes over what is good in it.
//!
//! A copy, not an overlay: the kernel leaves undefined what an overlay shows when its lower directory changes, and
//! people go on editing; files of owners that the sandbox's user namespace does not know cannot be copied up; an
//! upper directory would have to be read as the kernel's private format from a hostile hand; and a copy is an
//! ordinary directory for every runtime. Where the file system shares extents (btrfs, xfs) it costs no space.
//!
//! The road: [`copies`] (where they are) → [`copy`] (in) → [`tree`] and [`changes`] (what the workload did) →
//! [`protected`] (what never comes in unasked; [`guard`] for a workspace that is bound) → [`commit`] (out) → [`erase`].

pub mod around;
pub mod attributes;
pub mod changes;
pub mod commit;
pub mod copies;
pub mod copy;
pub mod erase;
pub mod guard;
pub mod manifest;
pub mod protected;
pub mod tree;

use std::path::{Path, PathBuf};

/// What went wrong with a workspace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call failed.
    #[error("{call} {}", crate::escape::escape(path))]
    Call {
        /// The call.
        call: &'static str,
        /// Its object.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The record of a copy is not what was written.
    #[error("{}: not the record of a workspace copy", .0.display())]
    Record(PathBuf),
    /// There is none of this name.
    #[error("there is no workspace copy with the name {0:?}; nucleus workspace list shows them")]
    Unknown(String),
    /// There is one already.
    #[error(
        "the workspace copy {0:?} has changes that were neither taken over nor dropped: \
         nucleus workspace diff {0} shows them, nucleus workspace drop {0} forgets them"
    )]
    Taken(String),
    /// The copy would be copied into itself.
    #[error("the workspace {0} holds the place of the copies, {1}: name another with --root")]
    Inside(PathBuf, PathBuf),
    /// A run or a commit has it.
    #[error("{0}: its nucleus is there still; wait for its end, or nucleus stop {0}")]
    Busy(String),
    /// The sandbox did not name any change.
    #[error("{}: no change there", crate::escape::escape(.0))]
    NoChange(PathBuf),
    /// What changed on both sides.
    #[error("{}", conflicts(.0))]
    Conflicts(Vec<(PathBuf, &'static str)>),
}

fn conflicts(paths: &[(PathBuf, &'static str)]) -> String {
    let mut text =
        "nothing was changed: the workspace has changed since it was copied (--force takes the copy's)"
            .to_owned();
    for (path, why) in paths {
        text += &format!("\n  {}: {why}", crate::escape::escape(path));
    }
    text
}

pub(crate) fn at<E: Into<std::io::Error>>(
    call: &'static str,
    path: &Path,
) -> impl FnOnce(E) -> Error + use<E> {
    let path = path.to_owned();
    move |error| Error::Call {
        call,
        path,
        source: error.into(),
    }
}
