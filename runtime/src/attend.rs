//! The parent's part of the protocol (see [`sync`](crate::sync)), as `create`, `run` and `exec` share it.

use crate::create::Error;
use crate::fault::{Call, Fault};
use crate::init;
use crate::notify;
use crate::plan::Plan;
use crate::plan::step::Step;
use crate::program;
use crate::protocol::{Heard, Protocol, Reply};
use crate::spawn::Spawned;
use crate::sync::{Failure, FromChild, ToChild};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long a process that has closed the channel may take to end.
const DYING: Duration = Duration::from_secs(10);

impl Spawned {
    /// The child's id in the runtime's pid namespace, as a plain number.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get() as u32
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The failed call.
    pub fn send(&self, message: ToChild) -> Result<(), Error> {
        if crate::log::debugging() {
            crate::log::debug(&format!("said: {message}"));
        }
        self.channel.send(message).call("send").map_err(talking)
    }

    /// Waits for the child's next message; its failure is an error.
    ///
    /// # Errors
    /// The failed call, or what the child reports, described with its object.
    pub fn receive(&self, plan: &Plan) -> Result<FromChild, Error> {
        match self.channel.receive().call("recvmsg").map_err(talking)? {
            FromChild::Failed(failure) => Err(told(&failure, plan)),
            message => Ok(message),
        }
    }

    /// Waits for the child's next message, and asks the protocol what to do about it. What the child reports is an
    /// error.
    ///
    /// # Errors
    /// The failed call, a message that does not belong here, or what the child reports, described with its object.
    pub fn hear(&self, protocol: &mut Protocol, plan: &Plan) -> Result<(Reply, Option<OwnedFd>), Error> {
        let message = self.channel.receive().call("recvmsg").map_err(talking)?;
        let heard = Heard::from(&message);
        if crate::log::debugging() {
            crate::log::debug(&format!("heard: {heard}"));
        }
        let (reply, after) = protocol
            .hear(heard)
            .map_err(|unexpected| talking(Fault::finding(unexpected.to_string())))?;
        *protocol = after;
        match message {
            FromChild::Failed(failure) => Err(told(&failure, plan)),
            FromChild::Terminal(fd) | FromChild::Listener(fd) => Ok((reply, Some(fd))),
            FromChild::Mounted | FromChild::Ready | FromChild::Closed => Ok((reply, None)),
        }
    }

    /// Hands a seccomp listener to the agent that the configuration names, and says so to the child.
    ///
    /// # Errors
    /// That the agent cannot be reached.
    pub fn pass_listener(&self, plan: &Plan, listener: Option<OwnedFd>) -> Result<(), Error> {
        let state = plan.hook_state.json("creating", Some(self.id()));
        let sent = match (&plan.listener, listener) {
            (Some(agent), Some(listener)) => notify::send(agent, &state, self.id(), listener.as_fd()),
            _ => Err(Fault::finding(
                "a filter with SCMP_ACT_NOTIFY needs linux.seccomp.listenerPath",
            )),
        };
        sent.map_err(|fault| Error::Parent {
            step: "hand the seccomp listener over",
            fault,
        })?;
        self.send(ToChild::ListenerSent)
    }

    /// Writes `--pid-file` and sends to `--pidfd-socket`, where they are given.
    ///
    /// # Errors
    /// The failed call with the path.
    pub fn tell_caller(&self, pid_file: Option<&Path>, pidfd_socket: Option<&Path>) -> Result<(), Error> {
        let step = |step| move |fault| Error::Parent { step, fault };
        if let Some(path) = pid_file {
            write_pid_file(path, self.id()).map_err(step("write the pid file"))?;
        }
        if let Some(path) = pidfd_socket {
            self.send_pidfd(path).map_err(step("send the pidfd"))?;
        }
        Ok(())
    }

    fn send_pidfd(&self, path: &Path) -> Result<(), Fault> {
        let socket = connect(path)?;
        crate::sync::send_fd(socket.as_fd(), b"pidfd", self.pidfd.as_fd()).call("sendmsg")
    }

    /// Ends the child and waits for it.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }

    /// Ends the child. If it has failed itself, its own report tells more than what the parent has noticed.
    pub fn end(&self, plan: &Plan, error: Error) -> Error {
        self.kill();
        while is_readable(self.channel.fd()) {
            match self.receive(plan) {
                Err(failure @ (Error::Child(_) | Error::Program { .. })) => return failure,
                Ok(FromChild::Closed) | Err(_) => break,
                Ok(_) => {}
            }
        }
        error
    }

    /// How a child that closed the channel too early has ended.
    pub fn how_it_ended(&self) -> String {
        let timeout = Timespec {
            tv_sec: DYING.as_secs() as i64,
            tv_nsec: 0,
        };
        if poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&timeout)) == Ok(0) {
            return "or does not answer any more".to_owned();
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        match waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("with exit code {code}"),
                (_, Some(libc::SIGKILL)) => "killed by SIGKILL".to_owned(),
                (_, Some(signal)) => format!("by signal {signal}"),
                _ => "for an unknown reason".to_owned(),
            },
            _ => "for an unknown reason".to_owned(),
        }
    }
}

/// Connects to a Unix socket of the caller.
///
/// # Errors
/// The failed call with the path.
pub fn connect(path: &Path) -> Result<OwnedFd, Fault> {
    let stream = UnixStream::connect(path).call_on("connect", || path.display().to_string())?;
    Ok(stream.into())
}

/// The child's failure in words.
fn told(failure: &Failure, plan: &Plan) -> Error {
    let words = init::describe(failure, plan);
    match plan.steps.get(failure.step) {
        Some(Step::FindProgram) => Error::Program {
            code: program::exit_code(&failure.fault),
            words,
        },
        _ => Error::Child(words),
    }
}

/// Connects to `--console-socket`, if it is given.
///
/// # Errors
/// The failed call with the path.
pub fn connect_console(path: Option<&Path>) -> Result<Option<OwnedFd>, Error> {
    path.map(connect).transpose().map_err(|fault| Error::Parent {
        step: "connect to the console socket",
        fault,
    })
}

/// Writes a pid file so that it is there complete or not at all. What is no regular file is written to as it is: no
/// device is replaced.
fn write_pid_file(path: &Path, pid: u32) -> Result<(), Fault> {
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return std::fs::write(path, pid.to_string()).call_on("write", || path.display().to_string());
    }
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(path.file_name().unwrap_or_default());
    let hidden = path.with_file_name(hidden);
    let written = std::fs::write(&hidden, pid.to_string()).and_then(|()| std::fs::rename(&hidden, path));
    written.call_on("write", || path.display().to_string())
}

fn talking(fault: Fault) -> Error {
    Error::Parent {
        step: "talk to the child",
        fault,
    }
}

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}
