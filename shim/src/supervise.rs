//! One run of `nucleus-runtime`, watched to its end.

use crate::ending::Status;
use crate::protected::Protected;
use crate::watch::Watch;
use nucleus_sys::signal;
use nucleus_sys::trace::Tracee;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::Duration;

/// What the runtime tells of a container that is created.
#[derive(Debug, serde::Deserialize)]
pub struct Created {
    /// Its process.
    pub pid: i32,
    /// What is enforced of the Landlock rules, if there are any.
    #[serde(default)]
    pub landlock: Option<serde_json::Value>,
}

/// A runtime that was started, and waits for its configuration. It is ended when this is dropped: until it has that it
/// makes nothing.
#[derive(Debug)]
pub struct Waiting {
    child: Leashed,
    config: OwnedFd,
    info: OwnedFd,
    life: OwnedFd,
    held: bool,
    runtime: Protected,
}

impl Waiting {
    /// Starts the runtime with `--config-fd`, `--info-fd` and the container's name behind it. If `held`, the workload
    /// waits for [`go`](Supervised::go); with `alive` it ends when this process does.
    ///
    /// # Errors
    /// As pipe(2), fork(2) and execve(2).
    pub fn start(mut runtime: Protected, name: &str, held: bool, alive: bool) -> io::Result<Self> {
        let (config_there, config) = pipe_with(PipeFlags::CLOEXEC)?;
        let (info, info_there) = pipe_with(PipeFlags::CLOEXEC)?;
        let (life_there, life) = pipe_with(PipeFlags::CLOEXEC)?;
        // The same end twice: the first byte starts the workload, the end of file ends it.
        let held_there = held.then(|| rustix::io::dup(&life_there)).transpose()?;
        let there = [
            ("--config-fd", Some(&config_there)),
            ("--info-fd", Some(&info_there)),
            ("--block-fd", held_there.as_ref()),
            ("--alive-fd", alive.then_some(&life_there)),
        ];
        for (option, fd) in there {
            let Some(fd) = fd else { continue };
            fcntl_setfd(fd, FdFlags::empty())?;
            runtime.command.args([option, &fd.as_raw_fd().to_string()]);
        }
        let child = runtime.command.arg(name).spawn()?;
        Ok(Self {
            child: Leashed(Some(child)),
            config,
            info,
            life,
            held,
            runtime,
        })
    }

    /// Gives it the configuration. Signals are messages from now on.
    ///
    /// # Errors
    /// As write(2) and signalfd(2); a runtime that has died meanwhile is not one: `created` finds it.
    pub fn give(mut self, config: &[u8]) -> io::Result<Supervised> {
        let child = self.child.0.take().ok_or(io::ErrorKind::InvalidInput)?;
        // After the spawn: the runtime passes its own mask on to the workload.
        let watch = Watch::new()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        match File::from(self.config).write_all(config) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
        Ok(Supervised {
            pidfd,
            child,
            watch,
            info: BufReader::new(File::from(self.info)),
            life: self.life,
            held: self.held,
            runtime: Some(self.runtime),
        })
    }
}

/// A process that ends when this is dropped, unless it was taken out.
#[derive(Debug)]
struct Leashed(Option<Child>);

impl Drop for Leashed {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A runtime that has its configuration, and the two pipes to it.
#[derive(Debug)]
pub struct Supervised {
    child: Child,
    pidfd: OwnedFd,
    watch: Watch,
    info: BufReader<File>,
    /// While this is open, the runtime keeps the workload; it ends it when this process dies.
    life: OwnedFd,
    held: bool,
    /// Let go of when the workload runs, and not before: that takes the kernel a while.
    runtime: Option<Protected>,
}

impl Supervised {
    /// Waits until the container is created, and returns its process; `None` if the runtime failed, which it has
    /// told by itself.
    ///
    /// # Errors
    /// As read(2).
    pub fn created(&mut self) -> io::Result<Option<Created>> {
        self.told()
    }

    /// Lets the workload begin, and stops it before its first instruction; `None` if the runtime failed, which it
    /// has told by itself.
    ///
    /// # Errors
    /// As ptrace(2) and poll(2), or that the program has not come.
    pub fn go_to_exec(&mut self, pid: i32) -> io::Result<Option<Tracee>> {
        let tracee = Tracee::seize(pid)?;
        self.go()?;
        let is_there = self
            .watch
            .until_exec(&tracee, |signo| pass_on(&self.pidfd, signo))?;
        Ok(is_there.then_some(tracee))
    }

    /// Lets the workload begin, if it has not already.
    ///
    /// # Errors
    /// As write(2); a runtime that has died meanwhile is not one: `wait` finds it.
    pub fn go(&mut self) -> io::Result<()> {
        let told = if self.held {
            rustix::io::write(&self.life, b"g")
        } else {
            Ok(0)
        };
        self.runtime = None;
        match told {
            Ok(_) | Err(Errno::PIPE) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Passes signals on and waits for the end: what the runtime told of it, and whether its time was over.
    ///
    /// # Errors
    /// As poll(2).
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<(Option<Status>, bool)> {
        let Self {
            watch,
            pidfd,
            info,
            life,
            ..
        } = self;
        // It lets go of the pipe when it has removed what it made; that its memory is freed need not be waited for.
        let end = (info.get_ref().as_fd(), PollFlags::empty());
        let timed_out = watch.until_end(end, timeout, |signo| {
            if signo != SIGKILL {
                return pass_on(pidfd, signo);
            }
            // The runtime ends the workload and removes it when the descriptor closes.
            *life = rustix::fs::open("/dev/null", OFlags::CLOEXEC, Mode::empty())?;
            Ok(())
        })?;
        Ok((self.told()?, timed_out))
    }

    /// The runtime's next word; `None` if it had no more.
    fn told<T: serde::de::DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut line = String::new();
        self.info.read_line(&mut line)?;
        Ok(serde_json::from_str(&line).ok())
    }

    /// The runtime's exit code.
    ///
    /// # Errors
    /// As waitid(2).
    pub fn code(&mut self) -> io::Result<i32> {
        self.child.wait().map(exit_code)
    }
}

const SIGKILL: i32 = rustix::process::Signal::KILL.as_raw();

/// A terminal's signals reach the runtime by itself too.
fn pass_on(pidfd: &OwnedFd, signo: i32) -> io::Result<()> {
    match signal::pidfd_send_signal(pidfd.as_fd(), signo) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// An exit code as a shell has it.
pub fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
