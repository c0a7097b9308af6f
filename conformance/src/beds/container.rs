//! A container on this host with a systemd of its own: a second to boot, but no controllers where the host has
//! them on cgroup v1.
//!
//! It lies in a sandbox of the other suites. That is one namespace of processes too far out: systemd must be the
//! first process, and its cgroup the root.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, Mode};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::image::Image;
use crate::host::View;
use crate::sandbox::{self, Request};

/// How the payload reaches its results from inside.
pub(super) const RESULTS: &str = "/result/lines";

/// The hidden command line of the inner stage.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The image's root directory
    root: PathBuf,
    /// What to run
    payload: PathBuf,
    /// Where results go
    results: PathBuf,
}

/// Boots a container that runs the payload, and waits for its end. As of [`super::machine::run`].
///
/// # Errors
/// The sandbox or the container cannot be made.
pub(super) fn run(image: &Image, payload: &Path, results: &Path, timeout: Duration) -> Result<()> {
    let mut command: Vec<std::ffi::OsString> = [
        "unshare",
        "--mount",
        "--pid",
        "--cgroup",
        "--fork",
        "--kill-child",
        "--",
    ]
    .map(Into::into)
    .to_vec();
    command.extend([sandbox::own_program()?.into(), "bed-init".into()]);
    command.extend([image.root().into(), payload.into(), results.into()]);
    let ended = sandbox::run(&Request {
        view: View::V2,
        command,
        env: Vec::new(),
        dir: None,
        timeout,
    })?;
    let mut console = ended.stdout + &ended.stderr;
    if ended.status.is_none() {
        console.push_str(&format!("\nkilled after {} s", timeout.as_secs()));
    }
    Ok(fs::write(results.join("console"), console)?)
}

/// The first process of the container: makes its mounts and becomes systemd.
///
/// # Errors
/// A mount fails.
pub(crate) fn init(arguments: &Arguments) -> Result<ExitCode> {
    ensure!(
        rustix::process::getpid().is_init(),
        "bed-init is for the first process of a namespace"
    );
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).context("make mounts private")?;
    let scratch = std::env::temp_dir().join("systemd");
    fs::create_dir(&scratch)?;
    mount("tmpfs", &scratch, "tmpfs", "mode=755")?;
    let root = scratch.join("root");
    for name in ["root", "upper", "work"] {
        fs::create_dir(scratch.join(name))?;
    }
    let layers = format!(
        "lowerdir={},upperdir={},workdir={}",
        arguments.root.display(),
        scratch.join("upper").display(),
        scratch.join("work").display()
    );
    mount("overlay", &root, "overlay", &layers)?;
    mount("proc", &root.join("proc"), "proc", "")?;
    mount("sysfs", &root.join("sys"), "sysfs", "")?;
    mount("cgroup2", &root.join("sys/fs/cgroup"), "cgroup2", "")?;
    mount("tmpfs", &root.join("run"), "tmpfs", "mode=755")?;
    devices(&root.join("dev"))?;
    for (name, source) in [("payload", &arguments.payload), ("result", &arguments.results)] {
        let target = root.join(name);
        fs::create_dir(&target)?;
        rustix::mount::mount_bind(source, &target).with_context(|| format!("bind {}", source.display()))?;
    }
    enter(&root)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "this crate has no other, and the error is told"
    )]
    let error = Command::new("/lib/systemd/systemd")
        .args(["--log-target=journal", "--log-level=info", "--show-status=false"])
        .env_clear()
        .env("container", "nucleus")
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .exec();
    Err(error).context("execute systemd")
}

fn mount(source: &str, target: &Path, kind: &str, data: &str) -> Result<()> {
    let text = CString::new(data)?;
    rustix::mount::mount(source, target, kind, MountFlags::empty(), Some(text.as_c_str()))
        .with_context(|| format!("mount {kind} on {}", target.display()))
}

/// The nodes that every container has, none of the host's own devices.
fn devices(dev: &Path) -> Result<()> {
    mount("tmpfs", dev, "tmpfs", "mode=755")?;
    for (name, major, minor) in [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ] {
        let device = rustix::fs::makedev(major, minor);
        let path = dev.join(name);
        rustix::fs::mknodat(
            CWD,
            &path,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            device,
        )
        .with_context(|| format!("make {}", path.display()))?;
        // mknod(2) obeys the mask.
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o666))?;
    }
    for name in ["pts", "shm"] {
        fs::create_dir(dev.join(name))?;
    }
    mount(
        "devpts",
        &dev.join("pts"),
        "devpts",
        "newinstance,ptmxmode=0666,mode=620,gid=5",
    )?;
    mount("tmpfs", &dev.join("shm"), "tmpfs", "mode=1777")?;
    symlink("pts/ptmx", dev.join("ptmx"))?;
    symlink("/proc/self/fd", dev.join("fd"))?;
    Ok(())
}

/// Makes `root` the root, and lets go of the one before.
fn enter(root: &Path) -> Result<()> {
    std::env::set_current_dir(root)?;
    // The old root comes to lie over the new one (pivot_root(2)).
    rustix::process::pivot_root(".", ".").context("pivot_root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).context("unmount the old root")?;
    std::env::set_current_dir("/")?;
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", shared).context("make mounts shared")
}
