//! `nucleus logs`.

use crate::store::Store;
use anyhow::Context;
use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

/// Print what a detached sandbox has written.
#[derive(Debug, Args)]
pub struct Logs {
    /// The sandbox
    name: String,
    /// Go on with what it writes, until it ends
    #[arg(long, short)]
    follow: bool,
}

impl Logs {
    /// Of a sandbox, until it ends.
    pub(super) fn following(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            follow: true,
        }
    }

    /// Prints the log.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn run(&self, root: Option<PathBuf>) -> Result<i32, anyhow::Error> {
        let store = Store::open(root)?;
        let path = store.directory(&self.name)?.join("log");
        let mut log = File::open(&path).context("only a detached sandbox has a log")?;
        if !self.follow {
            copy(&mut log)?;
            return Ok(0);
        }
        let process = super::manage::process_of(&store, &self.name)?;
        // Before the log is read: what comes after that is told.
        let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(io::Error::from)?;
        inotify::add_watch(&changes, &path, inotify::WatchFlags::MODIFY).map_err(io::Error::from)?;
        while copy(&mut log)? {
            let Some(process) = &process else { break };
            let mut fds = [
                PollFd::new(process, PollFlags::IN),
                PollFd::new(&changes, PollFlags::IN),
            ];
            rustix::io::retry_on_intr(|| poll(&mut fds, None)).map_err(io::Error::from)?;
            if !fds[0].revents().is_empty() {
                copy(&mut log)?;
                break;
            }
            // What is in it does not matter.
            let _ = rustix::io::read(&changes, &mut [0; 4096]);
        }
        Ok(0)
    }
}

/// Prints what there is from here; false if nobody reads it any more.
fn copy(log: &mut File) -> io::Result<bool> {
    let mut out = io::stdout();
    match io::copy(log, &mut out).and_then(|_| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        done => done.map(|()| true),
    }
}
