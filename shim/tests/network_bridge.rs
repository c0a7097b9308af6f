//! What a workload with `--network bridge` reaches: exactly what was allowed, refused quickly otherwise.

mod support;

use serde_json::json;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::bed::Bed;
use support::{events, eventually};

const BRIDGE: [&str; 2] = ["--network", "bridge"];

/// Prints one line for each of these.
fn ask(lines: &[&str]) -> String {
    lines.join("\n")
}

#[test]
fn exactly_what_is_allowed_is_reached() {
    let Some(bed) = Bed::new() else { return };
    let script = ask(&[
        "tcp 10.99.1.2 80",
        "tcp 10.99.2.2 80",
        "tcp fd99:1::2 443",
        "tcp fd99:2::2 443",
        "udp 10.99.1.2 5000",
        "udp 10.99.2.2 5000",
        "udp fd99:1::2 5000",
        "udp fd99:2::2 5000",
        // The host: its gateway address and the others.
        "tcp 10.209.0.1 22",
        "tcp 10.99.1.1 22",
        "tcp fe80::1%eth0 22",
        "tcp 203.0.113.1 80",
    ]);
    let options = ["--egress-allow", "10.99.1.2", "--egress-allow", "fd99:1::/64"];
    let log = bed.place.path("events");
    let log_option = ["--events", log.to_str().expect("UTF-8")];
    let began = Instant::now();
    let finished = bed.bash(&[&log_option[..], &options].concat(), &script);
    let took = began.elapsed();
    let told: Vec<&str> = finished.exits(0).lines().collect();
    assert_eq!(
        told,
        [
            "10.99.1.1",
            "refused",
            "fd99:1::1",
            "refused",
            "10.99.1.1",
            "denied",
            "fd99:1::1",
            "denied",
            "refused",
            "refused",
            "refused",
            "refused",
        ],
        "{finished:?}"
    );
    assert!(
        took < Duration::from_secs(10),
        "refusals are to be quick: {took:?}"
    );
    let denied = events(&log)
        .into_iter()
        .find(|event| event["event"] == "egress-denied");
    let denied = denied.expect("an event of what was refused");
    assert!(denied["packets"].as_u64() >= Some(8), "{denied}");
    for to in [
        "10.99.2.2:80/tcp",
        "[fd99:2::2]:443/tcp",
        "10.99.2.2:5000/udp",
        "203.0.113.1:80/tcp",
    ] {
        assert!(
            denied["destinations"]
                .as_array()
                .expect("a list")
                .contains(&json!(to)),
            "{denied}"
        );
    }
    assert!(finished.stderr.contains("egress refused"), "{finished:?}");
    bed.expect_clean();
}

#[test]
fn nothing_is_reached_by_default_and_the_strict_modes_check_that() {
    let Some(bed) = Bed::new() else { return };
    let script = ask(&[
        "tcp 10.99.1.2 80",
        "tcp fd99:1::2 80",
        "udp 10.99.1.2 5000",
        "cat /etc/resolv.conf",
        "udp 127.0.0.1 53",
    ]);
    for mode in ["agent", "strict-agent"] {
        let report = bed.place.path("report");
        let options = ["--mode", mode, "--report", report.to_str().expect("UTF-8")];
        let finished = bed.bash(&[&options[..], &BRIDGE].concat(), &script);
        let told: Vec<&str> = finished.exits(0).lines().collect();
        assert_eq!(told[..3], ["refused", "refused", "denied"], "{finished:?}");
        assert!(!finished.stdout.contains("nameserver"), "{finished:?}");
        assert_eq!(told.last(), Some(&"refused"), "{finished:?}");
        let text = std::fs::read_to_string(&report).expect("a report");
        assert!(text.contains("egress rules"), "{text}");
    }
    bed.expect_clean();
}

#[test]
fn ports_are_for_their_protocol_and_close_the_other() {
    let Some(bed) = Bed::new() else { return };
    let script = ask(&["tcp 10.99.1.2 80", "tcp 10.99.1.2 443", "udp 10.99.1.2 5000"]);
    let all = ["--egress-allow", "0.0.0.0/0"];
    let cases: [(&[&str], [&str; 3]); 3] = [
        (&[], ["10.99.1.1", "10.99.1.1", "10.99.1.1"]),
        (&["--egress-tcp-port", "443"], ["refused", "10.99.1.1", "denied"]),
        (
            &["--egress-udp-port", "5000"],
            ["refused", "refused", "10.99.1.1"],
        ),
    ];
    for (options, expected) in cases {
        let finished = bed.bash(&[&all[..], options].concat(), &script);
        let told: Vec<&str> = finished.exits(0).lines().collect();
        assert_eq!(told, expected, "{options:?} {finished:?}");
    }
    // Everything is the world, not the host: that has to be named.
    bed.host.within(|| {
        for address in ["10.99.1.1:7000", "[fd99:1::1]:7000"] {
            let listener = std::net::TcpListener::bind(address).expect("listen");
            std::thread::Builder::new()
                .spawn(move || while listener.accept().is_ok() {})
                .expect("a thread");
        }
    });
    let script = ask(&["tcp 10.99.1.1 7000", "tcp fd99:1::1 7000"]);
    let finished = bed.bash(
        &["--egress-allow", "0.0.0.0/0", "--egress-allow", "::/0"],
        &script,
    );
    assert_eq!(finished.exits(0), "refused\nrefused\n", "{finished:?}");
    let finished = bed.bash(
        &["--egress-allow", "10.99.1.1", "--egress-allow", "fd99:1::1"],
        &script,
    );
    assert_eq!(finished.exits(0), "silent\nsilent\n", "{finished:?}");
    bed.expect_clean();
}

