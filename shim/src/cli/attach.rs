//! `nucleus attach`.

use crate::keeper::{self, BYTES, SIZE};
use crate::store::Store;
use clap::Args;
use nucleus_sys::signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{self, Write};
use std::path::PathBuf;

/// Options of `attach`.
#[derive(Debug, Args)]
#[command(after_help = "\
With run --detach --terminal there is a terminal to type at; Ctrl-P Ctrl-Q leaves it and lets the sandbox go on, and a
later attach takes it over. Without one its output is shown until it ends.")]
pub struct Attach {
    /// The sandbox
    name: String,
}

/// Ctrl-P, Ctrl-Q.
const LEAVE: [u8; 2] = [16, 17];

impl Attach {
    /// Attaches until the sandbox ends, or is left.
    ///
    /// # Errors
    /// There is none.
    pub fn run(&self, root: Option<PathBuf>) -> Result<i32, anyhow::Error> {
        let directory = Store::open(root.clone())?.directory(&self.name)?;
        match keeper::attach(&directory) {
            Ok(socket) => Ok(relay(&socket).map(|()| 0)?),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                super::logs::Logs::following(&self.name).run(root)
            }
            Err(error) => Err(anyhow::Error::new(error).context(format!("attach to {}", self.name))),
        }
    }
}

/// Gives the caller's terminal back as it was.
struct Raw(Option<Termios>);

impl Raw {
    fn make() -> Self {
        let saved = tcgetattr(rustix::stdio::stdin()).ok();
        if let Some(saved) = &saved {
            let mut raw = saved.clone();
            raw.make_raw();
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &raw);
        }
        Self(saved)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(saved) = &self.0 {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, saved);
        }
    }
}

fn relay(socket: &OwnedFd) -> io::Result<()> {
    const WINCH: i32 = rustix::process::Signal::WINCH.as_raw();
    signal::block_all();
    let signals = signal::signalfd()?;
    let _raw = Raw::make();
    send_size(socket)?;
    let (mut typing, mut last) = (true, 0);
    loop {
        let mut fds = vec![
            PollFd::new(socket, PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
        ];
        if typing {
            fds.push(PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN));
        }
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        let ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
        let (printed, signaled, typed) = (ready(0), ready(1), ready(2));
        if printed {
            let mut buffer = [0; 4096];
            match rustix::io::read(socket, &mut buffer)? {
                0 => return Ok(()),
                length => {
                    io::stdout().write_all(&buffer[..length])?;
                    io::stdout().flush()?;
                }
            }
        }
        if signaled {
            while let Some(signo) = signal::read_signal(signals.as_fd())? {
                if signo != WINCH {
                    return Ok(());
                }
                send_size(socket)?;
            }
        }
        if typed {
            let mut packet = [BYTES; 1025];
            let length = rustix::io::read(rustix::stdio::stdin(), &mut packet[1..])?;
            typing = length > 0;
            let mut end = length + 1;
            for (index, byte) in packet[..=length].iter().enumerate().skip(1) {
                if [last, *byte] == LEAVE {
                    // What was typed before is the workload's; Ctrl-P may have gone with an earlier packet.
                    end = (index - 1).max(1);
                    typing = false;
                    break;
                }
                last = *byte;
            }
            if end > 1 {
                rustix::io::write(socket, &packet[..end])?;
            }
            if end <= length {
                return Ok(());
            }
        }
    }
}

fn send_size(socket: &OwnedFd) -> rustix::io::Result<()> {
    let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) else {
        return Ok(());
    };
    let ([a, b], [c, d]) = (size.ws_row.to_le_bytes(), size.ws_col.to_le_bytes());
    rustix::io::write(socket, &[SIZE, a, b, c, d]).map(drop)
}
