//! The manifest as text: its lines, its order, and a reader that hashes what it parses.

use super::{Error, Escaped, MANIFEST, Malformed};
use crate::digest::{Digest, NotADigest};
use sha2::{Digest as _, Sha256};
use std::cmp::Ordering;
use std::io::{BufRead, Read};

const VERSION: &[u8] = b"# nucleus-rootfs-manifest 1\n";
/// The longest line: every byte of the longest path escaped.
const MAX_LINE: u64 = 256 * 1024;

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// From the top, which is empty.
    pub(super) path: Vec<u8>,
    pub(super) node: Node,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Directory { mode: u32 },
    File(FileNode),
    Link { target: Vec<u8> },
}

/// A regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileNode {
    pub(super) mode: u32,
    pub(super) size: u64,
    pub(super) digest: Digest,
}

/// Directories before what is in them, names in the order of their bytes: a slash sorts before all else.
pub(super) fn order(a: &[u8], b: &[u8]) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.iter().map(key).cmp(b.iter().map(key))
}

/// The first line.
pub(super) fn begin(text: &mut Vec<u8>) {
    text.extend_from_slice(VERSION);
}

impl Entry {
    /// Appends the entry's lines.
    pub(super) fn render(&self, text: &mut Vec<u8>) {
        let top: &[u8] = b".";
        let path = if self.path.is_empty() { top } else { &self.path };
        match &self.node {
            Node::Directory { mode } => {
                text.extend_from_slice(format!("#dir {mode:04o} ").as_bytes());
                escape(path, text);
            }
            Node::File(FileNode { mode, size, digest }) => {
                let mark = if needs_escape(path) { "\\" } else { "" };
                text.extend_from_slice(format!("#file {mode:04o} {size}\n{mark}{digest}  ./").as_bytes());
                escape(path, text);
            }
            Node::Link { target } => {
                text.extend_from_slice(b"#link ");
                escape(path, text);
                text.extend_from_slice(b"\n#to ");
                escape(target, text);
            }
        }
        text.push(b'\n');
    }
}

fn needs_escape(name: &[u8]) -> bool {
    name.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r'))
}

fn escape(name: &[u8], text: &mut Vec<u8>) {
    for &byte in name {
        match byte {
            b'\\' => text.extend_from_slice(b"\\\\"),
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\r' => text.extend_from_slice(b"\\r"),
            _ => text.push(byte),
        }
    }
}

fn unescape(text: &[u8]) -> Result<Vec<u8>, Malformed> {
    if !needs_escape(text) {
        return Ok(text.to_owned());
    }
    let mut name = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        name.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'\\') => b'\\',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                _ => return Err(Malformed::Form),
            },
            b'\r' => return Err(Malformed::Form),
            _ => byte,
        });
    }
    Ok(name)
}

/// Reads entries one by one.
pub(super) struct Reader<R> {
    source: R,
    line: Vec<u8>,
    number: u64,
    /// Bytes read.
    pub(super) read: u64,
    hash: Sha256,
    last: Option<Vec<u8>>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// Another version, or none.
    pub(super) fn new(source: R) -> Result<Self, Error> {
        let mut reader = Self {
            source,
            line: Vec::new(),
            number: 0,
            read: 0,
            hash: Sha256::new(),
            last: None,
        };
        match reader.next_line() {
            Ok(true) if reader.line == VERSION => Ok(reader),
            Ok(_) | Err(Error::Manifest { .. }) => Err(reader.malformed(Malformed::Version)),
            Err(error) => Err(error),
        }
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// The line that is none.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Error> {
        if !self.next_line()? {
            return Ok(None);
        }
        let entry = self.entry()?;
        let ascends = self
            .last
            .as_ref()
            .is_none_or(|last| order(last, &entry.path).is_lt());
        if !ascends {
            return Err(self.malformed(Malformed::Order(Escaped(&entry.path).to_string())));
        }
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(&entry.path);
        Ok(Some(entry))
    }

    /// The digest of all that was read.
    pub(super) fn digest(self) -> Digest {
        Digest::from(<[u8; 32]>::from(self.hash.finalize()))
    }

