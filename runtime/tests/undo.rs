//! What a creation that fails has made is taken back, with the processes that hooks have left in its group.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use support::{Host, eventually};

/// Without a pid namespace of its own the end of the first process ends no other: a daemon that a hook has started
/// inside would keep the control group, and nobody could find either any more.
#[test]
fn a_failed_creation_ends_what_its_hooks_have_started() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["/no/such/program"]));
    let mut config: Value =
        serde_json::from_slice(&fs::read(bundle.file("config.json")).expect("config.json")).expect("JSON");
    let list = config["linux"]["namespaces"].as_array_mut().expect("a list");
    list.retain(|namespace| namespace["type"] != "pid");
    let pid_file = bundle.file("daemon");
    let script = format!(
        "sleep 1000 >/dev/null 2>&1 </dev/null & echo $! > {}",
        pid_file.display()
    );
    config["hooks"]["createContainer"] =
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]);
    bundle.write(&config);
    for command in ["run", "create"] {
        let id = host.id();
        let finished = host.run(&[command, "--bundle", bundle.path(), &id]);
        assert!(
            finished.code != 0 && finished.stderr.contains("no such"),
            "{finished}"
        );
        let pid = fs::read_to_string(&pid_file).expect("the daemon's id");
        let process = format!("/proc/{}", pid.trim());
        eventually("the daemon ends", || !Path::new(&process).exists());
        assert_eq!(host.leftovers(&id), [""; 0], "{command}");
    }
}
