//! podman with conmon: no daemon, the runtime called by both.

use std::path::Path;

use anyhow::{Result, ensure};

use super::command::{split, until};
use super::engine::{self, Engine};
use super::facts::{self, process_file, same_namespace};
use super::hierarchy::View;
use super::world::World;
use super::{Case, Client, Skip, case};

/// podman on a directory as root file system.
#[derive(Debug)]
pub(crate) struct Podman;

impl Client for Podman {
    type Handle = Engine;

    fn start(world: World) -> Result<Engine> {
        let name = world.runtime_name();
        let runtime = world.runtime.display();
        // Only of runtimes in the second list does podman ask for containers without cgroups.
        // podman limits the tasks of every container unless told otherwise.
        let pids = if facts::PIDS.require(world.view).is_ok() {
            ""
        } else {
            "pids_limit = 0\n"
        };
        world.file(
            "containers.conf",
            &format!(
                "[containers]\ndefault_ulimits = []\n{pids}\
                 [engine]\nruntime = \"{name}\"\nruntime_supports_json = [\"{name}\"]\n\
                 runtime_supports_nocgroup = [\"{name}\"]\nhelper_binaries_dir = [\"/usr/bin\"]\n\
                 [engine.runtimes]\n{name} = [\"{runtime}\"]\n"
            ),
        )?;
        let dir = world.directory("podman")?;
        world.file(
            "storage.conf",
            &format!("[storage]\ndriver = \"vfs\"\nrunroot = \"{dir}/run\"\ngraphroot = \"{dir}/root\"\n"),
        )?;
        let program = split(&format!(
            "podman --root {dir}/root --runroot {dir}/run --tmpdir {dir}/tmp --storage-driver vfs \
             --cgroup-manager cgroupfs --events-backend none"
        ));
        let target = split(&format!("--rootfs {}", world.rootfs.display()));
        let engine = Engine {
            tells_out_of_memory: world.view == View::V2,
            world,
            program,
            target,
            privileged_wants_all: false,
            remove: "rm --force --time 0",
            checks_health_on_demand: true,
        };
        engine.client("info")?.ok()?;
        Ok(engine)
    }

    fn cases() -> Vec<Case<Engine>> {
        let mut cases = engine::cases();
        cases.extend(own());
        cases
    }

    fn recover(engine: &Engine) {
        // A pod goes with the container that holds its namespaces, or not at all.
        let _ = engine.client("pod rm --all --force --time 0");
        engine.remove_all();
    }
}

fn own() -> Vec<Case<Engine>> {
    vec![
        case!("podman: the container's runtime is the one under test", used),
        case!("podman: exec of a missing command is 127", |e| {
            e.idle("lacking", "")?;
            e.exec_program("", "lacking", &["nosuchcommand"], None)?
                .exits(127)?
                .complains("nosuchcommand")?;
            e.remove("lacking")
        }),
        case!("podman: --cgroups=disabled", no_cgroups),
        case!("podman: --uidmap", |e| {
            e.run(
                "--uidmap 0:10000:1000 --gidmap 0:20000:1000",
                "cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '",
            )?
            .prints("0 10000 1000\n 0 20000 1000")
        }),
        case!("podman: --umask", |e| e
            .run("--umask 0027", "umask")?
            .prints("0027")),
        case!("podman: --preserve-fds", preserved),
        case!("podman: --security-opt unmask=ALL", |e| {
            e.run(
                "--security-opt unmask=ALL",
                "grep -c /proc/ /proc/self/mountinfo; true",
            )?
            .prints("0")
        }),
        case!("podman: --security-opt mask=", |e| {
            e.run("--security-opt mask=/etc", "ls /etc | wc -l")?.prints("0")
        }),
        case!("podman: --systemd=always", |e| {
            e.run(
                "--systemd=always",
                "touch /run/file && grep -c ' /run ' /proc/self/mountinfo",
            )?
            .prints("1")
        }),
        case!("podman: --pidfile", pid_file),
        case!("podman: --runtime-flag passes a global flag", debug),
        case!("podman: --device-cgroup-rule", device_rule),
        case!("podman: an imported image", imported),
        case!("podman: a pod's containers share its namespaces", pod),
        case!("podman: pause, stop and remove a pod", pod_commands),
        case!("podman: rename", renamed),
    ]
}

fn used(engine: &Engine) -> Result<()> {
    engine.idle("whose", "")?;
    let runtime = engine.field("whose", ".OCIRuntime")?;
    engine.remove("whose")?;
    ensure!(runtime == engine.world.runtime_name(), "the runtime is {runtime}");
    Ok(())
}

