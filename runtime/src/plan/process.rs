//! From `process` to the steps between the pivot and exec.

use super::step::{ChildHooks, Lsm, Step};
use super::{Builder, Error, IdMaps, Listener, Preserved, Program, c_string, landlock};
use crate::credentials::{Capabilities, Identity, Limit};
use crate::hooks::Hooks;
use crate::host::HostFacts;
use nucleus_sys::exec::CStrings;
use nucleus_sys::process::SchedAttr;
use oci_spec::runtime as oci;
use rustix::process::Resource;
use std::collections::HashSet;

/// The mask of a container that names none, as in runc.
const DEFAULT_UMASK: u32 = 0o022;
/// All capabilities of a user namespace's first process.
const EVERY_CAPABILITY: u64 = u64::MAX;

/// Adds the steps of the process; returns where a seccomp listener goes.
pub(super) fn add(
    builder: &mut Builder<'_>,
    process: &oci::Process,
    hooks: &Hooks,
) -> Result<Option<Listener>, Error> {
    let cwd = process.cwd();
    if !cwd.is_absolute() {
        return Err(Error::invalid(
            "process.cwd",
            format!("{} is not absolute", cwd.display()),
        ));
    }
    add_attributes(&mut builder.steps, process, builder.host)?;
    if let Some(policy) = builder.linux().and_then(|linux| linux.memory_policy().as_ref()) {
        let step = memory_policy(policy)?;
        builder.steps.push(step);
    }
    if let Some(personality) = builder.linux().and_then(|linux| linux.personality().as_ref()) {
        let step = persona(personality)?;
        builder.steps.push(step);
    }
    let identity = identity(process.user(), builder.id_maps.as_ref(), builder.host)?;
    let available = if builder.in_user_namespace() {
        EVERY_CAPABILITY
    } else {
        builder.host.capabilities
    };
    let capabilities = capabilities(process.capabilities().as_ref(), available, &mut builder.notes)?;
    let filter = match builder.linux().and_then(|linux| linux.seccomp().as_ref()) {
        Some(seccomp) => Some(crate::seccomp::compile(seccomp)?),
        None => None,
    };
    let listener = filter.as_ref().and_then(|filter| {
        let path = filter.listener_path.clone()?;
        Some(Listener {
            path,
            metadata: filter.listener_metadata.clone(),
        })
    });
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    let abi = builder.host.landlock_abi;
    let landlock = landlock::decide(builder.request.spec, abi, no_new_privileges, available)?;
    let start_hooks = (!hooks.start_container.is_empty()).then_some(Step::Hooks(ChildHooks::StartContainer));
    let end = End {
        cwd: c_string(cwd.clone().into_os_string())?,
        no_new_privileges,
        identity,
        capabilities,
        landlock: landlock.and_then(|decision| builder.take_landlock(decision)),
        seccomp: filter.map(|filter| Step::Seccomp(Box::new(filter))),
        tracing: tracing(builder),
        start_hooks,
    };
    add_end(&mut builder.steps, end);
    Ok(listener)
}

/// What the last steps before exec need.
pub(super) struct End {
    pub(super) cwd: std::ffi::CString,
    pub(super) no_new_privileges: bool,
    pub(super) identity: Identity,
    pub(super) capabilities: Capabilities,
    pub(super) landlock: Option<Step>,
    pub(super) seccomp: Option<Step>,
    pub(super) tracing: Option<Step>,
    pub(super) start_hooks: Option<Step>,
}

/// A caller that looks at the waiting process seizes it (`ptrace(2)`). Root can do that with any process; an
/// unprivileged caller has the privilege over its own user namespace, but the kernel asks for it in the one
/// where this program was executed, unless the process is dumpable. Here that lets in nobody else: the pid
/// namespace has no other process yet, and one outside of it is either the caller's own, which could have
/// traced the runtime itself, or, as a process of another container, lacks the privilege over this one's user
/// namespace, also with the same user id. Who runs `exec` in a container that waits lets its program trace.
fn tracing(builder: &Builder<'_>) -> Option<Step> {
    use oci::LinuxNamespaceType as Type;
    let alone = builder.has_new_namespace(Type::User) && builder.has_new_namespace(Type::Pid);
    (builder.request.traced && builder.host.rootless() && alone).then_some(Step::Dumpable)
}