    fn entry(&mut self) -> Result<Entry, Error> {
        let line = self.content();
        if let Some(rest) = line.strip_prefix(b"#dir ") {
            let parsed = directory(rest);
            parsed.map_err(|problem| self.malformed(problem))
        } else if let Some(rest) = line.strip_prefix(b"#file ") {
            let (mode, size) = mode_and_size(rest).ok_or_else(|| self.malformed(Malformed::Form))?;
            self.second_line()?;
            let (digest, path) = checksum(self.content()).map_err(|problem| self.malformed(problem))?;
            let node = Node::File(FileNode { mode, size, digest });
            Ok(Entry { path, node })
        } else if let Some(rest) = line.strip_prefix(b"#link ") {
            let path = below(rest).map_err(|problem| self.malformed(problem))?;
            self.second_line()?;
            let target = self.content().strip_prefix(b"#to ").ok_or(Malformed::Form);
            let target = target.and_then(unescape);
            let target = target.map_err(|problem| self.malformed(problem))?;
            let node = Node::Link { target };
            Ok(Entry { path, node })
        } else {
            Err(self.malformed(Malformed::Form))
        }
    }

    fn second_line(&mut self) -> Result<(), Error> {
        if self.next_line()? {
            Ok(())
        } else {
            Err(self.malformed(Malformed::Truncated))
        }
    }

    /// The line without its end.
    fn content(&self) -> &[u8] {
        self.line.strip_suffix(b"\n").unwrap_or(&self.line)
    }

    fn next_line(&mut self) -> Result<bool, Error> {
        self.line.clear();
        self.number += 1;
        let mut limited = self.source.by_ref().take(MAX_LINE);
        let read = limited.read_until(b'\n', &mut self.line);
        let read = read.map_err(|source| Error::Call {
            call: "read",
            path: MANIFEST.into(),
            source,
        })?;
        self.read += read as u64;
        self.hash.update(&self.line);
        match self.line.last() {
            None => Ok(false),
            Some(b'\n') => Ok(true),
            Some(_) if read as u64 == MAX_LINE => Err(self.malformed(Malformed::Long)),
            Some(_) => Err(self.malformed(Malformed::Truncated)),
        }
    }

    fn malformed(&self, problem: Malformed) -> Error {
        Error::Manifest {
            line: self.number,
            problem,
        }
    }
}

fn directory(rest: &[u8]) -> Result<Entry, Malformed> {
    let (mode, name) = split(rest).ok_or(Malformed::Form)?;
    let mode = octal(mode).ok_or(Malformed::Form)?;
    let path = if name == b"." { Vec::new() } else { below(name)? };
    Ok(Entry {
        path,
        node: Node::Directory { mode },
    })
}

fn mode_and_size(rest: &[u8]) -> Option<(u32, u64)> {
    let (mode, size) = split(rest)?;
    let canonical = size == b"0" || (size.iter().all(u8::is_ascii_digit) && size.first() != Some(&b'0'));
    let size = std::str::from_utf8(size).ok()?.parse().ok()?;
    Some((octal(mode)?, size)).filter(|_| canonical)
}

fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = text.iter().position(|byte| *byte == b' ')?;
    Some((&text[..space], &text[space + 1..]))
}

/// Four octal digits.
fn octal(text: &[u8]) -> Option<u32> {
    let four = text.len() == 4 && text.iter().all(|byte| (b'0'..=b'7').contains(byte));
    four.then(|| {
        text.iter()
            .fold(0, |mode, byte| mode * 8 + u32::from(byte - b'0'))
    })
}

/// `DIGEST  ./NAME`, or `\DIGEST  ./NAME` with escapes in the name.
fn checksum(line: &[u8]) -> Result<(Digest, Vec<u8>), Malformed> {
    let (escaped, line) = match line.strip_prefix(b"\\") {
        Some(line) => (true, line),
        None => (false, line),
    };
    let (digest, name) = line.split_at_checked(64).ok_or(Malformed::Form)?;
    let digest = String::from_utf8_lossy(digest);
    if digest.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(NotADigest(digest.into_owned()).into());
    }
    let name = name.strip_prefix(b"  ./").ok_or(Malformed::Form)?;
    if escaped != needs_escape(name) {
        return Err(Malformed::Form);
    }
    Ok((digest.parse()?, below(name)?))
}

