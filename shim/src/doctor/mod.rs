//! What this host can enforce, seen by trying to break it: each probe runs an attack in a real sandbox, and again where
//! the protection is left out, so that an attack that never works is not taken for a protection.

pub mod attempt;
mod networks;
pub mod probes;
pub mod verdict;

use crate::facts::no_user_namespace;
use crate::request::Mode;
use attempt::Means;
use probes::{Control, Probe};
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use verdict::{Attempt, Finding};

/// When a person wants to see that something goes on.
const PATIENCE: Duration = Duration::from_secs(1);
/// A user without rights.
const NOBODY: u32 = 65_534;
/// What an attack prints before it begins.
const TRIED: &str = "tried";

/// This host under examination.
pub struct Doctor {
    /// Options of `nucleus` before the command.
    common: Vec<String>,
    runtime: Option<PathBuf>,
    means: Means,
    /// Whether there is no user namespace, and the mode goes without one.
    unmapped: bool,
    started: Instant,
    runs: u32,
}

impl Doctor {
    /// Makes what attacks are made with.
    ///
    /// # Errors
    /// As [`Means::new`].
    pub fn new(root: Option<&Path>, runtime: Option<PathBuf>) -> io::Result<Self> {
        let means = Means::new()?;
        let mut common = Vec::new();
        if let Some(root) = root {
            common.extend(["--root".to_owned(), root.display().to_string()]);
        }
        Ok(Self {
            common,
            runtime,
            means,
            unmapped: false,
            started: Instant::now(),
            runs: 0,
        })
    }

    /// Tries everything.
    ///
    /// # Errors
    /// A sandbox's command cannot be started at all.
    pub fn examine(mut self, mode: Mode) -> io::Result<Vec<Finding>> {
        let root = rustix::process::geteuid().is_root();
        let refused = no_user_namespace();
        self.unmapped = refused.is_some() && root && mode == Mode::Agent;
        let mut findings = vec![verdict::user_namespace(refused, root), self.promises(mode)?];
        for probe in probes::table(&self.means) {
            // Where there is none, nobody attacks with one.
            if self.unmapped && probe.name == probes::NEW_NAMESPACES {
                continue;
            }
            findings.push(self.probe(&probe)?);
        }
        findings.extend(self.networks()?);
        findings.push(self.gvisor()?);
        findings.extend(["runc", "crun"].map(verdict::engine));
        if io::stderr().is_terminal() && self.started.elapsed() > PATIENCE {
            write!(io::stderr(), "\r\x1b[K")?;
        }
        Ok(findings)
    }

    fn probe(&mut self, probe: &Probe) -> io::Result<Finding> {
        let attacked = self.sandbox(&probe.flags, &probe.attack)?;
        let control = match &probe.control {
            Control::Host => Self::host(&probe.attack, None)?,
            Control::Nobody => Self::host(&probe.attack, Some(NOBODY))?,
            Control::Without(flags) => self.sandbox(flags, &probe.attack)?,
        };
        Ok(verdict::judge(probe, &attacked, &control))
    }

    /// The whole launch report of a sandbox, system calls that were tried in it among them.
    fn promises(&mut self, mode: Mode) -> io::Result<Finding> {
        let report = self.means.directory().join("report");
        let checked = if mode == Mode::Agent {
            "agent"
        } else {
            "strict-agent"
        };
        let path = report.display().to_string();
        let flags = ["--mode", checked, "--report", &path].map(str::to_owned);
        let attempt = self.sandbox(&flags, ":")?;
        Ok(verdict::promises(&attempt, fs::read(&report).ok().as_deref()))
    }

    fn gvisor(&mut self) -> io::Result<Finding> {
        let here = rustix::system::uname().release().to_string_lossy().into_owned();
        let script = format!("[ \"$(uname -r)\" = '{here}' ]");
        let mut command = self.nucleus(Some("gvisor"));
        let attempt = finish(command.args(["--quiet", "--", "sh", "-c"]).arg(attack(&script)))?;
        Ok(verdict::gvisor(&attempt, rustix::process::geteuid().is_root()))
    }

    fn sandbox(&mut self, flags: &[String], script: &str) -> io::Result<Attempt> {
        let mut command = self.nucleus(None);
        command.arg("--quiet").args(flags);
        finish(command.args(["--", "sh", "-c"]).arg(attack(script)))
    }

    /// The beginning of `nucleus run`, with a runtime or the one that is examined.
    fn nucleus(&mut self, runtime: Option<&str>) -> Command {
        self.runs += 1;
        if io::stderr().is_terminal() && self.started.elapsed() > PATIENCE {
            let _ = write!(io::stderr(), "\rdoctor: sandbox {}", self.runs);
        }
        let name = format!("doctor-{}-{}", std::process::id(), self.runs);
        let mut command = Command::new("/proc/self/exe");
        command.args(&self.common).args(["run", "--name", &name]);
        command.args(self.unmapped.then_some("--allow-degraded-security"));
        command.arg("--runtime");
        match (runtime, &self.runtime) {
            (Some(runtime), _) => command.arg(runtime),
            (None, Some(path)) => command.arg(path),
            (None, None) => command.arg("native"),
        };
        command
    }

    fn host(script: &str, user: Option<u32>) -> io::Result<Attempt> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(attack(script));
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        finish(&mut command)
    }
}

fn attack(script: &str) -> String {
    format!("echo {TRIED}; {script}")
}

fn finish(command: &mut Command) -> io::Result<Attempt> {
    let Output {
        status,
        stdout,
        stderr,
    } = command.stdin(Stdio::null()).output()?;
    Ok(Attempt {
        tried: stdout.starts_with(TRIED.as_bytes()),
        through: status.success(),
        told: String::from_utf8_lossy(&stderr).trim().to_owned(),
    })
}
