//! `--workspace-mode copy-in-out`: the workload's changes are shown, taken over or dropped; and what a hostile
//! workload tries with them.

mod bound;
mod faithful;
mod hostile;
mod review;
#[path = "../support/mod.rs"]
mod support;

use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use support::{Finished, Place, eventually};

/// A workspace of a user with a repository, a script, a link and a directory.
fn workspace(place: &Place) -> PathBuf {
    let workspace = place.path("workspace");
    for directory in ["", ".git", ".git/hooks", "src", "old"] {
        fs::create_dir(workspace.join(directory)).expect("mkdir");
    }
    for (file, text) in [
        (".git/config", "[core]\n"),
        (".git/HEAD", "ref: refs/heads/main\n"),
        (".git/hooks/sample", "#!/bin/sh\n"),
        (".envrc", "export A=1\n"),
        ("src/a.txt", "one\ntwo\nthree\n"),
        ("src/b.txt", "b\n"),
        ("old/file", "old\n"),
        ("run.sh", "#!/bin/sh\necho ran\n"),
    ] {
        fs::write(workspace.join(file), text).expect("write");
    }
    fs::set_permissions(workspace.join("run.sh"), PermissionsExt::from_mode(0o644)).expect("chmod");
    symlink("src/a.txt", workspace.join("link")).expect("symlink");
    give(&workspace);
    workspace
}

fn give(path: &Path) {
    std::os::unix::fs::lchown(path, Some(12_345), Some(12_346)).expect("chown");
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).expect("read").flatten() {
            give(&entry.path());
        }
    }
}

/// Runs a script in a copy with the place's name.
fn change(place: &Place, workspace: &Path, script: &str) -> Finished {
    let workspace = workspace.to_str().expect("UTF-8");
    place.sh(
        &[
            "--name",
            place.name(),
            "--workspace",
            workspace,
            "--workspace-mode",
            "copy-in-out",
        ],
        script,
    )
}

fn diff(place: &Place) -> String {
    place
        .nucleus(&["workspace", "diff", place.name()])
        .exits(0)
        .to_owned()
}

/// Every path with its content, owner and mode.
fn photograph(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("read").flatten() {
            let path = entry.path();
            let metadata = fs::symlink_metadata(&path).expect("stat");
            let content = if metadata.is_symlink() {
                fs::read_link(&path).expect("link").into_os_string()
            } else if metadata.is_dir() {
                open.push(path.clone());
                "/".into()
            } else {
                fs::read_to_string(&path).expect("read").into()
            };
            found.push(format!(
                "{} {:o} {} {content:?}",
                path.display(),
                metadata.mode(),
                metadata.uid()
            ));
        }
    }
    found.sort();
    found
}

const CHANGES: &str = "
id -u > who; echo new > added; mkdir -p sub/deep; echo deep > sub/deep/file; chmod 700 sub/deep
printf 'one\\n2\\nthree\\n' > src/a.txt
rm -r old; chmod 755 run.sh; rm src/b.txt; mkdir src/b.txt; echo in > src/b.txt/in
ln -sf src/none link; ln -s ../added src/up
";

const LISTED: &str = "\
A added
M link -> src/none
D old
D old/file
P run.sh (0644 to 0755)
M src/a.txt
T src/b.txt (file to directory)
A src/b.txt/in
A src/up -> ../added
A sub/
A sub/deep/
A sub/deep/file
A who
";
