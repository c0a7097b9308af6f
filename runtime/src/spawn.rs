//! The fork: everything the child needs is opened, the parent's namespaces are changed for the moment of the
//! clone and changed back, and one `clone3(2)` makes the container's first process. Only where a user namespace
//! is entered that the parent could not leave again, a helper process does that part.

use crate::cgroup::Entered;
use crate::credentials;
use crate::fault::{Call, Fault};
use crate::idmap;
use crate::init::{self, Child, StartFifos};
use crate::plan::namespaces::Join;
use crate::plan::{Plan, ToOpen};
use crate::sync::{self, Channel, Failure};
use nucleus_sys::clone::{self, Forked, clone3, setns};
use nucleus_sys::signal::SignalMask;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::path::Path;

const CLONE_NEWTIME: i32 = 0x80;

/// The container's first process, from the parent's side.
#[derive(Debug)]
pub struct Spawned {
    /// Its id in the runtime's pid namespace.
    pub pid: Pid,
    /// Its descriptor, free of pid reuse.
    pub pidfd: OwnedFd,
    /// The parent's end of the protocol.
    pub channel: Channel,
}

/// What the child takes over beside the plan.
#[derive(Debug)]
pub struct Handed {
    /// Opened already; these come first among the child's descriptors.
    pub given: Vec<OwnedFd>,
    /// The FIFOs of a container that waits for `start`.
    pub start: Option<StartFifos>,
    /// Connected to `--console-socket`.
    pub console: Option<OwnedFd>,
    /// The signal mask for the program.
    pub mask: SignalMask,
}

/// Makes the container's first process, in its cgroups, where it then runs the plan's steps.
///
/// # Errors
/// The failed call of the parent; the child reports through the channel.
pub fn spawn(plan: &Plan, cgroups: &mut Entered, handed: Handed) -> Result<Spawned, Fault> {
    let Handed {
        given: mut opened,
        start,
        console,
        mask,
    } = handed;
    let tasks = std::mem::take(&mut cgroups.tasks);
    let into = cgroups.into.as_ref().map(AsFd::as_fd);
    for what in &plan.open {
        opened.push(open(what)?);
    }
    let (parent, channel) = Channel::pair().call("socketpair")?;
    let child = Child {
        plan,
        opened,
        tasks,
        channel,
        start,
        console,
        mask,
    };
    if plan.by_helper {
        by_helper(child, into, parent)
    } else {
        directly(child, into, parent)
    }
}

fn directly(child: Child<'_>, into: Option<BorrowedFd<'_>>, parent: Channel) -> Result<Spawned, Fault> {
    let plan = child.plan;
    let way_back = enter(plan)?;
    let forked = clone3(plan.clone_flags, into);
    if let Ok(Forked::Child) = forked {
        // Or the parent's death would never be seen.
        drop(parent);
        init::run(child);
    }
    // Also after a failure: the parent's later children (hooks) belong to its own namespaces.
    let mut back = way_back.iter().rev();
    let returned = back.try_for_each(|(flag, namespace)| setns(namespace.as_fd(), *flag).call("setns back"));
    let (pid, pidfd) = made(told(forked, plan.clone_flags)?)?;
    let spawned = Spawned {
        pid,
        pidfd,
        channel: parent,
    };
    if let Err(fault) = returned {
        spawned.kill();
        return Err(fault);
    }
    Ok(spawned)
}

/// A failed call, and what there is to see to: namespaces(7) and user_namespaces(7) can be switched off.
fn told(forked: rustix::io::Result<Forked>, flags: u64) -> Result<Forked, Fault> {
    let call = match forked {
        Err(Errno::NOSPC) => "clone3, which /proc/sys/user/max_*_namespaces has to permit",
        Err(Errno::PERM) if flags & libc::CLONE_NEWUSER as u64 != 0 => {
            "clone3 with a user namespace, which kernel.unprivileged_userns_clone and AppArmor have to permit users, \
             and a chroot permits nobody"
        }
        _ => "clone3",
    };
    forked.call(call)
}

