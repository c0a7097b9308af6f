//! An existing container, as a command finds it.

use crate::host::HostFacts;
use crate::lifecycle::{self, Act, Found, Operation, Refusal, Status};
use crate::state::{self, Directory, HookState, Loaded, Process, Record};
use nucleus_sys::signal::pidfd_send_signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why a command cannot act on a container.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its state.
    #[error(transparent)]
    State(#[from] state::Error),
    /// Its status forbids it.
    #[error("container {id:?}: {refusal}")]
    Refused {
        /// The container.
        id: String,
        /// What and why.
        refusal: Refusal,
    },
    /// Its first process cannot be reached.
    #[error("container {id:?}: {call} process {pid}")]
    Process {
        /// The container.
        id: String,
        /// The call.
        call: &'static str,
        /// The process.
        pid: u32,
        /// Its errno.
        #[source]
        source: std::io::Error,
    },
    /// Another process would be taken for its first one.
    #[error("container {id:?}: process {pid}: {}", state::FOREIGN_PROC)]
    ForeignProc {
        /// The container.
        id: String,
        /// The process.
        pid: u32,
    },
    /// Its cgroups.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::Error),
    /// It was created without a cgroup.
    #[error("container {0:?} has no cgroup of its own")]
    NoCgroup(String),
    /// It would not die.
    #[error("container {0:?} is still alive 10 seconds after SIGKILL")]
    Immortal(String),
}

