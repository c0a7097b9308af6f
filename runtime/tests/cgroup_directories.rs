//! Making and removing the directories, ours and systemd's.

mod cgroups;

use cgroups::{directory, finish, inside, planned, resources, unique, v1, v2_with, value};
use nucleus_runtime::cgroup::{Driver, Layout, Record, Request, create, plan};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

#[test]
fn an_intended_record_kills_nothing_and_removes_what_is_empty() {
    let Some(layout) = v1() else { return };
    let plan = planned(&layout, &format!("/{}", unique("intent")), &Default::default());
    let entered = create(&plan).unwrap();
    let intent: Record = serde_json::from_str(&serde_json::to_string(&plan.intent()).unwrap()).unwrap();
    let child = inside(&entered, "");
    intent.kill_all(9).unwrap();
    assert!(intent.delete().is_err());
    assert!(finish(child).success());
    intent.delete().unwrap();
    assert!(entered.record.paths().all(|(_, path)| !fs::exists(path).unwrap()));
}

#[test]
fn what_was_there_before_stays() {
    let Some(layout) = v1() else { return };
    let name = unique("before");
    let plan = planned(&layout, &format!("/{name}/inner"), &Default::default());
    let before = create(&planned(&layout, &format!("/{name}"), &Default::default())).unwrap();
    let inner = directory(&before, "pids") + "/inner";
    fs::create_dir(&inner).unwrap();
    let entered = create(&plan).unwrap();
    let saved: Record = serde_json::from_str(&serde_json::to_string(&entered.record).unwrap()).unwrap();
    assert_eq!(saved, entered.record);
    saved.delete().unwrap();
    assert!(fs::exists(&inner).unwrap());
    assert!(before.record.paths().all(|(_, path)| fs::exists(path).unwrap()));
    before.record.delete().unwrap();
}

#[test]
fn concurrent_containers_share_a_new_parent() {
    let Some(layout) = v1() else { return };
    let parent = unique("parallel");
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (layout, parent) = (&layout, &parent);
            scope.spawn(move || {
                for round in 0..10 {
                    let path = format!("/{parent}/{worker}-{round}");
                    let entered = create(&planned(layout, &path, &Default::default())).unwrap();
                    assert_eq!(value(&entered, "cpuset", "cpuset.mems"), "0");
                    entered.record.delete().unwrap();
                }
            });
        }
    });
    let Layout::V1 { hierarchies, unified } = &layout else {
        unreachable!()
    };
    for hierarchy in hierarchies.iter().chain(unified) {
        // A parent goes with the container that made it, if no other is in it then.
        let _ = fs::remove_dir(format!("{}/{parent}", hierarchy.mount));
    }
}

#[test]
fn a_refused_limit_leaves_nothing() {
    let Some(layout) = v1() else { return };
    // The list is well formed, and no machine has such a CPU.
    let resources = resources(r#"{"cpu": {"cpus": "90000"}, "pids": {"limit": 5}}"#);
    let name = unique("refused");
    let error = create(&planned(&layout, &format!("/{name}/inner"), &resources)).unwrap_err();
    assert!(error.to_string().contains("linux.resources.cpu.cpus"), "{error}");
    assert!(error.errno().is_some());
    let Layout::V1 { hierarchies, unified } = &layout else {
        unreachable!()
    };
    for hierarchy in hierarchies.iter().chain(unified) {
        assert!(
            !fs::exists(format!("{}/{name}", hierarchy.mount)).unwrap(),
            "{hierarchy:?}"
        );
    }
}

#[test]
fn no_controllers_below_a_cgroup_with_processes() {
    let Some(layout) = v2_with(&["memory"]) else {
        return;
    };
    let name = unique("v2-busy");
    let parent = create(&planned(&layout, &format!("/{name}"), &Default::default())).unwrap();
    let child = inside(&parent, "");
    let limits = resources(r#"{"memory": {"limit": 67108864}}"#);
    let error = create(&planned(&layout, &format!("/{name}/inner"), &limits)).unwrap_err();
    assert!(error.to_string().contains("with processes of its own"), "{error}");
    assert!(!fs::exists(directory(&parent, "") + "/inner").unwrap());
    finish(child);
    parent.record.delete().unwrap();
}

fn systemctl(arguments: &[&str]) -> String {
    let output = Command::new("systemctl").args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn scopes_of_systemd() {
    if cfg!(debug_assertions) {
        // The placeholder's fork asserts that it is the only thread, which is not so in a test.
        return println!("skipped: needs a release build");
    }
    let Some(layout) = v2_with(&["memory", "pids", "cpu"]) else {
        return;
    };
    if !fs::exists("/run/systemd/private").unwrap() {
        return println!("skipped: systemd does not run");
    }
    let name = format!("{}", std::process::id());
    let path = format!("nucleus-test.slice:t:{name}");
    let unit = format!("t-{name}.scope");
    let planned = |json: &str| {
        let resources = resources(json);
        let request = Request {
            cgroups_path: Some(&path),
            id: "unused",
            resources: Some(&resources),
            devices: &[],
            rootless: false,
            driver: Driver::Systemd,
            annotations: None,
        };
        plan(&layout, &request).unwrap()
    };
    let limits = r#"{"memory": {"limit": 67108864}, "pids": {"limit": 10},
                     "cpu": {"shares": 2048, "quota": 33300, "period": 100000}}"#;
    let entered = create(&planned(limits)).unwrap();
    let place = directory(&entered, "");
    assert_eq!(
        place,
        format!("/sys/fs/cgroup/nucleus.slice/nucleus-test.slice/{unit}")
    );
    let child = inside(&entered, "");
    // The placeholder goes, and the scope stays with the process that entered it.
    let record: Record = serde_json::from_str(&serde_json::to_string(&entered.record).unwrap()).unwrap();
    drop(entered);
    assert!(
        record
            .pids()
            .unwrap()
            .contains(&i32::try_from(child.id()).unwrap())
    );
    let read = |file: &str| {
        fs::read_to_string(format!("{place}/{file}"))
            .unwrap()
            .trim_end()
            .to_owned()
    };
    let limits = || ["memory.max", "pids.max", "cpu.max"].map(read);
    assert_eq!(limits(), ["67108864", "10", "33300 100000"]);
    assert_eq!(
        systemctl(&["show", "--value", "-p", "MemoryMax", &unit]),
        "67108864"
    );
    assert_eq!(systemctl(&["show", "--value", "-p", "Delegate", &unit]), "yes");
    record
        .update(&resources(
            r#"{"memory": {"limit": 134217728}, "pids": {"limit": -1}}"#,
        ))
        .unwrap();
    systemctl(&["daemon-reload"]);
    assert_eq!(limits()[..2], ["134217728", "max"]);
    assert_eq!(systemctl(&["is-active", &unit]), "active");
    record.kill_all(9).unwrap();
    assert_eq!(finish(child).signal(), Some(9));
    record.delete().unwrap();
    record.delete().unwrap();
    assert!(!fs::exists(&place).unwrap());
    assert_eq!(
        systemctl(&["show", "--value", "-p", "LoadState", &unit]),
        "not-found"
    );
    // A limit that the kernel refuses leaves no unit.
    let error = create(&planned(r#"{"unified": {"memory.high": "much"}}"#)).unwrap_err();
    assert!(error.to_string().contains("linux.resources.unified"), "{error}");
    assert_eq!(
        systemctl(&["show", "--value", "-p", "LoadState", &unit]),
        "not-found"
    );
}