#[test]
fn rules_links_and_raw_sockets_are_out_of_reach_with_every_capability() {
    let Some(bed) = Bed::new() else { return };
    let caps = bed.place.path("caps.toml");
    std::fs::write(&caps, "keep = [\"CAP_NET_ADMIN\", \"CAP_NET_RAW\"]\n").expect("write");
    let script = "import socket, subprocess
for family, kind, protocol in [(socket.AF_INET, socket.SOCK_RAW, 1), (socket.AF_INET6, socket.SOCK_RAW, 58), \
(socket.AF_INET, socket.SOCK_DGRAM, 1), (socket.AF_PACKET, socket.SOCK_RAW, 0)]:
    try:
        socket.socket(family, kind, protocol)
        print('open', family, kind)
    except OSError as error:
        print(error.errno)
for command in ['ip link set eth0 down', 'ip addr add 10.209.0.9/32 dev eth0', 'ip route add default via 10.209.0.1 metric 5', \
'ip link add dummy type veth']:
    print(subprocess.run(command.split(), capture_output=True).returncode != 0)
print(open('/proc/self/status').read().split('CapEff:')[1].split()[0])
";
    let caps = ["--user", "0", "--caps-policy", caps.to_str().expect("UTF-8")];
    let mut args = vec!["run"];
    args.extend(caps.iter().chain(&BRIDGE));
    args.extend(["--", "python3", "-c", script]);
    let finished = bed.nucleus(&args);
    let told: Vec<&str> = finished.exits(0).lines().collect();
    assert!(
        told[..4]
            .iter()
            .all(|errno| ["1", "13", "97", "38"].contains(errno)),
        "{finished:?}"
    );
    assert_eq!(told[4..8], ["True"; 4], "{finished:?}");
    assert_eq!(
        told[8], "0000000000003000",
        "the capabilities were there: {finished:?}"
    );
    bed.expect_clean();
}

#[test]
fn a_broker_is_all_that_is_reached_and_the_proxy_variables_name_it() {
    let Some(bed) = Bed::new() else { return };
    let script = ask(&[
        "tcp 10.99.1.2 8080",
        "tcp 10.99.1.2 80",
        "udp 10.99.1.2 8080",
        "echo $HTTPS_PROXY $no_such $http_proxy",
    ]);
    let broker = ["--credential-broker", "10.99.1.2:8080"];
    let finished = bed.bash(&broker, &script);
    let expected = "10.99.1.1\nrefused\ndenied\nhttp://10.99.1.2:8080 http://10.99.1.2:8080\n";
    assert_eq!(finished.exits(0), expected, "{finished:?}");
    let finished = bed.bash(
        &[&broker[..], &["--no-proxy-env"]].concat(),
        "echo [$HTTPS_PROXY$http_proxy]",
    );
    assert_eq!(finished.exits(0), "[]\n");
    bed.bash(
        &[
            &broker[..],
            &["--egress-allow", "10.0.0.0/8", "--dns", "10.99.1.2"],
        ]
        .concat(),
        "true",
    )
    .fails_with(&["egress-allow:", "dns:"]);
    bed.expect_clean();
}

#[test]
fn what_is_wrong_is_told_at_once() {
    let Some(bed) = Bed::new() else { return };
    let cases: [(&[&str], &[&str]); 7] = [
        (
            &["--network", "none", "--egress-allow", "10.0.0.0/8", "-p", "80:80"],
            &["egress-allow: nothing holds it with --network none", "publish:"],
        ),
        (
            &[
                "--network",
                "host",
                "--allow-host-network",
                "--egress-domain",
                "example.com",
            ],
            &["egress-domain: nothing holds it"],
        ),
        (
            &["--network", "gvisor-host", "--allow-host-network"],
            &["gvisor-host is for --runtime gvisor"],
        ),
        (
            &[
                "--network",
                "bridge",
                "--egress-tcp-port",
                "80",
                "--dns",
                "1.1.1.1",
            ],
            &["egress-tcp-port:", "dns:"],
        ),
        (
            &["--egress-allow", "10.0.0.1/8", "-p", "80"],
            &["the network is 10.0.0.0/8", "[IP:]HOST:INSIDE"],
        ),
        (
            &["--credential-broker", "127.0.0.1:80"],
            &["loopback is the sandbox's own"],
        ),
        (
            &["--network", "bridge", "--network-subnet", "10.99.0.0/16"],
            &["10.99.", "--network-subnet"],
        ),
    ];
    for (options, words) in cases {
        bed.bash(options, "true").fails_with(words);
    }
    bed.host
        .sh("mount -n --bind /dev/null $(command -v nft || echo /usr/sbin/nft)");
    bed.bash(&BRIDGE, "true").exits(0);
    bed.host.sh("umount -n $(command -v nft || echo /usr/sbin/nft)");
    bed.expect_clean();
}