/// The order near exec. Without `no_new_privs` only `CAP_SYS_ADMIN` may load a filter, so the filter comes
/// before the capabilities are dropped; with it the filter comes last, so that it need not allow our calls.
///
/// Landlock demands the same of its caller, and comes right before the filter, which need not allow its calls
/// then. With `no_new_privs` and without a listener that is after everything that opens paths, the startContainer
/// hooks included. Otherwise these hooks are under Landlock as they are under the filter; of our own work only the
/// look for `HOME` would open a file after it, and is done before.
pub(super) fn add_end(steps: &mut Vec<Step>, end: End) {
    let End {
        cwd,
        no_new_privileges,
        identity,
        capabilities,
        landlock,
        seccomp,
        tracing,
        start_hooks,
    } = end;
    steps.push(Step::CloseDescriptors);
    steps.push(Step::EnterDirectory(cwd));
    let has_listener = matches!(&seccomp, Some(Step::Seccomp(filter)) if filter.listener_path.is_some());
    let (mut privileged, mut created, mut last) = (Vec::new(), Vec::new(), Vec::new());
    let place = match (no_new_privileges, has_listener) {
        (false, _) => &mut privileged,
        // `create` hands the listener over: after it nobody reads the channel.
        (true, true) => &mut created,
        (true, false) => &mut last,
    };
    if landlock.is_some() && !no_new_privileges {
        place.push(Step::FindHome);
    }
    place.extend(landlock);
    place.extend(seccomp);
    if no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    }
    steps.extend(privileged);
    steps.push(Step::Credentials {
        identity,
        capabilities,
    });
    steps.push(Step::FindProgram);
    steps.extend(created);
    steps.extend(tracing);
    steps.extend([Step::FollowRuntime(false), Step::Ready, Step::AwaitStart]);
    steps.extend(start_hooks);
    steps.extend(last);
}

/// Labels, limits and priorities: all that needs privilege but no path of the host.
pub(super) fn add_attributes(
    steps: &mut Vec<Step>,
    process: &oci::Process,
    host: &HostFacts,
) -> Result<(), Error> {
    let label = |value: &Option<String>| value.clone().filter(|label| !label.is_empty());
    if let Some(label) = label(process.apparmor_profile()) {
        if !host.has_apparmor() {
            return Err(Error::unsupported(
                "process.apparmorProfile",
                "AppArmor is not enabled on this host",
            ));
        }
        steps.push(Step::ExecLabel {
            lsm: Lsm::AppArmor,
            label,
        });
    }
    if let Some(label) = label(process.selinux_label()) {
        if !host.has_selinux() {
            return Err(Error::unsupported(
                "process.selinuxLabel",
                "SELinux is not enabled on this host",
            ));
        }
        steps.push(Step::ExecLabel {
            lsm: Lsm::Selinux,
            label,
        });
    }
    let limits = limits(process.rlimits().as_deref().unwrap_or_default())?;
    if !limits.is_empty() {
        steps.push(Step::Limits(limits));
    }
    if let Some(scheduler) = process.scheduler() {
        steps.push(self::scheduler(scheduler)?);
    }
    if let Some(priority) = process.io_priority() {
        steps.push(io_priority(priority)?);
    }
    Ok(())
}

/// `process.oomScoreAdj`, checked.
pub(super) fn oom_score_adj(process: &oci::Process) -> Result<Option<i32>, Error> {
    match process.oom_score_adj() {
        Some(value) if !(-1000..=1000).contains(&value) => Err(Error::invalid(
            "process.oomScoreAdj",
            format!("{value} is not in -1000..1000"),
        )),
        value => Ok(value),
    }
}

