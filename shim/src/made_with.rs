//! Which runtime a sandbox was made with, for the commands that come later. It is kept beside the sandbox unless it is the
//! usual one.

use crate::facts::{Error, Program, Runtime, kind_of};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The file that keeps it.
const RECORD: &str = "runtime.json";

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    program: Program,
    version: Version,
}

/// What changes when a file is replaced or written: device, inode, and ctime, which no program sets.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Version(u64, u64, i64, i64);

impl Version {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        Ok(Self(found.dev(), found.ino(), found.ctime(), found.ctime_nsec()))
    }
}

/// Keeps it in a sandbox's directory.
///
/// # Errors
/// It cannot be written.
pub fn keep(program: &Program, directory: &Path) -> io::Result<()> {
    if program.usual {
        return Ok(());
    }
    let record = Record {
        version: Version::of(&program.path)?,
        program: program.clone(),
    };
    fs::write(directory.join(RECORD), serde_json::to_vec(&record)?)
}

/// The runtime of the sandbox in this directory.
///
/// # Errors
/// It is not there any more, or something that is not this kind of runtime is in its place. A newer version of it is used.
pub fn of(directory: &Path) -> Result<Program, Error> {
    let Some(Record { mut program, version }) = record(directory) else {
        return Program::find("native");
    };
    let (path, kind) = (program.path.clone(), program.kind);
    match Version::of(&path) {
        Err(_) => return Err(Error::Gone { path, kind }),
        Ok(now) if now != version && kind_of(&path) != Some(kind) => {
            return Err(Error::Replaced { path, kind });
        }
        Ok(_) => {}
    }
    if kind == Runtime::Gvisor && directory.join(crate::egress::RECORD).exists() {
        // The kernel of the sandbox is in it as long as there is anything to be told; it may end at any moment.
        let pid = fs::read_to_string(directory.join("pid")).unwrap_or_default();
        let held = File::open(format!("/proc/{}/ns/net", pid.trim())).ok();
        // Open as long as this process: commands outlive what they are made from.
        let path = |file: File| format!("/proc/{}/fd/{}", std::process::id(), file.into_raw_fd());
        program.network = held.map(|file| path(file).into());
    }
    Ok(program)
}

/// The runtime that removes the sandbox in this directory: where its own `nucleus-runtime` is gone, the usual one, which
/// keeps the same records.
///
/// # Errors
/// There is none.
pub fn remover_of(directory: &Path) -> Result<Program, Error> {
    match of(directory) {
        Err(
            Error::Gone {
                kind: Runtime::Native,
                ..
            }
            | Error::Replaced {
                kind: Runtime::Native,
                ..
            },
        ) => Program::find("native"),
        found => found,
    }
}

/// One that was not written to its end is that of a start that was killed, before the runtime had made anything.
fn record(directory: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(directory.join(RECORD)).ok()?).ok()
}
