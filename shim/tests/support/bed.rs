//! Three network namespaces: the *world*, with servers; the *host*, where `nucleus` runs and which forwards between;
//! and the sandbox that it makes. Nothing outside of them is touched, and `/run` in the host is private too.
//!
//! The world is 10.99.1.2 and 10.99.2.2, fd99:1::2 and fd99:2::2; the host 10.99.1.1 and so on, which is also what the
//! world sees of a sandbox. TCP ports 80, 443 and 8080 there tell the caller its address; UDP port 5000 answers too.

use super::{Finished, NUCLEUS, Place, eventually, installed};
use nucleus_sys::clone::setns;
use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CLONE_NEWNET: i32 = 0x4000_0000;
/// TCP ports of the world.
pub const PORTS: [u16; 3] = [80, 443, 8080];
/// UDP port of the world.
pub const UDP: u16 = 5000;

/// A network namespace that is there as long as this.
pub struct Space {
    child: Child,
}

impl Space {
    /// With loopback up, and with a `/run` of its own.
    pub fn new() -> Self {
        let child = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "sh", "-c"])
            .arg("mount -t tmpfs tmpfs /run && ip link set lo up && exec sleep 1000")
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare");
        let space = Self { child };
        let command = format!("/proc/{}/comm", space.child.id());
        eventually("a namespace", || {
            std::fs::read_to_string(&command).is_ok_and(|name| name == "sleep\n")
        });
        space
    }

    /// The process that holds it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its network namespace.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.child.id()))
    }

    /// A command in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.child.id().to_string(), "--net", "--mount", "--"])
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// Runs a shell script in it, and returns what it printed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let output = self.command("sh").args(["-ec", script]).output().expect("sh");
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What of sandboxes is there: links, routes, rules, files. crun makes `/run/crun` for itself, whatever its root is;
    /// the directory of ranges of ids stays, what is in it does not.
    pub fn left(&self) -> String {
        self.sh(
            "ip -o link | grep nucleus || true; ip route | grep nucleus || true; ip -6 route | grep nucleus || true
             nft list ruleset; find /run -mindepth 1 -not -path /run/crun -not -path /run/nucleus -not -path /run/nucleus/ids",
        )
    }

    /// Does something in it, in a thread that stays there.
    pub fn within(&self, act: impl FnOnce() + Send + 'static) {
        let namespace = File::open(self.path()).expect("a namespace");
        let (ready, done) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .spawn(move || {
                setns(namespace.as_fd(), CLONE_NEWNET).expect("setns");
                act();
                let _ = ready.send(());
            })
            .expect("a thread");
        done.recv().expect("it was done");
    }
}

/// What is left on a host goes: links after the call that ended their sandbox.
#[track_caller]
pub fn expect_to_go(left: impl Fn() -> String) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !left().is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(left(), "", "left on the host");
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All of it.
pub struct Bed {
    pub place: Place,
    pub host: Space,
    pub world: Space,
    forwarding: String,
}

impl Bed {
    /// `None`, with the reason printed, where it cannot be.
    pub fn new() -> Option<Self> {
        let place = Place::new()?;
        if !["ip", "nft", "nsenter", "bash"]
            .iter()
            .all(|program| installed(program) || sbin(program))
        {
            return None;
        }
        let (host, world) = (Space::new(), Space::new());
        host.sh(&format!(
            "ip link add uplink type veth peer name outer netns {}
             for n in 1 2; do ip addr add 10.99.$n.1/24 dev uplink; ip addr add fd99:$n::1/64 dev uplink nodad; done
             ip link set uplink up",
            world.id()
        ));
        world.sh(
            "for n in 1 2; do ip addr add 10.99.$n.2/24 dev outer; ip addr add fd99:$n::2/64 dev outer nodad; done
             ip link set outer up",
        );
        host.sh("ip route add default via 10.99.1.2; ip -6 route add default via fd99:1::2");
        world.within(serve);
        let forwarding = host.sh(FORWARDING);
        Some(Self {
            place,
            host,
            world,
            forwarding,
        })
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.host.command(NUCLEUS);
        command.arg("--root").arg(self.place.root()).args(args);
        command
    }

    pub fn nucleus(&self, args: &[&str]) -> Finished {
        self.command(args).output().expect("nucleus").into()
    }

    /// `nucleus run OPTIONS -- bash -c SCRIPT`, with the words of [`ASK`].
    pub fn bash(&self, options: &[&str], script: &str) -> Finished {
        let script = format!("{ASK}{script}");
        let mut args = vec!["run"];
        args.extend_from_slice(options);
        args.extend_from_slice(&["--", "bash", "-c", &script]);
        self.nucleus(&args)
    }

    /// Nothing of a sandbox's network is on the host, and nothing of the host is changed.
    #[track_caller]
    pub fn expect_clean(&self) {
        expect_to_go(|| self.host.left());
        assert_eq!(self.host.sh(FORWARDING), self.forwarding, "forwarding");
    }
}

const FORWARDING: &str = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding";

/// `tcp HOST PORT` and `udp HOST PORT` print what the other side says, or `refused`, `denied`, `silent`.
pub const ASK: &str = "say() { case \"$1\" in *refused*) echo refused;; *permitted*) echo denied;; *nreachable*) echo \
unreachable;; '') echo silent;; *) echo \"$1\";; esac; }
tcp() { say \"$(timeout 5 bash -c \"exec 3<>/dev/tcp/$1/$2 && cat <&3\" 2>&1)\"; }
udp() { say \"$(timeout 2 bash -c \"exec 3<>/dev/udp/$1/$2 && echo x >&3 && timeout 1 head -n 1 <&3\" 2>&1)\"; }
";

fn sbin(program: &str) -> bool {
    PathBuf::from("/usr/sbin").join(program).is_file()
}

fn told(peer: SocketAddr) -> String {
    let address = match peer.ip() {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(IpAddr::V6(six), IpAddr::V4),
        four => four,
    };
    format!("{address}\n")
}

fn serve() {
    for port in PORTS {
        let listener = TcpListener::bind(("::", port)).expect("listen");
        thread(move || {
            for mut stream in listener.incoming().flatten() {
                if let Ok(peer) = stream.peer_addr() {
                    let _ = stream.write_all(told(peer).as_bytes());
                }
            }
        });
    }
    let socket = UdpSocket::bind(("::", UDP)).expect("bind");
    thread(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(told(peer).as_bytes(), peer);
        }
    });
}

fn thread(act: impl FnOnce() + Send + 'static) {
    drop(std::thread::Builder::new().spawn(act).expect("a thread"));
}
