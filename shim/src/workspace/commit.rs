//! From the copy into the workspace. Every file is made aside and renamed into its place, so that it is there whole
//! or not at all; what was taken over is no change any more, so that a commit that was interrupted is begun again.

use super::changes::{Change, Sides, What};
use super::tree::{Identity, Kind, Node, Tree};
use super::{Error, at, attributes, copy, erase};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fchmod, fstat, mkdirat, openat, renameat, renameat_with, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Picks the changes that are taken over: all, or those at and under `paths` with the new directories they lie in.
/// Protected ones only with `include_protected`.
///
/// # Errors
/// A path without a change.
pub fn select<'a>(
    changes: &'a [Change],
    paths: &[PathBuf],
    include_protected: bool,
) -> Result<Vec<&'a Change>, Error> {
    for path in paths {
        if !changes.iter().any(|change| change.path.starts_with(path)) {
            return Err(Error::NoChange(path.clone()));
        }
    }
    let asked = |change: &Change| paths.is_empty() || paths.iter().any(|path| change.path.starts_with(path));
    let may = |change: &Change| {
        !matches!(change.what, What::Refused(_)) && (include_protected || change.protected.is_none())
    };
    let mut wanted: BTreeSet<&Path> = BTreeSet::new();
    for change in changes.iter().filter(|change| asked(change) && may(change)) {
        wanted.extend(change.path.ancestors());
    }
    let chosen = |change: &Change| {
        may(change)
            && (asked(change)
                || wanted.contains(change.path.as_path())
                    && change.node().is_some_and(|node| node.kind == Kind::Directory))
    };
    Ok(changes.iter().filter(|change| chosen(change)).collect())
}

/// Refuses what has changed on both sides.
///
/// # Errors
/// The conflicts, unless they are to be overwritten.
pub fn refuse_conflicts(chosen: &[&Change], force: bool) -> Result<(), Error> {
    let conflicts: Vec<(PathBuf, &'static str)> = chosen
        .iter()
        .filter_map(|change| Some((change.path.clone(), change.conflict?)))
        .collect();
    if !conflicts.is_empty() && !force {
        return Err(Error::Conflicts(conflicts));
    }
    Ok(())
}

/// Takes changes over that have no conflicts, or are to overwrite them.
///
/// # Errors
/// The failed call, when what came before it is done.
pub fn commit(sides: &Sides, name: &str, chosen: &[&Change], force: bool) -> Result<(), Error> {
    let workspace = &sides.workspace;
    let stat = fstat(workspace.root()).map_err(at("stat", &workspace.name(Path::new(""))))?;
    let stage = Stage::make(workspace, name)?;
    let into = Into {
        sides,
        stage: &stage,
        owner: (stat.st_uid, stat.st_gid),
        force,
    };
    for change in chosen.iter().rev() {
        into.take_away(change)?;
    }
    for change in chosen {
        into.put(change)?;
    }
    for change in chosen.iter().rev() {
        into.finish_directory(change)?;
    }
    stage.remove()?;
    // Before the copy goes.
    rustix::fs::syncfs(workspace.root()).map_err(at("syncfs", &workspace.name(Path::new(""))))
}

/// Removes what a commit that was interrupted has left in the workspace.
///
/// # Errors
/// The failed call.
pub fn forget(workspace: &Path, name: &str) -> Result<(), Error> {
    erase::erase(&workspace.join(stage_name(name)))
}

fn stage_name(name: &str) -> String {
    format!(".nucleus-commit-{name}")
}

/// Where files are made before they are renamed: in the workspace, because a rename cannot leave a file system.
struct Stage {
    fd: OwnedFd,
    path: PathBuf,
}

impl Stage {
    fn make(workspace: &Tree, name: &str) -> Result<Self, Error> {
        let name = stage_name(name);
        let path = workspace.name(Path::new(&name));
        erase::erase(&path)?;
        mkdirat(workspace.root(), &name, Mode::RWXU).map_err(at("mkdir", &path))?;
        let fd = workspace.open_at(
            Path::new(&name),
            OFlags::RDONLY | OFlags::DIRECTORY,
            Mode::empty(),
        );
        Ok(Self {
            fd: fd.map_err(at("open", &path))?,
            path,
        })
    }

    fn remove(self) -> Result<(), Error> {
        erase::erase(&self.path)
    }
}

/// The only name in the stage.
const NEXT: &str = "next";

struct Into<'a> {
    sides: &'a Sides,
    stage: &'a Stage,
    owner: (u32, u32),
    force: bool,
}

