//! What the workload changed in its copy: pure, but for the bytes of files that may differ.

use super::manifest::{Entry, Manifest};
use super::tree::{Identity, Kind, Node, Nodes, Tree};
use super::{Error, at, attributes, copy, protected};
use serde_json::{Value, json};
use std::fmt;
use std::path::{Path, PathBuf};

/// Files that were changed this long before the workload could begin may have been changed by it: a file's times
/// advance with the kernel's tick.
const TICK_NANOSECONDS: i128 = 20_000_000;

/// What happened to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Added(Node),
    /// Its bytes, its attributes or its target differ; its mode may.
    Changed(Node),
    /// Its permissions alone differ: before, now.
    Mode(u32, Node),
    /// It has become something else: before, now.
    Type(Kind, Node),
    /// It is gone.
    Removed(Kind),
    /// It is nothing that can be taken over.
    Refused(&'static str),
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub what: What,
    /// Why it is not taken over unasked.
    pub protected: Option<&'static str>,
    /// Why it cannot be taken over as it is: what the workspace itself has become since.
    pub conflict: Option<&'static str>,
    /// What is there in the workspace.
    pub now: Option<Node>,
}

impl Change {
    /// What is there now.
    pub fn node(&self) -> Option<&Node> {
        match &self.what {
            What::Added(node) | What::Changed(node) | What::Mode(_, node) | What::Type(_, node) => Some(node),
            What::Removed(_) | What::Refused(_) => None,
        }
    }

    /// How many names a file has on the host that keep what it holds, because this one alone is replaced.
    fn other_names(&self) -> Option<u64> {
        let replaced = matches!(self.what, What::Changed(_) | What::Type(..));
        let now = self
            .now
            .as_ref()
            .filter(|now| replaced && now.kind == Kind::File)?;
        Some(now.links - 1).filter(|others| *others > 0)
    }

    fn word(&self) -> &'static str {
        match self.what {
            What::Added(_) => "added",
            What::Changed(_) => "changed",
            What::Mode(..) => "mode",
            What::Type(..) => "type",
            What::Removed(_) => "removed",
            What::Refused(_) => "refused",
        }
    }

    /// For `--json`.
    pub fn json(&self) -> Value {
        let mut value = json!({"path": crate::escape::escape(&self.path), "change": self.word()});
        if let Some(node) = self.node() {
            value["kind"] = json!(node.kind.word());
            value["mode"] = json!(format!("{:04o}", node.mode));
            if let Kind::Link(target) = &node.kind {
                value["target"] = json!(crate::escape::escape(target));
            }
        }
        if let Some(others) = self.other_names() {
            value["other-names"] = json!(others);
        }
        match &self.what {
            What::Mode(before, _) => value["mode-before"] = json!(format!("{before:04o}")),
            What::Type(before, _) | What::Removed(before) => value["kind-before"] = json!(before.word()),
            What::Refused(why) => value["reason"] = json!(why),
            _ => {}
        }
        if let Some(reason) = self.protected {
            value["protected"] = json!(reason);
        }
        if let Some(reason) = self.conflict {
            value["conflict"] = json!(reason);
        }
        value
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = crate::escape::escape(&self.path);
        match &self.what {
            What::Added(node) => {
                write!(f, "A {path}")?;
                match &node.kind {
                    Kind::Directory => f.write_str("/")?,
                    Kind::Link(target) => write!(f, " -> {}", crate::escape::escape(target))?,
                    _ => {}
                }
            }
            What::Changed(node) => {
                write!(f, "M {path}")?;
                if let Kind::Link(target) = &node.kind {
                    write!(f, " -> {}", crate::escape::escape(target))?;
                }
            }
            What::Mode(before, node) => write!(f, "P {path} ({before:04o} to {:04o})", node.mode)?,
            What::Type(before, node) => {
                write!(f, "T {path} ({} to {}", before.word(), node.kind.word())?;
                if let Kind::Link(target) = &node.kind {
                    write!(f, " -> {}", crate::escape::escape(target))?;
                }
                f.write_str(")")?;
            }
            What::Removed(_) => write!(f, "D {path}")?,
            What::Refused(why) => write!(f, "! {path} ({why}: not taken over)")?,
        }
        if let Some(others) = self.other_names() {
            let s = if others == 1 { "" } else { "s" };
            write!(
                f,
                "  [{others} other name{s} of it, by hard links: what they show stays]"
            )?;
        }
        match self.conflict {
            Some(why) => write!(f, "  [conflict: {why}]"),
            None => Ok(()),
        }
    }
}

