//! `update`.

use super::{Global, Outcome, Run};
use crate::container::Container;
use crate::lifecycle::Operation;
use crate::{log, update};
use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Map, Value, json};
use std::io::Read;

/// Change the limits of a container.
#[derive(Debug, Args)]
pub struct Update {
    /// Read limits from this JSON file, or - for the standard input, in the form of config.json's
    /// linux.resources; the options below come on top
    #[arg(long, short, value_name = "FILE")]
    resources: Option<String>,
    /// Weight of input and output, 10 to 1000
    #[arg(long, value_name = "WEIGHT", value_parser = number::<u16>)]
    blkio_weight: Option<u16>,
    /// Length of a CPU period in microseconds
    #[arg(long, value_name = "MICROSECONDS", value_parser = number::<u64>)]
    cpu_period: Option<u64>,
    /// CPU time in a period, in microseconds; -1 for no limit
    #[arg(long, value_name = "MICROSECONDS", value_parser = number::<i64>, allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// CPU time that may be saved up for later periods, in microseconds
    #[arg(long, value_name = "MICROSECONDS", value_parser = number::<u64>)]
    cpu_burst: Option<u64>,
    /// Share of CPU time relative to other containers
    #[arg(long, value_name = "SHARES", value_parser = number::<u64>)]
    cpu_share: Option<u64>,
    /// Length of a real-time period in microseconds (cgroup version 1)
    #[arg(long, value_name = "MICROSECONDS", value_parser = number::<u64>)]
    cpu_rt_period: Option<u64>,
    /// Real-time CPU time in a period, in microseconds (cgroup version 1)
    #[arg(long, value_name = "MICROSECONDS", value_parser = number::<i64>, allow_hyphen_values = true)]
    cpu_rt_runtime: Option<i64>,
    /// CPUs to run on, such as 0-2,7
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use, such as 0-1
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// 1 to run only when nothing else wants to, 0 for a normal share
    #[arg(long, value_name = "0|1", value_parser = number::<i64>)]
    cpu_idle: Option<i64>,
    /// Memory in bytes, or with a unit such as 512M; -1 for no limit
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_hyphen_values = true)]
    memory: Option<i64>,
    /// Memory to keep to when it is scarce, in bytes or with a unit
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_hyphen_values = true)]
    memory_reservation: Option<i64>,
    /// Memory and swap together, in bytes or with a unit; -1 for no limit
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// Accepted for compatibility and ignored: no kernel still has this limit
    #[arg(long, hide = true, value_name = "BYTES", allow_hyphen_values = true)]
    kernel_memory: Option<String>,
    /// Accepted for compatibility and ignored: no kernel still has this limit
    #[arg(long, hide = true, value_name = "BYTES", allow_hyphen_values = true)]
    kernel_memory_tcp: Option<String>,
    /// Number of processes and threads; -1 for no limit
    #[arg(long, value_name = "NUMBER", value_parser = number::<i64>, allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Intel RDT: L3 cache schema, such as L3:0=f;1=f0
    #[arg(long, value_name = "SCHEMA")]
    l3_cache_schema: Option<String>,
    /// Intel RDT: memory bandwidth schema, such as MB:0=20;1=70
    #[arg(long, value_name = "SCHEMA")]
    mem_bw_schema: Option<String>,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Run for Update {
    const NAME: &'static str = "update";
    const ABOUT: &'static str = "Change the limits of a container";
    const AFTER: &'static str = "\
What is not given stays as it is.

Examples:
  nucleus-runtime update --memory 512M --memory-swap 1G web
  nucleus-runtime update --cpu-quota 50000 --cpu-period 100000 web
  echo '{\"unified\": {\"memory.high\": \"400M\"}}' | nucleus-runtime update --resources - web";

    fn run(self, global: &Global) -> Outcome {
        if self.kernel_memory.is_some() || self.kernel_memory_tcp.is_some() {
            log::warning("limits of kernel memory are ignored: the kernel has none since Linux 6.1");
        }
        let resources = self.resources()?;
        let schemata: Vec<String> = [&self.l3_cache_schema, &self.mem_bw_schema]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        if resources.is_empty() && schemata.is_empty() && self.kernel_memory.is_none() {
            bail!(
                "nothing to update: give limits as options or with --resources (see nucleus-runtime update --help)"
            );
        }
        let container = Container::open_locked(&global.root(), &self.id)?;
        container.decide(Operation::Update)?;
        update::update(&container, resources, &schemata)?;
        Ok(0)
    }
}

impl Update {
    /// `linux.resources` as the file and the options have it.
    fn resources(&self) -> Result<Map<String, Value>, anyhow::Error> {
        let mut resources = match &self.resources {
            Some(file) => read(file)?,
            None => Map::new(),
        };
        let cpu = json!({
            "period": self.cpu_period, "quota": self.cpu_quota, "burst": self.cpu_burst,
            "shares": self.cpu_share, "realtimePeriod": self.cpu_rt_period,
            "realtimeRuntime": self.cpu_rt_runtime, "cpus": self.cpuset_cpus, "mems": self.cpuset_mems,
            "idle": self.cpu_idle,
        });
        let memory = json!({
            "limit": self.memory, "reservation": self.memory_reservation, "swap": self.memory_swap,
        });
        let options = json!({
            "cpu": cpu, "memory": memory, "pids": {"limit": self.pids_limit},
            "blockIO": {"weight": self.blkio_weight},
        });
        update::merge(&mut resources, options);
        Ok(resources)
    }
}

fn read(file: &str) -> Result<Map<String, Value>, anyhow::Error> {
    let mut bytes = Vec::new();
    let name = if file == "-" {
        std::io::stdin()
            .read_to_end(&mut bytes)
            .map(drop)
            .context("read the standard input")?;
        "standard input"
    } else {
        bytes = std::fs::read(file).with_context(|| format!("read {file}"))?;
        file
    };
    serde_json::from_slice(&bytes).with_context(|| format!("resources in {name}"))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| "not a whole number, or out of range".to_owned())
}

/// Bytes, with the units of 1024 that docker and runc take: `512M`, `1.5g`, `64KiB`.
fn bytes(text: &str) -> Result<i64, String> {
    let wrong = || "not a number of bytes such as 67108864, 64M or -1".to_owned();
    if text == "-1" {
        return Ok(-1);
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let shift = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(wrong()),
    };
    let multiple = 1i64 << shift;
    if let Ok(whole) = digits.parse::<i64>() {
        return whole.checked_mul(multiple).ok_or_else(wrong);
    }
    let fraction: f64 = digits.parse().map_err(|_| wrong())?;
    let bytes = fraction * multiple as f64;
    if bytes < i64::MAX as f64 {
        Ok(bytes as i64)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units_of_1024() {
        let table = [
            ("0", 0),
            ("-1", -1),
            ("4096", 4096),
            ("64k", 64 << 10),
            ("512M", 512 << 20),
            ("1.5g", 3 << 29),
            ("2GiB", 2 << 30),
            ("10 MB", 10 << 20),
        ];
        for (text, expected) in table {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for bad in [
            "",
            "M",
            "-2",
            "1x",
            "1..5m",
            "99999999999999999999",
            "9999999P",
            "0x10",
            "1e3",
        ] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
