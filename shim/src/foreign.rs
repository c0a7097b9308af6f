//! Runtimes with runc's command line, which tell nothing through descriptors: `create`, a look at the process,
//! `start`, and the way to its end.

use crate::begin::{Teller, is_checked};
use crate::counters::Counters;
use crate::decide::Decided;
use crate::egress::Network;
use crate::ending::{Ending, Status};
use crate::events::Events;
use crate::facts::Runtime;
use crate::kernel_log::{self, Killed};
use crate::report::pledge::Pledge;
use crate::run::{Call, at};
use crate::start::Waiting;
use crate::store::{Sandbox, Store};
use crate::streams::{self, Copies};
use crate::supervise;
use crate::watch::Watch;
use crate::write::Bundle;
use anyhow::Context;
use nucleus_sys::signal;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, set_child_subreaper};
use serde_json::json;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A sandbox of another runtime.
struct Foreign<'a> {
    decided: &'a Decided,
    bundle: &'a Bundle,
    root: PathBuf,
    call: &'a Call,
}

/// Runs a bundle under another runtime, and returns the exit code.
///
/// # Errors
/// What kept it from starting.
pub fn run(
    decided: &Decided,
    bundle: &Bundle,
    store: &Store,
    sandbox: &Sandbox,
    network: Option<&mut Network>,
    call: &Call,
    events: &mut Events,
) -> Result<i32, anyhow::Error> {
    let foreign = Foreign {
        decided,
        bundle,
        root: store.runtime_root(),
        call,
    };
    let begun = kernel_log::now();
    let name = decided.launch.name.as_str();
    // What the runtime leaves to itself becomes a child of this process, which can wait for it then.
    set_child_subreaper(Some(rustix::process::getpid())).map_err(io::Error::from)?;
    let guard = if call.detach {
        None
    } else {
        Some(Guard::start(store, name)?)
    };
    let (code, copies) = foreign.create(sandbox)?;
    if code != 0 {
        events.write("exited", &Ending::NotStarted(code).json())?;
        return Ok(code);
    }
    let pid = foreign.pid()?;
    events.write(
        "created",
        &json!({"pid": pid.as_raw_nonzero().get(), "mode": decided.launch.mode}),
    )?;
    if call.create {
        return Ok(0);
    }
    let watch = Watch::new().context("block signals")?;
    let counters = Counters::of(pid.as_raw_nonzero().get());
    foreign.start(pid, &watch, events)?;
    events.write("started", &json!({"pid": pid.as_raw_nonzero().get()}))?;
    if call.detach {
        return Ok(0);
    }
    let (mut status, timed_out) = foreign.wait(pid, &watch)?;
    let mut killed = Killed::Process(pid.as_raw_nonzero().get());
    // gVisor's kernel says 128 + n too.
    if decided.launch.init.is_some() || foreign.gvisor() {
        status = status.behind_init();
        killed = Killed::User(decided.launch.ids.outside().0);
    }
    copies.wait();
    // The workload is gone; what is left of the runtime are helpers that end by themselves. `delete` would take one
    // that nobody has waited for as running, and wait for seconds.
    drop(guard);
    watch.reap().context("wait for the runtime's processes")?;
    if let Some(network) = network {
        network.tell_refused(events, call.quiet)?;
    }
    let status = counters.complete(status);
    let ending = Ending::of(status, timed_out).with_call(killed, begun);
    for hit in status.limits_hit() {
        events.write("limit-hit", &hit)?;
    }
    events.write("exited", &ending.json())?;
    ending.tell(call.quiet);
    Ok(ending.code(status))
}

