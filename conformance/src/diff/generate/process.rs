//! The `process` object, of the container and of `exec`.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::{Feature, once_in, one, some};

/// All but those that no host surely has; `CAP_SYS_RESOURCE` among them, which would lift some limits.
const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_NET_ADMIN",
    "CAP_SYS_CHROOT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_PTRACE",
    "CAP_SYS_NICE",
    "CAP_MKNOD",
    "CAP_AUDIT_WRITE",
    "CAP_SETFCAP",
    "CAP_IPC_LOCK",
];

/// Resources and a bound up to which every host lets us lower both limits.
const LIMITS: &[(&str, u64)] = &[
    ("RLIMIT_NOFILE", 1024),
    ("RLIMIT_NPROC", 2000),
    ("RLIMIT_CORE", 0),
    ("RLIMIT_FSIZE", 1 << 30),
    ("RLIMIT_STACK", 4 << 20),
    ("RLIMIT_CPU", 5000),
    ("RLIMIT_MEMLOCK", 1 << 16),
    ("RLIMIT_DATA", 1 << 32),
    ("RLIMIT_RSS", 1 << 32),
    ("RLIMIT_SIGPENDING", 500),
    ("RLIMIT_MSGQUEUE", 50_000),
    ("RLIMIT_LOCKS", 100),
];

pub(super) fn add(rng: &mut Rng, features: &mut Vec<Feature>) {
    let all = object(rng);
    for (name, key) in [
        ("user", "user"),
        ("environment", "env"),
        ("working directory", "cwd"),
        ("capabilities", "capabilities"),
        ("resource limits", "rlimits"),
        ("noNewPrivileges", "noNewPrivileges"),
        ("oomScoreAdj", "oomScoreAdj"),
    ] {
        if let Some(value) = all.get(key) {
            features.push(Feature::new(name).set(&format!("/process/{key}"), value.clone()));
        }
    }
    if once_in(rng, 6) {
        let domain = one(rng, &["LINUX", "LINUX32"]);
        let feature = Feature::new("personality").not_in_runc();
        features.push(feature.set("/linux/personality", json!({"domain": domain})));
    }
    if once_in(rng, 6) {
        let feature = Feature::new("domainname").not_in_runc();
        features.push(feature.set("/domainname", json!("conformance.test")));
    }
}

/// A whole process for `exec`; without arguments.
pub(super) fn exec(rng: &mut Rng) -> Value {
    let mut process = object(rng);
    // A second process is started beside the first, with a score of its own.
    process.remove("oomScoreAdj");
    process
        .entry("user")
        .or_insert_with(|| json!({"uid": 0, "gid": 0}));
    process.entry("cwd").or_insert_with(|| json!("/"));
    process.entry("env").or_insert_with(|| json!(["PATH=/bin"]));
    Value::Object(process)
}

fn object(rng: &mut Rng) -> Map<String, Value> {
    let mut process = Map::new();
    let mut put = |key: &str, value: Value| drop(process.insert(key.to_owned(), value));
    if !once_in(rng, 3) {
        put("user", user(rng));
    }
    if once_in(rng, 2) {
        put("env", env(rng));
    }
    if once_in(rng, 2) {
        put(
            "cwd",
            json!(one(rng, &["/", "/tmp", "/srv/deep", "/made/for/it"])),
        );
    }
    if !once_in(rng, 4) {
        put("capabilities", capabilities(rng));
    }
    if once_in(rng, 2) {
        put("rlimits", limits(rng));
    }
    if once_in(rng, 2) {
        put("noNewPrivileges", json!(rng.bool()));
    }
    // Lowering it needs a privilege that not every host has.
    if once_in(rng, 2) {
        put("oomScoreAdj", json!(one(rng, &[1, 100, 500, 1000])));
    }
    process
}

fn user(rng: &mut Rng) -> Value {
    let ids = [0, 1, 1000, 65534];
    let mut user = json!({"uid": one(rng, &ids), "gid": one(rng, &ids)});
    if once_in(rng, 2) {
        user["additionalGids"] = json!(some(rng, &[0, 5, 1000, 2000, 65535]));
    }
    if once_in(rng, 2) {
        user["umask"] = json!(one(rng, &[0, 0o027, 0o077, 0o777]));
    }
    user
}

fn env(rng: &mut Rng) -> Value {
    let mut env = vec!["PATH=/bin:/usr/bin"];
    env.extend(some(
        rng,
        &[
            "EMPTY=",
            "EQUAL=a=b",
            "SPACES= a  b ",
            "TWICE=1",
            "HOME=/elsewhere",
            "TERM=xterm",
        ],
    ));
    json!(env)
}

/// Sets as the kernel takes them: effective in permitted in bounding, ambient in permitted and inheritable.
fn capabilities(rng: &mut Rng) -> Value {
    let bounding = some(rng, CAPABILITIES);
    let permitted = if once_in(rng, 2) {
        bounding.clone()
    } else {
        some(rng, &bounding)
    };
    let effective = if once_in(rng, 2) {
        permitted.clone()
    } else {
        some(rng, &permitted)
    };
    let mut sets = json!({"bounding": bounding, "permitted": permitted, "effective": effective});
    if once_in(rng, 2) {
        let inheritable = some(rng, &permitted);
        if once_in(rng, 2) {
            sets["ambient"] = json!(some(rng, &inheritable));
        }
        sets["inheritable"] = json!(inheritable);
    }
    sets
}

fn limits(rng: &mut Rng) -> Value {
    let chosen = some(rng, LIMITS);
    let limits = chosen.into_iter().map(|(kind, bound)| {
        // Never so low that the probe itself cannot run.
        let hard = bound - rng.u64(..=bound / 4);
        json!({"type": kind, "soft": hard - rng.u64(..=hard / 4), "hard": hard})
    });
    Value::Array(limits.collect())
}
