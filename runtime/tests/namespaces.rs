//! Namespaces: new, joined by path, and shared between containers, with and without a user namespace. What
//! counts is what `/proc` says.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use support::{Host, eventually};

/// Prints each namespace as a line `pid pid:[4026531836]`.
const NAMES: &str =
    "for n in cgroup ipc mnt net pid time user uts; do echo $n $(readlink /proc/self/ns/$n); done";

fn shell(config: &mut Value, script: &str) {
    config["process"]["args"] = json!(["sh", "-c", script]);
}

fn namespaces(config: &mut Value) -> &mut Vec<Value> {
    config["linux"]["namespaces"].as_array_mut().expect("a list")
}

fn add_user_namespace(config: &mut Value) {
    namespaces(config).push(json!({"type": "user"}));
    map(config);
}

fn map(config: &mut Value) {
    for ids in ["uidMappings", "gidMappings"] {
        config["linux"][ids] = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    }
}

fn join(config: &mut Value, typ: &str, path: &str) {
    let namespaces = namespaces(config);
    namespaces.retain(|namespace| namespace["type"] != typ);
    namespaces.push(json!({"type": typ, "path": path}));
}

fn run(host: &Host, edit: impl FnOnce(&mut Value)) -> String {
    let bundle = host.bundle(edit);
    host.ok(&["run", "--bundle", bundle.path(), &host.id()])
}

/// The namespace of this name among the lines of [`NAMES`].
fn named<'a>(output: &'a str, name: &str) -> &'a str {
    let line = output
        .lines()
        .find(|line| line.split(' ').next() == Some(name))
        .unwrap_or_else(|| panic!("no {name} in {output}"));
    line.split(' ').nth(1).expect("a namespace")
}

fn own(name: &str) -> String {
    of(std::process::id(), name)
}

fn of(pid: u32, name: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/{name}")).expect("a namespace");
    link.to_str().expect("UTF-8").to_owned()
}

fn pid_of(host: &Host, id: &str) -> u32 {
    host.state(id)["pid"].as_u64().expect("a pid") as u32
}

/// A process in namespaces of its own, ended with the test.
struct Holder(Child);

impl Holder {
    fn new(options: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        command.args(options).args(["sleep", "1000"]).stdin(Stdio::null());
        let child = command.spawn().expect("start unshare");
        let pid = child.id();
        eventually("the holder has become sleep", || {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
        });
        Self(child)
    }

    fn path(&self, name: &str) -> String {
        format!("/proc/{}/ns/{name}", self.0.id())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const ALL_BUT_USER: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "uts"];

#[test]
fn every_namespace_can_be_new() {
    let Some(host) = Host::new() else { return };
    let output = run(&host, |config| {
        add_user_namespace(config);
        namespaces(config).push(json!({"type": "time"}));
        shell(config, NAMES);
    });
    for name in ALL_BUT_USER.iter().chain(&["user"]) {
        assert_ne!(named(&output, name), own(name), "{name}: {output}");
    }
}

#[test]
fn what_is_not_listed_is_the_hosts() {
    let Some(host) = Host::new() else { return };
    let output = run(&host, |config| {
        namespaces(config).retain(|namespace| namespace["type"] == "mount");
        config.as_object_mut().expect("an object").remove("hostname");
        shell(config, NAMES);
    });
    for name in ["cgroup", "ipc", "net", "pid", "time", "user", "uts"] {
        assert_eq!(named(&output, name), own(name), "{name}: {output}");
    }
    assert_ne!(named(&output, "mnt"), own("mnt"));
}

#[test]
fn a_user_namespace_maps_ids_and_grants_capabilities_inside() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| {
        add_user_namespace(config);
        shell(
            config,
            "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; id -u; touch /tmp/made; chown 7:8 /tmp/made",
        );
    });
    let rootfs = bundle.rootfs("tmp");
    std::os::unix::fs::chown(&rootfs, Some(100_000), Some(100_000)).expect("chown");
    let output = host.ok(&["run", "--bundle", bundle.path(), &host.id()]);
    let words: Vec<&str> = output.split_whitespace().collect();
    assert_eq!(
        words,
        ["0", "100000", "65536", "0", "100000", "65536", "allow", "0"]
    );
    let made = fs::metadata(bundle.rootfs("tmp/made")).expect("the file");
    assert_eq!((made.uid(), made.gid()), (100_007, 100_008));
}

