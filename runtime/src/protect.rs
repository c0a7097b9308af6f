//! Protection of the runtime's own binary (CVE-2019-5736).
//!
//! A container can make the kernel execute `/proc/self/exe` of the process that enters it, which is this
//! program, keep a descriptor of it, and open it for writing later. So the process that enters a container
//! runs from a mount of the binary that is read-only and that no mount namespace holds: whoever reopens it
//! gets `EROFS`. Nothing is copied.

use crate::fault::{Call, Fault};
use nucleus_sys::exec::{CStrings, execveat};
use nucleus_sys::mount::{MountAttr, mount_setattr};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    Access, AtFlags, CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags, accessat, fcntl_add_seals,
    fstatvfs, memfd_create, openat, sendfile,
};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

/// Makes sure that this process runs from a binary that nobody in a container can write, by executing itself
/// again if need be. Called before anything else of a command that enters containers.
///
/// # Errors
/// The failed call: the command must not go on then.
pub fn protect_binary() -> Result<(), Fault> {
    if nucleus_sys::entry::is_protected() {
        return Ok(());
    }
    let own = openat(
        CWD,
        c"/proc/self/exe",
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .call("open /proc/self/exe")?;
    if is_read_only(&own)? || !is_writable_by_us() {
        return Ok(());
    }
    let protected = match read_only_mount() {
        // Without privilege over mounts only a copy helps.
        Err(Errno::PERM) => sealed_copy()?,
        result => result.call("make a read-only mount of the runtime's binary")?,
    };
    Err(execute(&protected))
}

/// A sealed copy counts too: it cannot be opened for writing at all.
fn is_read_only(own: &OwnedFd) -> Result<bool, Fault> {
    let flags = fstatvfs(own).call("statfs /proc/self/exe")?.f_flag;
    if flags.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    // A descriptor without O_PATH is needed for the seals; only memory files have them.
    let link = rustix::fs::readlinkat(CWD, c"/proc/self/exe", Vec::new()).call("readlink /proc/self/exe")?;
    if !link.as_bytes().starts_with(b"/memfd:") {
        return Ok(false);
    }
    let file = openat(
        CWD,
        c"/proc/self/exe",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .call("open /proc/self/exe")?;
    Ok(rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::WRITE)))
}

/// Root of a user namespace is no more than the caller outside of it: a binary that the caller can neither
/// write nor own cannot be written from the container either.
fn is_writable_by_us() -> bool {
    let user = rustix::process::geteuid();
    if user.is_root() {
        return true;
    }
    let owned = rustix::fs::stat(c"/proc/self/exe").is_ok_and(|stat| stat.st_uid == user.as_raw());
    owned || accessat(CWD, c"/proc/self/exe", Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

/// `open_tree(2)` and `mount_setattr(2)`: a detached, read-only mount of the binary.
fn read_only_mount() -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, c"/proc/self/exe", flags)?;
    let attr = MountAttr {
        set: libc::MOUNT_ATTR_RDONLY,
        ..MountAttr::default()
    };
    mount_setattr(tree.as_fd(), false, &attr)?;
    Ok(tree)
}

/// `memfd_create(2)` with all seals, for callers without privilege over mounts.
fn sealed_copy() -> Result<OwnedFd, Fault> {
    let own = openat(
        CWD,
        c"/proc/self/exe",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .call("open /proc/self/exe")?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = match memfd_create(c"nucleus-runtime", flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 every memory file may be executed.
        Err(Errno::INVAL) => memfd_create(c"nucleus-runtime", flags),
        result => result,
    }
    .call("memfd_create")?;
    while sendfile(&copy, &own, None, 1 << 30).call("sendfile")? > 0 {}
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&copy, seals).call("fcntl F_ADD_SEALS")?;
    Ok(copy)
}

/// Executes the same command from the protected binary.
fn execute(binary: &OwnedFd) -> Fault {
    let strings = |list: &mut dyn Iterator<Item = std::ffi::OsString>| {
        // What came from the kernel holds no NUL byte.
        CStrings::new(
            list.filter_map(|text| CString::new(text.as_bytes()).ok())
                .collect(),
        )
    };
    let args = strings(&mut std::env::args_os());
    let env = strings(&mut std::env::vars_os().map(|(name, value)| {
        let mut entry = name;
        entry.push(OsStr::new("="));
        entry.push(value);
        entry
    }));
    let errno = execveat(binary.as_fd(), &args, &env);
    Fault {
        call: "execute the protected binary".into(),
        errno: errno.raw_os_error(),
    }
}
