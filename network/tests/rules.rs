//! The rules that we send are those in the `.nft` files beside this: nft(8) lists the same, whoever loaded them.

use nucleus_network::egress::{Egress, Publish, network, publish};
use nucleus_network::host::Changed;
use nucleus_network::nftables::{self, Transaction};
use nucleus_network::pool::Pool;
use nucleus_network::{rules, table};
use nucleus_sys::clone::unshare;
use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

const CLONE_NEWNET: i32 = 0x4000_0000;
const INSIDE: &str = include_str!("inside.nft");
const USER: &str = include_str!("user.nft");
const HOST: &str = include_str!("host.nft");

/// Needs root and nft(8).
fn possible() -> bool {
    let root = rustix::process::geteuid().is_root();
    let nft = Command::new("nft")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !(root && nft) {
        assert!(
            std::env::var_os("NUCLEUS_TESTS_MUST_RUN").is_none(),
            "it needs root and nft"
        );
        println!("skipped: it needs root and nft");
    }
    root && nft
}

/// Does something in a network namespace of its own.
#[expect(
    clippy::disallowed_methods,
    reason = "a namespace is a thread's; nothing here forks but to execute"
)]
fn apart<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        unshare(CLONE_NEWNET).expect("a network namespace");
        act()
    });
    thread.join().expect("it has not failed")
}

fn nft(arguments: &[&str], text: &str) -> String {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("nft");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(text.as_bytes()).expect("write");
    drop(stdin);
    let output = child.wait_with_output().expect("nft");
    assert!(output.status.success(), "nft {arguments:?}: {text}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// As people see it, and each expression; without the numbers of rules, and elements sorted, which the kernel hashes.
fn listed() -> String {
    let text = nft(&["--debug=netlink", "list", "ruleset"], "");
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            [family, table, chain, _number, ..] if *table == "nucleus" && *chain != "{" => {
                lines.push(format!("{family} {table} {chain}"));
            }
            _ => lines.push(line.to_owned()),
        }
    }
    let is_element = |line: &String| line.starts_with("\telement");
    for elements in lines.chunk_by_mut(|one, next| is_element(one) && is_element(next)) {
        elements.sort();
    }
    lines.join("\n")
}

fn expect_same(text: &'static str, ours: Transaction) {
    let theirs = apart(move || {
        nft(&["-f", "-"], text);
        listed()
    });
    let ours = apart(|| {
        let mut socket = nftables::open().expect("a socket");
        ours.commit(&mut socket, "test").expect("the kernel takes it");
        listed()
    });
    assert!(theirs.contains("table inet nucleus"), "{theirs}");
    assert_eq!(ours, theirs);
}

fn egress(networks: &[&str]) -> Egress {
    Egress {
        networks: networks.iter().map(|text| network(text).expect(text)).collect(),
        ..Egress::default()
    }
}

fn published(texts: &[&str]) -> Vec<Publish> {
    texts.iter().map(|text| publish(text).expect(text)).collect()
}

#[test]
fn inside() {
    if !possible() {
        return;
    }
    let networks = ["192.0.2.0/24", "10.99.1.1", "192.0.3.0/25", "2001:db8::/32"];
    let published = published(&["8080:80", "8081:80", "53:53/udp", "54:54/udp"]);
    let some = Egress {
        tcp_ports: vec![443, 80, 443],
        ..egress(&networks)
    };
    let text: &str = INSIDE.replace("meta l4proto udp accept\n", "").leak();
    expect_same(text, rules::inside(&some, &published));
    let any = egress(&networks);
    let text: &str = INSIDE
        .replace("tcp dport { 80, 443 } accept", "meta l4proto tcp accept")
        .leak();
    expect_same(text, rules::inside(&any, &published));
    let text: &str = format!("{text}{USER}").leak();
    let mut all = rules::inside(&any, &published);
    let host = ["10.1.1.1", "10.2.2.2", "fd01::1"].map(|text| text.parse::<IpAddr>().expect(text));
    rules::without(&mut all, &host);
    expect_same(text, all);
}

#[test]
fn host() {
    if !possible() {
        return;
    }
    let ours = |changed| {
        let mut all = table::anew(changed);
        let of = Pool::default().addresses(0);
        let host = ["10.99.1.1".parse().expect("an address")].into();
        let published = published(&["8080:80", "[2001:db8::7]:8080:80/udp", "127.0.0.1:53:5353/udp"]);
        table::add(&mut all, &table::elements(&of, &published, &host));
        all
    };
    let changed = Changed {
        table: true,
        forward4: true,
        forward6: false,
    };
    expect_same(HOST, ours(changed));
    let text: &str = HOST
        .replace("meta nfproto ipv4 iifname", "meta nfproto ipv6 iifname")
        .leak();
    let changed = Changed {
        forward4: false,
        forward6: true,
        ..changed
    };
    expect_same(text, ours(changed));
}

