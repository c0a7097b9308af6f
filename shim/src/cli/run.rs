//! `nucleus run`.

use crate::early::Early;
use crate::parse;
use crate::request::Request;
use crate::run::{self, Call};
use anyhow::Context;
use clap::Args;
use clap::builder::{PathBufValueParser, StringValueParser, TypedValueParser};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Run a command in a new sandbox.
#[derive(Debug, Args)]
#[command(after_help = "\
The sandbox is made from this host's system directories, read-only, unless --rootfs names another root. The \
command's exit code is passed on: 128 and the number of a signal that ended it, 124 after --timeout, 1 if it was \
not started.

Examples:
  nucleus run -- ls -l /
  nucleus run --workspace . -- make test
  nucleus run --mode strict-agent --memory 512M --pids 100 --timeout 5m -- python3 script.py")]
pub struct Run {
    #[command(flatten)]
    source: Source,
    /// Append events as JSON lines to this file, or descriptor number
    #[arg(long, value_name = "FILE|FD", value_parser = StringValueParser::new().try_map(parse::output))]
    events: Option<String>,
    /// Write what was promised, and what the kernel shows of it before the command's first instruction, as JSON
    #[arg(long, value_name = "FILE", value_parser = PathBufValueParser::new().try_map(parse::output))]
    report: Option<PathBuf>,
    /// Return when the command runs; nucleus logs, stop and rm do the rest
    #[arg(long, short)]
    detach: bool,
}

/// Make a sandbox whose command waits for start.
#[derive(Debug, Args)]
#[command(after_help = "\
The sandbox is there, with its control group, mounts and namespaces, and its command has not begun. What it prints \
goes to its log. What is promised of it is kept beside it; nucleus start holds it against the kernel before the first \
instruction where the mode or --report asks for that. nucleus-runtime start and exec refuse such a container.

Example:
  nucleus create --name web -- ./server && nucleus start web")]
pub struct Create {
    #[command(flatten)]
    source: Source,
    /// Append events as JSON lines to this file, or descriptor number
    #[arg(long, value_name = "FILE|FD", value_parser = StringValueParser::new().try_map(parse::output))]
    events: Option<String>,
}

impl Create {
    /// Makes it.
    ///
    /// # Errors
    /// What kept it from being made.
    pub fn run(self, root: Option<PathBuf>, quiet: bool) -> Result<i32, anyhow::Error> {
        let call = Call {
            root,
            events: self.events,
            detach: true,
            create: true,
            quiet,
            ..Call::default()
        };
        run::run(self.source.request()?, &call, None)
    }
}

/// Where a request comes from: flags and a launch configuration.
#[derive(Debug, Args)]
pub struct Source {
    /// Launch configuration in TOML or JSON, with the names of these flags as fields
    #[arg(long, short, value_name = "FILE", conflicts_with = "config_fd")]
    config: Option<PathBuf>,
    /// Read the launch configuration from this descriptor
    #[arg(long, value_name = "FD")]
    config_fd: Option<u32>,
    /// Read NAME=VALUE lines, separated by NUL bytes or newlines, from this descriptor
    #[arg(long, value_name = "FD")]
    env_fd: Option<u32>,
    #[command(flatten)]
    request: Request,
}

impl Source {
    /// The whole request.
    ///
    /// # Errors
    /// A launch configuration that cannot be read.
    pub fn request(self) -> Result<Request, anyhow::Error> {
        let descriptor = |number: u32| PathBuf::from(format!("/proc/self/fd/{number}"));
        let mut request = self.request;
        if let Some(number) = self.env_fd {
            let text = read(&descriptor(number)).with_context(|| format!("env-fd {number}"))?;
            let separator = if text.contains('\0') { '\0' } else { '\n' };
            let lines = text.split(separator).filter(|line| !line.is_empty());
            let mut env: Vec<String> = lines.map(str::to_owned).collect();
            // Not told what it says: it may be the second line of a secret.
            if let Some(at) = env.iter().position(|line| !line.contains('=')) {
                anyhow::bail!("env-fd {number}: entry {} is no NAME=VALUE", at + 1);
            }
            env.append(&mut request.env);
            request.env = env;
        }
        match self.config.or(self.config_fd.map(descriptor)) {
            Some(path) => {
                let text = read(&path).context(if self.config_fd.is_some() {
                    "config-fd"
                } else {
                    "config"
                })?;
                let below = Request::parse(&path.display().to_string(), &text)?;
                Ok(request.over(below)?)
            }
            None => Ok(request),
        }
    }
}

/// The most bytes that a launch configuration or an environment may have: 1 MiB.
const MAX_BYTES: u64 = 1 << 20;

fn read(path: &Path) -> Result<String, anyhow::Error> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .with_context(|| format!("read {}", path.display()))?;
    anyhow::ensure!(
        text.len() as u64 <= MAX_BYTES,
        "read {}: more than {MAX_BYTES} bytes",
        path.display()
    );
    Ok(text)
}

impl Run {
    /// Runs it and returns the exit code. `guess` is a runtime that may have been started for it.
    ///
    /// # Errors
    /// What kept the command from starting.
    pub fn run(self, root: Option<PathBuf>, quiet: bool, guess: Option<Early>) -> Result<i32, anyhow::Error> {
        let (request, call) = self.asked(root, quiet)?;
        run::run(request, &call, guess)
    }

    /// What is asked for.
    ///
    /// # Errors
    /// A launch configuration that cannot be read.
    pub(super) fn asked(self, root: Option<PathBuf>, quiet: bool) -> Result<(Request, Call), anyhow::Error> {
        let call = Call {
            root,
            events: self.events,
            report: self.report,
            detach: self.detach,
            quiet,
            ..Call::default()
        };
        Ok((self.source.request()?, call))
    }
}
