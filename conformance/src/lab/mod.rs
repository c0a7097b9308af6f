//! What a case works with inside its sandbox: the runtime, bundles, containers, and what was left behind.

mod bundle;
mod container;
mod leftovers;
pub(crate) mod socket;

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

pub(crate) use bundle::Bundle;
pub(crate) use container::Container;

use crate::host::View;
use crate::sandbox;

/// A runtime's command that takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The workplace of one case.
pub(crate) struct Lab {
    runtime: PathBuf,
    /// Bundles and everything else that a case writes.
    pub(crate) dir: PathBuf,
    /// The runtime's `--root`.
    pub(crate) state_root: PathBuf,
    /// The view of the cgroups.
    pub(crate) view: View,
    /// The JSON schemas, for the suite that needs them.
    pub(crate) schemas: Option<PathBuf>,
    /// Whether the runtime is asked to make its cgroups through systemd.
    pub(crate) systemd_cgroup: bool,
    next: Cell<u32>,
}

/// What a command of the runtime printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    /// The command line, for messages.
    pub(crate) command: String,
    /// The exit code, or 128 + the signal's number.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Lab {
    /// Sets the workplace up in `TMPDIR`, which is private to the sandbox.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub(crate) fn new(runtime: &Path, view: View, schemas: Option<&Path>) -> Result<Lab> {
        Lab::at(std::env::temp_dir(), runtime, view, schemas)
    }

    /// As [`Lab::new`], in a directory of the caller's.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub(crate) fn at(dir: PathBuf, runtime: &Path, view: View, schemas: Option<&Path>) -> Result<Lab> {
        let state_root = dir.join("state");
        fs::create_dir_all(&state_root)?;
        Ok(Lab {
            runtime: runtime.to_owned(),
            dir,
            state_root,
            view,
            schemas: schemas.map(Path::to_owned),
            systemd_cgroup: false,
            next: Cell::new(0),
        })
    }

    /// The runtime's path.
    pub(crate) fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// The same workplace for another runtime, with a state directory of its own.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub(crate) fn other(&self, runtime: &Path) -> Result<Lab> {
        let state_root = self.dir.join("other-state");
        fs::create_dir_all(&state_root)?;
        Ok(Lab {
            runtime: runtime.to_owned(),
            dir: self.dir.clone(),
            state_root,
            view: self.view,
            schemas: self.schemas.clone(),
            systemd_cgroup: self.systemd_cgroup,
            next: self.next.clone(),
        })
    }

    /// A container id that was not used before in this sandbox.
    pub(crate) fn id(&self) -> String {
        self.next.set(self.next.get() + 1);
        format!("nucleus-case-{}", self.next.get())
    }

    /// A new bundle whose process is `args`.
    ///
    /// # Errors
    /// Its files cannot be written.
    pub(crate) fn bundle(&self, args: &[&str]) -> Result<Bundle> {
        self.next.set(self.next.get() + 1);
        Bundle::create(&self.dir.join(format!("bundle{}", self.next.get())), args)
    }

    /// A new bundle whose process is `sh -c script`.
    ///
    /// # Errors
    /// Its files cannot be written.
    pub(crate) fn script(&self, script: &str) -> Result<Bundle> {
        self.bundle(&["sh", "-c", script])
    }

    /// The runtime with its `--root` and the given arguments, not started yet.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.runtime);
        command
            .arg("--root")
            .arg(&self.state_root)
            .args(self.systemd_cgroup.then_some("--systemd-cgroup"))
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// Calls the runtime and waits for it.
    ///
    /// # Errors
    /// It cannot be started, or does not end in time. A failing command is no error.
    pub(crate) fn call<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Output> {
        finish(&mut self.command(args))
    }

    /// `run`s a bundle in the foreground under a new id.
    ///
    /// # Errors
    /// As of [`Lab::call`].
    pub(crate) fn run(&self, bundle: &Bundle) -> Result<Output> {
        let id = self.id();
        self.run_as(bundle, &id)
    }

    /// `run`s a bundle in the foreground.
    ///
    /// # Errors
    /// As of [`Lab::call`].
    pub(crate) fn run_as(&self, bundle: &Bundle, id: &str) -> Result<Output> {
        bundle.save()?;
        self.call(&["run", "--bundle", bundle.path(), id])
    }

    /// `run`s a bundle that must succeed; the result is its trimmed standard output.
    ///
    /// # Errors
    /// It does not succeed.
    pub(crate) fn stdout(&self, bundle: &Bundle) -> Result<String> {
        Ok(self.run(bundle)?.success()?.stdout.trim().to_owned())
    }

    /// `run`s `sh -c script` in a plain bundle, with a chance to change the bundle before.
    ///
    /// # Errors
    /// It does not succeed.
    pub(crate) fn output_of(&self, script: &str, change: impl FnOnce(&mut Bundle)) -> Result<String> {
        let mut bundle = self.script(script)?;
        change(&mut bundle);
        self.stdout(&bundle)
    }

    /// Whether the unified hierarchy is the only one in this view.
    pub(crate) fn is_v2(&self) -> bool {
        Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
    }

    /// Fails if anything of the container is left: processes, mounts, cgroups, state.
    ///
    /// # Errors
    /// What is left.
    pub(crate) fn expect_nothing_left(&self, id: &str) -> Result<()> {
        let mut left = Vec::new();
        // A killed process may take a moment to leave; a leak stays.
        let gone = within(Duration::from_secs(3), || {
            left = leftovers::of(self, id)?;
            Ok(left.is_empty())
        })?;
        ensure!(gone, "left behind: {}", left.join(", "));
        Ok(())
    }
}

