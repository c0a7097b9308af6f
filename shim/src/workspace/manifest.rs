//! What was copied: a line for each path, so that later changes are told from those of the workload.

use super::tree::{Identity, Kind};
use super::{Error, at};
use crate::escape::{escape, unescape};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// One path as it was when it was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it was. What was not copied is [`Kind::Refused`].
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// The original.
    pub original: Identity,
    /// The copy.
    pub copy: Identity,
}

/// All of them.
pub type Manifest = BTreeMap<PathBuf, Entry>;

#[derive(Serialize, Deserialize)]
struct Line {
    path: String,
    kind: Word,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    mode: u32,
    original: Identity,
    copy: Identity,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Directory,
    File,
    Link,
    NotCopied,
}

/// Writes it so that it is there whole or not at all.
///
/// # Errors
/// The failed call.
pub fn write(path: &Path, manifest: &Manifest) -> Result<(), Error> {
    let unfinished = path.with_extension("unfinished");
    let file = std::fs::File::create(&unfinished).map_err(at("create", &unfinished))?;
    let mut out = BufWriter::new(file);
    for (name, entry) in manifest {
        let (kind, target) = match &entry.kind {
            Kind::Directory => (Word::Directory, None),
            Kind::File => (Word::File, None),
            Kind::Link(target) => (Word::Link, Some(escape(target))),
            Kind::Refused(_) => (Word::NotCopied, None),
        };
        let line = Line {
            path: escape(name),
            kind,
            target,
            mode: entry.mode,
            original: entry.original,
            copy: entry.copy,
        };
        serde_json::to_writer(&mut out, &line)
            .map_err(std::io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
            .map_err(at("write", &unfinished))?;
    }
    out.flush().map_err(at("write", &unfinished))?;
    std::fs::rename(&unfinished, path).map_err(at("rename", path))
}

/// Reads it.
///
/// # Errors
/// The failed call, or a line that is none.
pub fn read(path: &Path) -> Result<Manifest, Error> {
    let file = std::fs::File::open(path).map_err(at("open", path))?;
    let mut manifest = Manifest::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(at("read", path))?;
        let (name, entry) = parse(&line).ok_or_else(|| Error::Record(path.to_owned()))?;
        manifest.insert(name, entry);
    }
    Ok(manifest)
}

fn parse(line: &str) -> Option<(PathBuf, Entry)> {
    let line: Line = serde_json::from_str(line).ok()?;
    let kind = match line.kind {
        Word::Directory => Kind::Directory,
        Word::File => Kind::File,
        Word::Link => Kind::Link(unescape(&line.target?)?),
        Word::NotCopied => Kind::Refused("not copied"),
    };
    let entry = Entry {
        kind,
        mode: line.mode,
        original: line.original,
        copy: line.copy,
    };
    Some((unescape(&line.path)?, entry))
}
