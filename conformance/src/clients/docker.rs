//! dockerd and the containerd that it starts, with the runtime under test as its default runtime.

use std::fs::File;

use anyhow::{Context, Result, ensure};

use super::command::{self, run, split, until};
use super::engine::{self, Engine};
use super::facts;
use super::world::World;
use super::{Case, Client, case};

/// dockerd with an image made of the root file system.
#[derive(Debug)]
pub(crate) struct Docker;

/// The name under which the daemon knows the runtime.
const RUNTIME: &str = "under-test";

impl Client for Docker {
    type Handle = Engine;

    fn start(world: World) -> Result<Engine> {
        let dir = world.directory("docker")?;
        let config = serde_json::json!({
            "runtimes": { RUNTIME: { "path": world.runtime } },
            "default-runtime": RUNTIME,
        });
        let config = world.file("daemon.json", &config.to_string())?;
        let daemon = split(&format!(
            "dockerd --config-file {config} --storage-driver vfs --bridge none --iptables=false \
             --ip6tables=false --data-root {dir}/data --exec-root {dir}/exec --host unix://{dir}/socket \
             --pidfile {dir}/pid"
        ));
        let log = File::create(format!("{dir}/log"))?;
        command::command(&world.dir, &daemon)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("run dockerd")?;
        let program = split(&format!("/usr/bin/docker --host unix://{dir}/socket"));
        let target = vec!["suite".to_owned()];
        let engine = Engine {
            world,
            program,
            target,
            privileged_wants_all: true,
            tells_out_of_memory: true,
            remove: "rm --force",
            checks_health_on_demand: false,
        };
        until(30, "dockerd answers", || Ok(engine.client("version")?.code == 0)).with_context(|| {
            let text = std::fs::read_to_string(format!("{dir}/log")).unwrap_or_default();
            text.lines().rev().take(5).collect::<Vec<_>>().join("; ")
        })?;
        import(&engine)?;
        Ok(engine)
    }

    fn cases() -> Vec<Case<Engine>> {
        let mut cases = engine::cases();
        cases.extend(own());
        cases
    }

    fn recover(engine: &Engine) {
        engine.remove_all();
    }
}

fn import(engine: &Engine) -> Result<()> {
    let tar = engine.world.dir.join("rootfs.tar").display().to_string();
    let rootfs = engine.world.rootfs.display().to_string();
    run(
        &engine.world.dir,
        &["tar", "-C", &rootfs, "-cf", &tar, "."].map(String::from),
        None,
    )?
    .ok()?;
    engine.client(&format!("import {tar} suite"))?.ok()?;
    Ok(())
}

fn own() -> Vec<Case<Engine>> {
    vec![
        case!("docker: the default runtime is the one under test", used),
        case!("docker: a missing command is told in the runtime's words", |e| {
            e.run_program("", &["nosuchcommand"])?
                .refused()?
                .complains("executable file not found in $PATH")
        }),
        case!(
            "docker: exec of a missing command is told in the runtime's words",
            |e| {
                e.idle("lacking", "")?;
                // docker 20.10 prints the error on standard output, and exits with 126 whatever it is.
                e.exec_program("", "lacking", &["nosuchcommand"], None)?
                    .refused()?
                    .shows("nosuchcommand")?;
                e.remove("lacking")
            }
        ),
        case!("docker: update --pids-limit", updated),
        case!("docker: --ulimit of the file size", |e| {
            e.run("--ulimit fsize=4096:4096", "head -c 9000 /dev/zero > /tmp/big")?
                .refused()
        }),
        case!(
            "docker: restart of all that runs keeps nothing of the old processes",
            restarted
        ),
    ]
}

fn used(engine: &Engine) -> Result<()> {
    engine
        .client("info --format {{.DefaultRuntime}}")?
        .prints(RUNTIME)?;
    engine.idle("whose", "")?;
    let runtime = engine.field("whose", ".HostConfig.Runtime")?;
    engine.remove("whose")?;
    ensure!(runtime == RUNTIME, "the runtime is {runtime}");
    Ok(())
}

fn updated(engine: &Engine) -> Result<()> {
    let view = engine.world.view;
    facts::PIDS.require(view)?;
    let pid = engine.idle("counted", "")?;
    engine.client("update --pids-limit 77 counted")?.ok()?;
    let limit = facts::PIDS.read(view, pid);
    engine.remove("counted")?;
    let limit = limit?;
    ensure!(limit == "77", "pids.max is {limit}");
    Ok(())
}

fn restarted(engine: &Engine) -> Result<()> {
    let old = [engine.idle("pair-a", "")?, engine.idle("pair-b", "")?];
    engine.client("restart --time 0 pair-a pair-b")?.ok()?;
    let new = [engine.pid("pair-a")?, engine.pid("pair-b")?];
    engine.client("rm --force pair-a pair-b")?.ok()?;
    ensure!(new.iter().all(|pid| !old.contains(pid)), "{old:?} became {new:?}");
    Ok(())
}