impl Output {
    /// The output of a command that succeeded.
    ///
    /// # Errors
    /// It did not.
    pub(crate) fn success(self) -> Result<Output> {
        self.exits_with(0)
    }

    /// The output of a command that must have ended with this code.
    ///
    /// # Errors
    /// It ended with another one.
    pub(crate) fn exits_with(self, code: i32) -> Result<Output> {
        ensure!(
            self.code == code,
            "`{}` exits with {} instead of {code}; stdout: {:?}, stderr: {:?}",
            self.command,
            self.code,
            shorten(&self.stdout),
            shorten(&self.stderr)
        );
        Ok(self)
    }

    /// A command that must have failed by an error of the runtime's own that names `thing`.
    ///
    /// # Errors
    /// It succeeded, died of a signal, or said nothing that names the thing.
    pub(crate) fn refuses(self, thing: &str) -> Result<Output> {
        self.refuses_any(&[thing])
    }

    /// As [`Output::refuses`], where runtimes may name one of several things.
    ///
    /// # Errors
    /// As of [`Output::refuses`].
    pub(crate) fn refuses_any(self, things: &[&str]) -> Result<Output> {
        ensure!(self.code != 0, "`{}` succeeds", self.command);
        let output = self.exits_with(1)?;
        let said = &output.stderr;
        ensure!(
            things
                .iter()
                .any(|thing| said.to_lowercase().contains(&thing.to_lowercase())),
            "`{}` does not name {things:?} in its error: {:?}",
            output.command,
            shorten(said)
        );
        ensure!(
            !said.contains("panic"),
            "`{}` panics: {:?}",
            output.command,
            shorten(said)
        );
        Ok(output)
    }
}

fn shorten(text: &str) -> String {
    let text = text.trim();
    let mut short: String = text.chars().take(400).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Runs a command with its output caught in files: a container may keep them open longer than it runs.
///
/// # Errors
/// It cannot be started, or does not end in time.
pub(crate) fn finish(command: &mut Command) -> Result<Output> {
    let caught = Caught::start(command)?;
    caught.finish()
}

/// A started command whose output goes to files.
pub(crate) struct Caught {
    /// The process.
    pub(crate) child: Child,
    command: String,
    stdout: File,
    stderr: File,
}

impl Caught {
    /// Starts a command.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(command: &mut Command) -> Result<Caught> {
        Caught::start_with_stdout(command, tempfile::tempfile()?)
    }

    /// Starts a command whose standard output goes to a given file.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start_with_stdout(command: &mut Command, stdout: File) -> Result<Caught> {
        let stderr = tempfile::tempfile()?;
        command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Caught {
            child,
            command: words(command),
            stdout,
            stderr,
        })
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// It does not end in time.
    pub(crate) fn finish(mut self) -> Result<Output> {
        let Some(status) = sandbox::wait(&mut self.child, TIMEOUT)? else {
            bail!("`{}` does not end in {} s", self.command, TIMEOUT.as_secs());
        };
        Ok(Output {
            code: code(status),
            stdout: sandbox::text(&self.stdout)?,
            stderr: sandbox::text(&self.stderr)?,
            command: self.command,
        })
    }
}

/// The command line without the path of the program and its `--root`.
fn words(command: &Command) -> String {
    let words: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    match &words[..] {
        [root, _, words @ ..] if root == "--root" => words.join(" "),
        words => words.join(" "),
    }
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// Asks again until it holds or the time is over.
///
/// # Errors
/// The question itself fails.
pub(crate) fn within(time: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<bool> {
    let end = Instant::now() + time;
    loop {
        if holds()? {
            return Ok(true);
        }
        if Instant::now() > end {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The number in the line `name: …` of a `/proc` status text.
pub(crate) fn status_field<'a>(text: &'a str, name: &str) -> Result<&'a str> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(str::trim)
        .with_context(|| format!("no {name} in {text:?}"))
}
