//! `ps`.

use super::{Global, Outcome, Run};
use crate::container::Container;
use anyhow::{Context, bail};
use clap::Args;
use std::process::{Command, Stdio};

/// Print the processes of a container.
#[derive(Debug, Args)]
pub struct Ps {
    /// How to print them: the lines of ps(1), or an array of process ids
    #[arg(long, short, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Options for ps(1) [default: -ef]; one of its columns must be PID
    #[arg(value_name = "PS_OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

impl Run for Ps {
    const NAME: &'static str = "ps";
    const ABOUT: &'static str = "List the processes of a container";
    const AFTER: &'static str = "\
Examples:
  nucleus-runtime ps web
  nucleus-runtime ps web -o pid,rss,args
  nucleus-runtime ps --format json web";

    fn run(self, global: &Global) -> Outcome {
        let container = Container::open(&global.root(), &self.id)?;
        let pids = container.cgroups()?.pids()?;
        if self.format == "json" {
            super::print(&format!("{}\n", serde_json::to_string(&pids)?));
            return Ok(0);
        }
        let default = ["-ef".to_owned()];
        let options = if self.options.is_empty() {
            &default[..]
        } else {
            &self.options
        };
        super::print(&select(&run_ps(options)?, &pids)?);
        Ok(0)
    }
}

/// What the host's ps(1) prints.
fn run_ps(options: &[String]) -> Result<String, anyhow::Error> {
    let output = Command::new("ps")
        .args(options)
        .stderr(Stdio::inherit())
        .output()
        .context("run ps (Debian package procps)")?;
    if !output.status.success() {
        bail!("ps {}: {}", options.join(" "), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The title line and the lines of these processes.
fn select(text: &str, pids: &[i32]) -> Result<String, anyhow::Error> {
    let mut lines = text.lines();
    let titles = lines.next().unwrap_or_default();
    let column = titles
        .split_whitespace()
        .position(|title| title == "PID")
        .context("ps prints no PID column with these options")?;
    let ours = |line: &&str| {
        let pid = line
            .split_whitespace()
            .nth(column)
            .and_then(|cell| cell.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok(std::iter::once(titles)
        .chain(lines.filter(ours))
        .fold(String::new(), |all, line| all + line + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_chosen_by_the_pid_column() {
        let text = "UID          PID    PPID CMD\nroot          7       1 a 8\nroot          8       7 b\n";
        assert_eq!(
            select(text, &[8]).unwrap(),
            "UID          PID    PPID CMD\nroot          8       7 b\n"
        );
        assert!(select("CMD\na\n", &[8]).is_err());
    }
}
