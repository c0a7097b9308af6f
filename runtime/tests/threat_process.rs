//! What a process of the container has in hand: descriptors, capabilities, ids, terminal, keys and files.

mod support;

use rustix::fd::{AsFd, OwnedFd};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};
use support::{Host, finish, probe, program};

/// The runtime with descriptors 3 to 9 open on directories and files of the host, as a careless caller or an
/// init system may leave them.
fn with_leaks(host: &Host, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = "exec 3</ 4</etc 5</root 6</etc/passwd 7</ 8</tmp 9</; exec \"$@\"";
    command.args(["-c", script, "sh"]).arg(program());
    command.arg("--root").arg(host.root()).args(args);
    command.stdin(Stdio::null());
    command
}

const WORKING_DIRECTORIES: std::ops::RangeInclusive<u32> = 3..=100;

/// CVE-2024-21626: the working directory is a descriptor of a directory of the host.
#[test]
fn no_working_directory_is_reached_through_a_descriptor() {
    let Some(host) = Host::new() else { return };
    let list = json!(["sh", "-c", "echo reached; ls ..; ls ../../.."]);
    let bundle = host.bundle(|config| config["process"]["args"] = list.clone());
    let text = fs::read_to_string(bundle.file("config.json")).expect("the configuration");
    let config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let id = host.id();
    for number in WORKING_DIRECTORIES {
        let mut config = config.clone();
        config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        bundle.write(&config);
        let run = finish(with_leaks(&host, &["run", "--bundle", bundle.path(), &id]));
        assert_ne!(run.code, 0, "{run}");
        assert!(!run.stdout.contains("reached"), "{run}");
    }
}

#[test]
fn nor_is_that_of_a_further_process() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|_| {});
    for number in WORKING_DIRECTORIES {
        for path in [
            format!("/proc/self/fd/{number}"),
            format!("/proc/self/fd/{number}/.."),
        ] {
            let exec = finish(with_leaks(
                &host,
                &["exec", "--cwd", &path, &id, "sh", "-c", "echo reached; pwd"],
            ));
            assert_ne!(exec.code, 0, "{exec}");
            assert!(!exec.stdout.contains("reached"), "{exec}");
        }
    }
}

/// Nor through the standard input, which is the caller's to choose and stays open.
#[test]
fn a_directory_as_standard_input_does_not_become_the_working_directory() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|_| {});
    let directory = || File::open("/etc").expect("open /etc");
    let mut exec = host.command(&["exec", "--cwd", "/proc/self/fd/0", &id, "echo", "reached"]);
    exec.stdin(directory());
    let exec = finish(exec);
    assert_ne!(exec.code, 0, "{exec}");
    let bundle = host.bundle(|config| {
        config["process"]["cwd"] = json!("/proc/self/fd/0");
        config["process"]["args"] = json!(["echo", "reached"]);
    });
    let mut run = host.command(&["run", "--bundle", bundle.path(), &host.id()]);
    run.stdin(directory());
    let run = finish(run);
    assert_ne!(run.code, 0, "{run}");
}

/// CVE-2016-9962: in state `created` the first process is already in the container, where others can look.
#[test]
fn a_created_process_holds_only_what_it_needs() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|_| {});
    let id = host.id();
    let created = finish(with_leaks(&host, &["create", "--bundle", bundle.path(), &id]));
    assert_eq!(created.code, 0, "{created}");
    let pid = host.state(&id)["pid"].as_u64().expect("a pid");
    let state = host.root().join(&id);
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).expect("the descriptors") {
        let path = entry.expect("a descriptor").path();
        let number = path.file_name().expect("a name").to_string_lossy().into_owned();
        let target = fs::read_link(&path).expect("a link");
        let text = target.to_string_lossy();
        let waits =
            text.starts_with("socket:") || target == state.join("start") || target == state.join("result");
        let standard = matches!(&*number, "0" | "1" | "2");
        assert!(standard || waits, "descriptor {number} is {text}");
    }
}

#[test]
fn a_program_inherits_only_the_standard_streams() {
    let Some(host) = Host::new() else { return };
    // The shell's own list: `ls` would show the directory that it reads.
    let list = ["sh", "-c", "cd /proc/self/fd; echo *"];
    let bundle = host.bundle(|config| config["process"]["args"] = json!(list));
    let run = finish(with_leaks(&host, &["run", "--bundle", bundle.path(), &host.id()]));
    assert!(matches!(run.stdout.as_str(), "0 1 2\n" | "0 1 2 3\n"), "{run}");
    let id = host.running(|_| {});
    let mut args = vec!["exec", id.as_str()];
    args.extend(["sh", "-c", "for fd in /proc/self/fd/*; do readlink $fd; done"]);
    let exec = finish(with_leaks(&host, &args));
    for host_path in ["/etc", "/root", "/tmp\n", "/\n"] {
        assert!(!exec.stdout.contains(host_path), "{exec}");
    }
}

