//! Processes of other runtimes that these have no record of.

use nucleus_sys::signal;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use std::fs::DirEntry;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// How long is waited for processes to end.
const ROUNDS: u32 = 1000;
/// Times that.
pub const ROUND: Duration = Duration::from_millis(10);

/// Ends what a `create` that was disturbed has left: processes that it has started, and not recorded yet, wait for it as
/// long as they live. They are known by the bundle that they were started with.
///
/// # Errors
/// As readdir(3), or they do not end.
pub fn end(bundle: &Path) -> io::Result<()> {
    for _ in 0..ROUNDS {
        let processes = processes(bundle)?;
        if processes.is_empty() {
            return Ok(());
        }
        for process in processes {
            let _ = signal::pidfd_send_signal(process.as_fd(), Signal::KILL.as_raw());
        }
        std::thread::sleep(ROUND);
    }
    Err(io::Error::other(format!(
        "processes of {} do not end",
        bundle.display()
    )))
}

/// Those that were started with a bundle.
///
/// # Errors
/// As readdir(3).
pub fn processes(bundle: &Path) -> io::Result<Vec<OwnedFd>> {
    let started_with = |entry: DirEntry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        // Open before it is looked at, so that a signal is for the process that was looked at.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        has_bundle(&words, bundle).then_some(pidfd)
    };
    let all = std::fs::read_dir("/proc")?;
    Ok(all.flatten().filter_map(started_with).collect())
}

/// Whether a command line, as proc(5) has it, has `--bundle BUNDLE` or `--bundle=BUNDLE`.
fn has_bundle(words: &[u8], bundle: &Path) -> bool {
    let bundle = bundle.as_os_str().as_bytes();
    let mut after_option = false;
    words.split(|byte| *byte == 0).any(|word| {
        let named = after_option && word == bundle || word.strip_prefix(b"--bundle=") == Some(bundle);
        after_option = matches!(word, b"--bundle" | b"-bundle");
        named
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_known_by_their_bundle() {
        let bundle = Path::new("/run/nucleus/sandboxes/a");
        for (line, known) in [
            (
                &b"runsc-gofer\0gofer\0--bundle\0/run/nucleus/sandboxes/a\0--spec-fd=3\0"[..],
                true,
            ),
            (b"runsc-sandbox\0boot\0--bundle=/run/nucleus/sandboxes/a\0", true),
            (
                b"runsc-sandbox\0boot\0--bundle=/run/nucleus/sandboxes/ab\0",
                false,
            ),
            (b"ls\0/run/nucleus/sandboxes/a\0", false),
            (b"", false),
        ] {
            assert_eq!(has_bundle(line, bundle), known);
        }
    }
}
