//! What every refusal of bad input has in common.

use super::{Finished, Host};
use serde_json::Value;
use std::fs;

/// Runs a command that must fail as every bad input does, and returns its message.
pub(crate) fn refused(host: &Host, args: &[&str], id: &str) -> String {
    let log = host.directory().join("log");
    let _ = fs::remove_file(&log);
    let mut all = vec!["--log", log.to_str().unwrap(), "--log-format", "json"];
    all.extend(args);
    let finished = host.run(&all);
    let message = one_line(&finished);
    let logged = fs::read_to_string(&log).unwrap_or_default();
    let last: Value = serde_json::from_str(logged.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error} in the log {logged:?}: {finished}"));
    assert_eq!(last["msg"], message, "the log has the whole message: {finished}");
    assert_eq!(last["level"], "error", "{finished}");
    assert!(
        last["time"].as_str().is_some_and(|time| time.ends_with('Z')),
        "{logged}"
    );
    assert_eq!(host.leftovers(id), Vec::<String>::new(), "{finished}");
    message
}

pub(crate) fn one_line(finished: &Finished) -> String {
    assert_eq!(finished.code, 1, "{finished}");
    assert_eq!(finished.stdout, "", "{finished}");
    let lines: Vec<&str> = finished.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{finished}");
    lines[0]
        .strip_prefix("nucleus-runtime: ")
        .unwrap_or_else(|| panic!("{finished}"))
        .to_owned()
}
