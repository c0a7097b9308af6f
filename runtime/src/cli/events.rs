//! `events`.

use super::{Global, Outcome, Run};
use crate::cgroup::{OomWatch, Record, Stats};
use crate::container::Container;
use crate::lifecycle::Status;
use anyhow::{Context, bail};
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use serde::Serialize;
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

/// Print what a container uses, and when it runs out of memory.
#[derive(Debug, Args)]
pub struct Events {
    /// Time between two prints, such as 5s, 500ms or 1m30s
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    interval: Duration,
    /// Print once and return
    #[arg(long)]
    stats: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

/// One line of the output, with runc's names.
#[derive(Serialize)]
struct Event<'a> {
    r#type: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

impl Run for Events {
    const NAME: &'static str = "events";
    const ABOUT: &'static str = "Print what a container uses, and when it runs out of memory";
    const AFTER: &'static str = "\
One JSON object a line: {\"type\": \"stats\" or \"oom\", \"id\": ..., \"data\": ...}, until the container ends.

Examples:
  nucleus-runtime events --stats web
  nucleus-runtime events --interval 1s web";

    fn run(self, global: &Global) -> Outcome {
        let container = Container::open(&global.root(), &self.id)?;
        if matches!(container.status, Status::Stopped | Status::Creating) {
            bail!(
                "container {:?} is not running: it is {}",
                self.id,
                container.status
            );
        }
        let cgroups = container.cgroups()?;
        if self.stats {
            print(&self.event(cgroups)?)?;
            return Ok(0);
        }
        let Some(process) = container.pidfd()? else {
            return Ok(0);
        };
        self.follow(cgroups, &process)
    }
}

impl Events {
    fn event(&self, cgroups: &Record) -> Result<Event<'_>, anyhow::Error> {
        Ok(Event {
            r#type: "stats",
            id: &self.id,
            data: Some(cgroups.stats()?),
        })
    }

    /// Until the first process ends or nobody reads any more.
    fn follow(&self, cgroups: &Record, process: &OwnedFd) -> Outcome {
        let mut memory = cgroups.watch_oom().inspect_err(|error| {
            crate::log::warning(&format!("no notifications of want of memory: {error}"));
        });
        let mut next = Instant::now() + self.interval;
        loop {
            let ended = wait(process, memory.as_ref().ok(), next)?;
            if let Ok(memory) = &mut memory
                && memory.happened()?
                && !print(&Event {
                    r#type: "oom",
                    id: &self.id,
                    data: None,
                })?
            {
                return Ok(0);
            }
            if ended {
                return Ok(0);
            }
            if Instant::now() < next {
                continue;
            }
            next += self.interval;
            match self.event(cgroups) {
                Ok(event) => {
                    if !print(&event)? {
                        return Ok(0);
                    }
                }
                // Its end and the removal of its cgroups may come between two looks at the process.
                Err(_) if wait(process, None, Instant::now())? => return Ok(0),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Waits for an event, at most until `end`; whether the process has ended.
fn wait(process: &OwnedFd, memory: Option<&OomWatch>, end: Instant) -> Result<bool, anyhow::Error> {
    let left = end.saturating_duration_since(Instant::now());
    let left = Timespec {
        tv_sec: left.as_secs().cast_signed(),
        tv_nsec: left.subsec_nanos().into(),
    };
    let mut descriptors = vec![PollFd::new(process, PollFlags::IN)];
    if let Some(memory) = memory {
        let (descriptor, flags) = memory.descriptor();
        descriptors.push(PollFd::from_borrowed_fd(descriptor, flags));
    }
    match poll(&mut descriptors, Some(&left)) {
        Ok(_) | Err(Errno::INTR) => Ok(descriptors[0].revents().contains(PollFlags::IN)),
        Err(errno) => Err(errno).context("poll"),
    }
}

/// Prints one line; false when the reader has gone.
fn print(event: &Event<'_>) -> Result<bool, anyhow::Error> {
    let line = serde_json::to_string(event)? + "\n";
    match std::io::stdout().write_all(line.as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("write to the standard output"),
    }
}

/// A duration as Go writes it: numbers with the units h, m, s, ms, us, ns, longest first.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "not a duration above zero such as 5s, 500ms or 1m30s".to_owned();
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(end);
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(wrong()),
        };
        seconds += number.parse::<f64>().map_err(|_| wrong())? * factor;
        rest = tail;
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let table = [
            ("5s", 5000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("1.5s", 1500),
            ("+2s", 2000),
        ];
        for (text, milliseconds) in table {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for bad in [
            "",
            "0",
            "0s",
            "5",
            "-1s",
            "s",
            "1x",
            "1..5s",
            "5 s",
            "1e3s",
            "99999999999999999999h",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
