//! The process that keeps a scope alive until the container's own is in it.

use std::os::fd::{AsFd, OwnedFd};

use nucleus_sys::clone::{Forked, clone3};
use rustix::process::{
    Pid, Signal, WaitIdOptions, getppid, pidfd_send_signal, set_parent_process_death_signal, waitid,
};

/// A child that sleeps until it is dropped, or its parent is gone.
#[derive(Debug)]
pub(in crate::cgroup) struct Placeholder {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Placeholder {
    pub(super) fn new() -> rustix::io::Result<Self> {
        let parent = rustix::process::getpid();
        match clone3(0, None)? {
            Forked::Parent { pid, pidfd } => Ok(Self { pid, pidfd }),
            Forked::Child => {
                // The parent may have died before it could be watched.
                let watched = set_parent_process_death_signal(Some(Signal::KILL));
                while watched.is_ok() && getppid() == Some(parent) {
                    rustix::event::pause();
                }
                nucleus_sys::process::exit_now(0)
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().cast_unsigned()
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        // In a child of ours, where the placeholder is a sibling, the wait fails and the kill is too late to
        // matter. Neither can go wrong otherwise.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(
            rustix::process::WaitId::PidFd(self.pidfd.as_fd()),
            WaitIdOptions::EXITED,
        );
    }
}
