//! Where the copies are: on disk, because they outlive their sandbox until somebody has looked at the changes.

use super::changes::{self, Change, Sides};
use super::tree::Tree;
use super::{Error, at, commit, copy, erase, manifest};
use crate::escape::{escape, unescape};
use rustix::fs::{FlockOperation, Mode, flock};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The directory of all copies of a user.
#[derive(Debug, Clone)]
pub struct Copies {
    root: PathBuf,
}

/// One copy. While this lives, no other command takes or removes it.
#[derive(Debug)]
pub struct Copy {
    name: String,
    directory: PathBuf,
    _lock: File,
}

impl Copies {
    /// Under `--root`, or in `/var/lib/nucleus`, or without root in `$XDG_STATE_HOME/nucleus` or
    /// `~/.local/state/nucleus`.
    pub fn of(root: Option<&Path>) -> Self {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let uid = rustix::process::geteuid();
        let base = match root {
            // Told to the runtime, which has another working directory.
            Some(root) => std::path::absolute(root).unwrap_or_else(|_| root.to_owned()),
            None if uid.is_root() => PathBuf::from("/var/lib/nucleus"),
            None => variable("XDG_STATE_HOME")
                .or_else(|| Some(variable("HOME")?.join(".local/state")))
                .map_or_else(
                    || PathBuf::from(format!("/var/tmp/nucleus-{}", uid.as_raw())),
                    |state| state.join("nucleus"),
                ),
        };
        Self {
            root: base.join("workspaces"),
        }
    }

