//! Flags of `run`: each does what it says.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use support::{Finished, Place, eventually};

fn text(place: &Place, name: &str) -> String {
    place.path(name).to_str().expect("UTF-8").to_owned()
}

#[test]
fn io_limits_are_the_control_groups() {
    let Some(place) = Place::new() else { return };
    let limit = format!("{}:rbps=1M,wbps=2M,riops=100,wiops=200", place.path("").display());
    let name = place.name();
    place
        .nucleus(&[
            "run", "--detach", "--name", name, "--io", &limit, "--", "sleep", "1000",
        ])
        .exits(0);
    let state: serde_json::Value =
        serde_json::from_str(place.nucleus(&["state", name]).exits(0)).expect("JSON");
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", state["pid"])).expect("cgroup");
    let group = |controller: &str| {
        let line = groups
            .lines()
            .find(|line| line.split(':').nth(1) == Some(controller));
        line.and_then(|line| line.splitn(3, ':').nth(2))
            .map(str::to_owned)
    };
    let read = |file: &str| {
        // Version 1 has a file a limit, version 2 one for all.
        let path = match group("blkio") {
            Some(group) => format!("/sys/fs/cgroup/blkio{group}/blkio.throttle.{file}"),
            None => format!("/sys/fs/cgroup{}/io.max", group("").unwrap_or_default()),
        };
        fs::read_to_string(path)
    };
    for (file, value) in [
        ("read_bps_device", "1048576"),
        ("write_bps_device", "2097152"),
        ("read_iops_device", "100"),
        ("write_iops_device", "200"),
    ] {
        let found = read(file).expect(file);
        assert!(
            found.trim().ends_with(value) || found.contains(&format!("={value}")),
            "{file}: {found}"
        );
    }
    place.nucleus(&["rm", "--force", name]).exits(0);
    // The disk is really that slow: 3 MiB at 1 MiB in a second, read past the page cache.
    let file = place.path("data");
    fs::write(&file, vec![7; 3 << 20]).expect("write");
    let volume = format!("{}:/data:ro", file.display());
    let begun = std::time::Instant::now();
    let slow = format!("{}:rbps=1M", place.path("").display());
    place
        .sh(
            &["--io", &slow, "--volume", &volume],
            "dd if=/data of=/dev/null bs=1M iflag=direct 2>&1",
        )
        .exits(0);
    assert!(begun.elapsed().as_secs_f64() > 1.5, "{:?}", begun.elapsed());
    for limit in ["/", "/:rbps=0", "/proc:rbps=1M", "/:weight=5"] {
        place.sh(&["--io", limit], "true").fails_with(&["io:"]);
    }
}

/// Private files among them, whoever the directory's owner is; the host's stay as they are.
#[test]
fn a_copied_context_is_the_workloads_own() {
    let Some(place) = Place::new() else { return };
    let context = text(&place, "context");
    fs::create_dir_all(place.path("context/private")).expect("mkdir");
    for (name, mode) in [("private/key", 0o600), ("tool", 0o755)] {
        let path = place.path("context").join(name);
        fs::write(&path, "echo before\n").expect("write");
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("chmod");
    }
    fs::set_permissions(place.path("context/private"), PermissionsExt::from_mode(0o700)).expect("chmod");
    for owner in [0, 12_345] {
        for path in [
            "context",
            "context/private",
            "context/private/key",
            "context/tool",
        ] {
            chown(place.path(path), Some(owner), Some(owner)).expect("chown");
        }
        let pin = place.nucleus(&["context-digest", &context]);
        for verified in [&[][..], &["--verify-context", pin.exits(0).trim()]] {
            let options = [&["--context", context.as_str()], verified].concat();
            let finished = place.sh(
                &options,
                "cat private/key; ./tool; echo after >private/key; rm tool; cat private/key; ls",
            );
            assert_eq!(
                finished.exits(0),
                "echo before\nbefore\nafter\nprivate\n",
                "{owner}"
            );
        }
        let kept = fs::read_to_string(place.path("context/private/key")).expect("read");
        assert_eq!(kept, "echo before\n");
    }
}

