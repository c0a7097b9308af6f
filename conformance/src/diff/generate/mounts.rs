//! The root file system and what is mounted below it.

use fastrand::Rng;
use serde_json::{Value, json};

use super::{Feature, Own, once_in, one, some};

/// Where the sources of bind mounts lie; see `world`.
pub(in crate::diff) const SOURCES: &str = "/run/nucleus-diff";

/// Sources, and the directory for targets that says what is mounted there: the list of known differences
/// goes by it.
const BINDS: &[(&str, &str)] = &[
    ("plain", "/bound/plain"),
    ("plain/file", "/bound/file"),
    ("tree", "/bound/tree"),
    ("restricted", "/bound/restricted"),
    ("shared", "/bound/shared"),
];

const FLAGS: &[&str] = &["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime"];
const OPPOSITES: &[&str] = &["rw", "suid", "dev", "exec", "relatime", "strictatime"];
const PROPAGATION: &[&str] = &[
    "private",
    "rprivate",
    "slave",
    "rslave",
    "shared",
    "rshared",
    "unbindable",
    "runbindable",
];

pub(super) fn add(rng: &mut Rng, own: &Own, features: &mut Vec<Feature>) {
    if once_in(rng, 3) {
        features.push(Feature::new("read-only root").set("/root/readonly", json!(true)));
    }
    if once_in(rng, 3) {
        let words = [
            "private",
            "rprivate",
            "slave",
            "rslave",
            "shared",
            "rshared",
            "unbindable",
        ];
        let word = one(rng, &words);
        let name = if word.ends_with("shared") {
            "shared root"
        } else {
            "rootfsPropagation"
        };
        features.push(Feature::new(name).set("/linux/rootfsPropagation", json!(word)));
    }
    for index in 0..rng.usize(..4) {
        features.push(bind(rng, own, index));
    }
    for index in 0..rng.usize(..3) {
        let mut options = flags(rng);
        options.extend(some(
            rng,
            &["size=1m", "mode=1777", "nr_inodes=100", "uid=1000", "gid=1000"],
        ));
        let target = format!("/file-systems/tmpfs{index}");
        features.push(mount("tmpfs", "tmpfs", "tmpfs", &target, options));
    }
    if once_in(rng, 4) {
        let options = vec!["tmpcopyup", "mode=755"];
        features.push(mount(
            "tmpfs filled from below",
            "tmpfs",
            "tmpfs",
            "/etc",
            options,
        ));
    }
    if once_in(rng, 4) {
        features.push(
            mount("sysfs", "sysfs", "sysfs", "/file-systems/sys", flags(rng))
                .filter(own.network && !own.user),
        );
    }
    if once_in(rng, 4) {
        features.push(mount(
            "mqueue",
            "mqueue",
            "mqueue",
            "/file-systems/mqueue",
            flags(rng),
        ));
    }
    if once_in(rng, 4) {
        let mut options = flags(rng);
        options.push("newinstance");
        options.extend(some(rng, &["ptmxmode=0666", "mode=0600", "gid=5"]));
        features.push(mount("devpts", "devpts", "devpts", "/file-systems/pts", options));
    }
    if once_in(rng, 3) {
        let options = if rng.bool() {
            vec!["ro", "nosuid", "noexec", "nodev", "relatime"]
        } else {
            vec!["nosuid", "noexec", "nodev"]
        };
        features.push(mount("cgroup", "cgroup", "cgroup", "/sys/fs/cgroup", options));
    }
    features.retain(|feature| !feature.edits.is_empty());
}

impl Feature {
    /// Empty unless it is wanted.
    fn filter(mut self, wanted: bool) -> Feature {
        if !wanted {
            self.edits.clear();
        }
        self
    }
}

fn bind(rng: &mut Rng, own: &Own, index: usize) -> Feature {
    let (source, dir) = one(rng, BINDS);
    let mut options = vec![one(rng, &["bind", "rbind"])];
    // Locked flags of the source cannot be taken away from within a user namespace.
    options.extend(flags(rng));
    if !own.user {
        let opposite = one(rng, OPPOSITES);
        // Of two access time rules runc does not take the later one.
        if !opposite.ends_with("atime") || !options.contains(&"noatime") {
            options.push(opposite);
        }
    }
    if once_in(rng, 3) {
        options.push(one(rng, PROPAGATION));
    }
    if once_in(rng, 6) {
        options.push(one(rng, &["rro", "rnosuid", "rnodev", "rnoexec", "rnoatime"]));
    }
    let through = if once_in(rng, 6) { "/link" } else { "" };
    let source = format!("{SOURCES}/{source}");
    mount(
        "bind mount",
        "bind",
        &source,
        &format!("{through}{dir}{index}"),
        options,
    )
}

fn flags(rng: &mut Rng) -> Vec<&'static str> {
    some(rng, FLAGS)
}

fn mount(name: &'static str, kind: &str, source: &str, target: &str, options: Vec<&str>) -> Feature {
    let value: Value = json!({"type": kind, "source": source, "destination": target, "options": options});
    Feature::new(name).push("/mounts", value)
}