/// CVE-2022-29162 and CVE-2022-27650: an inheritable set that nobody asked for.
#[test]
fn nothing_is_inheritable() {
    let Some(host) = Host::new() else { return };
    let inheritable = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("CapInh:"));
        line.map(|line| line.trim_start_matches("CapInh:").trim().to_owned())
    };
    let nothing = Some("0".repeat(16));
    for uid in [0, 1000] {
        let bundle = host.bundle(|config| {
            config["process"]["args"] = json!(["cat", "/proc/self/status"]);
            config["process"]["user"] = json!({"uid": uid, "gid": uid});
        });
        let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
        assert_eq!(inheritable(&run.stdout), nothing, "{run}");
    }
    let id = host.running(|_| {});
    for options in [
        &["exec"][..],
        &["exec", "--cap", "CAP_NET_RAW"],
        &["exec", "--user", "1000:1000"],
    ] {
        let exec = host.run(&[options, &[&id, "cat", "/proc/self/status"]].concat());
        assert_eq!(exec.code, 0, "{exec}");
        assert_eq!(inheritable(&exec.stdout), nothing, "{exec}");
    }
}

/// A number that is read wrongly runs the program as somebody else, often as root.
#[test]
fn users_are_who_they_are_said_to_be() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|_| {});
    let table = [
        ("0", Some((0, 0))),
        ("1000", Some((1000, 0))),
        ("1000:1000", Some((1000, 1000))),
        ("0:7", Some((0, 7))),
        (
            "4294967294:4294967294",
            Some((4_294_967_294_u32, 4_294_967_294_u32)),
        ),
        ("4294967295", None),
        ("4294967296", None),
        ("1000:4294967296", None),
        ("18446744073709551616", None),
        ("-1", None),
        ("1000:-1", None),
        ("+1000", None),
        ("0x3e8", None),
        ("1000abc", None),
        (" 1000", None),
        ("1000:", None),
        (":1000", None),
        ("1000:1000:1000", None),
        ("no-such-user", None),
        ("", None),
    ];
    for (user, expected) in table {
        let argument = format!("--user={user}");
        let exec = host.run(&["exec", &argument, &id, "sh", "-c", "id -u; id -g"]);
        match expected {
            Some((uid, gid)) => assert_eq!(exec.stdout, format!("{uid}\n{gid}\n"), "{user:?}: {exec}"),
            None => {
                assert_ne!(exec.code, 0, "{user:?}: {exec}");
                assert_eq!(exec.stdout, "", "{user:?}: {exec}");
            }
        }
    }
}

/// A set-user-id program of the image gains nothing.
#[test]
fn a_set_user_id_program_of_the_image_gains_nothing() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| {
        config["process"]["args"] = json!(["cat", "/proc/self/status"]);
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    let cat = bundle.rootfs("/bin/cat");
    fs::remove_file(&cat).expect("remove the link");
    fs::copy(bundle.rootfs("/bin/busybox"), &cat).expect("copy");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    fs::set_permissions(&cat, mode).expect("set the bit");
    let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!(run.code, 0, "{run}");
    assert!(run.stdout.contains("Uid:\t1000\t1000\t1000\t1000"), "{run}");
    assert!(run.stdout.contains("NoNewPrivs:\t1"), "{run}");
}

struct Pty {
    master: OwnedFd,
    slave: File,
}

fn pty() -> Pty {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("openpt");
    grantpt(&master).expect("grantpt");
    unlockpt(&master).expect("unlockpt");
    let name = ptsname(&master, Vec::new()).expect("ptsname");
    use std::os::unix::fs::OpenOptionsExt;
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(name.to_str().expect("a path"))
        .expect("open the terminal");
    Pty { master, slave }
}

