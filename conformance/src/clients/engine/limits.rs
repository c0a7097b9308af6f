//! Resource limits, read back from the files of the container's cgroups.

use anyhow::{Result, ensure};

use super::{Case, Engine};
use crate::clients::facts::{self, Knob, cgroup_of};
use crate::clients::hierarchy::View;
use crate::clients::{Skip, case};

/// The cases of this file.
pub(super) fn cases() -> Vec<Case<Engine>> {
    vec![
        case!("limits: --memory", |e| limit(
            e,
            "--memory 64m",
            facts::MEMORY,
            ["67108864"; 2]
        )),
        case!("limits: --memory-reservation", |e| {
            limit(
                e,
                "--memory 64m --memory-reservation 32m",
                facts::RESERVATION,
                ["33554432"; 2],
            )
        }),
        case!("limits: --cpus", |e| limit(
            e,
            "--cpus 0.5",
            facts::QUOTA,
            ["50000", "50000 100000"]
        )),
        case!("limits: --cpu-shares", |e| limit(
            e,
            "--cpu-shares 512",
            facts::SHARES,
            ["512", "20"]
        )),
        case!("limits: --cpuset-cpus", |e| limit(
            e,
            "--cpuset-cpus 0",
            facts::CPUS,
            ["0"; 2]
        )),
        case!("limits: --pids-limit", |e| limit(
            e,
            "--pids-limit 50",
            facts::PIDS,
            ["50"; 2]
        )),
        case!("limits: a fork past --pids-limit fails", |e| {
            facts::PIDS.require(e.world.view)?;
            e.run("--pids-limit 5", "for i in 1 2 3 4 5 6 7; do sleep 1 & done")?
                .refused()?
                .complains("fork")
        }),
        case!("limits: --blkio-weight", block_weight),
        case!("limits: running out of memory ends with 137", out_of_memory),
        case!("limits: update", update),
        case!("limits: --cgroup-parent", cgroup_parent),
        case!("limits: rm removes the cgroups", removed_cgroups),
    ]
}

fn limit(engine: &Engine, flags: &str, knob: Knob, values: [&str; 2]) -> Result<()> {
    let view = engine.world.view;
    knob.require(view)?;
    let value = values[usize::from(view == View::V2)];
    let pid = engine.idle("limited", flags)?;
    let found = knob.read(view, pid);
    engine.remove("limited")?;
    let found = found?;
    ensure!(found == value, "{} is {found} instead of {value}", knob.v1);
    Ok(())
}

fn block_weight(engine: &Engine) -> Result<()> {
    let view = engine.world.view;
    if view == View::V2
        || !cgroup_of(view, "blkio", std::process::id())?
            .join("blkio.weight")
            .exists()
    {
        return Skip::because("this kernel has no blkio.weight");
    }
    let knob = Knob {
        controller: "blkio",
        v1: "blkio.weight",
        v2: "io.weight",
    };
    limit(engine, "--blkio-weight 300", knob, ["300"; 2])
}

/// A shell string that doubles until the kernel ends the shell.
fn out_of_memory(engine: &Engine) -> Result<()> {
    facts::MEMORY.require(engine.world.view)?;
    let greedy = "x=abcdefgh; while :; do x=$x$x; done";
    engine
        .with_input(
            &engine.words("run --name greedy", "--memory 16m", &["sh", "-c", greedy]),
            None,
        )?
        .exits(137)?;
    if engine.tells_out_of_memory {
        let killed = engine.field("greedy", ".State.OOMKilled")?;
        ensure!(killed == "true", "OOMKilled is {killed}");
    }
    engine.remove("greedy")
}

fn update(engine: &Engine) -> Result<()> {
    let view = engine.world.view;
    for knob in [facts::MEMORY, facts::QUOTA] {
        knob.require(view)?;
    }
    let pid = engine.idle("updated", "--memory 64m")?;
    engine
        .client("update --memory 96m --memory-swap 96m --cpu-period 100000 --cpu-quota 40000 updated")?
        .ok()?;
    let (memory, quota) = (facts::MEMORY.read(view, pid)?, facts::QUOTA.read(view, pid)?);
    engine.remove("updated")?;
    ensure!(memory == "100663296", "the memory limit is {memory}");
    ensure!(quota.starts_with("40000"), "the quota is {quota}");
    Ok(())
}

fn cgroup_parent(engine: &Engine) -> Result<()> {
    let pid = engine.idle("placed", "--cgroup-parent /chosen/parent")?;
    let group = cgroup_of(engine.world.view, "freezer", pid)?;
    engine.remove("placed")?;
    ensure!(
        group.to_string_lossy().contains("/chosen/parent/"),
        "the cgroup is {}",
        group.display()
    );
    Ok(())
}

fn removed_cgroups(engine: &Engine) -> Result<()> {
    let view = engine.world.view;
    let pid = engine.idle("gone", "")?;
    let controllers = if view == View::V1 {
        &["memory", "pids", "freezer", "systemd"][..]
    } else {
        &["freezer"]
    };
    let groups: Vec<_> = controllers
        .iter()
        .filter_map(|c| cgroup_of(view, c, pid).ok())
        .collect();
    ensure!(
        groups.iter().any(|group| group.is_dir()),
        "no cgroup of process {pid} exists: {groups:?}"
    );
    engine.remove("gone")?;
    for group in groups {
        ensure!(!group.exists(), "{} is left", group.display());
    }
    Ok(())
}