/// The program, its arguments and environment.
pub(super) fn program(
    process: &oci::Process,
    preserved: Preserved,
    passed: &[String],
) -> Result<Program, Error> {
    let strings = |list: &[String], field: &str| {
        list.iter()
            .map(|text| c_string(text.as_str()).map_err(|error| error.at(field.to_owned())))
            .collect::<Result<Vec<_>, _>>()
    };
    let args = strings(process.args().as_deref().unwrap_or_default(), "process.args")?;
    if args.is_empty() {
        return Err(Error::invalid("process.args", "empty: nothing to run"));
    }
    let mut env = strings(process.env().as_deref().unwrap_or_default(), "process.env")?;
    if let Some(entry) = env.iter().find(|entry| !entry.to_bytes().contains(&b'=')) {
        let entry = entry.to_string_lossy().into_owned();
        return Err(Error::invalid("process.env", format!("{entry:?} has no '='")));
    }
    for entry in passed {
        env.push(c_string(entry.as_str())?);
    }
    if preserved.listen > 0 {
        env.push(c_string(format!("LISTEN_FDS={}", preserved.listen))?);
    }
    Ok(Program {
        args: CStrings::new(args),
        env: CStrings::new(env),
        uid: process.user().uid(),
        preserved: preserved.plain + preserved.listen,
        listens: preserved.listen > 0,
    })
}

/// The terminal's step; with `console` it is `/dev/console` too.
pub(super) fn terminal(process: &oci::Process, console: bool) -> Result<Step, Error> {
    let size = process.console_size().map(|size| {
        let side = |value: u64| {
            u16::try_from(value).map_err(|_| {
                Error::invalid("process.consoleSize", format!("{value} characters are too many"))
            })
        };
        Ok::<_, Error>((side(size.height())?, side(size.width())?))
    });
    Ok(Step::Terminal {
        size: size.transpose()?,
        console,
    })
}

/// User, groups and mask, checked against the id maps.
pub(super) fn identity(user: &oci::User, maps: Option<&IdMaps>, host: &HostFacts) -> Result<Identity, Error> {
    let additional = user.additional_gids().clone().unwrap_or_default();
    if let Some(maps) = maps {
        if !IdMaps::maps_inside(&maps.uids, user.uid()) {
            return Err(Error::invalid(
                "process.user.uid",
                format!("{} has no uid mapping", user.uid()),
            ));
        }
        if let Some(gid) = std::iter::once(&user.gid())
            .chain(&additional)
            .find(|gid| !IdMaps::maps_inside(&maps.gids, **gid))
        {
            return Err(Error::invalid(
                "process.user",
                format!("group {gid} has no gid mapping"),
            ));
        }
    }
    // Without privilege over the mapped groups the kernel forbids setgroups(2) in the user namespace.
    let forbidden = host.rootless() && maps.is_none_or(|maps| !host.needs_map_helper(maps));
    let groups = match (forbidden, additional.is_empty()) {
        (true, false) => {
            return Err(Error::unsupported(
                "process.user.additionalGids",
                "setgroups(2) is forbidden in a user namespace made without newgidmap",
            ));
        }
        (true, true) => None,
        (false, _) => Some(additional),
    };
    let umask = user.umask().unwrap_or(DEFAULT_UMASK);
    if umask > 0o777 {
        return Err(Error::invalid(
            "process.user.umask",
            format!("{umask:#o} is not a mode"),
        ));
    }
    Ok(Identity {
        uid: user.uid(),
        gid: user.gid(),
        groups,
        umask,
    })
}

