//! Every network mode, attacked from inside: what is refused, with which error, and that each attack works where it is
//! made on the host.

mod support;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Child, Stdio};
use support::bed::Bed;
use support::{Finished, events, installed};

/// What the attacks are after, besides the world of the bed.
struct Targets {
    bed: Bed,
    /// The address of another sandbox, which listens.
    other: String,
    servers: Vec<Child>,
}

const UNIX: &str = "import os, socket, time
os.makedirs('/run/dbus')
held = [socket.socket(socket.AF_UNIX) for _ in range(2)]
for one, path in zip(held, ('/run/docker.sock', '/run/dbus/system_bus_socket')):
    one.bind(path); one.listen()
time.sleep(1000)";
const DNS: &str = "import socket
by_tcp = socket.socket(); by_tcp.bind(('10.99.1.2', 53)); by_tcp.listen()
by_udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); by_udp.bind(('10.99.1.2', 53))
while True:
    text, asker = by_udp.recvfrom(512)
    by_udp.sendto(text, asker)";
const LISTEN: &str = "import socket
one = socket.socket(); one.bind(('', 7001)); one.listen()
while True: one.accept()";

impl Targets {
    fn new() -> Option<Self> {
        let bed = Bed::new()?;
        fs::set_permissions(bed.place.path(""), Permissions::from_mode(0o755)).expect("chmod");
        let programs = bed.place.path("programs");
        fs::create_dir(&programs).expect("mkdir");
        let probe = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probes/network_attacks.py");
        fs::copy(probe, programs.join("network_attacks.py")).expect("copy");
        let name = bed.place.name().to_owned();
        bed.host.within(move || listen_on_the_host(&name));
        bed.host.sh(support::CGROUPS_1);
        // As systemd has it.
        bed.host
            .sh("echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range");
        bed.world.sh("ip addr add 169.254.169.254/32 dev lo");
        bed.host.sh("ip route add 169.254.169.254 via 10.99.1.2");
        let servers = [(&bed.host, UNIX), (&bed.world, DNS)].map(|(space, script)| {
            let mut python = space.command("/usr/bin/python3");
            python.args(["-c", script]).stdout(Stdio::null());
            python.spawn().expect("python3")
        });
        let other = Self::other_sandbox(&bed);
        bed.host
            .sh("while [ ! -e /run/dbus/system_bus_socket ]; do sleep 0.05; done");
        Some(Self {
            bed,
            other,
            servers: servers.into(),
        })
    }

    fn other_sandbox(bed: &Bed) -> String {
        let log = bed.place.path("other");
        let told = ["--events", log.to_str().expect("UTF-8")];
        let name = format!("{}other", bed.place.name());
        let run = [
            "run",
            "--quiet",
            "--detach",
            "--network",
            "bridge",
            "--name",
            &name,
        ];
        let command = ["--", "/usr/bin/python3", "-c", LISTEN];
        bed.nucleus(&[&run[..], &told, &command].concat()).exits(0);
        let all = events(&log);
        let network = all.iter().find(|event| event["event"] == "network");
        let network = network.expect("an event of its network");
        network["addresses"][0].as_str().expect("an address").to_owned()
    }

    fn attack(&self, options: &[&str]) -> BTreeMap<String, i32> {
        let programs = self.bed.place.path("programs");
        let volume = format!("{}:/programs:ro", programs.display());
        let program = ["--", "/usr/bin/python3", "/programs/network_attacks.py"];
        let told = [&*self.other, self.bed.place.name()];
        let run = ["run", "--quiet", "--volume", &volume];
        answers(&self.bed.nucleus(&[&run[..], options, &program, &told].concat()))
    }

