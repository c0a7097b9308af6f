//! slirp4netns(1): the way out of a user's network, as sockets of the user's own.

use super::{Error, Space, holder};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long it may take until there is a way out.
const READY: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};
/// How long it may take to open a port.
const ANSWER: Duration = Duration::from_secs(5);

/// A port of the host that leads in.
#[derive(Debug, Clone, Copy)]
pub struct Forward {
    /// Whether it is of UDP.
    pub udp: bool,
    /// The host's address; every one without.
    pub address: Option<IpAddr>,
    /// The host's port.
    pub host: u16,
    /// The port inside.
    pub inside: u16,
}

/// slirp4netns at work. It ends when this is dropped, and when this process dies.
#[derive(Debug)]
pub struct Slirp {
    child: Child,
    /// It ends when this is closed.
    _exit: OwnedFd,
}

impl Slirp {
    /// Connects a network with the world, through an interface of this name. It reaches no loopback of the host, and
    /// its own DNS is off. `directory`: where its log and, with ports, its socket are.
    ///
    /// # Errors
    /// There is no such program, it fails, or a port cannot be had.
    pub fn start(
        space: &Space,
        interface: &str,
        forwards: &[Forward],
        directory: &Path,
    ) -> Result<Self, Error> {
        let program = find().ok_or(Error::NoSlirp)?;
        let path = directory.join("slirp4netns.log");
        let log = File::create(&path).map_err(Error::io("create", &path))?;
        let pair = || {
            pipe_with(PipeFlags::CLOEXEC).map_err(|errno| Error::io("pipe for", "slirp4netns")(errno.into()))
        };
        let (ready, ready_there) = pair()?;
        let (exit_there, exit) = pair()?;
        let stand_in = holder::StandIn::start(space)?;
        let mut command = Command::new(program);
        command
            .args([
                "--configure",
                "--mtu=65520",
                "--disable-host-loopback",
                "--disable-dns",
            ])
            .args(["--enable-sandbox", "--enable-seccomp"])
            .arg(format!("--ready-fd={}", ready_there.as_raw_fd()))
            .arg(format!("--exit-fd={}", exit_there.as_raw_fd()));
        let socket = directory.join("slirp4netns.sock");
        if !forwards.is_empty() {
            command.arg("--api-socket").arg(&socket);
        }
        command
            .arg(stand_in.id().to_string())
            .arg(interface)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(Error::io("dup", &path))?)
            .stderr(log)
            // The terminal's signals are for the workload.
            .process_group(0);
        for fd in [&ready_there, &exit_there] {
            fcntl_setfd(fd, FdFlags::empty())
                .map_err(|errno| Error::io("fcntl", "slirp4netns")(errno.into()))?;
        }
        let child = command.spawn().map_err(Error::io("start", "slirp4netns"))?;
        drop((ready_there, exit_there));
        let mut slirp = Self { child, _exit: exit };
        slirp.wait_until_ready(&ready, &path)?;
        for forward in forwards {
            forward.open(&socket)?;
        }
        Ok(slirp)
    }

    fn wait_until_ready(&mut self, ready: &OwnedFd, log: &Path) -> Result<(), Error> {
        let mut fds = [PollFd::new(ready, PollFlags::IN)];
        let polled = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&READY)));
        let mut byte = [0; 1];
        if polled.is_ok_and(|ready| ready > 0) && rustix::io::read(ready, &mut byte) == Ok(1) {
            return Ok(());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let said = text
            .lines()
            .rfind(|line| is_a_reason(line))
            .unwrap_or("it gave no reason");
        let remedy = if text.contains("/dev/net/tun") {
            ": it opens /dev/net/tun, which every user may on most hosts (mode 0666)"
        } else {
            ""
        };
        Err(Error::Slirp(format!("{said}{remedy}")))
    }

    /// Tells when it has ended by itself, from a thread of its own.
    ///
    /// # Errors
    /// As pidfd_open(2), pipe(2) and clone(2).
    pub fn watch(&self, lost: impl FnOnce() + Send + 'static) -> Result<Watch, Error> {
        let failed = |error| Error::io("watch", "slirp4netns")(error);
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| failed(std::io::ErrorKind::InvalidData.into()))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| failed(errno.into()))?;
        let (until, stop) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
        let thread = std::thread::Builder::new()
            .name("slirp4netns".into())
            .spawn(move || {
                nucleus_sys::signal::block_all();
                let mut fds = [
                    PollFd::new(&until, PollFlags::IN),
                    PollFd::new(&pidfd, PollFlags::IN),
                ];
                let polled = rustix::io::retry_on_intr(|| poll(&mut fds, None));
                if polled.is_ok() && fds[0].revents().is_empty() {
                    lost();
                }
            });
        Ok(Watch {
            stop: Some(stop),
            thread: Some(thread.map_err(failed)?),
        })
    }
}

/// A watch that ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Slirp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_a_reason(line: &str) -> bool {
    !line.is_empty()
        && !line.starts_with("WARNING")
        && !line.starts_with('*')
        && !matches!(line, "child failed(1)" | "parent failed")
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join("slirp4netns"))
        .find(|program| program.is_file())
}

impl Forward {
    /// Asks for the port; `slirp4netns(1)`, "API SOCKET".
    fn open(&self, socket: &Path) -> Result<(), Error> {
        let protocol = if self.udp { "udp" } else { "tcp" };
        let mut arguments = json!({"proto": protocol, "host_port": self.host, "guest_port": self.inside});
        arguments["host_addr"] = json!(
            self.address
                .map_or("0.0.0.0".into(), |address| address.to_string())
        );
        let said = exchange(socket, &json!({"execute": "add_hostfwd", "arguments": arguments}));
        let said = said.map_err(Error::io("ask", socket))?;
        if said["return"].is_object() {
            return Ok(());
        }
        let why = said["error"]["desc"].as_str().unwrap_or("it gave no reason");
        Err(Error::Port {
            port: format!("{}/{protocol}", self.host),
            why: why.trim_start_matches("bad request: ").to_owned(),
        })
    }
}

fn exchange(socket: &Path, request: &Value) -> std::io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(request.to_string().as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    stream.take(64 << 10).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}
