//! What a service manager says through the environment: `NOTIFY_SOCKET`, `LISTEN_FDS`.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{Bundle, Finished, Host, PROGRAM, eventually, finish};

/// The program inside of the containers: this test binary, which is static. It sends what `SAY` holds, a message
/// after each `|`, to its `NOTIFY_SOCKET`, and with `STAY` it stays until it is killed.
#[test]
#[ignore = "the program inside of the containers, not a test"]
fn speaker() {
    let Ok(text) = std::env::var("SAY") else { return };
    let address = std::env::var("NOTIFY_SOCKET").expect("NOTIFY_SOCKET");
    let socket = UnixDatagram::unbound().expect("socket");
    for message in text.split('|') {
        socket.send_to(message.as_bytes(), &address).expect("send");
    }
    while std::env::var_os("STAY").is_some() {
        std::thread::park();
    }
}

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    address: String,
}

impl Manager {
    fn new(host: &Host) -> Self {
        let path = host.directory().join("manager.sock");
        let socket = UnixDatagram::bind(&path).expect("bind");
        Self::with(socket, path.to_str().expect("UTF-8").to_owned())
    }

    fn with(socket: UnixDatagram, address: String) -> Self {
        let patience = Some(Duration::from_secs(30));
        socket.set_read_timeout(patience).expect("a timeout");
        Self { socket, address }
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    fn is_silent(&self) -> bool {
        self.socket.set_nonblocking(true).expect("fcntl");
        let silent = self.socket.recv(&mut [0; 4096]).is_err();
        self.socket.set_nonblocking(false).expect("fcntl");
        silent
    }

    fn command(&self, host: &Host, args: &[&str]) -> Command {
        let mut command = host.command(args);
        command.env("NOTIFY_SOCKET", &self.address);
        command
    }

    fn ok(&self, host: &Host, args: &[&str]) -> Finished {
        let finished = finish(self.command(host, args));
        assert_eq!(finished.code, 0, "{finished}");
        finished
    }
}

/// A bundle whose program says these messages.
fn speaking(host: &Host, messages: &[&str], edit: impl FnOnce(&mut Value)) -> Bundle {
    let bundle = host.bundle(|config| {
        config["process"]["args"] = json!(["/bin/speaker", "speaker", "--exact", "--ignored", "--nocapture"]);
        let env = config["process"]["env"].as_array_mut().expect("a list");
        env.push(json!(format!("SAY={}", messages.join("|"))));
        edit(config);
    });
    let program = bundle.rootfs("/bin/speaker");
    fs::copy(std::env::current_exe().expect("this binary"), &program).expect("copy");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("chmod");
    bundle
}

fn add_env(config: &mut Value, entry: &str) {
    let env = config["process"]["env"].as_array_mut().expect("a list");
    env.push(json!(entry));
}

fn pid(host: &Host, id: &str) -> u64 {
    host.state(id)["pid"].as_u64().expect("a pid")
}

#[test]
fn readiness_is_passed_on_in_the_foreground_and_nothing_else() {
    let Some(host) = Host::new() else { return };
    let manager = Manager::new(&host);
    let messages = [
        "STATUS=warming up\nMAINPID=1",
        "FDSTORE=1",
        "NOTIFYACCESS=all\nREADY=1",
        "STOPPING=1",
    ];
    let bundle = speaking(&host, &messages, |_| {});
    manager.ok(&host, &["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!(manager.next(), "STATUS=warming up");
    assert_eq!(manager.next(), "READY=1");
    assert_eq!(manager.next(), "STOPPING=1");
    assert!(manager.is_silent());
}

#[test]
fn a_manager_may_have_an_abstract_address() {
    let Some(host) = Host::new() else { return };
    let name = format!("nucleus-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let socket = UnixDatagram::bind_addr(&address).expect("bind");
    let manager = Manager::with(socket, format!("@{name}"));
    let bundle = speaking(&host, &["READY=1"], |_| {});
    manager.ok(&host, &["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!(manager.next(), "READY=1");
}

#[test]
fn run_detached_returns_when_the_program_is_ready() {
    let Some(host) = Host::new() else { return };
    let manager = Manager::new(&host);
    let bundle = speaking(&host, &["STATUS=soon", "READY=1\nSTATUS=up"], |config| {
        add_env(config, "STAY=1");
    });
    let id = host.id();
    manager.ok(&host, &["run", "--detach", "--bundle", bundle.path(), &id]);
    assert_eq!(manager.next(), "STATUS=soon");
    assert_eq!(
        manager.next(),
        format!("MAINPID={}\nREADY=1\nSTATUS=up", pid(&host, &id))
    );
    assert_eq!(host.state(&id)["status"], "running");
}

#[test]
fn start_returns_when_the_program_is_ready() {
    let Some(host) = Host::new() else { return };
    let manager = Manager::new(&host);
    let bundle = speaking(&host, &["READY=1"], |config| {
        add_env(config, "STAY=1");
    });
    let id = host.id();
    manager.ok(&host, &["create", "--bundle", bundle.path(), &id]);
    assert!(manager.is_silent());
    manager.ok(&host, &["start", &id]);
    assert_eq!(manager.next(), format!("MAINPID={}\nREADY=1", pid(&host, &id)));
    host.ok(&["delete", "--force", &id]);
    assert_eq!(host.leftovers(&id), [""; 0]);
}

#[test]
fn while_start_waits_other_commands_work() {
    let Some(host) = Host::new() else { return };
    let manager = Manager::new(&host);
    let bundle = speaking(&host, &["STATUS=never ready"], |config| {
        add_env(config, "STAY=1");
    });
    let id = host.id();
    manager.ok(&host, &["create", "--bundle", bundle.path(), &id]);
    let mut start = manager.command(&host, &["start", &id]);
    let mut start = start.stdout(Stdio::null()).spawn().expect("start");
    assert_eq!(manager.next(), "STATUS=never ready");
    assert_eq!(host.state(&id)["status"], "running");
    assert!(start.try_wait().expect("wait").is_none(), "it waits for READY=1");
    host.ok(&["kill", &id, "KILL"]);
    assert!(
        start.wait().expect("wait").success(),
        "the end of the program ends it"
    );
    eventually("the container has stopped", || {
        host.state(&id)["status"] == "stopped"
    });
}

#[test]
fn a_user_of_a_user_namespace_reaches_the_socket_below_a_private_root() {
    let Some(host) = Host::new() else { return };
    let manager = Manager::new(&host);
    // Longer than the address of a socket can be, and nobody but root gets through.
    let root = host.directory().join("r".repeat(150));
    fs::create_dir(&root).expect("mkdir");
    fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).expect("chmod");
    host.set_root(&root);
    let bundle = speaking(&host, &["READY=1"], |config| {
        config["process"]["user"] = json!({"uid": 7, "gid": 8});
        config["linux"]["namespaces"]
            .as_array_mut()
            .expect("a list")
            .push(json!({"type": "user"}));
        for ids in ["uidMappings", "gidMappings"] {
            config["linux"][ids] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        }
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.push(json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs"}));
    });
    fs::create_dir(bundle.rootfs("run")).expect("mkdir");
    manager.ok(&host, &["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!(manager.next(), "READY=1");
}

#[test]
fn the_container_sees_a_read_only_directory_and_not_the_manager() {
    let Some(host) = Host::new() else { return };
    let manager = Manager::new(&host);
    let script = "echo $NOTIFY_SOCKET; ls /run/notify; touch /run/notify/x 2>/dev/null || echo read-only; \
                  grep -c notify /proc/self/mounts";
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["sh", "-c", script]));
    let run = manager.ok(&host, &["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!(run.stdout, "/run/notify/notify.sock\nnotify.sock\nread-only\n1\n");
    assert!(manager.is_silent(), "a program that says nothing is not ready");
}

#[test]
fn without_a_manager_there_is_no_socket() {
    let Some(host) = Host::new() else { return };
    let script = "echo ${NOTIFY_SOCKET-none}; ls /run 2>/dev/null || echo no /run";
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["sh", "-c", script]));
    assert_eq!(
        host.ok(&["run", "--bundle", bundle.path(), &host.id()]),
        "none\nno /run\n"
    );
}

#[test]
fn a_configuration_with_a_socket_of_its_own_keeps_it() {
    let Some(host) = Host::new() else { return };
    let manager = Manager::new(&host);
    let bundle = host.bundle(|config| {
        add_env(config, "NOTIFY_SOCKET=/own");
        config["process"]["args"] = json!([
            "sh",
            "-c",
            "env | grep NOTIFY; ls /run/notify 2>/dev/null || echo none"
        ]);
    });
    let run = manager.ok(&host, &["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!(run.stdout, "NOTIFY_SOCKET=/own\nnone\n");
}

#[test]
fn a_manager_that_is_gone_is_a_warning() {
    let Some(host) = Host::new() else { return };
    let bundle = speaking(&host, &["READY=1"], |_| {});
    let log = host.directory().join("log");
    let log = log.to_str().expect("UTF-8");
    let mut command = host.command(&["--log", log, "run", "--bundle", bundle.path(), &host.id()]);
    command.env("NOTIFY_SOCKET", host.directory().join("nobody"));
    let run = finish(command);
    assert_eq!(run.code, 0, "{run}");
    let log = fs::read_to_string(log).expect("the log");
    assert!(
        log.contains("send to NOTIFY_SOCKET") && log.contains("ENOENT"),
        "{log}"
    );
}

/// Runs the program with two open descriptors from 3 on, as a service manager with sockets does.
fn with_descriptors(host: &Host, variables: &str, args: &[&str]) -> Finished {
    let files: Vec<PathBuf> = ["first", "second"]
        .iter()
        .map(|name| host.directory().join(name))
        .collect();
    for file in &files {
        fs::write(file, file.file_name().expect("a name").as_encoded_bytes()).expect("write");
    }
    let script = format!("exec 3<\"$0\" 4<\"$1\"; shift; {variables}; exec \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-ec", &script])
        .args(&files)
        .arg(PROGRAM)
        .arg("--root")
        .arg(host.root());
    command.args(args).stdin(Stdio::null());
    finish(command)
}

const SHOW: &str =
    "cat <&3; echo; cat <&4; echo; echo $LISTEN_FDS $LISTEN_PID $$ $LISTEN_FDNAMES; ls /proc/self/fd | wc -l";

fn showing(host: &Host) -> Bundle {
    host.bundle(|config| config["process"]["args"] = json!(["sh", "-c", SHOW]))
}

#[test]
fn listening_sockets_are_passed_on_with_their_names() {
    let Some(host) = Host::new() else { return };
    let bundle = showing(&host);
    let variables = "export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:admin";
    let run = with_descriptors(&host, variables, &["run", "--bundle", bundle.path(), &host.id()]);
    // The standard streams, the two, and that of ls itself.
    assert_eq!(run.stdout, "first\nsecond\n2 1 1 web:admin\n6\n", "{run}");
}

#[test]
fn listening_sockets_are_for_the_id_that_the_program_has() {
    let Some(host) = Host::new() else { return };
    let variables = "export LISTEN_PID=$$ LISTEN_FDS=2";
    let show = ["sh", "-c", "echo $LISTEN_FDS $LISTEN_PID $$"];
    let is_own = |run: &support::Finished| {
        let words: Vec<&str> = run.stdout.split_whitespace().collect();
        assert_eq!(words.len(), 3, "{run}");
        assert_eq!((words[0], words[1]), ("2", words[2]), "{run}");
        assert_ne!(words[1], "1", "{run}");
    };
    let id = host.running(|_| {});
    let exec = with_descriptors(&host, variables, &[&["exec", &id][..], &show].concat());
    is_own(&exec);
    let bundle = host.bundle(|config| {
        config["process"]["args"] = json!(show);
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    let run = with_descriptors(&host, variables, &["run", "--bundle", bundle.path(), &host.id()]);
    is_own(&run);
}

#[test]
fn listening_sockets_of_another_process_are_not_ours() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| {
        let script = "echo ${LISTEN_FDS-none} ${LISTEN_FDNAMES-none}; ls /proc/self/fd | wc -l";
        config["process"]["args"] = json!(["sh", "-c", script]);
    });
    let variables = "export LISTEN_PID=1 LISTEN_FDS=2 LISTEN_FDNAMES=web:admin";
    let run = with_descriptors(&host, variables, &["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!(run.stdout, "none none\n4\n", "{run}");
}

#[test]
fn preserved_descriptors_come_after_the_sockets() {
    let Some(host) = Host::new() else { return };
    let bundle = showing(&host);
    let variables = "export LISTEN_PID=$$ LISTEN_FDS=1; unset LISTEN_FDNAMES";
    let args = [
        "run",
        "--preserve-fds",
        "1",
        "--bundle",
        bundle.path(),
        &host.id(),
    ];
    let run = with_descriptors(&host, variables, &args);
    assert_eq!(run.stdout, "first\nsecond\n1 1 1\n6\n", "{run}");
}

#[test]
fn sockets_that_are_not_open_are_refused() {
    let Some(host) = Host::new() else { return };
    let bundle = showing(&host);
    let variables = "export LISTEN_PID=$$ LISTEN_FDS=200";
    let id = host.id();
    let run = with_descriptors(&host, variables, &["run", "--bundle", bundle.path(), &id]);
    assert_eq!(run.code, 1, "{run}");
    assert!(
        run.stderr.contains("is to be preserved, but it is not open"),
        "{run}"
    );
    assert_eq!(host.leftovers(&id), [""; 0]);
}
