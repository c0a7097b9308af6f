//! What is said about a command line that cannot be understood.

use clap::error::{ContextKind, ContextValue};

/// One line: what is wrong, what was perhaps meant, and where to read more. clap's own text has five. `command`: the
/// words whose `--help` that is.
pub fn message(error: &clap::Error, command: &str) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let what = text.split("\n\n").next().unwrap_or_default();
    let what: Vec<&str> = what.split_whitespace().collect();
    let mut message = what.join(" ");
    for kind in [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ] {
        if let Some(meant) = error.get(kind) {
            message += &format!("; did you mean {}?", one(meant));
        }
    }
    message + &format!(" (see {command} --help)")
}

fn one(value: &ContextValue) -> String {
    match value {
        ContextValue::Strings(values) => values.join(" or "),
        value => value.to_string(),
    }
}
