//! The sandbox that each case runs in: private mounts, processes, network, cgroups, `/dev`, `/run` and `TMPDIR`.
//!
//! A runtime that kills pid -1, changes the owner of its caller's `/dev/null`, or leaves a frozen cgroup
//! behind ends nothing but its own case. Two stages make it: this side makes a cgroup in every hierarchy
//! and starts unshare(1) in them; [`init`] is the first process inside and mounts the rest.

mod cgroups;
pub(crate) mod init;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

use crate::host::View;

/// Enters the cgroups named in `$1` (colons between them), makes them the roots of a new cgroup namespace,
/// leaves the unified one for its child `$2`, and becomes the rest of the arguments. A unified cgroup with
/// processes of its own cannot give controllers to its children, so the sandbox's root must have none.
const ENTER: &str = r#"
    IFS=:
    for dir in $1; do echo 0 >"$dir/cgroup.procs" || exit 125; done
    leaf=$2
    shift 2
    exec unshare --cgroup -- sh -c 'test -z "$0" || echo 0 >"$0/cgroup.procs" || exit 125; exec "$@"' "$leaf" "$@"
"#;

/// A command to run in a new sandbox.
pub(crate) struct Request<'a> {
    /// The view of the cgroups inside.
    pub(crate) view: View,
    /// Program and arguments.
    pub(crate) command: Vec<OsString>,
    /// Variables added to the environment.
    pub(crate) env: Vec<(&'a str, &'a OsStr)>,
    /// The working directory, if not ours.
    pub(crate) dir: Option<&'a Path>,
    /// After this time everything in the sandbox is killed.
    pub(crate) timeout: Duration,
}

/// What a sandbox left.
pub(crate) struct Ended {
    /// The command's status; `None` after the timeout.
    pub(crate) status: Option<ExitStatus>,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

/// Runs a command in a new sandbox, and removes the sandbox.
///
/// # Errors
/// The sandbox cannot be made. A failing command is no error.
pub(crate) fn run(request: &Request<'_>) -> Result<Ended> {
    let cgroups = cgroups::Subtree::create(request.view)?;
    let scratch = tempfile::Builder::new()
        .prefix("nucleus-conformance.")
        .tempdir()?;
    let stdout = tempfile::tempfile()?;
    let stderr = tempfile::tempfile()?;
    let mut child = command(request, &cgroups, scratch.path())?
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()
        .context("start sh")?;
    let status = wait(&mut child, request.timeout)?;
    Ok(Ended {
        status,
        stdout: text(&stdout)?,
        stderr: text(&stderr)?,
    })
}

fn command(request: &Request<'_>, cgroups: &cgroups::Subtree, scratch: &Path) -> Result<Command> {
    let mut command = Command::new("sh");
    command
        .args(["-c", ENTER, "sh"])
        .arg(cgroups.joined())
        .arg(cgroups.leaf());
    command.args(["unshare", "--mount", "--pid", "--ipc", "--uts", "--net"]);
    // --kill-child: killing unshare(1) kills process 1 inside, and with it everything.
    command.args(["--fork", "--kill-child", "--mount-proc", "--"]);
    command
        .arg(own_program()?)
        .args(["sandbox-init", &request.view.to_string()])
        .arg(scratch)
        .arg("--");
    command
        .args(&request.command)
        .envs(request.env.iter().copied())
        .env("TMPDIR", scratch);
    if let Some(dir) = request.dir {
        command.current_dir(dir);
    }
    Ok(command)
}

/// The path of this program, to start it again inside.
///
/// # Errors
/// `/proc` is not mounted.
pub(crate) fn own_program() -> Result<std::path::PathBuf> {
    std::env::current_exe().context("find this program's path")
}

/// Waits for the child, and kills it after the timeout.
pub(crate) fn wait(child: &mut Child, timeout: Duration) -> Result<Option<ExitStatus>> {
    let pid = Pid::from_child(child);
    let fd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open")?;
    let limit = Timespec {
        tv_sec: timeout.as_secs() as i64,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let ended = rustix::io::retry_on_intr(|| {
        rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit))
    })?;
    if ended == 0 {
        child.kill()?;
        child.wait()?;
        return Ok(None);
    }
    Ok(Some(child.wait()?))
}

/// Reads the whole of a file by a description of its own: processes that live on share ours, and its position.
pub(crate) fn text(file: &File) -> Result<String> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
