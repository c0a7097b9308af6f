//! For tests of the annotation `dev.nucleus.landlock`: a probe that attacks from inside.
#![allow(dead_code, reason = "each test file uses its part")]

use crate::support::{Bundle, Finished, Host, lacking, probe};
use serde_json::{Value, json};
use std::fs;

pub(crate) const ANNOTATION: &str = "dev.nucleus.landlock";
pub(crate) const ENFORCED: &str = "dev.nucleus.landlock.enforced";

pub(crate) const EACCES: i32 = libc::EACCES;
pub(crate) const EPERM: i32 = libc::EPERM;

/// Every right of files but `refer`.
pub(crate) const ALL: [&str; 15] = [
    "execute",
    "write_file",
    "read_file",
    "read_dir",
    "remove_dir",
    "remove_file",
    "make_char",
    "make_dir",
    "make_reg",
    "make_sock",
    "make_fifo",
    "make_block",
    "make_sym",
    "truncate",
    "ioctl_dev",
];

/// The newest ABI that the annotation's words need.
pub(crate) const NEEDED_ABI: u32 = 6;

/// Nothing where the kernel cannot do it, or where the tests cannot run at all.
pub(crate) fn host() -> Option<Host> {
    let host = Host::new()?;
    if nucleus_runtime::host::landlock_abi() < NEEDED_ABI {
        lacking("a kernel with Landlock ABI 6 (Linux 6.12)");
        return None;
    }
    Some(host)
}

pub(crate) fn handled() -> Vec<&'static str> {
    [&ALL[..], &["refer"]].concat()
}

/// A ruleset for all rights of files, and these rules beside the one that lets the probe run.
pub(crate) fn files(rules: Value) -> Value {
    let mut paths = vec![json!({"allowedAccess": ["execute", "read_file", "read_dir"], "paths": ["/bin"]})];
    paths.extend(rules.as_array().expect("a list").clone());
    json!({
        "ruleset": {"handledAccessFS": handled()},
        "rules": {"pathBeneath": paths},
        "minABI": 1,
        "disableBestEffort": true
    })
}

pub(crate) fn annotate(config: &mut Value, rules: &Value) {
    config["annotations"][ANNOTATION] = json!(rules.to_string());
}

/// Directories with something of each kind in them.
pub(crate) fn fill(bundle: &Bundle, directories: &[&str]) {
    for directory in directories {
        fs::create_dir_all(bundle.rootfs(directory).join("dir")).expect("mkdir");
        for name in ["file", "doomed", "moved", "linked"] {
            fs::write(bundle.rootfs(directory).join(name), "content").expect("write");
        }
        fs::copy(
            bundle.rootfs("bin/busybox"),
            bundle.rootfs(directory).join("true"),
        )
        .expect("copy");
    }
}

/// Runs the probe once with the rules and once without: with them each attempt ends with the first errno, without
/// them with the second, so that it is Landlock that makes the difference.
pub(crate) fn attack(
    host: &Host,
    rules: &Value,
    attempts: &[(&str, i32, i32)],
    prepare: impl Fn(&Bundle),
    edit: impl Fn(&mut Value),
) {
    let Some(probe) = probe::build("confined") else {
        return;
    };
    for with in [true, false] {
        let bundle = host.bundle(|config| {
            let mut args = vec!["confined"];
            args.extend(attempts.iter().map(|(attempt, ..)| *attempt));
            config["process"]["args"] = json!(args);
            config["linux"]["resources"] = json!({"devices": [{"allow": true, "access": "rwm"}]});
            edit(config);
            if with {
                annotate(config, rules);
            }
        });
        fs::copy(&probe, bundle.rootfs("bin/confined")).expect("copy the probe");
        prepare(&bundle);
        let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
        let expected: Vec<String> = attempts
            .iter()
            .map(|(attempt, confined, free)| format!("{attempt} {}", if with { confined } else { free }))
            .collect();
        let seen: Vec<&str> = run.stdout.lines().collect();
        assert_eq!(seen, expected, "with rules: {with}\n{run}");
    }
}

/// A container whose program is the probe.
pub(crate) fn confined(
    host: &Host,
    rules: &Value,
    attempts: &[&str],
    edit: impl FnOnce(&mut Value),
) -> Option<Finished> {
    let probe = probe::build("confined")?;
    let bundle = host.bundle(|config| {
        config["process"]["args"] = json!([&["confined"], attempts].concat());
        annotate(config, rules);
        edit(config);
    });
    fs::copy(&probe, bundle.rootfs("bin/confined")).expect("copy the probe");
    fill(&bundle, &["free", "closed"]);
    Some(host.run(&["run", "--bundle", bundle.path(), &host.id()]))
}
