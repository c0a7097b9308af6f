//! No two sandboxes of root's have the same ids on the host, whatever their names and roots.

mod support;

use nucleus_shim::ranges::first;
use nucleus_shim::store::Store;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{NUCLEUS, Place, eventually};

/// Names for which the search begins at the same range, under this root.
fn colliding(place: &Place, root: &Path, wanted: u32, count: usize) -> Vec<String> {
    let store = Store::open(Some(root.to_owned())).expect("a store");
    (0..)
        .map(|at| format!("{}-{at}", place.name()))
        .filter(|name| first(&store.full_name(name)) == wanted)
        .take(count)
        .collect()
}

fn nucleus(root: &Path, args: &[&str]) -> support::Finished {
    let mut command = Command::new(NUCLEUS);
    command.arg("--root").arg(root).args(args);
    command.output().expect("start nucleus").into()
}

/// First user and group id of a running sandbox on the host, as the kernel has them.
fn ids(root: &Path, name: &str) -> (u32, u32) {
    let state: Value = serde_json::from_str(nucleus(root, &["state", name]).exits(0)).expect("JSON");
    let map = |kind: &str| {
        let text = fs::read_to_string(format!("/proc/{}/{kind}_map", state["pid"])).expect("a map");
        let words: Vec<u32> = text
            .split_whitespace()
            .map(|word| word.parse().expect("a number"))
            .collect();
        assert_eq!((words[0], words[2], words.len()), (0, 65_536, 3), "{text}");
        words[1]
    };
    (map("uid"), map("gid"))
}

/// Sandboxes in a directory of this root that have a range.
fn owners(root: &Path) -> Vec<PathBuf> {
    let root = root.canonicalize().expect("a root");
    let links = fs::read_dir("/run/nucleus/ids").expect("the ranges");
    let targets = links.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.starts_with(&root)).collect()
}

fn detach(root: &Path, name: &str) -> Command {
    let mut command = Command::new(NUCLEUS);
    command.arg("--root").arg(root);
    command.args(["run", "--detach", "--name", name, "--", "sleep", "1000"]);
    command
}

#[test]
fn names_that_collide_have_ids_of_their_own_also_under_another_root() {
    let Some(place) = Place::new() else { return };
    let (one, two) = (place.root(), place.path("two"));
    let wanted = first(
        &Store::open(Some(one.clone()))
            .expect("a store")
            .full_name(place.name()),
    );
    let mut sandboxes: Vec<_> = colliding(&place, &one, wanted, 2)
        .into_iter()
        .map(|name| (&one, name))
        .collect();
    sandboxes.extend(
        colliding(&place, &two, wanted, 2)
            .into_iter()
            .map(|name| (&two, name)),
    );
    for (root, name) in &sandboxes {
        assert!(
            detach(root, name).status().expect("start nucleus").success(),
            "{name}"
        );
    }
    let found: Vec<_> = sandboxes.iter().map(|(root, name)| ids(root, name)).collect();
    assert!(found.iter().all(|(user, group)| user == group), "{found:?}");
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 4, "{found:?}");
    // The first of them is gone: the next that wants its range has it, and not before.
    let (root, name) = &sandboxes[0];
    nucleus(root, &["rm", "--force", name]).exits(0);
    assert_eq!((owners(&one).len(), owners(&two).len()), (1, 2));
    assert!(detach(root, name).status().expect("start nucleus").success());
    assert_eq!(
        ids(root, name),
        found[0],
        "the same name has the same range again"
    );
    for (root, name) in &sandboxes {
        nucleus(root, &["rm", "--force", name]).exits(0);
    }
    assert_eq!((owners(&one).len(), owners(&two).len()), (0, 0));
}

#[test]
fn thirty_that_collide_at_once_have_thirty_ranges() {
    let Some(place) = Place::new() else { return };
    let root = place.root();
    let names = colliding(&place, &root, first(place.name()), 30);
    let started: Vec<_> = names
        .iter()
        .map(|name| detach(&root, name).spawn().expect("start nucleus"))
        .collect();
    for mut child in started {
        assert!(child.wait().expect("wait").success());
    }
    let found: BTreeSet<_> = names.iter().map(|name| ids(&root, name)).collect();
    assert_eq!(found.len(), 30, "{found:?}");
    let args = [
        &["rm", "--force"],
        &*names.iter().map(String::as_str).collect::<Vec<_>>(),
    ]
    .concat();
    nucleus(&root, &args).exits(0);
    assert_eq!(owners(&root), Vec::<PathBuf>::new());
}

