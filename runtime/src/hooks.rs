//! The six kinds of hooks: `config.md#posix-platform-hooks`.

use nucleus_sys::signal::{self, SignalMask};
use oci_spec::runtime as oci;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SeekFrom};
use rustix::io::Errno;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// All hooks of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    /// Deprecated, before createRuntime.
    pub prestart: Vec<Hook>,
    /// In the runtime namespace, before `pivot_root(2)`.
    pub create_runtime: Vec<Hook>,
    /// In the container namespace, before `pivot_root(2)`.
    pub create_container: Vec<Hook>,
    /// In the container namespace, before the program.
    pub start_container: Vec<Hook>,
    /// In the runtime namespace, after the program was started.
    pub poststart: Vec<Hook>,
    /// In the runtime namespace, after the container was deleted.
    pub poststop: Vec<Hook>,
}

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    path: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    timeout: Option<Duration>,
}

/// A hook that is wrong or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A hook of one kind is wrong.
    #[error("{kind}: {wrong}")]
    Kind {
        /// The property of `hooks`.
        kind: &'static str,
        /// What is wrong.
        wrong: Box<Error>,
    },
    /// `path` is not absolute.
    #[error("hook path {} is not absolute", .0.display())]
    Relative(PathBuf),
    /// `timeout` is not positive.
    #[error("hook {}: timeout {timeout} is not positive", .path.display())]
    Timeout {
        /// The hook.
        path: PathBuf,
        /// Its timeout in seconds.
        timeout: i64,
    },
    /// An `env` entry without `=`.
    #[error("hook {}: env entry {entry:?} has no '='", .path.display())]
    Env {
        /// The hook.
        path: PathBuf,
        /// The entry.
        entry: String,
    },
    /// It could not be started.
    #[error("start hook {}", .path.display())]
    Start {
        /// The hook.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It ended with another status than 0.
    #[error("hook {} failed: {status}{output}", .path.display())]
    Failed {
        /// The hook.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote, if anything.
        output: String,
    },
    /// It ran too long.
    #[error("hook {} was killed after {timeout:?}, its timeout", .path.display())]
    TooLong {
        /// The hook.
        path: PathBuf,
        /// Its timeout.
        timeout: Duration,
    },
}

impl Hooks {
    /// Checks the hooks of a configuration.
    ///
    /// # Errors
    /// What is wrong with the first bad one.
    pub fn new(hooks: Option<&oci::Hooks>) -> Result<Self, Error> {
        let Some(hooks) = hooks else {
            return Ok(Self::default());
        };
        let list = |kind, list: &Option<Vec<oci::Hook>>| -> Result<Vec<Hook>, Error> {
            let wrong = |wrong| Error::Kind {
                kind,
                wrong: Box::new(wrong),
            };
            list.iter()
                .flatten()
                .map(|hook| Hook::new(hook).map_err(wrong))
                .collect()
        };
        Ok(Self {
            prestart: list("prestart", hooks.prestart())?,
            create_runtime: list("createRuntime", hooks.create_runtime())?,
            create_container: list("createContainer", hooks.create_container())?,
            start_container: list("startContainer", hooks.start_container())?,
            poststart: list("poststart", hooks.poststart())?,
            poststop: list("poststop", hooks.poststop())?,
        })
    }
}

impl Hook {
    fn new(hook: &oci::Hook) -> Result<Self, Error> {
        let path = hook.path().clone();
        if !path.is_absolute() {
            return Err(Error::Relative(path));
        }
        let env = hook
            .env()
            .iter()
            .flatten()
            .map(|entry| match entry.split_once('=') {
                Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
                None => Err(Error::Env {
                    path: path.clone(),
                    entry: entry.clone(),
                }),
            });
        let env = env.collect::<Result<_, _>>()?;
        let timeout = match hook.timeout() {
            None => None,
            Some(seconds @ 1..) => Some(Duration::from_secs(seconds.unsigned_abs())),
            Some(timeout) => return Err(Error::Timeout { path, timeout }),
        };
        Ok(Self {
            args: hook.args().clone().unwrap_or_default(),
            env,
            timeout,
            path,
        })
    }

