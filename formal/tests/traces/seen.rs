//! What is seen of the runtime's commands and of the processes that they make, from their system calls: messages, what
//! changes on disk and in the kernel, steps of isolation, and ends.

use super::strace::{Call, Moment};
use std::path::Path;

/// Whose doing it is. The number is that of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// The command itself.
    Command(usize),
    /// The process that it has made.
    Child(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The state directory is made, or was there already; opened, or was not there; locked.
    Make,
    Exists,
    Missing,
    Open,
    Lock,
    /// `config.json` gets its name.
    Claim,
    /// clone3.
    Spawn,
    /// `init` gets its name.
    Record,
    /// The FIFO of `start` is renamed, the byte is written, the answer is read (whether it is a failure), the FIFO is
    /// removed.
    ClaimStart,
    Byte,
    Answer(bool),
    Forget,
    Signal(String),
    /// The end of the child is taken note of.
    Waited,
    /// The control groups are removed, and the state directory.
    Free,
    Remove,
    Said(&'static str),
    Heard(&'static str),
    /// The child reads the byte of `start`, or answers with a failure.
    ReadByte,
    Told,
    /// An action of the spec Isolation.
    Step(&'static str),
    Exec,
    Exited(i32),
    Killed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub who: Who,
    pub what: What,
    /// When, and at which call of its process: its name, and the how manyth.
    pub at: Moment,
    pub by: (String, usize),
}

/// What is seen in the calls of one command and of who comes from it.
pub struct Watched<'a> {
    pub state: &'a Path,
    pub id: &'a str,
    pub number: usize,
}

impl Watched<'_> {
    pub fn seen(&self, calls: &[Call]) -> Vec<Seen> {
        let main = calls[0].pid;
        let child = calls
            .iter()
            .find(|call| call.pid == main && is_spawn(call))
            .and_then(|call| call.result.parse().ok());
        let mut seen: Vec<Seen> = Vec::new();
        let mut is_program = false;
        for call in calls {
            let what = if call.pid == main {
                self.of_command(call)
            } else if Some(call.pid) == child {
                self.of_child(call)
                    .filter(|(what, _)| !is_program || is_end(what))
            } else {
                None
            };
            let Some((what, at)) = what else { continue };
            is_program |= what == What::Exec;
            let number = self.number;
            seen.push(Seen {
                who: if call.pid == main {
                    Who::Command(number)
                } else {
                    Who::Child(number)
                },
                what,
                at,
                by: (call.name.clone(), call.nth),
            });
        }
        // Who may trace it is decided anew at last, when it has changed its user.
        let changed = seen
            .iter()
            .position(|seen| seen.what == What::Step("Credentials"))
            .unwrap_or(seen.len());
        let mut index = 0;
        seen.retain(|seen| {
            index += 1;
            seen.what != What::Step("Dumpable") || index > changed
        });
        let looks = self.looks(calls, main);
        for seen in &mut seen {
            // What it finds of the first process it finds a moment later.
            let decides =
                matches!(seen.what, What::Open | What::Lock) && seen.who == Who::Command(self.number);
            if let Some(look) = looks.iter().copied().find(|look| decides && *look > seen.at) {
                seen.at = look;
            }
        }
        seen.sort_by_key(|seen| seen.at);
        // One after the other in one process is one act: each control group, each set of capabilities.
        seen.dedup_by(|next, last| {
            next.who == last.who
                && next.what == last.what
                && matches!(next.what, What::Free | What::Step("Credentials"))
        });
        end_before_it_is_heard(&mut seen);
        seen
    }

    /// When a command that makes no container looks whether the first process of one lives: once, or not at all.
    fn looks(&self, calls: &[Call], main: u32) -> Vec<Moment> {
        let own: Vec<&Call> = calls.iter().filter(|call| call.pid == main).collect();
        if own
            .iter()
            .any(|call| matches!(self.of_command(call), Some((What::Make, _))))
        {
            return Vec::new();
        }
        let look = own
            .iter()
            .position(|call| call.name == "openat" && call.has("\"/proc/") && call.has("/stat\""));
        let Some(look) = look else { return Vec::new() };
        let read = own[look..]
            .iter()
            .find(|call| call.name == "read" && call.has("/stat>"));
        let done = own[look].is_done();
        vec![if done {
            read.map_or(own[look].left, |read| read.left)
        } else {
            own[look].left
        }]
    }

    fn of_command(&self, call: &Call) -> Option<(What, Moment)> {
        let directory = self.state.join(self.id);
        let path = format!("\"{}\"", directory.display());
        let open = format!("<{}>", directory.display());
        let inside = |name: &str| call.has(&format!("<{}/{name}>", directory.display()));
        let done = call.is_done();
        let what = match call.name.as_str() {
            "mkdirat" if done && call.has(&path) => What::Make,
            "mkdirat" if call.has(&path) && call.result.contains("EEXIST") => What::Exists,
            "openat" if done && call.has(&path) => What::Open,
            "openat" if call.has(&path) && call.result.contains("ENOENT") => What::Missing,
            "flock" if done && call.has(&open) && call.has("LOCK_EX") => What::Lock,
            "renameat2" if done && call.has("\"config.json\"") => What::Claim,
            "renameat" if done && call.has("\".init\"") => What::Record,
            "renameat" if done && call.has("\"starting\"") => What::ClaimStart,
            "clone3" if done && is_spawn(call) => return Some((What::Spawn, call.entered)),
            // To one that has ended meanwhile too.
            "sendto" if done || call.result.contains("EPIPE") => {
                return Some((What::Said(to_child(call.text())?), call.entered));
            }
            "recvmsg" if call.result.starts_with("0 ") || call.result == "0" => What::Heard("closed"),
            "recvmsg" if done => What::Heard(from_child(call.text())?),
            "pidfd_send_signal" if done || call.result.contains("ESRCH") => {
                let signal = call.words.split(", ").nth(1)?;
                return Some((What::Signal(signal.to_owned()), call.entered));
            }
            "waitid" if done && call.has("si_pid=") => What::Waited,
            "unlinkat" if done && call.has("\"/sys/fs/cgroup/") => What::Free,
            "unlinkat" if done && call.has(&path) => What::Remove,
            "unlinkat" if done && call.has("\"starting\"") => What::Forget,
            "write" if done && inside("starting") => return Some((What::Byte, call.entered)),
            "read" if done && inside("result") => What::Answer(call.result != "0"),
            "exited" | "killed" => return Some((end(call), call.entered)),
            _ => return None,
        };
        Some((what, call.left))
    }

    fn of_child(&self, call: &Call) -> Option<(What, Moment)> {
        let done = call.is_done();
        let fifo = |name: &str| call.has(&format!("/{}/{name}>", self.id));
        let what = match call.name.as_str() {
            "sendto" | "sendmsg" if done => {
                return Some((What::Said(from_child(call.text())?), call.entered));
            }
            "recvfrom" if call.result == "0" && call.has("\"\", 1, ") => What::Heard("closed"),
            // The other end had not read everything.
            "recvfrom" if call.result.contains("ECONNRESET") => What::Heard("closed"),
            "recvfrom" if done => What::Heard(to_child(call.text())?),
            "read" if done && (fifo("start") || fifo("starting")) => What::ReadByte,
            "write" if done && fifo("result") => return Some((What::Told, call.entered)),
            "execve" if done => return Some((What::Exec, call.entered)),
            "exited" | "killed" => return Some((end(call), call.entered)),
            _ => What::Step(isolation(call)?),
        };
        Some((what, call.left))
    }
}

pub fn is_spawn(call: &Call) -> bool {
    call.name == "clone3" && call.is_done() && call.has("CLONE_PIDFD")
}

pub fn is_end(what: &What) -> bool {
    matches!(what, What::Exited(_) | What::Killed)
}

fn end(call: &Call) -> What {
    match call.name.as_str() {
        "killed" => What::Killed,
        _ => What::Exited(
            call.words
                .split(' ')
                .nth(1)
                .and_then(|code| code.parse().ok())
                .expect("a code"),
        ),
    }
}

/// A message of the parent, by its byte.
fn to_child(text: &str) -> Option<&'static str> {
    Some(match text {
        "\\1" => "proceed",
        "\\2" => "hooks done",
        "\\3" => "listener sent",
        "\\4" => "start",
        _ => return None,
    })
}

