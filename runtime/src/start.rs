//! `start`: tell the waiting first process to go on, and hear whether it could.

use crate::bundle;
use crate::container::{self, Container};
use crate::fault::{Call, ErrnoText, Fault, chain};
use crate::hooks::{self, Hooks};
use crate::lifecycle::{Operation, Status};
use crate::readiness::{Manager, Relay};
use crate::state::{self, Directory};
use crate::sync;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, openat};
use rustix::io::Errno;
use std::path::Path;

/// Why a container could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container.
    #[error(transparent)]
    Container(#[from] container::Error),
    /// Its state.
    #[error(transparent)]
    State(#[from] state::Error),
    /// Its recorded configuration.
    #[error("the recorded config.json")]
    Config(#[source] serde_json::Error),
    /// A hook that is wrong.
    #[error("hooks")]
    Hooks(#[from] hooks::Error),
    /// Its first process cannot be told.
    #[error("start container {id:?}: {fault}")]
    Tell {
        /// The container.
        id: String,
        /// What failed.
        fault: Fault,
    },
    /// The first process could not become the program.
    #[error("{0}")]
    Program(String),
}

/// Starts a created container.
///
/// The file `start` is renamed before the byte is sent: of two commands only one goes on, and one that was
/// killed in between leaves the container to the next.
///
/// Under a service manager it returns only when the program is ready or has ended; see [`readiness`](crate::readiness).
///
/// # Errors
/// That the container is not `created`, or why its program could not run.
pub fn start(root: &Path, id: &str) -> Result<(), Error> {
    let container = Container::open_locked(root, id)?;
    let directory = &container.directory;
    let interrupted = container.status == Status::Running && directory.has("starting")?;
    if !interrupted {
        container.allow(Operation::Start)?;
    }
    let hooks = recorded_hooks(directory)?;
    let failed = |fault| Error::Tell {
        id: id.to_owned(),
        fault,
    };
    let manager = Manager::from_environment();
    let relay = match (manager, container.process) {
        (Some(manager), Some(process)) => {
            Relay::listen(directory, manager, Some(process.pid)).map_err(failed)?
        }
        _ => None,
    };
    let pidfd = relay.is_some().then(|| container.pidfd()).transpose()?.flatten();
    let answer = tell(directory, interrupted).map_err(failed)?;
    match answer {
        Answer::Started => {}
        Answer::NotWaiting => container.allow(Operation::Start)?,
        Answer::Failed(message) => return Err(Error::Program(message)),
    }
    let pid = container.process.map(|process| process.pid);
    let state = container
        .hook_state()
        .map(|state| state.json("running", pid))
        .unwrap_or_default();
    for failure in hooks::run_each(&hooks.poststart, &state) {
        crate::log::warning(&format!("poststart: {}", chain(&failure)));
    }
    // Other commands may act on the container while its program gets ready.
    drop(container);
    match (relay, pidfd) {
        (Some(relay), Some(pidfd)) => relay.until_ready(pidfd.as_fd()).call("poll").map_err(failed),
        _ => Ok(()),
    }
}

/// The hooks of the configuration as it was at `create`.
///
/// # Errors
/// That the recorded configuration cannot be read.
pub fn recorded_hooks(directory: &Directory) -> Result<Hooks, Error> {
    let Some(config) = directory.read("config.json")? else {
        return Ok(Hooks::default());
    };
    // Most containers have none, and the whole configuration need not be parsed to see that.
    if !config.windows(7).any(|window| window == b"\"hooks\"") {
        return Ok(Hooks::default());
    }
    let (spec, _) = bundle::parse(&config).map_err(Error::Config)?;
    Ok(Hooks::new(spec.hooks().as_ref())?)
}

/// What became of the byte.
enum Answer {
    /// The first process has become the program.
    Started,
    /// Nobody waits for a byte.
    NotWaiting,
    /// The first process could not become the program.
    Failed(String),
}

fn tell(directory: &Directory, interrupted: bool) -> Result<Answer, Fault> {
    if !interrupted {
        rustix::fs::renameat(directory.fd(), "start", directory.fd(), "starting").call("rename start")?;
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let start = match openat(directory.fd(), "starting", flags, Mode::empty()) {
        // No reader: the first process has exec'ed or died.
        Err(Errno::NXIO) => return forget(directory, Answer::NotWaiting),
        result => result.call("open the start FIFO")?,
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let result = openat(directory.fd(), "result", flags, Mode::empty()).call("open the result FIFO")?;
    rustix::io::write(&start, b"0").call("write the start FIFO")?;
    drop(start);
    let answer = match read_result(&result)? {
        None => Answer::Started,
        Some(failure) => Answer::Failed(match failure.fault {
            Fault { call, errno: 0 } => call.into_owned(),
            Fault { call, errno } => format!("{call}: {}", ErrnoText(errno)),
        }),
    };
    forget(directory, answer)
}

fn forget(directory: &Directory, answer: Answer) -> Result<Answer, Fault> {
    for name in ["starting", "result"] {
        match rustix::fs::unlinkat(directory.fd(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno).call("unlink a FIFO"),
        }
    }
    Ok(answer)
}

/// Waits for a failure, or for the end of file that means that exec has closed the other end.
fn read_result(result: &OwnedFd) -> Result<Option<sync::Failure>, Fault> {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut buffer = [0u8; 512];
    loop {
        match poll(
            &mut [PollFd::from_borrowed_fd(result.as_fd(), PollFlags::IN)],
            None,
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).call("poll the result FIFO"),
        }
        match rustix::io::read(result, &mut buffer) {
            Ok(0) => return Ok(None),
            Ok(length) => return Ok(sync::decode(&buffer[..length])),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno).call("read the result FIFO"),
        }
    }
}
