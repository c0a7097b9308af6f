//! `maskedPaths` and `readonlyPaths`.

use super::lookup::nothing_to_hide;
use super::mount::{Parameter, bind_on, new_file_system};
use super::resolve::open_in_root;
use super::setup_fd::SetupFd;
use super::{Rootfs, attach_on, clone_mount};
use crate::fault::{Call, Fault};
use nucleus_sys::mount::{MountAttr, mount_setattr, open_tree_attr};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::ffi::{CStr, CString};

const EMPTY_ATTRIBUTES: u64 =
    libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;

impl Rootfs {
    /// Hides each path: a directory below an empty read-only tmpfs, a file below the host's `/dev/null`.
    /// A path that is not there needs no hiding.
    ///
    /// The null device comes from the host and is checked by its number: what the rootfs has at `/dev/null`
    /// may be a link to anything (CVE-2025-31133).
    ///
    /// # Errors
    /// The failed call with the path.
    pub fn mask(&mut self, paths: &[CString], null: &OwnedFd) -> Result<(), Fault> {
        for path in paths {
            let Some(target) = self.existing(path)? else {
                continue;
            };
            let target = target.as_fd();
            // The kernel refuses to mount a file on a directory or the other way round (`EINVAL`, `ENOTDIR`),
            // so a wrong guess costs some calls, and a right one spares the look at what was opened.
            let masked = if looks_like_a_file(path) {
                match mask_file(target, null) {
                    Err(fault) if is_other_kind(&fault) => self.mask_directory(target),
                    masked => masked,
                }
            } else {
                match self.mask_directory(target) {
                    Err(fault) if is_other_kind(&fault) => mask_file(target, null),
                    masked => masked,
                }
            };
            masked.map_err(|fault| on(fault, path))?;
        }
        Ok(())
    }

    fn mask_directory(&mut self, target: BorrowedFd<'_>) -> Result<(), Fault> {
        if let Some(empty) = &self.empty {
            return bind_on(empty.as_fd(), target).call("mount over");
        }
        let parameters = [
            Parameter {
                key: c"source".into(),
                value: Some(c"tmpfs".into()),
            },
            Parameter {
                key: c"mode".into(),
                value: Some(c"555".into()),
            },
            Parameter {
                key: c"size".into(),
                value: Some(c"4k".into()),
            },
        ];
        let empty = new_file_system(c"tmpfs", &parameters, EMPTY_ATTRIBUTES)?;
        attach_on(empty.as_fd(), target).call("mount over")?;
        self.empty = Some(empty);
        Ok(())
    }

    /// Makes each path read-only, with the mounts below it. A path that is not there is left out.
    ///
    /// # Errors
    /// The failed call with the path.
    pub fn make_paths_readonly(&self, paths: &[CString]) -> Result<(), Fault> {
        let attr = MountAttr {
            set: libc::MOUNT_ATTR_RDONLY,
            ..MountAttr::default()
        };
        for path in paths {
            let Some(target) = self.existing(path)? else {
                continue;
            };
            let tree = match open_tree_attr(target.as_fd(), true, &attr) {
                Ok(tree) => tree.into(),
                // Step by step on older kernels, and for an error that names the step.
                Err(_) => {
                    let tree = clone_mount(target.as_fd(), true).call_on("open_tree", || lossy(path))?;
                    mount_setattr(tree.as_fd(), true, &attr).call_on("mount_setattr", || lossy(path))?;
                    tree
                }
            };
            attach_on(tree.as_fd(), target.as_fd()).call_on("move_mount", || lossy(path))?;
        }
        Ok(())
    }

    fn existing(&self, path: &CString) -> Result<Option<SetupFd>, Fault> {
        match open_in_root(self.fd(), path, OFlags::PATH) {
            Ok(fd) => Ok(Some(fd)),
            Err(errno) if nothing_to_hide(errno) => Ok(None),
            Err(errno) => Err(errno).call_on("openat2", || lossy(path)),
        }
    }
}

fn mask_file(target: BorrowedFd<'_>, null: &OwnedFd) -> Result<(), Fault> {
    bind_on(null.as_fd(), target).call("mount over")
}

fn is_other_kind(fault: &Fault) -> bool {
    [Errno::INVAL, Errno::NOTDIR]
        .iter()
        .any(|errno| errno.raw_os_error() == fault.errno)
}

/// What engines mask below `/proc` are files but for a few; everywhere else it is directories.
fn looks_like_a_file(path: &CStr) -> bool {
    const DIRECTORIES: [&[u8]; 9] = [
        b"acpi", b"asound", b"bus", b"driver", b"fs", b"irq", b"scsi", b"sys", b"tty",
    ];
    let below = path.to_bytes().strip_prefix(b"/proc/");
    below.is_some_and(|name| !DIRECTORIES.contains(&name))
}

fn lossy(path: &CString) -> String {
    path.to_string_lossy().into_owned()
}

fn on(fault: Fault, path: &CString) -> Fault {
    Fault {
        call: format!("{} {}", fault.call, path.to_string_lossy()).into(),
        ..fault
    }
}