/// The runtime is told so with `--cgroup-manager disabled`, as crun understands it.
fn no_cgroups(engine: &Engine) -> Result<()> {
    let pid = engine.idle("ungrouped", "--cgroups=disabled")?;
    let (theirs, ours) = (
        process_file(pid, "cgroup")?,
        process_file(std::process::id(), "cgroup")?,
    );
    engine.client("exec ungrouped true")?.ok()?;
    engine.remove("ungrouped")?;
    ensure!(theirs == ours, "it has cgroups of its own: {theirs}");
    Ok(())
}

fn preserved(engine: &Engine) -> Result<()> {
    let file = engine.world.file("handed", "handed over")?;
    let words: Vec<String> = engine
        .program
        .iter()
        .cloned()
        .chain(engine.words("run --rm", "--preserve-fds 1", &["cat", "/proc/self/fd/3"]))
        .collect();
    let line = format!("exec 3< {file}; exec {}", words.join(" "));
    super::command::run(&engine.world.dir, &["sh".into(), "-c".into(), line], None)?.prints("handed over")?;
    Ok(())
}

fn pid_file(engine: &Engine) -> Result<()> {
    let file = engine.world.dir.join("pid").display().to_string();
    let pid = engine.idle("numbered", &format!("--pidfile {file}"))?;
    let text = std::fs::read_to_string(&file)?;
    engine.remove("numbered")?;
    ensure!(
        text.trim() == pid.to_string(),
        "the file says {text:?}, the process is {pid}"
    );
    Ok(())
}

fn debug(engine: &Engine) -> Result<()> {
    let mut words = split("--runtime-flag debug");
    words.extend(engine.words("run --rm", "", &["echo", "hi"]));
    engine.with_input(&words, None)?.prints("hi")?;
    Ok(())
}

fn device_rule(engine: &Engine) -> Result<()> {
    let script = "mknod /dev/mem c 1 1 && mknod /dev/other c 1 5 && head -c 2 /dev/other | wc -c";
    let mut words = split("run --rm --network none --device-cgroup-rule");
    words.push("c 1:* rwm".into());
    words.extend(engine.target.iter().cloned());
    words.extend(["sh", "-c", script].map(String::from));
    engine.with_input(&words, None)?.prints("2")?;
    Ok(())
}

fn renamed(engine: &Engine) -> Result<()> {
    engine.idle("before", "")?;
    engine.client("rename before after")?.ok()?;
    engine.exec("", "after", "echo here")?.prints("here")?;
    engine.remove("after")
}

fn imported(engine: &Engine) -> Result<()> {
    let tar = engine.world.dir.join("rootfs.tar").display().to_string();
    let rootfs = engine.world.rootfs.display().to_string();
    let words = ["tar", "-C", &rootfs, "-cf", &tar, "."].map(String::from);
    super::command::run(&engine.world.dir, &words, None)?.ok()?;
    engine.client(&format!("import {tar} imported"))?.ok()?;
    engine
        .client("run --rm --network none imported echo from an image")?
        .prints("from an image")?;
    Ok(())
}

fn pod(engine: &Engine) -> Result<()> {
    make_pod(engine, "shared")?;
    let run = |name: &str| {
        let words = format!(
            "run --detach --pod shared --name {name} --rootfs {} sleep 600",
            engine.world.rootfs.display()
        );
        engine.client(&words)?.ok()?;
        engine.pid(name)
    };
    let (a, b) = (run("one")?, run("two")?);
    for kind in ["pid", "ipc", "uts", "net"] {
        same_namespace(kind, a, b, true)?;
        same_namespace(kind, a, std::process::id(), false)?;
    }
    same_namespace("mnt", a, b, false)?;
    engine.client("pod rm --force --time 0 shared")?.ok()?;
    Ok(())
}

fn pod_commands(engine: &Engine) -> Result<()> {
    make_pod(engine, "group")?;
    engine
        .client(&format!(
            "run --detach --pod group --name member --rootfs {} sleep 600",
            engine.world.rootfs.display()
        ))?
        .ok()?;
    engine.client("pod pause group")?.ok()?;
    let paused = engine.status("member")?;
    ensure!(paused == "paused", "the status is {paused}");
    engine.client("pod unpause group")?.ok()?;
    engine.client("pod stop --time 0 group")?.ok()?;
    // Until conmon's clean-up has run, podman says "stopped".
    until(5, "the container has exited", || {
        Ok(engine.status("member")? == "exited")
    })?;
    engine.client("pod rm group")?.ok()?;
    Ok(())
}

/// The container that holds a pod's namespaces runs catatonit, from an image that podman makes of it.
fn make_pod(engine: &Engine, name: &str) -> Result<()> {
    if !Path::new("/usr/bin/catatonit").exists() {
        return Skip::because("the package catatonit is not installed");
    }
    engine
        .client(&format!(
            "pod create --name {name} --network none --share pid,ipc,uts,net"
        ))?
        .ok()?;
    Ok(())
}
