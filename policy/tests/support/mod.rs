//! What policies mean, worked out from their texts without the library.

use std::collections::BTreeSet;

use serde_json::Value;

/// The action for a call: that of the first rule whose conditions hold, or the default.
pub(crate) fn seccomp_verdict(profile: &Value, call: &str, args: &[u64], caps: &BTreeSet<String>) -> Value {
    let rules = profile["syscalls"].as_array().into_iter().flatten();
    let mut matching = rules.filter(|rule| {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let held = |caps_: &Value| {
            list(caps_)
                .iter()
                .filter(|cap| caps.contains(cap.as_str().unwrap_or("")))
                .count()
        };
        let includes = &rule["includes"]["caps"];
        list(&rule["names"]).iter().any(|name| name == call)
            && held(includes) == list(includes).len()
            && held(&rule["excludes"]["caps"]) == 0
            && list(&rule["args"]).iter().all(|condition| holds(condition, args))
    });
    matching
        .next()
        .map_or(&profile["defaultAction"], |rule| &rule["action"])
        .clone()
}

fn holds(condition: &Value, args: &[u64]) -> bool {
    let number = |field: &str| condition[field].as_u64().unwrap_or(0);
    let index = usize::try_from(number("index")).expect("an index");
    let (arg, value) = (args.get(index).copied().unwrap_or(0), number("value"));
    match condition["op"].as_str().expect("an operator") {
        "SCMP_CMP_EQ" => arg == value,
        "SCMP_CMP_NE" => arg != value,
        "SCMP_CMP_LT" => arg < value,
        "SCMP_CMP_LE" => arg <= value,
        "SCMP_CMP_GT" => arg > value,
        "SCMP_CMP_GE" => arg >= value,
        "SCMP_CMP_MASKED_EQ" => arg & value == number("valueTwo"),
        other => panic!("{other}"),
    }
}

/// The words of `access`.
pub(crate) fn kinds_of_access() -> [&'static str; 9] {
    MEANING.map(|row| row.0)
}

/// landlock(7)'s rights for each word.
const MEANING: [(&str, &[&str]); 9] = [
    ("read", &["read_file", "read_dir"]),
    ("write", &["write_file"]),
    (
        "create",
        &["make_reg", "make_dir", "make_sym", "make_sock", "make_fifo"],
    ),
    ("remove", &["remove_file", "remove_dir"]),
    ("execute", &["execute"]),
    ("truncate", &["truncate"]),
    ("ioctl", &["ioctl_dev"]),
    ("refer", &["refer"]),
    ("create-device", &["make_char", "make_block"]),
];

fn beneath(path: &str, directory: &str) -> bool {
    directory == "/"
        || path == directory
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.starts_with('/'))
}

/// The rights on a path: as the policy's text has them, and as the annotation has them.
pub(crate) fn files_allowed(
    text: &toml::Table,
    annotation: &Value,
    path: &str,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let words = |value: &toml::Value| -> Vec<String> {
        value
            .as_array()
            .expect("an array")
            .iter()
            .filter_map(|it| it.as_str().map(str::to_owned))
            .collect()
    };
    let mut said = BTreeSet::new();
    for rule in text
        .get("path")
        .and_then(toml::Value::as_array)
        .into_iter()
        .flatten()
    {
        if words(&rule["paths"])
            .iter()
            .any(|directory| beneath(path, directory))
        {
            for word in words(&rule["access"]) {
                let rights = MEANING.iter().find(|row| row.0 == word).expect("a word").1;
                said.extend(rights.iter().map(|right| (*right).to_owned()));
            }
        }
    }
    let strings = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .expect("an array")
            .iter()
            .filter_map(|it| it.as_str().map(str::to_owned))
            .collect()
    };
    let mut meant = BTreeSet::new();
    for rule in annotation["rules"]["pathBeneath"].as_array().expect("rules") {
        if strings(&rule["paths"])
            .iter()
            .any(|directory| beneath(path, directory))
        {
            meant.extend(strings(&rule["allowedAccess"]));
        }
    }
    (said, meant)
}

/// Whether a port may be bound and connected to: as the text has it, and as the annotation has it.
pub(crate) fn tcp_allowed(text: &toml::Table, annotation: &Value, port: u16) -> ([bool; 2], [bool; 2]) {
    let said = ["bind", "connect"].map(|what| {
        let rules = text
            .get("tcp")
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten();
        rules
            .filter_map(|rule| rule.get(what)?.as_array())
            .flatten()
            .any(|it| it.as_integer() == Some(port.into()))
    });
    let meant = ["bind_tcp", "connect_tcp"].map(|right| {
        annotation["rules"]["netPort"]
            .as_array()
            .expect("rules")
            .iter()
            .any(|rule| {
                let has =
                    |field: &str, value: Value| rule[field].as_array().expect("an array").contains(&value);
                has("allowedAccess", right.into()) && has("ports", port.into())
            })
    });
    (said, meant)
}
