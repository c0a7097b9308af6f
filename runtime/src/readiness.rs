//! `NOTIFY_SOCKET`: passing a program's readiness on to the service manager that started the runtime;
//! `sd_notify(3)`.
//!
//! The manager's own socket never enters the container: through it a container could name any process as the
//! service's main one or store descriptors. Instead the container gets a directory of its state, read-only, at
//! [`DIRECTORY`]; whoever starts the program (`run` or `start`) listens there and passes on what is about the
//! program's condition and nothing else. In the foreground that lasts as long as the program; `start` and
//! `run --detach` return when the program is ready or has ended, having named its process as the main one, so
//! that `Type=notify` works with them too.

use crate::fault::{Call, Fault};
use crate::state::Directory;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// Where the container finds the directory.
pub const DIRECTORY: &str = "/run/notify";
/// What the program gets as `NOTIFY_SOCKET`.
pub const VARIABLE: &std::ffi::CStr = c"NOTIFY_SOCKET=/run/notify/notify.sock";
/// The directory in the container's state.
pub const IN_STATE: &str = "notify";
const SOCKET: &str = "notify.sock";

/// What a program may say. Not `MAINPID`, `FDSTORE`, `NOTIFYACCESS` and the like: they act on the manager.
const PASSED_ON: [&[u8]; 8] = [
    b"READY=1",
    b"STATUS=",
    b"RELOADING=1",
    b"MONOTONIC_USEC=",
    b"STOPPING=1",
    b"ERRNO=",
    b"WATCHDOG=1",
    b"EXTEND_TIMEOUT_USEC=",
];

/// The service manager's address: a path, or an abstract name after `@`.
#[derive(Debug, Clone)]
pub struct Manager(OsString);

impl Manager {
    /// From `NOTIFY_SOCKET` of the runtime's own environment.
    pub fn from_environment() -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET")
            .filter(|address| !address.is_empty())
            .map(Self)
    }

    fn send(&self, message: &[u8]) -> Result<(), Fault> {
        let bytes = self.0.as_bytes();
        let name = || self.0.to_string_lossy().into_owned();
        let address = match bytes.strip_prefix(b"@") {
            Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
            None => SocketAddr::from_pathname(Path::new(OsStr::from_bytes(bytes))),
        };
        let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(message, &address));
        sent.call_on("send to NOTIFY_SOCKET", name).map(drop)
    }
}

/// Makes the directory for a container that is being created.
///
/// # Errors
/// The failed call.
pub fn make_directory(state: &Directory) -> Result<(), Fault> {
    let mode = Mode::from_raw_mode(0o755);
    mkdirat(state.fd(), IN_STATE, mode).call("mkdir notify")?;
    // Whatever the caller's mask is, the program's user has to get through.
    rustix::fs::chmodat(state.fd(), IN_STATE, mode, AtFlags::empty()).call("chmod notify")
}

/// Removes the directory with the state.
///
/// # Errors
/// The failed call.
pub fn remove_directory(state: BorrowedFd<'_>) -> rustix::io::Result<()> {
    match unlinkat(state, format!("{IN_STATE}/{SOCKET}"), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => unlinkat(state, IN_STATE, AtFlags::REMOVEDIR),
        Err(errno) => Err(errno),
    }
}

/// Listens to the program for the service manager.
#[derive(Debug)]
pub struct Relay {
    socket: UnixDatagram,
    manager: Manager,
    /// Named as the service's main process when the program is ready.
    main: Option<u32>,
    ready: bool,
}

impl Relay {
    /// Begins to listen, before the program starts. Nothing for a container that was created without.
    ///
    /// # Errors
    /// The failed call.
    pub fn listen(state: &Directory, manager: Manager, main: Option<u32>) -> Result<Option<Self>, Fault> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match openat(state.fd(), IN_STATE, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            result => result.call("open notify")?,
        };
        // Left by a command that was killed.
        match unlinkat(&directory, SOCKET, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno).call("unlink notify.sock"),
        }
        // The path of the state may be longer than an address can be.
        let path = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
        let socket = UnixDatagram::bind(path).call("bind notify.sock")?;
        socket.set_nonblocking(true).call("ioctl FIONBIO")?;
        rustix::fs::chmodat(&directory, SOCKET, Mode::from_raw_mode(0o777), AtFlags::empty())
            .call("chmod notify.sock")?;
        Ok(Some(Self {
            socket,
            manager,
            main,
            ready: false,
        }))
    }

    /// Passes on what has arrived. A manager that is not there is worth a warning, not the program's end.
    pub fn pass_on(&mut self) {
        // The longest message that a manager reads.
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let (message, ready) = filter(&buffer[..length], self.main);
            self.ready |= ready;
            if message.is_empty() {
                continue;
            }
            if let Err(fault) = self.manager.send(&message) {
                crate::log::warning(&fault.to_string());
            }
        }
    }

    /// Passes messages on until the program is ready or has ended.
    ///
    /// # Errors
    /// As `poll(2)`.
    pub fn until_ready(mut self, pidfd: BorrowedFd<'_>) -> rustix::io::Result<()> {
        while !self.ready {
            let ended = {
                let mut fds = [
                    PollFd::new(&self.socket, PollFlags::IN),
                    PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
                ];
                match poll(&mut fds, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno),
                }
                !fds[1].revents().is_empty()
            };
            // What it said last counts even when it has ended.
            self.pass_on();
            if ended {
                break;
            }
        }
        Ok(())
    }
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The lines that may be passed on, and whether they say that the program is ready; then the main process is
/// named first, because the manager looks at it at that moment.
fn filter(message: &[u8], main: Option<u32>) -> (Vec<u8>, bool) {
    let allowed = |line: &&[u8]| {
        PASSED_ON.iter().any(|known| match known.strip_suffix(b"=") {
            Some(_) => line.starts_with(known),
            None => line == known,
        })
    };
    let lines: Vec<&[u8]> = message.split(|byte| *byte == b'\n').filter(allowed).collect();
    let ready = lines.contains(&&b"READY=1"[..]);
    let mut passed = lines.join(&b'\n');
    if let (true, Some(main)) = (ready, main) {
        passed = [format!("MAINPID={main}\n").as_bytes(), &passed].concat();
    }
    (passed, ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_the_program_is_passed_on() {
        let passed = |message: &str, main| {
            let (bytes, ready) = filter(message.as_bytes(), main);
            (String::from_utf8(bytes).unwrap(), ready)
        };
        let text = |text: &str| (text.to_owned(), false);
        assert_eq!(passed("STATUS=half\nMAINPID=1\n", None), text("STATUS=half"));
        assert_eq!(passed("FDSTORE=1\nFDNAME=x", Some(7)), text(""));
        assert_eq!(passed("READY=0", Some(7)), text(""));
        assert_eq!(passed("READY=11", Some(7)), text(""));
        assert_eq!(
            passed("NOTIFYACCESS=all\nBARRIER=1\nX_READY=1", Some(7)),
            text("")
        );
        assert_eq!(passed("READY=1", None), ("READY=1".into(), true));
        let both = passed("MAINPID=1\nREADY=1\nSTATUS=up", Some(7));
        assert_eq!(both, ("MAINPID=7\nREADY=1\nSTATUS=up".into(), true));
    }
}
