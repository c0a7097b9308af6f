//! What each mode promises, and which requests it refuses. Pure: the table is [`Rules::of`], in one place.

use crate::adapt::Loss;
use crate::delegation::{Cgroups, Controllers};
use crate::egress;
use crate::facts::{Facts, Runtime};
use crate::reach::{self, Space};
use crate::request::{Mode, Network, Request};
use crate::swap::Swap;
use rustix::io::Errno;
use std::fmt;

/// What happens where this host cannot enforce all that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weaker {
    /// With `--allow-degraded-security` it is a warning, otherwise an error.
    WithConsent,
    /// An error.
    Refused,
}

/// What happens to limits that cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    /// They are left out, with a warning.
    BestEffort,
    /// An error.
    MustApply,
    /// An error, and there must be one for memory.
    MemoryRequired,
}

/// When the workload gets a user namespace of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserNamespace {
    /// Whenever this host can.
    WherePossible,
    /// Always.
    Required,
    /// Always, with a user that was named.
    RequiredForNamedUser,
}

/// How much of the Landlock policy must be in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landlock {
    /// What the kernel has.
    BestEffort,
    /// All of it.
    Full,
    /// All of it, on a kernel with this version of Landlock at least.
    FullFrom(u32),
}

/// One column of the table of modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Weaker protection than asked.
    pub weaker: Weaker,
    /// Whether the host's network can be asked for.
    pub host_network: bool,
    /// Control group limits.
    pub limits: Limits,
    /// Whether a root file system and its attestation are required.
    pub attested_rootfs: bool,
    /// The user namespace.
    pub user_namespace: UserNamespace,
    /// The Landlock policy.
    pub landlock: Landlock,
    /// Whether `/proc` hides other users' processes.
    pub hidepid: bool,
    /// Whether the command has a first process over it.
    pub init: bool,
    /// Whether each policy must carry a pin.
    pub pins_required: bool,
    /// Whether what is promised is held against the kernel before the workload's first instruction, asked for or
    /// not.
    pub checked: bool,
}

impl Rules {
    /// The table of modes.
    pub fn of(mode: Mode) -> Self {
        match mode {
            Mode::Agent => Self {
                weaker: Weaker::WithConsent,
                host_network: true,
                limits: Limits::BestEffort,
                attested_rootfs: false,
                user_namespace: UserNamespace::WherePossible,
                landlock: Landlock::BestEffort,
                hidepid: false,
                init: false,
                pins_required: false,
                checked: false,
            },
            Mode::StrictAgent => Self {
                weaker: Weaker::Refused,
                host_network: false,
                limits: Limits::MustApply,
                attested_rootfs: false,
                user_namespace: UserNamespace::Required,
                landlock: Landlock::Full,
                hidepid: false,
                init: false,
                pins_required: false,
                checked: true,
            },
            Mode::Production => Self {
                weaker: Weaker::Refused,
                host_network: false,
                limits: Limits::MemoryRequired,
                attested_rootfs: true,
                user_namespace: UserNamespace::RequiredForNamedUser,
                landlock: Landlock::FullFrom(3),
                hidepid: true,
                init: true,
                pins_required: true,
                checked: true,
            },
        }
    }
}

/// What the mode makes of what a runtime cannot do: warnings, and every promise that would be broken.
pub fn weigh(request: &Request, losses: &[Loss]) -> (Vec<String>, Vec<Violation>) {
    let mut judge = Judge::of(request);
    for loss in losses {
        judge.weaker("runtime", &format!("{}: {}", loss.what, loss.why));
    }
    (judge.warnings, judge.violations)
}

/// How a user comes to have control groups.
const DELEGATION: &str = "on cgroup2 a systemd of the user's (loginctl enable-linger, XDG_RUNTIME_DIR set) gives one, \
                          or root gives away a directory with its cgroup.procs and cgroup.subtree_control, and \
                          nucleus is started in there";

/// And more controllers.
const CONTROLLERS: &str = "root delegates it with Delegate= in user@.service (systemctl edit user@.service), or in \
                           cgroup.subtree_control above the directory";

/// A promise that a request would break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The flag or field.
    pub field: &'static str,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

