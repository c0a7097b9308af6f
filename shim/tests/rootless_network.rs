//! Networks of a user without rights: the same rules as root's, carried by slirp4netns.
//!
//! The user's `/dev/net/tun` is one of the test's own in the test host's mount namespace, writable for everyone as on
//! most hosts: some machines keep theirs from users.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::world::{PRIVATE, PUBLIC, PUBLIC6, SERVER, World, reach};
use support::{Finished, NUCLEUS, Place, events, eventually};

const UID: u32 = 54_322;
const REFUSED: &str = "ConnectionRefusedError [Errno 111] Connection refused";

struct Bed {
    /// Checked when it goes.
    _place: Place,
    world: World,
    home: PathBuf,
    nucleus: PathBuf,
}

impl Bed {
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn new() -> Option<Self> {
        let place = Place::new()?;
        let slirp = Command::new("slirp4netns")
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        if slirp.is_err() {
            assert!(
                std::env::var_os("NUCLEUS_TESTS_MUST_RUN").is_none(),
                "no slirp4netns"
            );
            eprintln!("skipped: no slirp4netns");
            return None;
        }
        fs::set_permissions(place.path(""), PermissionsExt::from_mode(0o755)).expect("chmod");
        let world = World::new(&place);
        world.set(&json!({
            "a.test": [["a.test", "A", 60, PUBLIC[0]]],
            "rebound.test": [["rebound.test", "A", 60, PRIVATE], ["rebound.test", "A", 60, "10.99.1.1"]],
        }));
        let (home, programs) = (place.path("home"), place.path("bin"));
        for directory in [&home, &programs] {
            fs::create_dir(directory).expect("mkdir");
        }
        chown(&home, Some(UID), Some(UID)).expect("chown");
        for program in ["nucleus", "nucleus-runtime"] {
            let from = Path::new(NUCLEUS).with_file_name(program);
            fs::copy(&from, programs.join(program)).expect("copy");
        }
        let nucleus = programs.join("nucleus");
        let bed = Self {
            _place: place,
            world,
            home,
            nucleus,
        };
        let script = "mount --no-mtab -t tmpfs -o mode=755 none /mnt && mknod -m 666 /mnt/tun c 10 200 && mount --no-mtab --bind /mnt/tun /dev/net/tun";
        let made = bed
            .world
            .in_host("sh", &["-c", script])
            .status()
            .expect("nsenter");
        assert!(made.success(), "no /dev/net/tun of its own");
        Some(bed)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.command_with("/usr/bin:/bin", arguments)
    }

    /// With a `PATH` of its own, which the commands before it do not have.
    fn command_with(&self, path: &str, arguments: &[&str]) -> Command {
        let id = UID.to_string();
        let user = ["--reuid", &id, "--regid", &id, "--clear-groups", "env"];
        let mut command = self.world.in_host("setpriv", &user);
        command
            .arg(format!("PATH={path}"))
            .arg(&self.nucleus)
            .args(arguments)
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", "/usr/bin:/bin")
            .env("XDG_RUNTIME_DIR", self.home.join("run"))
            .current_dir(&self.home);
        command
    }

    fn nucleus(&self, arguments: &[&str]) -> Finished {
        self.command(arguments).output().expect("start nucleus").into()
    }

    fn sh(&self, options: &[&str], script: &str) -> Finished {
        let mut arguments = vec!["run"];
        arguments.extend_from_slice(options);
        arguments.extend_from_slice(&["--", "sh", "-c", script]);
        self.nucleus(&arguments)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.join(name);
        fs::write(&path, text).expect("write");
        chown(&path, Some(UID), Some(UID)).expect("chown");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// The user's processes but for those of `nsenter`.
    fn processes(&self) -> Vec<String> {
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        let own = entries.filter(|entry| {
            let pid = entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.parse::<u32>().is_ok());
            pid && entry
                .metadata()
                .is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == UID)
        });
        own.map(|entry| {
            fs::read_to_string(entry.path().join("comm"))
                .unwrap_or_default()
                .trim()
                .to_owned()
        })
        .collect()
    }

    fn expect_nothing_left(&self) {
        eventually("the user has no process", || self.processes().is_empty());
        assert_eq!(self.world.left(), "");
        for directory in ["run/nucleus/sandboxes", "run/nucleus/runtime"] {
            let left = fs::read_dir(self.home.join(directory))
                .into_iter()
                .flatten()
                .flatten()
                .count();
            assert_eq!(left, 0, "{directory}");
        }
    }
}

/// One user's processes are looked at.
static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

macro_rules! bed {
    () => {{
        let guard = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(bed) = Bed::new() else { return };
        (bed, guard)
    }};
}