    /// As root of the host.
    fn outside(&self) -> BTreeMap<String, i32> {
        let probe = self.bed.place.path("programs/network_attacks.py");
        let mut python = self.bed.host.command("/usr/bin/python3");
        // The other sandbox is reached by nobody: its port is tried on the host.
        python.arg(probe).args(["10.99.1.1", self.bed.place.name()]);
        answers(&python.output().expect("python3").into())
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn listen_on_the_host(name: &str) {
    let address = SocketAddr::from_abstract_name(name).expect("a name");
    let local = UnixListener::bind_addr(&address).expect("bind");
    let listen = |address| TcpListener::bind(address).expect("bind");
    let listeners = ["10.99.1.1:7000", "[fd99:1::1]:7000", "10.99.1.1:7001"].map(listen);
    // As long as the test.
    std::mem::forget((local, listeners));
}

#[track_caller]
fn answers(finished: &Finished) -> BTreeMap<String, i32> {
    let lines = finished.exits(0).lines();
    let lines = lines.filter_map(|line| line.rsplit_once(' '));
    lines
        .map(|(name, errno)| (name.to_owned(), errno.parse().expect("a number")))
        .collect()
}

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const ENOSYS: i32 = 38;
const EAFNOSUPPORT: i32 = 97;
const EADDRNOTAVAIL: i32 = 99;
const ENETUNREACH: i32 = 101;
const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;
/// nft(8) cannot open its socket.
const NFT: i32 = 3;
/// What ip(8) exits with where the kernel, here gVisor's, refuses by another word.
const IP: i32 = 2;
/// A program failed by itself: there is no way out of a namespace without links.
const FAILED: i32 = 1;

/// An attack, and how it ends with no network, with a bridge, with a bridge when the seccomp profile refuses nothing and
/// the workload has the capabilities for networks in its user namespace, and under gVisor without and with a bridge.
/// Sockets of virtual machines (vsock(7)) are in no network: only the seccomp profile, or gVisor's kernel, keeps them off.
#[rustfmt::skip]
const ATTACKS: [(&str, [i32; 5]); 36] = [
    ("TCP", [ENETUNREACH, ECONNREFUSED, ECONNREFUSED, EHOSTUNREACH, ECONNREFUSED]),
    ("another address", [ENETUNREACH, ECONNREFUSED, ECONNREFUSED, EHOSTUNREACH, ECONNREFUSED]),
    ("another port", [ENETUNREACH, ECONNREFUSED, ECONNREFUSED, EHOSTUNREACH, ECONNREFUSED]),
    ("IPv6", [ENETUNREACH, ECONNREFUSED, ECONNREFUSED, EHOSTUNREACH, ECONNREFUSED]),
    ("mapped address", [ENETUNREACH, ECONNREFUSED, ECONNREFUSED, EHOSTUNREACH, ECONNREFUSED]),
    ("UDP", [ENETUNREACH, EPERM, EPERM, EHOSTUNREACH, EPERM]),
    ("UDP by IPv6", [ENETUNREACH, EPERM, EPERM, EHOSTUNREACH, EPERM]),
    ("fragments", [ENETUNREACH, EPERM, EPERM, EHOSTUNREACH, EPERM]),
    ("DNS", [ENETUNREACH, EPERM, EPERM, EHOSTUNREACH, EPERM]),
    ("DNS by TCP", [ENETUNREACH, ECONNREFUSED, ECONNREFUSED, EHOSTUNREACH, ECONNREFUSED]),
    ("metadata", [ENETUNREACH, ECONNREFUSED, ECONNREFUSED, EHOSTUNREACH, ECONNREFUSED]),
    ("the host", [ENETUNREACH, ECONNREFUSED, ECONNREFUSED, EHOSTUNREACH, ECONNREFUSED]),
    ("the host by IPv6", [ENETUNREACH, ECONNREFUSED, ECONNREFUSED, EHOSTUNREACH, ECONNREFUSED]),
    ("another sandbox", [ENETUNREACH, ECONNREFUSED, ECONNREFUSED, EHOSTUNREACH, ECONNREFUSED]),
    ("abstract socket of the host", [ECONNREFUSED; 5]),
    ("docker.sock", [ENOENT; 5]),
    ("system bus", [ENOENT; 5]),
    ("raw socket", [ENOSYS, ENOSYS, EPERM, EPERM, EPERM]),
    ("raw ICMPv6 socket, for router advertisements", [EPERM, EPERM, EPERM, EPERM, EAFNOSUPPORT]),
    ("packet socket", [ENOSYS, ENOSYS, EPERM, EPERM, EPERM]),
    ("flush the rules", [NFT, NFT, EPERM, EPERM, EPERM]),
    ("add an address", [EPERM, EPERM, EPERM, IP, IP]),
    ("spoofed source", [EPERM, EPERM, EPERM, EADDRNOTAVAIL, EADDRNOTAVAIL]),
    ("UDP-Lite", [ENOSYS, ENOSYS, EPERM, EPERM, EPERM]),
    ("UDP-Lite by IPv6", [ENOSYS, ENOSYS, EPERM, EPERM, EPERM]),
    ("MPTCP", [ENOSYS, ENOSYS, ECONNREFUSED, EPERM, EPERM]),
    ("ICMP", [EACCES, EACCES, EACCES, EHOSTUNREACH, EAFNOSUPPORT]),
    ("ICMPv6", [EACCES, EACCES, EACCES, EHOSTUNREACH, EAFNOSUPPORT]),
    ("multicast", [ENETUNREACH, EPERM, EPERM, ENETUNREACH, EPERM]),
    ("multicast by IPv6", [ENETUNREACH, EPERM, EPERM, ENETUNREACH, EPERM]),
    ("broadcast", [ENETUNREACH, EPERM, EPERM, ENETUNREACH, EPERM]),
    ("source route", [EPERM, EPERM, EPERM, EHOSTUNREACH, EPERM]),
    ("routing header", [ENETUNREACH, EPERM, EPERM, EHOSTUNREACH, EPERM]),
    ("socket of virtual machines", [ENOSYS, ENOSYS, 0, EPERM, EPERM]),
    ("XDP socket", [ENOSYS, ENOSYS, EPERM, EPERM, EPERM]),
    ("a namespace of its own", [FAILED; 5]),
];

#[track_caller]
fn expect(found: &BTreeMap<String, i32>, column: usize, otherwise: &[(&str, i32)]) {
    assert_eq!(found.len(), ATTACKS.len(), "{found:?}");
    let mut wrong = Vec::new();
    for (name, columns) in ATTACKS {
        let other = otherwise.iter().find(|(one, _)| *one == name);
        let expected = other.map_or(columns[column], |(_, errno)| *errno);
        if found.get(name) != Some(&expected) {
            wrong.push(format!("{name}: {:?}, expected {expected}", found.get(name)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_mode_refuses_what_was_not_allowed_and_the_host_does_not() {
    let Some(targets) = Targets::new() else { return };
    let place = &targets.bed.place;
    let (open, caps) = (place.path("open.json"), place.path("caps.toml"));
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"]}"#;
    fs::write(&open, profile).expect("write");
    fs::write(&caps, "keep = [\"CAP_NET_ADMIN\", \"CAP_NET_RAW\"]\n").expect("write");
    let (open, caps) = (open.display().to_string(), caps.display().to_string());
    let bridge = ["--network", "bridge"];
    let unguarded = ["--user", "0", "--seccomp-profile", &open, "--caps-policy", &caps];
    let one = ["--egress-allow", "10.99.1.2", "--egress-tcp-port", "80"];
    expect(&targets.attack(&[]), 0, &[]);
    expect(&targets.attack(&bridge), 1, &[]);
    expect(
        &targets.attack(&[&bridge[..], &["--mode", "strict-agent"]].concat()),
        1,
        &[],
    );
    expect(&targets.attack(&["--credential-broker", "10.99.1.2:443"]), 1, &[]);
    expect(&targets.attack(&[&bridge[..], &unguarded].concat()), 2, &[]);
    // What is allowed is reached, and nothing else is.
    expect(
        &targets.attack(&[&one[..], &unguarded].concat()),
        2,
        &[("TCP", 0)],
    );
    let production = support::production(&targets.bed.place);
    let production: Vec<&str> = production.iter().map(String::as_str).collect();
    expect(&targets.attack(&production), 0, &[]);
    for (allowed, reached) in [
        (&bridge[..], &[][..]),
        (&["--credential-broker", "10.99.1.2:8080"], &[("another port", 0)]),
        (&one, &[("TCP", 0)]),
    ] {
        expect(&targets.attack(&[&production[..], allowed].concat()), 1, reached);
    }
    for (name, runtime) in support::ENGINES.into_iter().filter(|(name, _)| installed(name)) {
        println!("{name}");
        expect(&targets.attack(&[&runtime[..], &bridge].concat()), 1, &[]);
        let reached = targets.attack(&[&runtime[..], &one, &unguarded].concat());
        expect(&reached, 2, &[("TCP", 0)]);
    }
    if installed("runsc") {
        let gvisor = ["--runtime", "gvisor", "--allow-degraded-security"];
        expect(&targets.attack(&gvisor), 3, &[]);
        expect(&targets.attack(&[&gvisor[..], &bridge].concat()), 4, &[]);
        expect(&targets.attack(&[&gvisor[..], &one].concat()), 4, &[("TCP", 0)]);
    }
    let all = ["--egress-allow", "0.0.0.0/0", "--egress-allow", "::/0"];
    let found = targets.attack(&all);
    // The world is everything but this host, its sandboxes, and what a cloud tells its machines.
    for (name, errno) in [
        ("TCP", 0),
        ("IPv6", 0),
        ("metadata", ECONNREFUSED),
        ("the host", ECONNREFUSED),
        ("the host by IPv6", ECONNREFUSED),
        ("another sandbox", ECONNREFUSED),
    ] {
        assert_eq!(found.get(name), Some(&errno), "{name}: {found:?}");
    }
    let name = format!("{}other", place.name());
    targets.bed.nucleus(&["rm", "--force", &name]).exits(0);
    assert_eq!(
        targets
            .bed
            .host
            .sh("nft list ruleset; ip -o link | grep nucleus || true"),
        ""
    );
    let found = targets.outside();
    let failed: Vec<_> = found.iter().filter(|(_, errno)| **errno != 0).collect();
    assert_eq!(
        failed.len(),
        1,
        "on the host only the one in a namespace of its own fails: {failed:?}"
    );
}

#[test]
fn gvisor_takes_the_network_that_was_made_with_each_command() {
    let Some(bed) = Bed::new() else { return };
    if !installed("runsc") {
        return;
    }
    let gvisor = ["--quiet", "--runtime", "gvisor", "--allow-degraded-security"];
    let allowed = ["--egress-allow", "10.99.1.2", "--egress-tcp-port", "80"];
    let log = bed.place.path("events");
    let told = ["--events", log.to_str().expect("UTF-8")];
    let ask = "tcp 10.99.1.2 80; tcp 10.99.1.2 443; tcp fd99:1::2 80; udp 10.99.1.2 5000";
    let answer = "10.99.1.1\nrefused\nrefused\ndenied\n";
    let options = [&gvisor[..], &allowed, &told].concat();
    assert_eq!(bed.bash(&options, ask).exits(0), answer);
    // What was refused is counted outside.
    let denied = events(&log)
        .into_iter()
        .find(|event| event["event"] == "egress-denied");
    assert!(denied.is_some_and(|event| event["packets"].as_u64() >= Some(3)));
    let name = bed.place.name();
    let detached = [
        &["run", "--detach", "--name", name][..],
        &gvisor,
        &allowed,
        &["--", "sleep", "1000"],
    ];
    bed.nucleus(&detached.concat()).exits(0);
    assert!(bed.nucleus(&["ps"]).exits(0).contains("running"));
    let script = format!("{}{ask}", support::bed::ASK);
    assert_eq!(
        bed.nucleus(&["exec", name, "bash", "-c", &script]).exits(0),
        answer
    );
    bed.nucleus(&["stop", "--timeout", "1s", name]).exits(0);
    bed.nucleus(&["rm", "--force", name]).exits(0);
    bed.expect_clean();
    // Nothing holds rules on the host's own network.
    let network = [
        "--network",
        "gvisor-host",
        "--allow-host-network",
        "--egress-allow",
        "10.99.1.2",
    ];
    bed.bash(&[&gvisor[..], &network].concat(), ask)
        .fails_with(&["egress-allow", "gvisor-host"]);
    let network = ["--network", "gvisor-host"];
    bed.bash(&[&gvisor[..], &network].concat(), ask)
        .fails_with(&["--allow-host-network"]);
    for network in [&network[..], &["--network", "bridge"]] {
        let strict = [
            "--quiet",
            "--mode",
            "strict-agent",
            "--runtime",
            "gvisor",
            "--allow-host-network",
        ];
        bed.bash(&[&strict[..], network].concat(), ask)
            .fails_with(&["user namespace"]);
    }
    bed.expect_clean();
}