/// What a mode makes of a request: how each choice is decided, and what the caller is warned of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The column of the table.
    pub rules: Rules,
    /// Whether Landlock is left out, because the runtime would ignore it.
    pub without_landlock: bool,
    /// The limits that are left out.
    pub without_limits: Controllers,
    /// Whether the time namespace is left out.
    pub without_time_namespace: bool,
    /// Whether the user namespace is left out: the workload is then one of the host's users that has nothing.
    pub without_user_namespace: bool,
    /// What is weaker than asked.
    pub warnings: Vec<String>,
}

/// Holds the request to its mode.
///
/// # Errors
/// Every promise that it would break.
pub fn decide(request: &Request, facts: &Facts) -> Result<Decision, Vec<Violation>> {
    match judge(request, facts) {
        (decision, violations) if violations.is_empty() => Ok(decision),
        (_, violations) => Err(violations),
    }
}

/// What the mode makes of a request, and every promise that it would break: with one of them the decision holds only
/// for finding more that is wrong.
pub fn judge(request: &Request, facts: &Facts) -> (Decision, Vec<Violation>) {
    let mut judge = Judge::of(request);
    judge.network(request, facts);
    judge.rootfs(request, facts);
    judge.user(request);
    judge.runtime(request, facts);
    let without_limits = judge.limits(request, facts);
    let without_landlock = judge.landlock(request, facts);
    let without_time_namespace = judge.time_namespace(facts);
    let without_user_namespace = judge.user_namespace(facts);
    let decision = Decision {
        rules: judge.rules,
        without_landlock,
        without_limits,
        without_time_namespace,
        without_user_namespace,
        warnings: judge.warnings,
    };
    (decision, judge.violations)
}

struct Judge {
    mode: Mode,
    rules: Rules,
    consent: bool,
    violations: Vec<Violation>,
    warnings: Vec<String>,
}