#[test]
fn what_a_killed_call_has_taken_is_free_after_the_next() {
    let Some(place) = Place::new() else { return };
    let mut killed = place
        .command(&["run", "--", "sleep", "1000"])
        .spawn()
        .expect("start nucleus");
    eventually("it has a range", || {
        place.root().exists() && !owners(&place.root()).is_empty()
    });
    killed.kill().expect("kill");
    killed.wait().expect("wait");
    assert_eq!(owners(&place.root()).len(), 1);
    place.nucleus(&["run", "--", "true"]).exits(0);
    assert_eq!(owners(&place.root()), Vec::<PathBuf>::new());
    // A start that fails leaves none either.
    place.nucleus(&["run", "--", "no-such-program"]).exits(127);
    assert_eq!(owners(&place.root()), Vec::<PathBuf>::new());
}

/// In a mount namespace of its own, where all ranges are taken.
#[test]
fn nothing_starts_where_no_range_is_left() {
    let Some(place) = Place::new() else { return };
    let fill = "import os\nfor n in range(14000): os.symlink('/', f'/run/nucleus/ids/{n}')";
    let script = format!(
        "mkdir -p -m 700 /run/nucleus && mount -t tmpfs -o mode=700 ids /run/nucleus && mkdir -m 700 /run/nucleus/ids && \
         python3 -c \"{fill}\" && exec {NUCLEUS} --root {} run -- true",
        place.root().display()
    );
    let finished = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .output();
    support::Finished::from(finished.expect("unshare"))
        .fails_with(&["no range of user ids is free: links in /run/nucleus/ids"]);
}

/// A bundle runs when nobody here knows of it.
#[test]
fn a_bundle_has_no_range_that_a_sandbox_has() {
    let Some(place) = Place::new() else { return };
    let output = place.path("bundle");
    place
        .nucleus(&[
            "bundle",
            "--output",
            output.to_str().expect("UTF-8"),
            "--",
            "true",
        ])
        .exits(0);
    let text = fs::read(output.join("config.json")).expect("a configuration");
    let config: Value = serde_json::from_slice(&text).expect("JSON");
    let user = config["linux"]["uidMappings"][0]["hostID"]
        .as_u64()
        .expect("an id");
    let past_sandboxes = 524_288 + 14_000 * 65_536;
    assert!(
        (past_sandboxes..past_sandboxes + 14_000 * 65_536).contains(&user),
        "{user}"
    );
}

/// Whoever removed a `--root` as a whole has left the link.
#[test]
fn a_range_whose_sandbox_is_gone_is_free_unless_a_process_has_its_ids() {
    let Some(place) = Place::new() else { return };
    let (root, name) = (place.root(), place.name());
    let run = || {
        let map = place.nucleus(&["run", "--name", name, "--", "cat", "/proc/self/uid_map"]);
        let first = map.exits(0).split_whitespace().nth(1).map(str::to_owned);
        first.and_then(|word| word.parse::<u32>().ok()).expect("an id")
    };
    // Far from those that other tests take meanwhile, most likely.
    let usual = run();
    let number = first(&Store::open(Some(root)).expect("a store").full_name(name));
    assert_eq!(usual, 524_288 + number * 65_536);
    let link = Path::new("/run/nucleus/ids").join(number.to_string());
    let plant = || std::os::unix::fs::symlink(place.path("gone"), &link).expect("symlink");
    plant();
    let mut process = Command::new("setpriv")
        .args([
            "--reuid",
            &(usual + 7).to_string(),
            "--clear-groups",
            "sleep",
            "1000",
        ])
        .spawn()
        .expect("setpriv");
    let status = format!("/proc/{}/status", process.id());
    let has_id = |text: String| text.contains(&format!("Uid:\t{}\t", usual + 7));
    eventually("it has its id", || fs::read_to_string(&status).is_ok_and(has_id));
    assert_ne!(run(), usual, "another one");
    process.kill().expect("kill");
    process.wait().expect("wait");
    assert!(link.is_symlink(), "it was left alone");
    assert_eq!(run(), usual);
    assert!(!link.is_symlink(), "it was taken, and given back");
    plant();
    fs::create_dir(place.path("gone")).expect("mkdir");
    assert_ne!(run(), usual, "its sandbox is there");
    fs::remove_file(&link).expect("unlink");
}