#[test]
fn a_user_reaches_what_is_permitted_and_nothing_else() {
    let (bed, _one) = bed!();
    let log = bed.file("events", "");
    let script = format!(
        "{}; {}; {}; {}; {}; {}",
        reach("a.test"),
        reach("other.test"),
        reach("rebound.test"),
        reach(PUBLIC[1]),
        reach("10.99.1.1"),
        reach("10.0.2.2"),
    );
    let options = [
        "--events",
        &log,
        "--egress-domain",
        "a.test",
        "--egress-domain",
        "rebound.test",
    ];
    let finished = bed.sh(&options, &script);
    let expected = [
        PUBLIC[0],
        "gaierror [Errno -2] Name or service not known",
        "gaierror [Errno -5] No address associated with hostname",
        REFUSED,
        REFUSED,
        REFUSED,
    ];
    assert_eq!(
        finished.exits(0).lines().collect::<Vec<_>>(),
        expected,
        "{finished:?}"
    );
    let asked = bed.world.asked();
    assert!(asked.iter().all(|line| !line.starts_with("other")), "{asked:?}");
    let events = events(Path::new(&log));
    for event in [
        "network",
        "name-resolved",
        "name-refused",
        "name-filtered",
        "egress-denied",
    ] {
        assert!(
            events.iter().any(|line| line["event"] == event),
            "{event}: {events:?}"
        );
    }
    // A network that holds the host's own address means it.
    let finished = bed.sh(
        &["--egress-allow", "203.0.113.0/24"],
        &(reach(PUBLIC[1]) + "; " + &reach(SERVER)),
    );
    assert_eq!(finished.exits(0), format!("{}\n{REFUSED}\n", PUBLIC[1]));
    for mode in ["strict-agent", "agent"] {
        let finished = bed.sh(&["--mode", mode, "--network", "bridge"], &reach(PUBLIC[0]));
        assert_eq!(finished.exits(0), format!("{REFUSED}\n"), "{mode}: {finished:?}");
    }
    bed.expect_nothing_left();
}

/// The rules are as they were promised when it is started, or it is not.
#[test]
fn a_created_sandbox_is_held_against_its_rules_at_the_start() {
    let (bed, _one) = bed!();
    let script = reach("a.test") + "; " + &reach(PUBLIC[1]);
    let create = [
        "create",
        "--mode",
        "strict-agent",
        "--name",
        "later",
        "--egress-domain",
        "a.test",
    ];
    for broken in [false, true] {
        bed.nucleus(&[&create[..], &["--", "sh", "-c", &script]].concat())
            .exits(0);
        if broken {
            let state: Value = serde_json::from_str(bed.nucleus(&["state", "later"]).exits(0)).expect("JSON");
            let pid = state["pid"].to_string();
            let flush = ["-t", &pid, "-n", "nft", "flush", "ruleset"];
            let flushed = bed.world.in_host("nsenter", &flush).status().expect("nsenter");
            assert!(flushed.success());
        }
        let started = bed.nucleus(&["start", "later"]);
        if broken {
            started.fails_with(&["egress rules: expected "]);
            bed.nucleus(&["logs", "later"])
                .fails_with(&["no sandbox with the name"]);
            continue;
        }
        started.exits(0);
        let expected = format!("{}\n{REFUSED}\n", PUBLIC[0]);
        eventually("its output", || {
            bed.nucleus(&["logs", "later"]).stdout == expected
        });
        bed.nucleus(&["rm", "--force", "later"]).exits(0);
    }
    bed.expect_nothing_left();
}

