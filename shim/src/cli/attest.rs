//! `nucleus attest`.

use anyhow::Context;
use clap::{Args, Subcommand};
use nucleus_policy::Digest;
use nucleus_policy::attest::{self, Escaped, Mismatch, Options, Progress, Summary};
use rustix::fd::AsFd;
use serde_json::json;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What is done with a root file system's manifest.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Attest {
    /// Write .nucleus-rootfs-sha256 at the top of a root file system, and print the manifest's SHA-256
    Create(Create),
    /// Compare a root file system with its manifest; list every mismatch, and exit with 1 if there is one
    Verify(Verify),
}

/// Write .nucleus-rootfs-sha256 at the top of a root file system, and print the manifest's SHA-256.
#[derive(Debug, Args)]
#[command(after_help = "\
The manifest lists every file, directory and symbolic link: contents, modes, link targets. sha256sum -c takes it \
too. The digest that is printed is the pin for --rootfs-manifest-sha256.

Example:
  nucleus attest create /srv/rootfs")]
pub struct Create {
    /// The root file system
    directory: PathBuf,
    /// Record modes as a Nix store gives them: 0555 for directories and executable files, 0444 for others
    #[arg(long)]
    store_modes: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Compare a root file system with its manifest; list every mismatch, and exit with 1 if there is one.
#[derive(Debug, Args)]
#[command(after_help = "\
Without a pin whoever can write the root file system can write its manifest too.

Example:
  nucleus attest verify --manifest-sha256 DIGEST /srv/rootfs")]
pub struct Verify {
    /// The root file system
    directory: PathBuf,
    /// SHA-256 that the manifest must have
    #[arg(long, value_name = "DIGEST")]
    manifest_sha256: Option<Digest>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Attest {
    /// Does it.
    ///
    /// # Errors
    /// The tree or its manifest cannot be used.
    pub fn run(self, quiet: bool) -> Result<i32, anyhow::Error> {
        match self {
            Self::Create(create) => create.run(quiet),
            Self::Verify(verify) => verify.run(quiet),
        }
    }
}

impl Create {
    fn run(self, quiet: bool) -> Result<i32, anyhow::Error> {
        let at = || self.directory.display().to_string();
        let root = attest::open_root(&self.directory).with_context(|| format!("open {}", at()))?;
        let progress = Progress::default();
        let options = Options {
            store_modes: self.store_modes,
            progress: Some(&progress),
            ..Options::default()
        };
        let summary = shown(&progress, quiet, || attest::create(root.as_fd(), &options)).with_context(at)?;
        if self.json {
            return super::print(&format!("{:#}", counts(&summary)));
        }
        super::print(&summary.manifest.to_string())
    }
}

impl Verify {
    fn run(self, quiet: bool) -> Result<i32, anyhow::Error> {
        let at = || self.directory.display().to_string();
        let root = attest::open_root(&self.directory).with_context(|| format!("open {}", at()))?;
        let progress = Progress::default();
        let options = Options {
            pin: self.manifest_sha256,
            progress: Some(&progress),
            ..Options::default()
        };
        let mut list = List::begin(self.json)?;
        let verified = shown(&progress, quiet, || {
            attest::verify(root.as_fd(), &options, &mut |mismatch| list.add(&mismatch))
        });
        let listed = list.end(verified.as_ref().ok());
        let summary = verified.with_context(at)?;
        listed?;
        if summary.mismatches == 0 {
            return Ok(0);
        }
        anyhow::ensure!(self.json, "{}: {} mismatches", at(), summary.mismatches);
        Ok(1)
    }
}

fn counts(summary: &Summary) -> serde_json::Value {
    json!({
        "files": summary.files,
        "directories": summary.directories,
        "links": summary.links,
        "bytes": summary.bytes,
        "manifest-sha256": summary.manifest.to_string(),
    })
}

/// Mismatches on standard output, as they are found: there may be as many as files.
struct List {
    out: BufWriter<std::io::Stdout>,
    json: bool,
    empty: bool,
    failed: std::io::Result<()>,
}

impl List {
    fn begin(json: bool) -> std::io::Result<Self> {
        let mut out = BufWriter::new(std::io::stdout());
        if json {
            out.write_all(b"{\"mismatches\":[")?;
        }
        Ok(Self {
            out,
            json,
            empty: true,
            failed: Ok(()),
        })
    }

    fn add(&mut self, mismatch: &Mismatch) {
        if self.failed.is_err() {
            return;
        }
        self.failed = if self.json {
            let comma = if self.empty { "" } else { "," };
            let object = json!({
                "path": Escaped(&mismatch.path).to_string(),
                "difference": mismatch.difference.word(),
                "text": mismatch.difference.to_string(),
            });
            write!(self.out, "{comma}\n{object}")
        } else {
            writeln!(self.out, "{mismatch}")
        };
        self.empty = false;
    }

    /// The end of the object tells whether the comparison itself came to an end.
    fn end(mut self, summary: Option<&Summary>) -> std::io::Result<()> {
        self.failed?;
        if self.json {
            let summary = summary.map_or(serde_json::Value::Null, counts);
            writeln!(self.out, "],\"summary\":{summary}}}")?;
        }
        self.out.flush()
    }
}

/// Does the work, and tells on a terminal how far it is when it takes more than a second.
pub(crate) fn shown<T: Send>(progress: &Progress, quiet: bool, work: impl FnOnce() -> T) -> T {
    if quiet || !std::io::stderr().is_terminal() {
        return work();
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut shown = false;
            for tick in 1_u32.. {
                std::thread::park_timeout(Duration::from_millis(100));
                if done.load(Ordering::Acquire) {
                    break;
                }
                if tick > 10 {
                    let _ = write!(std::io::stderr(), "\r\x1b[K{}", line(progress));
                    shown = true;
                }
            }
            if shown {
                let _ = write!(std::io::stderr(), "\r\x1b[K");
            }
        });
        let result = work();
        done.store(true, Ordering::Release);
        watcher.thread().unpark();
        result
    })
}

fn line(progress: &Progress) -> String {
    const WIDTH: u64 = 24;
    let files = progress.files.load(Ordering::Relaxed);
    let mib = progress.bytes.load(Ordering::Relaxed) >> 20;
    let read = progress.manifest_read.load(Ordering::Relaxed);
    match progress.manifest_size.load(Ordering::Relaxed) {
        0 => format!("{files} files, {mib} MiB"),
        size => {
            let filled = (read * WIDTH / size).min(WIDTH);
            let bar: String = (0..WIDTH).map(|at| if at < filled { '#' } else { '-' }).collect();
            format!(
                "[{bar}] {:3} %, {files} files, {mib} MiB",
                (read * 100 / size).min(100)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_tells_how_much_of_the_manifest_is_compared() {
        let progress = Progress::default();
        progress.files.store(7, Ordering::Relaxed);
        progress.bytes.store(3 << 20, Ordering::Relaxed);
        assert_eq!(line(&progress), "7 files, 3 MiB");
        progress.manifest_size.store(1000, Ordering::Relaxed);
        progress.manifest_read.store(500, Ordering::Relaxed);
        assert_eq!(
            line(&progress),
            "[############------------]  50 %, 7 files, 3 MiB"
        );
    }
}
