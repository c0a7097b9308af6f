//! The container's terminal: a pseudo-terminal of its own devpts.

use crate::fault::{Call, Fault};
use crate::rootfs::Rootfs;
use crate::rootfs::resolve::open_without_links;
use crate::rootfs::setup_fd::SetupFd;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::process::{Gid, Uid};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

/// `f_type` of devpts, `statfs(2)`.
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Both ends of a pseudo-terminal; `pty(7)`.
#[derive(Debug)]
pub struct Terminal {
    /// The end that the runtime or the caller keeps.
    pub master: SetupFd,
    /// The end that becomes the process's standard streams.
    pub slave: SetupFd,
}

/// Opens a terminal on the container's devpts.
///
/// The multiplexer is checked to be one of a devpts: the container could have put anything else at its place
/// (CVE-2025-52565).
///
/// # Errors
/// The failed call, or that there is no devpts.
pub fn open(root: &Rootfs, size: Option<(u16, u16)>) -> Result<Terminal, Fault> {
    // The directory first: only opening a planted device node may already do harm.
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let pts = open_without_links(root.fd(), c"/dev/pts", flags).call("open /dev/pts")?;
    let magic = rustix::fs::fstatfs(&pts).call("statfs /dev/pts")?.f_type;
    if magic != DEVPTS_SUPER_MAGIC {
        return Err(Fault::finding("/dev/pts is not a devpts"));
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let master = openat2(&pts, c"ptmx", flags, Mode::empty(), resolve).call("open /dev/pts/ptmx")?;
    rustix::pty::unlockpt(&master).call("ioctl TIOCSPTLCK")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).call("ioctl TIOCGPTPEER")?;
    if let Some((rows, columns)) = size {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&slave, size).call("ioctl TIOCSWINSZ")?;
    }
    Ok(Terminal {
        master: master.into(),
        slave: slave.into(),
    })
}

/// Makes the terminal the controlling terminal and the standard streams of this process, a session leader.
///
/// # Errors
/// The failed call.
pub fn adopt(slave: BorrowedFd<'_>) -> Result<(), Fault> {
    rustix::process::ioctl_tiocsctty(slave).call("ioctl TIOCSCTTY")?;
    rustix::stdio::dup2_stdin(slave).call("dup2")?;
    rustix::stdio::dup2_stdout(slave).call("dup2")?;
    rustix::stdio::dup2_stderr(slave).call("dup2")
}

/// Gives the pipes and terminals among the standard streams to the process's user, who could not reopen them
/// (`/dev/stderr`) otherwise. Device files and regular files are the host's: never touched.
///
/// # Errors
/// The failed call.
pub fn give_streams(uid: u32) -> Result<(), Fault> {
    if uid == 0 {
        return Ok(());
    }
    let owner = Some(Uid::from_raw(uid));
    for fd in [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ] {
        let stat = match rustix::fs::fstat(fd) {
            // The caller has closed it.
            Err(rustix::io::Errno::BADF) => continue,
            result => result.call("fstat a standard stream")?,
        };
        let ours = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo => true,
            FileType::CharacterDevice => {
                rustix::fs::fstatfs(fd).call("statfs a standard stream")?.f_type == DEVPTS_SUPER_MAGIC
            }
            _ => false,
        };
        if ours && stat.st_uid != uid {
            match rustix::fs::fchown(fd, owner, None::<Gid>) {
                // Not ours to give in a user namespace where the owner is not mapped.
                Ok(()) | Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL) => {}
                Err(errno) => return Err(errno).call("chown a standard stream"),
            }
        }
    }
    Ok(())
}

/// Sends the master to whoever listens at `--console-socket`, named as runc names it.
///
/// # Errors
/// The failed call.
pub fn send_master(socket: BorrowedFd<'_>, terminal: &Terminal) -> Result<(), Fault> {
    crate::sync::send_fd(socket, b"/dev/ptmx", terminal.master.as_fd()).call("send the terminal")
}
