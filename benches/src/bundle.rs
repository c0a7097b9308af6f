//! The two bundles, as `config.json` and as the facts that the limit program is compiled with.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use crate::cgroup::{Hierarchies, PREFIX};
use crate::filter::{self, Instruction};
use crate::{device, profile};

/// What a bundle asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// pid and mount namespaces, /proc, nothing else.
    Minimal,
    /// What a container engine asks for: see [`config`].
    Real,
}

impl Kind {
    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Minimal => "minimal",
            Kind::Real => "real",
        }
    }
}

/// The container's program, inside the rootfs.
pub const PAYLOAD: &str = "/bin/payload";
/// The rootfs, from a bundle's directory.
pub const ROOTFS: &str = "../../rootfs";

const HOSTNAME: &str = "bench";
/// Bytes.
const MEMORY_LIMIT: u64 = 512 << 20;
const PIDS_LIMIT: u64 = 256;
/// µs of each period: more than the payload can use, so that the limit is set but never throttles.
const CPU_QUOTA: u64 = 150_000;
const CPU_PERIOD: u64 = 100_000;
const NOFILE: u64 = 1024;

/// Capability names with their numbers (`linux/capability.h`).
const CAPABILITIES: [(&str, u8); 14] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_FOWNER", 3),
    ("CAP_FSETID", 4),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SETPCAP", 8),
    ("CAP_NET_BIND_SERVICE", 10),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_CHROOT", 18),
    ("CAP_MKNOD", 27),
    ("CAP_AUDIT_WRITE", 29),
    ("CAP_SETFCAP", 31),
];

/// Seven files and five directories that every kernel has.
const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/driver",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/kallsyms",
    "/proc/keys",
    "/proc/kpagecount",
    "/proc/timer_list",
    "/proc/vmallocinfo",
    "/sys/firmware",
    "/sys/kernel/security",
    "/sys/power",
];

const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/tty"];

/// `config.json`. The cgroup is named after `slot`, directly under each hierarchy's root. Limits whose
/// controller this view lacks are left out, since every runtime would refuse them.
pub fn config(kind: Kind, hierarchies: &Hierarchies, slot: &str, rootfs: &str, args: &[&str]) -> Value {
    let namespaces: &[&str] = match kind {
        Kind::Minimal => &["pid", "mount"],
        Kind::Real => &["pid", "mount", "network", "ipc", "uts", "cgroup"],
    };
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin"],
            "cwd": "/",
        },
        "root": {"path": rootfs, "readonly": kind == Kind::Real},
        "mounts": mounts(kind),
        "linux": {
            "cgroupsPath": format!("/{PREFIX}{slot}"),
            "namespaces": namespaces.iter().map(|name| json!({"type": name})).collect::<Vec<_>>(),
        },
    });
    if kind == Kind::Real {
        protect(&mut config, hierarchies);
    }
    config
}

fn mounts(kind: Kind) -> Value {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    const SAFE: [&str; 3] = ["nosuid", "noexec", "nodev"];
    let read_only = ["nosuid", "noexec", "nodev", "ro"];
    match kind {
        Kind::Minimal => json!([mount("/proc", "proc", &[])]),
        Kind::Real => json!([
            mount("/proc", "proc", &SAFE),
            mount(
                "/dev",
                "tmpfs",
                &["nosuid", "strictatime", "mode=755", "size=65536k"]
            ),
            mount(
                "/dev/pts",
                "devpts",
                &[
                    "nosuid",
                    "noexec",
                    "newinstance",
                    "ptmxmode=0666",
                    "mode=0620",
                    "gid=5"
                ]
            ),
            mount(
                "/dev/shm",
                "tmpfs",
                &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]
            ),
            mount("/dev/mqueue", "mqueue", &SAFE),
            mount("/sys", "sysfs", &read_only),
            mount("/sys/fs/cgroup", "cgroup", &read_only),
        ]),
    }
}

fn protect(config: &mut Value, hierarchies: &Hierarchies) {
    let capabilities: Vec<_> = CAPABILITIES.iter().map(|(name, _)| name).collect();
    config["hostname"] = json!(HOSTNAME);
    config["process"]["noNewPrivileges"] = json!(true);
    config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": NOFILE, "soft": NOFILE}]);
    config["process"]["capabilities"] =
        json!({"bounding": capabilities, "effective": capabilities, "permitted": capabilities});
    let mut resources = json!({"devices": [{"allow": false, "access": "rwm"}]});
    if hierarchies.has("memory") {
        resources["memory"] = json!({"limit": MEMORY_LIMIT});
    }
    if hierarchies.has("pids") {
        resources["pids"] = json!({"limit": PIDS_LIMIT});
    }
    if hierarchies.has("cpu") {
        resources["cpu"] = json!({"quota": CPU_QUOTA, "period": CPU_PERIOD});
    }
    let linux = &mut config["linux"];
    linux["resources"] = resources;
    linux["seccomp"] = profile::as_oci();
    linux["maskedPaths"] = json!(MASKED_PATHS);
    linux["readonlyPaths"] = json!(READONLY_PATHS);
}

/// The header `facts.h` for `native/limit`: what [`config`] says, as C macros.
pub fn facts(kind: Kind, hierarchies: &Hierarchies, filter: &[Instruction]) -> String {
    let real = kind == Kind::Real;
    let mut facts = String::from("#include <sched.h>\n");
    let mut define = |name: &str, value: &str| {
        let _ = writeln!(facts, "#define {name} {value}");
    };
    define("REAL", if real { "1" } else { "0" });
    define("CGROUP_PREFIX", &quoted(PREFIX));
    define("PAYLOAD", &quoted(PAYLOAD));
    define("ROOTFS", &quoted(ROOTFS));
    let namespaces = if real {
        "(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)"
    } else {
        "(CLONE_NEWPID | CLONE_NEWNS)"
    };
    define("NAMESPACES", namespaces);
    match hierarchies {
        Hierarchies::V1(all) => {
            define("CGROUP_V2", "0");
            define("V1_HIERARCHIES", &v1_hierarchies(all));
        }
        Hierarchies::V2(_) => {
            define("CGROUP_V2", "1");
            define("CGROUP2_MOUNT", "\"/sys/fs/cgroup\"");
        }
    }
    if real {
        real_facts(&mut define, hierarchies, filter);
    }
    facts
}