/// CVE-2017-5226: a program whose standard input is the caller's terminal types commands into it.
#[test]
fn nothing_is_typed_into_the_callers_terminal() {
    let Some(host) = Host::new() else { return };
    let Some(attempts) = probe::build("attempts") else {
        return;
    };
    let pty = pty();
    // The caller is a session leader with this terminal, as a shell is.
    let leader = |args: &[&str]| {
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).args(args);
        command.stdin(pty.slave.try_clone().expect("dup"));
        command
    };
    let tried = ["TIOCSTI", "controlling-terminal"];
    let control = finish(leader(&[attempts.to_str().expect("a path"), tried[0], tried[1]]));
    if !control.stdout.contains("TIOCSTI allowed") {
        return support::lacking("TIOCSTI, which this kernel refuses to everybody (dev.tty.legacy_tiocsti)");
    }
    rustix::termios::tcflush(pty.master.as_fd(), rustix::termios::QueueSelector::IOFlush).expect("tcflush");
    let bundle =
        host.bundle(|config| config["process"]["args"] = json!(["/bin/attempts", tried[0], tried[1]]));
    let install = |rootfs: &Path| fs::copy(&attempts, rootfs.join("attempts")).expect("install the probe");
    install(&bundle.rootfs("/bin"));
    let (program, root) = (program(), host.root());
    let (program, root) = (program.to_str().expect("a path"), root.to_str().expect("a path"));
    let id = host.id();
    let run = finish(leader(&[
        program,
        "--root",
        root,
        "run",
        "--bundle",
        bundle.path(),
        &id,
    ]));
    assert_eq!(run.stdout, refused(), "{run}");

    let id = host.running(|config| {
        config["mounts"].as_array_mut().expect("mounts").push(json!({
            "destination": "/probe", "type": "bind", "source": attempts, "options": ["bind", "ro"]}));
    });
    let exec = finish(leader(&[
        program, "--root", root, "exec", &id, "/probe", tried[0], tried[1],
    ]));
    assert_eq!(exec.stdout, refused(), "{exec}");
}

/// Not one's own terminal (EPERM without CAP_SYS_ADMIN), and none at all (ENXIO).
fn refused() -> String {
    format!(
        "TIOCSTI errno {}\ncontrolling-terminal errno {}\n",
        libc::EPERM,
        libc::ENXIO
    )
}

/// A session keyring of its own: what the caller has in his stays his.
#[test]
fn the_callers_keys_are_not_inherited() {
    let Some(host) = Host::new() else { return };
    let Some(attempts) = probe::build("attempts") else {
        return;
    };
    let caller = finish({
        let mut command = Command::new(&attempts);
        command.arg("session-keyring");
        command
    });
    let mount =
        json!({"destination": "/probe", "type": "bind", "source": attempts, "options": ["bind", "ro"]});
    let bundle = host.bundle(|config| {
        config["mounts"]
            .as_array_mut()
            .expect("mounts")
            .push(mount.clone());
        config["process"]["args"] = json!(["/probe", "session-keyring"]);
    });
    let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
    let id = host.running(|config| {
        config["mounts"]
            .as_array_mut()
            .expect("mounts")
            .push(mount.clone());
    });
    let exec = host.run(&["exec", &id, "/probe", "session-keyring"]);
    for inside in [&run, &exec] {
        assert!(inside.stdout.starts_with("session-keyring "), "{inside}");
        assert_ne!(inside.stdout, caller.stdout, "{inside}");
        assert!(!inside.stdout.contains("errno"), "{inside}");
    }
}

/// State and bundle are the host's: from inside they can be neither found nor changed.
#[test]
fn state_and_bundle_are_not_reachable() {
    let Some(host) = Host::new() else { return };
    let marker = format!("marker-{}", std::process::id());
    let id = host.running(|config| config["annotations"] = json!({"dev.nucleus.test": marker}));
    let inside = |script: &str| host.run(&["exec", &id, "sh", "-c", script]);
    let directory = host.directory().display().to_string();
    for path in [
        directory.as_str(),
        &format!("/proc/1/root{directory}"),
        &format!("/proc/1/cwd/..{directory}"),
    ] {
        let found = inside(&format!("ls -d {path}"));
        assert_ne!(found.code, 0, "{found}");
    }
    for file in ["mountinfo", "environ", "cmdline", "maps"] {
        let text = inside(&format!("cat /proc/1/{file} /proc/self/{file}"));
        // The root file system's own source is the one path that the kernel itself shows.
        let shown = text.stdout.replace(&format!("{directory}/bundle0/rootfs"), "");
        assert!(
            !shown.contains(&directory) && !shown.contains(&marker),
            "{file}: {text}"
        );
    }
    let open = inside("for fd in /proc/[0-9]*/fd/*; do readlink $fd; done");
    let shown = open.stdout.replace("/stdout", "").replace("/stderr", "");
    assert!(!shown.contains(&id), "{open}");
}
