//! `--info-fd`, `--block-fd` and `--alive-fd` of `run`: a caller looks at the container after its set-up and
//! before the first instruction of its program, learns how it ended, and takes it along when it dies.

use crate::cgroup::Record as Cgroup;
use crate::create::{Created, Error};
use crate::fault::{Call, Fault};
use crate::plan::Preserved;
use crate::supervise::Ended;
use nucleus_sys::process;
use nucleus_sys::signal::signalfd_for;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{OwnedFd, RawFd};
use rustix::io::{Errno, retry_on_intr};

const BLOCK: &str = "wait for the caller's byte on --block-fd";

/// What a terminal, a service manager or a person ends a program with.
const ENDING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// The caller's descriptors. They are close-on-exec: neither a hook nor the container gets them.
#[derive(Debug, Default)]
pub struct Handshake {
    info: Option<OwnedFd>,
    block: Option<OwnedFd>,
    alive: Option<OwnedFd>,
}

/// What is left of them while the program runs.
#[derive(Debug, Default)]
pub struct Caller {
    info: Option<OwnedFd>,
    /// Its end of file means that the caller is gone, and the container is to go too.
    pub alive: Option<OwnedFd>,
}

impl Caller {
    /// Tells how the program ended; the control group must still be there.
    ///
    /// # Errors
    /// As `write(2)`. A caller that is gone is none.
    pub fn tell_end(&self, ended: Ended, cgroup: &Cgroup) -> rustix::io::Result<()> {
        let Some(info) = &self.info else { return Ok(()) };
        let how = match ended {
            Ended::Exited(code) => format!("\"exit-code\":{code}"),
            Ended::Signaled(signal) => format!("\"signal\":{signal}"),
        };
        let (oom_kills, pids_refused) = (cgroup.oom_kills(), cgroup.pids_refused());
        let line = format!("{{{how},\"oom-kills\":{oom_kills},\"pids-refused\":{pids_refused}}}\n");
        match write_all(info, line.as_bytes()) {
            Err(Errno::PIPE) => Ok(()),
            written => written,
        }
    }
}

impl Handshake {
    /// Takes over the descriptors of these numbers.
    ///
    /// # Errors
    /// That one is not open, is a standard stream, or is to be the program's as well.
    pub fn take(
        info: Option<RawFd>,
        block: Option<RawFd>,
        alive: Option<RawFd>,
        preserved: Preserved,
    ) -> Result<Self, Error> {
        let take = |number: Option<RawFd>, option| number.map(|fd| take(fd, option, preserved)).transpose();
        Ok(Self {
            info: take(info, "--info-fd")?,
            block: take(block, "--block-fd")?,
            alive: take(alive, "--alive-fd")?,
        })
    }

    /// Tells the caller that the container is `created`, and waits for its byte.
    ///
    /// A signal that asks to end gives up as well; others stay blocked, as during set-up, and reach the program once
    /// it runs. A caller that dies ends the wait, because its end of the descriptor is closed then.
    ///
    /// # Errors
    /// That the caller cannot be told, that it has given up, or that the container has died meanwhile.
    pub fn wait(self, created: &Created) -> Result<Caller, Error> {
        let Self { info, block, alive } = self;
        if block.is_some() {
            // What tells `created` from `running`; nobody waits at it, and the lock keeps `start` away.
            created.directory.write("start", b"")?;
        }
        if let Some(info) = &info {
            // JSON already, as the state has it.
            let landlock = created.plan.landlock.as_ref();
            let landlock = landlock
                .map(|told| format!(",\"landlock\":{told}"))
                .unwrap_or_default();
            let line = format!("{{\"pid\":{}{landlock}}}\n", created.spawned.id());
            write_all(info, line.as_bytes())
                .call("write")
                .map_err(failed("tell the caller through --info-fd"))?;
        }
        let caller = Caller { info, alive };
        let Some(block) = block else { return Ok(caller) };
        let signals = signalfd_for(&ENDING).call("signalfd").map_err(failed(BLOCK))?;
        let mut polled = [
            PollFd::new(&created.spawned.pidfd, PollFlags::IN),
            PollFd::new(&block, PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
        ];
        retry_on_intr(|| poll(&mut polled, None))
            .call("poll")
            .map_err(failed(BLOCK))?;
        match polled.map(|one| !one.revents().is_empty()) {
            [true, ..] => return Err(Error::Died(created.spawned.how_it_ended())),
            [_, true, _] => read_byte(&block).map_err(failed(BLOCK))?,
            _ => {
                return Err(failed(BLOCK)(Fault::finding(
                    "a signal came first: the container was not started",
                )));
            }
        }
        rustix::fs::unlinkat(created.directory.fd(), "start", rustix::fs::AtFlags::empty())
            .call("unlink start")
            .map_err(failed(BLOCK))?;
        Ok(caller)
    }
}

fn read_byte(block: &OwnedFd) -> Result<(), Fault> {
    let mut byte = [0u8];
    match retry_on_intr(|| rustix::io::read(block, &mut byte)).call("read")? {
        0 => Err(Fault::finding(
            "it was closed without one: the container was not started",
        )),
        _ => Ok(()),
    }
}

/// Takes over a descriptor of the caller's; it is close-on-exec from now on.
///
/// # Errors
/// That it is not open, is a standard stream, or is to be the program's as well.
pub fn take(fd: RawFd, option: &'static str, preserved: Preserved) -> Result<OwnedFd, Error> {
    let last = 2 + u64::from(preserved.plain) + u64::from(preserved.listen);
    let refused = |reason| Error::Descriptor { option, fd, reason };
    if fd <= 2 {
        return Err(refused("is a standard stream, which the program gets"));
    }
    if u64::try_from(fd).is_ok_and(|fd| fd <= last) {
        return Err(refused("is to be preserved for the program as well"));
    }
    process::inherit(fd).map_err(|_| refused("is not open, or was given twice"))
}

fn failed(step: &'static str) -> impl Fn(Fault) -> Error {
    move |fault| Error::Parent { step, fault }
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let written = retry_on_intr(|| rustix::io::write(fd, bytes))?;
        bytes = &bytes[written..];
    }
    Ok(())
}
