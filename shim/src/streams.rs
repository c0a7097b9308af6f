//! The caller's streams and other runtimes.

use nucleus_sys::signal;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{FileType, fstat, fstatfs};
use std::io::{self, Write};
use std::process::{Command, ExitStatus};

/// What copies a workload's output, until all that could write it have ended.
#[derive(Debug, Default)]
pub struct Copies(Vec<std::thread::JoinHandle<io::Result<u64>>>);

impl Copies {
    /// Runs the command to its end, and waits for the rest of its output.
    ///
    /// # Errors
    /// As fork(2) and execve(2).
    pub fn run(self, mut command: Command) -> io::Result<ExitStatus> {
        let status = command.status()?;
        // It holds the other ends of the pipes.
        drop(command);
        self.wait();
        Ok(status)
    }

    /// Waits for the rest of the output.
    pub fn wait(self) {
        for copy in self.0 {
            let _ = copy.join();
        }
    }
}

/// The file system of pseudo terminals, in `statfs(2)`.
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Other runtimes make the standard streams the property of the sandbox's user by fchown(2), and runsc writes files from
/// their beginning, over what others have written: a command gets pipes in the place of files and devices of the host.
/// What it leaves of its input may be read already.
///
/// # Errors
/// As pipe(2) and fstat(2).
pub fn keep_ours(command: &mut Command) -> io::Result<Copies> {
    // A signal to this process must not find a thread that would die of it.
    let mask = signal::block_all();
    let copies = copied(command);
    signal::restore(&mask);
    copies
}

#[expect(
    clippy::disallowed_methods,
    reason = "this program forks only to execute another"
)]
fn copied(command: &mut Command) -> io::Result<Copies> {
    let mut copies = Vec::new();
    if is_the_hosts(rustix::stdio::stdin())? {
        let (reader, mut writer) = io::pipe()?;
        command.stdin(reader);
        // Not waited for: who says that all is read?
        std::thread::spawn(move || io::copy(&mut io::stdin(), &mut writer));
    } else {
        command.stdin(std::process::Stdio::inherit());
    }
    let mut copied = |to: fn() -> Box<dyn Write>| {
        let (mut reader, writer) = io::pipe()?;
        copies.push(std::thread::spawn(move || io::copy(&mut reader, &mut to())));
        io::Result::Ok(writer)
    };
    if is_the_hosts(rustix::stdio::stdout())? {
        command.stdout(copied(|| Box::new(io::stdout()))?);
    }
    if is_the_hosts(rustix::stdio::stderr())? {
        command.stderr(copied(|| Box::new(io::stderr()))?);
    }
    Ok(Copies(copies))
}

/// Whether it is more than a pipe, a socket or a terminal of the caller's.
fn is_the_hosts(stream: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(match FileType::from_raw_mode(fstat(stream)?.st_mode) {
        FileType::RegularFile | FileType::BlockDevice => true,
        FileType::CharacterDevice => fstatfs(stream.as_fd())?.f_type != DEVPTS_SUPER_MAGIC,
        _ => false,
    })
}
