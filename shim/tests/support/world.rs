//! A host of the test's own with a world behind it: two network namespaces, joined by a link. In the world are servers
//! of DNS and of TCP; the host has nothing but `nucleus`. Processes hold them, so that nothing stays behind.

use super::bed::{Space, expect_to_go};
use super::{Place, eventually};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command};

/// The world, seen from the host.
pub const SERVER: &str = "10.99.1.2";
/// Addresses of the world that are public, and what is there says its own address to whoever connects to port 80.
pub const PUBLIC: [&str; 3] = ["203.0.113.1", "203.0.113.2", "203.0.113.3"];
/// The same of version 6.
pub const PUBLIC6: &str = "2001:db8:1::1";
/// An address of the world that is private: a name may not resolve to it.
pub const PRIVATE: &str = "10.99.2.2";

/// Both namespaces and the servers.
pub struct World {
    /// Until the namespaces go.
    _world: Space,
    host: Space,
    servers: Child,
    zone: PathBuf,
    asked: PathBuf,
}

/// A shell's words that connect to port 80 of something, and print what is there.
pub fn reach(what: &str) -> String {
    format!(
        "python3 - {what} <<'E'\n{}E\ntrue",
        include_str!("../probes/reach.py")
    )
}

impl World {
    /// Makes them. Names have no addresses yet.
    pub fn new(place: &Place) -> Self {
        let (world, host) = (Space::new(), Space::new());
        let (zone, asked) = (place.path("zone.json"), place.path("asked"));
        std::fs::write(&zone, "{}").expect("write");
        std::fs::write(&asked, "").expect("write");
        let script = place.path("servers.py");
        std::fs::write(&script, include_str!("../probes/servers.py")).expect("write");
        let number = world.id().to_string();
        let setup = format!(
            "ip link add up0 type veth peer name down0 netns {number}
             ip addr add 10.99.1.1/24 dev up0; ip -6 addr add fd99:1::1/64 dev up0 nodad; ip link set up0 up
             ip route add default via {SERVER}; ip -6 route add default via fd99:1::2
             echo nameserver {SERVER} > {resolv}; mount --no-mtab --bind {resolv} /etc/resolv.conf",
            resolv = place.path("resolv.conf").display(),
        );
        let inner: String = PUBLIC
            .iter()
            .chain(&[PRIVATE, SERVER])
            .map(|address| format!("ip addr add {address}/32 dev lo; "))
            .collect();
        let answer = format!(
            "ip link set down0 up; ip addr add {SERVER}/24 dev down0; {inner}
             ip -6 addr add fd99:1::2/64 dev down0 nodad; ip -6 addr add {PUBLIC6}/128 dev lo
             sysctl -qw net.ipv4.ip_forward=1; ip route add 10.0.0.0/8 via 10.99.1.1; ip -6 route add fc00::/7 via fd99:1::1"
        );
        host.sh(&setup);
        world.sh(&answer);
        let servers = world
            .command("python3")
            .arg(script)
            .args([&zone, &asked])
            .spawn()
            .expect("python3");
        let made = Self {
            _world: world,
            host,
            servers,
            zone,
            asked,
        };
        eventually("the servers", || {
            let connect =
                format!("import socket; [socket.create_connection(('{SERVER}', p), 1) for p in (53, 80)]");
            let output = made.in_host("python3", &["-c", &connect]).output();
            output.is_ok_and(|output| output.status.success())
        });
        made.forget();
        made
    }

    /// A command on the host.
    pub fn in_host(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.host.command(program);
        command.args(arguments);
        command
    }

    /// `nucleus` on the host.
    pub fn nucleus(&self, place: &Place, arguments: &[&str]) -> Command {
        let mut command = self.host.command(super::NUCLEUS);
        command.arg("--root").arg(place.root()).args(arguments);
        command
    }

    /// Gives names their records: each `[owner, type, seconds, value]`. What the world has is this alone.
    pub fn set(&self, zone: &Value) {
        let new = self.zone.with_extension("new");
        std::fs::write(&new, zone.to_string()).expect("write");
        std::fs::rename(new, &self.zone).expect("rename");
    }

    /// What the world's server was asked: name, type and transport in a line.
    pub fn asked(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.asked).expect("read");
        text.lines().map(str::to_owned).collect()
    }

    /// Forgets that.
    pub fn forget(&self) {
        std::fs::write(&self.asked, "").expect("write");
    }

    /// What of a sandbox is on the host, and any link but its own two.
    pub fn left(&self) -> String {
        let links = "ip -o link | grep -v -e ': lo:' -e ': up0' || true";
        self.host.sh(links) + &self.host.left()
    }

    /// Nothing of one stays.
    #[track_caller]
    pub fn expect_nothing_left(&self) {
        expect_to_go(|| self.left());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.servers.kill();
        let _ = self.servers.wait();
    }
}
