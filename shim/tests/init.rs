//! `--init`: a first process that reaps, passes signals on, and ends as the command does.

mod support;

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;
use support::{Place, eventually};

#[test]
fn the_exit_code_passes_through() {
    let Some(place) = Place::new() else { return };
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
    ] {
        place.sh(&["--init"], script).exits(code);
    }
    let finished = place.sh(&["--init"], "echo $$; cat /proc/1/comm; cat");
    assert_eq!(finished.exits(0), "2\nnucleus-init\n");
    let missing = place.nucleus(&["run", "--init", "--", "no-such-program"]);
    missing.exits(127);
    assert!(missing.stderr.contains("exec no-such-program"), "{missing:?}");
    place.nucleus(&["run", "--init", "--", "/etc/passwd"]).exits(126);
}

#[test]
fn the_built_in_profiles_and_every_rule_of_landlock_let_it_work() {
    let Some(place) = Place::new() else { return };
    let orphan = "(sleep 0.05 &) ; sleep 0.2; exit 3";
    for options in [
        &["--init", "--seccomp-profile", "service"][..],
        &["--init", "--mode", "strict-agent"],
        &["--init", "--user", "0"],
    ] {
        place.sh(options, orphan).exits(3);
    }
    // A policy file is taken as it is, but for this one program.
    let policy = place.path("landlock.toml");
    fs::write(
        &policy,
        "min_abi = 1\nrestrict = [\"files\"]\n[[path]]\npaths = [\"/bin\", \"/usr\", \"/lib\", \"/lib64\", \"/etc\"]\naccess = [\"read\", \"execute\"]\noptional = true\n",
    )
    .expect("write");
    let options = ["--init", "--landlock-policy", policy.to_str().expect("UTF-8")];
    assert_eq!(
        place
            .sh(
                &options,
                "cat /dev/nucleus-init > /dev/null; echo x > /dev/nucleus-init"
            )
            .code,
        2
    );
    place.sh(&options, "exit 4").exits(4);
}

#[test]
fn ten_thousand_orphans_leave_no_zombie_and_no_memory() {
    let Some(place) = Place::new() else { return };
    let script = "
        rss() { grep VmRSS /proc/1/status | tr -dc 0-9; }
        i=0; while [ $i -lt 50 ]; do (: & : &) ; i=$((i+1)); done; sleep 0.1
        before=$(rss); i=0
        # Ten grandchildren each, which lose their parents at once.
        while [ $i -lt 1000 ]; do (: & : & : & : & : & : & : & : & : & : &) ; i=$((i+1)); done
        sleep 0.5
        grep -l '^State:.Z' /proc/[0-9]*/status | wc -l
        after=$(rss); [ $((after - before)) -le 64 ] && echo same || echo $before $after";
    assert_eq!(place.sh(&["--init"], script).exits(0), "0\nsame\n");
}

fn mark(place: &Place) -> PathBuf {
    let mark = place.path("mark");
    fs::create_dir(&mark).expect("mkdir");
    chown(&mark, Some(12_345), Some(12_345)).expect("chown");
    mark
}

fn start(place: &Place, mark: &Path, script: &str) -> Child {
    place
        .command(&["run", "--init", "--volume", &format!("{}:/mark", mark.display())])
        .args(["--", "sh", "-c", script])
        .spawn()
        .expect("start")
}

#[test]
fn signals_are_passed_on() {
    let Some(place) = Place::new() else { return };
    let mark = mark(&place);
    let script = "
        for s in HUP INT TERM TSTP USR1 USR2 CONT QUIT; do trap \"echo $s >> /mark/got\" $s; done
        trap 'echo RT >> /mark/got' 40
        echo > /mark/up; while [ ! -e /mark/end ]; do sleep 0.02; done; exit 9";
    let mut child = start(&place, &mark, script);
    eventually("the workload runs", || mark.join("up").exists());
    for (signal, name) in [
        (1, "HUP"),
        (2, "INT"),
        (15, "TERM"),
        (20, "TSTP"),
        (10, "USR1"),
        (12, "USR2"),
        (18, "CONT"),
        (3, "QUIT"),
        (40, "RT"),
    ] {
        // By the front-end, the runtime and the first process to the command.
        let sent = std::process::Command::new("kill")
            .args([format!("-{signal}"), child.id().to_string()])
            .status();
        assert!(sent.expect("kill").success());
        eventually(name, || {
            fs::read_to_string(mark.join("got")).is_ok_and(|got| got.lines().any(|line| line == name))
        });
    }
    let got = fs::read_to_string(mark.join("got")).expect("got");
    assert_eq!(got.lines().count(), 9, "{got}");
    fs::write(mark.join("end"), "").expect("write");
    assert_eq!(child.wait().expect("wait").code(), Some(9));
}

