//! What else is configured on a host: routes that come from routers, and firewalls of others. Sandboxes leave both as
//! they are, and what is in their way is told together with what to do.

mod support;

use std::process::{Child, Stdio};
use support::bed::Bed;
use support::{eventually, installed};

/// A router in the world, until this is dropped.
struct Router(Child);

impl Router {
    fn new(bed: &Bed) -> Self {
        let probe = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/probes/advertise.py");
        let mut python = bed.world.command("/usr/bin/python3");
        python.args([probe, "outer"]).stdout(Stdio::null());
        Self(python.spawn().expect("python3"))
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const ALLOWED: [&str; 4] = ["--egress-allow", "10.99.1.2", "--egress-allow", "fd99:1::2"];
const ASK: &str = "tcp 10.99.1.2 80; tcp fd99:1::2 80";

/// A host that forwards forgets its routers, unless `accept_ra` is 2.
#[test]
fn a_host_keeps_the_default_route_that_a_router_gave_it() {
    let Some(bed) = Bed::new() else { return };
    let route = || bed.host.sh("ip -6 route show default");
    bed.host
        .sh("ip -6 route del default; echo 1 > /proc/sys/net/ipv6/conf/uplink/accept_ra");
    let _router = Router::new(&bed);
    eventually("the router's route", || route().contains("proto ra"));
    let finished = bed.bash(&ALLOWED, &format!("{ASK}; sleep 1"));
    let told: Vec<&str> = finished.exits(0).lines().collect();
    assert_eq!(told[0], "10.99.1.1");
    assert_ne!(told[1], "fd99:1::1", "nothing would forward it");
    for word in ["accept_ra=2", "net.ipv6.conf.all.forwarding=1", "IPv6"] {
        assert!(finished.stderr.contains(word), "{finished:?}");
    }
    assert!(route().contains("proto ra"), "the route was forgotten");
    bed.expect_clean();
    // The control: this is what forwarding does, and what the message says helps.
    let forward = "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
    bed.host.sh(forward);
    assert!(!route().contains("proto ra"), "the kernel has changed");
    bed.host.sh("echo 2 > /proc/sys/net/ipv6/conf/uplink/accept_ra");
    eventually("the router's route", || route().contains("proto ra"));
    let finished = bed.bash(&ALLOWED, ASK);
    assert_eq!(finished.exits(0), "10.99.1.1\nfd99:1::1\n");
    assert!(!finished.stderr.contains("accept_ra"), "{finished:?}");
    assert!(route().contains("proto ra"), "the route was forgotten");
    assert_eq!(bed.host.left(), "");
}

/// While sandboxes' packets are forwarded such a host hears no router: one that comes then is heard after the last.
#[test]
fn a_router_that_comes_later_is_heard_when_the_sandbox_is_gone() {
    let Some(bed) = Bed::new() else { return };
    let route = || bed.host.sh("ip -6 route show default");
    bed.host
        .sh("ip -6 route del default; echo 1 > /proc/sys/net/ipv6/conf/uplink/accept_ra");
    let name = bed.place.name();
    let run = ["run", "--quiet", "--detach", "--name", name];
    bed.nucleus(&[&run[..], &ALLOWED, &["--", "sleep", "1000"]].concat())
        .exits(0);
    let _router = Router::new(&bed);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(route(), "");
    bed.nucleus(&["rm", "--force", name]).exits(0);
    eventually("the router's route", || route().contains("proto ra"));
    bed.expect_clean();
}

/// Docker's chains, as dockerd makes them, without its rules for its own bridges; and a firewall that drops at the end.
const FIREWALLS: [(&str, &str); 3] = [
    ("policy", "-P FORWARD DROP"),
    (
        "docker",
        "-N DOCKER-USER; -N DOCKER; -N DOCKER-ISOLATION-STAGE-1; -P FORWARD DROP; -A FORWARD -j DOCKER-USER; \
         -A FORWARD -j DOCKER-ISOLATION-STAGE-1; -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; \
         -A FORWARD -o docker0 -j DOCKER; -A DOCKER-USER -j RETURN; -A DOCKER-ISOLATION-STAGE-1 -j RETURN",
    ),
    (
        "last rule",
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; -A FORWARD -j REJECT",
    ),
];

/// The old tables of the kernel, and those that `iptables` makes of nftables: seen, and what is told lets sandboxes out.
#[test]
fn a_firewall_of_iptables_or_docker_is_told_with_what_lets_sandboxes_out() {
    let Some(bed) = Bed::new() else { return };
    if !installed("iptables-legacy") || !installed("iptables-nft") {
        return;
    }
    for (kind, families) in [
        ("legacy", ["iptables-legacy", "ip6tables-legacy"]),
        ("nft", ["iptables-nft", "ip6tables-nft"]),
    ] {
        for (name, rules) in FIREWALLS {
            let what = format!("{name}, {kind}");
            for program in families {
                for rule in rules.split("; ") {
                    bed.host.sh(&format!("{program} {rule}"));
                }
            }
            let save = || {
                families
                    .map(|program| bed.host.sh(&format!("{program} -S")))
                    .concat()
            };
            let before = save();
            let finished = bed.bash(&ALLOWED, "timeout 1 bash -c '</dev/tcp/10.99.1.2/80' || echo out");
            assert_eq!(finished.exits(0), "out\n", "{what}");
            assert_eq!(save(), before, "{what}");
            // The chain that Docker leaves to administrators is the one to add to.
            let warnings = finished.stderr.lines().filter(|line| line.contains("firewall"));
            let remedies: Vec<&str> = warnings
                .filter_map(|line| line.split_once("to let it: "))
                .map(|two| two.1)
                .collect();
            assert_eq!(remedies.len(), 2, "{what}: {finished:?}");
            let chain = if name == "docker" {
                "DOCKER-USER"
            } else {
                "FORWARD"
            };
            for (remedy, program) in remedies.iter().zip(families) {
                // As Debian and others have it, these are the same.
                let program = program.trim_end_matches("-nft");
                assert!(
                    remedy.contains(&format!("{program} -I {chain} ")),
                    "{what}: {remedy}"
                );
                bed.host.sh(remedy);
            }
            let finished = bed.bash(&ALLOWED, ASK);
            assert_eq!(
                finished.exits(0),
                "10.99.1.1\nfd99:1::1\n",
                "{what}: {finished:?}"
            );
            assert!(!finished.stderr.contains("firewall"), "{what}: {finished:?}");
            for program in families {
                bed.host.sh(&format!(
                    "{program} -P FORWARD ACCEPT; {program} -F; {program} -X"
                ));
            }
        }
    }
}

/// firewalld's form: a chain that accepts by default, and rejects with its last rule.
#[test]
fn a_firewall_that_rejects_with_its_last_rule_is_told_with_what_lets_sandboxes_out() {
    let Some(bed) = Bed::new() else { return };
    bed.host.sh(
        "nft 'table inet firewalld { chain filter_FORWARD { type filter hook forward priority filter + 10; \
         ct state { established, related } accept; ct status dnat accept; iifname \"lo\" accept; \
         reject with icmpx admin-prohibited; }; }'",
    );
    let finished = bed.bash(&ALLOWED, "timeout 1 bash -c '</dev/tcp/10.99.1.2/80' || echo out");
    assert_eq!(finished.exits(0), "out\n");
    let remedy = finished
        .stderr
        .lines()
        .find_map(|line| line.split_once("to let it: "));
    let (told, remedy) = remedy.unwrap_or_else(|| panic!("{finished:?}"));
    assert!(
        told.contains("table inet firewalld, chain filter_FORWARD"),
        "{told}"
    );
    bed.host.sh(remedy);
    let finished = bed.bash(&ALLOWED, ASK);
    assert_eq!(finished.exits(0), "10.99.1.1\nfd99:1::1\n", "{finished:?}");
    assert!(!finished.stderr.contains("firewall"), "{finished:?}");
}

/// The program of the old tables is not there: what they hold is not known, and that is told.
#[test]
fn old_tables_that_cannot_be_read_are_told() {
    let Some(bed) = Bed::new() else { return };
    if !installed("iptables-legacy") {
        return;
    }
    bed.host.sh("iptables-legacy -P FORWARD DROP");
    // What it is a link to.
    bed.host
        .sh("mount -n --bind /dev/null $(realpath $(command -v iptables-legacy))");
    let finished = bed.bash(&ALLOWED, "timeout 1 bash -c '</dev/tcp/10.99.1.2/80' || echo out");
    assert_eq!(finished.exits(0), "out\n");
    for word in ["iptables-legacy", "cannot be read"] {
        assert!(finished.stderr.contains(word), "{finished:?}");
    }
}
