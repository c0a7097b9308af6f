//! Waiting for a process, its program, its end: signals as messages, and a time limit.

use crate::ending::Status;
use nucleus_sys::signal::{self, SignalMask};
use nucleus_sys::trace::{Event, Tracee};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};
use std::io;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a runtime may take from the last word to the program.
const EXEC: Duration = Duration::from_secs(10);
/// How long a workload has to end by itself after SIGTERM, when its time is over.
const GRACE: Duration = Duration::from_secs(2);

/// Signals are messages while this is used.
#[derive(Debug)]
pub struct Watch {
    mask: SignalMask,
    signals: OwnedFd,
}

impl Watch {
    /// Blocks every signal.
    ///
    /// # Errors
    /// As signalfd(2).
    pub fn new() -> io::Result<Self> {
        let mask = signal::block_all();
        let signals = signal::signalfd()?;
        Ok(Self { mask, signals })
    }

    /// Starts a command with the signal mask of before, and its output in pipes.
    ///
    /// # Errors
    /// As fork(2) and execve(2).
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        signal::restore(&self.mask);
        let child = command.spawn();
        signal::block_all();
        child
    }

    /// Waits until a process stands before its first instruction; false if it has ended. Signals meanwhile go to `send`.
    ///
    /// # Errors
    /// As ptrace(2) and poll(2) and of `send`, or that the program has not come.
    pub fn until_exec(&self, tracee: &Tracee, send: impl Fn(i32) -> io::Result<()>) -> io::Result<bool> {
        let deadline = Instant::now() + EXEC;
        loop {
            match tracee.event()? {
                Event::Exec => return Ok(true),
                Event::Ended => return Ok(false),
                Event::None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the program was not executed",
                ));
            }
            self.poll(&mut [PollFd::new(&self.signals, PollFlags::IN)], Some(left))?;
            self.pass_on(&send)?;
        }
    }

    /// But for SIGCHLD, which tells of the process that is traced, and of the end of others.
    fn pass_on(&self, mut send: impl FnMut(i32) -> io::Result<()>) -> io::Result<()> {
        while let Some(signo) = signal::read_signal(self.signals.as_fd())? {
            if signo != Signal::CHILD.as_raw() {
                send(signo)?;
            }
        }
        Ok(())
    }

    fn poll(&self, fds: &mut [PollFd<'_>], left: Option<Duration>) -> io::Result<()> {
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Passes signals on with `send` until a process ends, which its descriptor tells with these events. Past `timeout`
    /// it gets SIGTERM, and SIGKILL after a while. Returns whether its time was over.
    ///
    /// # Errors
    /// As poll(2) and of `send`.
    pub fn until_end(
        &self,
        process: (BorrowedFd<'_>, PollFlags),
        timeout: Option<Duration>,
        mut send: impl FnMut(i32) -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut timed_out = false;
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                deadline = (!timed_out).then(|| Instant::now() + GRACE);
                send(if timed_out { Signal::KILL } else { Signal::TERM }.as_raw())?;
                timed_out = true;
                continue;
            }
            let mut fds = [
                PollFd::from_borrowed_fd(process.0, process.1),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            self.poll(&mut fds, left)?;
            if !fds[0].revents().is_empty() {
                return Ok(timed_out);
            }
            self.pass_on(&mut send)?;
        }
    }

    /// Waits for every child of this process that ends within a second.
    ///
    /// # Errors
    /// As waitid(2) and poll(2).
    pub fn reap(&self) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
                Ok(Some(_)) => continue,
                Err(Errno::CHILD) => return Ok(()),
                Err(errno) => return Err(errno.into()),
                Ok(None) => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.poll(&mut [PollFd::new(&self.signals, PollFlags::IN)], Some(left))?;
            while signal::read_signal(self.signals.as_fd())?.is_some() {}
        }
    }

    /// That a signal which asks to end came before the program did.
    ///
    /// # Errors
    /// For such a signal.
    pub fn give_up(signo: i32) -> io::Result<()> {
        let ending = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];
        if ending.iter().any(|one| one.as_raw() == signo) {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "a signal came first"));
        }
        Ok(())
    }

    /// How a child has ended.
    ///
    /// # Errors
    /// As waitid(2): it is no child of this process.
    pub fn status(&self, pidfd: &OwnedFd) -> io::Result<Status> {
        let found = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
        Ok(Status {
            exit_code: found.and_then(|status| status.exit_status()),
            signal: found.and_then(|status| status.terminating_signal()),
            ..Status::default()
        })
    }
}
