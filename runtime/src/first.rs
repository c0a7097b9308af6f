//! The first process of a pid namespace, and signals that the kernel keeps from it.

use rustix::io::Errno;

/// A program that is to end by signals as it would if it were not the first process of its pid namespace: to that one the
/// kernel gives none whose default action it has left in place (`pid_namespaces(7)`).
#[derive(Debug, Clone, Copy)]
pub struct First {
    /// Its id, here.
    pub pid: u32,
}

impl First {
    /// Whether the signal would end it, but for where it is. Not if it cannot be looked at.
    pub fn is_spared(self, signo: i32) -> bool {
        // Whoever is in sigwait(3) does not block meanwhile what it waits for.
        !self.is_waiting()
            && self.told("status").and_then(|status| spares(&status, signo)) == Some(true)
            && !self.is_waiting()
    }

    /// Whether it waits for signals. It does if it cannot be looked at.
    fn is_waiting(self) -> bool {
        let number = libc::SYS_rt_sigtimedwait.to_string();
        self.told("syscall")
            .is_none_or(|told| told.split_whitespace().next() == Some(&number))
    }

    fn told(self, file: &str) -> Option<String> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid)).ok()
    }

    /// The signal that its terminal makes of what was typed, if that spares it.
    pub fn typed(self, terminal: impl rustix::fd::AsFd, bytes: &[u8]) -> Option<i32> {
        use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr, tcgetpgrp};
        let set = tcgetattr(&terminal).ok()?;
        let keys = [
            (SpecialCodeIndex::VINTR, libc::SIGINT),
            (SpecialCodeIndex::VQUIT, libc::SIGQUIT),
        ];
        // Zero is no key.
        let (_, signo) = keys.into_iter().find(|(key, _)| {
            let key = set.special_codes[*key];
            key != 0 && bytes.contains(&key)
        })?;
        let group = tcgetpgrp(&terminal).map(|group| group.as_raw_nonzero().get());
        let is_meant = set.local_modes.contains(LocalModes::ISIG)
            && group.and_then(|group| u32::try_from(group).map_err(|_| Errno::INVAL)) == Ok(self.pid);
        (is_meant && self.is_spared(signo)).then_some(signo)
    }
}

/// What `proc_pid_status(5)` says of it.
fn spares(status: &str, signo: i32) -> Option<bool> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    // Caught, ignored, or kept for later, as for sigwait(3).
    let heard = ["SigBlk:\t", "SigIgn:\t", "SigCgt:\t"]
        .into_iter()
        .try_fold(0, |set, name| {
            Some(set | u64::from_str_radix(field(name)?, 16).ok()?)
        })?;
    let bit = u32::try_from(signo.checked_sub(1)?).ok()?;
    let is_first = field("NSpid:\t")?.rsplit('\t').next() == Some("1");
    Some(is_first && ends(signo) && heard & 1u64.checked_shl(bit)? == 0)
}

/// Whether the default action of a signal is the end; `signal(7)`.
fn ends(signo: i32) -> bool {
    !matches!(
        signo,
        libc::SIGCHLD
            | libc::SIGCONT
            | libc::SIGSTOP
            | libc::SIGTSTP
            | libc::SIGTTIN
            | libc::SIGTTOU
            | libc::SIGURG
            | libc::SIGWINCH
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_heard_nor_harmless_is_kept_from_the_first_process_alone() {
        let status = |ids: &str| {
            format!(
                "Name:\tx\nNSpid:\t{ids}\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000000002\nSigCgt:\t8000000000004000\n"
            )
        };
        let first = status("4711\t1");
        for (signo, spared) in [
            (libc::SIGHUP, false),
            (libc::SIGINT, false),
            (libc::SIGTERM, false),
            (64, false),
            (libc::SIGQUIT, true),
            (libc::SIGUSR1, true),
            (63, true),
            (libc::SIGWINCH, false),
            (libc::SIGTSTP, false),
        ] {
            assert_eq!(spares(&first, signo), Some(spared), "{signo}");
        }
        assert_eq!(spares(&status("4711\t2"), libc::SIGQUIT), Some(false));
        assert_eq!(spares(&status("1\t17"), libc::SIGQUIT), Some(false));
        assert_eq!(spares("", libc::SIGQUIT), None);
        assert_eq!((spares(&first, 0), spares(&first, 65)), (None, None));
    }
}
