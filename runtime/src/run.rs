//! The second half of `run`: start the created container, wait for its end, remove it.

use crate::container::{self, Container};
use crate::create::{self, Created};
use crate::fault::{Fault, chain};
use crate::first::First;
use crate::handshake::Caller;
use crate::hooks::{self, Hooks};
use crate::lifecycle::{Status, TAKE_DOWN};
use crate::readiness::{Manager, Relay};
use crate::state::{self, Process, Record};
use crate::supervise::{self, Foreground};
use crate::sync::ToChild;
use rustix::fd::{AsFd, OwnedFd};

/// A container that was started by this process.
#[derive(Debug)]
pub struct Running {
    container: Container,
    hooks: Hooks,
    pidfd: OwnedFd,
    terminal: Option<OwnedFd>,
    relay: Option<Relay>,
}

/// Why a started container could not be followed to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Removing it.
    #[error(transparent)]
    Container(#[from] container::Error),
    /// Waiting for it.
    #[error("wait for the container")]
    Wait(#[source] std::io::Error),
    /// Telling its end.
    #[error("tell the caller through --info-fd how the container ended")]
    Tell(#[source] std::io::Error),
}

/// Lets the child go on to the program, and waits until it has become it. A program that is left alone is named
/// to the service manager as the main process, when it is ready.
///
/// # Errors
/// The child's failure; nothing of the container is left then.
pub fn start(mut created: Created, detach: bool) -> Result<Running, create::Error> {
    let pid = created.spawned.id();
    let listening = match Manager::from_environment() {
        Some(manager) => Relay::listen(&created.directory, manager, detach.then_some(pid)),
        None => Ok(None),
    };
    let relay = match listening.map_err(not_listening).and_then(|relay| {
        go(&created)?;
        Ok(relay)
    }) {
        Ok(relay) => relay,
        Err(error) => {
            create::abandon(created);
            return Err(error);
        }
    };
    created.keep();
    let hooks = std::mem::take(&mut created.plan.hooks);
    // As with the configuration: freeing it would copy pages that the child shares.
    std::mem::forget(created.plan);
    let record = Record {
        cgroup: created.cgroup,
        ..created.record
    };
    let container = Container {
        directory: created.directory,
        record: Some(record),
        process: Some(Process { pid, start_time: 0 }),
        status: Status::Running,
    };
    Ok(Running {
        container,
        hooks,
        pidfd: created.spawned.pidfd,
        terminal: created.terminal,
        relay,
    })
}

fn not_listening(fault: Fault) -> create::Error {
    create::Error::Parent {
        step: "listen for the program's readiness",
        fault,
    }
}

fn go(created: &Created) -> Result<(), create::Error> {
    let Created { plan, spawned, .. } = created;
    spawned.send(ToChild::Start)?;
    // Nothing but its failure or its end can come: either exec has closed the other end, or the program is gone
    // already, which its status tells.
    let mut protocol = plan.protocol(false).started();
    spawned.hear(&mut protocol, plan).map(drop)
}

impl Running {
    /// The state for hooks.
    pub fn state_json(&self, status: &str) -> String {
        let pid = (status != "stopped")
            .then(|| self.container.process.map(|process| process.pid))
            .flatten();
        self.container
            .hook_state()
            .map(|state| state.json(status, pid))
            .unwrap_or_default()
    }

    /// Leaves the program alone once it is ready, if a service manager waits for that.
    ///
    /// # Errors
    /// What could not be waited for.
    pub fn detach(self) -> Result<(), Error> {
        let Self {
            container,
            pidfd,
            relay,
            ..
        } = self;
        // Other commands may act on the container while its program gets ready.
        drop(container);
        match relay {
            Some(relay) => relay
                .until_ready(pidfd.as_fd())
                .map_err(|errno| Error::Wait(errno.into())),
            None => Ok(()),
        }
    }

    /// Waits for the program, removes the container unless it is to be kept, and returns the exit code.
    ///
    /// # Errors
    /// What could not be waited for or removed.
    pub fn wait(self, keep: bool, mut caller: Caller) -> Result<i32, Error> {
        let state = self.state_json("stopped");
        let Self {
            container,
            hooks,
            pidfd,
            terminal,
            relay,
        } = self;
        // Other commands may act on the container while its program runs: pause it, or delete it by force.
        container.directory.unlock().map_err(container::Error::from)?;
        let first = container.process.map(|process| First { pid: process.pid });
        let ended = supervise::wait(Foreground {
            pidfd: pidfd.as_fd(),
            terminal,
            readiness: relay,
            first: caller.alive.as_ref().and(first),
            alive: caller.alive.take(),
        })
        .map_err(|errno| Error::Wait(errno.into()))?;
        if let Some(record) = &container.record {
            // Before the control group goes, and its counters with it.
            let told = caller.tell_end(ended, &record.cgroup);
            told.map_err(|errno| Error::Tell(errno.into()))?;
        }
        let code = ended.code();
        if keep {
            return Ok(code);
        }
        match container.directory.lock() {
            // Another command has removed it meanwhile.
            Err(state::Error::Missing { .. }) => return Ok(code),
            locked => locked.map_err(container::Error::from)?,
        }
        // Its first process has ended, and the kernel closes the descriptor with this one's.
        std::mem::forget(pidfd);
        container.take_down(&TAKE_DOWN[1..])?;
        for failure in hooks::run_each(&hooks.poststop, &state) {
            crate::log::warning(&format!("poststop: {}", chain(&failure)));
        }
        // Before the descriptor of the removed directory: a file system on a disk takes a while to let go of that.
        drop(caller);
        Ok(code)
    }
}
