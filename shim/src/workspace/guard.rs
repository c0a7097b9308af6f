//! Protected paths of a workspace that is bound writable: they are mounted read-only over it, and the directories
//! they lie in are mount points, which cannot be renamed away from over them.
//!
//! Only what is there can be mounted over. What a workload adds beside it is told afterwards.

use super::{Error, at, protected};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is mounted over a workspace, relative to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    /// Directories that stay writable, and stay where they are.
    pub kept: Vec<PathBuf>,
    /// What is read-only.
    pub read_only: Vec<PathBuf>,
}

impl Guard {
    /// Looks at the workspace's top, and into the directories there that hold protected names.
    ///
    /// # Errors
    /// A protected name that is a link, which could not be mounted over.
    pub fn of(workspace: &Path) -> Result<Self, String> {
        let mut guard = Self::default();
        for name in names(workspace).map_err(|error| chain(&error))? {
            let path = PathBuf::from(&name);
            let metadata = std::fs::symlink_metadata(workspace.join(&path))
                .map_err(|error| format!("{}: {error}", workspace.join(&path).display()))?;
            let holds = metadata.is_dir() && is_first_of_several(&path);
            if !holds && protected::reason(&path).is_none() {
                continue;
            }
            if metadata.is_symlink() {
                return Err(link(&workspace.join(&path)));
            }
            if holds {
                guard.look_into(workspace, &path)?;
            } else {
                guard.read_only.push(path);
            }
        }
        Ok(guard)
    }

    fn look_into(&mut self, workspace: &Path, directory: &Path) -> Result<(), String> {
        self.kept.push(directory.to_owned());
        let is_git = directory.as_os_str().eq_ignore_ascii_case(".git");
        if is_git && !workspace.join(directory).join("hooks").exists() {
            self.read_only.push(directory.join("hooks"));
        }
        for name in names(&workspace.join(directory)).map_err(|error| chain(&error))? {
            let path = directory.join(name);
            if protected::reason(&path).is_none() {
                continue;
            }
            if workspace.join(&path).is_symlink() {
                return Err(link(&workspace.join(&path)));
            }
            self.read_only.push(path);
        }
        Ok(())
    }
}

fn link(path: &Path) -> String {
    format!(
        "{}: a link, which cannot be protected; use --workspace-mode copy-in-out, or --workspace-unprotected",
        crate::escape::escape(path)
    )
}

fn chain(error: &Error) -> String {
    use std::error::Error as _;
    error
        .source()
        .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn names(directory: &Path) -> Result<BTreeSet<std::ffi::OsString>, Error> {
    let entries = std::fs::read_dir(directory).map_err(at("open", directory))?;
    entries
        .map(|entry| {
            entry
                .map(|entry| entry.file_name())
                .map_err(at("read", directory))
        })
        .collect()
}

fn is_first_of_several(name: &Path) -> bool {
    protected::rules()
        .iter()
        .filter_map(|rule| rule.pattern.split_once('/'))
        .any(|(first, _)| name.as_os_str().eq_ignore_ascii_case(first))
}

/// The protected paths that are there, at the top and one below.
///
/// # Errors
/// The workspace cannot be read.
pub fn present(workspace: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    let mut found = BTreeSet::new();
    for name in names(workspace)? {
        let path = PathBuf::from(&name);
        if protected::reason(&path).is_some() {
            found.insert(path.clone());
        }
        if is_first_of_several(&path) && workspace.join(&path).is_dir() {
            let inner = names(&workspace.join(&path))?;
            let inner = inner.into_iter().map(|name| path.join(name));
            found.extend(inner.filter(|path| protected::reason(path).is_some()));
        }
    }
    Ok(found)
}