#[test]
fn a_user_namespace_without_0_belongs_to_its_first_id() {
    let Some(host) = Host::new() else { return };
    let output = run(&host, |config| {
        add_user_namespace(config);
        for ids in ["uidMappings", "gidMappings"] {
            config["linux"][ids] = json!([{"containerID": 1000, "hostID": 101_000, "size": 10}]);
        }
        config["process"]["user"] = json!({"uid": 1001, "gid": 1002});
        shell(config, "id -u; id -g; stat -c %u /dev");
    });
    assert_eq!(output, "1001\n1002\n1000\n");
}

#[test]
fn limits_and_parameters_hold_in_a_user_namespace() {
    let Some(host) = Host::new() else { return };
    let output = run(&host, |config| {
        add_user_namespace(config);
        config["process"]["oomScoreAdj"] = json!(123);
        config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.shmmax": "12345"});
        shell(
            config,
            "cat /proc/self/oom_score_adj /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax",
        );
    });
    assert_eq!(output, "123\n1\n12345\n");
}

#[test]
fn devices_of_the_host_are_bound_in_a_user_namespace() {
    let Some(host) = Host::new() else { return };
    let output = run(&host, |config| {
        add_user_namespace(config);
        config["linux"]["devices"] = json!([
            {"type": "p", "path": "/dev/fifo", "fileMode": 0o640, "uid": 5, "gid": 6}
        ]);
        shell(
            config,
            "echo x > /dev/null && head -c 4 /dev/zero | wc -c; head -c 1 /dev/urandom | wc -c; \
             stat -c '%F %a %u %g' /dev/fifo; for d in null zero full random urandom tty; do \
             stat -c '%t:%T' /dev/$d; done",
        );
    });
    assert_eq!(output, "4\n1\nfifo 640 5 6\n1:3\n1:5\n1:7\n1:8\n1:9\n5:0\n");
}

#[test]
fn a_terminal_works_in_a_user_namespace_with_its_group() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| {
        add_user_namespace(config);
        config["process"]["terminal"] = json!(true);
        let options = config["mounts"][2]["options"].as_array_mut().expect("a list");
        options.push(json!("gid=5"));
        shell(
            config,
            "tty; stat -c '%u %g %a' $(tty); stat -L -c %t:%T /dev/console /dev/ptmx",
        );
    });
    let output = host.ok(&["run", "--bundle", bundle.path(), &host.id()]);
    let lines: Vec<&str> = output
        .lines()
        .map(|line| line.trim_matches(['\r', '\0', '\u{4}', '^', '@', 'D', '\u{8}']))
        .collect();
    assert_eq!(lines, ["/dev/pts/0", "0 5 620", "88:0", "5:2"], "{output}");
}

#[test]
fn a_group_that_is_not_mapped_is_named() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| {
        add_user_namespace(config);
        for ids in ["uidMappings", "gidMappings"] {
            config["linux"][ids] = json!([{"containerID": 0, "hostID": 100_000, "size": 1}]);
        }
        let options = config["mounts"][2]["options"].as_array_mut().expect("a list");
        options.push(json!("gid=5"));
    });
    let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!(run.code, 1, "{run}");
    let expected = "config.json: mounts[2] (/dev/pts): option gid=5: 5 has no gid mapping";
    assert!(run.stderr.contains(expected), "{run}");
}

#[test]
fn namespaces_are_joined_by_path() {
    let Some(host) = Host::new() else { return };
    let holder = Holder::new(&["--net", "--ipc", "--uts"]);
    for user in [false, true] {
        let output = run(&host, |config| {
            config.as_object_mut().expect("an object").remove("hostname");
            for (typ, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
                join(config, typ, &holder.path(name));
            }
            if user {
                add_user_namespace(config);
                // sysfs and mqueue belong to namespaces of the host here.
                config["mounts"][4] = json!({
                    "destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "ro"]
                });
            }
            shell(config, NAMES);
        });
        for name in ["net", "ipc", "uts"] {
            assert_eq!(named(&output, name), of(holder.0.id(), name), "{name}: {output}");
        }
        assert_ne!(named(&output, "pid"), own("pid"));
    }
}

#[test]
fn the_wrong_kind_of_namespace_is_refused() {
    let Some(host) = Host::new() else { return };
    for (typ, name) in [
        ("network", "ipc"),
        ("pid", "net"),
        ("user", "uts"),
        ("ipc", "user"),
    ] {
        let bundle = host.bundle(|config| {
            join(config, typ, &format!("/proc/self/ns/{name}"));
            map(config);
            if typ != "user" {
                let linux = config["linux"].as_object_mut().expect("an object");
                linux.remove("uidMappings");
                linux.remove("gidMappings");
            }
        });
        let id = host.id();
        let run = host.run(&["run", "--bundle", bundle.path(), &id]);
        assert_eq!(run.code, 1, "{run}");
        assert!(run.stderr.contains("EINVAL"), "{run}");
        assert_eq!(host.leftovers(&id), [""; 0]);
    }
}

