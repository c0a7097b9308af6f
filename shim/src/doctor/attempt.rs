//! What a shell cannot try: this program does, mounted into the sandbox.

use rustix::event::{PollFd, PollFlags, poll};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

/// How long a connection may take that nobody refuses.
const PATIENCE: Duration = Duration::from_secs(2);

/// An attempt, as `doctor --attempt` has it; its exit code tells whether it got through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// `connect:ADDRESS:PORT`.
    Connect(SocketAddr),
    /// `reach:ADDRESS:PORT`: to be served there, which may be a moment later.
    Reach(SocketAddr),
    /// `serve:PORT`: to serve whoever connects, until standard input ends. No attack, but the other side of one.
    Serve(u16),
    /// `root`: to run as root, by the set-user-ID bit of the program.
    Root,
}

impl std::str::FromStr for Attempt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("connect", to)) => to.parse().map(Self::Connect).map_err(|_| "no address".into()),
            Some(("reach", to)) => to.parse().map(Self::Reach).map_err(|_| "no address".into()),
            Some(("serve", port)) => port.parse().map(Self::Serve).map_err(|_| "no port".into()),
            None if text == "root" => Ok(Self::Root),
            _ => Err("connect:ADDRESS:PORT, reach:ADDRESS:PORT, serve:PORT or root".into()),
        }
    }
}

impl Attempt {
    /// Makes it.
    ///
    /// # Errors
    /// It was refused.
    pub fn make(self) -> io::Result<()> {
        match self {
            Self::Connect(to) => TcpStream::connect_timeout(&to, PATIENCE).map(drop),
            Self::Reach(to) => reach(to),
            Self::Serve(port) => serve(port),
            Self::Root if rustix::process::geteuid().is_root() => Ok(()),
            Self::Root => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

fn reach(to: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let served = || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read_exact(&mut [0; 1])
    };
    loop {
        match served() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            last => return last,
        }
    }
}

fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    let input = rustix::stdio::stdin();
    loop {
        let mut both = [
            PollFd::from_borrowed_fd(input, PollFlags::IN),
            PollFd::new(&listener, PollFlags::IN),
        ];
        poll(&mut both, None)?;
        if !both[0].revents().is_empty() {
            return Ok(());
        }
        // Whoever is gone already has not been served.
        let _ = listener.accept()?.0.write_all(b"s");
    }
}

/// What attempts are made with, on the host and at the same path in sandboxes.
#[derive(Debug)]
pub struct Means {
    /// A directory that everyone may write to.
    pub open: PathBuf,
    /// This program.
    pub program: PathBuf,
    /// The same, owned by root and with the set-user-ID bit: where the caller is root and a file system honours it.
    pub set_user_id: Option<PathBuf>,
    /// Something to connect to.
    pub listener: TcpListener,
    directories: Vec<PathBuf>,
}

impl Means {
    /// Makes all of that in the temporary directory.
    ///
    /// # Errors
    /// As mkdir(2), chmod(2) and listen(2).
    pub fn new() -> io::Result<Self> {
        let directory = own_directory(&std::env::temp_dir())?;
        let open = directory.join("open");
        fs::create_dir(&open)?;
        // Whoever the workload is on the host: nothing but the mount's flag keeps it from writing.
        fs::set_permissions(&open, PermissionsExt::from_mode(0o777))?;
        let mut means = Self {
            program: std::env::current_exe()?,
            open,
            set_user_id: None,
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
            directories: vec![directory],
        };
        if let Some(place) = rustix::process::geteuid().is_root().then(honouring).flatten() {
            let directory = own_directory(&place)?;
            let copy = directory.join("program");
            means.directories.push(directory);
            fs::copy(&means.program, &copy)?;
            chown(&copy, Some(0), Some(0))?;
            fs::set_permissions(&copy, PermissionsExt::from_mode(0o4755))?;
            means.set_user_id = Some(copy);
        }
        Ok(means)
    }

    /// Where reports are written.
    pub fn directory(&self) -> &Path {
        &self.directories[0]
    }
}

impl Drop for Means {
    fn drop(&mut self) {
        for directory in &self.directories {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

fn own_directory(place: &Path) -> io::Result<PathBuf> {
    let name = |number: u32| format!("nucleus-doctor-{}-{number}", std::process::id());
    let directory = (0..).map(|number| place.join(name(number)));
    let mut made = directory.map(|path| fs::create_dir(&path).map(|()| path));
    // A second one may be in the same place.
    made.find(|result| !matches!(result, Err(error) if error.kind() == io::ErrorKind::AlreadyExists))
        .unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()))
}

/// A place for everyone, on a file system that is not mounted `nosuid`.
fn honouring() -> Option<PathBuf> {
    let places = [std::env::temp_dir(), "/var/tmp".into()];
    places.into_iter().find(|place| {
        let mount = rustix::fs::statvfs(place);
        mount.is_ok_and(|mount| !mount.f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID))
    })
}
