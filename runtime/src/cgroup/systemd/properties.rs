//! The limits as unit properties (systemd.resource-control(5)).

use super::message::{Property, Value};
use crate::cgroup::writes::Write;

/// What systemd has a property for; the other files it leaves alone.
pub(super) fn properties(writes: &[Write]) -> Vec<Property> {
    let mut properties = Vec::new();
    for Write { file, value, .. } in writes {
        let name = match &**file {
            "memory.min" => "MemoryMin",
            "memory.low" => "MemoryLow",
            "memory.high" => "MemoryHigh",
            "memory.max" => "MemoryMax",
            "memory.swap.max" => "MemorySwapMax",
            "cpu.weight" => "CPUWeight",
            "pids.max" => "TasksMax",
            "cpuset.cpus" => "AllowedCPUs",
            "cpuset.mems" => "AllowedMemoryNodes",
            "cpu.max" => {
                properties.extend(bandwidth(value));
                continue;
            }
            _ => continue,
        };
        let value = match name {
            "AllowedCPUs" | "AllowedMemoryNodes" => bitmap(value).map(Value::Bytes),
            _ => number(value).map(Value::Number),
        };
        properties.extend(value.map(|value| (name.into(), value)));
    }
    properties
}

/// systemd's infinity is the greatest number.
fn number(value: &str) -> Option<u64> {
    if value == "max" {
        Some(u64::MAX)
    } else {
        value.parse().ok()
    }
}

/// `quota period` as µs of CPU time a second, rounded up to the whole percents that systemd keeps.
fn bandwidth(value: &str) -> Vec<Property> {
    let mut words = value.split(' ');
    let Some(quota) = words.next().and_then(number) else {
        return Vec::new();
    };
    let period = words.next().and_then(number);
    let per_second = match quota {
        u64::MAX => u64::MAX,
        quota => quota
            .saturating_mul(1_000_000)
            .div_ceil(period.unwrap_or(100_000).max(1))
            .next_multiple_of(10_000),
    };
    let mut properties = vec![("CPUQuotaPerSecUSec".into(), Value::Number(per_second))];
    properties.extend(period.map(|period| ("CPUQuotaPeriodUSec".into(), Value::Number(period))));
    properties
}

/// A list like `0-2,7` as bits, the lowest first.
fn bitmap(list: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for range in list
        .split([',', '\n'])
        .map(str::trim)
        .filter(|range| !range.is_empty())
    {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        for bit in first..=last {
            let at = usize::from(bit / 8);
            if bytes.len() <= at {
                bytes.resize(at + 1, 0);
            }
            bytes[at] |= 1 << (bit % 8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_become_properties() {
        let of = |file: &'static str, value: &str| properties(&[Write::new("p", file, value)]);
        assert_eq!(of("memory.max", "5"), [("MemoryMax".into(), Value::Number(5))]);
        assert_eq!(
            of("pids.max", "max"),
            [("TasksMax".into(), Value::Number(u64::MAX))]
        );
        assert_eq!(
            of("cpuset.cpus", "0-1,9"),
            [("AllowedCPUs".into(), Value::Bytes(vec![3, 2]))]
        );
        let expected = [
            ("CPUQuotaPerSecUSec".into(), Value::Number(340_000)),
            ("CPUQuotaPeriodUSec".into(), Value::Number(30_000)),
        ];
        assert_eq!(of("cpu.max", "10000 30000"), expected);
        assert_eq!(
            of("cpu.max", "max"),
            [("CPUQuotaPerSecUSec".into(), Value::Number(u64::MAX))]
        );
        assert_eq!(of("hugetlb.2MB.max", "5"), []);
    }
}