impl Foreign<'_> {
    fn name(&self) -> &str {
        &self.decided.launch.name
    }

    fn gvisor(&self) -> bool {
        self.decided.program.kind == Runtime::Gvisor
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.decided.program.command(&self.root);
        command.args(words).stdin(Stdio::null());
        command
    }

    fn pid_file(&self) -> PathBuf {
        self.bundle.directory.join("pid")
    }

    /// The workload's streams are those of `create`.
    fn create(&self, sandbox: &Sandbox) -> Result<(i32, Copies), anyhow::Error> {
        let mut command = self.command(&["create", "--bundle"]);
        command
            .arg(&self.bundle.directory)
            .arg("--pid-file")
            .arg(self.pid_file())
            .arg(self.name());
        if !self.call.detach {
            let copies = streams::keep_ours(&mut command)?;
            let status = command
                .status()
                .with_context(|| self.decided.program.path.display().to_string())?;
            return Ok((supervise::exit_code(status), copies));
        }
        let log = sandbox.directory().join("log");
        // Every writer at the end: runsc keeps no common position of standard output and error.
        let out = File::options()
            .append(true)
            .create(true)
            .open(&log)
            .map_err(at("create", &log))?;
        let failure = sandbox.directory().join("detached");
        File::create(&failure).map_err(at("create", &failure))?;
        // An input at its end, and not /dev/null, which the runtime would give away.
        command.stdin(Stdio::piped());
        let status = command.stdout(out.try_clone()?).stderr(out).status()?;
        if !status.success() {
            let told = std::fs::read_to_string(&log).unwrap_or_default();
            anyhow::bail!("{}", told.trim_end());
        }
        Ok((0, Copies::default()))
    }

    fn pid(&self) -> Result<Pid, anyhow::Error> {
        let path = self.pid_file();
        let text = std::fs::read_to_string(&path).map_err(at("read", &path))?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        pid.with_context(|| format!("{}: no process id: {text:?}", path.display()))
    }

    /// Lets the program begin, and holds what can be seen against what was promised, if that is wanted.
    fn start(&self, pid: Pid, watch: &Watch, events: &mut Events) -> Result<(), anyhow::Error> {
        let waiting = Waiting {
            program: &self.decided.program,
            root: &self.root,
            name: self.name(),
            pid: pid.as_raw_nonzero().get(),
            landlock: None,
            promises: None,
        };
        if !is_checked(&self.decided.launch.decision.rules, self.call) {
            return waiting.go(watch);
        }
        let teller = Teller::of(self.decided, self.bundle, self.call, events);
        waiting.go_held(watch, &Pledge::of(self.decided, self.bundle)?, teller)
    }

    /// The workload's first process, or gVisor's kernel, which ends as that does: `runsc wait` comes too late for one
    /// that ends at once.
    fn wait(&self, pid: Pid, watch: &Watch) -> Result<(Status, bool), anyhow::Error> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from)?;
        let timed_out = watch.until_end(
            (pidfd.as_fd(), PollFlags::IN),
            self.decided.launch.timeout,
            |signo| self.send(&pidfd, signo),
        )?;
        Ok((watch.status(&pidfd)?, timed_out))
    }

    fn send(&self, pidfd: &OwnedFd, signo: i32) -> io::Result<()> {
        if self.gvisor() {
            // One that has just ended cannot be sent anything.
            let mut kill = self.command(&["kill", self.name(), &signo.to_string()]);
            return kill
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .map(drop);
        }
        match signal::pidfd_send_signal(pidfd.as_fd(), signo) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Ends the workload when this process is gone: another of this program, which waits for the end of a pipe
/// ([`crate::cleanup::guard`]).
struct Guard {
    child: std::process::Child,
}

impl Guard {
    fn start(store: &Store, name: &str) -> io::Result<Self> {
        use std::os::unix::process::CommandExt;
        let child = Command::new("/proc/self/exe")
            .arg0("nucleus")
            .arg("--root")
            .arg(store.root())
            .args(["guard", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A terminal's signals are not for it.
            .process_group(0)
            .spawn()?;
        Ok(Self { child })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut input) = self.child.stdin.take() {
            let _ = io::Write::write_all(&mut input, b"end\n");
        }
        let _ = self.child.wait();
    }
}
