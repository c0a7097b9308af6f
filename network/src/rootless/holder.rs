//! The process that makes a user's namespaces: a moment of its own, because a process with threads cannot enter a new
//! user namespace, and `nucleus` has to stay where it is.

use super::{CLONE_NEWNET, CLONE_NEWUSER, Error, Space};
use crate::namespace::loopback_up;
use crate::resolver::Sockets;
use nucleus_netlink::Socket;
use nucleus_sys::clone::{Forked, clone3, unshare};
use nucleus_sys::process::exit_now;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitOptions, waitpid};
use std::fs;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Outer, network, inner; a socket for the rules, and two for each of two addresses.
const MOST: usize = 8;

/// Calls this program as the holder, and takes what it made.
pub(super) fn call(resolver: bool) -> Result<(Space, Socket, Option<Sockets>), Error> {
    let mut fds = taken(|command| {
        command.args(resolver.then_some("--resolver"));
        Ok(())
    })?
    .into_iter();
    let mut next = || {
        fds.next()
            .ok_or_else(|| Error::Holder("a namespace is missing".into()))
    };
    let space = Space {
        outer: next()?,
        network: next()?,
        inner: next()?,
    };
    let rules = next()?.into();
    let rest: Vec<OwnedFd> = fds.collect();
    Ok((space, rules, resolver.then(|| Sockets::from_fds(rest))))
}

/// Calls this program in a network, as its root, for a socket.
pub(super) fn open_rules(space: &Space) -> Result<Socket, Error> {
    let fds = taken(|command| {
        command.arg("--rules");
        space.as_owner(command)
    })?;
    let socket = fds.into_iter().next().map(Socket::from);
    socket.ok_or_else(|| Error::Holder("the socket for the rules is missing".into()))
}

/// What this program hands over when it is called as holder.
fn taken(with: impl FnOnce(&mut Command) -> Result<(), Error>) -> Result<Vec<OwnedFd>, Error> {
    let failed = |error: io::Error| Error::Holder(error.to_string());
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| failed(errno.into()))?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("nucleus")
        .arg("hold-network")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    with(&mut command)?;
    let child = command.spawn().map_err(failed)?;
    // With the child alone: what it does not send ends the reading.
    drop(command);
    let received = receive(ours.as_fd());
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Holder(
            text.trim().trim_start_matches("nucleus: ").to_owned(),
        ));
    }
    received.map_err(failed)
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    Ok(fds.flatten().collect())
}

/// A process in a network, as its root: slirp4netns(1) enters its sandbox through the user namespace of a process alone.
pub(super) struct StandIn(Child);

impl StandIn {
    /// Starts it.
    pub(super) fn start(space: &Space) -> Result<Self, Error> {
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("nucleus")
            .args(["hold-network", "--stand-in"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        space.as_owner(&mut command)?;
        let failed = |error: io::Error| Error::Holder(error.to_string());
        let mut child = command.spawn().map_err(failed)?;
        // Only a program that has begun is one whose namespaces its user may look at.
        let begun = child
            .stdout
            .take()
            .map(|mut stdout| stdout.read_exact(&mut [0; 1]));
        match begun {
            Some(Ok(())) => Ok(Self(child)),
            _ => Err(Error::Holder("the process in the network has died".into())),
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// That process itself: it ends with its standard input, and so with who started it.
///
/// # Errors
/// As read(2) and write(2).
pub fn stand_in() -> Result<(), Error> {
    let told = io::stdout().write_all(b"b").and_then(|()| io::stdout().flush());
    told.and_then(|()| io::stdin().read(&mut [0; 1]).map(drop))
        .map_err(Error::io("wait in", "the network namespace"))
}

/// The holder itself, with the socket as its standard input.
///
/// # Errors
/// The call that failed.
pub fn main(resolver: bool) -> Result<(), Error> {
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    unshare(CLONE_NEWUSER).map_err(|errno| match errno {
        Errno::PERM | Errno::NOSPC | Errno::ACCESS => Error::Holder(format!(
            "unshare CLONE_NEWUSER: {errno}: this host lets users have no user namespace (sysctl \
             user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
        )),
        errno => Error::Holder(format!("unshare CLONE_NEWUSER: {errno}")),
    })?;
    map("/proc/self", (0, uid), (0, gid))?;
    let failed =
        |call: &'static str| move |errno: Errno| Error::io(call, "the network namespace")(errno.into());
    unshare(CLONE_NEWNET).map_err(failed("unshare CLONE_NEWNET"))?;
    loopback_up().map_err(failed("set lo up in"))?;
    let sockets = match resolver {
        true => Sockets::open()
            .map_err(Error::io("bind to port 53 in", "the network namespace"))?
            .into_fds(),
        false => Vec::new(),
    };
    let mut fds = vec![
        super::open("/proc/self/ns/user".into())?,
        super::open("/proc/self/ns/net".into())?,
    ];
    fds.push(inner(uid, gid)?);
    fds.push(open_socket()?);
    fds.extend(sockets);
    send(rustix::stdio::stdin(), &fds).map_err(failed("hand over"))
}

/// A process that opens a socket for the rules of the network that it is in, as its root, and hands it over.
///
/// # Errors
/// As socket(2) and sendmsg(2).
pub fn hand_over_rules() -> Result<(), Error> {
    let handed = send(rustix::stdio::stdin(), &[open_socket()?]);
    handed.map_err(|errno| Error::io("hand over", "the socket for the rules")(errno.into()))
}

fn open_socket() -> Result<OwnedFd, Error> {
    let socket = Socket::open_netfilter();
    socket
        .map(OwnedFd::from)
        .map_err(|error| Error::Holder(format!("open a socket for the rules: {error}")))
}

fn send(socket: BorrowedFd<'_>, fds: &[OwnedFd]) -> rustix::io::Result<()> {
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(socket, &[IoSlice::new(b"n")], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// A user namespace in this one where its root is the user again; held by the descriptor alone.
fn inner(uid: u32, gid: u32) -> Result<OwnedFd, Error> {
    let failed =
        |call: &'static str| move |errno: Errno| Error::io(call, "the inner user namespace")(errno.into());
    let (end_there, end) = pipe_with(PipeFlags::CLOEXEC).map_err(failed("pipe for"))?;
    match clone3(CLONE_NEWUSER as u64, None).map_err(failed("clone3 into"))? {
        Forked::Child => {
            drop(end);
            // Until the namespace is mapped and open, or the parent has failed.
            let _ = rustix::io::read(&end_there, &mut [0; 1]);
            exit_now(0)
        }
        Forked::Parent { pid, .. } => {
            let directory = format!("/proc/{}", pid.as_raw_nonzero());
            let opened = map(&directory, (uid, 0), (gid, 0))
                .and_then(|()| super::open(format!("{directory}/ns/user")));
            drop(end);
            waitpid(Some(pid), WaitOptions::empty()).map_err(failed("wait for"))?;
            opened
        }
    }
}

/// One id inside for one outside.
fn map(process: &str, uid: (u32, u32), gid: (u32, u32)) -> Result<(), Error> {
    for (name, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{} {} 1", uid.0, uid.1)),
        ("gid_map", format!("{} {} 1", gid.0, gid.1)),
    ] {
        let path = format!("{process}/{name}");
        fs::write(&path, text).map_err(Error::io("write", path))?;
    }
    Ok(())
}
