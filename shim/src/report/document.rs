//! The report as a document, written outside of the sandbox.

use super::pledge::Pledge;
use super::verdict::Finding;
use crate::facts::Program;
use crate::output;
use nucleus_policy::Digest;
use serde_json::json;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// Promises that are not kept: the workload has not run.
#[derive(Debug)]
pub struct Broken(pub Vec<Finding>);

impl std::error::Error for Broken {}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the runtime has not kept what was promised, and the command was not started")?;
        self.0.iter().try_for_each(|finding| {
            let Finding {
                promise,
                expected,
                found,
                ..
            } = finding;
            let (expected, found) = (parting(expected, found), parting(found, expected));
            write!(f, "\n  {promise}: expected {expected}; found {found}")
        })
    }
}

/// The longest text that an error shows whole; the report has all of it.
const WHOLE: usize = 200;

/// A text, or where it parts from another one if it is long.
fn parting(text: &str, other: &str) -> String {
    if text.len() <= WHOLE {
        return text.to_owned();
    }
    let same = text
        .chars()
        .zip(other.chars())
        .take_while(|(a, b)| a == b)
        .count();
    let from = same.saturating_sub(WHOLE / 4);
    let excerpt: String = text.chars().skip(from).take(WHOLE / 2).collect();
    format!("...{excerpt}... (after {from} characters, all of it with --report)")
}

/// The findings that are broken promises.
pub fn broken(findings: &[Finding]) -> Vec<Finding> {
    findings.iter().filter(|finding| !finding.kept).cloned().collect()
}

/// The report's text. `config` is the digest of the configuration.
pub fn render(pledge: &Pledge, program: &Program, config: Digest, findings: &[Finding]) -> String {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let kernel = rustix::system::uname();
    let report = json!({
        "version": 1,
        "name": pledge.name,
        "mode": pledge.mode,
        "time": time.as_secs_f64(),
        "command": pledge.command,
        "runtime": {"path": program.path, "version": version(program)},
        "kernel": format!("{} {}", kernel.release().to_string_lossy(), kernel.version().to_string_lossy()),
        "config-sha256": config.to_string(),
        "policies": pledge.policies,
        "kept": findings.iter().all(|finding| finding.kept),
        "promises": findings,
    });
    format!("{report:#}\n")
}

fn version(program: &Program) -> String {
    let output = Command::new(&program.path)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        .unwrap_or_default()
}

/// Writes it, whole or not at all: a file beside it that takes its name when it is complete. What is no regular file is
/// written to as it is, and a link stays one.
///
/// # Errors
/// As open(2), write(2), fsync(2) and rename(2).
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(mut there) = output::there(path)? {
        return there.write_all(text.as_bytes());
    }
    let target = path.canonicalize();
    let path = target.as_deref().unwrap_or(path);
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_shown_where_it_parts() {
        let long = |middle: &str| format!("{}{middle}{}", "a".repeat(500), "z".repeat(500));
        let shown = parting(&long("drop"), &long("accept"));
        assert!(shown.contains("aadropzz") && shown.len() < WHOLE, "{shown}");
        assert_eq!(parting("short", &long("")), "short");
    }
}
