//! slirp4netns(1): the way out of a user's network, as sockets of the user's own.

use super::{Error, Space, holder};
use crate::background::Background;
use crate::egress::Publish;
use crate::program::in_path;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long it may take until there is a way out.
const READY: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};
/// How long it may take to open a port.
const ANSWER: Duration = Duration::from_secs(5);

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
        published: &[Publish],
        directory: &Path,
    ) -> Result<Self, Error> {
        let program = in_path("slirp4netns").ok_or(Error::NoSlirp)?;
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
        if !published.is_empty() {
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
        for publish in published {
            open_port(publish, &socket)?;
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
        let watch = Background::start("slirp4netns", move |until| {
            let mut fds = [
                PollFd::new(&until, PollFlags::IN),
                PollFd::new(&pidfd, PollFlags::IN),
            ];
            let polled = rustix::io::retry_on_intr(|| poll(&mut fds, None));
            if polled.is_ok() && fds[0].revents().is_empty() {
                lost();
            }
        });
        watch.map(Watch).map_err(failed)
    }
}

/// A watch that ends when this is dropped.
#[derive(Debug)]
pub struct Watch(#[expect(dead_code, reason = "held until it is dropped")] Background);

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

/// Asks for a port of the host that leads in; `slirp4netns(1)`, "API SOCKET".
fn open_port(publish: &Publish, socket: &Path) -> Result<(), Error> {
    let Publish {
        address,
        host,
        inside,
        protocol,
    } = publish;
    let protocol = protocol.to_string();
    let address = address.map_or("0.0.0.0".into(), |address| address.to_string());
    let arguments = json!({"proto": protocol, "host_addr": address, "host_port": host, "guest_port": inside});
    let said = exchange(socket, &json!({"execute": "add_hostfwd", "arguments": arguments}));
    let said = said.map_err(Error::io("ask", socket))?;
    if said["return"].is_object() {
        return Ok(());
    }
    let why = said["error"]["desc"].as_str().unwrap_or("it gave no reason");
    Err(Error::Port {
        port: format!("{host}/{protocol}"),
        why: why.trim_start_matches("bad request: ").to_owned(),
    })
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
