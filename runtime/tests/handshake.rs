//! `run --info-fd --block-fd`: a caller looks at the container before its program's first instruction.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::{Bundle, Finished, Host, eventually, finish, probe};

const USER: u32 = 12_345;

/// A `run` that stands at the block, as a shell's descriptors 3 (a file) and 4 (a FIFO).
struct Blocked {
    child: Child,
    /// Closing it is the end of file.
    go: fs::File,
    info: PathBuf,
    output: PathBuf,
}

impl Blocked {
    fn start(host: &Host, bundle: &Bundle, options: &[&str], id: &str) -> Self {
        let file = |name: &str| bundle.file(name);
        let made = Command::new("mkfifo").arg(file("go")).status();
        assert!(made.expect("mkfifo").success());
        let mut args = vec![
            "run",
            "--info-fd",
            "3",
            "--block-fd",
            "4",
            "--bundle",
            bundle.path(),
        ];
        args.extend_from_slice(options);
        args.push(id);
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$@\" 3>info 4<go", "sh"])
            .arg(support::program())
            .arg("--root")
            .arg(host.root())
            .args(&args)
            .current_dir(bundle.path())
            .stdin(Stdio::null())
            .stdout(fs::File::create(file("output")).expect("a file"))
            .stderr(fs::File::create(file("errors")).expect("a file"));
        let child = command.spawn().expect("start the runtime");
        let go = fs::OpenOptions::new().write(true).open(file("go"));
        let blocked = Self {
            child,
            go: go.expect("open the FIFO"),
            info: file("info"),
            output: file("output"),
        };
        eventually("the container is created", || blocked.text().ends_with('\n'));
        blocked
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.info).unwrap_or_default()
    }

    fn pid(&self) -> u64 {
        let info: Value = serde_json::from_str(&self.text()).expect("JSON");
        assert_eq!(info.as_object().expect("an object").len(), 1, "{info}");
        info["pid"].as_u64().expect("a pid")
    }

    /// Its exit code and both outputs.
    fn end(mut self) -> (i32, String) {
        drop(self.go);
        let mut code = None;
        eventually("the runtime ends", || {
            code = self.child.try_wait().expect("wait");
            code.is_some()
        });
        let errors = self.output.with_file_name("errors");
        let text = |path: &Path| fs::read_to_string(path).expect("the output");
        let both = text(&self.output) + &text(&errors);
        (code.and_then(|status| status.code()).expect("an exit code"), both)
    }
}

#[test]
fn the_program_waits_for_the_callers_byte() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["sh", "-c", "echo ran; exit 7"]));
    let id = host.id();
    let blocked = Blocked::start(&host, &bundle, &[], &id);
    let state = host.state(&id);
    assert_eq!(
        (state["status"].as_str(), state["pid"].as_u64()),
        (Some("created"), Some(blocked.pid()))
    );
    let comm = fs::read_to_string(format!("/proc/{}/comm", blocked.pid())).expect("the process");
    assert_ne!(comm, "sh\n", "the program must not run yet");
    std::io::Write::write_all(&mut &blocked.go, b"x").expect("write the byte");
    assert_eq!(blocked.end(), (7, "ran\n".to_owned()));
    assert_eq!(host.leftovers(&id), [""; 0]);
}

#[test]
fn the_container_counts_as_running_after_the_byte() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    let id = host.id();
    let blocked = Blocked::start(&host, &bundle, &["--detach"], &id);
    assert_eq!(host.state(&id)["status"], "created");
    std::io::Write::write_all(&mut &blocked.go, b"x").expect("write the byte");
    assert_eq!(blocked.end().0, 0);
    assert_eq!(host.state(&id)["status"], "running");
}

/// As a front-end that is killed, or the runtime itself.
#[test]
fn nothing_survives_a_runtime_that_is_killed_meanwhile() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    let id = host.id();
    let mut blocked = Blocked::start(&host, &bundle, &[], &id);
    let process = PathBuf::from(format!("/proc/{}", blocked.pid()));
    blocked.child.kill().expect("kill");
    blocked.child.wait().expect("wait");
    eventually("the first process ends", || !process.exists());
    assert_eq!(host.state(&id)["status"], "stopped");
    host.ok(&["delete", &id]);
    assert_eq!(host.leftovers(&id), [""; 0]);
}

