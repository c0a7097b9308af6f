//! System calls whose verdict under a seccomp filter is compared. Each changes nothing, and fails for the same
//! reason under every runtime if it fails without a filter.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::EventfdFlags;
use rustix::fs::{
    CWD, FallocateFlags, FileType, FlockOperation, MemfdFlags, Mode, OFlags, ResolveFlags, SeekFrom,
};
use rustix::io::Result;
use rustix::mount::{FsOpenFlags, MountFlags, UnmountFlags};
use rustix::net::{AddressFamily, SocketType};
use rustix::process::PidfdFlags;

/// One call.
struct Call {
    /// Names the call and its arguments.
    name: &'static str,
    make: fn() -> Result<()>,
}

fn socket(family: AddressFamily, kind: SocketType) -> Result<()> {
    rustix::net::socket(family, kind, None).map(drop)
}

fn file() -> Result<OwnedFd> {
    rustix::fs::openat(CWD, "/dev/null", OFlags::RDONLY, Mode::empty())
}

const CALLS: &[Call] = &[
    Call {
        name: "socket unix stream",
        make: || socket(AddressFamily::UNIX, SocketType::STREAM),
    },
    Call {
        name: "socket unix dgram",
        make: || socket(AddressFamily::UNIX, SocketType::DGRAM),
    },
    Call {
        name: "socket inet stream",
        make: || socket(AddressFamily::INET, SocketType::STREAM),
    },
    Call {
        name: "socket inet6 dgram",
        make: || socket(AddressFamily::INET6, SocketType::DGRAM),
    },
    Call {
        name: "socket netlink",
        make: || socket(AddressFamily::NETLINK, SocketType::RAW),
    },
    Call {
        name: "socket packet",
        make: || socket(AddressFamily::PACKET, SocketType::RAW),
    },
    Call {
        name: "setpriority 0",
        make: || rustix::process::setpriority_process(None, 0),
    },
    Call {
        name: "setpriority 1",
        make: || rustix::process::setpriority_process(None, 1),
    },
    Call {
        name: "getpriority",
        make: || rustix::process::getpriority_process(None).map(drop),
    },
    Call {
        name: "mkdirat 700",
        make: || directory(0o700),
    },
    Call {
        name: "mkdirat 755",
        make: || directory(0o755),
    },
    Call {
        name: "mknodat fifo",
        make: || node(FileType::Fifo, 0),
    },
    Call {
        name: "mknodat null",
        make: || node(FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
    },
    Call {
        name: "memfd_create",
        make: || rustix::fs::memfd_create("x", MemfdFlags::CLOEXEC).map(drop),
    },
    Call {
        name: "eventfd2 0",
        make: || rustix::event::eventfd(0, EventfdFlags::empty()).map(drop),
    },
    Call {
        name: "eventfd2 nonblock",
        make: || rustix::event::eventfd(0, EventfdFlags::NONBLOCK).map(drop),
    },
    Call {
        name: "flock",
        make: || rustix::fs::flock(file()?, FlockOperation::NonBlockingLockShared),
    },
    Call {
        name: "kill self 0",
        make: || rustix::process::test_kill_process(rustix::process::getpid()),
    },
    Call {
        name: "pidfd_open",
        make: || rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).map(drop),
    },
    Call {
        name: "prctl get pdeathsig",
        make: || rustix::process::parent_process_death_signal().map(drop),
    },
    Call {
        name: "prctl get dumpable",
        make: || rustix::process::dumpable_behavior().map(drop),
    },
    Call {
        name: "prctl get name",
        make: || rustix::thread::name().map(drop),
    },
    Call {
        name: "lseek set",
        make: || rustix::fs::seek(file()?, SeekFrom::Start(1)).map(drop),
    },
    Call {
        name: "lseek end",
        make: || rustix::fs::seek(file()?, SeekFrom::End(0)).map(drop),
    },
    Call {
        name: "fallocate",
        make: || rustix::fs::fallocate(file()?, FallocateFlags::empty(), 0, 1),
    },
    Call {
        name: "statfs",
        make: || rustix::fs::statfs("/").map(drop),
    },
    Call {
        name: "chroot",
        make: || rustix::process::chroot("/"),
    },
    Call {
        name: "mount",
        make: || rustix::mount::mount("none", "/proc/nowhere", "none", MountFlags::empty(), None),
    },
    Call {
        name: "umount2",
        make: || rustix::mount::unmount("/proc/nowhere", UnmountFlags::DETACH),
    },
    Call {
        name: "fsopen",
        make: || rustix::mount::fsopen("nowhere", FsOpenFlags::FSOPEN_CLOEXEC).map(drop),
    },
    Call {
        name: "openat2",
        make: || rustix::fs::openat2(CWD, "/", OFlags::PATH, Mode::empty(), ResolveFlags::BENEATH).map(drop),
    },
    Call {
        name: "sethostname",
        make: || rustix::system::sethostname(rustix::system::uname().nodename().to_bytes()),
    },
    Call {
        name: "dup",
        make: || rustix::io::dup(file()?.as_fd()).map(drop),
    },
    Call {
        name: "sched_getaffinity",
        make: || rustix::thread::sched_getaffinity(None).map(drop),
    },
];

fn directory(mode: u32) -> Result<()> {
    rustix::fs::mkdirat(CWD, "/tmp/made", Mode::from_raw_mode(mode))?;
    rustix::fs::rmdir("/tmp/made")
}

fn node(kind: FileType, device: u64) -> Result<()> {
    rustix::fs::mknodat(CWD, "/tmp/node", kind, Mode::from_raw_mode(0o600), device)?;
    rustix::fs::unlink("/tmp/node")
}

/// The names of all calls.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CALLS.iter().map(|call| call.name)
}

/// Makes the call of this name.
///
/// # Errors
/// That of the call; `EINVAL` if there is no such call.
pub(super) fn make(name: &str) -> Result<()> {
    let call = CALLS.iter().find(|call| call.name == name);
    (call.ok_or(rustix::io::Errno::INVAL)?.make)()
}