#[test]
fn a_pid_namespace_is_shared_by_path() {
    let Some(host) = Host::new() else { return };
    let first = host.running(|_| {});
    let pid = pid_of(&host, &first);
    let output = run(&host, |config| {
        join(config, "pid", &format!("/proc/{pid}/ns/pid"));
        shell(
            config,
            &format!("{NAMES}; cat /proc/1/comm; test $$ != 1 && echo second"),
        );
    });
    assert_eq!(named(&output, "pid"), of(pid, "pid"));
    assert!(output.ends_with("sleep\nsecond\n"), "{output}");
    assert_eq!(host.state(&first)["status"], "running");
}

/// Two containers as in a pod: the second shares namespaces of the first, its user namespace among them.
fn pod(shared: &[(&str, &str)]) {
    let Some(host) = Host::new() else { return };
    let first = host.running(add_user_namespace);
    let pid = pid_of(&host, &first);
    let second = host.running(|config| {
        map(config);
        config["process"]["oomScoreAdj"] = json!(77);
        for (typ, name) in shared {
            join(config, typ, &format!("/proc/{pid}/ns/{name}"));
        }
    });
    let output = host.ok(&["exec", &second, "sh", "-c", NAMES]);
    let is_shared = |name: &str| shared.iter().any(|(_, shared)| *shared == name);
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let same = named(&output, name) == of(pid, name);
        assert_eq!(same, is_shared(name), "{name}: {output}");
        let init = of(pid_of(&host, &second), name);
        assert_eq!(
            named(&output, name),
            init,
            "exec is where the first process is: {name}"
        );
    }
    // The new namespaces belong to the user namespace: the container may change them.
    assert_eq!(host.ok(&["exec", &second, "hostname"]), "container\n");
    let second_pid = pid_of(&host, &second);
    let score = fs::read_to_string(format!("/proc/{second_pid}/oom_score_adj")).expect("a score");
    assert_eq!(score, "77\n");
    // It is the runtime's own child and nobody else's: no helper is left.
    host.ok(&["kill", &second, "KILL"]);
    eventually("the second container has stopped", || {
        host.state(&second)["status"] == "stopped"
    });
    assert_eq!(host.state(&first)["status"], "running");
}

#[test]
fn a_pod_shares_user_network_and_ipc_namespaces() {
    pod(&[("user", "user"), ("network", "net"), ("ipc", "ipc")]);
}

#[test]
fn a_pod_shares_its_pid_namespace_too() {
    pod(&[
        ("user", "user"),
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("pid", "pid"),
    ]);
}

#[test]
fn a_user_namespace_alone_is_joined() {
    pod(&[("user", "user")]);
}

#[test]
fn clocks_are_offset_with_and_without_a_user_namespace() {
    let Some(host) = Host::new() else { return };
    for user in [false, true] {
        let edit = |config: &mut Value| {
            if user {
                add_user_namespace(config);
            }
            namespaces(config).push(json!({"type": "time"}));
            config["linux"]["timeOffsets"] =
                json!({"boottime": {"secs": 1_000_000, "nanosecs": 5}, "monotonic": {"secs": -1}});
        };
        let id = host.running(|config| {
            edit(config);
            config["process"]["args"] = json!(["sleep", "1000"]);
        });
        let output = host.ok(&[
            "exec",
            &id,
            "sh",
            "-c",
            "cat /proc/self/timens_offsets /proc/uptime",
        ]);
        let words: Vec<&str> = output.split_whitespace().collect();
        assert_eq!(
            words[..6],
            ["monotonic", "-1", "0", "boottime", "1000000", "5"],
            "user namespace: {user}"
        );
        let uptime: f64 = words[6].parse().expect("a number");
        assert!(uptime > 1_000_000.0, "{output}");
        assert_ne!(of(pid_of(&host, &id), "time"), own("time"));
    }
}

#[test]
fn a_cgroup_namespace_has_the_containers_cgroup_as_its_root() {
    let Some(host) = Host::new() else { return };
    for user in [false, true] {
        let output = run(&host, |config| {
            if user {
                add_user_namespace(config);
            }
            shell(config, "cat /proc/self/cgroup");
        });
        assert!(!output.is_empty());
        assert!(output.lines().all(|line| line.ends_with(":/")), "{output}");
    }
}