#[test]
fn a_context_is_verified_and_what_is_verified_is_what_there_is() {
    let Some(place) = Place::new() else { return };
    let context = text(&place, "context");
    fs::create_dir_all(place.path("context/sub")).expect("mkdir");
    fs::write(place.path("context/sub/file"), "right\n").expect("write");
    std::os::unix::fs::symlink("sub/file", place.path("context/link")).expect("symlink");
    for path in ["context", "context/sub", "context/sub/file"] {
        chown(place.path(path), Some(12_345), Some(12_345)).expect("chown");
    }
    let digest = || {
        place
            .nucleus(&["context-digest", &context])
            .exits(0)
            .trim()
            .to_owned()
    };
    let pin = digest();
    assert_eq!(pin, digest(), "the same tree, another digest");
    for mode in ["copy", "bind"] {
        let options = [
            "--context",
            &context,
            "--context-mode",
            mode,
            "--verify-context",
            &pin,
        ];
        let finished = place.sh(&options, "cat link; pwd");
        assert_eq!(finished.exits(0), "right\n/context\n", "{mode}");
    }
    let options = ["--context", &context, "--verify-context", &pin];
    // Each kind of change is another digest, and refused.
    type Change = fn(&Place);
    let changes: [Change; 4] = [
        |place| fs::write(place.path("context/sub/file"), "wrong\n").expect("write"),
        |place| {
            fs::set_permissions(place.path("context/sub"), PermissionsExt::from_mode(0o700)).expect("chmod");
        },
        |place| fs::rename(place.path("context/link"), place.path("context/other")).expect("rename"),
        |place| fs::write(place.path("context/more"), "").expect("write"),
    ];
    let mut seen = vec![pin.clone()];
    for change in changes {
        change(&place);
        place
            .sh(&options, "true")
            .fails_with(&["verify-context", &pin, &digest()]);
        assert!(!seen.contains(&digest()));
        seen.push(digest());
    }
    place
        .sh(&["--verify-context", &pin], "true")
        .fails_with(&["there is no --context"]);
    place
        .sh(&["--context", &context, "--verify-context", "abc"], "true")
        .fails_with(&["verify-context: "]);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        place.path("context/fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .expect("mkfifo");
    place.nucleus(&["context-digest", &context]).fails_with(&["fifo"]);
}

/// Whoever swaps the context between the check and the use finds that what runs is what was checked.
#[test]
fn a_context_that_changes_meanwhile_is_refused_or_the_verified_one() {
    let Some(place) = Place::new() else { return };
    let context = text(&place, "context");
    fs::create_dir(place.path("context")).expect("mkdir");
    let file = place.path("context/file");
    fs::write(&file, "right\n").expect("write");
    let pin = place
        .nucleus(&["context-digest", &context])
        .exits(0)
        .trim()
        .to_owned();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut right, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (good, bad) = (place.path("good"), place.path("bad"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for (from, text) in [(&good, "right\n"), (&bad, "wrong\n")] {
                    fs::write(from, text).expect("write");
                    fs::rename(from, &file).expect("rename");
                }
            }
        });
        for _ in 0..25 {
            let finished = place.sh(&["--context", &context, "--verify-context", &pin], "cat file");
            match finished.code {
                0 => {
                    assert_eq!(finished.stdout, "right\n");
                    right += 1;
                }
                _ => {
                    finished.fails_with(&["verify-context"]);
                    refused += 1;
                }
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(
        right > 0 && refused > 0,
        "no race: {right} right, {refused} refused"
    );
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    let Some(place) = Place::new() else { return };
    let path = text(&place, "console");
    let listener = UnixListener::bind(&path).expect("bind");
    let script = "tty; read line; echo got $line; exit 5";
    let child = place
        .command(&["run", "--console-socket", &path, "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .expect("start");
    let (socket, _) = listener.accept().expect("accept");
    let mut master = support::receive_terminal(&socket);
    master.write_all(b"hello\n").expect("write");
    let mut all = Vec::new();
    // It ends with EIO when nobody holds the other end.
    let _ = master.read_to_end(&mut all);
    let finished = Finished::from(child.wait_with_output().expect("wait"));
    finished.exits(5);
    let shown = String::from_utf8_lossy(&all);
    assert!(shown.contains("/dev/") && shown.contains("got hello"), "{shown}");
    place.sh(&["--terminal"], "true").fails_with(&["terminal:"]);
    let nobody = text(&place, "nobody");
    place
        .sh(&["--console-socket", &nobody], "true")
        .fails_with(&["nobody"]);
}

#[test]
fn clocks_run_ahead() {
    let Some(place) = Place::new() else { return };
    let script = "cut -d. -f1 /proc/uptime; python3 -c 'import time; print(int(time.monotonic()))'";
    let host = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec;
    let finished = place.sh(
        &["--time-namespace", "monotonic=1000000,boottime=2000000"],
        script,
    );
    let lines: Vec<i64> = finished
        .exits(0)
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    assert!((2_000_000..2_000_100).contains(&(lines[0] - host)), "{lines:?}");
    assert!((1_000_000..1_000_100).contains(&(lines[1] - host)), "{lines:?}");
    for offsets in [
        "",
        "monotonic",
        "realtime=1",
        "boottime=x",
        "boottime=1,boottime=2",
    ] {
        place
            .sh(&["--time-namespace", offsets], "true")
            .fails_with(&["time-namespace:"]);
    }
}

#[test]
fn environment_home_and_configurations_come_in() {
    let Some(place) = Place::new() else { return };
    let env = place.path("env");
    fs::write(&env, "A=1\nB=two words\n").expect("write");
    let mut command = place.command(&[
        "run",
        "--env-fd",
        "0",
        "--env",
        "A=2",
        "--",
        "sh",
        "-c",
        "echo $A $B",
    ]);
    command.stdin(fs::File::open(&env).expect("open"));
    assert_eq!(
        Finished::from(command.output().expect("run")).exits(0),
        "2 two words\n"
    );
    let nul = place.path("nul");
    fs::write(&nul, "A=1\nstill A\0B=2\0").expect("write");
    let mut command = place.command(&["run", "--env-fd", "0", "--", "sh", "-c", "echo \"$A\" $B"]);
    command.stdin(fs::File::open(&nul).expect("open"));
    assert_eq!(
        Finished::from(command.output().expect("run")).exits(0),
        "1\nstill A 2\n"
    );
    // The rest of a secret that has more lines than one is in no error, and its first words are no variable.
    fs::write(&env, "A=1\nHOME\nhidden\n").expect("write");
    let mut command = place.command(&["run", "--env-fd", "0", "--", "true"]);
    command.stdin(fs::File::open(&env).expect("open"));
    let finished = Finished::from(command.output().expect("run"));
    finished.fails_with(&["env-fd 0: entry 2 is no NAME=VALUE"]);
    assert!(!finished.stderr.contains("HOME"), "{finished:?}");
    place
        .sh(&["--env-fd", "77"], "true")
        .fails_with(&["/proc/self/fd/77"]);

    let home = place.path("home");
    fs::create_dir(&home).expect("mkdir");
    chown(&home, Some(12_345), Some(12_345)).expect("chown");
    place
        .sh(
            &["--home", home.to_str().expect("UTF-8")],
            "echo kept > ~/file; pwd",
        )
        .exits(0);
    assert_eq!(fs::read_to_string(home.join("file")).expect("file"), "kept\n");

    for (name, owner) in [("ro", 0), ("rw", 12_345)] {
        fs::write(place.path(name), "before\n").expect("write");
        chown(place.path(name), Some(owner), Some(owner)).expect("chown");
    }
    let (ro, rw) = (text(&place, "ro"), text(&place, "rw"));
    let finished = place.sh(
        &[
            "--provider-config-ro",
            &format!("{ro}:/home/agent/ro"),
            "--provider-config-rw",
            &format!("{rw}:/home/agent/rw"),
        ],
        "cat ~/ro ~/rw; echo after > ~/rw; echo after > ~/ro",
    );
    assert_ne!(finished.code, 0);
    assert_eq!(finished.stdout, "before\nbefore\n");
    assert_eq!(fs::read_to_string(&ro).expect("ro"), "before\n");
    assert_eq!(fs::read_to_string(&rw).expect("rw"), "after\n");
}

#[test]
fn ids_are_the_workloads() {
    let Some(place) = Place::new() else { return };
    let finished = place.sh(
        &[
            "--user",
            "33",
            "--group",
            "34",
            "--additional-group",
            "35",
            "--additional-group",
            "36",
        ],
        "id -u; id -g; id -G",
    );
    assert_eq!(finished.exits(0), "33\n34\n34 35 36\n");
}

#[test]
fn refused_calls_are_in_the_kernels_log() {
    let Some(place) = Place::new() else { return };
    let script = "unshare -U true 2>/dev/null; exit 0";
    let records = || {
        let output = std::process::Command::new("dmesg").output().expect("dmesg");
        let log = String::from_utf8_lossy(&output.stdout).into_owned();
        log.lines()
            .filter(|line| line.contains("type=1326") && line.contains("comm=\"unshare\""))
            .count()
    };
    let before = records();
    place.sh(&[], script).exits(0);
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(records(), before, "logged unasked");
    // The kernel leaves records out when it has written many.
    eventually("the kernel logs it", || {
        place.sh(&["--seccomp-log-denied"], script).exits(0);
        std::thread::sleep(std::time::Duration::from_millis(100));
        records() > before
    });
}

#[test]
fn a_secret_is_nowhere_but_in_its_file() {
    let Some(place) = Place::new() else { return };
    // In parts, so that this process's own memory and command line do not hold what is looked for.
    let secret = ["tOp", "sEcret", "0123456789", "abcdef"].concat();
    let source = place.path("token");
    fs::write(&source, &secret).expect("write");
    let (events, report) = (text(&place, "events"), text(&place, "report"));
    let name = place.name();
    let child = place
        .command(&["run", "--name", name, "--events", &events, "--report", &report])
        .args(["--secret", &format!("{}:/run/secrets/token", source.display())])
        .args(["--", "sh", "-c", "sleep 1000"])
        .spawn()
        .expect("start");
    eventually("it runs", || {
        fs::read_to_string(&events).is_ok_and(|text| text.contains("started"))
    });
    let held = |pid: u32| {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
        let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("mem");
        maps.lines().any(|line| {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let (from, to) = range.expect("a range");
            let number = |text| u64::from_str_radix(text, 16).expect("a number");
            let mut bytes = vec![0; usize::try_from(number(to) - number(from)).expect("a size")];
            std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, number(from)).is_ok()
                && bytes
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes())
        })
    };
    let nucleus = child.id();
    let children = fs::read_to_string(format!("/proc/{nucleus}/task/{nucleus}/children")).expect("children");
    let runtime: u32 = children
        .split_whitespace()
        .next()
        .expect("the runtime")
        .parse()
        .expect("a number");
    // The search finds what is there: this process holds it.
    assert!(held(std::process::id()), "the search finds nothing");
    assert!(!held(nucleus), "nucleus holds the secret");
    assert!(!held(runtime), "the runtime holds the secret");
    let sandbox = place.root().join("sandboxes").join(name);
    for file in [
        &events,
        &report,
        sandbox.join("config.json").to_str().expect("UTF-8"),
    ] {
        let text = fs::read_to_string(file).expect(file);
        assert!(!text.contains(&secret), "{file} holds the secret");
    }
    let on_disk = std::process::Command::new("grep")
        .args(["-rlF", &secret])
        .arg(place.root())
        .output()
        .expect("grep");
    assert_eq!(String::from_utf8_lossy(&on_disk.stdout), "");
    place.nucleus(&["kill", name, "KILL"]).exits(0);
    assert_eq!(Finished::from(child.wait_with_output().expect("wait")).code, 137);
    assert!(place.path("token").exists());
}

#[test]
fn a_configuration_has_every_flag() {
    let Some(place) = Place::new() else { return };
    let schema = place.nucleus(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(schema.exits(0)).expect("JSON");
    let help = place.nucleus(&["run", "--help"]).stdout;
    // Of the call, not of the sandbox.
    let of_the_call = [
        "config",
        "config-fd",
        "env-fd",
        "events",
        "report",
        "detach",
        "help",
        "root",
        "quiet",
    ];
    let flags: Vec<&str> = help
        .lines()
        // What stands further in is text, which may name a flag at its beginning.
        .filter_map(|line| line.strip_prefix("      ").or(line.strip_prefix("  ")))
        .filter_map(|line| line.strip_prefix("-"))
        .filter_map(|line| {
            line.split_once("--")
                .map_or(line.strip_prefix('-'), |(_, flag)| Some(flag))
        })
        .map(|flag| flag.split([' ', '[', '=']).next().unwrap_or_default())
        .filter(|flag| !of_the_call.contains(flag))
        .collect();
    assert!(flags.len() > 40, "{flags:?}");
    for flag in flags {
        assert!(
            schema["properties"][flag].is_object(),
            "{flag} is not in the schema"
        );
    }
    let config = place.path("launch.json");
    fs::write(
        &config,
        r#"{"init": true, "time-namespace": "boottime=5000000", "io": ["/tmp:rbps=100M"], "command": ["sh", "-c", "cut -d. -f1 /proc/uptime; cat /proc/1/comm"]}"#,
    )
    .expect("write");
    let file = fs::File::open(&config).expect("open");
    let number = file.as_raw_fd().to_string();
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).expect("fcntl");
    let finished = place.nucleus(&["run", "--config-fd", &number]);
    let lines: Vec<&str> = finished.exits(0).lines().collect();
    assert!(lines[0].parse::<u64>().expect("a number") > 5_000_000);
    assert_eq!(lines[1], "nucleus-init");
}

/// overlayfs takes no maps of ids.
#[test]
fn a_writable_volume_that_maps_no_ids_is_told_of_or_refused() {
    let Some(place) = Place::new() else { return };
    let script =
        "mount -t tmpfs none \"$1\" && cd \"$1\" && mkdir lower upper work merged && chmod 777 lower upper &&
                  mount -t overlay none -o lowerdir=lower,upperdir=upper,workdir=work merged || exit 99
                  shift; \"$@\"; code=$?; cat merged/* 2>/dev/null; exit $code";
    let directory = place.path("overlay");
    fs::create_dir(&directory).expect("mkdir");
    let volume = format!("{}:/data:rw", directory.join("merged").display());
    let run = |mode: &str| -> support::Finished {
        let command = place.command(&[
            "run",
            "--mode",
            mode,
            "--volume",
            &volume,
            "--",
            "sh",
            "-c",
            "echo mine >/data/file",
        ]);
        let output = std::process::Command::new("unshare")
            .args(["-m", "sh", "-c", script, "sh"])
            .arg(&directory)
            .arg(command.get_program())
            .args(command.get_args())
            .output();
        output.expect("start unshare").into()
    };
    let told = run("agent");
    assert_eq!(told.exits(0), "mine\n", "everyone may write there");
    assert!(told.stderr.contains("overlayfs maps no ids"), "{told:?}");
    run("strict-agent").fails_with(&["overlayfs maps no ids, as other file systems do", "/data"]);
}