/// The three sides: what was copied, the copy now, the workspace now.
#[derive(Debug)]
pub struct Sides {
    /// As it was.
    pub manifest: Manifest,
    /// What the workload has made of it.
    pub copy: Tree,
    /// What it is on the host.
    pub workspace: Tree,
    /// Whether a commit was begun and not finished: what it has left half done is no conflict.
    pub interrupted: bool,
}

/// All that differs from what was copied and from what the workspace is by now, by path.
///
/// # Errors
/// What cannot be read.
pub fn changes(sides: &Sides) -> Result<Vec<Change>, Error> {
    let nodes = sides.copy.nodes()?;
    // The copy was finished when its youngest file was.
    let copied = sides
        .manifest
        .values()
        .map(|entry| nanoseconds(entry.copy.ctime))
        .max();
    let settled = copied.unwrap_or(0) - TICK_NANOSECONDS;
    let mut found = Vec::new();
    for (path, node) in &nodes {
        let before = sides.manifest.get(path);
        if before
            .is_some_and(|before| before.copy == node.identity && nanoseconds(node.identity.ctime) < settled)
        {
            continue;
        }
        found.extend(change(sides, path, before, node)?);
    }
    for (path, before) in &sides.manifest {
        if !nodes.contains_key(path) && !matches!(before.kind, Kind::Refused(_)) {
            let now = sides.workspace.node(path)?;
            if now.is_some() {
                let conflict = conflict(Some(before), now.as_ref()).or(holds_more(sides, path, before)?);
                found.push(Change {
                    path: path.clone(),
                    what: What::Removed(before.kind.clone()),
                    protected: protected::reason(path),
                    conflict,
                    now,
                });
            }
        }
    }
    bare_repositories(&nodes, &mut found);
    found.sort_by(|one, other| one.path.cmp(&other.path));
    inherit(&mut found);
    Ok(found)
}

/// What lies in a protected directory that came, went or became something else goes with it.
fn inherit(found: &mut [Change]) {
    let mut above: Option<(PathBuf, &'static str)> = None;
    for change in found {
        match &above {
            Some((directory, reason)) if change.path.starts_with(directory) => {
                change.protected = change.protected.or(Some(reason));
            }
            _ => above = None,
        }
        let whole = matches!(change.what, What::Added(_) | What::Type(..) | What::Removed(_));
        if above.is_none() && whole {
            above = change.protected.map(|reason| (change.path.clone(), reason));
        }
    }
}

/// Whether a directory that the workload removed has got something new in the workspace.
fn holds_more(sides: &Sides, path: &Path, before: &Entry) -> Result<Option<&'static str>, Error> {
    if before.kind != Kind::Directory {
        return Ok(None);
    }
    let names = sides.workspace.names(path)?;
    let more = names
        .iter()
        .any(|name| !sides.manifest.contains_key(&path.join(name)));
    Ok(more.then_some("it holds what was not copied"))
}

fn nanoseconds((seconds, nanoseconds): (i64, u64)) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
}

fn change(sides: &Sides, path: &Path, before: Option<&Entry>, node: &Node) -> Result<Option<Change>, Error> {
    let now = sides.workspace.node(path)?;
    // What has been taken over already is no change any more.
    if let Some(there) = &now
        && there.kind == node.kind
        && there.mode == node.mode
        && (node.kind != Kind::File || same(sides, path)?)
    {
        return Ok(None);
    }
    let what = match (before, &node.kind) {
        (_, Kind::Refused(why)) => What::Refused(why),
        (None, _) => What::Added(node.clone()),
        (Some(before), _) if std::mem::discriminant(&before.kind) != std::mem::discriminant(&node.kind) => {
            What::Type(before.kind.clone(), node.clone())
        }
        (Some(before), Kind::Link(_)) if before.kind == node.kind => return Ok(None),
        (Some(before), Kind::File) if !is_same_as_before(sides, path, before, now.as_ref())? => {
            What::Changed(node.clone())
        }
        (Some(_), Kind::Link(_)) => What::Changed(node.clone()),
        (Some(before), _) if before.mode != node.mode => What::Mode(before.mode, node.clone()),
        _ => return Ok(None),
    };
    let link_out = match &node.kind {
        Kind::Link(target) => {
            out_of_workspace(sides, path, target).then_some("a link that leads out of the workspace")
        }
        _ => None,
    };
    Ok(Some(Change {
        path: path.to_owned(),
        protected: protected::reason(path).or(link_out),
        conflict: match (&what, &now) {
            (What::Refused(_), _) => None,
            // A directory that is not filled yet, and one that became a file.
            (What::Added(_) | What::Type(..), Some(now))
                if sides.interrupted && now.kind == Kind::Directory && node.kind == Kind::Directory =>
            {
                None
            }
            (What::Type(..), None) if sides.interrupted => None,
            _ => conflict(before, now.as_ref()),
        },
        now,
        what,
    }))
}