/// Deletes the cgroups, waiting at most ten seconds for a process on its way out: a first process whose
/// runtime was killed during set-up ends by itself.
fn delete_cgroups(cgroup: &crate::cgroup::Record) -> Result<(), crate::cgroup::Error> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut pause = Duration::from_millis(1);
    loop {
        match cgroup.delete() {
            Err(error) if error.errno() == Some(Errno::BUSY) && Instant::now() < deadline => {}
            result => return result,
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// What can be said of a container whose record is damaged, from its configuration: where its cgroups are.
fn recover(directory: &Directory) -> Option<Record> {
    // Without that, the path that a container gets when its configuration names none.
    let config = directory.read("config.json").ok()?.unwrap_or_default();
    let (spec, _) = crate::bundle::parse(&config).unwrap_or_default();
    let host = HostFacts::probe(None).ok()?;
    let driver = Some(crate::cgroup::Driver::Cgroupfs);
    let cgroup = crate::plan::plan_cgroup(directory.id(), &spec, driver, &host).ok()?;
    Some(Record {
        oci_version: spec.version().clone(),
        id: directory.id().to_owned(),
        bundle: PathBuf::new(),
        rootfs: PathBuf::new(),
        annotations: state::annotations(&spec, None),
        created: String::new(),
        owner: 0,
        cgroup: cgroup.intent(),
        intel_rdt: crate::intel_rdt::recorded(&spec, directory.id()),
        pid_namespace: true,
    })
}

/// A container and its status at one moment.
#[derive(Debug)]
pub struct Container {
    /// Its state directory.
    pub directory: Directory,
    /// What was recorded; nothing when `create` died before it had made anything.
    pub record: Option<Record>,
    /// Its first process, once it was created.
    pub process: Option<Process>,
    /// Its status.
    pub status: Status,
}

impl Container {
    /// Finds a container without waiting for other commands.
    ///
    /// # Errors
    /// That it does not exist, or that its state is damaged.
    pub fn open(root: &Path, id: &str) -> Result<Self, Error> {
        let directory = Directory::open(root, id)?;
        let loaded = directory.load()?;
        Self::look(directory, loaded, false)
    }

    /// Finds a container and takes its lock, so that nobody else changes it.
    ///
    /// # Errors
    /// As [`open`](Self::open); that another command holds the lock for too long.
    pub fn open_locked(root: &Path, id: &str) -> Result<Self, Error> {
        let directory = Directory::open(root, id)?;
        directory.lock()?;
        let loaded = directory.load()?;
        Self::look(directory, loaded, true)
    }

    /// As [`open_locked`](Self::open_locked), for `delete --force`: what is damaged counts as not there, so
    /// that it can be removed.
    ///
    /// # Errors
    /// As [`open_locked`](Self::open_locked).
    pub fn open_locked_damaged(root: &Path, id: &str) -> Result<Self, Error> {
        match Self::open_locked(root, id) {
            Err(Error::State(state::Error::Damaged { .. })) => {
                let directory = Directory::open(root, id)?;
                directory.lock()?;
                let mut loaded = directory.load_readable();
                loaded.record = loaded.record.or_else(|| recover(&directory));
                Self::look(directory, loaded, true)
            }
            result => result,
        }
    }

    /// Looks only for what can make a difference.
    fn look(directory: Directory, loaded: Loaded, locked: bool) -> Result<Self, Error> {
        let Loaded { record, init } = loaded;
        let process = init.as_ref().map(|init| init.process);
        let alive = process.is_some_and(|process| process.is_alive());
        let frozen = match &record {
            Some(record) if alive => record.cgroup.is_frozen()?,
            _ => false,
        };
        let found = Found {
            recorded: process.is_some(),
            alive,
            frozen,
            waits: alive && !frozen && directory.has("start")?,
            locked,
        };
        Ok(Self {
            directory,
            record,
            process,
            status: found.status(),
        })
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        self.directory.id()
    }

    /// Asks the status machine what to do.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn decide(&self, operation: Operation) -> Result<&'static [Act], Error> {
        // Only a start is claimed, and only then a container runs that is yet to be started.
        let claimed = self.status == Status::Running
            && operation == Operation::Start
            && self.directory.has("starting")?;
        lifecycle::decide(self.status, claimed, operation).map_err(|refusal| Error::Refused {
            id: self.id().to_owned(),
            refusal,
        })
    }

    /// Its cgroups.
    ///
    /// # Errors
    /// [`Error::NoCgroup`] where it has none.
    pub fn cgroups(&self) -> Result<&crate::cgroup::Record, Error> {
        match &self.record {
            Some(record) if !record.cgroup.is_empty() => Ok(&record.cgroup),
            _ => Err(Error::NoCgroup(self.id().to_owned())),
        }
    }

    /// The SHA-256 of what is promised of it; see [`PROMISES`](crate::start::PROMISES).
    pub fn promises(&self) -> Option<&str> {
        let record = self.record.as_ref()?;
        record.annotations.get(crate::start::PROMISES).map(String::as_str)
    }

    /// The state for hooks and `state`.
    pub fn hook_state(&self) -> Option<HookState> {
        self.record.as_ref().map(HookState::of)
    }

    /// A descriptor of the first process, if it is still alive.
    ///
    /// # Errors
    /// As `pidfd_open(2)`; [`Error::ForeignProc`].
    pub fn pidfd(&self) -> Result<Option<OwnedFd>, Error> {
        let Some(process) = self.process else {
            return Ok(None);
        };
        let Some(pid) = Pid::from_raw(process.pid as i32) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) if process.is_alive() => return Err(self.foreign_proc(process)),
            Err(Errno::SRCH) => return Ok(None),
            result => result.map_err(|errno| self.error("pidfd_open", errno))?,
        };
        // The id may have been given to another process before the descriptor held it.
        if !process.is_alive() {
            return Ok(None);
        }
        match process.is_behind(pidfd.as_fd()) {
            Ok(Some(true)) => Ok(Some(pidfd)),
            Ok(Some(false)) => Err(self.foreign_proc(process)),
            Ok(None) => Ok(None),
            Err(errno) => Err(self.error("read /proc/self/fdinfo of", errno)),
        }
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    /// As `pidfd_send_signal(2)`.
    pub fn signal(&self, signo: i32) -> Result<(), Error> {
        let Some(pidfd) = self.pidfd()? else { return Ok(()) };
        match pidfd_send_signal(pidfd.as_fd(), signo) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(self.error("pidfd_send_signal", errno)),
        }
    }

    /// Ends every process of the container and waits for it.
    ///
    /// # Errors
    /// [`Error::Immortal`], or the failed call.
    pub fn end(&self) -> Result<(), Error> {
        let pidfd = self.pidfd()?;
        self.signal(libc::SIGKILL)?;
        if let Some(record) = &self.record {
            record.cgroup.kill_all(libc::SIGKILL)?;
        }
        let Some(pidfd) = pidfd else { return Ok(()) };
        let timeout = Timespec {
            tv_sec: Duration::from_secs(10).as_secs() as i64,
            tv_nsec: 0,
        };
        loop {
            return match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => Err(Error::Immortal(self.id().to_owned())),
                Ok(_) => Ok(()),
                Err(Errno::INTR) => continue,
                Err(errno) => Err(self.error("wait for", errno)),
            };
        }
    }

    /// Carries the acts of [`TAKE_DOWN`](lifecycle::TAKE_DOWN), or the last of them, out in their order.
    ///
    /// # Errors
    /// The first failure; what is left can be removed by a `delete` to come.
    pub fn take_down(self, acts: &[Act]) -> Result<(), Error> {
        for act in acts {
            crate::log::act(*act);
            match act {
                Act::End => self.end()?,
                Act::Free => self.free()?,
                Act::Remove => return Ok(self.directory.remove()?),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes what the kernel keeps for the container. Its first process has ended.
    fn free(&self) -> Result<(), Error> {
        let Some(record) = &self.record else { return Ok(()) };
        if !record.pid_namespace {
            // Without a pid namespace of its own the others survive the first process.
            record.cgroup.kill_all(libc::SIGKILL)?;
        }
        delete_cgroups(&record.cgroup)?;
        if let Some(directory) = &record.intel_rdt {
            let _ = crate::intel_rdt::remove(directory);
        }
        Ok(())
    }

    fn foreign_proc(&self, process: Process) -> Error {
        Error::ForeignProc {
            id: self.id().to_owned(),
            pid: process.pid,
        }
    }

    fn error(&self, call: &'static str, errno: Errno) -> Error {
        let pid = self.process.map_or(0, |process| process.pid);
        Error::Process {
            id: self.id().to_owned(),
            call,
            pid,
            source: errno.into(),
        }
    }
}
