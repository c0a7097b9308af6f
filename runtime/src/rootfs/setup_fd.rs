//! Descriptors of the set-up.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

/// Numbers from here on are closed at once, so that a bundle with hundreds of mounts does not run out.
const CROWDED: i32 = 512;

/// A descriptor that the child needs only while it sets the container up.
///
/// The step that closes descriptors closes all of them with a few `close_range(2)`; closing each when it is
/// dropped would be sixty system calls more in every container's start.
#[derive(Debug)]
pub struct SetupFd(Option<OwnedFd>);

impl From<OwnedFd> for SetupFd {
    fn from(fd: OwnedFd) -> Self {
        Self(Some(fd))
    }
}

impl AsFd for SetupFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // Only `drop` takes it out.
        self.0.as_ref().map(OwnedFd::as_fd).unwrap_or(rustix::fs::CWD)
    }
}

impl Drop for SetupFd {
    fn drop(&mut self) {
        if let Some(fd) = self.0.take_if(|fd| fd.as_raw_fd() < CROWDED) {
            let _ = fd.into_raw_fd();
        }
    }
}