/// Whether a file of the copy has the bytes that were copied. If the original is not that any more, nobody can
/// tell: then it counts as changed, and as a conflict.
fn is_same_as_before(sides: &Sides, path: &Path, before: &Entry, now: Option<&Node>) -> Result<bool, Error> {
    if now.is_some_and(|now| now.kind == Kind::File && now.identity == before.original) {
        same(sides, path)
    } else {
        let there = sides.copy.node(path)?;
        Ok(there.is_some_and(|there| there.identity == before.copy))
    }
}

fn same(sides: &Sides, path: &Path) -> Result<bool, Error> {
    let (Ok(one), Ok(other)) = (sides.copy.file(path), sides.workspace.file(path)) else {
        return Ok(false);
    };
    attributes::same(&one, &other)
        .map_err(std::io::Error::from)
        .and_then(|same| Ok(same && copy::same_contents(&one, &other)?))
        .map_err(at("read", &sides.copy.name(path)))
}

fn out_of_workspace(sides: &Sides, path: &Path, target: &Path) -> bool {
    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    if protected::leads_out(path, target) {
        return true;
    }
    // Through links that are there: the kernel says whether the way leaves the tree.
    let beside = path.parent().unwrap_or(Path::new("")).join(target);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = openat2(
        sides.copy.root(),
        &beside,
        flags,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    );
    !matches!(found, Ok(_) | Err(rustix::io::Errno::NOENT))
}

/// What the workspace has become since it was copied.
fn conflict(before: Option<&Entry>, now: Option<&Node>) -> Option<&'static str> {
    match (before, now) {
        (None, None) => None,
        (None, Some(_)) => Some("it is there by now"),
        (Some(before), None) if matches!(before.kind, Kind::Refused(_)) => None,
        (Some(_), None) => Some("it was removed"),
        (Some(before), Some(now)) if before.kind == Kind::Directory && now.kind == Kind::Directory => {
            (before.mode != now.mode).then_some("its permissions were changed")
        }
        (Some(before), Some(now)) => (!is_still(&before.original, now)).then_some("it was changed"),
    }
}

fn is_still(before: &Identity, now: &Node) -> bool {
    *before == now.identity
}

/// Git takes a directory with HEAD, objects and refs for a repository, whatever its name, and its configuration
/// with it.
fn bare_repositories(nodes: &Nodes, found: &mut [Change]) {
    for change in found.iter_mut().filter(|change| change.protected.is_none()) {
        let is_repository = |directory: &Path| {
            directory
                .file_name()
                .is_none_or(|name| !name.eq_ignore_ascii_case(".git"))
                && ["HEAD", "objects", "refs"]
                    .iter()
                    .all(|name| nodes.contains_key(&directory.join(name)))
        };
        let parts = change.path.ancestors().skip(1);
        let dangerous = parts
            .filter(|directory| is_repository(directory))
            .any(|directory| {
                let inside = change.path.strip_prefix(directory).ok();
                let first = inside.and_then(|inside| inside.components().next());
                first.is_some_and(|first| {
                    ["HEAD", "config", "hooks", "commondir"]
                        .iter()
                        .any(|name| first.as_os_str().eq_ignore_ascii_case(name))
                })
            });
        if dangerous {
            change.protected =
                Some("a Git repository without .git: Git takes its configuration and hooks from it");
        }
    }
}
