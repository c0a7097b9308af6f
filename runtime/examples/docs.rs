//! Writes the man pages and shell completions from the command line's own definition. Apart from the program,
//! which would grow by what writes them:
//!
//! ```sh
//! cargo run --example docs -- man DIR
//! cargo run --example docs -- completions bash > nucleus-runtime.bash
//! ```

use anyhow::{Context, bail};
use clap_complete::Shell;
use nucleus_runtime::cli;
use std::io::Write;
use std::path::Path;

#[allow(dead_code, reason = "the tests use the functions alone")]
fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["man", directory] => man_pages(Path::new(directory)),
        ["completions", shell] => {
            let shell = shell.parse().map_err(|_| {
                anyhow::anyhow!("unknown shell {shell}: bash, zsh, fish, elvish or powershell")
            })?;
            std::io::stdout().write_all(&completions(shell)).context("write")
        }
        _ => bail!("usage: docs man DIR | docs completions SHELL"),
    }
}

/// Writes `nucleus-runtime.1` and a page for each command.
///
/// # Errors
/// The directory or a file in it cannot be written.
pub(crate) fn man_pages(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    clap_mangen::generate_to(cli::definition(), directory)
        .with_context(|| format!("write man pages to {}", directory.display()))
}

/// The completions for a shell.
pub(crate) fn completions(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut cli::definition(), "nucleus-runtime", &mut text);
    text
}
