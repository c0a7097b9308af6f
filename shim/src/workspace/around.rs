//! What a run does for its workspace, before and after.

use super::copies::{Copies, Copy};
use super::{Error, at, guard, protected};
use crate::escape::escape;
use crate::launch::Launch;
use crate::say::say;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Makes the copy of the workspace, if one was asked for, and lets the launch have it.
///
/// # Errors
/// What cannot be copied.
pub fn copy_in(launch: &mut Launch, copies: &Copies) -> Result<Option<Copy>, Error> {
    copies.sweep()?;
    let Some(workspace) = &launch.workspace_copy else {
        return Ok(None);
    };
    let copy = copies.create(&launch.name, workspace)?;
    launch.put_at(crate::launch::WORKSPACE, &copy.tree());
    Ok(Some(copy))
}

/// What is not there cannot be mounted over: a protected file that the workload made is told of.
///
/// # Errors
/// The workspace cannot be read.
pub fn tell_newcomers(workspace: &Path, before: &BTreeSet<PathBuf>, quiet: bool) -> Result<(), Error> {
    for path in guard::present(workspace)?.difference(before).filter(|_| !quiet) {
        let reason = protected::reason(path).unwrap_or_default();
        let path = escape(&workspace.join(path));
        say!("nucleus: warning: the workload made {path}: {reason}");
    }
    Ok(())
}

/// Says that there are changes, and forgets a copy without any. Returns how many there are.
///
/// # Errors
/// What cannot be read or removed.
pub fn look_at(copy: Copy, quiet: bool) -> Result<usize, Error> {
    let changes = copy.changes()?.len();
    if changes == 0 {
        copy.remove()?;
    } else if !quiet {
        let (name, s) = (copy.name(), if changes == 1 { "" } else { "s" });
        say!("nucleus: {changes} change{s} of the workspace wait: nucleus workspace diff {name}");
    }
    Ok(changes)
}

/// A repository without a directory for hooks would let the workload make one: an empty one, as git-init(1) makes
/// it, is mounted over.
///
/// # Errors
/// It cannot be made.
pub fn make_hooks(launch: &Launch) -> Result<(), Error> {
    let hooks = launch
        .binds
        .iter()
        .filter(|bind| bind.destination == "/workspace/.git/hooks");
    for bind in hooks {
        match std::fs::create_dir(&bind.source) {
            Ok(()) => std::os::unix::fs::lchown(&bind.source, Some(bind.owner.0), Some(bind.owner.1))
                .map_err(at("chown", &bind.source))?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(at("mkdir", &bind.source)(error)),
        }
    }
    Ok(())
}
