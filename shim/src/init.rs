//! The first process of a sandbox with `--init`: this very program, mounted read-only into it.
//!
//! It starts the command, passes signals on, reaps every process that lost its parent, and ends with the command's
//! exit code; the kernel then ends what is left. It runs under the workload's own seccomp profile and Landlock rules,
//! with nothing that the workload does not have, and allocates nothing once the command runs.

use crate::say::say;
use nucleus_sys::signal::{self, Received, SignalMask};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus, set_dumpable_behavior};
use std::ffi::OsString;
use std::io;
use std::process::Command;

/// Where it is mounted: in `/dev`, which every sandbox has for itself.
pub const PATH: &str = "/dev/nucleus-init";

/// Whether this process is one: it was executed under that name.
pub fn is_called() -> bool {
    std::env::args_os().next().is_some_and(|name| name == PATH)
}

/// Runs the command behind the name; returns its exit code, or 128 and the number of the signal that ended it.
pub fn main() -> i32 {
    // The command runs as the same user, and shall not trace what watches over it, nor write to its memory.
    if let Err(errno) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        say!("nucleus: init: prctl PR_SET_DUMPABLE: {}", io::Error::from(errno));
        return 1;
    }
    // Before anything is started: what arrives from here on is passed on.
    let mask = signal::block_all();
    let mut args = std::env::args_os().skip(1);
    let Some(program) = args.next() else {
        say!("nucleus: init: no command");
        return 1;
    };
    let signals = match signal::signalfd() {
        Ok(signals) => signals,
        Err(errno) => {
            say!("nucleus: init: signalfd: {}", io::Error::from(errno));
            return 1;
        }
    };
    match start(&program, args, mask) {
        Ok(child) => match until_end(child, &signals) {
            Ok(code) => code,
            Err(errno) => {
                say!("nucleus: init: {}", io::Error::from(errno));
                1
            }
        },
        Err(error) => {
            say!("nucleus: exec {}: {error}", program.to_string_lossy());
            if error.kind() == io::ErrorKind::NotFound {
                127
            } else {
                126
            }
        }
    }
}

fn start(program: &OsString, args: impl Iterator<Item = OsString>, mask: SignalMask) -> io::Result<Pid> {
    let mut command = Command::new(program);
    signal::restore_in_child(command.args(args), mask);
    Ok(Pid::from_child(&command.spawn()?))
}

fn until_end(child: Pid, signals: &OwnedFd) -> rustix::io::Result<i32> {
    loop {
        while let Some(received) = signal::read_received(signals.as_fd())? {
            pass_on(child, received);
        }
        // Signals of one kind are one message, however many processes have ended.
        if let Some(code) = reap(child)? {
            return Ok(code);
        }
        match poll(&mut [PollFd::new(signals, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// A terminal's signals go to all of its foreground processes: the child has had them. Of a terminal's end the first
/// process alone is told, with SIGCONT for those that are stopped.
fn pass_on(child: Pid, received: Received) {
    let of_the_end = [Signal::HUP, Signal::CONT].map(Signal::as_raw);
    let had = received.by_kernel && !of_the_end.contains(&received.signo);
    if received.signo == Signal::CHILD.as_raw() || had {
        return;
    }
    let _ = signal::send(child, received.signo);
}

/// Takes the status of every process that has ended; returns the command's if it is among them.
fn reap(child: Pid) -> rustix::io::Result<Option<i32>> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => {
                if let Some(code) = code(status) {
                    return Ok(Some(code));
                }
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn code(status: WaitStatus) -> Option<i32> {
    status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
}
