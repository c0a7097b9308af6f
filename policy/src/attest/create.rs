//! The manifest of a tree.

use super::manifest::{self, Entry, FileNode, Node};
use super::pool::{self, Job, Next, Source};
use super::tree::{self, Directory, Found, RegularFile, Walk};
use super::{Difference, Error, FileKind, MANIFEST, Mismatch, Options, Summary};
use crate::digest::Digest;
use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;

/// A file to be hashed.
struct Unlisted {
    directory: Arc<Directory>,
    path: Vec<u8>,
    /// Its mode and size, when it was opened.
    opened: Result<(u32, u64), Difference>,
}

impl Job for Unlisted {
    type Result = Outcome;

    fn open(&mut self) -> Option<RegularFile> {
        let file = RegularFile::open(&self.directory, tree::last(&self.path));
        self.opened = file
            .as_ref()
            .map(|file| (file.mode, file.size))
            .map_err(Clone::clone);
        file.ok()
    }

    fn finish(self, digest: Option<Result<Digest, Difference>>) -> Vec<Outcome> {
        let Self {
            directory,
            path,
            opened,
        } = self;
        let file = opened.and_then(|(mode, size)| {
            let digest = digest.unwrap_or(Err(Difference::Unsteady))?;
            Ok(FileNode { mode, size, digest })
        });
        let outcome = match file {
            Ok(file) => Ok(Entry {
                path,
                node: Node::File(file),
            }),
            Err(difference) => Err(Mismatch { path, difference }),
        };
        let unsteady = Directory::release(directory).map(Err);
        std::iter::once(outcome).chain(unsteady).collect()
    }
}

type Outcome = Result<Entry, Mismatch>;

/// Writes the manifest of the tree below `root` at its top, with mode 0444.
///
/// # Errors
/// There is one already; something in the tree cannot be attested: a pipe, socket or device, a link that climbs
/// above the top, a mount point, what changes meanwhile or cannot be read. Then none is left.
pub fn create(root: BorrowedFd<'_>, options: &Options<'_>) -> Result<Summary, Error> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(root, MANIFEST, flags, Mode::from_raw_mode(0o444));
    let file = match opened {
        Err(Errno::EXIST) => return Err(Error::Exists),
        opened => File::from(opened.map_err(Error::call("create", MANIFEST.as_bytes()))?),
    };
    let written = rustix::fs::fchmod(&file, Mode::from_raw_mode(0o444))
        .map_err(Error::call("chmod", MANIFEST.as_bytes()))
        .and_then(|()| write(root, options, file));
    if written.is_err() {
        let _ = rustix::fs::unlinkat(root, MANIFEST, AtFlags::empty());
    }
    written
}

fn write(root: BorrowedFd<'_>, options: &Options<'_>, file: File) -> Result<Summary, Error> {
    let mut text = Text {
        file: BufWriter::with_capacity(64 << 10, file),
        hash: Sha256::new(),
        line: Vec::new(),
        summary: Summary::none(),
        store_modes: options.store_modes,
    };
    manifest::begin(&mut text.line);
    text.write_line()?;
    let listing = Listing {
        walk: Walk::new(root)?,
        begun: false,
    };
    let mut take = |outcome: Outcome| text.add(outcome.map_err(Error::Unfit)?);
    pool::ordered(options.threads, options.progress, listing, &mut take)?;
    text.finish()
}

/// The tree, entry by entry.
struct Listing {
    walk: Walk,
    /// Whether the top has been listed, which comes before all else.
    begun: bool,
}

impl Source for Listing {
    type Job = Unlisted;
    type Error = Error;

    fn advance(&mut self, next: &mut Next<Unlisted>) -> Result<bool, Error> {
        if !self.begun {
            self.begun = true;
            let node = Node::Directory {
                mode: self.walk.mode(),
            };
            next.result(Ok(Entry {
                path: Vec::new(),
                node,
            }));
        }
        let mut unsteady = Vec::new();
        let found = self.walk.next(&mut unsteady);
        unsteady
            .into_iter()
            .for_each(|mismatch| next.result(Err(mismatch)));
        let Some(found) = found else { return Ok(false) };
        if let Some(directory) = list(found, next) {
            self.walk.enter(directory)?;
        }
        Ok(true)
    }
}

/// Lists an entry, or has its file hashed first; returns a directory that is to be entered.
fn list(found: Found, next: &mut Next<Unlisted>) -> Option<Directory> {
    let mut entered = None;
    let node = match found.kind {
        FileKind::File => {
            let Found { path, directory, .. } = found;
            // Nobody has looked yet.
            let opened = Err(Difference::Missing);
            next.job(Unlisted {
                directory,
                path,
                opened,
            });
            return None;
        }
        FileKind::Directory => found.open().map(|directory| {
            let mode = directory.mode;
            entered = Some(directory);
            Node::Directory { mode }
        }),
        FileKind::Link => match found.directory.read_link(found.name()) {
            Ok(target) if tree::escapes(&found.path, &target) => Err(Difference::Escapes(target)),
            Ok(target) => Ok(Node::Link { target }),
            Err(difference) => Err(difference),
        },
        actual => Err(Difference::WrongType {
            expected: FileKind::File,
            actual,
        }),
    };
    let path = found.release();
    next.result(match node {
        Ok(node) => Ok(Entry { path, node }),
        Err(difference) => Err(Mismatch { path, difference }),
    });
    entered
}

/// The manifest as it is written.
struct Text {
    file: BufWriter<File>,
    hash: Sha256,
    line: Vec<u8>,
    summary: Summary,
    store_modes: bool,
}

impl Text {
    fn add(&mut self, mut entry: Entry) -> Result<(), Error> {
        match &mut entry.node {
            Node::Directory { mode } => {
                self.summary.directories += 1;
                if self.store_modes {
                    *mode = 0o555;
                }
            }
            Node::Link { .. } => self.summary.links += 1,
            Node::File(file) => {
                self.summary.files += 1;
                self.summary.bytes += file.size;
                if self.store_modes {
                    file.mode = if file.mode & 0o100 == 0 { 0o444 } else { 0o555 };
                }
            }
        }
        entry.render(&mut self.line);
        self.write_line()
    }

    fn write_line(&mut self) -> Result<(), Error> {
        self.hash.update(&self.line);
        let written = self.file.write_all(&self.line);
        self.line.clear();
        written.map_err(failed)
    }

    fn finish(mut self) -> Result<Summary, Error> {
        self.file.flush().map_err(failed)?;
        self.summary.manifest = Digest::from(<[u8; 32]>::from(self.hash.finalize()));
        Ok(self.summary)
    }
}

fn failed(source: std::io::Error) -> Error {
    Error::Call {
        call: "write",
        path: MANIFEST.into(),
        source,
    }
}
