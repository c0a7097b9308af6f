//! Id maps: of the container's user namespace, and of id-mapped mounts. `user_namespaces(7)`.

use crate::fault::{Call, Fault};
use crate::plan::{IdMappedMount, IdMaps};
use nucleus_sys::clone::{Forked, clone3};
use nucleus_sys::mount::{MountAttr, UserNamespace, mount_setattr};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::fmt::Write;
use std::process::Command;

/// Writes the maps of a process that is the first of a new user namespace.
///
/// Root writes them itself; so does an unprivileged caller that maps its own ids only. Anything more needs
/// `newuidmap(1)` and `newgidmap(1)`, which check `/etc/subuid`.
///
/// # Errors
/// The failed call, or that the helpers are missing or refuse.
pub fn write_maps(pid: Pid, maps: &IdMaps, needs_helper: bool, privileged: bool) -> Result<(), Fault> {
    let pid = pid.as_raw_nonzero();
    if needs_helper {
        run_helper("newuidmap", pid.get(), &maps.uids)?;
        return run_helper("newgidmap", pid.get(), &maps.gids);
    }
    if !privileged {
        // Otherwise a group that denies access could be dropped; user_namespaces(7) demands this order.
        write_file(&format!("/proc/{pid}/setgroups"), "deny")?;
    }
    write_file(&format!("/proc/{pid}/uid_map"), &lines(&maps.uids))?;
    write_file(&format!("/proc/{pid}/gid_map"), &lines(&maps.gids))
}

fn lines(map: &[[u32; 3]]) -> String {
    map.iter()
        .fold(String::new(), |mut text, [inside, outside, count]| {
            let _ = writeln!(text, "{inside} {outside} {count}");
            text
        })
}

fn write_file(path: &str, text: &str) -> Result<(), Fault> {
    let file = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .call_on("open", || path.to_owned())?;
    rustix::io::write(&file, text.as_bytes())
        .call_on("write", || path.to_owned())
        .map(drop)
}

fn run_helper(program: &'static str, pid: i32, map: &[[u32; 3]]) -> Result<(), Fault> {
    let mut command = Command::new(program);
    command
        .arg(pid.to_string())
        .args(map.iter().flatten().map(u32::to_string));
    let output = command.output().map_err(|error| Fault {
        call: format!("run {program} (package uidmap; needed to map more than the caller's own id)").into(),
        errno: error.raw_os_error().unwrap_or(0),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Fault::finding(format!(
        "{program}: {text} (are the ids granted in /etc/subuid and /etc/subgid?)"
    )))
}

/// Maps the ids of a detached mount. `mount_setattr(2)`, `MOUNT_ATTR_IDMAP`, Linux 5.12.
///
/// # Errors
/// The failed call: `EINVAL` for a file system that cannot be id-mapped.
pub fn map_mount(tree: BorrowedFd<'_>, idmap: &IdMappedMount) -> Result<(), Fault> {
    let userns = namespace_with(&idmap.maps)?;
    let attr = MountAttr {
        set: libc::MOUNT_ATTR_IDMAP,
        userns: Some(UserNamespace(userns.as_fd())),
        ..MountAttr::default()
    };
    let mapped = mount_setattr(tree, idmap.recursive, &attr);
    mapped.call(match mapped {
        // The maps themselves were taken above.
        Err(Errno::INVAL) => {
            "no maps of ids on its file system (bind without idmap, or from another): mount_setattr idmap"
        }
        _ => "mount_setattr idmap",
    })
}

/// Makes a user namespace that has these maps; it lives as long as the descriptor.
fn namespace_with(maps: &IdMaps) -> Result<OwnedFd, Fault> {
    match clone3(libc::CLONE_NEWUSER as u64, None).call("clone3 for an id map")? {
        Forked::Child => loop {
            // Waits for its end: only its namespace is of use.
            let _ = rustix::event::poll(&mut [], None);
        },
        Forked::Parent { pid, pidfd } => {
            let made = write_maps(pid, maps, false, true).and_then(|()| {
                let path = format!("/proc/{}/ns/user", pid.as_raw_nonzero());
                openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                    .call_on("open", || path.clone())
            });
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            made
        }
    }
}
