//! `start`: tell the waiting first process to go on, and hear whether it could.

use crate::bundle::{self, Pin};
use crate::container::{self, Container};
use crate::fault::{Call, ErrnoText, Fault, chain};
use crate::hooks::{self, Hooks};
use crate::lifecycle::{Act, Operation, Refusal, Status};
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
    /// Somebody is to look at it first, and this is not them.
    #[error(
        "container {0:?} has the annotation dev.nucleus.promises: who holds it against them starts it, with \
         --promises-sha256 (nucleus start does)"
    )]
    Promised(String),
    /// It was not created with these promises.
    #[error(
        "container {id:?}: --promises-sha256 {given} is not its annotation dev.nucleus.promises, {annotation:?}"
    )]
    OtherPromises {
        /// The container.
        id: String,
        /// The option.
        given: Pin,
        /// What it was created with.
        annotation: String,
    },
    /// There is nothing to start.
    #[error("config.json of container {0:?} has no process: there is nothing to start")]
    NoProcess(String),
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

/// The annotation with the SHA-256 of what is promised of a container, by whom it is created for. It is held against
/// that before its first instruction: until then its caller may trace it, nobody else starts it, and no further process
/// comes into it.
pub const PROMISES: &str = "dev.nucleus.promises";

/// Starts a created container. `promises` are those that the caller holds it against.
///
/// The file `start` is renamed before the byte is sent: of two commands only one goes on, and one that was
/// killed in between leaves the container to the next.
///
/// Under a service manager it returns only when the program is ready or has ended; see [`readiness`](crate::readiness).
///
/// # Errors
/// That the container is not `created`, that it is to be held against other promises, or why its program could not run.
pub fn start(root: &Path, id: &str, promises: Option<&Pin>) -> Result<(), Error> {
    let container = Container::open_locked(root, id)?;
    let directory = &container.directory;
    let acts = container.decide(Operation::Start)?;
    check_promises(&container, promises)?;
    let config = directory.read("config.json")?;
    if config
        .as_ref()
        .is_some_and(|config| !mentions(config, b"\"process\""))
    {
        return Err(Error::NoProcess(id.to_owned()));
    }
    let hooks = hooks_in(config.as_deref())?;
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
    match tell(directory, acts).map_err(failed)? {
        Answer::Started => {}
        Answer::NotWaiting => return Err(not_waiting(&container).into()),
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

fn check_promises(container: &Container, given: Option<&Pin>) -> Result<(), Error> {
    let id = || container.id().to_owned();
    match (container.promises(), given) {
        (None, None) => Ok(()),
        (Some(_), None) => Err(Error::Promised(id())),
        (Some(annotation), Some(given)) if annotation == given.to_string() => Ok(()),
        (annotation, Some(given)) => Err(Error::OtherPromises {
            id: id(),
            given: given.clone(),
            annotation: annotation.unwrap_or_default().to_owned(),
        }),
    }
}

/// The hooks of the configuration as it was at `create`.
///
/// # Errors
/// That the recorded configuration cannot be read.
pub fn recorded_hooks(directory: &Directory) -> Result<Hooks, Error> {
    hooks_in(directory.read("config.json")?.as_deref())
}

fn hooks_in(config: Option<&[u8]>) -> Result<Hooks, Error> {
    // Most containers have none, and the whole configuration need not be parsed to see that.
    let Some(config) = config.filter(|config| mentions(config, b"\"hooks\"")) else {
        return Ok(Hooks::default());
    };
    let (spec, _) = bundle::parse(config).map_err(Error::Config)?;
    Ok(Hooks::new(spec.hooks().as_ref())?)
}

fn mentions(config: &[u8], word: &[u8]) -> bool {
    config.windows(word.len()).any(|window| window == word)
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

/// The first process has become the program at an earlier `start`, or has died since the status was taken.
fn not_waiting(container: &Container) -> container::Error {
    let alive = container.process.is_some_and(|process| process.is_alive());
    let status = if alive { Status::Running } else { Status::Stopped };
    container::Error::Refused {
        id: container.id().to_owned(),
        refusal: Refusal {
            operation: Operation::Start,
            status,
        },
    }
}

fn tell(directory: &Directory, acts: &[Act]) -> Result<Answer, Fault> {
    let mut answer = Answer::NotWaiting;
    for act in acts {
        crate::log::act(*act);
        match act {
            Act::ClaimStart => rustix::fs::renameat(directory.fd(), "start", directory.fd(), "starting")
                .call("rename start")?,
            Act::Tell => answer = write_byte(directory)?,
            Act::Forget => forget(directory)?,
            _ => {}
        }
    }
    Ok(answer)
}

fn write_byte(directory: &Directory) -> Result<Answer, Fault> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let start = match openat(directory.fd(), "starting", flags, Mode::empty()) {
        // No reader: the first process has exec'ed or died.
        Err(Errno::NXIO) => return Ok(Answer::NotWaiting),
        result => result.call("open the start FIFO")?,
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let result = openat(directory.fd(), "result", flags, Mode::empty()).call("open the result FIFO")?;
    match rustix::io::write(&start, b"0") {
        // It has died since it was opened.
        Err(Errno::PIPE) => return Ok(Answer::NotWaiting),
        result => result.call("write the start FIFO")?,
    };
    drop(start);
    Ok(match read_result(&result)? {
        None => Answer::Started,
        Some(failure) => Answer::Failed(match failure.fault {
            Fault { call, errno: 0 } => call.into_owned(),
            Fault { call, errno } => format!("{call}: {}", ErrnoText(errno)),
        }),
    })
}

fn forget(directory: &Directory) -> Result<(), Fault> {
    for name in ["starting", "result"] {
        match rustix::fs::unlinkat(directory.fd(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno).call("unlink a FIFO"),
        }
    }
    Ok(())
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