/// A path of one or more names, none of which leads up or nowhere.
fn below(text: &[u8]) -> Result<Vec<u8>, Malformed> {
    let path = unescape(text)?;
    let bad = |name: &[u8]| name.is_empty() || name == b"." || name == b".." || name.contains(&0);
    if path.split(|byte| *byte == b'/').any(bad) || path == MANIFEST.as_bytes() {
        return Err(Malformed::Path(Escaped(&path).to_string()));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Result<Vec<Entry>, Error> {
        let mut reader = Reader::new(text)?;
        let mut entries = Vec::new();
        while let Some(entry) = reader.next()? {
            entries.push(entry);
        }
        Ok(entries)
    }

    fn text(entries: &[Entry]) -> Vec<u8> {
        let mut text = Vec::new();
        begin(&mut text);
        for entry in entries {
            entry.render(&mut text);
        }
        text
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        let byte = prop_oneof![Just(b'\n'), Just(b'\\'), Just(b'\r'), Just(b' '), 1..=255_u8];
        let name = prop::collection::vec(byte, 1..6)
            .prop_map(|name| name.into_iter().filter(|byte| *byte != b'/').collect::<Vec<u8>>())
            .prop_filter("a name", |name| {
                !name.is_empty() && name.as_slice() != b"." && name.as_slice() != b".."
            });
        let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join(&b'/'));
        let node = prop_oneof![
            (0..0o10000_u32).prop_map(|mode| Node::Directory { mode }),
            (0..0o10000_u32, any::<u64>(), any::<[u8; 32]>()).prop_map(|(mode, size, digest)| {
                Node::File(FileNode {
                    mode,
                    size,
                    digest: digest.into(),
                })
            }),
            prop::collection::vec(1..=255_u8, 0..9).prop_map(|target| Node::Link { target }),
        ];
        (path, node).prop_map(|(path, node)| Entry { path, node })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(mut entries in prop::collection::vec(any_entry(), 0..9)) {
            entries.sort_by(|a, b| order(&a.path, &b.path));
            entries.dedup_by(|a, b| a.path == b.path);
            prop_assert_eq!(read(&text(&entries)).expect("valid"), entries);
        }

        #[test]
        fn there_is_one_text_for_one_tree(entries in prop::collection::vec(any_entry(), 0..4), at: prop::sample::Index, byte: u8) {
            let mut bytes = text(&entries);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(read) = read(&bytes) {
                prop_assert_eq!(text(&read), bytes);
            }
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
            let _ = read(&[VERSION, &bytes].concat());
        }
    }

    #[test]
    fn a_directory_comes_before_what_is_in_it_and_after_that_its_neighbours() {
        let mut paths = ["a.b", "a", "a/z", "a/b/c", "a/b", "", "ab"].map(str::as_bytes);
        paths.sort_by(|a, b| order(a, b));
        assert_eq!(
            paths,
            ["", "a", "a/b", "a/b/c", "a/z", "a.b", "ab"].map(str::as_bytes)
        );
    }

    #[test]
    fn other_forms_are_refused_with_their_line() {
        let digest = Digest::of(b"");
        let file = |name: &str| format!("#file 0444 0\n{digest}  {name}\n");
        let table: [(String, u64); 16] = [
            ("x\n".into(), 2),
            ("#dir 0555 ..\n".into(), 2),
            ("#dir 0555 a/../b\n".into(), 2),
            ("#dir 0555 /a\n".into(), 2),
            ("#dir 555 a\n".into(), 2),
            ("#dir 0555 b\n#dir 0555 a\n".into(), 3),
            ("#dir 0555 a\n#dir 0555 a\n".into(), 3),
            ("#dir 0555 a".into(), 2),
            ("#file 0444 0\n".into(), 3),
            ("#file 0444 00\n".into(), 2),
            ("#file 0444 +1\n".into(), 2),
            (file("a"), 3),
            (file("./a\\n"), 3),
            (file("./.nucleus-rootfs-sha256"), 3),
            ("#link a\n#dir 0555 b\n".into(), 3),
            (file("./a").to_uppercase().replace("#FILE", "#file"), 3),
        ];
        for (rest, line) in table {
            let error = read(&[VERSION, rest.as_bytes()].concat()).expect_err(&rest);
            assert!(
                matches!(error, Error::Manifest { line: found, .. } if found == line),
                "{rest:?}: {error}"
            );
        }
        assert!(read(b"").is_err());
        assert!(read(b"# nucleus-rootfs-manifest 2\n").is_err());
    }
}
