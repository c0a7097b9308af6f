//! `features`.

use super::{Global, Outcome, Run};
use crate::plan::{landlock, options};
use crate::state::OCI_VERSION;
use crate::{cgroup, host, start};
use clap::Args;
use nucleus_sys::seccomp::seccomp_has_flags;
use serde_json::{Value, json};

/// Print what this runtime can do, as runtime-spec's features document.
#[derive(Debug, Args)]
pub struct Features {}

impl Run for Features {
    const NAME: &'static str = "features";
    const ABOUT: &'static str = "Print what this runtime can do, as JSON";

    fn run(self, _: &Global) -> Outcome {
        super::print(&format!("{}\n", serde_json::to_string_pretty(&document())?));
        Ok(0)
    }
}

/// `features.md`. What this build knows, whether or not the host has it; only `supportedFlags` and the
/// Landlock ABI (0 for none) are asked from the kernel.
fn document() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": options::known_words(),
        "linux": linux(),
        "annotations": {
            "dev.nucleus.version": env!("CARGO_PKG_VERSION"),
            "dev.nucleus.landlock.abi": host::landlock_abi().to_string(),
        },
        "potentiallyUnsafeConfigAnnotations": [landlock::ANNOTATION, start::PROMISES, cgroup::SYSTEMD_PROPERTY],
    })
}

fn linux() -> Value {
    json!({
        "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
        "capabilities": prefixed("CAP_", &CAPABILITIES),
        "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
        "seccomp": {
            "enabled": true,
            "actions": prefixed("SCMP_ACT_", &ACTIONS),
            "operators": prefixed("SCMP_CMP_", &OPERATORS),
            "archs": prefixed("SCMP_ARCH_", &ARCHITECTURES),
            "knownFlags": FLAGS.map(|(name, _)| name).as_slice(),
            "supportedFlags": supported_flags(),
        },
        "apparmor": {"enabled": true},
        "selinux": {"enabled": true},
        "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
        "memoryPolicy": {
            "modes": prefixed("MPOL_", &MEMORY_MODES),
            "flags": ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
        },
        "mountExtensions": {"idmap": {"enabled": true}},
        "netDevices": {"enabled": true},
    })
}

fn prefixed(prefix: &str, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("{prefix}{name}")).collect()
}

fn supported_flags() -> Vec<&'static str> {
    FLAGS
        .iter()
        .filter(|(_, bits)| seccomp_has_flags(*bits))
        .map(|(name, _)| *name)
        .collect()
}

/// The flags with the bits that the kernel is asked about.
const FLAGS: [(&str, u64); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", libc::SECCOMP_FILTER_FLAG_TSYNC),
    ("SECCOMP_FILTER_FLAG_LOG", libc::SECCOMP_FILTER_FLAG_LOG),
    (
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    ),
    (
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        // It is refused without a listener.
        libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
    ),
];

/// By number; `linux/capability.h`.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const ACTIONS: [&str; 9] = [
    "ALLOW",
    "ERRNO",
    "KILL",
    "KILL_PROCESS",
    "KILL_THREAD",
    "LOG",
    "NOTIFY",
    "TRACE",
    "TRAP",
];

const OPERATORS: [&str; 7] = ["EQ", "GE", "GT", "LE", "LT", "MASKED_EQ", "NE"];

/// Those from which calls can come on this platform; a profile may name others, which then have no effect.
const ARCHITECTURES: [&str; 3] = ["X86_64", "X32", "X86"];

const MEMORY_MODES: [&str; 7] = [
    "DEFAULT",
    "BIND",
    "INTERLEAVE",
    "WEIGHTED_INTERLEAVE",
    "PREFERRED",
    "PREFERRED_MANY",
    "LOCAL",
];

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime as oci;

    /// Every word is one that config.json takes.
    #[test]
    fn the_words_are_those_of_the_configuration() {
        fn parses<T: serde::de::DeserializeOwned>(words: &Value) {
            for word in words.as_array().unwrap() {
                assert!(serde_json::from_value::<T>(word.clone()).is_ok(), "{word}");
            }
        }
        let linux = linux();
        parses::<oci::Capability>(&linux["capabilities"]);
        parses::<oci::LinuxNamespaceType>(&linux["namespaces"]);
        parses::<oci::LinuxSeccompAction>(&linux["seccomp"]["actions"]);
        parses::<oci::LinuxSeccompOperator>(&linux["seccomp"]["operators"]);
        parses::<oci::LinuxSeccompFilterFlag>(&linux["seccomp"]["knownFlags"]);
        parses::<oci::Arch>(&linux["seccomp"]["archs"]);
        parses::<oci::MemoryPolicyModeType>(&linux["memoryPolicy"]["modes"]);
        parses::<oci::MemoryPolicyFlagType>(&linux["memoryPolicy"]["flags"]);
    }

    #[test]
    fn nothing_is_null() {
        fn check(value: &Value) {
            match value {
                Value::Null => panic!("null"),
                Value::Array(items) => items.iter().for_each(check),
                Value::Object(members) => members.values().for_each(check),
                _ => {}
            }
        }
        check(&document());
    }
}
