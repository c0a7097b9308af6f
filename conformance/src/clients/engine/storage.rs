//! The root file system and what is mounted into it.

use std::fs;

use anyhow::{Result, ensure};

use super::{Case, Engine};
use crate::clients::case;

/// The cases of this file.
pub(super) fn cases() -> Vec<Case<Engine>> {
    vec![
        case!("storage: --read-only root", |e| {
            e.run("--read-only", "touch /bin/file")?
                .refused()?
                .complains("ead-only")
        }),
        case!("storage: --tmpfs with size and mode", |e| {
            let script = "stat -c %a /scratch; df -k /scratch | tail -1 | tr -s ' ' | cut -d' ' -f1,2";
            e.run("--read-only --tmpfs /scratch:size=2m,mode=1750", script)?
                .prints("1750\ntmpfs 2048")
        }),
        case!("storage: --volume is written through", volume),
        case!("storage: --volume read-only", read_only_volume),
        case!("storage: --mount of one file", one_file),
        case!("storage: a file over a directory is refused by name", |e| {
            e.run("--volume /etc/passwd:/tmp", "true")?
                .refused()?
                .complains("tmp")
        }),
        case!("storage: --volume with slave propagation", |e| propagation(
            e, "rslave", "master:"
        )),
        case!("storage: --volume private by default", |e| propagation(
            e, "rprivate", ""
        )),
        case!("storage: --shm-size", |e| {
            e.run(
                "--shm-size 3m",
                "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2",
            )?
            .prints("3072")
        }),
        case!("storage: the mounts of a container", standard_mounts),
    ]
}

fn volume(engine: &Engine) -> Result<()> {
    let dir = engine.world.directory("volume")?;
    engine
        .run(
            &format!("--volume {dir}:/data --user 1000"),
            "echo written > /data/file",
        )?
        .ok()?;
    ensure!(
        fs::read_to_string(format!("{dir}/file"))? == "written\n",
        "the file on the host is not as written"
    );
    Ok(())
}

fn read_only_volume(engine: &Engine) -> Result<()> {
    let dir = engine.world.directory("sealed")?;
    engine
        .run(&format!("--volume {dir}:/data:ro"), "touch /data/file")?
        .refused()?
        .complains("ead-only")?;
    ensure!(
        !fs::exists(format!("{dir}/file"))?,
        "the file was made nevertheless"
    );
    Ok(())
}

fn one_file(engine: &Engine) -> Result<()> {
    let file = engine.world.file("single", "content")?;
    let flag = format!("--mount type=bind,source={file},target=/etc/single,readonly");
    engine.run(&flag, "cat /etc/single")?.prints("content")?;
    engine
        .run(&flag, "echo more >> /etc/single")?
        .refused()?
        .complains("ead-only")?;
    Ok(())
}

/// Requires `tag` among the optional fields of the volume's mount, or none at all
/// (`proc_pid_mountinfo(5)`).
fn propagation(engine: &Engine, option: &str, tag: &str) -> Result<()> {
    let dir = engine.world.directory("shared")?;
    make_shared(&dir)?;
    let result = engine.run(
        &format!("--volume {dir}:/data:{option}"),
        "grep ' /data ' /proc/self/mountinfo",
    );
    rustix::mount::unmount(&dir, rustix::mount::UnmountFlags::DETACH)?;
    let text = result?.ok()?.text();
    let optional = text
        .split(" - ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .nth(6)
        .unwrap_or_default();
    ensure!(
        if tag.is_empty() {
            optional.is_empty()
        } else {
            optional.starts_with(tag)
        },
        "mounted as {text:?}"
    );
    Ok(())
}

/// Makes a directory a shared mount point.
fn make_shared(dir: &str) -> Result<()> {
    rustix::mount::mount_bind(dir, dir)?;
    rustix::mount::mount_change(dir, rustix::mount::MountPropagationFlags::SHARED)?;
    Ok(())
}

fn standard_mounts(engine: &Engine) -> Result<()> {
    let text = engine.run("", "cat /proc/self/mountinfo")?.ok()?.stdout;
    for (point, kind) in [
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/mqueue", "mqueue"),
    ] {
        let found = text
            .lines()
            .any(|line| line.contains(&format!(" {point} ")) && line.contains(&format!(" - {kind} ")));
        ensure!(found, "no {kind} on {point}: {text}");
    }
    Ok(())
}