impl Judge {
    fn of(request: &Request) -> Self {
        let mode = request.mode.unwrap_or_default();
        Self {
            mode,
            rules: Rules::of(mode),
            consent: request.allow_degraded_security,
            violations: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn refuse(&mut self, field: &'static str, reason: impl Into<String>) {
        self.violations.push(Violation {
            field,
            reason: reason.into(),
        });
    }

    /// Something that was asked for, or that the mode gives by itself, cannot be enforced.
    fn weaker(&mut self, field: &'static str, what: &str) {
        match self.rules.weaker {
            Weaker::WithConsent if self.consent => self.warnings.push(format!("{field}: {what}")),
            Weaker::WithConsent => self.refuse(
                field,
                format!("{what}; --allow-degraded-security goes on without it"),
            ),
            Weaker::Refused => self.refuse(field, format!("{what}: {} mode refuses that", self.mode.word())),
        }
    }

    /// Which network there is, and what is lost with it.
    fn network(&mut self, request: &Request, facts: &Facts) {
        let network = request.network();
        if network != Network::Bridge {
            for option in request.bridge_options() {
                let word = network.word();
                self.refuse(
                    option,
                    format!("nothing holds it with --network {word}; bridge does"),
                );
            }
        }
        self.egress(request);
        let asked = reach::Asked {
            network,
            runtime: facts.runtime,
            root: facts.uid == 0,
            host_network: self.rules.host_network,
            host_consent: request.allow_host_network,
        };
        if let Err(refusal) = reach::decide(&asked) {
            self.refuse("network", refusal.to_string());
        }
        if !Space::of(network).has_user_namespace(facts.runtime) {
            self.weaker(
                "runtime",
                "user namespace: runsc runs in none but the host's root's with a network that it takes over",
            );
        }
        if network == Network::Bridge && facts.uid != 0 {
            self.of_a_user(request);
        }
    }

    /// What slirp4netns carries.
    fn of_a_user(&mut self, request: &Request) {
        if request.network_subnet.is_some() {
            self.refuse(
                "network-subnet",
                "without root the addresses are slirp4netns's own",
            );
        }
        for (option, word) in egress::of_version_6(request) {
            self.refuse(
                option,
                format!("{word}: without root there is IPv4 alone, which is what slirp4netns carries"),
            );
        }
    }

    /// Which of the options rule each other out.
    fn egress(&mut self, request: &Request) {
        if request.credential_broker.is_some() {
            let options = request.bridge_options();
            for option in options
                .into_iter()
                .filter(|option| option.starts_with("egress-") || *option == "dns")
            {
                self.refuse(
                    option,
                    "--credential-broker is all that the workload reaches then",
                );
            }
        } else if request.no_proxy_env {
            self.refuse("no-proxy-env", "there is no --credential-broker");
        }
        let permits = !request.egress_allow.is_empty() || !request.egress_domain.is_empty();
        for (option, ports) in [
            ("egress-tcp-port", &request.egress_tcp_port),
            ("egress-udp-port", &request.egress_udp_port),
        ] {
            if !ports.is_empty() && !permits && request.credential_broker.is_none() {
                self.refuse(
                    option,
                    "it is for what --egress-allow or --egress-domain permits, and there is neither",
                );
            }
            if ports.contains(&0) {
                self.refuse(option, "0 is no port");
            }
        }
        if !request.dns.is_empty() && request.egress_domain.is_empty() && request.credential_broker.is_none()
        {
            self.refuse(
                "dns",
                "only names of --egress-domain are looked up, and there is none",
            );
        }
    }

    fn rootfs(&mut self, request: &Request, facts: &Facts) {
        let pinned = request.rootfs_manifest_sha256.is_some();
        let attested = pinned || self.rules.attested_rootfs;
        if request.root_directory().is_none() {
            if self.rules.attested_rootfs {
                self.refuse(
                    "rootfs",
                    format!("{} mode needs --rootfs or --toolchain-rootfs", self.mode.word()),
                );
            } else if pinned {
                self.refuse("rootfs-manifest-sha256", "there is no --rootfs for it");
            }
            return;
        }
        if attested && !pinned && !facts.rootfs_fixed {
            self.refuse(
                "rootfs",
                format!(
                    "{} mode needs --rootfs-manifest-sha256 (nucleus attest create prints it), or a root file system \
                     in /nix/store on a read-only mount",
                    self.mode.word()
                ),
            );
        }
        if attested && !facts.holds_rootfs && !facts.rootfs_fixed {
            self.refuse(
                "rootfs",
                "this runtime cannot be held to the directory that was verified: it must be in /nix/store on a \
                 read-only mount",
            );
        }
    }

    fn user(&mut self, request: &Request) {
        if self.rules.user_namespace == UserNamespace::RequiredForNamedUser && request.user.is_none() {
            self.refuse("user", "production mode needs --user");
        }
    }

    /// What other runtimes would refuse too, when all is made for them.
    fn runtime(&mut self, request: &Request, facts: &Facts) {
        if facts.runtime == Runtime::Gvisor && facts.uid != 0 {
            self.refuse(
                "runtime",
                "gvisor needs root: runsc makes no container for other users with create and start",
            );
        }
        if facts.runtime != Runtime::Native && (request.terminal || request.console_socket.is_some()) {
            self.refuse("terminal, console-socket", "only with nucleus-runtime");
        }
    }

    /// The limits that are left out.
    fn limits(&mut self, request: &Request, facts: &Facts) -> Controllers {
        if self.rules.limits == Limits::MemoryRequired && request.memory.is_none() {
            self.refuse("memory", "production mode needs --memory");
        }
        if request.cgroups_path.is_some() && facts.cgroups == Cgroups::None {
            self.weaker("cgroups-path", "this user may not make a control group");
        }
        let missing = request.limits().without(facts.cgroups.controllers());
        let best_effort = self.rules.limits == Limits::BestEffort;
        if facts.swap == Swap::Uncounted {
            let what = "this kernel does not count what is swapped out (swapaccount=1 on its command line)";
            if best_effort {
                self.warnings
                    .push(format!("memory: {what}: there is no limit of that"));
            } else {
                self.refuse("memory", what);
            }
        }
        if !missing.any() {
            return missing;
        }
        if facts.cgroups == Cgroups::None {
            let what = "limits need a control group, which this user may not make";
            if best_effort {
                self.warnings.push(format!("{what}: there are none"));
            } else {
                self.refuse("memory, cpus, pids, io", format!("{what}: {DELEGATION}"));
            }
        } else {
            for (limit, controller) in missing.words() {
                let what = format!("the controller {controller} is not delegated to this user");
                if best_effort {
                    self.warnings
                        .push(format!("{limit}: {what}: there is no such limit"));
                } else {
                    self.refuse(limit, format!("{what}: {CONTROLLERS}"));
                }
            }
        }
        missing
    }

    /// Whether Landlock is left out.
    fn landlock(&mut self, request: &Request, facts: &Facts) -> bool {
        if facts.landlock {
            return false;
        }
        let what = "this runtime does not enforce Landlock";
        let asked = request.landlock_policy.is_some() || request.policy_lock.is_some();
        // All of it is for the native runtime; gVisor's kernel stands in its place, unless a version is demanded.
        let replaced = facts.runtime == Runtime::Gvisor && self.rules.landlock == Landlock::Full && !asked;
        if replaced {
            self.warnings
                .push(format!("landlock-policy: {what}, gVisor has a kernel of its own"));
        } else if self.rules.landlock == Landlock::BestEffort && !asked {
            self.warnings.push(format!("landlock-policy: {what}"));
        } else {
            self.weaker("landlock-policy", what);
        }
        true
    }

    /// Whether the time namespace is left out.
    fn time_namespace(&mut self, facts: &Facts) -> bool {
        if facts.has_time_namespace() {
            return false;
        }
        let what = "a time namespace of a user needs Linux 6.2";
        match self.rules.weaker {
            Weaker::WithConsent => self.warnings.push(format!("{what}: there is none")),
            Weaker::Refused => self.refuse("time namespace", what),
        }
        true
    }

    /// Whether the user namespace is left out.
    fn user_namespace(&mut self, facts: &Facts) -> bool {
        let Some(errno) = facts.no_user_namespace else {
            return false;
        };
        self.weaker("user namespace", &none_of_this_host(errno));
        self.rules.user_namespace == UserNamespace::WherePossible
    }
}

/// That there is no user namespace to be had, and why: `user_namespaces(7)`.
pub fn none_of_this_host(errno: Errno) -> String {
    match errno {
        Errno::NOSPC => "/proc/sys/user/max_user_namespaces permits no further one (ENOSPC)".into(),
        Errno::PERM => {
            "none is made in a chroot, nor where a filter or a security module forbids it (EPERM)".into()
        }
        _ => format!("the kernel makes none: {errno}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            uid: 0,
            gid: 0,
            cgroups: Cgroups::All,
            landlock: true,
            holds_rootfs: true,
            rootfs_fixed: false,
            swap: Swap::Counted,
            no_user_namespace: None,
            kernel: None,
            runtime: Runtime::Native,
        }
    }

    fn fields(request: &Request, facts: &Facts) -> Vec<&'static str> {
        decide(request, facts)
            .expect_err("refused")
            .into_iter()
            .map(|violation| violation.field)
            .collect()
    }

    #[test]
    fn an_empty_request_is_taken_by_both_agent_modes() {
        for mode in [Mode::Agent, Mode::StrictAgent] {
            let request = Request {
                mode: Some(mode),
                ..Request::default()
            };
            let decision = decide(&request, &facts()).expect("taken");
            assert!(decision.warnings.is_empty());
        }
    }

    #[test]
    fn production_lists_all_that_it_misses() {
        let request = Request {
            mode: Some(Mode::Production),
            network: Some(Network::Host),
            allow_host_network: true,
            allow_degraded_security: true,
            ..Request::default()
        };
        let facts = Facts {
            landlock: false,
            ..facts()
        };
        assert_eq!(
            fields(&request, &facts),
            ["network", "rootfs", "user", "memory", "landlock-policy"]
        );
    }

    #[test]
    fn production_needs_a_pin_or_a_root_that_nobody_can_write() {
        let mut request = Request {
            mode: Some(Mode::Production),
            rootfs: Some("/srv/rootfs".into()),
            user: Some(1000),
            memory: Some("1G".into()),
            ..Request::default()
        };
        let fixed = Facts {
            rootfs_fixed: true,
            ..facts()
        };
        let other = Facts {
            holds_rootfs: false,
            ..facts()
        };
        assert_eq!(fields(&request, &facts()), ["rootfs"]);
        assert!(decide(&request, &fixed).is_ok());
        request.rootfs_manifest_sha256 = Some("0".repeat(64));
        assert!(decide(&request, &facts()).is_ok());
        assert_eq!(fields(&request, &other), ["rootfs"]);
        let other_but_fixed = Facts {
            rootfs_fixed: true,
            ..other
        };
        assert!(decide(&request, &other_but_fixed).is_ok());
    }

    #[test]
    fn a_pin_is_for_a_root_in_every_mode() {
        let mut request = Request {
            rootfs_manifest_sha256: Some("0".repeat(64)),
            ..Request::default()
        };
        assert_eq!(fields(&request, &facts()), ["rootfs-manifest-sha256"]);
        request.toolchain_rootfs = Some("/srv/rootfs".into());
        assert!(decide(&request, &facts()).is_ok());
    }

    #[test]
    fn the_host_network_needs_consent_in_agent_mode_and_is_refused_in_strict_mode() {
        let mut request = Request {
            network: Some(Network::Host),
            ..Request::default()
        };
        assert_eq!(fields(&request, &facts()), ["network"]);
        request.allow_host_network = true;
        assert!(decide(&request, &facts()).is_ok());
        request.mode = Some(Mode::StrictAgent);
        assert_eq!(fields(&request, &facts()), ["network"]);
    }

    #[test]
    fn a_runtime_without_landlock_is_an_error_a_warning_with_consent_and_never_taken_in_strict_mode() {
        let facts = Facts {
            landlock: false,
            ..facts()
        };
        let mut request = Request::default();
        assert_eq!(decide(&request, &facts).expect("taken").warnings.len(), 1);
        request.landlock_policy = Some("mine.toml".into());
        assert_eq!(fields(&request, &facts), ["landlock-policy"]);
        request.allow_degraded_security = true;
        let decision = decide(&request, &facts).expect("taken");
        assert!(decision.without_landlock && decision.warnings.len() == 1);
        request.mode = Some(Mode::StrictAgent);
        assert_eq!(fields(&request, &facts), ["landlock-policy"]);
    }

    #[test]
    fn without_a_user_namespace_only_agent_mode_goes_on_and_with_consent() {
        let facts = Facts {
            no_user_namespace: Some(Errno::NOSPC),
            ..facts()
        };
        let mut request = Request::default();
        assert_eq!(fields(&request, &facts), ["user namespace"]);
        request.allow_degraded_security = true;
        let decision = decide(&request, &facts).expect("taken");
        assert!(decision.without_user_namespace && decision.warnings.len() == 1);
        request.mode = Some(Mode::StrictAgent);
        assert_eq!(fields(&request, &facts), ["user namespace"]);
    }

    #[test]
    fn limits_without_a_control_group_are_left_out_or_refused() {
        let facts = Facts {
            cgroups: Cgroups::None,
            ..facts()
        };
        let mut request = Request {
            memory: Some("1G".into()),
            ..Request::default()
        };
        assert!(decide(&request, &facts).expect("taken").without_limits.memory);
        request.mode = Some(Mode::StrictAgent);
        assert_eq!(fields(&request, &facts), ["memory, cpus, pids, io"]);
    }

    #[test]
    fn swap_that_no_limit_holds_is_told_or_refused() {
        let facts = Facts {
            swap: Swap::Uncounted,
            ..facts()
        };
        let mut request = Request {
            memory: Some("1G".into()),
            ..Request::default()
        };
        assert_eq!(decide(&request, &facts).expect("taken").warnings.len(), 1);
        request.mode = Some(Mode::StrictAgent);
        assert_eq!(fields(&request, &facts), ["memory"]);
    }

    #[test]
    fn a_limit_whose_controller_is_not_delegated_is_left_out_or_refused_by_its_name() {
        let controllers = Controllers::ALL.without(Controllers {
            io: true,
            ..Controllers::default()
        });
        let facts = Facts {
            cgroups: Cgroups::Delegated(crate::delegation::Place::Beside, controllers),
            ..facts()
        };
        let mut request = Request {
            memory: Some("1G".into()),
            io: vec!["/dev/sda:weight=50".into()],
            ..Request::default()
        };
        let decision = decide(&request, &facts).expect("taken");
        assert!(decision.without_limits.io && !decision.without_limits.memory);
        assert_eq!(decision.warnings.len(), 1);
        request.mode = Some(Mode::StrictAgent);
        assert_eq!(fields(&request, &facts), ["io"]);
    }

    #[test]
    fn without_a_time_namespace_agent_mode_warns_and_the_others_refuse() {
        let facts = Facts {
            uid: 1000,
            kernel: "6.1".parse().ok(),
            ..facts()
        };
        let mut request = Request::default();
        let decision = decide(&request, &facts).expect("taken");
        assert!(decision.without_time_namespace && decision.warnings.len() == 1);
        request.mode = Some(Mode::StrictAgent);
        assert_eq!(fields(&request, &facts), ["time namespace"]);
    }
}
