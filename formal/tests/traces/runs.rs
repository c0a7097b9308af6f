//! Whole lives of containers: every command of the runtime, in the mixtures that the specs tell apart and this host has.

use super::bed::{Bed, until};
use super::seen::{Seen, What, Who};
use super::subject::Subject;
use serde_json::{Value, json};

/// What is asked for with everything at once: a user namespace, a terminal, and hooks of each kind.
pub fn everything(config: &mut Value) {
    config["process"]["terminal"] = json!(true);
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.push(json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}));
    mounts.push(
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
        "options": ["newinstance", "ptmxmode=0666", "mode=0620"]}),
    );
    let kinds = ["createRuntime", "createContainer", "startContainer"];
    let hook = json!([{"path": "/bin/true"}]);
    config["hooks"] = kinds.into_iter().map(|kind| (kind, hook.clone())).collect();
    let maps = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    config["linux"]["uidMappings"] = maps.clone();
    config["linux"]["gidMappings"] = maps;
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "user"}));
}

/// The specs' words for that.
pub const EVERYTHING: [&str; 5] = ["userns", "terminal", "hooks", "proceed", "traced"];

/// How often this was seen of a process.
fn count(seen: &[Seen], who: Who, what: &What) -> usize {
    seen.iter()
        .filter(|seen| seen.who == who && seen.what == *what)
        .count()
}

/// A first process that ends by itself: the order of its steps and the messages with its runtime.
#[test]
fn run_in_every_mixture() {
    let Some(bed) = Bed::new() else { return };
    let rules = r#"{"ruleset":{"handledAccessFS":["write_file"]},"rules":{}}"#;
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]});
    for (nnp, landlock, seccomp, all) in [
        (false, false, true, false),
        (true, false, true, false),
        (true, true, true, true),
        (false, true, true, false),
        (true, false, false, false),
    ] {
        bed.configure(&["true"], |config| {
            config["process"]["noNewPrivileges"] = json!(nnp);
            if landlock {
                config["annotations"] = json!({"dev.nucleus.landlock": rules});
            }
            if seccomp {
                config["linux"]["seccomp"] = filter.clone();
            }
            if all {
                everything(config);
            }
        });
        let mut watch = bed.watch();
        watch.command(None, &["run"], &[]);
        let seen = watch.finish().seen;
        let mut subject = Subject::of("run");
        subject.asks(&["nnp"], nnp);
        subject.asks(&["landlock"], landlock);
        subject.asks(&EVERYTHING, all);
        subject.isolated.plan["filter"] = json!(if seccomp { "plain" } else { "none" });
        for (step, is) in [
            ("NoNewPrivileges", nnp),
            ("Landlock", landlock),
            ("Filter", seccomp),
            ("Terminal", all),
        ] {
            assert_eq!(
                count(&seen, Who::Child(0), &What::Step(step)),
                usize::from(is),
                "{step}"
            );
        }
        assert_eq!(count(&seen, Who::Child(0), &What::Exec), 1);
        subject.holds(&seen, "ok", "program");
    }
}

/// Each command acts on a container that another one has made.
#[test]
fn create_start_exec_kill_delete() {
    let Some(bed) = Bed::new() else { return };
    bed.configure(&["sleep", "1000"], |config| {
        config["process"]["noNewPrivileges"] = json!(true);
    });
    let mut watch = bed.watch();
    watch.command(None, &["create"], &[]);
    // Refused: there is one.
    watch.command(None, &["create"], &[]);
    watch.command(None, &["exec"], &["true"]);
    watch.command(None, &["start"], &[]);
    watch.command(None, &["start"], &[]);
    watch.command(None, &["exec"], &["true"]);
    watch.command(None, &["delete"], &[]);
    watch.command(None, &["kill"], &["KILL"]);
    until("the program ends", || watch.has_ended(0));
    watch.command(None, &["kill"], &["KILL"]);
    watch.command(None, &["exec"], &["true"]);
    watch.command(None, &["delete"], &[]);
    watch.command(None, &["delete", "--force"], &[]);
    let seen = watch.finish().seen;
    let asked = [
        "create", "create", "exec", "start", "start", "exec", "delete", "kill", "kill", "exec", "delete",
        "force",
    ];
    let mut subject = Subject::of("create");
    subject.life.asked = asked.to_vec();
    subject.exchange.starter = Some(3);
    subject.asks(&["nnp"], true);
    let failed: Vec<usize> = (0..asked.len())
        .filter(|number| count(&seen, Who::Command(*number), &What::Exited(0)) == 0)
        .collect();
    assert_eq!(failed, [1, 4, 6, 8, 9, 10][..5], "which were refused");
    subject.holds(&seen, "ok", "program");
    for maker in [2, 5] {
        let mut subject = Subject::of("exec");
        subject.enters(maker);
        subject.asks(&["nnp"], true);
        subject.exchanges(&seen, "ok");
        subject.isolates(&seen, "program");
    }
}

/// What keeps a container from being created, or its program from being started, is told, and nothing is left.
#[test]
fn failures() {
    let Some(bed) = Bed::new() else { return };
    // A program that is not there.
    bed.configure(&["missing"], |_| {});
    let mut watch = bed.watch();
    watch.command(None, &["run"], &[]);
    Subject::of("run").holds(&watch.finish().seen, "failed", "failed");
    // One that is there and is none: with `create`, it is `start` that hears of it.
    std::fs::write(bed.path().join("rootfs/bin/none"), "none").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bed.path().join("rootfs/bin/none"), mode).unwrap();
    bed.configure(&["none"], |_| {});
    let mut watch = bed.watch();
    watch.command(None, &["run"], &[]);
    Subject::of("run").holds(&watch.finish().seen, "failed", "failed");
    let mut watch = bed.watch();
    watch.command(None, &["create"], &[]);
    watch.command(None, &["start"], &[]);
    watch.command(None, &["delete"], &[]);
    let seen = watch.finish().seen;
    assert_eq!(count(&seen, Who::Command(1), &What::Answer(true)), 1);
    let mut subject = Subject::of("create");
    subject.life.asked = vec!["create", "start", "delete"];
    subject.exchange.starter = Some(1);
    subject.holds(&seen, "ok", "failed");
    // No container.
    let mut watch = bed.watch();
    for command in [&["start"][..], &["delete"], &["delete", "--force"]] {
        watch.command(None, command, &[]);
    }
    let seen = watch.finish().seen;
    assert_eq!(count(&seen, Who::Command(2), &What::Exited(0)), 1);
    let mut subject = Subject::of("run");
    subject.life.asked = vec!["start", "delete", "force"];
    subject.lives(&seen);
}