    /// Copies a workspace.
    ///
    /// # Errors
    /// The name is taken, or something cannot be read or written; nothing is left then.
    pub fn create(&self, name: &str, workspace: &Path) -> Result<Copy, Error> {
        crate::store::make_private(&self.root)
            .map_err(|error| at("mkdir", &self.root)(std::io::Error::other(error.to_string())))?;
        let root = self.root.canonicalize().map_err(at("open", &self.root))?;
        if root.starts_with(workspace) {
            return Err(Error::Inside(workspace.to_owned(), root));
        }
        let directory = self.root.join(name);
        let copy = {
            let _quiet = self.without_sweep(FlockOperation::LockShared)?;
            match copy::make_directory(&directory) {
                Err(Error::Call { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
                    return Err(Error::Taken(name.to_owned()));
                }
                made => made?,
            }
            Copy::lock(name, directory)?
        };
        match copy.fill(workspace) {
            Ok(()) => Ok(copy),
            Err(error) => {
                copy.remove()?;
                Err(error)
            }
        }
    }

    /// A copy is made and locked in two steps: nobody takes it for left behind between them.
    fn without_sweep(&self, how: FlockOperation) -> Result<File, Error> {
        let file = File::open(&self.root).map_err(at("open", &self.root))?;
        flock(&file, how).map_err(at("flock", &self.root))?;
        Ok(file)
    }

    /// All names, sorted.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let entries = match std::fs::read_dir(&self.root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(at("open", &self.root))?,
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// Opens a copy to read, to take over or to remove it.
    ///
    /// # Errors
    /// There is none, or its run has not ended.
    pub fn open(&self, name: &str) -> Result<Copy, Error> {
        let unknown = || Error::Unknown(name.to_owned());
        crate::parse::name(name).map_err(|_| unknown())?;
        let directory = self.root.join(name);
        if !directory.is_dir() {
            return Err(unknown());
        }
        Copy::lock(name, directory)
    }

    /// Removes copies that were never finished, because their `nucleus` was killed. Where this user reaches none there are
    /// none: a home directory may be another's.
    ///
    /// # Errors
    /// What cannot be removed.
    pub fn sweep(&self) -> Result<(), Error> {
        let names = match self.names() {
            Err(Error::Call { source, .. })
                if matches!(
                    source.kind(),
                    std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(());
            }
            names => names?,
        };
        for name in names {
            let directory = self.root.join(&name);
            if directory.join(MANIFEST).exists() {
                continue;
            }
            let locked = {
                let _quiet = self.without_sweep(FlockOperation::LockExclusive)?;
                Copy::lock(&name, directory)
            };
            // Its run is busy with it still, or has just removed it.
            if let Ok(copy) = locked
                && !copy.directory.join(MANIFEST).exists()
            {
                copy.remove()?;
            }
        }
        Ok(())
    }
}

const MANIFEST: &str = "manifest";
const WORKSPACE: &str = "workspace";
/// There while a commit is under way.
const COMMITTING: &str = "committing";

impl Copy {
    fn lock(name: &str, directory: PathBuf) -> Result<Self, Error> {
        let lock = File::open(&directory).map_err(at("open", &directory))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Busy(name.to_owned())),
            locked => locked.map_err(at("flock", &directory))?,
        }
        Ok(Self {
            name: name.to_owned(),
            directory,
            _lock: lock,
        })
    }

    fn fill(&self, workspace: &Path) -> Result<(), Error> {
        let record = self.directory.join(WORKSPACE);
        std::fs::write(&record, escape(workspace)).map_err(at("write", &record))?;
        let from = Tree::open(workspace)?;
        let tree = self.tree();
        copy::make_directory(&tree)?;
        let to = Tree::open(&tree)?;
        let copied = copy::copy(&from, &to)?;
        let stat = rustix::fs::fstat(from.root()).map_err(at("stat", workspace))?;
        copy::own(to.root(), (stat.st_uid, stat.st_gid))
            .and_then(|()| rustix::fs::fchmod(to.root(), Mode::from_raw_mode(stat.st_mode & 0o777)))
            .map_err(at("chmod", &tree))?;
        manifest::write(&self.directory.join(MANIFEST), &copied)
    }

    /// Its name, which is its sandbox's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory that the workload gets.
    pub fn tree(&self) -> PathBuf {
        self.directory.join("tree")
    }

    /// The directory that was copied.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn workspace(&self) -> Result<PathBuf, Error> {
        let record = self.directory.join(WORKSPACE);
        let text = std::fs::read_to_string(&record).map_err(at("read", &record))?;
        unescape(&text).ok_or(Error::Record(record))
    }

    /// The three sides of a review.
    ///
    /// # Errors
    /// What cannot be opened.
    pub fn sides(&self) -> Result<Sides, Error> {
        Ok(Sides {
            manifest: manifest::read(&self.directory.join(MANIFEST))?,
            copy: Tree::open(&self.tree())?,
            workspace: Tree::open(&self.workspace()?)?,
            interrupted: self.directory.join(COMMITTING).exists(),
        })
    }

    /// Takes changes over, and notes meanwhile that it does.
    ///
    /// # Errors
    /// See [`commit::commit`].
    pub fn commit(&self, sides: &Sides, chosen: &[&Change], force: bool) -> Result<(), Error> {
        commit::refuse_conflicts(chosen, force)?;
        let note = self.directory.join(COMMITTING);
        std::fs::write(&note, "").map_err(at("create", &note))?;
        commit::commit(sides, &self.name, chosen, force)?;
        std::fs::remove_file(&note).map_err(at("unlink", &note))
    }

    /// What the workload changed.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn changes(&self) -> Result<Vec<Change>, Error> {
        changes::changes(&self.sides()?)
    }

    /// Removes it, and what an interrupted commit has left in the workspace.
    ///
    /// # Errors
    /// What cannot be removed.
    pub fn remove(self) -> Result<(), Error> {
        if let Ok(workspace) = self.workspace() {
            commit::forget(&workspace, &self.name)?;
        }
        // The manifest first: without it the rest is swept by the next call, should this one be interrupted.
        for file in [MANIFEST, "manifest.unfinished"] {
            match std::fs::remove_file(self.directory.join(file)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(at("unlink", &self.directory.join(file))(error));
                }
                _ => {}
            }
        }
        erase::erase(&self.directory)
    }
}
