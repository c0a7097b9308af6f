//! What a container has used: the data of runc's `events --stats`, whose field names are the interface.

mod v1;
mod v2;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use serde::Serialize;

use super::Error;
use super::create::{open_directory, read_at};
use super::record::Record;

/// The `data` of a `stats` event. Numbers that the kernel does not have are zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// CPU time.
    pub cpu: Cpu,
    /// CPUs and memory nodes.
    pub cpuset: CpuSet,
    /// Memory.
    pub memory: Memory,
    /// Processes and threads.
    pub pids: Pids,
    /// Block devices.
    pub blkio: Blkio,
    /// Huge pages, by page size.
    pub hugetlb: BTreeMap<String, Hugetlb>,
}

/// CPU time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// Time used.
    pub usage: CpuUsage,
    /// Time withheld by the quota.
    pub throttling: Throttling,
    /// Pressure stall information.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// CPU time in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CpuUsage {
    /// All of it.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// For each CPU (version 1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// For each CPU, in the kernel (version 1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// For each CPU, in user space (version 1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In user space.
    pub user: u64,
}

/// The effect of `cpu.quota`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods that have passed.
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    /// Those in which the quota was used up.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// Nanoseconds of waiting for the next one.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// The cpuset in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CpuSet {
    /// The CPUs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    /// `cpuset.cpu_exclusive`
    pub cpu_exclusive: u64,
    /// The memory nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    /// `cpuset.mem_hardwall`
    pub mem_hardwall: u64,
    /// `cpuset.mem_exclusive`
    pub mem_exclusive: u64,
    /// `cpuset.memory_migrate`
    pub memory_migrate: u64,
    /// `cpuset.memory_spread_page`
    pub memory_spread_page: u64,
    /// `cpuset.memory_spread_slab`
    pub memory_spread_slab: u64,
    /// `cpuset.memory_pressure`
    pub memory_pressure: u64,
    /// `cpuset.sched_load_balance`
    pub sched_load_balance: u64,
    /// `cpuset.sched_relax_domain_level`
    pub sched_relax_domain_level: i64,
}

/// Memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    /// The page cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    /// Memory without swap.
    pub usage: MemoryEntry,
    /// Memory plus swap, on version 2 too.
    pub swap: MemoryEntry,
    /// Kernel memory (version 1).
    pub kernel: MemoryEntry,
    /// TCP buffers (version 1).
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// `memory.stat`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Pressure stall information.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// One kind of memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryEntry {
    /// The limit; `u64::MAX` without one on version 2.
    pub limit: u64,
    /// In use.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most that was ever in use.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Processes and threads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pids {
    /// How many there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// How many there may be; 0 is no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Traffic with block devices.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    /// Bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    /// Pressure stall information.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// One counter of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BlkioEntry {
    /// Major number.
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    /// Minor number.
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// `Read`, `Write`, `Discard`, and on version 1 `Sync`, `Async`, `Total`.
    pub op: String,
    /// The count.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hugetlb {
    /// In use.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most that was ever in use (version 1).
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Pressure stall information of one resource (`Documentation/accounting/psi.rst`).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Psi {
    /// Some processes waited.
    pub some: PsiData,
    /// All processes waited.
    pub full: PsiData,
}

/// Shares of time in percent, and their sum in µs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PsiData {
    /// Over 10 seconds.
    pub avg10: f64,
    /// Over 60 seconds.
    pub avg60: f64,
    /// Over 300 seconds.
    pub avg300: f64,
    /// Since the start, in µs.
    pub total: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Record {
    /// Reads what the container has used so far.
    ///
    /// # Errors
    /// A directory is gone or a file cannot be read or understood. A file that does not exist counts as zero.
    pub fn stats(&self) -> Result<Stats, Error> {
        let mut stats = Stats::default();
        for place in self.places.iter().filter(|_| !self.intended) {
            let files = Files {
                at: open_directory(&place.path)?,
                path: &place.path,
            };
            match place.is_unified() {
                // On a hybrid host it has only what version 1 does not carry, and nothing to say on the rest.
                true => v2::read(&files, &mut stats, self.places.len() == 1)?,
                false => v1::read(&files, place, &mut stats)?,
            }
        }
        Ok(stats)
    }
}

/// The files of one cgroup directory.
struct Files<'a> {
    at: OwnedFd,
    path: &'a str,
}

impl Files<'_> {
    /// The text of a file; nothing where it does not exist or has no content at present.
    fn text(&self, file: &str) -> Result<Option<String>, Error> {
        match read_at(self.at.as_fd(), file, self.path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::OPNOTSUPP)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn unexpected(&self, file: &str, content: &str) -> Error {
        Error::Content {
            path: format!("{}/{file}", self.path),
            content: content.to_owned(),
        }
    }

    /// A file that holds one number; `max` is `u64::MAX`, nothing is 0.
    fn number(&self, file: &str) -> Result<u64, Error> {
        match self.text(file)?.as_deref().map(str::trim_end) {
            None => Ok(0),
            Some("max") => Ok(u64::MAX),
            Some(text) => text.parse().map_err(|_| self.unexpected(file, text)),
        }
    }

    /// A file with a key and a number on each line.
    fn keyed(&self, file: &str) -> Result<BTreeMap<String, u64>, Error> {
        let text = self.text(file)?.unwrap_or_default();
        text.lines()
            .map(|line| {
                let (key, number) = line.split_once(' ').ok_or_else(|| self.unexpected(file, line))?;
                let number = number.parse().map_err(|_| self.unexpected(file, line))?;
                Ok((key.to_owned(), number))
            })
            .collect()
    }

    /// A list like `0-2,7`.
    fn list(&self, file: &str) -> Result<Vec<u16>, Error> {
        let text = self.text(file)?.unwrap_or_default();
        let text = text.trim_end();
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let mut numbers = Vec::new();
        for range in text.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            match (first.parse::<u16>(), last.parse::<u16>()) {
                (Ok(first), Ok(last)) => numbers.extend(first..=last),
                _ => return Err(self.unexpected(file, text)),
            }
        }
        Ok(numbers)
    }

    /// The page sizes that the directory has hugetlb files for.
    fn page_sizes(&self, last: &str) -> Vec<String> {
        let entries = std::fs::read_dir("/sys/kernel/mm/hugepages")
            .into_iter()
            .flatten()
            .flatten();
        let mut sizes: Vec<String> = entries
            .filter_map(|entry| entry.file_name().to_str().and_then(page_size))
            .filter(|size| {
                let file = format!("hugetlb.{size}.{last}");
                rustix::fs::accessat(
                    &self.at,
                    &file,
                    rustix::fs::Access::EXISTS,
                    rustix::fs::AtFlags::empty(),
                )
                .is_ok()
            })
            .collect();
        sizes.sort_unstable();
        sizes
    }
}

/// `hugepages-2048kB` as the controller writes it: `2MB`.
fn page_size(directory: &str) -> Option<String> {
    let kilobytes: u64 = directory
        .strip_prefix("hugepages-")?
        .strip_suffix("kB")?
        .parse()
        .ok()?;
    Some(match kilobytes {
        size if size >= 1 << 20 => format!("{}GB", size >> 20),
        size if size >= 1 << 10 => format!("{}MB", size >> 10),
        size => format!("{size}KB"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes() {
        let sizes = [
            "hugepages-64kB",
            "hugepages-2048kB",
            "hugepages-1048576kB",
            "other",
        ]
        .map(page_size);
        assert_eq!(
            sizes,
            [Some("64KB".into()), Some("2MB".into()), Some("1GB".into()), None]
        );
    }
}
