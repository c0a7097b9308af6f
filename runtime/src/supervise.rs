//! `run` and `exec` in the foreground: the caller's signals, terminal and exit code pass through.

use crate::first::First;
use crate::readiness;
use nucleus_sys::signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// A process that is being waited for.
#[derive(Debug)]
pub struct Foreground<'a> {
    /// Its descriptor.
    pub pidfd: BorrowedFd<'a>,
    /// The master of its terminal, if it has one.
    pub terminal: Option<OwnedFd>,
    /// Passes its readiness on to a service manager.
    pub readiness: Option<readiness::Relay>,
    /// Its end of file ends the process: whoever holds the other end is gone.
    pub alive: Option<OwnedFd>,
    /// It ends by signals from outside although it is the first process of its pid namespace: for a caller to whom it
    /// is its own command.
    pub first: Option<First>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

impl Ended {
    /// What a shell would say: 128 + n after signal n.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128 + signal,
        }
    }
}

/// Waits for a child of this process and returns how it ended. All signals must be blocked already: they are read
/// as messages and passed on.
///
/// # Errors
/// As the calls: `signalfd(2)`, `poll(2)`, `waitid(2)`.
pub fn wait(foreground: Foreground<'_>) -> rustix::io::Result<Ended> {
    let signals = signal::signalfd()?;
    let mut relay = foreground.terminal.map(Relay::new);
    let mut readiness = foreground.readiness;
    let mut alive = foreground.alive;
    let mut target = Target {
        pidfd: foreground.pidfd,
        first: foreground.first,
        ended_by: None,
    };
    loop {
        let over = wait_for_event(
            foreground.pidfd,
            signals.as_fd(),
            relay.as_ref(),
            readiness.as_ref(),
            alive.as_ref(),
        )?;
        let ended = if over { reap(foreground.pidfd)? } else { None };
        if let Some(ended) = ended {
            if let Some(relay) = &mut relay {
                relay.drain();
            }
            if let Some(readiness) = &mut readiness {
                readiness.pass_on();
            }
            // Closed by the end of this process, which is near.
            let _ = signals.into_raw_fd();
            return Ok(target.ended_by.map_or(ended, Ended::Signaled));
        }
        if alive.as_ref().is_some_and(is_at_its_end) {
            alive = None;
            let _ = signal::pidfd_send_signal(foreground.pidfd, libc::SIGKILL);
        }
        pass_signals(signals.as_fd(), &mut target, relay.as_ref())?;
        if let Some(relay) = &mut relay {
            relay.copy(&mut target)?;
        }
        if let Some(readiness) = &mut readiness {
            readiness.pass_on();
        }
    }
}

fn reap(pidfd: BorrowedFd<'_>) -> rustix::io::Result<Option<Ended>> {
    let status = waitid(
        WaitId::PidFd(pidfd),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
    )?;
    Ok(status.map(
        |status| match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ended::Exited(code),
            (_, Some(signal)) => Ended::Signaled(signal),
            _ => Ended::Exited(255),
        },
    ))
}

/// Waits for anything to happen; tells whether the process has ended.
fn wait_for_event(
    pidfd: BorrowedFd<'_>,
    signals: BorrowedFd<'_>,
    relay: Option<&Relay>,
    readiness: Option<&readiness::Relay>,
    alive: Option<&OwnedFd>,
) -> rustix::io::Result<bool> {
    let mut fds = vec![
        PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
        PollFd::from_borrowed_fd(signals, PollFlags::IN),
    ];
    if let Some(relay) = relay {
        relay.add_to(&mut fds);
    }
    fds.extend(readiness.map(|readiness| PollFd::new(readiness, PollFlags::IN)));
    fds.extend(alive.map(|alive| PollFd::new(alive, PollFlags::IN)));
    match poll(&mut fds, None) {
        Ok(_) => Ok(!fds[0].revents().is_empty()),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Who gets the signals.
struct Target<'a> {
    pidfd: BorrowedFd<'a>,
    first: Option<First>,
    /// The signal that has ended it in the eyes of its caller.
    ended_by: Option<i32>,
}

impl Target<'_> {
    fn send(&mut self, signo: i32) {
        if self.first.is_some_and(|first| first.is_spared(signo)) {
            return self.end(signo);
        }
        let _ = signal::pidfd_send_signal(self.pidfd, signo);
    }

    /// Does what the kernel spares it.
    fn end(&mut self, signo: i32) {
        if signal::pidfd_send_signal(self.pidfd, libc::SIGKILL).is_ok() {
            self.ended_by.get_or_insert(signo);
        }
    }
}

