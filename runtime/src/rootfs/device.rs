//! Device nodes and the links of `/dev`.

use super::Rootfs;
use super::mount::{bind_on, open_source};
use super::resolve::{self, Kind};
use super::setup_fd::SetupFd;
use crate::fault::{Call, Fault};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, mknodat, openat, statat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};

/// A device node of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Absolute path inside the container.
    pub path: CString,
    /// Character, block or FIFO.
    pub kind: FileType,
    /// Device number, 0 for a FIFO.
    pub number: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner in the container.
    pub uid: u32,
    /// Group in the container.
    pub gid: u32,
    /// Bind the host's node of this path instead of making one: in a user namespace `mknod(2)` is refused.
    pub bind: bool,
}

impl Rootfs {
    /// Creates device nodes. A node that is there already must be the same device: a hostile rootfs may have
    /// put a link or another device there.
    ///
    /// # Errors
    /// The failed call with the path.
    pub fn create_devices(&mut self, devices: &[Device]) -> Result<(), Fault> {
        for device in devices {
            let (parent, name) = resolve::split(&device.path);
            let made = if device.bind {
                self.bind_device(device)
            } else {
                let directory = self.parent.open(self.root.as_fd(), &parent)?;
                match make_device(directory, &name, device) {
                    // The runtime itself is in a user namespace, as under rootless podman.
                    Err(fault) if fault.errno == Errno::PERM.raw_os_error() => self.bind_device(device),
                    made => made,
                }
            };
            made.map_err(|fault| Fault {
                call: format!("{} {}", fault.call, device.path.to_string_lossy()).into(),
                ..fault
            })?;
        }
        Ok(())
    }

    fn bind_device(&mut self, device: &Device) -> Result<(), Fault> {
        if device.kind == FileType::Fifo {
            let (parent, name) = resolve::split(&device.path);
            let directory = self.parent.open(self.root.as_fd(), &parent)?;
            return make_device(directory, &name, device);
        }
        let source = SetupFd::from(open_source(&device.path, false)?);
        let stat = rustix::fs::fstat(&source).call("fstat")?;
        verify(&stat, device).map_err(|_| Fault::finding("the host's device has another number:"))?;
        let target = self.target(&device.path, Kind::File, true)?;
        super::attach_on(source.as_fd(), target.as_fd()).call("move_mount")
    }

    /// Makes the links that programs expect: `/dev/fd`, the standard streams, `/dev/ptmx`.
    ///
    /// A link that is there already stays: only the container itself can be misled by it.
    ///
    /// # Errors
    /// The failed call with the path.
    pub fn link_devices(&mut self) -> Result<(), Fault> {
        const LINKS: [(&CStr, &CStr); 6] = [
            (c"/proc/self/fd", c"fd"),
            (c"/proc/self/fd/0", c"stdin"),
            (c"/proc/self/fd/1", c"stdout"),
            (c"/proc/self/fd/2", c"stderr"),
            (c"/proc/kcore", c"core"),
            (c"pts/ptmx", c"ptmx"),
        ];
        let dev = self.parent.open(self.root.as_fd(), c"/dev/")?;
        for (target, name) in LINKS {
            match rustix::fs::symlinkat(target, dev, name) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno).call_on("symlink", || format!("/dev/{name:?}")),
            }
        }
        Ok(())
    }

    /// Attaches the container's terminal as `/dev/console`.
    ///
    /// # Errors
    /// The failed call.
    pub fn attach_console(&self, terminal: BorrowedFd<'_>) -> Result<(), Fault> {
        let dev = resolve::parent_directory(self.fd(), c"/dev")?;
        // Never through a link: a console that points elsewhere would be mounted over (CVE-2025-52565).
        let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY | OFlags::NOCTTY;
        match openat(&dev, c"console", flags | OFlags::EXCL, Mode::from_raw_mode(0o600)) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).call("create /dev/console"),
        }
        let target = openat(
            &dev,
            c"console",
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .call("open /dev/console")?;
        let stat = rustix::fs::fstat(&target).call("fstat /dev/console")?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Err(Fault::finding("/dev/console is a symbolic link"));
        }
        bind_on(terminal, target.as_fd()).call("mount /dev/console")
    }
}

fn make_device(directory: BorrowedFd<'_>, name: &CStr, device: &Device) -> Result<(), Fault> {
    let mode = Mode::from_raw_mode(device.mode);
    match mknodat(directory, name, device.kind, mode, device.number) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).call("stat")?;
            return verify(&stat, device);
        }
        Err(errno) => return Err(errno).call("mknod"),
    }
    if (device.uid, device.gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).call("chown")?;
    }
    Ok(())
}

fn verify(stat: &Stat, device: &Device) -> Result<(), Fault> {
    let same_kind = FileType::from_raw_mode(stat.st_mode) == device.kind;
    if same_kind && (device.kind == FileType::Fifo || stat.st_rdev == device.number) {
        return Ok(());
    }
    Err(Fault::finding("something else is in the place of device"))
}

/// Opens the host's null device, checked by its number (character 1:3).
///
/// # Errors
/// The failed call, or the finding that it is something else.
pub fn host_null() -> Result<OwnedFd, Fault> {
    let null = openat(
        CWD,
        c"/dev/null",
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .call("open /dev/null")?;
    check_null(&null)?;
    Ok(null)
}

fn check_null(fd: &OwnedFd) -> Result<(), Fault> {
    let stat = rustix::fs::fstat(fd).call("fstat /dev/null")?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if is_null {
        Ok(())
    } else {
        Err(Fault::finding("/dev/null is not the null device"))
    }
}
