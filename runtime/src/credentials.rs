//! User, groups, capabilities and limits of the process.

use crate::fault::{Call, Fault};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Gid, Resource, Rlimit, Uid, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

/// Who the process runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// User id in the container.
    pub uid: u32,
    /// Group id in the container.
    pub gid: u32,
    /// Supplementary groups; `None` where the user namespace forbids `setgroups(2)` and none are asked for.
    pub groups: Option<Vec<u32>>,
    /// File mode creation mask.
    pub umask: u32,
}

/// The five capability sets as bit masks; bit n is capability number n. `capabilities(7)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Upper bound for file capabilities.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// Kept over exec by programs that ask for it.
    pub inheritable: u64,
    /// May be made effective.
    pub permitted: u64,
    /// Kept over exec.
    pub ambient: u64,
}

/// One resource limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Its number.
    pub resource: Resource,
    /// Its name, for messages.
    pub name: String,
    /// Soft limit in the resource's unit, `u64::MAX` for none.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// The highest capability number that a mask can hold.
const LAST_CAPABILITY: u32 = 63;

/// Becomes the process's user with exactly these capabilities.
///
/// The order is forced: the bounding set needs `CAP_SETPCAP`, the groups `CAP_SETGID`, so both come before
/// the user changes; the ambient set needs permitted and inheritable in place, so it comes last.
///
/// # Errors
/// The failed call.
pub fn assume(identity: &Identity, capabilities: &Capabilities) -> Result<(), Fault> {
    drop_bounding(capabilities.bounding)?;
    let changes_user = identity.uid != 0;
    if changes_user {
        set_keep_capabilities(true).call("prctl PR_SET_KEEPCAPS")?;
    }
    set_user(identity)?;
    if changes_user {
        set_keep_capabilities(false).call("prctl PR_SET_KEEPCAPS")?;
    }
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(capabilities.effective),
        permitted: CapabilitySet::from_bits_retain(capabilities.permitted),
        inheritable: CapabilitySet::from_bits_retain(capabilities.inheritable),
    };
    set_capabilities(None, sets).call("capset")?;
    set_ambient(capabilities.ambient)
}

fn drop_bounding(keep: u64) -> Result<(), Fault> {
    for number in 0..=LAST_CAPABILITY {
        let bit = 1u64 << number;
        if keep & bit != 0 {
            continue;
        }
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(bit)) {
            Ok(()) => {}
            // Past the kernel's last capability.
            Err(Errno::INVAL) => return Ok(()),
            Err(errno) => return Err(errno).call_on("prctl PR_CAPBSET_DROP", || number.to_string()),
        }
    }
    Ok(())
}

fn set_user(identity: &Identity) -> Result<(), Fault> {
    if let Some(groups) = &identity.groups {
        let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        match set_thread_groups(&groups) {
            // The runtime itself is in a user namespace whose maps an unprivileged user wrote: nobody there can
            // change groups, and user_namespaces(7) tells why that must be so.
            Err(Errno::PERM) if groups.is_empty() && may_set_groups() && has_no_groups()? => {}
            result => result.call("setgroups")?,
        }
    }
    let gid = Gid::from_raw(identity.gid);
    set_thread_res_gid(gid, gid, gid).call("setresgid")?;
    let uid = Uid::from_raw(identity.uid);
    set_thread_res_uid(uid, uid, uid).call("setresuid")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(identity.umask));
    Ok(())
}

fn may_set_groups() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SETGID))
}

/// Whether the groups that stay give nothing: a filter may have refused the call too, and the groups of the
/// host must not stay then. Those that a user namespace does not map show as the overflow id.
fn has_no_groups() -> Result<bool, Fault> {
    const OVERFLOW: u32 = 65534;
    let own = rustix::process::getegid();
    let groups = rustix::process::getgroups().call("getgroups")?;
    Ok(groups
        .iter()
        .all(|group| *group == own || group.as_raw() == OVERFLOW))
}

fn set_ambient(ambient: u64) -> Result<(), Fault> {
    clear_ambient_capability_set().call("prctl PR_CAP_AMBIENT_CLEAR_ALL")?;
    for number in (0..=LAST_CAPABILITY).filter(|number| ambient & 1 << number != 0) {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        configure_capability_in_ambient_set(capability, true)
            .call_on("prctl PR_CAP_AMBIENT_RAISE", || number.to_string())?;
    }
    Ok(())
}

/// Becomes this user and group of a user namespace just entered, to own what is made from here on.
///
/// # Errors
/// The failed call: `EINVAL` when the id maps do not have them.
pub fn become_root(uid: u32, gid: u32) -> Result<(), Fault> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_res_gid(gid, gid, gid).call("setresgid")?;
    set_thread_res_uid(uid, uid, uid).call("setresuid")
}

/// Sets the out-of-memory score adjustment of the calling process. `proc_pid_oom_score_adj(5)`.
///
/// # Errors
/// The failed call: `EACCES` when the value would fall without `CAP_SYS_RESOURCE`.
pub fn set_oom_score_adj(value: i32) -> Result<(), Fault> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(CWD, c"/proc/self/oom_score_adj", flags, Mode::empty())
        .call("open /proc/self/oom_score_adj")?;
    rustix::io::write(&file, value.to_string().as_bytes())
        .call("write /proc/self/oom_score_adj")
        .map(drop)
}

/// Sets resource limits.
///
/// # Errors
/// The failed call with the limit's name: `EPERM` when a hard limit would rise without `CAP_SYS_RESOURCE`.
pub fn set_limits(limits: &[Limit]) -> Result<(), Fault> {
    for limit in limits {
        let value = |raw: u64| (raw != u64::MAX).then_some(raw);
        let rlimit = Rlimit {
            current: value(limit.soft),
            maximum: value(limit.hard),
        };
        setrlimit(limit.resource, rlimit).call_on("setrlimit", || limit.name.clone())?;
    }
    Ok(())
}
