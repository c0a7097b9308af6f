//! `nucleus completions` and `nucleus man`: from the same definition as the command line.

use super::Cli;
use anyhow::Context;
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use std::path::PathBuf;

/// Print a shell's completions.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  nucleus completions bash > /etc/bash_completion.d/nucleus")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// The command line without what it calls by itself.
fn visible(all: Command) -> Command {
    let mut shown = Command::new("nucleus").version(env!("CARGO_PKG_VERSION"));
    for argument in all.get_arguments() {
        shown = shown.arg(argument.clone());
    }
    shown.subcommands(
        all.get_subcommands()
            .filter(|command| !command.is_hide_set())
            .cloned(),
    )
}

impl Completions {
    /// Prints them.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn run(&self) -> Result<i32, anyhow::Error> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut visible(Cli::command()), "nucleus", &mut text);
        super::print(String::from_utf8(text)?.trim_end())
    }
}

/// Write the man pages.
#[derive(Debug, Args)]
pub struct Man {
    /// Directory for nucleus.1 and a page for each command
    directory: PathBuf,
}

impl Man {
    /// Writes them.
    ///
    /// # Errors
    /// The directory or a file in it cannot be written.
    pub fn run(&self) -> Result<i32, anyhow::Error> {
        let directory = &self.directory;
        std::fs::create_dir_all(directory).with_context(|| format!("mkdir {}", directory.display()))?;
        clap_mangen::generate_to(Cli::command(), directory)
            .with_context(|| format!("write man pages to {}", directory.display()))?;
        Ok(0)
    }
}
