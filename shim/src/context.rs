//! Copies of a context: `--verify-context`, where what is checked is what the workload gets, because it is checked in a
//! copy of ours, and those for other runtimes, which make none.

use crate::escape::escape;
use crate::launch::{CONTEXT, Launch, keep_owners_where_that_fails};
use crate::workspace::tree::{Kind, Tree};
use crate::workspace::{Error, at, copy};
use nucleus_policy::Digest;
use sha2::Digest as _;
use std::fmt::Write;
use std::io::Read;
use std::path::Path;

/// The first line of what is digested: the form of the others.
const FORM: &str = "nucleus context 1\n";

/// The digest of a tree: names, kinds, permissions, contents and targets of links; not owners and times.
///
/// # Errors
/// What cannot be read, or is no file, directory or link.
pub fn digest(tree: &Tree) -> Result<Digest, Error> {
    let mut text = FORM.to_owned();
    for (path, node) in tree.nodes()? {
        let (name, mode) = (escape(&path), node.mode);
        let line = match &node.kind {
            Kind::Directory => format!("directory {mode:04o} {name}"),
            Kind::Link(target) => format!("link {name}\nto {}", escape(target)),
            Kind::File => format!("file {mode:04o} {} {name}", of_file(tree, &path)?),
            Kind::Refused(what) => {
                let error = std::io::Error::other(format!("a {what} has no digest"));
                return Err(at("digest", &tree.name(&path))(error));
            }
        };
        let _ = writeln!(text, "{line}");
    }
    Ok(Digest::of(text.as_bytes()))
}

fn of_file(tree: &Tree, path: &Path) -> Result<Digest, Error> {
    let mut file = tree.file(path).map_err(at("open", &tree.name(path)))?;
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer).map_err(at("read", &tree.name(path)))? {
            0 => return Ok(Digest::from(<[u8; 32]>::from(hash.finalize()))),
            length => hash.update(&buffer[..length]),
        }
    }
}

/// Why a context is not used.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It cannot be read or copied.
    #[error(transparent)]
    Tree(#[from] Error),
    /// It is another one.
    #[error("verify-context: the SHA-256 of {path} is {found}, not {pin}")]
    Other {
        /// The context.
        path: String,
        /// Its digest.
        found: Digest,
        /// What it should be.
        pin: Digest,
    },
}

/// Copies a context that is to be verified, or that the runtime makes no copy of, verifies the copy, and lets the launch
/// have it: as the workload's own where it is changed in there.
///
/// # Errors
/// It is another one, or cannot be copied.
pub fn copy(launch: &mut Launch, place: &Path) -> Result<(), Refused> {
    let mut all = launch.binds.iter().chain(&launch.context_copy);
    let Some(context) = all.find(|bind| bind.destination == CONTEXT) else {
        return Ok(());
    };
    let context = context.source.clone();
    let from = Tree::open(&context)?;
    copy::make_directory(place)?;
    let to = Tree::open(place)?;
    copy::copy(&from, &to)?;
    if let Some(pin) = launch.context_pin {
        let found = digest(&to)?;
        if found != pin {
            return Err(Refused::Other {
                path: escape(&context),
                found,
                pin,
            });
        }
    }
    launch.put_at(CONTEXT, place);
    if launch.context_apart {
        copy::own_all(&to, launch.ids.outside())?;
        for bind in launch.binds.iter_mut().filter(|bind| bind.destination == CONTEXT) {
            bind.writable = true;
        }
    } else {
        let stat = rustix::fs::fstat(from.root()).map_err(at("stat", &context))?;
        copy::own(to.root(), (stat.st_uid, stat.st_gid))
            .and_then(|()| {
                rustix::fs::fchmod(to.root(), rustix::fs::Mode::from_raw_mode(stat.st_mode & 0o777))
            })
            .map_err(at("chmod", place))?;
    }
    keep_owners_where_that_fails(launch);
    Ok(())
}
