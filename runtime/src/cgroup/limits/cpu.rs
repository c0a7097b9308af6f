//! `linux.resources.cpu`, which covers the controllers cpu and cpuset.

use oci_spec::runtime::LinuxCpu;

use super::{Phase, Settings, Version, convert, limit};
use crate::cgroup::Error;

const CPU: &str = "cpu";
const CPUSET: &str = "cpuset";
const SHARES: &str = "linux.resources.cpu.shares";
const QUOTA: &str = "linux.resources.cpu.quota";
const PERIOD: &str = "linux.resources.cpu.period";
const BURST: &str = "linux.resources.cpu.burst";
const IDLE: &str = "linux.resources.cpu.idle";
const RT_RUNTIME: &str = "linux.resources.cpu.realtimeRuntime";
const RT_PERIOD: &str = "linux.resources.cpu.realtimePeriod";
const CPUS: &str = "linux.resources.cpu.cpus";
const MEMS: &str = "linux.resources.cpu.mems";

pub(super) fn cpu(settings: &mut Settings<'_>, cpu: &LinuxCpu) -> Result<(), Error> {
    let idle = match cpu.idle() {
        None => None,
        Some(idle @ (0 | 1)) => Some(idle),
        Some(other) => return Err(Error::invalid(IDLE, format!("{other} is neither 0 nor 1"))),
    };
    // An idle cgroup refuses a weight: leave that state before the weight is set, enter it after.
    if idle == Some(0) && settings.phase == Phase::Update {
        settings.version(IDLE, CPU)?;
        settings.set(CPU, IDLE, "cpu.idle", 0);
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        if !(2..=262_144).contains(&shares) {
            return Err(Error::invalid(
                SHARES,
                format!("{shares} is not between 2 and 262144"),
            ));
        }
        match settings.version(SHARES, CPU)? {
            Version::V1 => settings.set(CPU, SHARES, "cpu.shares", shares),
            Version::V2 => settings.set(CPU, SHARES, "cpu.weight", convert::weight_from_shares(shares)),
        }
    }
    realtime(settings, cpu)?;
    bandwidth(settings, cpu)?;
    if idle == Some(1) {
        settings.version(IDLE, CPU)?;
        settings.set(CPU, IDLE, "cpu.idle", 1);
    }
    Ok(())
}

fn realtime(settings: &mut Settings<'_>, cpu: &LinuxCpu) -> Result<(), Error> {
    if let Some(period) = cpu.realtime_period().filter(|period| *period != 0) {
        settings.need_v1(RT_PERIOD, CPU)?;
        settings.set(CPU, RT_PERIOD, "cpu.rt_period_us", period);
    }
    if let Some(runtime) = limit(RT_RUNTIME, cpu.realtime_runtime())? {
        settings.need_v1(RT_RUNTIME, CPU)?;
        settings.set(CPU, RT_RUNTIME, "cpu.rt_runtime_us", runtime);
    }
    Ok(())
}

/// Quota, period and burst. The period comes first: the kernel checks a quota against the period in force.
fn bandwidth(settings: &mut Settings<'_>, cpu: &LinuxCpu) -> Result<(), Error> {
    let quota = limit(QUOTA, cpu.quota())?;
    let period = cpu.period().filter(|period| *period != 0);
    if let Some(property) = quota.map(|_| QUOTA).or(period.map(|_| PERIOD)) {
        match settings.version(property, CPU)? {
            Version::V1 => {
                if let Some(period) = period {
                    settings.set(CPU, PERIOD, "cpu.cfs_period_us", period);
                }
                if let Some(quota) = quota {
                    settings.set(CPU, QUOTA, "cpu.cfs_quota_us", quota);
                }
            }
            Version::V2 => {
                let quota = quota.map_or_else(|| "max".to_owned(), super::or_max);
                // Without a period the kernel keeps the one in force.
                let value = period.map_or_else(|| quota.clone(), |period| format!("{quota} {period}"));
                settings.set(CPU, property, "cpu.max", value);
            }
        }
    }
    if let Some(burst) = cpu.burst() {
        match settings.version(BURST, CPU)? {
            Version::V1 => settings.set(CPU, BURST, "cpu.cfs_burst_us", burst),
            Version::V2 => settings.set(CPU, BURST, "cpu.max.burst", burst),
        }
    }
    Ok(())
}

pub(super) fn cpuset(settings: &mut Settings<'_>, cpu: &LinuxCpu) -> Result<(), Error> {
    for (property, file, list) in [
        (CPUS, "cpuset.cpus", cpu.cpus()),
        (MEMS, "cpuset.mems", cpu.mems()),
    ] {
        let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else {
            continue;
        };
        if !list
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b",- :/\n".contains(&byte))
        {
            return Err(Error::invalid(
                property,
                format!("{list:?} is not a list like 0-3,7"),
            ));
        }
        settings.version(property, CPUSET)?;
        settings.set(CPUSET, property, file, list);
    }
    Ok(())
}