#[test]
fn the_end_of_file_gives_the_container_up() {
    let Some(host) = Host::new() else { return };
    for options in [&[][..], &["--keep"], &["--detach"]] {
        let bundle = host.bundle(|config| config["process"]["args"] = json!(["sh", "-c", "echo ran"]));
        let id = host.id();
        let blocked = Blocked::start(&host, &bundle, options, &id);
        let pid = blocked.pid();
        let (code, output) = blocked.end();
        assert_eq!(code, 1, "{output}");
        assert!(
            output.contains("--block-fd: it was closed without one"),
            "{output}"
        );
        assert!(!output.contains("ran"), "{output}");
        assert_eq!(host.leftovers(&id), [""; 0]);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}

#[test]
fn a_container_that_dies_meanwhile_ends_the_wait() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|_| {});
    let id = host.id();
    let mut blocked = Blocked::start(&host, &bundle, &[], &id);
    let pid = rustix::process::Pid::from_raw(blocked.pid() as i32).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
    eventually("the runtime ends", || {
        blocked.child.try_wait().expect("wait").is_some()
    });
    let (code, output) = blocked.end();
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("first process died"), "{output}");
    assert_eq!(host.leftovers(&id), [""; 0]);
}

#[test]
fn a_signal_gives_the_container_up() {
    let Some(host) = Host::new() else { return };
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let bundle = host.bundle(|config| config["process"]["args"] = json!(["sleep", "1000"]));
        let id = host.id();
        let mut blocked = Blocked::start(&host, &bundle, &[], &id);
        let runtime = rustix::process::Pid::from_raw(blocked.child.id() as i32).expect("a pid");
        // Neither ends the wait nor gets lost.
        rustix::process::kill_process(runtime, rustix::process::Signal::USR1).expect("kill");
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!(host.state(&id)["status"], "created");
        rustix::process::kill_process(runtime, signal).expect("kill");
        eventually("the runtime ends", || {
            blocked.child.try_wait().expect("wait").is_some()
        });
        let (code, output) = blocked.end();
        assert_eq!(code, 1, "{output}");
        assert!(output.contains("a signal came first"), "{output}");
        assert_eq!(host.leftovers(&id), [""; 0]);
    }
}

#[test]
fn another_signal_during_the_wait_reaches_the_program() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| {
        config["process"]["args"] = json!(["sleep", "1000"]);
        // The first process of a pid namespace would ignore it.
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.retain(|namespace| namespace["type"] != "pid");
        config["mounts"].as_array_mut().expect("a list").remove(0);
    });
    let id = host.id();
    let blocked = Blocked::start(&host, &bundle, &[], &id);
    let runtime = rustix::process::Pid::from_raw(blocked.child.id() as i32).expect("a pid");
    rustix::process::kill_process(runtime, rustix::process::Signal::USR1).expect("kill");
    std::io::Write::write_all(&mut &blocked.go, b"x").expect("write the byte");
    let (code, output) = blocked.end();
    assert_eq!(code, 128 + libc::SIGUSR1, "{output}");
    assert_eq!(host.leftovers(&id), [""; 0]);
}

#[test]
fn neither_hooks_nor_the_container_get_the_descriptors() {
    let Some(host) = Host::new() else { return };
    let list = "ls -l /proc/self/fd";
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["sh", "-c", list]));
    let mut config: Value =
        serde_json::from_slice(&fs::read(bundle.file("config.json")).expect("config.json")).expect("JSON");
    let seen = |kind: &str| bundle.file(&format!("hook-{kind}"));
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer"] {
        // The container's own sh and ls for the hook that runs after the pivot.
        let file = match kind {
            "startContainer" => PathBuf::from("/tmp/seen"),
            _ => seen(kind),
        };
        let script = format!("{list} > {}", file.display());
        config["hooks"][kind] =
            json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]);
    }
    bundle.write(&config);
    let blocked = Blocked::start(&host, &bundle, &[], &host.id());
    std::io::Write::write_all(&mut &blocked.go, b"x").expect("write the byte");
    let (code, output) = blocked.end();
    assert_eq!(code, 0, "{output}");
    let mut lists = vec![("container", output)];
    for kind in ["prestart", "createRuntime", "createContainer"] {
        lists.push((kind, fs::read_to_string(seen(kind)).expect("the hook's list")));
    }
    let last = fs::read_to_string(bundle.rootfs("/tmp/seen")).expect("the hook's list");
    lists.push(("startContainer", last));
    for (who, list) in lists {
        assert!(list.contains(" -> "), "{who} lists its descriptors: {list}");
        if matches!(who, "container" | "startContainer") {
            // Beside the standard streams only the descriptor with which ls reads the directory.
            let count = list.lines().filter(|line| line.contains(" -> ")).count();
            assert!(count <= 4, "{who}: {list}");
        }
        for name in ["/info", "/go"] {
            let found = list.lines().any(|line| line.ends_with(name));
            assert!(!found, "{who} has {name}: {list}");
        }
    }
}

