//! `--log`, `--log-format`, `--log-level`: quiet by default, and one whole line of JSON an error where a
//! client asks for it.

use crate::lifecycle::Act;
use serde::Serialize;
use std::cell::OnceCell;
use std::fs::File;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// How a line is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=… msg="…"`.
    #[default]
    Text,
    /// `{"level":"…","msg":"…","time":"…"}`, runc's fields.
    Json,
}

/// Which messages are written; each level includes those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What ended the command.
    Error,
    /// What the caller should know.
    #[default]
    Warning,
    /// What was done.
    Info,
    /// Every step.
    Debug,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Where messages go.
#[derive(Debug)]
pub struct Log {
    file: Option<File>,
    format: Format,
    level: Level,
}

thread_local! {
    static LOG: OnceCell<Log> = const { OnceCell::new() };
}

/// Sets the log up, once, before anything is done. Without a file, messages go to the standard error.
pub fn set(file: Option<File>, format: Format, level: Level) {
    LOG.with(|log| {
        let _ = log.set(Log { file, format, level });
    });
}

/// Whether steps are logged.
pub fn debugging() -> bool {
    LOG.with(|log| log.get().is_some_and(|log| log.level >= Level::Debug))
}

/// Reports the message that ends the command: in the log file, and on the standard error for who reads that;
/// there as plain text, or as a JSON line where no file was given for those.
pub fn fatal(message: &str) {
    let (file, format) = LOG.with(|log| {
        log.get()
            .map_or((false, Format::Text), |log| (log.file.is_some(), log.format))
    });
    if file || format == Format::Json {
        write(Level::Error, message);
    }
    if file || format == Format::Text {
        let _ = std::io::stderr().write_all(format!("nucleus-runtime: {message}\n").as_bytes());
    }
}

/// Logs what the caller should know.
pub fn warning(message: &str) {
    write(Level::Warning, message);
}

/// Logs a step.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Logs that an act of a command begins; the trace of them is compared with `formal/specs/Lifecycle.tla`.
pub fn act(act: Act) {
    if debugging() {
        debug(&format!("act: {act}"));
    }
}

fn write(level: Level, message: &str) {
    LOG.with(|log| {
        let Some(log) = log.get() else { return };
        if level > log.level {
            return;
        }
        let mut line = line(log.format, level, message);
        line.push('\n');
        // One write a line: several commands may share the file. A log that cannot be written stops nothing.
        let _ = match &log.file {
            Some(file) => std::io::Write::write_all(&mut { file }, line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
    });
}

fn line(format: Format, level: Level, message: &str) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        level: &'a str,
        msg: &'a str,
        time: &'a str,
    }
    let time = now();
    let line = Line {
        level: level.word(),
        msg: message,
        time: &time,
    };
    match format {
        Format::Json => serde_json::to_string(&line).unwrap_or_default(),
        Format::Text => format!("time=\"{}\" level={} msg={:?}", line.time, line.level, line.msg),
    }
}

/// The time in RFC 3339, UTC.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(since.as_secs(), since.subsec_nanos())
}

/// A time since 1970 in RFC 3339.
pub fn rfc3339(seconds: u64, nanoseconds: u32) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest % 3600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
}

/// Days since 1970 as year, month and day: counted in years that begin in March, so that the leap day is the
/// last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(951_782_399, 5), "2000-02-28T23:59:59.000000005Z");
        assert_eq!(rfc3339(951_782_400, 0), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(rfc3339(1_795_996_799, 0), "2026-11-29T23:59:59.000000000Z");
    }

    #[test]
    fn a_json_line_is_one_line_with_three_fields() {
        let line = line(Format::Json, Level::Error, "two\n\"lines\"");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["msg"], "two\n\"lines\"");
        assert_eq!(value["level"], "error");
        assert!(!line.contains('\n'));
    }
}
