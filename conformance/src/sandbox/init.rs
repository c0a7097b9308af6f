//! The first process of a sandbox: mounts what is private to it, runs the command, reaps.

use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Gid, Mode, Uid};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, WaitOptions, WaitStatus};

use super::cgroups;
use crate::host::{self, Hierarchy, View};

/// Makes the sandbox around itself and runs the command in it.
///
/// # Errors
/// A mount fails, or the command cannot be started.
pub(crate) fn run(view: View, scratch: &Path, command: &[OsString]) -> Result<ExitCode> {
    mount("tmpfs", scratch, "tmpfs", "mode=755")?;
    mount("tmpfs", Path::new("/run"), "tmpfs", "mode=755")?;
    private_dev()?;
    view_of_cgroups(view)?;
    let (program, arguments) = command.split_first().context("no command for the sandbox")?;
    let child = Command::new(program)
        .args(arguments)
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    Ok(ExitCode::from(reap_until(Pid::from_child(&child))?))
}

fn mount(source: &str, target: &Path, kind: &str, data: &str) -> Result<()> {
    let text = CString::new(data)?;
    rustix::mount::mount(source, target, kind, MountFlags::empty(), Some(text.as_c_str()))
        .with_context(|| format!("mount {kind} on {}", target.display()))
}

/// One entry of `/dev`, enough to make it again.
enum Entry {
    Node {
        path: PathBuf,
        kind: FileType,
        device: u64,
        mode: u32,
    },
    Link {
        path: PathBuf,
        target: PathBuf,
    },
    Dir {
        path: PathBuf,
    },
}

/// A bind mount of a device node would share its inode, and so its owner and mode, with the host.
fn private_dev() -> Result<()> {
    let entries = entries(Path::new("/dev"), 0)?;
    mount("tmpfs", Path::new("/dev"), "tmpfs", "mode=755")?;
    for entry in entries {
        make(&entry)?;
    }
    for (dir, kind, data) in [
        ("/dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=620,gid=5"),
        ("/dev/shm", "tmpfs", "mode=1777"),
        ("/dev/mqueue", "mqueue", ""),
    ] {
        fs::create_dir_all(dir)?;
        mount(kind, Path::new(dir), kind, data)?;
    }
    Ok(())
}

fn entries(dir: &Path, depth: u32) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        let kind = metadata.file_type();
        if kind.is_symlink() {
            found.push(Entry::Link {
                target: fs::read_link(&path)?,
                path,
            });
        } else if kind.is_dir() {
            let below = if depth == 0 {
                entries(&path, depth + 1)?
            } else {
                Vec::new()
            };
            found.push(Entry::Dir { path });
            found.extend(below);
        } else if kind.is_char_device() || kind.is_block_device() {
            let kind = if kind.is_char_device() {
                FileType::CharacterDevice
            } else {
                FileType::BlockDevice
            };
            found.push(Entry::Node {
                kind,
                device: metadata.rdev(),
                mode: metadata.mode() & 0o7777,
                path,
            });
        }
    }
    Ok(found)
}

fn make(entry: &Entry) -> Result<()> {
    match entry {
        // The terminals of a new devpts appear by themselves.
        Entry::Node { path, .. } if path.starts_with("/dev/pts") => Ok(()),
        Entry::Node {
            path,
            kind,
            device,
            mode,
        } => {
            rustix::fs::mknodat(CWD, path, *kind, Mode::from_raw_mode(*mode), *device)
                .with_context(|| format!("make {}", path.display()))?;
            fs::set_permissions(path, fs::Permissions::from_mode(*mode))?;
            rustix::fs::chown(path, Some(Uid::ROOT), Some(Gid::ROOT))?;
            Ok(())
        }
        Entry::Link { path, target } => {
            std::os::unix::fs::symlink(target, path).with_context(|| format!("link {}", path.display()))
        }
        Entry::Dir { path } => fs::create_dir_all(path).with_context(|| format!("create {}", path.display())),
    }
}

/// Mounts the hierarchies again, so that their roots are the cgroups of this sandbox.
fn view_of_cgroups(view: View) -> Result<()> {
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies = host::hierarchies()?;
    let links = links(top)?;
    rustix::mount::unmount(top, UnmountFlags::DETACH).context("unmount /sys/fs/cgroup")?;
    let only_v2 = hierarchies.iter().all(|hierarchy| hierarchy.v1_options.is_none());
    if view == View::V2 || only_v2 {
        return mount("cgroup2", top, "cgroup2", "");
    }
    mount("tmpfs", top, "tmpfs", "mode=755")?;
    for hierarchy in hierarchies
        .iter()
        .filter(|hierarchy| cgroups::seen(view, hierarchy))
    {
        mount_hierarchy(hierarchy)?;
    }
    for (path, target) in links {
        std::os::unix::fs::symlink(target, path)?;
    }
    Ok(())
}

/// The links by which a controller is found under each of its names, such as `cpu -> cpu,cpuacct`.
fn links(top: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(top)? {
        let path = entry?.path();
        if let Ok(target) = fs::read_link(&path) {
            found.push((path, target));
        }
    }
    Ok(found)
}

fn mount_hierarchy(hierarchy: &Hierarchy) -> Result<()> {
    fs::create_dir_all(&hierarchy.path)?;
    match &hierarchy.v1_options {
        Some(options) => mount("cgroup", &hierarchy.path, "cgroup", options),
        None => mount("cgroup2", &hierarchy.path, "cgroup2", ""),
    }
}

/// Reaps every process that ends in this namespace, until `main` has; returns its status as a shell has it.
fn reap_until(main: Pid) -> Result<u8> {
    loop {
        let ended = rustix::io::retry_on_intr(|| rustix::process::wait(WaitOptions::empty()))?;
        if let Some((pid, status)) = ended
            && pid == main
        {
            return Ok(exit_code(status));
        }
    }
}

fn exit_code(status: WaitStatus) -> u8 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => 128u8.wrapping_add(signal as u8),
        (None, None) => u8::MAX,
    }
}
