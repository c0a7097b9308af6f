//! What is asked for: the flags of `run`, and the launch configuration with the same fields.

use crate::delegation::Controllers;
use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// How strictly a request is held to what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Best effort, with a warning for what is missing and only where it was allowed
    #[default]
    Agent,
    /// Fails closed
    StrictAgent,
    /// Fails closed, with an attested root file system
    Production,
}

impl Mode {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::StrictAgent => "strict-agent",
            Self::Production => "production",
        }
    }
}

/// How a context directory gets into the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ContextMode {
    /// A copy in memory, which the workload may change
    Copy,
    /// The directory itself, read-only
    Bind,
}

/// How a workspace gets into the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorkspaceMode {
    /// The directory itself, writable
    BindRw,
    /// The directory itself, read-only
    BindRo,
    /// A copy, whose changes are reviewed before they are taken over
    CopyInOut,
}

/// The network that the workload sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// A network namespace of its own with nothing but the loopback interface
    None,
    /// One with a link to this host, and rules that refuse all that is not allowed with the egress options
    Bridge,
    /// The host's (agent mode, with --allow-host-network)
    Host,
    /// The host's, through gVisor's kernel (agent mode, with --allow-host-network)
    GvisorHost,
}

impl Network {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::GvisorHost => "gvisor-host",
        }
    }
}

/// How gVisor catches system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GvisorPlatform {
    /// Through seccomp; runsc of 2023 and newer
    Systrap,
    /// Through virtualisation
    Kvm,
    /// Through ptrace(2): everywhere, slowly
    Ptrace,
}

impl GvisorPlatform {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Systrap => "systrap",
            Self::Kvm => "kvm",
            Self::Ptrace => "ptrace",
        }
    }
}