/// A message of the child, by its first byte.
fn from_child(text: &str) -> Option<&'static str> {
    Some(match text.as_bytes() {
        b"e" => "mounted",
        b"f" => "ready",
        b"g" => "terminal",
        b"h" => "listener",
        [b'i', b'\\', ..] => "failed",
        _ => return None,
    })
}

/// The spec's action of a call of the process that becomes the program, where only one of its steps makes that.
fn isolation(call: &Call) -> Option<&'static str> {
    let done = call.is_done();
    Some(match call.name.as_str() {
        _ if !done => return None,
        "setresuid" if call.has("0, 0, 0") => "BecomeRoot",
        // Before the root is attached, and where it only has to be found.
        "umask" if call.has("000") => "Root",
        "openat" if call.has("\"/\"") && call.has("O_PATH|O_DIRECTORY") => "Root",
        "ioctl" if call.has("TIOCSCTTY") => "Terminal",
        "wait4" => "Hooks",
        "pivot_root" => "Pivot",
        "close_range" if call.has("2147483647") => "Close",
        "getcwd" => "Directory",
        "prctl" if call.has("PR_SET_NO_NEW_PRIVS") => "NoNewPrivileges",
        "landlock_restrict_self" => "Landlock",
        "seccomp" if call.has("SECCOMP_SET_MODE_FILTER") => "Filter",
        "capset" => "Credentials",
        "faccessat" if call.has("X_OK") => "Program",
        "prctl" if call.has("PR_SET_DUMPABLE") => "Dumpable",
        "prctl" if call.has("PR_SET_PDEATHSIG, 0") => "Release",
        _ => return None,
    })
}

/// The end of a process closes its end of the channel a moment before strace hears of it, and exec does.
fn end_before_it_is_heard(seen: &mut Vec<Seen>) {
    let is_child = |seen: &Seen| matches!(seen.who, Who::Child(_));
    for hears in [false, true] {
        let heard = seen
            .iter()
            .position(|seen| is_child(seen) == hears && seen.what == What::Heard("closed"));
        let over = seen
            .iter()
            .position(|seen| is_child(seen) != hears && (is_end(&seen.what) || seen.what == What::Exec));
        if let (Some(heard), Some(over)) = (heard, over)
            && heard < over
        {
            let over = seen.remove(over);
            let at = seen[heard].at;
            seen.insert(heard, Seen { at, ..over });
        }
    }
}
