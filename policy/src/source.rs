//! One open, one read: the bytes that are hashed are the bytes that are parsed.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use crate::builtin::{self, BuiltIn};
use crate::digest::Digest;
use crate::fault::Problem;
use crate::request::{Choice, Kind, Origin};

/// The most bytes that a policy or lock file may have: 1 MiB.
pub const MAX_BYTES: u64 = 1 << 20;

/// Bytes whose pin, if one was demanded, has been checked.
pub(crate) struct Verified {
    pub(crate) text: Cow<'static, str>,
    pub(crate) digest: Digest,
    /// Where they are those of a built-in policy.
    pub(crate) built_in: Option<&'static BuiltIn>,
}

/// Reads what `choice` names and checks its pin, before anything looks into it.
pub(crate) fn read(kind: Kind, choice: &Choice, pins_required: bool) -> Result<Verified, Problem> {
    match &choice.origin {
        Origin::BuiltIn(name) => {
            let found =
                builtin::find(kind, name).ok_or_else(|| Problem::unknown("built-in policy", *name))?;
            Ok(Verified {
                text: Cow::Borrowed(found.text),
                digest: hold(found.digest, choice.pin, false)?,
                built_in: Some(found),
            })
        }
        Origin::File(path) => read_file(path, choice.pin, pins_required),
    }
}

/// The same for a file that is not one of the three policies.
pub(crate) fn read_file(path: &Path, pin: Option<Digest>, pin_required: bool) -> Result<Verified, Problem> {
    let bytes = bytes(path)?;
    let digest = hold(Digest::of(&bytes), pin, pin_required)?;
    let text = String::from_utf8(bytes).map_err(|_| Problem::NotText)?;
    Ok(Verified {
        text: Cow::Owned(text),
        digest,
        built_in: None,
    })
}

fn hold(actual: Digest, pin: Option<Digest>, required: bool) -> Result<Digest, Problem> {
    match pin {
        Some(expected) if expected != actual => Err(Problem::WrongPin { expected, actual }),
        None if required => Err(Problem::NoPin { actual }),
        _ => Ok(actual),
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, Problem> {
    // Non-blocking, so that opening a pipe without a writer returns; it changes nothing for a file.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let unreadable = |error: io::Error| Problem::Unreadable(error);
    let open = rustix::fs::openat(CWD, path, flags, Mode::empty());
    let file = File::from(open.map_err(|errno| unreadable(errno.into()))?);
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Problem::NotRegular);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(MAX_BYTES)).unwrap_or(0) + 1);
    // The size above may be out of date by now: the limit is kept while reading.
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Problem::TooLarge { limit: MAX_BYTES });
    }
    Ok(bytes)
}