    /// Runs the hook to its end, with the state on its standard input.
    fn run(&self, state: &str) -> Result<(), Error> {
        let start = |source| Error::Start {
            path: self.path.clone(),
            source,
        };
        // Files in memory: neither side can block the other, whatever the hook reads or writes.
        let input = memory_file(state.as_bytes()).map_err(start)?;
        let output = memory_file(b"").map_err(start)?;
        let mut command = Command::new(&self.path);
        let mut args = self.args.iter();
        if let Some(name) = args.next() {
            command.arg0(name);
        }
        command
            .args(args)
            .env_clear()
            .envs(self.env.iter().map(|(key, value)| (key, value)));
        command.stdin(input).stdout(output.try_clone().map_err(start)?);
        command.stderr(Stdio::from(output.try_clone().map_err(start)?));
        // The runtime's are, while it makes a container.
        signal::restore_in_child(&mut command, SignalMask::none());
        let mut child = command.spawn().map_err(start)?;
        if let Some(timeout) = self.timeout {
            let ended = ends_within(child.id(), timeout);
            if !matches!(ended, Ok(true)) {
                let _ = child.kill();
                let _ = child.wait();
            }
            if !ended.map_err(|errno| start(errno.into()))? {
                return Err(Error::TooLong {
                    path: self.path.clone(),
                    timeout,
                });
            }
        }
        let status = child.wait().map_err(start)?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Failed {
            path: self.path.clone(),
            status,
            output: shown(output),
        })
    }
}

/// Runs hooks in order; the first failure ends it.
///
/// # Errors
/// The hook that failed.
pub fn run_all(hooks: &[Hook], state: &str) -> Result<(), Error> {
    hooks.iter().try_for_each(|hook| hook.run(state))
}

/// Runs hooks in order whatever each does; returns the failures. `config.md`: a failed poststart or poststop
/// hook is a warning.
pub fn run_each(hooks: &[Hook], state: &str) -> Vec<Error> {
    hooks.iter().filter_map(|hook| hook.run(state).err()).collect()
}

fn memory_file(bytes: &[u8]) -> std::io::Result<std::fs::File> {
    use std::io::{Seek, Write};
    let mut file = std::fs::File::from(rustix::fs::memfd_create(c"hook", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

fn shown(output: std::fs::File) -> String {
    const MOST: usize = 1024;
    let _ = rustix::fs::seek(&output, SeekFrom::Start(0));
    let mut bytes = vec![0; MOST];
    let length = rustix::io::read(&output, bytes.as_mut_slice()).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..length]).trim().to_owned();
    if text.is_empty() {
        text
    } else {
        format!(": {text}")
    }
}

fn ends_within(pid: u32, timeout: Duration) -> rustix::io::Result<bool> {
    let Some(pid) = rustix::process::Pid::from_raw(pid as i32) else {
        return Ok(true);
    };
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let timeout = Timespec {
        tv_sec: timeout.as_secs() as i64,
        tv_nsec: 0,
    };
    loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) => {}
            result => return result.map(|ready| ready > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(args: &[&str], timeout: Option<i64>) -> Hook {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut hook = oci::Hook::default();
        hook.set_path("/bin/sh".into())
            .set_args(Some(args))
            .set_timeout(timeout);
        Hook::new(&hook).unwrap()
    }

    #[test]
    fn the_state_arrives_and_a_failure_is_told_with_its_output() {
        let good = hook(&["sh", "-c", "read line; test \"$line\" = state"], None);
        assert!(good.run("state\n").is_ok());
        let bad = hook(&["sh", "-c", "echo no luck >&2; exit 3"], None);
        let message = bad.run("").unwrap_err().to_string();
        assert_eq!(message, "hook /bin/sh failed: exit status: 3: no luck");
    }

    #[test]
    fn a_hook_past_its_timeout_is_killed() {
        let slow = hook(&["sh", "-c", "sleep 60"], Some(1));
        assert!(matches!(slow.run(""), Err(Error::TooLong { .. })));
    }

    #[test]
    fn paths_must_be_absolute() {
        let mut hook = oci::Hook::default();
        hook.set_path("bin/sh".into());
        assert!(matches!(Hook::new(&hook), Err(Error::Relative(_))));
    }
}
