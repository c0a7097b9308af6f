//! `nucleus attach`.

use crate::keeper::{self, BYTES, SIZE};
use crate::say::say;
use crate::store::Store;
use crate::supervise::exit_code;
use clap::Args;
use nucleus_sys::process::exit_status;
use nucleus_sys::signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Connect to the terminal, or the output, of a detached sandbox.
#[derive(Debug, Args)]
#[command(after_help = "\
With run --detach --terminal there is a terminal to type at; Ctrl-P Ctrl-Q leaves it and lets the sandbox go on, and a \
later attach takes it over. Without one its output is shown until it ends. \
The exit code is the workload's, where attach has seen its end (Linux 6.15), and 0 when it was left.")]
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
        let store = Store::open(root.clone())?;
        let directory = store.directory(&self.name)?;
        // Before anything is shown: the kernel tells of an end to who was there before it.
        let process = super::manage::process_of(&store, &self.name)?;
        match keeper::attach(&directory) {
            Ok(socket) => match relay(&socket)? {
                Left::Ended => Ok(code_of(process.as_ref())),
                Left::Detached => Ok(0),
            },
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                super::logs::Logs::following(&self.name).run(root)?;
                Ok(code_of(process.as_ref()))
            }
            Err(error) => Err(anyhow::Error::new(error).context(format!("attach to {}", self.name))),
        }
    }
}

/// Why nothing more is shown.
enum Left {
    /// The sandbox has ended.
    Ended,
    /// It goes on.
    Detached,
}

/// How long the end may take to be known: somebody else, the first process of this host, waits for the workload.
const KNOWN: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

/// The workload's exit code, as a shell would have it.
fn code_of(process: Option<&OwnedFd>) -> i32 {
    let Some(process) = process else {
        say!("nucleus: the exit code is not known: the workload had ended before");
        return 0;
    };
    let mut told = exit_status(process.as_fd());
    if told == Ok(None) {
        // POLLHUP: it was waited for.
        let mut fds = [PollFd::new(process, PollFlags::empty())];
        let _ = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&KNOWN)));
        told = exit_status(process.as_fd());
    }
    match told {
        Ok(Some(status)) => exit_code(ExitStatus::from_raw(status)),
        Ok(None) => {
            say!("nucleus: the exit code is not known: nobody has waited for the workload");
            0
        }
        Err(errno) => {
            let error = io::Error::from(errno);
            say!("nucleus: the exit code is not known: kernels before 6.15 do not tell it ({error})");
            0
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

fn relay(socket: &OwnedFd) -> io::Result<Left> {
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
                0 => return Ok(Left::Ended),
                length => {
                    io::stdout().write_all(&buffer[..length])?;
                    io::stdout().flush()?;
                }
            }
        }
        if signaled {
            while let Some(signo) = signal::read_signal(signals.as_fd())? {
                if signo != WINCH {
                    return Ok(Left::Detached);
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
                return Ok(Left::Detached);
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