#[test]
fn a_wrong_number_is_refused() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|_| {});
    let cases = [
        (&["--info-fd", "7"][..], "--info-fd: descriptor 7 is not open"),
        (
            &["--block-fd", "0"],
            "--block-fd: descriptor 0 is a standard stream",
        ),
        (&["--info-fd=-1"], "--info-fd: descriptor -1 is a standard stream"),
        (
            &["--info-fd", "3", "--block-fd", "3"],
            "--block-fd: descriptor 3 is not open, or was given twice",
        ),
        (
            &["--preserve-fds", "1", "--info-fd", "3"],
            "--info-fd: descriptor 3 is to be preserved",
        ),
        (&["--block-fd", "x"], "invalid value 'x'"),
    ];
    for (options, expected) in cases {
        let id = host.id();
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$@\" 3>/dev/null", "sh"])
            .arg(support::program())
            .arg("--root")
            .arg(host.root())
            .args(["run", "--bundle", bundle.path()])
            .args(options)
            .arg(&id)
            .stdin(Stdio::null());
        let run = finish(command);
        assert_eq!(run.code, 1, "{run}");
        assert!(run.stderr.contains(expected), "{expected}: {run}");
        assert_eq!(host.leftovers(&id), [""; 0]);
    }
}

/// What the launcher sees at the exec stop.
fn check_seen(run: &Finished, uid: u32) {
    let value = |name: &str| {
        let line = run
            .stdout
            .lines()
            .find(|line| line.starts_with(&format!("{name}:")));
        line.map(|line| line.split_whitespace().nth(1).unwrap_or_default().to_owned())
    };
    assert_eq!(run.code, 7, "{run}");
    assert_eq!(value("Name").as_deref(), Some("busybox"), "{run}");
    assert_eq!(value("NoNewPrivs").as_deref(), Some("1"), "{run}");
    assert_eq!(value("Uid"), Some(uid.to_string()), "{run}");
    assert_eq!(value("CapEff").as_deref(), Some("0000000000000000"), "{run}");
    assert_eq!(value("CapBnd").as_deref(), Some("0000000000000000"), "{run}");
    assert_eq!(value("Seccomp").as_deref(), Some("2"), "{run}");
    assert!(run.stdout.contains("bin/busybox\n"), "{run}");
    assert!(run.stdout.ends_with("ran\n"), "{run}");
}

fn looked_at(config: &mut Value) {
    config["process"]["args"] = json!(["/bin/busybox", "sh", "-c", "echo ran; exit 7"]);
    config["process"]["capabilities"] = json!({});
    config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["bpf"], "action": "SCMP_ACT_ERRNO"}]});
}

#[test]
fn root_seizes_the_waiting_process_and_looks_at_the_exec() {
    let (Some(host), Some(launcher)) = (Host::new(), probe::build("launcher")) else {
        return;
    };
    for user_namespace in [false, true] {
        let bundle = host.bundle(|config| {
            looked_at(config);
            if user_namespace {
                let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
                namespaces.push(json!({"type": "user"}));
                for ids in ["uidMappings", "gidMappings"] {
                    config["linux"][ids] = json!([{"containerID": 0, "hostID": USER, "size": 100}]);
                }
            }
        });
        if user_namespace {
            let all = fs::Permissions::from_mode(0o755);
            fs::set_permissions(host.directory(), all).expect("chmod");
        }
        let id = host.id();
        let mut command = Command::new(&launcher);
        command.arg(support::program()).arg("--root").arg(host.root());
        command.args([
            "run",
            "--info-fd",
            "3",
            "--block-fd",
            "4",
            "--bundle",
            bundle.path(),
            &id,
        ]);
        command.stdin(Stdio::null());
        check_seen(&finish(command), if user_namespace { USER } else { 0 });
        assert_eq!(host.leftovers(&id), [""; 0]);
    }
}