#[test]
fn a_signal_from_a_terminal_arrives_once() {
    let Some(place) = Place::new() else { return };
    let mark = mark(&place);
    let path = place.path("console");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("bind");
    let script =
        "trap 'echo INT >> /mark/got' INT; echo > /mark/up; while [ ! -e /mark/end ]; do sleep 0.02; done";
    let mut child = place
        .command(&["run", "--init", "--console-socket", path.to_str().expect("UTF-8")])
        .args([
            "--volume",
            &format!("{}:/mark", mark.display()),
            "--",
            "sh",
            "-c",
            script,
        ])
        .spawn()
        .expect("start");
    let (socket, _) = listener.accept().expect("accept");
    let mut master = support::receive_terminal(&socket);
    eventually("the workload runs", || mark.join("up").exists());
    std::io::Write::write_all(&mut master, &[3]).expect("^C");
    eventually("the signal", || mark.join("got").exists());
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(fs::read_to_string(mark.join("got")).expect("got"), "INT\n");
    fs::write(mark.join("end"), "").expect("write");
    assert!(child.wait().expect("wait").success());
}

#[test]
fn a_signal_while_it_starts_is_not_lost_or_ends_it() {
    let Some(place) = Place::new() else { return };
    for wait in (0..30).step_by(3) {
        let mut child = place
            .command(&[
                "run",
                "--init",
                "--timeout",
                "20s",
                "--",
                "sh",
                "-c",
                "sleep 15; exit 5",
            ])
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("start");
        std::thread::sleep(std::time::Duration::from_millis(wait));
        let begun = std::time::Instant::now();
        // A person who sees nothing happen sends it again.
        let status = loop {
            let pid = rustix::process::Pid::from_child(&child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            std::thread::sleep(std::time::Duration::from_millis(50));
            if let Some(status) = child.try_wait().expect("wait") {
                break status;
            }
            assert!(
                begun.elapsed().as_secs() < 5,
                "not ended by SIGTERM after {wait} ms"
            );
        };
        assert_ne!(status.code(), Some(5), "{wait} ms");
        place.nucleus(&["run", "--", "true"]).exits(0);
    }
}

#[test]
fn what_the_command_leaves_ends_with_it() {
    let Some(place) = Place::new() else { return };
    let mark = mark(&place);
    let script = "setsid sh -c 'trap \"\" TERM HUP; while :; do date +%N > /mark/beat; sleep 0.02; done' & sleep 0.3; exit 6";
    let mut child = start(&place, &mark, script);
    assert_eq!(child.wait().expect("wait").code(), Some(6));
    let beat = || fs::read_to_string(mark.join("beat")).expect("beat");
    let before = beat();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(before, beat());
}

#[test]
fn the_size_of_a_window_and_its_end_reach_the_command() {
    let Some(place) = Place::new() else { return };
    for init in [&["--init"][..], &[]] {
        let path = place.path("console");
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("bind");
        // Each signal is a line with the size that the terminal has then; none is lost between two.
        let script = "import os, signal, sys, termios
attributes = termios.tcgetattr(0); attributes[3] &= ~termios.ECHO; termios.tcsetattr(0, termios.TCSANOW, attributes)
signals = {signal.SIGWINCH, signal.SIGHUP}; signal.pthread_sigmask(signal.SIG_BLOCK, signals); print('up', flush=True)
while signal.sigwait(signals) == signal.SIGWINCH: print(*reversed(os.get_terminal_size()), flush=True)
sys.exit(3)";
        let mut child = place
            .command(&["run", "--timeout", "30s", "--console-socket"])
            .arg(&path)
            .args(init)
            .args(["--", "/usr/bin/python3", "-c", script])
            .spawn()
            .expect("start");
        let (socket, _) = listener.accept().expect("accept");
        let master = support::receive_terminal(&socket);
        let expect = |line: &str| {
            let mut seen = Vec::new();
            while !seen.ends_with(b"\n") {
                let mut ready = [rustix::event::PollFd::new(&master, rustix::event::PollFlags::IN)];
                let patience = Duration::from_secs(10).try_into().expect("a time");
                let came = rustix::event::poll(&mut ready, Some(&patience)).expect("poll");
                assert_eq!(came, 1, "{init:?}: no {line:?}, only {seen:?}");
                let mut byte = [0];
                rustix::io::read(&master, &mut byte).expect("read");
                seen.push(byte[0]);
            }
            let seen = String::from_utf8_lossy(&seen);
            assert_eq!(seen.trim_end(), line, "{init:?}");
        };
        expect("up");
        for (rows, columns) in [(50, 132), (24, 80), (0, 0), (65_535, 1)] {
            let size = rustix::termios::Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            rustix::termios::tcsetwinsize(&master, size).expect("TIOCSWINSZ");
            expect(&format!("{rows} {columns}"));
        }
        // One that is sent to the front-end is passed on like any other signal.
        let sent = std::process::Command::new("kill")
            .args(["-WINCH", &child.id().to_string()])
            .status();
        assert!(sent.expect("kill").success());
        expect("65535 1");
        drop(master);
        assert_eq!(child.wait().expect("wait").code(), Some(3), "{init:?}");
        fs::remove_file(&path).expect("rm");
    }
}
