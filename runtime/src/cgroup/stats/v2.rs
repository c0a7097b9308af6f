//! Statistics of version 2.

use super::{BlkioEntry, Files, Hugetlb, Psi, PsiData, Stats};
use crate::cgroup::Error;

/// What the directory knows; `alone` says that no version 1 hierarchy stands beside it.
pub(super) fn read(files: &Files<'_>, stats: &mut Stats, alone: bool) -> Result<(), Error> {
    if alone {
        cpu(files, stats)?;
        stats.cpuset.cpus = files.list("cpuset.cpus.effective")?;
        stats.cpuset.mems = files.list("cpuset.mems.effective")?;
        stats.pids.current = files.number("pids.current")?;
        stats.pids.limit = Some(files.number("pids.max")?)
            .filter(|max| *max != u64::MAX)
            .unwrap_or(0);
        memory(files, stats)?;
        io(files, stats)?;
    }
    for size in files.page_sizes("current") {
        let entry = Hugetlb {
            usage: files.number(&format!("hugetlb.{size}.current"))?,
            max: 0,
            failcnt: files
                .keyed(&format!("hugetlb.{size}.events"))?
                .get("max")
                .copied()
                .unwrap_or(0),
        };
        stats.hugetlb.insert(size, entry);
    }
    stats.cpu.psi = pressure(files, "cpu.pressure")?;
    stats.memory.psi = pressure(files, "memory.pressure")?;
    stats.blkio.psi = pressure(files, "io.pressure")?;
    Ok(())
}

fn cpu(files: &Files<'_>, stats: &mut Stats) -> Result<(), Error> {
    let values = files.keyed("cpu.stat")?;
    let value = |key: &str| values.get(key).copied().unwrap_or(0);
    let nanoseconds = |key: &str| value(key).saturating_mul(1000);
    stats.cpu.usage.total = nanoseconds("usage_usec");
    stats.cpu.usage.user = nanoseconds("user_usec");
    stats.cpu.usage.kernel = nanoseconds("system_usec");
    stats.cpu.throttling.periods = value("nr_periods");
    stats.cpu.throttling.throttled_periods = value("nr_throttled");
    stats.cpu.throttling.throttled_time = nanoseconds("throttled_usec");
    Ok(())
}

fn memory(files: &Files<'_>, stats: &mut Stats) -> Result<(), Error> {
    let events = files.keyed("memory.events")?;
    let memory = &mut stats.memory;
    memory.usage.usage = files.number("memory.current")?;
    memory.usage.limit = files.number("memory.max")?;
    memory.usage.max = files.number("memory.peak")?;
    memory.usage.failcnt = events.get("max").copied().unwrap_or(0);
    // Version 1 counts memory and swap together, and so does the interface.
    memory.swap.usage = files
        .number("memory.swap.current")?
        .saturating_add(memory.usage.usage);
    memory.swap.limit = files
        .number("memory.swap.max")?
        .saturating_add(memory.usage.limit);
    memory.raw = files.keyed("memory.stat")?;
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    Ok(())
}

fn io(files: &Files<'_>, stats: &mut Stats) -> Result<(), Error> {
    let text = files.text("io.stat")?.unwrap_or_default();
    for line in text.lines() {
        entries(line, stats).ok_or_else(|| files.unexpected("io.stat", line))?;
    }
    Ok(())
}

/// A line like `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`. A device without traffic may stand
/// there alone, and other keys may follow.
fn entries(line: &str, stats: &mut Stats) -> Option<()> {
    let mut words = line.split_ascii_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    for word in words {
        let (key, value) = word.split_once('=')?;
        let (op, bytes) = match key {
            "rbytes" => ("Read", true),
            "wbytes" => ("Write", true),
            "dbytes" => ("Discard", true),
            "rios" => ("Read", false),
            "wios" => ("Write", false),
            "dios" => ("Discard", false),
            _ => continue,
        };
        let entry = BlkioEntry {
            major,
            minor,
            op: op.to_owned(),
            value: value.parse().ok()?,
        };
        match bytes {
            true => stats.blkio.io_service_bytes_recursive.push(entry),
            false => stats.blkio.io_serviced_recursive.push(entry),
        }
    }
    Some(())
}

fn pressure(files: &Files<'_>, file: &str) -> Result<Option<Psi>, Error> {
    let Some(text) = files.text(file)? else {
        return Ok(None);
    };
    psi(&text).map(Some).ok_or_else(|| files.unexpected(file, &text))
}

/// Lines like `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn psi(text: &str) -> Option<Psi> {
    let mut psi = Psi::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let data = match words.next()? {
            "some" => &mut psi.some,
            "full" => &mut psi.full,
            _ => continue,
        };
        *data = PsiData::default();
        for word in words {
            let (key, value) = word.split_once('=')?;
            match key {
                "avg10" => data.avg10 = value.parse().ok()?,
                "avg60" => data.avg60 = value.parse().ok()?,
                "avg300" => data.avg300 = value.parse().ok()?,
                "total" => data.total = value.parse().ok()?,
                _ => {}
            }
        }
    }
    Some(psi)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_lines() {
        let mut stats = Stats::default();
        entries(
            "8:16 rbytes=4096 wbytes=1 rios=2 wios=3 dbytes=4 dios=5 cost.usage=6",
            &mut stats,
        )
        .unwrap();
        entries("7:0", &mut stats).unwrap();
        let values = |list: &[BlkioEntry]| list.iter().map(|entry| entry.value).collect::<Vec<_>>();
        assert_eq!(values(&stats.blkio.io_service_bytes_recursive), [4096, 1, 4]);
        assert_eq!(values(&stats.blkio.io_serviced_recursive), [2, 3, 5]);
        assert!(entries("8 rbytes=1", &mut stats).is_none());
    }

    #[test]
    fn pressure_lines() {
        let psi = psi("some avg10=1.50 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.25 total=3\n").unwrap();
        assert_eq!(
            (psi.some.avg10, psi.some.total, psi.full.avg10, psi.full.total),
            (1.5, 7, 0.25, 3)
        );
        assert_eq!(super::psi("some avg10=x\n"), None);
    }
}
