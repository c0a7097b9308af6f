//! `kill`.

use super::{Global, Outcome, Run};
use crate::container::Container;
use crate::lifecycle::Operation;
use anyhow::bail;
use clap::Args;

/// Send a signal to a container's first process.
#[derive(Debug, Args)]
pub struct Kill {
    /// Send it to all processes of the container
    #[arg(long, short)]
    all: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Name or number of the signal
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM", allow_hyphen_values = true)]
    signal: String,
}

impl Run for Kill {
    const NAME: &'static str = "kill";
    const ABOUT: &'static str = "Send a signal to a container";
    const AFTER: &'static str = "\
Examples:
  nucleus-runtime kill one
  nucleus-runtime kill one HUP
  nucleus-runtime kill --all one 9";

    fn run(self, global: &Global) -> Outcome {
        let Some(signo) = signal_number(&self.signal) else {
            bail!(
                "unknown signal {:?}: give a name such as SIGTERM or TERM, or a number from 1 to 64",
                self.signal
            );
        };
        let container = Container::open(&global.root(), &self.id)?;
        if self.all {
            // Those that outlive the first process are reached too.
            container.decide(Operation::KillAll)?;
            // Processes of another pid namespace have no number here, and none of them would be found.
            container.pidfd()?;
            match container.record.as_ref().map(|record| &record.cgroup) {
                Some(cgroup) if !cgroup.is_empty() => cgroup.kill_all(signo)?,
                // Nothing else tells of the others; they end with the first of their pid namespace.
                _ => container.signal(signo)?,
            }
            return Ok(0);
        }
        container.decide(Operation::Kill)?;
        container.signal(signo)?;
        Ok(0)
    }
}

/// Names in the order of their numbers on x86_64, from 1; `signal(7)`.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The number of a signal given by name, with or without `SIG`, or by number.
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=libc::SIGRTMAX()).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |base: i32, sign: i32, rest: &str| -> Option<i32> {
        let offset = if rest.is_empty() {
            0
        } else {
            rest.get(1..)?.parse::<i32>().ok()?
        };
        let number = base + sign * offset;
        (libc::SIGRTMIN()..=libc::SIGRTMAX())
            .contains(&number)
            .then_some(number)
    };
    match name {
        "IOT" => Some(libc::SIGABRT),
        "POLL" => Some(libc::SIGIO),
        "CLD" => Some(libc::SIGCHLD),
        _ => {
            if let Some(rest) = name.strip_prefix("RTMIN") {
                return real_time(libc::SIGRTMIN(), 1, rest);
            }
            if let Some(rest) = name.strip_prefix("RTMAX") {
                return real_time(libc::SIGRTMAX(), -1, rest);
            }
            NAMES
                .iter()
                .position(|known| *known == name)
                .map(|index| index as i32 + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::signal_number;

    #[test]
    fn signals_by_name_and_number() {
        assert_eq!(signal_number("SIGTERM"), Some(libc::SIGTERM));
        assert_eq!(signal_number("kill"), Some(libc::SIGKILL));
        assert_eq!(signal_number("SIGSYS"), Some(libc::SIGSYS));
        assert_eq!(signal_number("9"), Some(9));
        assert_eq!(signal_number("RTMIN+3"), Some(libc::SIGRTMIN() + 3));
        assert_eq!(signal_number("SIGRTMAX-1"), Some(libc::SIGRTMAX() - 1));
        for bad in ["0", "65", "-9", "NONE", "", "RTMIN+99"] {
            assert_eq!(signal_number(bad), None, "{bad}");
        }
    }
}
