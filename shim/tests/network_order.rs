//! A real network while it is made: no way out before the rules are in force, whichever call to the kernel is late, fails
//! or is the last one. What was to be done is read from strace(1).

mod support;

use std::process::Stdio;
use support::bed::{Bed, expect_to_go};
use support::{NUCLEUS, installed};

/// What of a network is seen in a log, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Namespace,
    /// The kernel has accepted them.
    Rules,
    Link,
    /// The link is set up.
    WayOut,
    Workload,
}

fn seen(log: &str) -> Vec<Seen> {
    let mut inside = None;
    let mut all = Vec::new();
    for line in log.lines() {
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        let call = call.trim_start();
        let sends = call.starts_with("sendto(") && !call.contains("(INJECTED)");
        if call.starts_with("unshare(CLONE_NEWNET") {
            inside = Some(thread);
        }
        if inside == Some(thread) && call.contains("unshare") && call.contains("= 0") {
            all.push(Seen::Namespace);
        } else if inside == Some(thread) && call.contains("recvfrom") && call.contains("{error=0,") {
            all.push(Seen::Rules);
        } else if sends && call.contains("IFLA_LINKINFO") {
            all.push(Seen::Link);
        } else if sends && call.contains("RTM_NEWLINK") && call.contains("ifi_flags=IFF_UP, ") {
            all.push(Seen::WayOut);
        } else if call.starts_with("execve(\"") && call.contains("/true\", [") {
            all.push(Seen::Workload);
        }
    }
    all
}

const ORDER: [Seen; 5] = [
    Seen::Namespace,
    Seen::Rules,
    Seen::Link,
    Seen::WayOut,
    Seen::Workload,
];

#[test]
fn no_way_out_before_the_rules_whatever_is_late_or_fails() {
    let Some(bed) = Bed::new() else { return };
    if !installed("strace") {
        return;
    }
    let log = bed.place.path("strace");
    let traced = |inject: Option<&str>| {
        let mut command = bed.host.command("strace");
        command.args([
            "-f",
            "-v",
            "-s",
            "64",
            "-e",
            "trace=unshare,sendto,recvfrom,execve",
        ]);
        command.args(inject.map(|inject| ["-e", inject]).into_iter().flatten());
        command.arg("-o").arg(&log).arg(NUCLEUS).arg("--root");
        command
            .arg(bed.place.root())
            .args(["run", "--egress-allow", "10.99.1.2"]);
        command.args(["-p", "9000:80", "--", "true"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().expect("strace");
        (
            status.success(),
            seen(&std::fs::read_to_string(&log).expect("a log")),
        )
    };
    let (succeeded, whole) = traced(None);
    assert!(succeeded);
    assert_eq!(whole, ORDER);
    // The namespace is late: what is on the host is not ahead of the rules.
    let (_, late) = traced(Some("inject=unshare:delay_exit=300000:when=1"));
    assert_eq!(late, ORDER);
    let step = if std::env::var_os("NUCLEUS_TESTS_FULL").is_some() {
        1
    } else {
        5
    };
    let mut farthest = 0;
    for fault in ["error=EPERM", "signal=KILL"] {
        for number in (1..=21).step_by(step) {
            let (_, made) = traced(Some(&format!("inject=sendto:{fault}:when={number}")));
            // What was done is what comes first: nothing is passed over.
            assert!(ORDER.starts_with(&made), "{fault} at {number}: {made:?}");
            farthest = farthest.max(made.len());
            // The next one removes the rest.
            expect_to_go(|| {
                bed.nucleus(&["run", "--", "true"]).exits(0);
                bed.host.left()
            });
        }
    }
    assert!(farthest > 3, "{farthest}");
    bed.expect_clean();
}

#[test]
fn a_directory_that_whoever_made_it_did_not_use_is_removed_too() {
    let Some(bed) = Bed::new() else { return };
    if !installed("strace") {
        return;
    }
    let mut command = bed.host.command("strace");
    command.args(["-f", "-P", "/run/nucleus-network", "-e", "trace=mkdir"]);
    command.args(["-e", "inject=mkdir:signal=KILL:when=1", "-o"]);
    command.arg(bed.place.path("strace")).arg(NUCLEUS).arg("--root");
    command.arg(bed.place.root());
    command.args(["run", "--egress-allow", "10.99.1.2", "--", "true"]);
    assert!(!command.output().expect("strace").status.success());
    // The signal comes before the call: this is what it would have made.
    bed.host.sh("mkdir -m 700 /run/nucleus-network");
    bed.nucleus(&["run", "--", "true"]).exits(0);
    bed.expect_clean();
}
