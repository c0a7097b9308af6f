//! `nucleus completions` and `nucleus man`: from the same definition as the command line.

use super::Cli;
use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::path::PathBuf;

/// Options of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  nucleus completions bash > /etc/bash_completion.d/nucleus")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Prints them.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn run(&self) -> Result<i32, anyhow::Error> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "nucleus", &mut text);
        super::print(String::from_utf8(text)?.trim_end())
    }
}

/// Options of `man`.
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
