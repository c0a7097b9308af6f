//! Signals of the caller and keys of its terminal end a command as `sh -c` would have it, also where it is the first
//! process of its pid namespace, to which the kernel gives none that it does not ask for.

mod support;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{Place, eventually};

fn send(signal: &str, to: &Child) {
    let sent = Command::new("kill").args([signal, &to.id().to_string()]).status();
    assert!(sent.expect("kill").success());
}

/// A command that has told that it runs.
fn started(mut command: Command) -> Child {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("start");
    let mut up = [0; 3];
    let output = child.stdout.as_mut().expect("a pipe");
    output.read_exact(&mut up).expect("it runs");
    child
}

fn ended(child: &mut Child, within: Duration) -> Option<std::process::ExitStatus> {
    let deadline = Instant::now() + within;
    loop {
        match child.try_wait().expect("wait") {
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            status => {
                // Of a test that fails.
                let _ = child.kill();
                return status;
            }
        }
    }
}

#[test]
fn a_signal_that_the_command_does_not_ask_for_ends_it() {
    let Some(place) = Place::new() else { return };
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129), ("-USR1", 138)] {
        let mut child = started(place.command(&["run", "--", "sh", "-c", "echo up; exec sleep 60"]));
        for harmless in ["-WINCH", "-URG", "-CONT"] {
            send(harmless, &child);
        }
        assert_eq!(ended_not(&mut child), None, "before {signal}");
        send(signal, &child);
        let status = ended(&mut child, Duration::from_secs(10));
        assert_eq!(status.and_then(|status| status.code()), Some(code), "{signal}");
    }
    eventually("nothing is left", || {
        place.nucleus(&["ps"]).exits(0).lines().count() == 1
    });
}

#[test]
fn a_signal_that_the_command_asks_for_ignores_or_keeps_for_later_is_left_to_it() {
    let Some(place) = Place::new() else { return };
    let script = "trap 'exit 7' TERM; trap '' HUP; echo up; while :; do sleep 0.02; done";
    let mut child = started(place.command(&["run", "--", "sh", "-c", script]));
    send("-HUP", &child);
    assert_eq!(ended_not(&mut child), None);
    send("-TERM", &child);
    assert_eq!(
        ended(&mut child, Duration::from_secs(10)).and_then(|status| status.code()),
        Some(7)
    );
    let script = "import signal, os\nsignal.pthread_sigmask(signal.SIG_BLOCK, [15])\nos.write(1, b'up\\n')\nos._exit(signal.sigwait([15]))";
    let mut child = started(place.command(&["run", "--", "python3", "-c", script]));
    send("-TERM", &child);
    assert_eq!(
        ended(&mut child, Duration::from_secs(10)).and_then(|status| status.code()),
        Some(15)
    );
}

/// A little later.
fn ended_not(child: &mut Child) -> Option<std::process::ExitStatus> {
    std::thread::sleep(Duration::from_millis(200));
    child.try_wait().expect("wait")
}

#[test]
fn the_end_of_the_time_ends_it_at_once() {
    let Some(place) = Place::new() else { return };
    let begun = Instant::now();
    let finished = place.nucleus(&["run", "--timeout", "0.5", "--", "sleep", "60"]);
    finished.exits(124);
    // The grace of two seconds is for who makes use of it.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// A command at a terminal of its own, of which this is the other side.
fn at_terminal(command: &Command) -> (Child, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&master).expect("grantpt");
    unlockpt(&master).expect("unlockpt");
    let name = ptsname(&master, Vec::new()).expect("its name");
    let name = name.to_str().expect("UTF-8");
    let there = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(name)
            .expect("the terminal")
    };
    let child = Command::new("setsid")
        .args(["--ctty", "--wait"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(there())
        .stdout(there())
        .stderr(there())
        .spawn()
        .expect("setsid");
    (child, File::from(master))
}

fn read_until(terminal: &mut File, word: &str) {
    let mut seen = String::new();
    while !seen.contains(word) {
        let mut buffer = [0; 256];
        let length = terminal.read(&mut buffer).expect("read");
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
}

#[test]
fn keys_of_a_terminal_end_a_command_that_does_not_ask_for_them() {
    let Some(place) = Place::new() else { return };
    for (key, script, code) in [
        (b"\x03", "echo up; exec sleep 60", 130),
        (b"\x1c", "echo up; exec sleep 60", 131),
        (
            b"\x03",
            "trap 'exit 7' INT; echo up; while :; do sleep 0.02; done",
            7,
        ),
        (
            b"\x03",
            "stty -isig -icanon -echo; echo up; dd bs=1 count=1 2>/dev/null | od -An -c; exit 8",
            8,
        ),
        // The key is not for who has given the terminal to another group.
        (
            b"\x03",
            "set -m; (trap 'exit 9' INT; echo up; while :; do sleep 0.02; done)",
            9,
        ),
    ] {
        let (mut child, mut terminal) = at_terminal(&place.command(&["run", "--", "sh", "-c", script]));
        read_until(&mut terminal, "up");
        terminal.write_all(key).expect("write");
        let status = ended(&mut child, Duration::from_secs(10));
        assert_eq!(status.and_then(|status| status.code()), Some(code), "{script}");
    }
}

#[test]
fn a_terminal_that_is_closed_leaves_nothing() {
    let Some(place) = Place::new() else { return };
    let command = place.command(&["run", "--", "sh", "-c", "echo up; exec sleep 60"]);
    let (mut child, mut terminal) = at_terminal(&command);
    read_until(&mut terminal, "up");
    drop(terminal);
    let status = ended(&mut child, Duration::from_secs(10)).expect("it ends");
    assert!(
        status.code() == Some(129) || status.signal() == Some(1),
        "{status:?}"
    );
    eventually("nothing is left", || {
        place.nucleus(&["ps"]).exits(0).lines().count() == 1
    });
}
