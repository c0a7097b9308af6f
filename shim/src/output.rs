//! Places that a caller names for what is told outside of the sandbox: files, streams and devices.

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The descriptor that a path stands for. To open it by that path would give a file another position, where it and the
/// workload's output overwrite each other, and cannot be done with a socket.
pub fn descriptor(path: &Path) -> Option<RawFd> {
    match path.to_str()? {
        "/dev/stdout" => Some(1),
        "/dev/stderr" => Some(2),
        path => ["/dev/fd/", "/proc/self/fd/"]
            .iter()
            .find_map(|directory| path.strip_prefix(directory)?.parse().ok()),
    }
}

/// What the caller left open under this number.
///
/// # Errors
/// `EBADF` if that is nothing.
pub fn share(number: RawFd) -> io::Result<File> {
    Ok(File::from(nucleus_sys::process::share(number)?))
}

/// What is there to be written to as it is, because it is no regular file: a file in its place would take a device away
/// from the whole host.
///
/// # Errors
/// As open(2): `ENXIO` for a pipe that nobody reads.
pub fn there(path: &Path) -> io::Result<Option<File>> {
    if let Some(number) = descriptor(path) {
        return share(number).map(Some);
    }
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            // Nothing is to be waited for that no signal ends.
            let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
            let mut options = OpenOptions::new();
            let there = options.append(true).custom_flags(nonblocking).open(path)?;
            fcntl_setfl(&there, fcntl_getfl(&there)? - OFlags::NONBLOCK)?;
            Ok(Some(there))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_have_paths() {
        for (path, number) in [
            ("/dev/stdout", Some(1)),
            ("/dev/stderr", Some(2)),
            ("/dev/fd/7", Some(7)),
            ("/proc/self/fd/12", Some(12)),
            ("/dev/fd/x", None),
            ("/dev/full", None),
            ("7", None),
        ] {
            assert_eq!(descriptor(Path::new(path)), number, "{path}");
        }
    }
}
