//! `linux.resources.memory`.

use oci_spec::runtime::LinuxMemory;

use super::{Phase, Settings, Version, limit, or_max};
use crate::cgroup::Error;
use crate::cgroup::writes::Write;

const MEMORY: &str = "memory";
const LIMIT: &str = "linux.resources.memory.limit";
const SWAP: &str = "linux.resources.memory.swap";
const RESERVATION: &str = "linux.resources.memory.reservation";
const KERNEL: &str = "linux.resources.memory.kernel";
const KERNEL_TCP: &str = "linux.resources.memory.kernelTCP";
const SWAPPINESS: &str = "linux.resources.memory.swappiness";
const OOM: &str = "linux.resources.memory.disableOOMKiller";
const HIERARCHY: &str = "linux.resources.memory.useHierarchy";

pub(super) fn memory(settings: &mut Settings<'_>, memory: &LinuxMemory) -> Result<(), Error> {
    if memory.use_hierarchy() == Some(false) {
        return Err(Error::unsupported(
            HIERARCHY,
            "since Linux 5.11 a memory limit always covers sub-cgroups",
        ));
    }
    if limit(KERNEL, memory.kernel())?.is_some_and(|bytes| bytes != -1) {
        let reason =
            "since Linux 5.16 there is no limit of its own for kernel memory (memory.limit covers it)";
        return Err(Error::unsupported(KERNEL, reason));
    }
    amounts(settings, memory)?;
    if let Some(bytes) = limit(RESERVATION, memory.reservation())? {
        match settings.version(RESERVATION, MEMORY)? {
            Version::V1 => settings.set(MEMORY, RESERVATION, "memory.soft_limit_in_bytes", bytes),
            Version::V2 => settings.set(MEMORY, RESERVATION, "memory.low", or_max(bytes)),
        }
    }
    if let Some(bytes) = limit(KERNEL_TCP, memory.kernel_tcp())? {
        settings.need_v1(KERNEL_TCP, MEMORY)?;
        settings.set(MEMORY, KERNEL_TCP, "memory.kmem.tcp.limit_in_bytes", bytes);
    }
    if let Some(swappiness) = memory.swappiness() {
        if swappiness > 100 {
            return Err(Error::invalid(
                SWAPPINESS,
                format!("{swappiness} is not between 0 and 100"),
            ));
        }
        settings.need_v1(SWAPPINESS, MEMORY)?;
        settings.set(MEMORY, SWAPPINESS, "memory.swappiness", swappiness);
    }
    match (memory.disable_oom_killer(), settings.phase) {
        (Some(true), _) => {
            settings.need_v1(OOM, MEMORY)?;
            settings.set(MEMORY, OOM, "memory.oom_control", 1);
        }
        // The state of every new cgroup, and the only one of version 2.
        (None, _) | (Some(false), Phase::Create) => {}
        (Some(false), Phase::Update) => {
            if (settings.version)(MEMORY) == Some(Version::V1) {
                settings.set(MEMORY, OOM, "memory.oom_control", 0);
            }
        }
    }
    Ok(())
}

/// The limit, and the spec's "memory plus swap", which is one value in version 1 and a difference in version 2.
fn amounts(settings: &mut Settings<'_>, memory: &LinuxMemory) -> Result<(), Error> {
    let bytes = limit(LIMIT, memory.limit())?;
    // Lifting the memory limit lifts that of memory plus swap too, unless another one is asked for.
    let swap = limit(SWAP, memory.swap())?.or(bytes.filter(|bytes| *bytes == -1));
    match (bytes, swap) {
        (Some(bytes), Some(swap)) if swap != -1 && (bytes == -1 || swap < bytes) => {
            let reason = format!("{swap} (memory plus swap) is less than the memory limit {bytes}");
            return Err(Error::invalid(SWAP, reason));
        }
        (None, Some(1..)) if settings.phase == Phase::Create => {
            return Err(Error::invalid(
                SWAP,
                "it means memory plus swap and so needs a memory limit",
            ));
        }
        _ => {}
    }
    if let Some(bytes) = bytes {
        match settings.version(LIMIT, MEMORY)? {
            Version::V1 => settings.set(MEMORY, LIMIT, "memory.limit_in_bytes", bytes),
            Version::V2 => settings.set(MEMORY, LIMIT, "memory.max", or_max(bytes)),
        }
    }
    let Some(swap) = swap else { return Ok(()) };
    let (file, value) = match (settings.version(SWAP, MEMORY)?, bytes) {
        (Version::V1, _) => ("memory.memsw.limit_in_bytes", swap.to_string()),
        (Version::V2, _) if swap == -1 => ("memory.swap.max", "max".to_owned()),
        (Version::V2, Some(bytes)) => ("memory.swap.max", (swap - bytes).to_string()),
        (Version::V2, None) => {
            return Err(Error::invalid(
                SWAP,
                "it means memory plus swap and so needs a memory limit beside it",
            ));
        }
    };
    // A kernel built without swap has no such file, and what these values ask for.
    let optional = value == "max" || value == "-1" || value == "0";
    settings.push(
        MEMORY,
        Write {
            optional,
            ..Write::new(SWAP, file, value)
        },
    );
    Ok(())
}