/// The five sets, without what this host cannot grant: the spec asks for a warning then, not an error.
pub(super) fn capabilities(
    asked: Option<&oci::LinuxCapabilities>,
    available: u64,
    notes: &mut Vec<String>,
) -> Result<Capabilities, Error> {
    let Some(asked) = asked else {
        return Ok(Capabilities::default());
    };
    let mut missing = 0;
    let mut mask = |set: &Option<HashSet<oci::Capability>>| {
        let bits = set
            .iter()
            .flatten()
            .fold(0, |bits, capability| bits | 1u64 << number(*capability));
        missing |= bits & !available;
        bits & available
    };
    let mut sets = Capabilities {
        bounding: mask(asked.bounding()),
        effective: mask(asked.effective()),
        inheritable: mask(asked.inheritable()),
        permitted: mask(asked.permitted()),
        ambient: mask(asked.ambient()),
    };
    if missing != 0 {
        notes.push(format!(
            "capabilities that this caller does not have are left out: {missing:#x}"
        ));
    }
    if sets.effective & !sets.permitted != 0 {
        return Err(Error::invalid(
            "process.capabilities.effective",
            "not a subset of permitted",
        ));
    }
    // `runc spec` itself writes such an ambient set since inheritable ones went out of use (CVE-2022-29162).
    let stray = sets.ambient & !(sets.permitted & sets.inheritable);
    if stray != 0 {
        sets.ambient &= !stray;
        notes.push(format!(
            "ambient capabilities that are not both permitted and inheritable are left out: {stray:#x}"
        ));
    }
    Ok(sets)
}

/// The kernel's number of a capability; `linux/capability.h`.
pub fn number(capability: oci::Capability) -> u32 {
    use oci::Capability as C;
    match capability {
        C::Chown => 0,
        C::DacOverride => 1,
        C::DacReadSearch => 2,
        C::Fowner => 3,
        C::Fsetid => 4,
        C::Kill => 5,
        C::Setgid => 6,
        C::Setuid => 7,
        C::Setpcap => 8,
        C::LinuxImmutable => 9,
        C::NetBindService => 10,
        C::NetBroadcast => 11,
        C::NetAdmin => 12,
        C::NetRaw => 13,
        C::IpcLock => 14,
        C::IpcOwner => 15,
        C::SysModule => 16,
        C::SysRawio => 17,
        C::SysChroot => 18,
        C::SysPtrace => 19,
        C::SysPacct => 20,
        C::SysAdmin => 21,
        C::SysBoot => 22,
        C::SysNice => 23,
        C::SysResource => 24,
        C::SysTime => 25,
        C::SysTtyConfig => 26,
        C::Mknod => 27,
        C::Lease => 28,
        C::AuditWrite => 29,
        C::AuditControl => 30,
        C::Setfcap => 31,
        C::MacOverride => 32,
        C::MacAdmin => 33,
        C::Syslog => 34,
        C::WakeAlarm => 35,
        C::BlockSuspend => 36,
        C::AuditRead => 37,
        C::Perfmon => 38,
        C::Bpf => 39,
        C::CheckpointRestore => 40,
    }
}

fn limits(rlimits: &[oci::PosixRlimit]) -> Result<Vec<Limit>, Error> {
    let mut limits: Vec<Limit> = Vec::with_capacity(rlimits.len());
    for rlimit in rlimits {
        let name = rlimit.typ().to_string();
        let field = format!("process.rlimits {name}");
        if limits.iter().any(|limit| limit.name == name) {
            return Err(Error::invalid(field, "given twice"));
        }
        if rlimit.soft() > rlimit.hard() {
            return Err(Error::invalid(field, "the soft limit is above the hard limit"));
        }
        let resource = resource(rlimit.typ());
        limits.push(Limit {
            resource,
            name,
            soft: rlimit.soft(),
            hard: rlimit.hard(),
        });
    }
    Ok(limits)
}

fn resource(typ: oci::PosixRlimitType) -> Resource {
    use oci::PosixRlimitType as T;
    match typ {
        T::RlimitCpu => Resource::Cpu,
        T::RlimitFsize => Resource::Fsize,
        T::RlimitData => Resource::Data,
        T::RlimitStack => Resource::Stack,
        T::RlimitCore => Resource::Core,
        T::RlimitRss => Resource::Rss,
        T::RlimitNproc => Resource::Nproc,
        T::RlimitNofile => Resource::Nofile,
        T::RlimitMemlock => Resource::Memlock,
        T::RlimitAs => Resource::As,
        T::RlimitLocks => Resource::Locks,
        T::RlimitSigpending => Resource::Sigpending,
        T::RlimitMsgqueue => Resource::Msgqueue,
        T::RlimitNice => Resource::Nice,
        T::RlimitRtprio => Resource::Rtprio,
        T::RlimitRttime => Resource::Rttime,
    }
}