/// The helper enters the namespaces and makes the child as its sibling, so that it is the runtime's own child,
/// hands over the child's descriptor and ends.
fn by_helper(child: Child<'_>, into: Option<BorrowedFd<'_>>, parent: Channel) -> Result<Spawned, Fault> {
    let (ours, theirs) = Channel::pair().call("socketpair")?;
    match clone3(0, None).call("clone3 helper")? {
        Forked::Child => {
            // As above; the child is a copy of this process.
            drop((parent, ours));
            match help(child, into) {
                Ok((pid, pidfd)) => {
                    let pid = pid.as_raw_nonzero().get().to_ne_bytes();
                    let _ = sync::send_fd(theirs.fd(), &pid, pidfd.as_fd());
                }
                Err(fault) => theirs.failed(&Failure { step: 0, fault }),
            }
            nucleus_sys::process::exit_now(0)
        }
        Forked::Parent { pidfd: helper, .. } => {
            drop(theirs);
            let mut buffer = [0; 512];
            let answer = sync::receive_fd(ours.fd(), &mut buffer).call("recvmsg");
            let _ = waitid(WaitId::PidFd(helper.as_fd()), WaitIdOptions::EXITED);
            let (length, pidfd) = answer?;
            let pid = buffer.first_chunk().map(|pid| i32::from_ne_bytes(*pid));
            match (pid.and_then(Pid::from_raw), pidfd) {
                (Some(pid), Some(pidfd)) => Ok(Spawned {
                    pid,
                    pidfd,
                    channel: parent,
                }),
                _ => Err(sync::decode(&buffer[..length]).map_or_else(
                    || Fault::finding("the process that enters the user namespace has died"),
                    |failure| failure.fault,
                )),
            }
        }
    }
}

fn help(child: Child<'_>, into: Option<BorrowedFd<'_>>) -> Result<(Pid, OwnedFd), Fault> {
    let plan = child.plan;
    if let Some(value) = plan.helper_oom_score_adj {
        credentials::set_oom_score_adj(value)?;
    }
    enter(plan)?;
    let forked = clone3(plan.clone_flags | libc::CLONE_PARENT as u64, into);
    let forked = told(forked, plan.clone_flags)?;
    if let Forked::Child = forked {
        init::run(child);
    }
    made(forked)
}

fn made(forked: Forked) -> Result<(Pid, OwnedFd), Fault> {
    match forked {
        Forked::Parent { pid, pidfd } => Ok((pid, pidfd)),
        Forked::Child => Err(Fault::finding("the child returned")),
    }
}

fn open(what: &ToOpen) -> Result<OwnedFd, Fault> {
    match what {
        ToOpen::Namespace(path) => open_namespace(path),
        ToOpen::Mount { source, idmap } => {
            let named = |fault: Fault| Fault {
                call: format!("{} {}", fault.call, source.path.to_string_lossy()).into(),
                ..fault
            };
            let tree = source.open().map_err(named)?;
            if let Some(idmap) = idmap {
                idmap::map_mount(tree.as_fd(), idmap).map_err(named)?;
            }
            Ok(tree)
        }
    }
}

fn open_namespace(path: &Path) -> Result<OwnedFd, Fault> {
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .call_on("open namespace", || path.display().to_string())
}

/// Enters the namespaces that the clone has to start from; returns the way back.
fn enter(plan: &Plan) -> Result<Vec<(i32, OwnedFd)>, Fault> {
    let mut way_back = Vec::new();
    for Join { name, flag, path } in &plan.parent_joins {
        let namespace = open_namespace(path)?;
        way_back.push((
            *flag,
            open_namespace(Path::new(&format!("/proc/self/ns/{name}")))?,
        ));
        setns(namespace.as_fd(), *flag).call_on("setns", || path.display().to_string())?;
    }
    if let Some(offsets) = &plan.time_offsets {
        way_back.push((CLONE_NEWTIME, open_namespace(Path::new("/proc/self/ns/time"))?));
        clone::unshare(CLONE_NEWTIME).call("unshare time")?;
        if !offsets.is_empty() {
            std::fs::write("/proc/self/timens_offsets", offsets).call("write /proc/self/timens_offsets")?;
        }
    }
    Ok(way_back)
}
