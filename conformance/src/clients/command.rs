//! Runs a client's command and judges what it did.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

/// The distribution's own programs only, whatever else lies in front on the caller's PATH.
pub(crate) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Seconds after which a command counts as hung.
const LIMIT: u64 = 30;

/// What a command did.
#[derive(Debug)]
pub(crate) struct Output {
    line: String,
    hung: bool,
    /// Its exit code, 128 and the number if a signal ended it.
    pub(crate) code: i32,
    /// What it wrote to standard output.
    pub(crate) stdout: String,
    /// What it wrote to standard error.
    pub(crate) stderr: String,
}

/// Prepares the program and arguments of `words`, in an environment that owes nothing to the caller's.
pub(crate) fn command(dir: &Path, words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C")
        .env("TERM", "vt100");
    command.env("HOME", dir.join("home")).current_dir(dir);
    command.env("CONTAINERS_CONF", dir.join("containers.conf"));
    command.env("CONTAINERS_STORAGE_CONF", dir.join("storage.conf"));
    command
}

/// Runs `words` to the end with `input` on standard input. Output goes to files: a pipe would stay open, and
/// this function waiting, while a daemon that the command leaves behind holds it.
pub(crate) fn run(dir: &Path, words: &[String], input: Option<&str>) -> Result<Output> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let files = [
        dir.join(format!("out/{number}.out")),
        dir.join(format!("out/{number}.err")),
    ];
    let timed: Vec<String> = split(&format!("timeout -k 2 {LIMIT}"))
        .into_iter()
        .chain(words.iter().cloned())
        .collect();
    let started = Instant::now();
    let mut child = command(dir, &timed)
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(File::create(&files[0])?)
        .stderr(File::create(&files[1])?)
        .spawn()
        .with_context(|| format!("run {}", words[0]))?;
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), input) {
        // A command that refuses its arguments closes the pipe unread; its exit code tells.
        let _ = pipe.write_all(text.as_bytes());
    }
    let status = child.wait().context("wait")?;
    let hung = started.elapsed().as_secs() >= LIMIT;
    let [stdout, stderr] = files.map(|file| {
        let bytes = fs::read(&file).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    Ok(Output {
        line: words.join(" "),
        hung,
        code: status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        stdout,
        stderr,
    })
}

impl Output {
    /// Requires this exit code.
    pub(crate) fn exits(self, code: i32) -> Result<Self> {
        ensure!(
            self.code == code,
            "exit code {} instead of {code}: {self}",
            self.code
        );
        Ok(self)
    }

    /// Requires exit code 0.
    pub(crate) fn ok(self) -> Result<Self> {
        self.exits(0)
    }

    /// Requires any exit code but 0.
    pub(crate) fn refused(self) -> Result<Self> {
        ensure!(self.code != 0, "succeeded, but should not have: {self}");
        Ok(self)
    }

    /// Requires success and exactly this on standard output, white space at the ends aside.
    pub(crate) fn prints(self, text: &str) -> Result<Self> {
        let this = self.ok()?;
        ensure!(
            this.text() == text,
            "printed {:?} instead of {text:?}: {this}",
            this.text()
        );
        Ok(this)
    }

    /// Requires `text` somewhere in standard output.
    pub(crate) fn shows(self, text: &str) -> Result<Self> {
        ensure!(
            self.stdout.contains(text),
            "{text:?} is not in {:?}: {self}",
            self.stdout
        );
        Ok(self)
    }

    /// Requires `text` somewhere in standard error.
    pub(crate) fn complains(self, text: &str) -> Result<Self> {
        ensure!(
            self.stderr.contains(text),
            "standard error does not say {text:?}: {self}"
        );
        Ok(self)
    }

    /// Standard output without white space at its ends, and without the carriage returns of a terminal.
    pub(crate) fn text(&self) -> String {
        self.stdout.replace(['\r', '\0'], "").trim().to_owned()
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`", self.line)?;
        if self.hung {
            write!(f, " hung for {LIMIT} s")?;
        }
        let stderr = self.stderr.trim();
        let from = stderr.char_indices().rev().nth(600).map_or(0, |(at, _)| at);
        if stderr.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", &stderr[from..])
        }
    }
}

/// Splits flags at white space; no client flag used here holds any within a word.
pub(crate) fn split(text: &str) -> Vec<String> {
    text.split_whitespace().map(String::from).collect()
}

/// Waits up to `seconds` for `done`, asking 20 times a second.
pub(crate) fn until(seconds: u64, what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..seconds * 20 {
        if done()? {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    anyhow::bail!("waited {seconds} s in vain until {what}")
}

/// Runs a shell command on a terminal of 33 rows and 77 columns.
pub(crate) fn on_terminal(dir: &Path, line: &str) -> Result<Output> {
    let shell = format!("stty rows 33 cols 77; exec {line}");
    let words = ["script", "--quiet", "--return", "--command", &shell, "/dev/null"];
    run(dir, &words.map(String::from), None)
}
