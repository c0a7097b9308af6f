//! A root file system for production mode: every file is the workload's own, so that only the mount is in its way.

use crate::bed::Bed;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

const DIRECTORIES: [&str; 11] = [
    "bin",
    "usr",
    "etc",
    "proc",
    "dev",
    "sys",
    "tmp",
    "run",
    "home/agent",
    "programs",
    "volume",
];

/// The options for it. A program in it has the set-user-ID bit, and is owned by who is root inside.
pub(crate) fn options(bed: &Bed, name: &str) -> Vec<String> {
    let root = bed.place.path("rootfs");
    let map = bed.nucleus(&["run", "--name", name, "--", "cat", "/proc/self/uid_map"]);
    let first: u32 = map
        .exits(0)
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .expect("a map");
    let own = |path: &Path, uid| chown(path, Some(uid), Some(uid)).expect("chown");
    own_directories(&root, first + 1000);
    let program = root.join("bin/setuid");
    fs::copy(bed.place.path("programs/attacks"), &program).expect("copy");
    own(&program, first);
    fs::set_permissions(&program, Permissions::from_mode(0o4755)).expect("chmod");
    let at = root.display().to_string();
    let pin = bed.nucleus(&["attest", "create", &at]);
    let pin = pin.exits(0).trim();
    let manifest = fs::read_dir(&root).expect("the root").flatten();
    for file in manifest.filter(|entry| entry.path().is_file()) {
        own(&file.path(), first + 1000);
    }
    let words = [
        "--mode",
        "production",
        "--name",
        name,
        "--rootfs",
        &at,
        "--rootfs-manifest-sha256",
        pin,
        "--user",
        "1000",
        "--memory",
        "64M",
    ];
    words.map(str::to_owned).to_vec()
}

fn own_directories(root: &Path, uid: u32) {
    for inside in DIRECTORIES {
        let mut path = root.join(inside);
        fs::create_dir_all(&path).expect("mkdir");
        while path.starts_with(root) {
            chown(&path, Some(uid), Some(uid)).expect("chown");
            path.pop();
        }
    }
}