fn scheduler(scheduler: &oci::Scheduler) -> Result<Step, Error> {
    use oci::LinuxSchedulerFlag as F;
    use oci::LinuxSchedulerPolicy as P;
    let policy = match scheduler.policy() {
        P::SchedOther => libc::SCHED_OTHER,
        P::SchedFifo => libc::SCHED_FIFO,
        P::SchedRr => libc::SCHED_RR,
        P::SchedBatch => libc::SCHED_BATCH,
        P::SchedIdle => libc::SCHED_IDLE,
        P::SchedDeadline => libc::SCHED_DEADLINE,
        P::SchedIso => {
            return Err(Error::unsupported(
                "process.scheduler.policy",
                "SCHED_ISO is not in Linux",
            ));
        }
    };
    let flags = scheduler.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                F::SchedResetOnFork => 0x01,
                F::SchedFlagReclaim => 0x02,
                F::SchedFlagDLOverrun => 0x04,
                F::SchedFlagKeepPolicy => 0x08,
                F::SchedFlagKeepParams => 0x10,
                F::SchedFlagUtilClampMin => 0x20,
                F::SchedFlagUtilClampMax => 0x40,
            }
    });
    let priority = scheduler.priority().unwrap_or(0);
    let priority = u32::try_from(priority)
        .map_err(|_| Error::invalid("process.scheduler.priority", format!("{priority} is negative")))?;
    Ok(Step::Scheduler(SchedAttr {
        policy: policy as u32,
        flags,
        nice: scheduler.nice().unwrap_or(0),
        priority,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
    }))
}

fn io_priority(priority: &oci::LinuxIOPriority) -> Result<Step, Error> {
    let class = match priority.class() {
        oci::IOPriorityClass::IoprioClassRt => 1,
        oci::IOPriorityClass::IoprioClassBe => 2,
        oci::IOPriorityClass::IoprioClassIdle => 3,
    };
    match priority.priority() {
        level @ 0..=7 => Ok(Step::IoPriority {
            class,
            level: level as u16,
        }),
        other => Err(Error::invalid(
            "process.ioPriority.priority",
            format!("{other} is not in 0..7"),
        )),
    }
}

pub(super) fn persona(personality: &oci::LinuxPersonality) -> Result<Step, Error> {
    if personality
        .flags()
        .as_ref()
        .is_some_and(|flags| !flags.is_empty())
    {
        return Err(Error::invalid(
            "linux.personality.flags",
            "the spec defines no flags",
        ));
    }
    Ok(Step::Personality(match personality.domain() {
        oci::LinuxPersonalityDomain::PerLinux => 0,
        oci::LinuxPersonalityDomain::PerLinux32 => 8,
    }))
}

fn memory_policy(policy: &oci::LinuxMemoryPolicy) -> Result<Step, Error> {
    use oci::MemoryPolicyFlagType as F;
    use oci::MemoryPolicyModeType as M;
    let mode = match policy.mode() {
        M::MpolDefault => 0,
        M::MpolPreferred => 1,
        M::MpolBind => 2,
        M::MpolInterleave => 3,
        M::MpolLocal => 4,
        M::MpolPreferredMany => 5,
        M::MpolWeightedInterleave => 6,
    };
    let flags = policy.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                F::MpolFStaticNodes => 1 << 15,
                F::MpolFRelativeNodes => 1 << 14,
                F::MpolFNumaBalancing => 1 << 13,
            }
    });
    let nodes = policy.nodes().as_deref().unwrap_or_default();
    let list = list(nodes).ok_or_else(|| {
        Error::invalid(
            "linux.memoryPolicy.nodes",
            format!("{nodes:?} is not a list such as 0-3,7"),
        )
    })?;
    let mut bits = Vec::new();
    for node in list {
        let word = node / 64;
        if bits.len() <= word {
            bits.resize(word + 1, 0u64);
        }
        bits[word] |= 1 << (node % 64);
    }
    Ok(Step::MemoryPolicy {
        mode: mode | flags,
        nodes: bits,
    })
}

