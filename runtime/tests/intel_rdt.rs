//! `linux.intelRdt` on the real kernel.

mod support;

use serde_json::{Value, json};
use std::path::Path;
use support::Host;

fn add(config: &mut Value, rdt: Value) {
    config["linux"]["intelRdt"] = rdt;
}

fn has_resctrl() -> bool {
    Path::new("/sys/fs/resctrl/schemata").exists()
}

#[test]
fn without_resctrl_the_reason_is_named_and_nothing_is_left() {
    let Some(host) = Host::new() else { return };
    if has_resctrl() {
        return;
    }
    let bundle = host.bundle(|config| add(config, json!({"closID": "gold"})));
    let id = host.id();
    let run = host.run(&["run", "--bundle", bundle.path(), &id]);
    assert_eq!(run.code, 1, "{run}");
    assert!(
        run.stderr
            .contains("set up intelRdt: no resctrl file system is mounted on /sys/fs/resctrl"),
        "{run}"
    );
    assert_eq!(host.leftovers(&id), [""; 0]);
}

#[test]
fn a_class_outside_of_resctrl_is_refused() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| add(config, json!({"closID": "../../../tmp"})));
    let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains("linux.intelRdt.closID"), "{run}");
}

#[test]
#[ignore = "needs a processor with cache or bandwidth control, and resctrl mounted on /sys/fs/resctrl"]
fn a_container_gets_a_class_of_its_own_until_it_is_deleted() {
    let Some(host) = Host::new() else { return };
    assert!(has_resctrl(), "no resctrl on this host");
    let id = host.running(|config| add(config, json!({"enableMonitoring": true})));
    let class = Path::new("/sys/fs/resctrl").join(&id);
    let tasks = std::fs::read_to_string(class.join("mon_groups").join(&id).join("tasks")).expect("tasks");
    let pid = host.state(&id)["pid"].to_string();
    assert!(tasks.lines().any(|task| task == pid), "{tasks}");
    host.ok(&["delete", "--force", &id]);
    assert!(!class.exists());
}