impl Into<'_> {
    /// Removes what went, and directories and files that became each other.
    fn take_away(&self, change: &Change) -> Result<(), Error> {
        let Some(now) = &change.now else { return Ok(()) };
        let directory_now = now.kind == Kind::Directory;
        let goes = match &change.what {
            What::Removed(_) => true,
            What::Type(_, node) | What::Added(node) => (node.kind == Kind::Directory) != directory_now,
            _ => false,
        };
        if !goes {
            return Ok(());
        }
        self.expect_unchanged(change)?;
        let found = self.sides.workspace.parent(&change.path);
        let removed = match found {
            Ok((parent, name)) if directory_now => unlinkat(&parent, name, AtFlags::REMOVEDIR),
            Ok((parent, name)) => match renameat(&parent, name, &self.stage.fd, NEXT) {
                Ok(()) => return self.drop_replaced(change, &parent, name),
                // It cannot be looked at once more.
                Err(Errno::XDEV) => unlinkat(&parent, name, AtFlags::empty()),
                moved => moved,
            },
            Err(errno) => Err(errno),
        };
        match removed {
            // A directory that keeps what was not taken over.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(()),
            Err(errno) => Err(self.fault("unlink", change)(errno)),
        }
    }

    /// Removes what was in the workspace and is in the stage now, where nobody puts anything else in its place. If it
    /// is not what the change is about, because somebody was quicker, it goes back.
    fn drop_replaced(&self, change: &Change, parent: &OwnedFd, name: &OsStr) -> Result<(), Error> {
        let replaced = statat(&self.stage.fd, NEXT, AtFlags::SYMLINK_NOFOLLOW);
        let replaced = Identity::of(&replaced.map_err(self.fault("stat", change))?);
        let expected = |now: &Node| now.identity.holds_the_same(&replaced);
        if self.force || change.now.as_ref().is_none_or(expected) {
            return unlinkat(&self.stage.fd, NEXT, AtFlags::empty()).map_err(self.fault("unlink", change));
        }
        let back = |flags| renameat_with(&self.stage.fd, NEXT, parent, name, flags);
        match back(RenameFlags::EXCHANGE) {
            Err(Errno::NOENT) => back(RenameFlags::NOREPLACE),
            exchanged => exchanged,
        }
        .map_err(self.fault("rename", change))?;
        Err(changed_just_now(change))
    }

    fn put(&self, change: &Change) -> Result<(), Error> {
        let fault = || self.fault("write", change);
        match (&change.what, change.node()) {
            (What::Mode(_, node), _) => {
                self.expect_unchanged(change)?;
                if node.kind == Kind::Directory {
                    return Ok(());
                }
                self.permit(&change.path, node).map_err(fault())
            }
            (What::Added(_) | What::Changed(_) | What::Type(..), Some(node)) => match &node.kind {
                Kind::Directory => self.directory(change).map_err(fault()),
                Kind::File => {
                    self.stage_file(change)?;
                    self.place(change)
                }
                Kind::Link(target) => {
                    symlinkat(target, &self.stage.fd, NEXT)
                        .and_then(|()| copy::give(&self.stage.fd, OsStr::new(NEXT), self.owner))
                        .map_err(fault())?;
                    self.place(change)
                }
                Kind::Refused(_) => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn directory(&self, change: &Change) -> rustix::io::Result<()> {
        let (parent, name) = self.sides.workspace.parent(&change.path)?;
        match mkdirat(&parent, name, Mode::RWXU) {
            Err(Errno::EXIST) if self.is_directory(&change.path) => Ok(()),
            made => made,
        }
    }

    fn is_directory(&self, path: &Path) -> bool {
        let there = self.sides.workspace.node(path);
        there.is_ok_and(|there| there.is_some_and(|there| there.kind == Kind::Directory))
    }

    fn stage_file(&self, change: &Change) -> Result<(), Error> {
        let source = self.sides.copy.file(&change.path);
        let source = source.map_err(at("open", &self.sides.copy.name(&change.path)))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.stage.fd, NEXT, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .and_then(|file| {
                copy::contents(&source, &file)?;
                copy::own(&file, self.owner)?;
                attributes::copy(&source, &file)?;
                let (replaced, directory) = self.beside(change)?;
                attributes::take_acl(replaced, directory, &file)?;
                let mode = fstat(&source)?.st_mode & 0o777;
                fchmod(&file, Mode::from_raw_mode(mode))
            })
            .map_err(self.fault("write", change))
    }

    /// What a file is going to replace, if that is a file, and the directory where it is going to be.
    fn beside(&self, change: &Change) -> rustix::io::Result<(Option<File>, OwnedFd)> {
        let workspace = &self.sides.workspace;
        let replaced = match workspace.file(&change.path) {
            Err(Errno::NOENT | Errno::INVAL | Errno::LOOP | Errno::NXIO) => None,
            file => Some(file?),
        };
        let directory = change.path.parent().unwrap_or(Path::new(""));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        Ok((replaced, workspace.open_at(directory, flags, Mode::empty())?))
    }

    /// What is replaced changes places with the new file, and is looked at once more: of what somebody puts there at
    /// the same time nothing is lost.
    fn place(&self, change: &Change) -> Result<(), Error> {
        self.expect_unchanged(change)?;
        let found = self.sides.workspace.parent(&change.path);
        let (parent, name) = found.map_err(self.fault("rename", change))?;
        let rename = |flags| renameat_with(&self.stage.fd, NEXT, &parent, name, flags);
        let there = self.sides.workspace.node(&change.path)?;
        let replaces = there.is_some_and(|there| there.kind != Kind::Directory);
        let flags = match (replaces, self.force) {
            (true, _) => RenameFlags::EXCHANGE,
            (false, false) => RenameFlags::NOREPLACE,
            (false, true) => RenameFlags::empty(),
        };
        match rename(flags) {
            Ok(()) if replaces => self.drop_replaced(change, &parent, name),
            // A file system without that flag, and one that was removed just now: it was looked at just before.
            Err(Errno::INVAL | Errno::NOENT) if !flags.is_empty() => {
                rename(RenameFlags::empty()).map_err(self.fault("rename", change))
            }
            renamed => renamed.map_err(self.fault("rename", change)),
        }
    }

    fn permit(&self, path: &Path, node: &Node) -> rustix::io::Result<()> {
        let fd = self.sides.workspace.open_at(path, OFlags::PATH, Mode::empty())?;
        // chmod(2) through the descriptor: the name may be something else by now, and a link is never followed.
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        rustix::fs::chmod(link, Mode::from_raw_mode(node.mode))
    }

    /// Owner and mode of a directory come last: the mode may forbid to fill it.
    fn finish_directory(&self, change: &Change) -> Result<(), Error> {
        let Some(node) = change.node().filter(|node| node.kind == Kind::Directory) else {
            return Ok(());
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let finished = self
            .sides
            .workspace
            .open_at(&change.path, flags, Mode::empty())
            .and_then(|directory| {
                if !matches!(change.what, What::Mode(..)) {
                    copy::own(&directory, self.owner)?;
                    attributes::copy(
                        self.sides.copy.open_at(&change.path, flags, Mode::empty())?,
                        &directory,
                    )?;
                }
                fchmod(&directory, Mode::from_raw_mode(node.mode))
            });
        finished.map_err(self.fault("chmod", change))
    }

    /// Somebody may have written since the changes were listed.
    fn expect_unchanged(&self, change: &Change) -> Result<(), Error> {
        if self.force {
            return Ok(());
        }
        let now = self.sides.workspace.node(&change.path)?;
        let same = match (&now, &change.now) {
            (None, _) => true,
            (Some(now), Some(then)) if now.kind == Kind::Directory => then.kind == Kind::Directory,
            (Some(now), Some(then)) => now.identity == then.identity,
            (Some(_), None) => false,
        };
        if same {
            Ok(())
        } else {
            Err(changed_just_now(change))
        }
    }

    fn fault(&self, call: &'static str, change: &Change) -> impl FnOnce(Errno) -> Error + use<> {
        at(call, &self.sides.workspace.name(&change.path))
    }
}

fn changed_just_now(change: &Change) -> Error {
    Error::Conflicts(vec![(change.path.clone(), "it was changed just now")])
}
