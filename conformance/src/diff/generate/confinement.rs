//! What a container may not see or do: masked and read-only paths, kernel parameters, devices, seccomp.

use fastrand::Rng;
use serde_json::{Value, json};

use super::{Feature, Own, choose, once_in, one, some};
use crate::diff::calls;
use crate::diff::probe::Request;

/// Files and directories, some missing, some through links.
const PATHS: &[&str] = &[
    "/proc/kcore",
    "/proc/interrupts",
    "/proc/timer_list",
    "/proc/sys",
    "/proc/bus",
    "/proc/irq",
    "/proc/sysrq-trigger",
    "/proc/version",
    "/sys/firmware",
    "/sys/kernel",
    "/etc",
    "/etc/passwd",
    "/data",
    "/data/deep",
    "/link/deep",
    "/no/such/path",
    "/dev/zero",
    "/tmp",
];

pub(super) fn add(rng: &mut Rng, own: &Own, features: &mut Vec<Feature>, request: &mut Request) {
    let (masked, readonly) = paths(rng);
    let hidden = Feature::new("maskedPaths and readonlyPaths").set("/linux/maskedPaths", json!(masked));
    features.push(hidden.set("/linux/readonlyPaths", json!(readonly)));
    request.paths = PATHS.iter().map(|path| (*path).to_owned()).collect();
    sysctls(rng, own, features, request);
    // In a user namespace a device is the host's node of the same path.
    if !own.user {
        devices(rng, features);
    }
    if once_in(rng, 2) {
        features.push(seccomp(rng, request));
    }
}

/// No path is in both lists: which one wins is not specified.
fn paths(rng: &mut Rng) -> (Vec<&'static str>, Vec<&'static str>) {
    let chosen = some(rng, PATHS);
    // What the probe itself needs stays: all of /proc/sys may only be read-only.
    chosen
        .into_iter()
        .partition(|path| *path != "/proc/sys" && *path != "/tmp" && rng.bool())
}

/// Kernel parameters: whether the namespace that they belong to is new, the name, and a value.
fn sysctls(rng: &mut Rng, own: &Own, features: &mut Vec<Feature>, request: &mut Request) {
    let all = [
        (own.network, "net.ipv4.ip_forward", "1"),
        (own.network, "net.core.somaxconn", "777"),
        (own.network, "net.ipv4.ip_unprivileged_port_start", "80"),
        (own.ipc, "kernel.shmmax", "1234567"),
        (own.ipc, "kernel.msgmax", "9000"),
        (own.ipc, "fs.mqueue.msg_max", "20"),
    ];
    request.sysctls = all.iter().map(|(_, name, _)| (*name).to_owned()).collect();
    if !once_in(rng, 3) {
        return;
    }
    let chosen: serde_json::Map<String, Value> = some(rng, &all)
        .into_iter()
        .filter(|(own, ..)| *own)
        .map(|(_, name, value)| (name.to_owned(), json!(value)))
        .collect();
    features.push(Feature::new("sysctl").set("/linux/sysctl", Value::Object(chosen)));
}

