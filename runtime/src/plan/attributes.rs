//! What a process has beside its identity: labels, limits, priorities, personality, memory policy.

use super::Error;
use super::step::{Lsm, Step};
use crate::credentials::Limit;
use crate::host::HostFacts;
use nucleus_sys::process::SchedAttr;
use oci_spec::runtime as oci;
use rustix::process::Resource;

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

pub(super) fn memory_policy(policy: &oci::LinuxMemoryPolicy) -> Result<Step, Error> {
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
}