/// Highest number in a list of processors or nodes.
const HIGHEST: usize = 1023;

/// The numbers of a list such as `0-3,7`, in order; an empty text is an empty list.
pub(super) fn list(text: &str) -> Option<Vec<usize>> {
    // Not a list yet: each part may name a thousand numbers, again and again.
    let mut named = [false; HIGHEST + 1];
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().ok();
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last > HIGHEST {
            return None;
        }
        named[first..=last].fill(true);
    }
    Some((0..=HIGHEST).filter(|number| named[*number]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers() {
        assert_eq!(list("0-2,7"), Some(vec![0, 1, 2, 7]));
        assert_eq!(list(""), Some(vec![]));
        assert_eq!(list("2,0-2,1,2"), Some(vec![0, 1, 2]));
        for bad in ["3-1", "a", "1,,2", "0-999999999", "-1"] {
            assert_eq!(list(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_the_host_cannot_grant_is_noted() {
        let all = oci::LinuxCapabilitiesBuilder::default()
            .bounding([oci::Capability::Kill, oci::Capability::SysResource])
            .effective([])
            .permitted([])
            .inheritable([])
            .ambient([])
            .build()
            .unwrap();
        let mut notes = Vec::new();
        let sets = capabilities(Some(&all), 1 << 5, &mut notes).unwrap();
        assert_eq!(sets.bounding, 1 << 5);
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn ambient_capabilities_that_cannot_be_are_left_out() {
        let chown = oci::Capability::Chown;
        let asked = oci::LinuxCapabilitiesBuilder::default()
            .bounding([chown])
            .effective([chown])
            .permitted([chown])
            .inheritable([])
            .ambient([chown])
            .build()
            .unwrap();
        let mut notes = Vec::new();
        let sets = capabilities(Some(&asked), u64::MAX, &mut notes).unwrap();
        assert_eq!((sets.permitted, sets.ambient, notes.len()), (1, 0, 1));
    }

    /// The names of the last steps that matter, in their order.
    fn order(no_new_privileges: bool, seccomp: &str) -> Vec<&'static str> {
        let mut steps = Vec::new();
        let profile = serde_json::from_str(seccomp).unwrap();
        let end = End {
            cwd: c"/".into(),
            no_new_privileges,
            identity: Identity::default(),
            capabilities: Capabilities::default(),
            landlock: Some(Step::Landlock(Box::default())),
            seccomp: Some(Step::Seccomp(Box::new(
                crate::seccomp::compile(&profile).unwrap(),
            ))),
            tracing: None,
            start_hooks: Some(Step::Hooks(ChildHooks::StartContainer)),
        };
        add_end(&mut steps, end);
        let name = |step: &Step| {
            Some(match step {
                Step::FindHome => "home",
                Step::Landlock(_) => "landlock",
                Step::Seccomp(_) => "filter",
                Step::Credentials { .. } => "credentials",
                Step::FindProgram => "program",
                Step::AwaitStart => "start",
                Step::Hooks(_) => "hooks",
                _ => return None,
            })
        };
        steps.iter().filter_map(name).collect()
    }

    #[test]
    fn the_place_of_filter_and_landlock_depends_on_no_new_privs() {
        let plain = r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#;
        let notify = r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/agent",
            "syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#;
        for profile in [plain, notify] {
            assert_eq!(
                order(false, profile),
                [
                    "home",
                    "landlock",
                    "filter",
                    "credentials",
                    "program",
                    "start",
                    "hooks"
                ]
            );
        }
        assert_eq!(
            order(true, plain),
            ["credentials", "program", "start", "hooks", "landlock", "filter"]
        );
        assert_eq!(
            order(true, notify),
            ["credentials", "program", "landlock", "filter", "start", "hooks"]
        );
    }
}
