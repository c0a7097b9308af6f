//! Threads that end when whoever started them lets go of them.

use rustix::fd::OwnedFd;
use rustix::pipe::{PipeFlags, pipe_with};
use std::io;
use std::thread::{Builder, JoinHandle};

/// A thread. It is told to end, and waited for, when this is dropped.
#[derive(Debug)]
pub(crate) struct Background {
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts it. It has to end when what it is given can be read or is closed; it handles no signal of the process.
    ///
    /// # Errors
    /// As pipe(2) and clone(2).
    pub(crate) fn start(name: &str, act: impl FnOnce(OwnedFd) + Send + 'static) -> io::Result<Self> {
        let (until, stop) = pipe_with(PipeFlags::CLOEXEC)?;
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            nucleus_sys::signal::block_all();
            act(until);
        })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
