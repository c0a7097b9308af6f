//! `exec`: its own road, from a running container to one more process in it.

use crate::attend::connect_console;
use crate::cgroup;
use crate::container::{self, Container};
use crate::create;
use crate::host::{self, HostFacts};
use crate::lifecycle::{Operation, Status};
use crate::plan::exec::Request;
use crate::plan::{self, Plan, Preserved};
use crate::protocol::Reply;
use crate::spawn::{self, Handed, Spawned};
use crate::state;
use crate::supervise::{self, Foreground};
use crate::sync::ToChild;
use nucleus_sys::signal;
use oci_spec::runtime as oci;
use rustix::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// What the command line asks for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The container's id.
    pub id: String,
    /// Where states are kept.
    pub root: PathBuf,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<PathBuf>,
    /// `--preserve-fds` and `LISTEN_FDS`.
    pub preserved: Preserved,
    /// Further entries of the process's environment.
    pub environment: Vec<String>,
    /// `--cgroup`: a cgroup below the container's, for all controllers or one.
    pub cgroup: Vec<String>,
    /// `--rootless`.
    pub rootless: Option<bool>,
    /// `--detach`.
    pub detach: bool,
    /// `--ignore-paused`.
    pub ignore_paused: bool,
}

/// Why no process could be run in a container.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container.
    #[error(transparent)]
    Container(#[from] container::Error),
    /// Its state.
    #[error(transparent)]
    State(#[from] state::Error),
    /// It is paused.
    #[error("container {0:?} is paused: resume it, or give --ignore-paused to let the process wait")]
    Paused(String),
    /// It waits, and cannot be kept from being traced.
    #[error(
        "container {0:?} is not started yet: without root, a further process could trace its first one before that is confined; start it first"
    )]
    Waiting(String),
    /// It waits to be held against its promises.
    #[error(
        "container {0:?} is not started yet, and is held against its promises (annotation dev.nucleus.promises) at its start: start it first"
    )]
    Promised(String),
    /// It has no record or no process.
    #[error("container {0:?} has no process to join")]
    NoProcess(String),
    /// A namespace of its process, or of the runtime.
    #[error("stat {0}")]
    Namespace(String, #[source] rustix::io::Errno),
    /// Its recorded configuration.
    #[error("the recorded config.json")]
    Config(#[source] serde_json::Error),
    /// The host.
    #[error(transparent)]
    Host(#[from] host::Error),
    /// The process.
    #[error(transparent)]
    Plan(#[from] plan::Error),
    /// The cgroups.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// The process ended without a word.
    #[error("the process died on its way into the container, {0}")]
    Died(String),
    /// As for `create`.
    #[error(transparent)]
    Create(#[from] create::Error),
    /// Waiting for it.
    #[error("wait for the process")]
    Wait(#[source] std::io::Error),
}

/// A container that a process can be run in.
#[derive(Debug)]
pub struct Target {
    container: Container,
    /// The configuration as it was at `create`.
    pub spec: oci::Spec,
}

/// Finds the container and its recorded configuration.
///
/// # Errors
/// That it does not run.
pub fn find(options: &Options) -> Result<Target, Error> {
    let container = Container::open(&options.root, &options.id)?;
    let operation = if options.ignore_paused {
        Operation::ExecInPaused
    } else {
        Operation::Exec
    };
    if let Err(refused) = container.decide(operation) {
        return Err(match container.status {
            Status::Paused => Error::Paused(options.id.clone()),
            _ => refused.into(),
        });
    }
    let config = container.directory.read("config.json")?.unwrap_or_default();
    let (spec, _) = crate::bundle::parse(&config).map_err(Error::Config)?;
    Ok(Target { container, spec })
}

fn has_namespace(spec: &oci::Spec, kind: impl Fn(&oci::LinuxNamespace) -> bool) -> bool {
    let namespaces = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.namespaces().as_deref());
    namespaces.unwrap_or_default().iter().any(kind)
}

/// Whether a process is in the runtime's network namespace: one that was the runtime's own when the container was
/// created may be another's now, and is joined then.
fn is_in_own_network(pid: u32) -> Result<bool, Error> {
    let identity = |path: String| {
        let stat = rustix::fs::stat(&path).map_err(|errno| Error::Namespace(path, errno))?;
        Ok::<_, Error>((stat.st_dev, stat.st_ino))
    };
    Ok(identity(format!("/proc/{pid}/ns/net"))? == identity("/proc/self/ns/net".to_owned())?)
}

/// Runs a process in the container; returns its exit code, or 0 at once when detached.
///
/// # Errors
/// The first thing that failed.
pub fn exec(options: &Options, target: &Target, process: &oci::Process) -> Result<i32, Error> {
    let Target { container, spec } = target;
    let missing = || Error::NoProcess(options.id.clone());
    let record = container.record.as_ref().ok_or_else(missing)?;
    let init = container.process.ok_or_else(missing)?;
    let pidfd = container.pidfd()?.ok_or_else(missing)?;
    create::check_preserved(options.preserved)?;
    let host = HostFacts::probe(options.rootless)?.for_spec(spec);
    if container.status == Status::Created
        && host.rootless()
        && has_namespace(spec, |one| one.typ() == oci::LinuxNamespaceType::User)
    {
        return Err(Error::Waiting(options.id.clone()));
    }
    if container.status == Status::Created && container.promises().is_some() {
        return Err(Error::Promised(options.id.clone()));
    }
    let mut entered = record.cgroup.enter(&options.cgroup)?;
    let request = Request {
        id: &options.id,
        bundle: &record.bundle,
        spec,
        process,
        init: init.pid,
        same_network: has_namespace(spec, plan::namespaces::is_inherited) && is_in_own_network(init.pid)?,
        by_tasks: !entered.tasks.is_empty(),
        preserved: options.preserved,
        environment: &options.environment,
    };
    let plan = plan::exec::plan(&request, &host)?;
    create::check_terminal(plan.terminal, options.console_socket.as_deref(), options.detach)?;
    create::log_steps(&plan);
    for note in &plan.notes {
        crate::log::debug(note);
    }
    let console = connect_console(options.console_socket.as_deref())?;
    let mask = signal::block_all();
    let handed = Handed {
        given: vec![pidfd],
        start: None,
        console,
        mask,
    };
    let spawned = spawn::spawn(&plan, &mut entered, handed).map_err(|fault| create::Error::Parent {
        step: "start a process in the container",
        fault,
    })?;
    follow(options, &plan, spawned)
}

fn follow(options: &Options, plan: &Plan, spawned: Spawned) -> Result<i32, Error> {
    match attend(options, plan, &spawned) {
        Err(Error::Create(error)) => Err(spawned.end(plan, error).into()),
        Err(error) => {
            spawned.kill();
            Err(error)
        }
        Ok(_) if options.detach => Ok(0),
        Ok(terminal) => supervise::wait(Foreground {
            pidfd: spawned.pidfd.as_fd(),
            terminal,
            readiness: None,
            alive: None,
            first: None,
        })
        .map(supervise::Ended::code)
        .map_err(|errno| Error::Wait(errno.into())),
    }
}

fn attend(options: &Options, plan: &Plan, spawned: &Spawned) -> Result<Option<OwnedFd>, Error> {
    let mut terminal = None;
    let mut protocol = plan.protocol(options.console_socket.is_some());
    loop {
        match spawned.hear(&mut protocol, plan)? {
            (Reply::KeepTerminal, master) => terminal = master,
            (Reply::PassListener, listener) => spawned.pass_listener(plan, listener)?,
            (Reply::GoOn, _) => {
                spawned.tell_caller(options.pid_file.as_deref(), options.pidfd_socket.as_deref())?;
                spawned.send(ToChild::Start)?;
                protocol = protocol.started();
            }
            // exec has closed the other end.
            (Reply::Executed, _) => return Ok(terminal),
            (Reply::RunHooks | Reply::Report | Reply::Died, _) => {
                return Err(Error::Died(spawned.how_it_ended()));
            }
        }
    }
}
