//! Commands that act on one container at the same time, on the real kernel.

mod support;

use serde_json::json;
use support::{Host, eventually};

/// `run` waits for its program without keeping others from the container.
#[test]
fn other_commands_act_on_a_container_that_run_waits_for() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    let id = host.id();
    let run = host.command(&["run", "--bundle", bundle.path(), &id]).spawn();
    let mut run = run.expect("start run");
    eventually("it runs", || host.run(&["state", &id]).stdout.contains("running"));
    host.ok(&["pause", &id]);
    assert_eq!(host.state(&id)["status"], "paused");
    host.ok(&["resume", &id]);
    host.ok(&["delete", "--force", &id]);
    let ended = run.wait().expect("wait for run");
    assert_eq!(ended.code(), Some(137), "run tells how its program ended");
}

/// `create` that finds another one's container in its directory leaves it alone. That takes a `delete` and another
/// `create` between its `mkdir` and its lock; here the other container is there as if they had been that quick.
#[test]
fn a_directory_is_filled_once() {
    let Some(host) = Host::new() else { return };
    let root = host.root();
    std::fs::create_dir_all(&root).unwrap();
    let id = host.id();
    let first = nucleus_runtime::state::Directory::create(&root, &id).unwrap();
    first.claim("config.json", b"first").unwrap();
    drop(first);
    let second = nucleus_runtime::state::Directory::open(&root, &id).unwrap();
    second.lock().unwrap();
    let refused = second.claim("config.json", b"second").unwrap_err();
    assert_eq!(refused.to_string(), format!("container {id:?} already exists"));
    let files: Vec<_> = std::fs::read_dir(root.join(&id)).unwrap().collect();
    assert_eq!(files.len(), 1);
    assert_eq!(
        std::fs::read(root.join(&id).join("config.json")).unwrap(),
        b"first"
    );
}
