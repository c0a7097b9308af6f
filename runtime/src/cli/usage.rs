//! What is said about a command line that cannot be understood.

use clap::error::{ContextKind, ContextValue};

/// One line: what is wrong, what was perhaps meant, and where to read more. clap's own text has five.
pub(super) fn message(error: &clap::Error, command: Option<&str>) -> String {
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
    let command = command.map(|command| format!(" {command}")).unwrap_or_default();
    message + &format!(" (see nucleus-runtime{command} --help)")
}

fn one(value: &ContextValue) -> String {
    match value {
        ContextValue::Strings(values) => values.join(" or "),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::definition;
    use super::message;

    #[test]
    fn a_message_is_one_line_that_says_where_to_read_more() {
        let table = [
            (
                "state --nope x",
                "unexpected argument '--nope' found (see nucleus-runtime state --help)",
            ),
            (
                "state",
                "the following required arguments were not provided: <ID> (see nucleus-runtime state --help)",
            ),
            (
                "list --format yaml",
                "invalid value 'yaml' for '--format <FORMAT>' [possible values: table, json] (see nucleus-runtime list --help)",
            ),
            (
                "--nope list",
                "unexpected argument '--nope' found (see nucleus-runtime --help)",
            ),
        ];
        for (line, expected) in table {
            let args = std::iter::once("nucleus-runtime").chain(line.split(' '));
            let error = definition().try_get_matches_from(args).unwrap_err();
            let command = line.split(' ').next().filter(|word| !word.starts_with('-'));
            assert_eq!(message(&error, command), expected, "{error}");
        }
    }
}
