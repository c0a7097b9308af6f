//! The comparison of a tree with its manifest: two streams in one order, merged.

use super::manifest::{Entry, FileNode, Node, Reader, order};
use super::pool::{self, Job, Next, Source};
use super::tree::{self, Directory, Found, RegularFile, Walk};
use super::{Difference, Error, FileKind, MANIFEST, Malformed, Mismatch, Options, Progress, Summary};
use crate::digest::Digest;
use rustix::fd::BorrowedFd;
use std::cmp::Ordering;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// A file to be hashed and compared.
struct Listed {
    directory: Arc<Directory>,
    path: Vec<u8>,
    expected: FileNode,
    differences: Vec<Difference>,
}

impl Job for Listed {
    type Result = Mismatch;

    fn open(&mut self) -> Option<RegularFile> {
        let file = match RegularFile::open(&self.directory, tree::last(&self.path)) {
            Ok(file) => file,
            Err(difference) => {
                self.differences.push(difference);
                return None;
            }
        };
        if file.mode != self.expected.mode {
            self.differences.push(Difference::WrongMode {
                expected: self.expected.mode,
                actual: file.mode,
            });
        }
        if file.size != self.expected.size {
            self.differences.push(Difference::Changed);
            return None;
        }
        Some(file)
    }

    fn finish(mut self, digest: Option<Result<Digest, Difference>>) -> Vec<Mismatch> {
        match digest {
            // `open` has told why.
            None => {}
            Some(Ok(digest)) if digest == self.expected.digest => {}
            Some(Ok(_)) => self.differences.push(Difference::Changed),
            Some(Err(difference)) => self.differences.push(difference),
        }
        let path = &self.path;
        let differences = self.differences.into_iter();
        let mut mismatches: Vec<_> = differences
            .map(|difference| Mismatch {
                path: path.clone(),
                difference,
            })
            .collect();
        mismatches.extend(Directory::release(self.directory));
        mismatches
    }
}

/// Compares the tree below `root` with the manifest at its top, and reports every mismatch, in the tree's order.
/// The tree is reached through the descriptor alone; no link is followed and no other mount entered.
///
/// The manifest is read once: the bytes that are compared with the pin are the bytes that were parsed. As files are
/// compared one after the other, what was changed after it was looked at is not seen, unless the change left its
/// mark (times of files and directories) while they were in work. Only a tree that nobody can write is still what
/// it was.
///
/// # Errors
/// There is no manifest, it is malformed or not the pinned one, or the tree goes past a limit. That mismatches were
/// reported is no error: [`Summary::mismatches`] counts them.
pub fn verify(
    root: BorrowedFd<'_>,
    options: &Options<'_>,
    report: &mut (dyn FnMut(Mismatch) + Send),
) -> Result<Summary, Error> {
    let walk = Walk::new(root)?;
    let manifest = open_manifest(&walk)?;
    let progress = options.progress;
    if let Some(progress) = progress {
        progress.manifest_size.store(manifest.size, Relaxed);
    }
    let reader = Reader::new(BufReader::with_capacity(64 << 10, File::from(manifest.into_fd())))?;
    let mut mismatches = 0;
    let mut take = |mismatch| {
        mismatches += 1;
        report(mismatch);
        Ok(())
    };
    let merge = Merge {
        walk,
        reader,
        begun: false,
        listed: None,
        found: None,
        progress,
        summary: Summary::none(),
    };
    let mut summary = pool::ordered(options.threads, progress, merge, &mut take)?.summary();
    summary.mismatches = mismatches;
    match options.pin {
        Some(expected) if expected != summary.manifest => Err(Error::Pin {
            expected,
            actual: summary.manifest,
        }),
        _ => Ok(summary),
    }
}

fn open_manifest(walk: &Walk) -> Result<RegularFile, Error> {
    walk.open_manifest().map_err(|difference| match difference {
        Difference::Missing => Error::NoManifest,
        Difference::Unreadable(errno) => Error::call("open", MANIFEST.as_bytes())(errno),
        _ => Error::NotRegular,
    })
}

/// The manifest and the tree, side by side.
struct Merge<'p, R> {
    walk: Walk,
    reader: Reader<R>,
    /// Whether the tops have been compared, which come before all else.
    begun: bool,
    /// What comes next in the manifest.
    listed: Option<Entry>,
    /// What comes next in the tree.
    found: Option<Found>,
    summary: Summary,
    progress: Option<&'p Progress>,
}

