//! Who holds the terminal of a detached sandbox: a process of this program for each, which writes what the workload
//! prints to the log and lets one `nucleus attach` at a time see it and type.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, accept_with, bind, connect, listen, recvmsg, send, socket_with,
};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What comes from a client: bytes, or a size.
pub const BYTES: u8 = 0;
/// Rows and columns, two bytes each, little endian.
pub const SIZE: u8 = 1;
/// How much a new client sees of what was printed before.
const SEEN: usize = 16 << 10;
/// How long the runtime may take to make the terminal.
const MADE: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// A keeper that waits for the runtime.
#[derive(Debug)]
pub struct Keeper {
    child: Child,
    /// For `--console-socket`.
    pub console: PathBuf,
}

impl Keeper {
    /// Starts one for the sandbox in this directory.
    ///
    /// # Errors
    /// As socket(2), bind(2) and execve(2).
    pub fn start(directory: &Path) -> io::Result<Self> {
        let console = directory.join("console");
        let terminal = listening(&console, SocketType::STREAM)?;
        let clients = listening(&directory.join("attach"), SocketType::SEQPACKET)?;
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(directory.join("log"))?;
        let child = Command::new("/proc/self/exe")
            .arg0("nucleus")
            .arg("keep")
            .stdin(terminal)
            .stdout(clients)
            .stderr(log)
            // What ends the caller's session or group does not end the sandbox.
            .process_group(0)
            .spawn()?;
        Ok(Self { child, console })
    }

    /// Ends it: there is no sandbox to keep a terminal for.
    pub fn stop(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listening(path: &Path, kind: SocketType) -> io::Result<Stdio> {
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, 4)?;
    Ok(socket.into())
}

/// Connects to a sandbox's keeper.
///
/// # Errors
/// As connect(2): `NotFound` if it has no terminal, `ConnectionRefused` if its end has come.
pub fn attach(directory: &Path) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    connect(&socket, &SocketAddrUnix::new(directory.join("attach"))?)?;
    Ok(socket)
}

/// The keeper itself, with the console socket, the clients' socket and the log as its standard streams.
///
/// # Errors
/// As the calls.
pub fn main() -> io::Result<()> {
    nucleus_sys::signal::block_all();
    let (console, clients) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    if poll(
        &mut [PollFd::from_borrowed_fd(console, PollFlags::IN)],
        Some(&MADE),
    )? == 0
    {
        return Ok(());
    }
    let runtime = accept_with(console, SocketFlags::CLOEXEC)?;
    let Some(master) = receive(&runtime)? else {
        return Ok(());
    };
    drop(runtime);
    let mut kept = Kept {
        master,
        client: None,
        seen: Vec::with_capacity(2 * SEEN),
        log: File::from(rustix::io::dup(rustix::stdio::stderr())?),
    };
    while kept.turn(clients)? {}
    Ok(())
}

fn receive(socket: &OwnedFd) -> rustix::io::Result<Option<OwnedFd>> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 64];
    let mut buffers = [IoSliceMut::new(&mut name)];
    recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    }))
}

struct Kept {
    master: OwnedFd,
    client: Option<OwnedFd>,
    seen: Vec<u8>,
    log: File,
}

impl Kept {
    /// One round; false at the end of the terminal.
    fn turn(&mut self, clients: BorrowedFd<'_>) -> io::Result<bool> {
        let [printed, new, typed] = {
            let mut fds = vec![
                PollFd::new(&self.master, PollFlags::IN),
                PollFd::from_borrowed_fd(clients, PollFlags::IN),
            ];
            fds.extend(
                self.client
                    .as_ref()
                    .map(|client| PollFd::new(client, PollFlags::IN)),
            );
            rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
            let ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
            [ready(0), ready(1), ready(2)]
        };
        if typed {
            self.typed();
        }
        if new {
            self.client = accept_with(clients, SocketFlags::CLOEXEC).ok();
            let seen = std::mem::take(&mut self.seen);
            self.show(&seen);
            self.seen = seen;
        }
        if printed {
            let mut buffer = [0; 4096];
            match rustix::io::read(&self.master, &mut buffer) {
                Ok(length @ 1..) => self.printed(&buffer[..length])?,
                Err(Errno::INTR | Errno::AGAIN) => {}
                // The last holder has closed it.
                Ok(_) | Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    fn printed(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.log.write_all(bytes)?;
        if self.seen.len() + bytes.len() > 2 * SEEN {
            let old = self.seen.len() - SEEN.min(self.seen.len());
            drop(self.seen.drain(..old));
        }
        self.seen.extend_from_slice(bytes);
        self.show(bytes);
        Ok(())
    }

    /// A client that does not read is let go: the workload must not wait for it.
    fn show(&mut self, bytes: &[u8]) {
        for packet in bytes.chunks(4096) {
            let Some(client) = &self.client else { return };
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match send(client, packet, flags) {
                Ok(_) => {}
                // It has left; what it typed before is still to be read.
                Err(Errno::PIPE | Errno::CONNRESET) => return,
                Err(_) => self.client = None,
            }
        }
    }

    fn typed(&mut self) {
        let Some(client) = &self.client else { return };
        let mut packet = [0; 4097];
        match rustix::io::read(client, &mut packet) {
            Ok(length @ 1..) => match packet[..length] {
                [BYTES, ref bytes @ ..] => {
                    let _ = rustix::io::write(&self.master, bytes);
                }
                [SIZE, a, b, c, d] => {
                    let size = Winsize {
                        ws_row: u16::from_le_bytes([a, b]),
                        ws_col: u16::from_le_bytes([c, d]),
                        ws_xpixel: 0,
                        ws_ypixel: 0,
                    };
                    let _ = tcsetwinsize(self.master.as_fd(), size);
                }
                _ => {}
            },
            // A client that left before it read all is told of once; what it typed comes after that.
            Err(Errno::INTR | Errno::AGAIN | Errno::CONNRESET) => {}
            Ok(_) | Err(_) => self.client = None,
        }
    }
}
