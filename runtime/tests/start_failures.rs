//! What can go wrong between `created` and the program's first instruction: the first process dies before `start`,
//! while it goes on, or between the commands of two starts. The status stays a defined one, the error says what is, and
//! `delete` takes all away.

mod support;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs;
use std::time::Duration;
use support::{Finished, Host, eventually};

/// A created container, and its first process.
fn created(host: &Host, args: &[&str]) -> (String, String) {
    let bundle = host.bundle(|config| config["process"]["args"] = json!(args));
    let id = host.id();
    host.ok(&["create", "--bundle", bundle.path(), &id]);
    let pid = host.state(&id)["pid"].to_string();
    (id, pid)
}

fn kill(pid: &str) {
    let pid = pid.parse().ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::KILL).expect("kill");
}

fn is_stopped(host: &Host, id: &str) -> bool {
    host.state(id)["status"] == "stopped"
}

/// One line that says that there is nothing to start.
fn refused(finished: &Finished, status: &str) -> bool {
    let told = format!("cannot start a container that is {status}");
    finished.code == 1 && finished.stderr.trim_end().ends_with(&told) && finished.stderr.lines().count() == 1
}

fn delete(host: &Host, id: &str) {
    host.ok(&["delete", id]);
    assert_eq!(host.leftovers(id), [""; 0]);
}

#[test]
fn a_process_that_is_killed_before_start_leaves_a_stopped_container() {
    let Some(host) = Host::new() else { return };
    let (id, pid) = created(&host, &["true"]);
    kill(&pid);
    eventually("it is stopped", || is_stopped(&host, &id));
    for _ in 0..2 {
        let finished = host.run(&["start", &id]);
        assert!(refused(&finished, "stopped"), "{finished}");
        assert!(is_stopped(&host, &id));
    }
    let finished = host.run(&["exec", &id, "true"]);
    assert_eq!(finished.code, 1, "{finished}");
    delete(&host, &id);
}

/// As a `start` leaves it that is killed after its claim.
#[test]
fn a_process_that_is_killed_after_the_claim_of_a_killed_start_leaves_a_stopped_container() {
    let Some(host) = Host::new() else { return };
    let (id, pid) = created(&host, &["true"]);
    let directory = host.root().join(&id);
    fs::rename(directory.join("start"), directory.join("starting")).expect("rename");
    kill(&pid);
    eventually("it is stopped", || is_stopped(&host, &id));
    let finished = host.run(&["start", &id]);
    assert!(refused(&finished, "stopped"), "{finished}");
    delete(&host, &id);
}

#[test]
fn the_next_start_takes_up_the_claim_of_a_killed_one() {
    let Some(host) = Host::new() else { return };
    let (id, _) = created(&host, &["sleep", "1000"]);
    let directory = host.root().join(&id);
    fs::rename(directory.join("start"), directory.join("starting")).expect("rename");
    host.ok(&["start", &id]);
    assert_eq!(host.state(&id)["status"], "running");
    assert!(!directory.join("starting").exists() && !directory.join("result").exists());
    let finished = host.run(&["start", &id]);
    assert!(refused(&finished, "running"), "{finished}");
    host.ok(&["delete", "--force", &id]);
    assert_eq!(host.leftovers(&id), [""; 0]);
}

/// The process dies at any moment of a `start`, which succeeds or says that there is nothing to start, and never waits
/// for the dead.
#[test]
fn a_process_that_is_killed_while_it_is_started_ends_the_start() {
    let Some(host) = Host::new() else { return };
    let (mut started, mut told) = (0, 0);
    for round in 0..60 {
        let (id, pid) = created(&host, &["sleep", "1000"]);
        let start = host
            .command(&["start", &id])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn();
        let start = start.expect("start");
        // From at once to 35 ms later, so that there is a before and an after on slow machines too.
        std::thread::sleep(Duration::from_micros(10 * round * round));
        kill(&pid);
        let output = start.wait_with_output().expect("wait");
        let text = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => started += 1,
            // The dying are alive until the kernel has taken back what they had open.
            Some(1)
                if ["stopped", "running"].iter().any(|status| {
                    text.trim_end()
                        .ends_with(&format!("cannot start a container that is {status}"))
                }) && text.lines().count() == 1 =>
            {
                told += 1;
            }
            code => panic!("round {round}: {code:?}: {text}"),
        }
        eventually("it is stopped", || is_stopped(&host, &id));
        delete(&host, &id);
    }
    assert!(started > 0 && told > 0, "{started} started, {told} told");
}

#[test]
fn of_two_starts_at_the_same_time_one_goes_on() {
    let Some(host) = Host::new() else { return };
    for _ in 0..10 {
        let (id, _) = created(&host, &["sleep", "1000"]);
        let start = || {
            host.command(&["start", &id])
                .stderr(std::process::Stdio::null())
                .spawn()
        };
        let both = [start(), start()].map(|child| child.expect("start").wait().expect("wait").code());
        assert!(
            both == [Some(0), Some(1)] || both == [Some(1), Some(0)],
            "{both:?}"
        );
        assert_eq!(host.state(&id)["status"], "running");
        host.ok(&["delete", "--force", &id]);
        assert_eq!(host.leftovers(&id), [""; 0]);
    }
}