fn devices(rng: &mut Rng, features: &mut Vec<Feature>) {
    if !once_in(rng, 3) {
        return;
    }
    let all = [
        json!({"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}),
        json!({"path": "/dev/deep/er/full", "type": "c", "major": 1, "minor": 7}),
        json!({"path": "/dev/loop-test", "type": "b", "major": 7, "minor": 99}),
        json!({"path": "/dev/pipe", "type": "p"}),
        json!({"path": "/data/outside", "type": "u", "major": 1, "minor": 5}),
        json!({"path": "/dev/tty9", "type": "c", "major": 4, "minor": 9}),
    ];
    let count = rng.usize(1..=3);
    for mut device in choose(rng, &all, count) {
        if rng.bool() {
            device["fileMode"] = json!(one(rng, &[0o600, 0o640, 0o666]));
        }
        if rng.bool() {
            device["uid"] = json!(1000);
            device["gid"] = json!(5);
        }
        features.push(Feature::new("device").push("/linux/devices", device));
    }
}

/// The index of an argument, and values of it.
type Argument = (u32, &'static [u64]);

/// What rules are about, with the argument that tells the probe's calls of this name apart.
const RULES: &[(&str, Option<Argument>)] = &[
    ("socket", Some((0, &[1, 2, 10, 16, 17]))),
    ("setpriority", Some((2, &[0, 1]))),
    ("getpriority", None),
    ("mkdirat", Some((2, &[0o700, 0o755]))),
    ("mknodat", Some((2, &[0o010_600, 0o020_600]))),
    ("memfd_create", None),
    ("eventfd2", Some((1, &[0, 0o4000]))),
    ("flock", None),
    ("kill", Some((1, &[0, 9]))),
    ("pidfd_open", None),
    ("prctl", Some((0, &[2, 3]))),
    ("lseek", Some((2, &[0, 2]))),
    ("fallocate", None),
    ("chroot", None),
    ("mount", None),
    ("umount2", None),
    ("fsopen", None),
    ("openat2", None),
    ("sethostname", None),
];

/// Calls by which the runtimes themselves set a process up after they have loaded its filter, or that the
/// standard library makes: an action that kills would end those.
const NEEDED: &[&str] = &[
    "prctl",
    "lseek",
    "kill",
    "socket",
    "openat2",
    "memfd_create",
    "mount",
];

fn seccomp(rng: &mut Rng, request: &mut Request) -> Feature {
    let count = rng.usize(1..8);
    let mut rules = Vec::new();
    for (call, argument) in choose(rng, RULES, count) {
        let fatal = !NEEDED.contains(&call) && once_in(rng, 3);
        let action = if fatal {
            request.fatal.extend(
                calls::names()
                    .filter(|name| name.starts_with(call))
                    .map(str::to_owned),
            );
            one(
                rng,
                &[
                    "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL",
                    "SCMP_ACT_KILL_THREAD",
                    "SCMP_ACT_TRAP",
                ],
            )
        } else {
            one(
                rng,
                &[
                    "SCMP_ACT_ERRNO",
                    "SCMP_ACT_ERRNO",
                    "SCMP_ACT_LOG",
                    "SCMP_ACT_ALLOW",
                ],
            )
        };
        // The default action may not be a rule's.
        let action = if action == "SCMP_ACT_ALLOW" {
            "SCMP_ACT_LOG"
        } else {
            action
        };
        let mut rule = json!({"names": [call], "action": action});
        if action == "SCMP_ACT_ERRNO" && rng.bool() {
            rule["errnoRet"] = json!(one(rng, &[2, 38, 95]));
        }
        // Without an argument the runtimes' own prctl(2) would fail.
        if let Some((index, values)) = argument
            && (NEEDED.contains(&call) || rng.bool())
        {
            let value = one(rng, values);
            rule["args"] = json!([condition(rng, index, value, call)]);
        }
        rules.push(rule);
    }
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": some(rng, &["SCMP_ARCH_X86", "SCMP_ARCH_X32"]).into_iter().chain(["SCMP_ARCH_X86_64"]).collect::<Vec<_>>(),
        "syscalls": rules
    });
    Feature::new("seccomp").set("/linux/seccomp", profile)
}

fn condition(rng: &mut Rng, index: u32, value: u64, call: &str) -> Value {
    // Only these values of prctl(2) are the probe's alone.
    let operators: &[&str] = if call == "prctl" {
        &["SCMP_CMP_EQ"]
    } else {
        &[
            "SCMP_CMP_EQ",
            "SCMP_CMP_NE",
            "SCMP_CMP_LT",
            "SCMP_CMP_LE",
            "SCMP_CMP_GT",
            "SCMP_CMP_GE",
            "SCMP_CMP_MASKED_EQ",
        ]
    };
    let operator = one(rng, operators);
    if operator == "SCMP_CMP_MASKED_EQ" {
        return json!({"index": index, "op": operator, "value": 0x3, "valueTwo": value & 0x3});
    }
    json!({"index": index, "op": operator, "value": value})
}
