//! `nucleus start`.

use crate::parse;
use crate::start;
use clap::Args;
use clap::builder::{PathBufValueParser, StringValueParser, TypedValueParser};
use std::path::PathBuf;

/// Start the command of a created sandbox.
#[derive(Debug, Args)]
#[command(after_help = "\
In strict-agent and production mode the sandbox is held against what was promised at nucleus create, before the \
command's first instruction. If the promises have been changed since, the sandbox is not started and left as it is; if \
one is not kept, or the command cannot be started, the sandbox is removed.

Example:
  nucleus create --mode strict-agent --name web -- ./server && nucleus start --report report.json web")]
pub struct Start {
    /// Append events as JSON lines to this file, or descriptor number
    #[arg(long, value_name = "FILE|FD", value_parser = StringValueParser::new().try_map(parse::output))]
    events: Option<String>,
    /// Write what was promised, and what the kernel shows of it before the command's first instruction, as JSON
    #[arg(long, value_name = "FILE", value_parser = PathBufValueParser::new().try_map(parse::output))]
    report: Option<PathBuf>,
    /// The sandbox
    name: String,
}

impl Start {
    /// Starts the command of a created sandbox.
    ///
    /// # Errors
    /// There is no such sandbox, or it cannot be started as was promised.
    pub fn run(&self, root: Option<PathBuf>, quiet: bool) -> Result<i32, anyhow::Error> {
        start::start(&start::Start {
            name: &self.name,
            root,
            report: self.report.as_deref(),
            events: self.events.as_deref(),
            quiet,
        })
    }
}
