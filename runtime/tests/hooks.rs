//! What hooks find when they run.

mod support;

use serde_json::{Value, json};
use std::fs;
use support::Host;

/// The runtime blocks all signals while it makes a container. A hook that inherited that could not be ended by
/// SIGTERM, nor could a daemon that it starts.
#[test]
fn hooks_run_with_no_signal_blocked() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["true"]));
    let mut config: Value =
        serde_json::from_slice(&fs::read(bundle.file("config.json")).expect("config.json")).expect("JSON");
    let kinds = [
        "prestart",
        "createRuntime",
        "createContainer",
        "poststart",
        "poststop",
    ];
    for kind in kinds {
        let script = format!("cat /proc/self/status > {}", bundle.file(kind).display());
        config["hooks"][kind] =
            json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]);
    }
    let script = "cat /proc/self/status > /tmp/startContainer";
    config["hooks"]["startContainer"] =
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]);
    bundle.write(&config);
    let finished = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!(finished.code, 0, "{finished}");
    let mut files: Vec<_> = kinds.iter().map(|kind| bundle.file(kind)).collect();
    files.push(bundle.rootfs("/tmp/startContainer"));
    for file in files {
        let status = fs::read_to_string(&file).expect("the hook's file");
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t"));
        assert_eq!(blocked, Some("0000000000000000"), "{}", file.display());
    }
}