fn pass_signals(
    signals: BorrowedFd<'_>,
    target: &mut Target<'_>,
    relay: Option<&Relay>,
) -> rustix::io::Result<()> {
    while let Some(signo) = signal::read_signal(signals)? {
        match (signo, relay) {
            (libc::SIGCHLD, _) => {}
            (libc::SIGWINCH, Some(relay)) => relay.resize(),
            // Our own streams: a write told us already.
            (libc::SIGPIPE, _) => {}
            (signo, _) => target.send(signo),
        }
    }
    Ok(())
}

/// Copies between the caller's streams and the container's terminal.
struct Relay {
    master: Option<OwnedFd>,
    input_open: bool,
    /// What the caller's terminal was before it was made raw.
    saved: Option<Termios>,
    /// Bytes of the caller that the terminal has not taken yet.
    pending: Vec<u8>,
}

impl Relay {
    fn new(master: OwnedFd) -> Self {
        let saved = tcgetattr(rustix::stdio::stdin()).ok();
        if let Some(saved) = &saved {
            let mut raw = saved.clone();
            raw.make_raw();
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &raw);
        }
        let _ = rustix::io::ioctl_fionbio(&master, true);
        let relay = Self {
            master: Some(master),
            input_open: true,
            saved,
            pending: Vec::new(),
        };
        relay.resize();
        relay
    }

    /// Gives the container's terminal the size of the caller's.
    fn resize(&self) {
        if let (Some(master), Ok(size)) = (&self.master, tcgetwinsize(rustix::stdio::stdin()))
            && (size.ws_row, size.ws_col) != (0, 0)
        {
            let _ = tcsetwinsize(master, size);
        }
    }

    fn add_to<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        if let Some(master) = &self.master {
            let mut flags = PollFlags::IN;
            if !self.pending.is_empty() {
                flags |= PollFlags::OUT;
            }
            fds.push(PollFd::new(master, flags));
        }
        if self.input_open && self.pending.is_empty() && self.master.is_some() {
            fds.push(PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN));
        }
    }

    fn copy(&mut self, target: &mut Target<'_>) -> rustix::io::Result<()> {
        self.copy_output(1);
        self.copy_input(target)
    }

    /// Copies what the container wrote, at most `rounds` buffers of it.
    fn copy_output(&mut self, rounds: usize) {
        let mut buffer = [0u8; 16 * 1024];
        for _ in 0..rounds {
            let Some(master) = &self.master else { return };
            match rustix::io::read(master, &mut buffer) {
                Ok(length @ 1..) => {
                    let _ = write_all(rustix::stdio::stdout(), &buffer[..length]);
                }
                Err(Errno::AGAIN | Errno::INTR) => return,
                // The last holder of the terminal has closed it.
                Ok(_) | Err(_) => self.master = None,
            }
        }
    }

    fn copy_input(&mut self, target: &mut Target<'_>) -> rustix::io::Result<()> {
        let mut typed = None;
        if self.pending.is_empty() && self.input_open && is_readable(rustix::stdio::stdin())? {
            let mut buffer = [0u8; 4096];
            match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
                // End of file becomes the terminal's end-of-file character.
                Ok(0) => {
                    self.input_open = false;
                    self.pending.push(4);
                }
                Ok(length) => {
                    let bytes = &buffer[..length];
                    typed = target
                        .first
                        .zip(self.master.as_ref())
                        .and_then(|(first, master)| first.typed(master, bytes));
                    self.pending.extend(bytes);
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.input_open = false,
            }
        }
        if let (Some(master), false) = (&self.master, self.pending.is_empty()) {
            match rustix::io::write(master, &self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.pending.clear(),
            }
        }
        if let Some(signo) = typed {
            target.end(signo);
        }
        Ok(())
    }

    /// Copies what is left after the process has ended.
    fn drain(&mut self) {
        self.copy_output(usize::MAX);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, saved);
        }
    }
}

/// Whether the other end is closed. Bytes have no meaning here.
fn is_at_its_end(fd: &OwnedFd) -> bool {
    is_readable(fd.as_fd()).unwrap_or(false)
        && matches!(
            rustix::io::read(fd, &mut [0; 64]),
            Ok(0) | Err(Errno::BADF | Errno::ISDIR)
        )
}

fn is_readable(fd: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&now)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None)?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
