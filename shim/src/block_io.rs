//! `--io`: what a workload may do with a disk.

use serde_json::{Value, json};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Limits for one device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Major and minor number.
    pub device: (u32, u32),
    /// Bytes read in a second.
    pub read_bps: Option<i64>,
    /// Bytes written in a second.
    pub write_bps: Option<i64>,
    /// Reads in a second.
    pub read_iops: Option<i64>,
    /// Writes in a second.
    pub write_iops: Option<i64>,
    /// Share beside others, from 10 to 1000.
    pub weight: Option<i64>,
}

/// `PATH:KEY=VALUE,...` with the kernel's keys `rbps`, `wbps`, `riops`, `wiops`, and `weight`. The path is a block
/// device, or lies on one.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Limits, String> {
    let (path, keys) = text
        .rsplit_once(':')
        .filter(|(path, keys)| !path.is_empty() && !keys.is_empty())
        .ok_or_else(|| format!("{text:?}: not PATH:KEY=VALUE,... such as /dev/sda:rbps=10M"))?;
    let mut limits = Limits::default();
    for pair in keys.split(',') {
        let wrong = || format!("{pair:?}: not rbps=, wbps=, riops=, wiops= or weight= and a number");
        let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
        let number = crate::parse::size(value).map_err(|_| wrong())?;
        let place = match key {
            "rbps" => &mut limits.read_bps,
            "wbps" => &mut limits.write_bps,
            "riops" => &mut limits.read_iops,
            "wiops" => &mut limits.write_iops,
            "weight" if (10..=1000).contains(&number) => &mut limits.weight,
            "weight" => return Err(format!("{pair:?}: not from 10 to 1000")),
            _ => return Err(wrong()),
        };
        if place.replace(number).is_some() {
            return Err(format!("{pair:?}: {key} is there twice"));
        }
    }
    limits.device = device(Path::new(path))?;
    Ok(limits)
}

/// The disk: limits are those of whole ones, not of partitions.
fn device(path: &Path) -> Result<(u32, u32), String> {
    let metadata = path
        .metadata()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let number = if metadata.file_type().is_block_device() {
        metadata.rdev()
    } else {
        metadata.dev()
    };
    let numbers = (rustix::fs::major(number), rustix::fs::minor(number));
    let known = format!("/sys/dev/block/{}:{}", numbers.0, numbers.1);
    let Ok(directory) = Path::new(&known).canonicalize() else {
        return Err(format!("{}: not on a block device", path.display()));
    };
    if !directory.join("partition").exists() {
        return Ok(numbers);
    }
    let disk = directory.parent().map(|disk| disk.join("dev"));
    let text = disk
        .and_then(|dev| std::fs::read_to_string(dev).ok())
        .unwrap_or_default();
    let (major, minor) = text.trim().split_once(':').unwrap_or_default();
    match (major.parse(), minor.parse()) {
        (Ok(major), Ok(minor)) => Ok((major, minor)),
        _ => Err(format!(
            "{}: the disk of this partition is not known",
            path.display()
        )),
    }
}

/// `linux.resources.blockIO`.
pub fn json(all: &[Limits]) -> Value {
    let list = |key: &str, of: fn(&Limits) -> Option<i64>| -> Value {
        let devices = all.iter().filter_map(|limits| Some((limits.device, of(limits)?)));
        let devices =
            devices.map(|((major, minor), value)| json!({"major": major, "minor": minor, key: value}));
        devices.collect()
    };
    json!({
        "throttleReadBpsDevice": list("rate", |limits| limits.read_bps),
        "throttleWriteBpsDevice": list("rate", |limits| limits.write_bps),
        "throttleReadIOPSDevice": list("rate", |limits| limits.read_iops),
        "throttleWriteIOPSDevice": list("rate", |limits| limits.write_iops),
        "weightDevice": list("weight", |limits| limits.weight),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_limit_is_refused() {
        for text in [
            "",
            "/",
            "/:",
            ":rbps=1M",
            "/:rbps",
            "/:rbps=",
            "/:rbps=lots",
            "/:what=1",
            "/:weight=5",
            "/:rbps=1,rbps=2",
            "/nowhere:rbps=1M",
            "/proc:rbps=1M",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
