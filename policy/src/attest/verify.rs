//! The comparison of a tree with its manifest: two streams in one order, merged.

use super::manifest::{Entry, FileNode, Node, Reader, order};
use super::pool::{self, Feed, Job};
use super::tree::{self, Directory, Found, RegularFile, Walk};
use super::{Difference, Error, FileKind, MANIFEST, Malformed, Mismatch, Options, Progress, Summary};
use crate::digest::Digest;
use rustix::fd::BorrowedFd;
use std::cmp::Ordering;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// How many directories the files of one batch may come from: each keeps its descriptor open.
pub(super) const DIRECTORIES: u32 = 8;

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
    report: &mut dyn FnMut(Mismatch),
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
    let mut summary = pool::ordered(options.threads, progress, &mut take, |feed| {
        Merge {
            walk,
            reader,
            feed,
            progress,
            directories: 0,
            summary: Summary::none(),
        }
        .run()
    })?;
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

struct Merge<'f, 't, R> {
    walk: Walk,
    reader: Reader<R>,
    feed: &'f mut Feed<'t, Listed, Error>,
    progress: Option<&'f Progress>,
    /// Entered since jobs were last handed over.
    directories: u32,
    summary: Summary,
}

impl<R: BufRead> Merge<'_, '_, R> {
    fn run(mut self) -> Result<Summary, Error> {
        self.top()?;
        let mut listed = self.next_listed()?;
        let mut found = self.next_found()?;
        loop {
            let side = match (&listed, &found) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(listed), Some(found)) => order(&listed.path, &found.path),
            };
            match side {
                Ordering::Less => {
                    if let Some(entry) = listed.take() {
                        self.differs(entry.path, Difference::Missing)?;
                    }
                }
                Ordering::Greater => {
                    if let Some(extra) = found.take() {
                        self.extra(extra)?;
                    }
                }
                Ordering::Equal => {
                    if let (Some(entry), Some(found)) = (listed.take(), found.take()) {
                        self.both(entry, found)?;
                    }
                }
            }
            if side.is_le() {
                listed = self.next_listed()?;
            }
            if side.is_ge() {
                found = self.next_found()?;
            }
        }
        self.summary.manifest = self.reader.digest();
        Ok(self.summary)
    }

    /// The manifest begins with the top.
    fn top(&mut self) -> Result<(), Error> {
        match self.next_listed()? {
            Some(Entry {
                path,
                node: Node::Directory { mode },
            }) if path.is_empty() => self.mode(b".".to_vec(), mode, self.walk.mode()),
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

    fn next_found(&mut self) -> Result<Option<Found>, Error> {
        let mut unsteady = Vec::new();
        let found = self.walk.next(&mut unsteady);
        unsteady
            .into_iter()
            .try_for_each(|mismatch| self.feed.result(mismatch))?;
        Ok(found)
    }

    fn differs(&mut self, path: Vec<u8>, difference: Difference) -> Result<(), Error> {
        self.feed.result(Mismatch { path, difference })
    }

    fn mode(&mut self, path: Vec<u8>, expected: u32, actual: u32) -> Result<(), Error> {
        if expected == actual {
            return Ok(());
        }
        self.differs(path, Difference::WrongMode { expected, actual })
    }

    fn extra(&mut self, found: Found) -> Result<(), Error> {
        let kind = found.kind;
        if kind == FileKind::Link {
            self.escaping(&found)?;
        }
        let path = found.release();
        self.differs(path, Difference::Extra(kind))
    }

    fn both(&mut self, entry: Entry, found: Found) -> Result<(), Error> {
        match (entry.node, found.kind) {
            (Node::Directory { mode }, FileKind::Directory) => self.directory(mode, found),
            (Node::File(expected), FileKind::File) => {
                let job = Listed {
                    directory: found.directory,
                    path: found.path,
                    expected,
                    differences: Vec::new(),
                };
                self.feed.job(job, expected.size)
            }
            (Node::Link { target }, FileKind::Link) => self.link(target, found),
            (node, actual) => {
                let expected = match node {
                    Node::Directory { .. } => FileKind::Directory,
                    Node::File(_) => FileKind::File,
                    Node::Link { .. } => FileKind::Link,
                };
                let path = found.release();
                self.differs(path, Difference::WrongType { expected, actual })
            }
        }
    }

    fn directory(&mut self, mode: u32, found: Found) -> Result<(), Error> {
        let opened = found.open();
        let path = found.release();
        let directory = match opened {
            Ok(directory) => directory,
            Err(difference) => return self.differs(path, difference),
        };
        self.mode(path, mode, directory.mode)?;
        self.directories += 1;
        if self.directories == DIRECTORIES {
            self.directories = 0;
            self.feed.flush()?;
        }
        self.walk.enter(directory)
    }

    fn link(&mut self, expected: Vec<u8>, found: Found) -> Result<(), Error> {
        let actual = self.escaping(&found)?;
        let path = found.release();
        match actual {
            Some(actual) if actual != expected => {
                self.differs(path, Difference::WrongTarget { expected, actual })
            }
            _ => Ok(()),
        }
    }

    /// A link's target, if it can be read; one that climbs above the top is told of.
    fn escaping(&mut self, found: &Found) -> Result<Option<Vec<u8>>, Error> {
        match found.directory.read_link(found.name()) {
            Ok(target) => {
                if tree::escapes(&found.path, &target) {
                    self.differs(found.path.clone(), Difference::Escapes(target.clone()))?;
                }
                Ok(Some(target))
            }
            Err(difference) => {
                self.differs(found.path.clone(), difference)?;
                Ok(None)
            }
        }
    }
}
