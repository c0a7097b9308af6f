//! nft(8), called as a program.
//!
//! It is called with its rules as standard input, one call a namespace, at the same time as links and addresses are
//! made. A call took 2.5 to 3 ms when it was chosen. No crate that speaks its netlink protocol was tried: it would bring
//! a second definition of the rule language that administrators read and write.

use crate::Error;
use crate::program::in_path;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Where the program is: in `$PATH`, or where administrators' programs are.
///
/// # Errors
/// It is nowhere.
pub fn find() -> Result<PathBuf, Error> {
    let administrators = ["/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft"].map(PathBuf::from);
    in_path("nft")
        .or_else(|| administrators.into_iter().find(|program| program.is_file()))
        .ok_or(Error::NoNft)
}

/// A call that was begun.
#[derive(Debug)]
pub struct Begun(Child);

/// Begins a call with this text, in the network namespace of the calling thread.
///
/// # Errors
/// The program cannot be started.
pub fn begin(program: &Path, text: &str) -> Result<Begun, Error> {
    begin_with(Command::new(program), text)
}

/// The same with a command that begins elsewhere.
///
/// # Errors
/// The program cannot be started.
pub fn begin_with(mut command: Command, text: &str) -> Result<Begun, Error> {
    let mut child = command
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Error::io("start", Path::new(command.get_program()), error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends before it has read all of it says why by itself.
        let _ = stdin.write_all(text.as_bytes());
    }
    Ok(Begun(child))
}

impl Begun {
    /// Waits for its end, and returns what it printed.
    ///
    /// # Errors
    /// What it says against the text: nothing of it is in force then.
    pub fn end(self, what: &'static str) -> Result<String, Error> {
        said(
            what,
            &self
                .0
                .wait_with_output()
                .map_err(|error| Error::io("wait for", Path::new("nft"), error))?,
        )
    }
}

/// Makes a call with this text and returns what it printed.
///
/// # Errors
/// As [`begin`] and [`Begun::end`].
pub fn apply(program: &Path, text: &str, what: &'static str) -> Result<String, Error> {
    begin(program, text)?.end(what)
}

/// Asks with these arguments; what it prints, JSON with `-j`.
///
/// # Errors
/// It cannot be started, or what it says.
pub fn ask(program: &Path, arguments: &[&str]) -> Result<String, Error> {
    ask_with(Command::new(program), arguments)
}

/// The same with a command that begins elsewhere.
///
/// # Errors
/// It cannot be started, or what it says.
pub fn ask_with(mut command: Command, arguments: &[&str]) -> Result<String, Error> {
    let output = command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::io("start", Path::new(command.get_program()), error))?;
    said("list rules", &output)
}

fn said(what: &'static str, output: &Output) -> Result<String, Error> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().next().unwrap_or("it printed nothing").trim();
    Err(Error::Rules {
        what,
        why: line.trim_start_matches("/dev/stdin:").to_owned(),
    })
}
