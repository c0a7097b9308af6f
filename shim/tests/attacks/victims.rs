//! The processes that are attacked, and what hands in descriptors of them.

use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A process of the host, and what it has. It ends when its standard input does.
pub(crate) fn on_the_host(program: &Path, name: &str, uid: u32) -> (Child, String) {
    let mut child = Command::new(program)
        .args(["victim", &format!("name={name}"), "pages=1", "until=end"])
        .uid(uid)
        .gid(uid)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a victim");
    let mut told = String::new();
    let output = child.stdout.take().expect("a pipe");
    BufReader::new(output).read_line(&mut told).expect("what it has");
    (child, told)
}

/// Whoever connects gets a descriptor of the process.
#[expect(
    clippy::disallowed_methods,
    reason = "this test forks only to execute programs"
)]
pub(crate) fn hand_out(at: &Path, pid: u32) {
    let listener = UnixListener::bind(at).expect("bind");
    fs::set_permissions(at, Permissions::from_mode(0o777)).expect("chmod");
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("pidfd_open");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            send(&stream.expect("a connection"), &pidfd);
        }
    });
}

fn send(stream: &UnixStream, pidfd: &OwnedFd) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [pidfd.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let bytes = [std::io::IoSlice::new(b"x")];
    // One that asks for another reason hangs up.
    let _ = sendmsg(stream, &bytes, &mut control, SendFlags::NOSIGNAL);
}

/// Files of a process's control group, and what is above it: of version 1 where that has the controllers.
pub(crate) fn control_group(pid: u32) -> [(&'static str, PathBuf); 3] {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("control groups");
    let of = |controller: &str| {
        groups.lines().find_map(|line| {
            let (named, group) = line.split_once(':')?.1.split_once(':')?;
            (named == controller).then(|| group.trim_start_matches('/').to_owned())
        })
    };
    let (top, group) = match of("pids") {
        Some(group) => (Path::new("/sys/fs/cgroup/pids"), group),
        None => (Path::new("/sys/fs/cgroup"), of("").expect("a control group")),
    };
    let release = [top.join("release_agent"), top.join("cgroup.subtree_control")];
    let release = release.into_iter().find(|path| path.exists());
    [
        ("limit", top.join(group).join("cgroup.procs")),
        ("release", release.expect("the top of the control groups")),
        ("procs", top.join("cgroup.procs")),
    ]
}
