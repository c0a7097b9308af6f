//! Processes of gVisor's that it has no record of.

use nucleus_sys::signal;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Ends what a `runsc create` that was disturbed has left: processes that it has started, and not recorded yet, wait for
/// it as long as they live. They are known by the bundle that they were started with.
///
/// # Errors
/// As readdir(3), or they do not end.
pub fn end(bundle: &Path) -> io::Result<()> {
    const ROUNDS: u32 = 100;
    for _ in 0..ROUNDS {
        let mut found = false;
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(pid) = pid.and_then(Pid::from_raw) else {
                continue;
            };
            // Open before it is looked at, so that the signal is for the process that was looked at.
            let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if has_bundle(&words, bundle) {
                found = true;
                let _ = signal::pidfd_send_signal(pidfd.as_fd(), Signal::KILL.as_raw());
            }
        }
        if !found {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(io::Error::other(format!(
        "processes of {} do not end",
        bundle.display()
    )))
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