/// One launch. Every field can be set by a flag and in the launch configuration; a flag wins over it, and lists
/// are joined.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Request {
    /// Name of the sandbox [default: made up, and printed where it is detached]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How strictly the promises are held [default: agent]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// native, gvisor, or an OCI runtime such as runc or crun: its path, or its name in $PATH [default: native]
    #[arg(long, value_name = "native|gvisor|PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// gVisor's program [default: runsc in $PATH]
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runsc: Option<PathBuf>,
    /// How gVisor catches system calls [default: its own choice]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gvisor_platform: Option<GvisorPlatform>,
    /// Root file system [default: the host's system directories, read-only]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<PathBuf>,
    /// Root file system with the tools of an agent
    #[arg(long, value_name = "DIR", conflicts_with = "rootfs")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toolchain_rootfs: Option<PathBuf>,
    /// SHA-256 that the root file system's manifest must have: the root file system is compared with it before the
    /// start (nucleus attest create writes it)
    #[arg(long, value_name = "DIGEST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs_manifest_sha256: Option<String>,
    /// Directory that the workload gets at /context
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<PathBuf>,
    /// How it gets it [default: copy]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_mode: Option<ContextMode>,
    /// SHA-256 that the context must have, as nucleus context-digest prints it
    #[arg(long, value_name = "DIGEST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_context: Option<String>,
    /// Directory that the workload gets at /workspace
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<PathBuf>,
    /// How it gets it [default: bind-rw]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_mode: Option<WorkspaceMode>,
    /// Let the workload change files of a bound workspace that make tools of the host run something, such as
    /// .git/hooks
    #[arg(long)]
    #[serde(skip_serializing_if = "is_false")]
    pub workspace_unprotected: bool,
    /// Let programs in the workspace be executed
    #[arg(long)]
    #[serde(skip_serializing_if = "is_false")]
    pub workspace_exec: bool,
    /// Directory that becomes the home directory, writable [default: an empty one in memory]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home: Option<PathBuf>,
    /// File or directory of the host that the workload may read
    #[arg(long, value_name = "SRC:DEST")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub provider_config_ro: Vec<String>,
    /// File or directory of the host that the workload may change
    #[arg(long, value_name = "SRC:DEST")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub provider_config_rw: Vec<String>,
    /// File that is copied into memory at DEST, readable for the workload's user alone
    #[arg(long, value_name = "SRC:DEST")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret: Vec<String>,
    /// Variable for the workload; without =VALUE the caller's
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Working directory [default: /workspace, /context or the home directory]
    #[arg(long, short, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<PathBuf>,
    /// User id of the workload
    #[arg(long, short, value_name = "UID", value_parser = crate::parse::id)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// Group id of the workload
    #[arg(long, value_name = "GID", value_parser = crate::parse::id)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// Further group ids
    #[arg(long, value_name = "GID", value_parser = crate::parse::id)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_group: Vec<u32>,
    /// Memory limit in bytes, or with K, M, G: of memory and swap together
    #[arg(long, short, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Number of processors, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Largest number of processes and threads [default: 2048, without a control group]
    #[arg(long, value_name = "NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<i64>,
    /// Control group: absolute, or relative to the parent of this process's own; a --root adds its digest to the default [default: /nucleus-NAME]
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroups_path: Option<String>,
    /// Limits for a disk: rbps, wbps (bytes in a second), riops, wiops, weight (10 to 1000)
    #[arg(long, value_name = "PATH:KEY=VALUE,...")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io: Vec<String>,
    /// Host path for the workload, writable unless :ro
    #[arg(long, short, value_name = "SRC:DEST[:ro]")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volume: Vec<String>,
    /// Empty directory in memory
    #[arg(long, value_name = "DEST[:OPTIONS]")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<String>,
    /// Host name [default: sandbox]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Let the workload's clocks run ahead of the host's by so many seconds: monotonic=SECONDS,boottime=SECONDS
    #[arg(long, value_name = "OFFSETS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_namespace: Option<String>,
    /// Insist on a terminal [default: if standard input and output are one]; with --detach nucleus attach reaches it
    #[arg(long, short)]
    #[serde(skip_serializing_if = "is_false")]
    pub terminal: bool,
    /// Send the workload's terminal to this Unix socket, as OCI runtimes do
    #[arg(long, value_name = "SOCKET")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_socket: Option<PathBuf>,
    /// The network that the workload sees [default: none, or bridge with an option that needs it]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Address or network that the workload may reach; nothing else but what these options name
    #[arg(long, value_name = "CIDR")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress_allow: Vec<String>,
    /// Name whose addresses it may reach; *.example.com stands for all names below
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress_domain: Vec<String>,
    /// TCP port that it may reach there; with any list of ports a protocol without one is closed [default: all]
    #[arg(long, value_name = "PORT")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress_tcp_port: Vec<u16>,
    /// UDP port that it may reach there
    #[arg(long, value_name = "PORT")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress_udp_port: Vec<u16>,
    /// Server that permitted names are looked up at [default: this host's]
    #[arg(long, value_name = "IP[:PORT]")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Proxy that is all that the workload reaches, without DNS; the variables that name proxies are set to it
    #[arg(long, value_name = "IP:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_broker: Option<String>,
    /// Do not set those variables
    #[arg(long)]
    #[serde(skip_serializing_if = "is_false")]
    pub no_proxy_env: bool,
    /// Port of this host that leads to a port of the workload
    #[arg(long, short, value_name = "[IP:]HOST:INSIDE[/udp]")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<String>,
    /// Where the addresses of bridge are from [default: 10.209.0.0/16]
    #[arg(long, value_name = "CIDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_subnet: Option<String>,
    /// Seccomp profile: a JSON file, or default or service [default: default]
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp_profile: Option<String>,
    /// SHA-256 that the seccomp profile must have
    #[arg(long, value_name = "DIGEST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp_profile_sha256: Option<String>,
    /// Capability policy: a TOML file, or none [default: none]
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caps_policy: Option<String>,
    /// SHA-256 that the capability policy must have
    #[arg(long, value_name = "DIGEST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caps_policy_sha256: Option<String>,
    /// Landlock policy: a TOML file, or agent-network, or agent without TCP [default: agent-network in agent mode,
    /// agent in the others]
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landlock_policy: Option<String>,
    /// SHA-256 that the Landlock policy must have
    #[arg(long, value_name = "DIGEST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landlock_policy_sha256: Option<String>,
    /// File that names and pins the three policies
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_lock: Option<PathBuf>,
    /// SHA-256 that this file must have
    #[arg(long, value_name = "DIGEST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_lock_sha256: Option<String>,
    /// Start the command under a small first process, which reaps orphans and passes signals on; production mode
    /// always has it
    #[arg(long)]
    #[serde(skip_serializing_if = "is_false")]
    pub init: bool,
    /// Let the kernel log each system call that the profile refuses
    #[arg(long)]
    #[serde(skip_serializing_if = "is_false")]
    pub seccomp_log_denied: bool,
    /// End the workload after this time: a number with s, m or h
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Go on with a warning where this host cannot enforce what was asked (agent mode)
    #[arg(long)]
    #[serde(skip_serializing_if = "is_false")]
    pub allow_degraded_security: bool,
    /// Permit --network host or gvisor-host (agent mode)
    #[arg(long)]
    #[serde(skip_serializing_if = "is_false")]
    pub allow_host_network: bool,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// Why a launch configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not TOML or JSON, an unknown field, a wrong type.
    #[error("launch configuration {name}, line {line}: {message}")]
    Syntax {
        /// The file.
        name: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
}

