//! What this program says of its own on standard error.

use std::fmt::Arguments;
use std::io::Write;

/// Writes a line, at once. A terminal that was closed or a disk that is full is no reason to leave off what is being done:
/// a sandbox has still to be removed.
pub fn line(line: Arguments<'_>) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// [`line()`] with the words of [`format!`].
macro_rules! say {
    ($($words:tt)*) => { $crate::say::line(format_args!($($words)*)) };
}

pub(crate) use say;