fn real_facts(define: &mut impl FnMut(&str, &str), hierarchies: &Hierarchies, filter: &[Instruction]) {
    if hierarchies.has("memory") {
        define("MEMORY_LIMIT", &format!("\"{MEMORY_LIMIT}\""));
    }
    if hierarchies.has("pids") {
        define("PIDS_LIMIT", &format!("\"{PIDS_LIMIT}\""));
    }
    if hierarchies.has("cpu") {
        define("CPU_QUOTA", &format!("\"{CPU_QUOTA}\""));
        define("CPU_PERIOD", &format!("\"{CPU_PERIOD}\""));
    }
    define("HOSTNAME", &quoted(HOSTNAME));
    define("NOFILE", &NOFILE.to_string());
    define("CAPABILITIES", &format!("{:#x}ULL", capability_mask()));
    // The limit program resolves them from inside the new root.
    let relative = |paths: &[&str]| {
        paths
            .iter()
            .map(|path| format!("\"{}\",", &path[1..]))
            .collect::<String>()
    };
    define("MASKED_PATHS", &relative(&MASKED_PATHS));
    define("READONLY_PATHS", &relative(&READONLY_PATHS));
    define("SECCOMP_FILTER", &filter::as_c(filter));
    define("DEVICE_RULES", &device::as_v1_lines());
    let words: String = device::as_program()
        .iter()
        .map(|word| format!("{word:#x}ULL,"))
        .collect();
    define("DEVICE_PROGRAM", &words);
}

fn capability_mask() -> u64 {
    CAPABILITIES.iter().map(|(_, number)| 1 << number).sum()
}

fn v1_hierarchies(all: &[crate::cgroup::V1Hierarchy]) -> String {
    all.iter()
        .map(|h| {
            let directory = h.mount.rsplit('/').next().unwrap_or_default();
            let option = if h.controllers.is_empty() {
                "NULL".to_owned()
            } else {
                quoted(&h.controllers)
            };
            format!(
                "{{{}, {}, {option}, {}}},",
                quoted(&h.mount),
                quoted(directory),
                quoted(&h.name)
            )
        })
        .collect()
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::V1Hierarchy;

    fn v1(controllers: &[&str]) -> Hierarchies {
        let hierarchy = |c: &&str| V1Hierarchy {
            mount: format!("/sys/fs/cgroup/{c}"),
            controllers: (*c).to_owned(),
            name: String::new(),
        };
        Hierarchies::V1(controllers.iter().map(hierarchy).collect())
    }

    fn limits(hierarchies: &Hierarchies) -> Value {
        config(Kind::Real, hierarchies, "run-0", "/r", &[PAYLOAD])["linux"]["resources"].clone()
    }

    #[test]
    fn the_real_bundle_is_as_described() {
        let config = config(
            Kind::Real,
            &v1(&["memory", "pids", "cpu"]),
            "run-0",
            "/r",
            &[PAYLOAD],
        );
        assert_eq!(config["linux"]["namespaces"].as_array().unwrap().len(), 6);
        assert_eq!(config["linux"]["maskedPaths"].as_array().unwrap().len(), 12);
        assert_eq!(config["linux"]["readonlyPaths"].as_array().unwrap().len(), 5);
        assert_eq!(
            config["process"]["capabilities"]["bounding"]
                .as_array()
                .unwrap()
                .len(),
            14
        );
        assert_eq!(config["linux"]["cgroupsPath"], "/nucleus-bench-run-0");
        assert_eq!(config["linux"]["resources"]["memory"]["limit"], MEMORY_LIMIT);
    }

    #[test]
    fn limits_without_a_controller_are_left_out_of_both_forms() {
        let hierarchies = Hierarchies::V2(vec!["pids".into()]);
        let resources = limits(&hierarchies);
        assert!(resources.get("memory").is_none() && resources.get("cpu").is_none());
        assert_eq!(resources["pids"]["limit"], PIDS_LIMIT);
        let facts = facts(Kind::Real, &hierarchies, &[]);
        assert!(
            facts.contains("PIDS_LIMIT") && !facts.contains("MEMORY_LIMIT") && !facts.contains("CPU_QUOTA")
        );
    }

    #[test]
    fn the_minimal_bundle_asks_for_no_protection() {
        let config = config(Kind::Minimal, &v1(&["memory"]), "run-0", "/r", &[PAYLOAD]);
        assert!(config["linux"].get("seccomp").is_none() && config["linux"].get("resources").is_none());
        assert!(!facts(Kind::Minimal, &v1(&["memory"]), &[]).contains("SECCOMP_FILTER"));
    }

    #[test]
    fn facts_name_each_hierarchy() {
        let facts = facts(Kind::Minimal, &v1(&["cpu"]), &[]);
        assert!(
            facts.contains(r#"V1_HIERARCHIES {"/sys/fs/cgroup/cpu", "cpu", "cpu", ""},"#),
            "{facts}"
        );
    }

    #[test]
    fn paths_are_relative_to_the_new_root_in_the_facts() {
        let facts = facts(Kind::Real, &v1(&["cpu"]), &[]);
        assert!(facts.contains("MASKED_PATHS \"proc/acpi\","));
    }
}