/// Without the list of all the fields there are.
fn one_line(message: &str) -> String {
    let message = message.replace('\n', " ");
    match message.split_once(", expected one of") {
        Some((unknown, _)) if unknown.starts_with("unknown field") => {
            format!("{unknown}; nucleus schema prints those that there are")
        }
        _ => message,
    }
}

impl Request {
    /// Reads a launch configuration: JSON if the text begins with `{`, TOML otherwise. `name` is for errors.
    ///
    /// # Errors
    /// What is not valid; unknown fields are refused.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let syntax = |line, message: &str| Error::Syntax {
            name: name.to_owned(),
            line,
            message: one_line(message),
        };
        if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| syntax(error.line(), &error.to_string()))
        } else {
            toml::from_str(text).map_err(|error: toml::de::Error| {
                let before = error.span().and_then(|span| text.get(..span.start));
                syntax(
                    1 + before.unwrap_or_default().matches('\n').count(),
                    error.message(),
                )
            })
        }
    }

    /// The directory that becomes the root, if one is named.
    pub fn root_directory(&self) -> Option<&Path> {
        self.rootfs.as_deref().or(self.toolchain_rootfs.as_deref())
    }

    /// The network that it means: options of bridge mean it.
    pub fn network(&self) -> Network {
        let implied = if self.bridge_options().is_empty() {
            Network::None
        } else {
            Network::Bridge
        };
        self.network.unwrap_or(implied)
    }

    /// The options that only a bridge can hold.
    pub fn bridge_options(&self) -> Vec<&'static str> {
        [
            ("egress-allow", !self.egress_allow.is_empty()),
            ("egress-domain", !self.egress_domain.is_empty()),
            ("egress-tcp-port", !self.egress_tcp_port.is_empty()),
            ("egress-udp-port", !self.egress_udp_port.is_empty()),
            ("dns", !self.dns.is_empty()),
            ("credential-broker", self.credential_broker.is_some()),
            ("publish", !self.publish.is_empty()),
            ("network-subnet", self.network_subnet.is_some()),
        ]
        .into_iter()
        .filter_map(|(option, given)| given.then_some(option))
        .collect()
    }

    /// Whether it asks for a control group's limits.
    pub fn limits(&self) -> Controllers {
        Controllers {
            memory: self.memory.is_some(),
            cpu: self.cpus.is_some(),
            pids: self.pids.is_some(),
            io: !self.io.is_empty(),
        }
    }

    /// Whether a control group is asked for, or something that needs one.
    pub fn needs_cgroup(&self) -> bool {
        self.limits().any() || self.cgroups_path.is_some()
    }

    /// This request over a launch configuration: what is set here wins, lists are joined, and a command here
    /// replaces the one there.
    ///
    /// # Errors
    /// None that is known: both are valid requests.
    pub fn over(self, configuration: Self) -> Result<Self, serde_json::Error> {
        let mut merged = object(&configuration)?;
        for (key, value) in object(&self)? {
            match (merged.get_mut(&key), value) {
                (Some(Value::Array(below)), Value::Array(above)) if key != "command" => below.extend(above),
                (_, value) => drop(merged.insert(key, value)),
            }
        }
        serde_json::from_value(Value::Object(merged))
    }
}

fn object(request: &Request) -> Result<Map<String, Value>, serde_json::Error> {
    match serde_json::to_value(request)? {
        Value::Object(object) => Ok(object),
        _ => Ok(Map::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_and_lists_are_joined() {
        let below = Request::parse(
            "a.toml",
            "mode = 'strict-agent'\nmemory = '1G'\nenv = ['A=1']\ncommand = ['true']",
        )
        .expect("valid");
        let above = Request {
            memory: Some("2G".into()),
            env: vec!["B=2".into()],
            command: vec!["ls".into(), "-l".into()],
            ..Request::default()
        };
        let merged = above.over(below).expect("merged");
        assert_eq!(merged.mode, Some(Mode::StrictAgent));
        assert_eq!(merged.memory.as_deref(), Some("2G"));
        assert_eq!(merged.env, ["A=1", "B=2"]);
        assert_eq!(merged.command, ["ls", "-l"]);
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_name() {
        for text in ["memmory = '1G'", r#"{"memmory": "1G"}"#] {
            let error = Request::parse("a", text).expect_err("unknown");
            assert!(error.to_string().contains("memmory"), "{error}");
        }
    }
}
