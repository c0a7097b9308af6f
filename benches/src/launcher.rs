//! The harness's end of `native/launch.c`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::cgroup::View;

/// One command: its arguments, the first being the program's absolute path.
pub type Arguments = Vec<String>;

/// Whether the commands of a request run one after another or at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One after another.
    Chain,
    /// At once.
    Parallel,
}

/// What one command cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Wall nanoseconds from its start to its end.
    pub nanoseconds: u64,
    /// Exit status, 128 + signal when killed.
    pub status: i32,
    /// User microseconds, its waited children included.
    pub user: u64,
    /// System microseconds, likewise.
    pub system: u64,
    /// Peak RSS in KiB of the largest process among it and its waited children.
    pub peak_kib: u64,
}

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Wall nanoseconds from the first start to the last end.
    pub nanoseconds: u64,
    /// The commands' costs in their order.
    pub costs: Vec<Cost>,
}

impl Answer {
    /// Whether every command exited with 0.
    pub fn succeeded(&self) -> bool {
        self.costs.iter().all(|cost| cost.status == 0)
    }
}

/// What can go wrong with the launcher.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It did not start.
    #[error("start {0}")]
    Start(PathBuf, #[source] io::Error),
    /// It ended or its pipe broke.
    #[error("launcher ended: {0}")]
    Ended(String),
    /// An argument holds a tab or newline.
    #[error("argument {0:?} cannot be sent")]
    Argument(String),
}

/// A launcher process; its namespaces and all that runs in them end when it is dropped.
pub struct Launcher {
    process: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    errors: File,
}

impl Launcher {
    /// Starts the launcher under `view`. What commands print on standard error goes to the file `errors`.
    ///
    /// # Errors
    /// When the program or the file cannot be opened. A launcher that lacks a privilege says so at the first
    /// request.
    pub fn start(program: &Path, view: View, errors: &Path) -> Result<Self, Error> {
        let start = |source| Error::Start(program.to_owned(), source);
        let errors = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(errors);
        let errors = errors.map_err(start)?;
        let mut process = Command::new(program)
            .arg(view.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone().map_err(start)?)
            .spawn()
            .map_err(start)?;
        let requests = process.stdin.take();
        let answers = process
            .stdout
            .take()
            .ok_or_else(|| start(io::ErrorKind::BrokenPipe.into()))?;
        Ok(Launcher {
            process,
            requests,
            answers: BufReader::new(answers),
            errors,
        })
    }

    /// Runs the commands and gives what they cost.
    ///
    /// # Errors
    /// When the launcher has ended or an argument cannot be sent.
    pub fn run(&mut self, order: Order, commands: &[Arguments]) -> Result<Answer, Error> {
        if let Some(bad) = commands
            .iter()
            .flatten()
            .find(|a| a.contains(['\t', '\n']) || a.is_empty())
        {
            return Err(Error::Argument(bad.clone()));
        }
        let request = request(order, commands);
        let sent = self
            .requests
            .as_mut()
            .map(|pipe| pipe.write_all(request.as_bytes()));
        let mut line = String::new();
        match (sent, self.answers.read_line(&mut line)) {
            (Some(Ok(())), Ok(length)) if length > 0 => {}
            _ => return Err(Error::Ended(self.complaint())),
        }
        parse_answer(&line).ok_or(Error::Ended(line))
    }

    /// The last of what was written to standard error, and forgets it.
    pub fn complaint(&mut self) -> String {
        let mut text = Vec::new();
        let _ = self
            .errors
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.errors.read_to_end(&mut text));
        let _ = self
            .errors
            .set_len(0)
            .and_then(|()| self.errors.seek(SeekFrom::Start(0)));
        let text = String::from_utf8_lossy(&text);
        let mut lines: Vec<_> = text.trim().lines().collect();
        lines.dedup();
        lines[lines.len().saturating_sub(3)..]
            .join("; ")
            .trim_matches('\0')
            .to_owned()
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // The end of its requests is the end of the launcher, and process 1's end is all the others'.
        drop(self.requests.take());
        let _ = self.process.wait();
    }
}

fn request(order: Order, commands: &[Arguments]) -> String {
    let commands: Vec<_> = commands.iter().map(|arguments| arguments.join("\t")).collect();
    let order = match order {
        Order::Chain => "chain",
        Order::Parallel => "parallel",
    };
    format!("{order}\t{}\n", commands.join("\t;\t"))
}

fn parse_answer(line: &str) -> Option<Answer> {
    let mut words = line.split_whitespace();
    let nanoseconds = words.next()?.parse().ok()?;
    let costs = words.map(parse_cost).collect::<Option<_>>()?;
    Some(Answer { nanoseconds, costs })
}

fn parse_cost(word: &str) -> Option<Cost> {
    let mut fields = word.split(':');
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (nanoseconds, status) = (number()?, number()?);
    let status = i32::try_from(status).ok()?;
    Some(Cost {
        nanoseconds,
        status,
        user: number()?,
        system: number()?,
        peak_kib: number()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line_with_separated_commands() {
        let commands = [vec!["/a".to_owned(), "b".to_owned()], vec!["/c".to_owned()]];
        assert_eq!(request(Order::Parallel, &commands), "parallel\t/a\tb\t;\t/c\n");
    }

    #[test]
    fn an_answer_has_a_total_and_a_cost_for_each_command() {
        let answer = parse_answer("900 500:0:10:20:1700 300:137:1:2:800\n").unwrap();
        assert_eq!(answer.nanoseconds, 900);
        assert_eq!(answer.costs[1].status, 137);
        assert_eq!(answer.costs[0].peak_kib, 1700);
        assert!(!answer.succeeded());
    }

    #[test]
    fn a_broken_answer_is_none() {
        assert_eq!(parse_answer("900 500:0:10\n"), None);
        assert_eq!(parse_answer(""), None);
    }
}
