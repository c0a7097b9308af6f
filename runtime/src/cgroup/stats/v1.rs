//! Statistics of version 1.

use super::{BlkioEntry, Files, Hugetlb, MemoryEntry, Stats};
use crate::cgroup::Error;
use crate::cgroup::record::Place;

/// What this directory's controllers know.
pub(super) fn read(files: &Files<'_>, place: &Place, stats: &mut Stats) -> Result<(), Error> {
    for controller in place.controllers.split(',') {
        match controller {
            "cpu" => throttling(files, stats)?,
            "cpuacct" => usage(files, stats)?,
            "cpuset" => cpuset(files, stats)?,
            "memory" => memory(files, stats)?,
            "pids" => {
                stats.pids.current = files.number("pids.current")?;
                stats.pids.limit = Some(files.number("pids.max")?)
                    .filter(|max| *max != u64::MAX)
                    .unwrap_or(0);
            }
            "blkio" => blkio(files, stats)?,
            "hugetlb" => {
                for size in files.page_sizes("usage_in_bytes") {
                    let number = |last: &str| files.number(&format!("hugetlb.{size}.{last}"));
                    let entry = Hugetlb {
                        usage: number("usage_in_bytes")?,
                        max: number("max_usage_in_bytes")?,
                        failcnt: number("failcnt")?,
                    };
                    stats.hugetlb.insert(size, entry);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn throttling(files: &Files<'_>, stats: &mut Stats) -> Result<(), Error> {
    let values = files.keyed("cpu.stat")?;
    let value = |key: &str| values.get(key).copied().unwrap_or(0);
    stats.cpu.throttling.periods = value("nr_periods");
    stats.cpu.throttling.throttled_periods = value("nr_throttled");
    stats.cpu.throttling.throttled_time = value("throttled_time");
    Ok(())
}

fn usage(files: &Files<'_>, stats: &mut Stats) -> Result<(), Error> {
    let usage = &mut stats.cpu.usage;
    usage.total = files.number("cpuacct.usage")?;
    usage.user = files.number("cpuacct.usage_user")?;
    usage.kernel = files.number("cpuacct.usage_sys")?;
    for (file, list) in [
        ("cpuacct.usage_percpu", &mut usage.percpu),
        ("cpuacct.usage_percpu_user", &mut usage.percpu_user),
        ("cpuacct.usage_percpu_sys", &mut usage.percpu_kernel),
    ] {
        for word in files.text(file)?.unwrap_or_default().split_ascii_whitespace() {
            list.push(word.parse().map_err(|_| files.unexpected(file, word))?);
        }
    }
    Ok(())
}

fn cpuset(files: &Files<'_>, stats: &mut Stats) -> Result<(), Error> {
    let set = &mut stats.cpuset;
    set.cpus = files.list("cpuset.cpus")?;
    set.mems = files.list("cpuset.mems")?;
    for (file, value) in [
        ("cpuset.cpu_exclusive", &mut set.cpu_exclusive),
        ("cpuset.mem_hardwall", &mut set.mem_hardwall),
        ("cpuset.mem_exclusive", &mut set.mem_exclusive),
        ("cpuset.memory_migrate", &mut set.memory_migrate),
        ("cpuset.memory_spread_page", &mut set.memory_spread_page),
        ("cpuset.memory_spread_slab", &mut set.memory_spread_slab),
        ("cpuset.memory_pressure", &mut set.memory_pressure),
        ("cpuset.sched_load_balance", &mut set.sched_load_balance),
    ] {
        *value = files.number(file)?;
    }
    let file = "cpuset.sched_relax_domain_level";
    if let Some(text) = files.text(file)? {
        set.sched_relax_domain_level = text
            .trim_end()
            .parse()
            .map_err(|_| files.unexpected(file, &text))?;
    }
    Ok(())
}

fn memory(files: &Files<'_>, stats: &mut Stats) -> Result<(), Error> {
    let entry = |prefix: &str| -> Result<MemoryEntry, Error> {
        let number = |last: &str| files.number(&format!("{prefix}.{last}"));
        Ok(MemoryEntry {
            limit: number("limit_in_bytes")?,
            usage: number("usage_in_bytes")?,
            max: number("max_usage_in_bytes")?,
            failcnt: number("failcnt")?,
        })
    };
    let memory = &mut stats.memory;
    memory.usage = entry("memory")?;
    memory.swap = entry("memory.memsw")?;
    memory.kernel = entry("memory.kmem")?;
    memory.kernel_tcp = entry("memory.kmem.tcp")?;
    memory.raw = files.keyed("memory.stat")?;
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    Ok(())
}

/// BFQ counts for itself where it is in use; the throttling layer counts all requests otherwise.
fn blkio(files: &Files<'_>, stats: &mut Stats) -> Result<(), Error> {
    for (what, list) in [
        (
            "io_service_bytes_recursive",
            &mut stats.blkio.io_service_bytes_recursive,
        ),
        ("io_serviced_recursive", &mut stats.blkio.io_serviced_recursive),
    ] {
        for prefix in ["blkio.bfq", "blkio.throttle"] {
            let file = format!("{prefix}.{what}");
            *list = entries(&files.text(&file)?.unwrap_or_default())
                .map_err(|line| files.unexpected(&file, line))?;
            if !list.is_empty() {
                break;
            }
        }
    }
    Ok(())
}

/// Lines like `8:0 Read 4096`. The last line, a total over all devices, has no numbers and is left out.
fn entries(text: &str) -> Result<Vec<BlkioEntry>, &str> {
    text.lines()
        .filter(|line| !line.starts_with("Total"))
        .map(|line| {
            let mut words = line.split([' ', ':']);
            let mut number = || words.next()?.parse().ok();
            let (major, minor) = (number().ok_or(line)?, number().ok_or(line)?);
            let op = words.next().ok_or(line)?.to_owned();
            let value = words.next().and_then(|word| word.parse().ok()).ok_or(line)?;
            Ok(BlkioEntry {
                major,
                minor,
                op,
                value,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_device_lines() {
        let entry = BlkioEntry {
            major: 254,
            minor: 0,
            op: "Read".into(),
            value: 4096,
        };
        assert_eq!(entries("254:0 Read 4096\nTotal 4096\n").unwrap(), [entry]);
        assert_eq!(entries("254 Read 1\n").unwrap_err(), "254 Read 1");
    }
}
