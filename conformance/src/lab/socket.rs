//! A unix socket that a runtime sends descriptors to.

use std::fs::File;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

/// How long a runtime may take to send.
const TIME: Duration = Duration::from_secs(10);

/// A listening socket.
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens on a path.
    ///
    /// # Errors
    /// The socket cannot be bound.
    pub(crate) fn bind(path: &Path) -> Result<Listener> {
        let listener = UnixListener::bind(path).with_context(|| format!("bind {}", path.display()))?;
        Ok(Listener {
            listener,
            path: path.to_owned(),
        })
    }

    /// The socket's path as an argument.
    pub(crate) fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Accepts one connection and reads one message with its descriptors.
    ///
    /// # Errors
    /// Nothing is sent in time.
    pub(crate) fn receive(&self) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
        ensure!(
            readable(&self.listener, TIME)?,
            "nobody connects to {}",
            self.path.display()
        );
        let (stream, _) = self.listener.accept()?;
        ensure!(
            readable(&stream, TIME)?,
            "nothing is sent to {}",
            self.path.display()
        );
        let mut data = vec![0; 65_536];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut data)];
        let message = rustix::net::recvmsg(&stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut fds = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                fds.extend(rights);
            }
        }
        data.truncate(message.bytes);
        Ok((data, fds))
    }

    /// The one descriptor of one message.
    ///
    /// # Errors
    /// Nothing, or not exactly one descriptor, is sent in time.
    pub(crate) fn receive_fd(&self) -> Result<OwnedFd> {
        let (_, mut fds) = self.receive()?;
        ensure!(
            fds.len() == 1,
            "{} descriptors were sent instead of one",
            fds.len()
        );
        fds.pop().context("one descriptor")
    }
}

fn readable(fd: &impl AsFd, time: Duration) -> Result<bool> {
    let limit = Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    };
    let ready = rustix::io::retry_on_intr(|| {
        rustix::event::poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&limit))
    })?;
    Ok(ready > 0)
}

/// Reads from a terminal until a text has come.
///
/// # Errors
/// It does not come in time.
pub(crate) fn read_until(terminal: &mut File, text: &str) -> Result<String> {
    let end = Instant::now() + TIME;
    let mut seen = String::new();
    let mut bytes = [0; 4096];
    while !seen.contains(text) {
        let left = end.saturating_duration_since(Instant::now());
        ensure!(
            readable(terminal, left)?,
            "the terminal shows {seen:?} and no {text:?}"
        );
        // Reading from the master fails with EIO once the last slave is closed.
        let count = terminal.read(&mut bytes).unwrap_or(0);
        ensure!(count > 0, "the terminal closes after {seen:?}, without {text:?}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    Ok(seen)
}
