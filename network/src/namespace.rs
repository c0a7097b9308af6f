//! Being in another network namespace: in a thread of its own, so that this process stays where it is.

use crate::Error;
use crate::nftables::{self, Transaction};
use crate::order::{self, Inside};
use crate::rootless::CLONE_NEWNET;
use nucleus_netlink::Socket;
use nucleus_sys::clone::unshare;
use nucleus_sys::process::set_interface_up;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::path::{Path, PathBuf};

/// A namespace, and sockets in it.
#[derive(Debug)]
pub struct Space {
    /// The namespace: it is there as long as this, or a process in it.
    pub namespace: OwnedFd,
    /// For its links and addresses.
    pub socket: Socket,
}

/// Makes a namespace, tells of it, and loads the rules into it; returns the socket for the rules. Ends with the calling
/// thread in it: to be called in one that ends then. The host's user namespace owns it.
///
/// # Errors
/// As unshare(2), and what the kernel has against the rules.
pub fn make(rules: Transaction, made: impl Fn(Space)) -> Result<Socket, Error> {
    let (mut rules, mut inside) = (Some(rules), None);
    for step in order::INSIDE {
        match step {
            Inside::Namespace => {
                unshare(CLONE_NEWNET).map_err(Error::call("unshare CLONE_NEWNET"))?;
                made(Space {
                    namespace: open(Path::new("/proc/thread-self/ns/net"))?,
                    socket: Socket::open().map_err(Error::link("open a socket"))?,
                });
                inside = Some(nftables::open()?);
            }
            Inside::Rules => {
                let (rules, socket) = rules
                    .take()
                    .zip(inside.as_mut())
                    .ok_or(Error::Order("the rules"))?;
                rules.commit(socket, "load those of egress")?;
            }
        }
    }
    loopback_up().map_err(Error::call("set lo up"))?;
    inside.ok_or(Error::Order("the end"))
}

/// A socket for the rules of a namespace, made by a thread that enters it and ends.
///
/// # Errors
/// As setns(2), and socket(2).
pub fn rules_of(namespace: BorrowedFd<'_>) -> Result<Socket, Error> {
    let opened = std::thread::scope(|scope| {
        let enter = || {
            move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
                .map_err(Error::call("setns to the network namespace"))?;
            nftables::open()
        };
        scope.spawn(enter).join()
    });
    opened.unwrap_or(Err(Error::Thread))
}

/// Sets the loopback interface of this thread's namespace up.
///
/// # Errors
/// As socket(2), and netdevice(7), `SIOCSIFFLAGS`.
pub(crate) fn loopback_up() -> rustix::io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    set_interface_up(socket.as_fd(), c"lo")
}

/// Opens a namespace by its path.
///
/// # Errors
/// As open(2).
pub fn open(path: &Path) -> Result<OwnedFd, Error> {
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::io("open", path, errno.into()))
}

/// The network namespace of a process.
pub fn of(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}