impl<R: BufRead + Send> Source for Merge<'_, R> {
    type Job = Listed;
    type Error = Error;

    fn advance(&mut self, next: &mut Next<Listed>) -> Result<bool, Error> {
        if !self.begun {
            self.begun = true;
            self.top(next)?;
            self.listed = self.next_listed()?;
            self.found = self.next_found(next);
        }
        let side = match (&self.listed, &self.found) {
            (None, None) => return Ok(false),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(listed), Some(found)) => order(&listed.path, &found.path),
        };
        let listed = self.listed.take_if(|_| side.is_le());
        let found = self.found.take_if(|_| side.is_ge());
        match (listed, found) {
            (Some(entry), Some(found)) => self.both(entry, found, next)?,
            (Some(entry), None) => differs(entry.path, Difference::Missing, next),
            (None, Some(found)) => extra(found, next),
            (None, None) => {}
        }
        if side.is_le() {
            self.listed = self.next_listed()?;
        }
        if side.is_ge() {
            self.found = self.next_found(next);
        }
        Ok(true)
    }
}

impl<R: BufRead> Merge<'_, R> {
    /// The manifest begins with the top.
    fn top(&mut self, next: &mut Next<Listed>) -> Result<(), Error> {
        match self.next_listed()? {
            Some(Entry {
                path,
                node: Node::Directory { mode },
            }) if path.is_empty() => {
                same_mode(b".", mode, self.walk.mode(), next);
                Ok(())
            }
            _ => Err(Error::Manifest {
                line: 2,
                problem: Malformed::Form,
            }),
        }
    }

    fn next_listed(&mut self) -> Result<Option<Entry>, Error> {
        let entry = self.reader.next()?;
        if let Some(progress) = self.progress {
            progress.manifest_read.store(self.reader.read, Relaxed);
        }
        match entry.as_ref().map(|entry| &entry.node) {
            Some(Node::Directory { .. }) => self.summary.directories += 1,
            Some(Node::Link { .. }) => self.summary.links += 1,
            Some(Node::File(file)) => {
                self.summary.files += 1;
                self.summary.bytes = self.summary.bytes.saturating_add(file.size);
            }
            None => {}
        }
        Ok(entry)
    }

    fn next_found(&mut self, next: &mut Next<Listed>) -> Option<Found> {
        let mut unsteady = Vec::new();
        let found = self.walk.next(&mut unsteady);
        unsteady.into_iter().for_each(|mismatch| next.result(mismatch));
        found
    }

    fn both(&mut self, entry: Entry, found: Found, next: &mut Next<Listed>) -> Result<(), Error> {
        match (entry.node, found.kind) {
            (Node::Directory { mode }, FileKind::Directory) => self.directory(mode, found, next)?,
            (Node::File(expected), FileKind::File) => next.job(Listed {
                directory: found.directory,
                path: found.path,
                expected,
                differences: Vec::new(),
            }),
            (Node::Link { target }, FileKind::Link) => link(target, found, next),
            (node, actual) => {
                let expected = match node {
                    Node::Directory { .. } => FileKind::Directory,
                    Node::File(_) => FileKind::File,
                    Node::Link { .. } => FileKind::Link,
                };
                let path = found.release();
                differs(path, Difference::WrongType { expected, actual }, next);
            }
        }
        Ok(())
    }

    fn directory(&mut self, mode: u32, found: Found, next: &mut Next<Listed>) -> Result<(), Error> {
        let opened = found.open();
        let path = found.release();
        match opened {
            Ok(directory) => {
                same_mode(&path, mode, directory.mode, next);
                self.walk.enter(directory)
            }
            Err(difference) => {
                differs(path, difference, next);
                Ok(())
            }
        }
    }

    fn summary(self) -> Summary {
        Summary {
            manifest: self.reader.digest(),
            ..self.summary
        }
    }
}

fn differs(path: Vec<u8>, difference: Difference, next: &mut Next<Listed>) {
    next.result(Mismatch { path, difference });
}

fn same_mode(path: &[u8], expected: u32, actual: u32, next: &mut Next<Listed>) {
    if expected != actual {
        differs(path.to_owned(), Difference::WrongMode { expected, actual }, next);
    }
}

fn extra(found: Found, next: &mut Next<Listed>) {
    let kind = found.kind;
    if kind == FileKind::Link {
        escaping(&found, next);
    }
    differs(found.release(), Difference::Extra(kind), next);
}

fn link(expected: Vec<u8>, found: Found, next: &mut Next<Listed>) {
    let actual = escaping(&found, next);
    let path = found.release();
    if let Some(actual) = actual.filter(|actual| *actual != expected) {
        differs(path, Difference::WrongTarget { expected, actual }, next);
    }
}

/// A link's target, if it can be read; one that climbs above the top is told of.
fn escaping(found: &Found, next: &mut Next<Listed>) -> Option<Vec<u8>> {
    match found.directory.read_link(found.name()) {
        Ok(target) => {
            if tree::escapes(&found.path, &target) {
                differs(found.path.clone(), Difference::Escapes(target.clone()), next);
            }
            Some(target)
        }
        Err(difference) => {
            differs(found.path.clone(), difference, next);
            None
        }
    }
}
