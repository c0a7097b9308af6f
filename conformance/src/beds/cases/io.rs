//! `nucleus run --io` on cgroup2: read back from the files of the group.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::beds::guest::{Guest, read};

super::list![super::MACHINES;
    rates_of_a_disk_are_in_io_max,
    a_weight_is_the_io_schedulers_or_the_cost_models,
];

const DISK: &str = "/dev/nvme0n1";
const SCHEDULER: &str = "/sys/block/nvme0n1/queue/scheduler";
const QOS: &str = "/sys/fs/cgroup/io.cost.qos";

/// `major:minor`.
fn disk() -> Result<String> {
    read("/sys/block/nvme0n1/dev")
}

/// The line of the disk in a file of the sandbox's control group.
fn line(guest: &Guest, name: &str, limits: &str, file: &str) -> Result<String> {
    let words = [
        "run", "--detach", "--name", name, "--io", limits, "--", "sleep", "1000",
    ];
    guest.nucleus(&words)?.success()?;
    let looked = group(guest, name).and_then(|group| {
        let text = read(group.join(file))?;
        let disk = format!("{} ", disk()?);
        let line = text.lines().find_map(|line| line.strip_prefix(&disk));
        line.map(str::to_owned)
            .with_context(|| format!("{file} has {text:?}"))
    });
    guest.nucleus(&["rm", "--force", name])?.success()?;
    looked
}

fn group(guest: &Guest, name: &str) -> Result<PathBuf> {
    let state: Value = serde_json::from_str(&guest.nucleus(&["state", name])?.success()?.stdout)?;
    let table = read(format!("/proc/{}/cgroup", state["pid"]))?;
    let path = table.strip_prefix("0::/").context("more than cgroup2")?;
    Ok(Path::new("/sys/fs/cgroup").join(path))
}

fn rates_of_a_disk_are_in_io_max(guest: &Guest) -> Result<()> {
    let all = format!("{DISK}:rbps=1M,wbps=2M,riops=300,wiops=400");
    let seen = line(guest, "bed-io", &all, "io.max")?;
    ensure!(
        seen == "rbps=1048576 wbps=2097152 riops=300 wiops=400",
        "io.max has {seen:?}"
    );
    // A file on the disk's partition, or on the disk, names the disk; what is not asked for stays free.
    let seen = line(guest, "bed-io", "/usr/bin/env:wbps=3M", "io.max")?;
    ensure!(
        seen == "rbps=max wbps=3145728 riops=max wiops=max",
        "io.max has {seen:?}"
    );
    Ok(())
}

fn a_weight_is_the_io_schedulers_or_the_cost_models(guest: &Guest) -> Result<()> {
    let weight = format!("{DISK}:weight=100");
    // Neither is on: the kernel has nothing that would follow a weight.
    let refused = guest
        .nucleus(&["run", "--io", &weight, "--", "true"])?
        .exits_with(1)?;
    ensure!(
        refused.stderr.contains("weight") && refused.stderr.contains("bfq"),
        "standard error is {:?}",
        refused.stderr
    );
    fs::write(QOS, format!("{} enable=1", disk()?))?;
    let seen = line(guest, "bed-weight", &weight, "io.weight");
    fs::write(QOS, format!("{} enable=0", disk()?))?;
    // 10 to 1000 of version 1 is 1 to 10000.
    let seen = seen?;
    ensure!(seen == "910", "io.weight has {seen:?}");
    guest.call("modprobe", &["bfq"])?.success()?;
    let before = read(SCHEDULER)?;
    let before = before.split(['[', ']']).nth(1).context("no scheduler")?;
    fs::write(SCHEDULER, "bfq")?;
    let seen = line(guest, "bed-weight", &weight, "io.bfq.weight");
    fs::write(SCHEDULER, before)?;
    let seen = seen?;
    ensure!(seen == "100", "io.bfq.weight has {seen:?}");
    Ok(())
}