/// A workload with every system call and every capability of its own user namespace has none over its network.
#[test]
fn the_rules_cannot_be_changed_from_inside() {
    let (bed, _one) = bed!();
    let seccomp = bed.file("seccomp.json", r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
    let held = "[\"CAP_NET_ADMIN\", \"CAP_NET_RAW\", \"CAP_SYS_ADMIN\", \"CAP_SYS_PTRACE\"]";
    let sets = ["bounding", "permitted", "effective", "inheritable", "ambient"];
    let sets = sets.map(|set| format!("{set} = {held}\n")).concat();
    let capabilities = bed.file("capabilities.toml", &sets);
    let script = format!(
        "grep CapEff /proc/self/status
         for attack in 'nft flush ruleset' 'nft add table inet mine' 'ip link set eth0 down' 'ip addr add 10.1.1.1/8 dev lo' \
             'unshare -Urn true' 'nsenter --target 1 --net true'
         do $attack >/dev/null 2>/tmp/why && echo \"$attack\"; cat /tmp/why >&2; done
         python3 -c 'import socket
for kind in [(socket.AF_PACKET, socket.SOCK_RAW, 0), (socket.AF_INET, socket.SOCK_RAW, 1), (socket.AF_INET6, socket.SOCK_RAW, 58)]:
    try: socket.socket(*kind); print(\"open\", kind)
    except OSError as error: print(error.errno)
try: socket.socket().setsockopt(socket.SOL_SOCKET, 36, 1); print(\"marked\")
except OSError as error: print(error.errno)'
         {}",
        reach(PUBLIC[0]),
    );
    let options = [
        "--seccomp-profile",
        &seccomp,
        "--caps-policy",
        &capabilities,
        "--network",
        "bridge",
    ];
    let finished = bed.sh(&options, &script);
    let lines: Vec<&str> = finished.exits(0).lines().collect();
    assert!(
        lines[0].starts_with("CapEff:") && !lines[0].ends_with("0000000000000000"),
        "{finished:?}"
    );
    assert!(
        finished.stderr.matches("Operation not permitted").count() >= 4,
        "{finished:?}"
    );
    // A namespace of the workload's own below is none that leads out.
    let rest: Vec<&str> = lines[1..]
        .iter()
        .copied()
        .filter(|line| *line != "unshare -Urn true")
        .collect();
    assert_eq!(rest, ["1", "1", "1", "1", REFUSED], "{finished:?}");
    bed.expect_nothing_left();
}

#[test]
fn a_port_of_the_host_leads_in_and_one_that_is_taken_is_told() {
    let (bed, _one) = bed!();
    let ready = bed.home.join("shared");
    fs::create_dir(&ready).expect("mkdir");
    chown(&ready, Some(UID), Some(UID)).expect("chown");
    let volume = format!("{}:/shared", ready.display());
    let script = "touch /shared/ready; exec python3 -c 'import socket
s = socket.create_server((\"0.0.0.0\", 8000)); c, _ = s.accept(); c.sendall(b\"from inside\\n\"); c.close()'";
    let arguments = [
        "run",
        "--publish",
        "127.0.0.1:18080:8000",
        "--volume",
        &volume,
        "--",
        "sh",
        "-c",
        script,
    ];
    let run = bed
        .command(&arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start");
    eventually("the workload", || ready.join("ready").exists());
    bed.sh(&["--publish", "127.0.0.1:18080:1"], "true")
        .fails_with(&["publish: port 18080/tcp", "slirp4netns"]);
    let connect = "import socket, time
for _ in range(50):
    try:
        s = socket.create_connection((\"127.0.0.1\", 18080), 2); print(s.makefile().read(), end=\"\"); break
    except OSError: time.sleep(0.1)";
    let output = bed
        .world
        .in_host("python3", &["-c", connect])
        .output()
        .expect("python3");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "from inside\n");
    let finished: Finished = run.wait_with_output().expect("wait").into();
    finished.exits(0);
    bed.expect_nothing_left();
}

#[test]
fn nothing_stays_behind_whoever_is_killed() {
    let (bed, _one) = bed!();
    let log = bed.file("events", "");
    let ready = bed.home.join("ready");
    let shared = format!("{}:/shared", bed.home.display());
    let wait = format!(
        "touch /shared/ready; while [ ! -e /shared/go ]; do sleep 0.1; done; {}",
        reach(PUBLIC[0])
    );
    let arguments = [
        "run",
        "--events",
        &log,
        "--egress-allow",
        PUBLIC[0],
        "--volume",
        &shared,
        "--",
        "sh",
        "-c",
        &wait,
    ];
    // nucleus: the rest goes with it.
    let mut run = bed
        .command(&arguments)
        .stdin(Stdio::null())
        .spawn()
        .expect("start");
    eventually("the workload", || ready.exists());
    assert!(bed.processes().iter().any(|name| name == "slirp4netns"));
    run.kill().expect("kill");
    run.wait().expect("wait");
    bed.nucleus(&["run", "--", "true"]).exits(0);
    bed.expect_nothing_left();
    // slirp4netns: the workload loses its network, and that is told.
    fs::remove_file(&ready).expect("remove");
    let run = bed
        .command(&arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("start");
    eventually("the workload", || ready.exists());
    let killed = Command::new("pkill")
        .args(["-KILL", "-u", &UID.to_string(), "slirp4netns"])
        .status();
    assert!(killed.expect("pkill").success());
    eventually("the event", || {
        events(Path::new(&log))
            .iter()
            .any(|line| line["event"] == "network-lost")
    });
    fs::write(bed.home.join("go"), "").expect("write");
    let finished: Finished = run.wait_with_output().expect("wait").into();
    assert!(!finished.exits(0).contains(PUBLIC[0]), "{finished:?}");
    bed.expect_nothing_left();
}

#[test]
fn a_detached_sandbox_of_a_user_has_its_network_as_long_as_it_runs() {
    let (bed, _one) = bed!();
    let name = "usersnetwork";
    let start = [
        "run",
        "--detach",
        "--name",
        name,
        "--egress-domain",
        "a.test",
        "--",
        "sleep",
        "1000",
    ];
    bed.nucleus(&start).exits(0);
    let processes = bed.processes();
    assert!(
        processes.iter().any(|name| name == "slirp4netns"),
        "{processes:?}"
    );
    for _ in 0..2 {
        let finished = bed.nucleus(&["exec", name, "sh", "-c", &reach("a.test")]);
        assert_eq!(finished.exits(0), format!("{}\n", PUBLIC[0]));
    }
    let state: Value = serde_json::from_str(bed.nucleus(&["state", name]).exits(0)).expect("JSON");
    assert_eq!(state["status"], "running");
    bed.nucleus(&["stop", "--timeout", "1s", name]).exits(0);
    bed.nucleus(&["rm", "--force", name]).exits(0);
    bed.expect_nothing_left();
}

#[test]
fn doctor_tries_a_users_network_and_tells_what_it_lacks() {
    let (bed, _one) = bed!();
    let outcomes = |finished: Finished| {
        let found: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"));
        let all = found["findings"].as_array().expect("findings").clone();
        let of = |name: &str| all.iter().find(|one| one["name"] == name).cloned();
        ["network rules", "network forwarding"].map(|name| of(name).unwrap_or_default())
    };
    for finding in outcomes(bed.nucleus(&["doctor", "--json"])) {
        assert_eq!(finding["outcome"], "holds", "{finding}");
    }
    bed.expect_nothing_left();
    let programs = bed.home.join("programs");
    fs::create_dir(&programs).expect("mkdir");
    std::os::unix::fs::symlink("/bin/sh", programs.join("sh")).expect("symlink");
    let mut command = bed.command_with(programs.to_str().expect("UTF-8"), &["doctor", "--json"]);
    let [rules, forwarding] = outcomes(command.output().expect("start").into());
    assert_eq!(
        (&rules["outcome"], forwarding),
        (&json!("missing"), Value::Null),
        "{rules}"
    );
    let detail = rules["detail"].as_str().expect("a detail");
    assert!(detail.contains("needs slirp4netns"), "{rules}");
    bed.expect_nothing_left();
}

/// There is no IPv6 in it: what asks for some is refused, and what is tried fails at once.
#[test]
fn a_users_network_has_no_version_6_and_says_so() {
    let (bed, _one) = bed!();
    let began = std::time::Instant::now();
    let finished = bed.sh(
        &["--egress-allow", "0.0.0.0/0"],
        &(reach(PUBLIC6) + "; " + &reach(PUBLIC[0])),
    );
    let told: Vec<&str> = finished.exits(0).lines().collect();
    assert!(
        ["ConnectionRefusedError", "OSError"]
            .iter()
            .any(|error| told[0].starts_with(error)),
        "{finished:?}"
    );
    assert_eq!(told[1], PUBLIC[0], "{finished:?}");
    assert!(
        began.elapsed() < std::time::Duration::from_secs(10),
        "{finished:?}"
    );
    for (option, word) in [
        ("--egress-allow", "2001:db8::/32"),
        ("--egress-allow", "::/0"),
        ("--credential-broker", "[2001:db8::1]:3128"),
        ("--publish", "[fd99:1::1]:18080:80"),
    ] {
        let expected = [&option[2..], word, "without root there is IPv4 alone"];
        bed.sh(&[option, word], "true").fails_with(&expected);
    }
    bed.expect_nothing_left();
}

#[test]
fn what_a_user_lacks_for_a_network_is_told() {
    let (bed, _one) = bed!();
    let mut command = bed.command_with("/nowhere", &["run", "--network", "bridge", "--", "true"]);
    let finished: Finished = command.output().expect("start").into();
    finished.fails_with(&["needs slirp4netns", "install it"]);
    // pasta does not stand in for it.
    let programs = bed.home.join("programs");
    fs::create_dir(&programs).expect("mkdir");
    fs::write(programs.join("pasta"), "").expect("write");
    let path = programs.to_str().expect("UTF-8");
    let mut command = bed.command_with(path, &["run", "--network", "bridge", "--", "true"]);
    let finished: Finished = command.output().expect("start").into();
    finished.fails_with(&["needs slirp4netns", "pasta is not supported"]);
    let script =
        "umount --no-mtab /dev/net/tun && chmod 600 /mnt/tun && mount --no-mtab --bind /mnt/tun /dev/net/tun";
    bed.world
        .in_host("sh", &["-c", script])
        .status()
        .expect("nsenter");
    bed.sh(&["--network", "bridge"], "true")
        .fails_with(&["slirp4netns", "/dev/net/tun", "mode 0666"]);
    bed.sh(&["--network-subnet", "10.1.0.0/16"], "true")
        .fails_with(&["network-subnet", "without root"]);
    bed.expect_nothing_left();
}