#[test]
fn sandboxes_do_not_reach_each_other_and_addresses_run_out() {
    let Some(bed) = Bed::new() else { return };
    let log = bed.place.path("events");
    let server = "import socket\ns = socket.create_server(('', 7000))\nu = socket.create_server(('', 7001))\nprint('ready', flush=True)\nwhile True: s.accept()[0].send(b'inside\\n')";
    let log_option = log.to_str().expect("UTF-8");
    // Five addresses.
    let pool = ["--network-subnet", "10.7.0.0/29"];
    let mut args = vec![
        "run",
        "--detach",
        "--name",
        bed.place.name(),
        "--events",
        log_option,
        "-p",
        "127.0.0.1:9000:7000",
    ];
    args.extend(pool);
    args.extend(["--", "python3", "-c", server]);
    bed.nucleus(&args).exits(0);
    eventually("the server", || {
        bed.nucleus(&["logs", bed.place.name()]).stdout.contains("ready")
    });
    let network = events(&log)
        .into_iter()
        .find(|event| event["event"] == "network")
        .expect("an event");
    let (four, six) = (
        network["addresses"][0].as_str().expect("four"),
        network["addresses"][1].as_str().expect("six"),
    );
    // Allowed by its own rules, and still the other one has to publish it.
    let script = format!("tcp {four} 7000; tcp {six} 7000; tcp {four} 7001; tcp 10.7.0.1 9000");
    let finished = bed.bash(
        &[
            &pool[..],
            &["--egress-allow", "0.0.0.0/0", "--egress-allow", "::/0"],
        ]
        .concat(),
        &script,
    );
    for told in finished.exits(0).lines() {
        assert!(
            ["refused", "unreachable", "silent"].contains(&told),
            "{finished:?}"
        );
    }
    // The gateway can be named beside another sandbox, which has the same.
    let named = [&pool[..], &["--egress-allow", "10.7.0.1"]].concat();
    assert_eq!(bed.bash(&named, "tcp 10.7.0.1 1").exits(0), "refused\n");
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut args = vec!["run"];
        args.extend(pool);
        args.extend(["--network", "bridge", "--", "sh", "-c", "echo up; read x"]);
        let mut child = bed
            .command(&args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nucleus");
        let mut line = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().expect("stdout"), &mut line).expect("it is up");
        held.push(child);
    }
    bed.bash(&[&pool[..], &BRIDGE].concat(), "true")
        .fails_with(&["all 5 addresses of 10.7.0.0/29 are taken", "--network-subnet"]);
    for mut child in held {
        drop(child.stdin.take());
        assert!(child.wait().expect("wait").code().is_some());
    }
    bed.nucleus(&["rm", "--force", bed.place.name()]).exits(0);
    bed.expect_clean();
}

/// The file is readable whatever the caller's umask is, in place of the root's own; a link there leads to nothing outside.
#[test]
fn a_root_of_the_callers_gets_a_resolv_conf_in_place_of_its_own() {
    let Some(bed) = Bed::new() else { return };
    let root = bed.place.path("rootfs");
    support::make_root(&root, &["usr"]);
    for name in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name)).expect("symlink");
    }
    let (file, outside) = (root.join("etc/resolv.conf"), "/etc/passwd");
    std::fs::write(&file, "nameserver 192.0.2.53\n").expect("write");
    let (root, at) = (root.display().to_string(), bed.place.root().display().to_string());
    let run = |mode: &str| {
        let run = [
            "--root",
            &at,
            "run",
            "--mode",
            mode,
            "--rootfs",
            &root,
            "--volume",
            "/usr:/usr:ro",
        ];
        let mut command = bed.host.command("sh");
        command.args(["-c", "umask 077; exec \"$@\"", "sh", support::NUCLEUS]);
        command
            .args(run)
            .args(BRIDGE)
            .args(["--", "cat", "/etc/resolv.conf"]);
        support::Finished::from(command.output().expect("nucleus"))
    };
    for mode in ["agent", "strict-agent"] {
        assert_eq!(
            run(mode).exits(0),
            "# no name is permitted: --egress-domain\n",
            "{mode}"
        );
    }
    std::fs::remove_file(&file).expect("unlink");
    std::os::unix::fs::symlink(outside, &file).expect("symlink");
    let finished = run("strict-agent");
    assert!(
        finished.stderr.contains("No such file") && finished.stdout.is_empty(),
        "{finished:?}"
    );
    bed.expect_clean();
}