/// Whole, by transaction: what is there stays as it is when something is refused.
#[test]
fn a_change_is_made_whole_or_not_at_all() {
    if !possible() {
        return;
    }
    apart(|| {
        let mut socket = nftables::open().expect("a socket");
        let names = |seconds| {
            let address = |text: &str| (text.parse().expect("an address"), Duration::from_secs(seconds));
            rules::admitted(&[address("192.0.2.1"), address("2001:db8::1")])
        };
        let error = names(60).commit(&mut socket, "admit").expect_err("no table");
        assert!(error.to_string().contains("element of names4"), "{error}");
        let inside = rules::inside(&egress(&["0.0.0.0/0", "::/0"]), &[]);
        inside.commit(&mut socket, "load").expect("loaded");
        let before = nftables::in_force(&mut socket).expect("read");
        // As they were made; and without what names bring.
        names(60).commit(&mut socket, "admit").expect("admitted");
        names(1000).commit(&mut socket, "admit").expect("admitted anew");
        assert_eq!(nftables::in_force(&mut socket).expect("read"), before);
        let listed = nft(&["list", "set", "inet", "nucleus", "names4"], "");
        assert!(listed.contains("192.0.2.1 timeout 16m40s"), "{listed}");
        // The world but for what clouds tell their machines, as two intervals of each family.
        let networks = nft(&["list", "set", "inet", "nucleus", "networks4"], "");
        for part in ["169.252.0.0/15", "169.255.0.0/16", "0.0.0.0/1"] {
            assert!(networks.contains(part), "{networks}");
        }
        assert!(!networks.contains("169.254"), "{networks}");
        let mut refused = Transaction::new();
        refused.delete_table();
        refused.chain("nowhere");
        let error = refused
            .commit(&mut socket, "change")
            .expect_err("no table for a chain");
        assert!(error.to_string().contains("change: chain nowhere"), "{error}");
        assert_eq!(nftables::in_force(&mut socket).expect("read"), before);
        nft(&["-f", "-"], "add rule inet nucleus output accept");
        assert_ne!(nftables::in_force(&mut socket).expect("read"), before);
    });
}

/// More than a socket sends at once, and more than an attribute holds.
#[test]
fn thousands_of_networks_are_loaded() {
    if !possible() {
        return;
    }
    let networks: Vec<String> = (0..6000u32)
        .map(|number| format!("10.{}.{}.0/25", number / 256, number % 256))
        .collect();
    let networks: Vec<&str> = networks.iter().map(String::as_str).collect();
    let ours = rules::inside(&egress(&networks), &[]);
    apart(|| {
        let mut socket = nftables::open().expect("a socket");
        ours.commit(&mut socket, "load").expect("loaded");
        let listed = nft(&["list", "set", "inet", "nucleus", "networks4"], "");
        assert_eq!(listed.matches(".0/25").count(), 6000);
    });
}

#[test]
fn chains_of_others_that_drop_what_is_forwarded_are_found() {
    if !possible() {
        return;
    }
    apart(|| {
        nft(
            &["-f", "-"],
            "table ip filter {
chain INPUT { type filter hook input priority filter; policy drop; }
chain FORWARD { type filter hook forward priority filter; policy drop; }
chain DOCKER-USER { }
}
table inet nucleus { chain forward { type filter hook forward priority filter; policy drop; }; }
table inet mine { chain f { type filter hook forward priority filter; policy accept; }; }
table inet yours { chain f { type filter hook forward priority filter; policy drop; iifname \"nucleus-*\" accept; }; }",
        );
        let mut socket = nftables::open().expect("a socket");
        let found = nftables::dropping(&mut socket).expect("read");
        let named: Vec<_> = found
            .iter()
            .map(|chain| (chain.family, chain.table.as_str()))
            .collect();
        assert_eq!(named, [("ip", "filter"), ("inet", "yours")]);
        let mut speaks = |chain: usize, name: &str| {
            nftables::speaks_of(&mut socket, &found[chain], name, "nucleus-").expect("read")
        };
        assert_eq!(speaks(0, "FORWARD"), Some(false));
        assert_eq!(speaks(0, "DOCKER-USER"), Some(false));
        assert_eq!(speaks(1, "DOCKER-USER"), None);
        assert_eq!(speaks(1, "f"), Some(true));
    });
}
