//! `linux.netDevices`, with veth pairs in a network namespace of the test's own.

mod support;

use serde_json::{Value, json};
use std::process::{Command, Stdio};
use support::{Finished, Host, PROGRAM, finish};

/// Makes a pair of devices: `outer` stays, `moved` is for the container.
const PAIR: &str = "
    ip link add outer type veth peer name moved
    ip address add 10.9.8.7/24 broadcast 10.9.8.255 dev moved
    ip address add 10.9.8.8/24 dev moved
    ip address add fd00:9::7/64 dev moved nodad
    ip link set moved mtu 1400 up
    ip link set outer up
";

/// Runs a script in a new network namespace, with the program's command line as `$@`.
fn in_network_namespace(host: &Host, script: &str, arguments: &[&str]) -> Finished {
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-ec", script, "sh", PROGRAM, "--root"]);
    command.arg(host.root()).args(arguments).stdin(Stdio::null());
    finish(command)
}

fn host() -> Option<Host> {
    let host = Host::new()?;
    let made = in_network_namespace(&host, PAIR, &[]);
    if made.code != 0 {
        support::lacking(&format!("veth devices (ip from iproute2): {made}"));
        return None;
    }
    Some(host)
}

fn show_devices(config: &mut Value, devices: Value) {
    config["process"]["args"] = json!(["/bin/busybox", "ip", "address"]);
    config["linux"]["netDevices"] = devices;
}

#[test]
fn a_device_moves_with_its_addresses_under_a_new_name() {
    let Some(host) = host() else { return };
    let bundle = host.bundle(|config| show_devices(config, json!({"moved": {"name": "eth0"}})));
    let id = host.id();
    let script = format!("{PAIR}\n\"$@\"\necho after\nip -o link");
    let run = in_network_namespace(&host, &script, &["run", "--bundle", bundle.path(), &id]);
    assert_eq!(run.code, 0, "{run}");
    let (inside, after) = run.stdout.split_once("after\n").expect("both halves");
    for expected in [
        "eth0@",
        "mtu 1400",
        "UP,LOWER_UP",
        "inet 10.9.8.7/24 brd 10.9.8.255",
        "inet 10.9.8.8/24",
        "inet6 fd00:9::7/64 scope global",
        "lo: <LOOPBACK,UP",
    ] {
        assert!(inside.contains(expected), "{expected}: {run}");
    }
    assert!(!inside.contains("moved"), "{run}");
    assert!(!after.contains("moved"), "{run}");
}

#[test]
fn a_device_moves_into_the_namespace_of_a_user_namespace() {
    let Some(host) = host() else { return };
    let bundle = host.bundle(|config| {
        show_devices(config, json!({"moved": {}}));
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.push(json!({"type": "user"}));
    });
    let id = host.id();
    let script = format!("{PAIR}\n\"$@\"");
    let run = in_network_namespace(&host, &script, &["run", "--bundle", bundle.path(), &id]);
    assert!(run.stdout.contains("inet 10.9.8.7/24"), "{run}");
}

#[test]
fn the_kernel_fills_in_a_template() {
    let Some(host) = host() else { return };
    let bundle = host.bundle(|config| {
        show_devices(
            config,
            json!({"moved": {"name": "net%d"}, "outer": {"name": "net%d"}}),
        );
    });
    let id = host.id();
    let script = format!("{PAIR}\n\"$@\"");
    let run = in_network_namespace(&host, &script, &["run", "--bundle", bundle.path(), &id]);
    assert_eq!(run.code, 0, "{run}");
    assert!(
        run.stdout.contains("net0@") && run.stdout.contains("net1@"),
        "{run}"
    );
}

/// Runs what must fail, and shows that devices and addresses are the same before and after.
fn fails_and_changes_nothing(devices: &Value, edit: impl FnOnce(&mut Value), expected: &str) {
    let Some(host) = host() else { return };
    let bundle = host.bundle(|config| {
        show_devices(config, devices.clone());
        edit(config);
    });
    let id = host.id();
    // Without numbers, states and generated addresses, which change when a device moves there and back.
    let script = format!(
        "{PAIR}
        look() {{ ip -o address | grep -v fe80 | tr -s ' ' | cut -d ' ' -f 2-5 | sort; }}
        before=$(look); code=0; \"$@\" || code=$?; after=$(look)
        [ \"$before\" = \"$after\" ] || {{ echo \"before: $before after: $after\"; exit 99; }}
        exit $code"
    );
    let run = in_network_namespace(&host, &script, &["run", "--bundle", bundle.path(), &id]);
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains(expected), "{expected}: {run}");
    assert_eq!(host.leftovers(&id), [""; 0]);
}

#[test]
fn a_missing_device_moves_none() {
    fails_and_changes_nothing(
        &json!({"moved": {}, "nothere": {}}),
        |_| {},
        "nothere: RTM_GETLINK: no such device (ENODEV)",
    );
}

#[test]
fn two_devices_cannot_have_one_name() {
    fails_and_changes_nothing(
        &json!({"moved": {"name": "eth0"}, "outer": {"name": "eth0"}}),
        |_| {},
        "two devices are to be named \"eth0\"",
    );
}

#[test]
fn a_name_that_is_taken_moves_none() {
    fails_and_changes_nothing(
        &json!({"moved": {"name": "lo"}}),
        |_| {},
        "moved: the container's network namespace has a device lo already: file exists (EEXIST)",
    );
}

#[test]
fn a_later_failure_moves_the_devices_back() {
    fails_and_changes_nothing(
        &json!({"moved": {"name": "eth0"}, "outer": {}}),
        |config| config["process"]["args"] = json!(["no-such-program"]),
        "executable file not found",
    );
}

#[test]
fn loopback_stays() {
    fails_and_changes_nothing(
        &json!({"lo": {"name": "lo1"}}),
        |_| {},
        "lo: RTM_SETLINK: invalid argument (EINVAL)",
    );
}

#[test]
fn names_that_no_device_can_have_are_refused() {
    let Some(host) = Host::new() else { return };
    for name in [
        "sixteen-letters-",
        "a/b",
        "a b",
        "a:b",
        "..",
        "%s",
        "a%d%d",
        "100%",
        &"n".repeat(70_000),
    ] {
        let bundle = host.bundle(|config| show_devices(config, json!({"moved": {"name": name}})));
        let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
        assert_eq!(run.code, 1, "{name}");
        assert!(run.stderr.contains("is not an interface name"), "{run}");
    }
}

#[test]
fn the_host_network_takes_no_devices() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| {
        show_devices(config, json!({"moved": {}}));
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.retain(|namespace| namespace["type"] != "network");
    });
    let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains("linux.netDevices: needs"), "{run}");
}
