//! Root directories that outlast a sandbox are shared by those that cannot change them.

mod support;

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use support::Place;

fn kept(place: &Place) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place.root().join("roots"));
    entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

#[test]
fn the_next_sandbox_gets_the_same_root_directory() {
    let Some(place) = Place::new() else { return };
    place.sh(&[], "true").exits(0);
    let [root] = kept(&place).try_into().expect("one is kept");
    let made = root.metadata().expect("it is there");
    place.sh(&[], "cat /etc/hostname").exits(0);
    assert_eq!(kept(&place), std::slice::from_ref(&root));
    let found = root.metadata().expect("it is there");
    assert_eq!(
        (made.ino(), made.ctime_nsec()),
        (found.ino(), found.ctime_nsec()),
        "used as it was"
    );
    place
        .sh(&["--hostname", "other"], "grep -x other /etc/hostname")
        .exits(0);
    assert_eq!(kept(&place).len(), 2);
}

#[test]
fn a_workload_cannot_change_it_for_the_next() {
    let Some(place) = Place::new() else { return };
    let attack = "mount -o remount,rw / 2>/dev/null; echo evil >/etc/hostname; echo evil >/etc/ld.so.preload;
                  chmod 777 /etc; rm -r /etc/hostname; ln -s /tmp /evil; exit 7";
    place.sh(&[], attack).exits(7);
    let look = "cat /etc/hostname; ls -d /etc/ld.so.preload /evil 2>/dev/null; stat -c %a /etc";
    assert_eq!(place.sh(&[], look).exits(0), "sandbox\n755\n");
    assert_eq!(kept(&place).len(), 1);
}

#[test]
fn a_changed_one_is_made_anew() {
    let Some(place) = Place::new() else { return };
    place.sh(&[], "true").exits(0);
    let [root] = kept(&place).try_into().expect("one is kept");
    std::fs::write(root.join("rootfs/etc/hostname"), "sandbux\n").expect("write");
    assert_eq!(place.sh(&[], "cat /etc/hostname").exits(0), "sandbox\n");
    assert_eq!(kept(&place).len(), 1);
}

#[test]
fn a_workload_with_capabilities_and_a_detached_one_have_their_own() {
    let Some(place) = Place::new() else { return };
    let policy = place.path("caps.toml");
    std::fs::write(
        &policy,
        "bounding = [\"CAP_SYS_ADMIN\"]\npermitted = [\"CAP_SYS_ADMIN\"]\n",
    )
    .expect("write");
    let policy = policy.to_string_lossy();
    place.sh(&["--caps-policy", &policy], "true").exits(0);
    place
        .sh(&["--detach", "--name", "roots-detached"], "exec sleep 60")
        .exits(0);
    assert!(kept(&place).is_empty());
    place.nucleus(&["rm", "--force", "roots-detached"]).exits(0);
}

/// Whatever the caller keeps from others, the workload, another user, can enter its own root.
#[test]
fn a_strict_umask_does_not_shut_the_workload_out() {
    let Some(place) = Place::new() else { return };
    let command = place.command(&["run", "--", "sh", "-c", "stat -c %a / /etc /etc/hostname"]);
    let mut shell = std::process::Command::new("/bin/sh");
    shell
        .args(["-c", "umask 077; exec \"$0\" \"$@\""])
        .arg(command.get_program());
    let output = shell.args(command.get_args()).output().expect("start sh");
    let text = support::Finished::from(output);
    assert_eq!(text.exits(0), "755\n755\n644\n");
}
