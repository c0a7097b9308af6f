//! The five sets of capabilities.

use super::Error;
use crate::credentials::Capabilities;
use oci_spec::runtime as oci;
use std::collections::HashSet;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
