//! `--workspace-mode copy-in-out`: the workload's changes are shown, taken over or dropped; and what a hostile
//! workload tries with them.

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

#[test]
fn changes_are_told_shown_and_taken_over() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    let before = photograph(&workspace);
    let finished = change(&place, &workspace, CHANGES);
    finished.exits(0);
    assert_eq!(
        finished.stderr,
        format!(
            "nucleus: 13 changes of the workspace wait: nucleus workspace diff {}\n",
            place.name()
        )
    );
    assert_eq!(before, photograph(&workspace), "the workspace itself was changed");
    assert_eq!(diff(&place), LISTED);
    let patch = place.nucleus(&["workspace", "diff", "--patch", place.name()]);
    for line in ["--- a/src/a.txt", "-two", "+2", "+deep", "-old"] {
        assert!(
            patch.exits(0).lines().any(|there| there == line),
            "{line}: {patch:?}"
        );
    }
    let json = place.nucleus(&["workspace", "diff", "--json", place.name()]);
    let json: Value = serde_json::from_str(json.exits(0)).expect("JSON");
    assert_eq!(json[4]["change"], "mode");
    assert_eq!(json[4]["mode-before"], "0644");
    assert!(
        place
            .nucleus(&["workspace", "list"])
            .exits(0)
            .contains(place.name())
    );

    place.nucleus(&["workspace", "commit", place.name()]).exits(0);
    let read = |path: &str| fs::read_to_string(workspace.join(path)).expect("read");
    assert_eq!(read("src/a.txt"), "one\n2\nthree\n");
    assert_eq!(read("sub/deep/file"), "deep\n");
    assert_eq!(read("src/b.txt/in"), "in\n");
    assert!(!workspace.join("old").exists());
    assert_eq!(
        fs::read_link(workspace.join("src/up")).expect("link"),
        Path::new("../added")
    );
    for (path, mode) in [("run.sh", 0o755), ("sub/deep", 0o700), ("who", 0o644)] {
        let metadata = fs::metadata(workspace.join(path)).expect("stat");
        assert_eq!(metadata.mode() & 0o7777, mode, "{path}");
        assert_eq!((metadata.uid(), metadata.gid()), (12_345, 12_346), "{path}");
    }
    place
        .nucleus(&["workspace", "diff", place.name()])
        .fails_with(&["no workspace copy with the name"]);
}

#[test]
fn a_run_without_changes_leaves_no_copy_and_a_dropped_one_nothing() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    let before = photograph(&workspace);
    let finished = change(
        &place,
        &workspace,
        "cat src/a.txt; touch -r run.sh run.sh; echo x > y; rm y",
    );
    assert_eq!(finished.exits(0), "one\ntwo\nthree\n");
    assert_eq!(finished.stderr, "");
    assert_eq!(place.left_in("workspaces"), [""; 0]);
    change(&place, &workspace, "echo x > y").exits(0);
    change(&place, &workspace, "true").fails_with(&["neither taken over nor dropped"]);
    place.nucleus(&["workspace", "drop", place.name()]).exits(0);
    assert_eq!(place.left_in("workspaces"), [""; 0]);
    assert_eq!(before, photograph(&workspace));
}

#[test]
fn some_changes_are_taken_and_the_others_stay() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    change(&place, &workspace, CHANGES).exits(0);
    let commit = |paths: &[&str]| {
        let mut args = vec!["workspace", "commit", place.name()];
        args.extend_from_slice(paths);
        place.nucleus(&args)
    };
    commit(&["no/such"]).fails_with(&["no/such: no change there"]);
    let finished = commit(&["sub/deep/file", "old"]);
    finished.exits(0);
    assert!(finished.stderr.contains("M src/a.txt"), "{finished:?}");
    assert!(workspace.join("sub/deep/file").exists() && !workspace.join("old").exists());
    assert_eq!(
        fs::read_to_string(workspace.join("src/a.txt")).expect("a"),
        "one\ntwo\nthree\n"
    );
    let left = diff(&place);
    assert!(
        !left.contains("old") && !left.contains("sub") && left.contains("M src/a.txt"),
        "{left}"
    );
    commit(&[]).exits(0);
    assert_eq!(place.left_in("workspaces"), [""; 0]);
}

#[test]
fn what_changed_on_the_host_is_a_conflict() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    change(&place, &workspace, CHANGES).exits(0);
    fs::write(workspace.join("src/a.txt"), "one\ntwo\nours\n").expect("write");
    fs::write(workspace.join("added"), "ours\n").expect("write");
    fs::write(workspace.join("old/mine"), "ours\n").expect("write");
    fs::write(workspace.join("elsewhere"), "ours\n").expect("write");
    let before = photograph(&workspace);
    place
        .nucleus(&["workspace", "commit", place.name()])
        .fails_with(&[
            "nothing was changed",
            "added: it is there by now",
            "src/a.txt: it was changed",
            "old: it holds what was not copied",
        ]);
    assert_eq!(before, photograph(&workspace));
    place
        .nucleus(&["workspace", "commit", place.name(), "who"])
        .exits(0);
    place
        .nucleus(&["workspace", "commit", "--force", place.name()])
        .exits(0);
    let read = |path: &str| fs::read_to_string(workspace.join(path)).expect("read");
    assert_eq!(read("src/a.txt"), "one\n2\nthree\n");
    assert_eq!(read("added"), "new\n");
    assert_eq!(read("elsewhere"), "ours\n");
    assert_eq!(read("old/mine"), "ours\n", "a file that was never copied is lost");
    place.nucleus(&["workspace", "drop", place.name()]).exits(0);
}

/// What a workload leaves for the host: nothing of it may arrive unasked.
const HOSTILE: &str = r#"
echo evil > .git/hooks/pre-commit; chmod 755 .git/hooks/pre-commit; echo evil >> .git/config
mkdir -p nested/.git/hooks .vscode; echo evil > nested/.git/config; echo evil > nested/.git/HEAD
echo evil > .vscode/tasks.json; echo evil > .envrc; echo evil > .nucleus.toml; echo evil > .GITMODULES
mkdir -p bare/objects bare/refs; echo evil > bare/HEAD; echo evil > bare/config
ln -s /etc/shadow absolute; ln -s ../../../../etc/shadow relative; ln -s src/../.. winding
ln -sfn /etc src/out; ln -s src/out/shadow through; ln -s .. src/parent; ln -s src/parent/../../x chained
mkfifo fifo; cp /bin/true setuid; chmod 6755 setuid; chmod 1777 src
rm -r old; ln -s /etc old
rm -r .git/hooks; mkdir .git/hooks; echo evil > .git/hooks/post-merge
"#;

#[test]
fn a_hostile_tree_brings_nothing_in_unasked() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    change(&place, &workspace, HOSTILE).exits(0);
    let listing = diff(&place);
    let (plain, protected) = listing
        .split_once("protected, taken over with --include-protected alone:")
        .expect("a protected part");
    for word in [
        "A .git/hooks/post-merge",
        "D .git/hooks/sample",
        "M .git/config",
        "A nested/.git/",
        "A nested/.git/HEAD",
        "A .vscode/tasks.json",
        "M .envrc",
        "A .nucleus.toml",
        "A .GITMODULES",
        "A bare/config",
        "A bare/HEAD",
        "A absolute -> /etc/shadow",
        "A relative -> ",
        "A winding -> ",
        "A through -> ",
        "A chained -> ",
        "T old (directory to symbolic link -> /etc)",
    ] {
        assert!(protected.contains(word), "{word} is not in {protected}");
        assert!(!plain.contains(word), "{word} is in {plain}");
    }
    assert!(plain.contains("! fifo (fifo: not taken over)"), "{plain}");
    place.nucleus(&["workspace", "commit", place.name()]).exits(0);
    for path in [
        ".git/hooks/post-merge",
        ".vscode/tasks.json",
        ".nucleus.toml",
        "bare/config",
        "nested/.git/HEAD",
        "absolute",
        "relative",
        "winding",
        "through",
        "chained",
        "src/out",
        "fifo",
    ] {
        assert!(
            fs::symlink_metadata(workspace.join(path)).is_err(),
            "{path} came in"
        );
    }
    assert!(workspace.join(".git/hooks/sample").exists());
    assert_eq!(
        fs::read_to_string(workspace.join(".envrc")).expect("read"),
        "export A=1\n"
    );
    assert!(workspace.join("old/file").exists());
    let setuid = fs::metadata(workspace.join("setuid")).expect("it came in");
    assert_eq!((setuid.mode() & 0o7777, setuid.uid()), (0o755, 12_345));
    assert_eq!(
        fs::metadata(workspace.join("src")).expect("stat").mode() & 0o7777,
        0o777
    );
    place
        .nucleus(&["workspace", "commit", place.name(), ".git/config"])
        .fails_with(&["--include-protected"]);
    place
        .nucleus(&["workspace", "commit", "--include-protected", place.name(), ".git"])
        .exits(0);
    assert!(
        fs::read_to_string(workspace.join(".git/config"))
            .expect("read")
            .contains("evil")
    );
    assert!(
        workspace.join(".git/hooks/post-merge").exists() && !workspace.join(".git/hooks/sample").exists()
    );
    place.nucleus(&["workspace", "drop", place.name()]).exits(0);
}

/// The host's side is hostile too: another sandbox may have the workspace and swap directories for links.
#[test]
fn a_link_in_the_workspace_never_leads_a_commit_out() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    let outside = place.path("outside");
    fs::create_dir(&outside).expect("mkdir");
    fs::write(outside.join("a.txt"), "mine\n").expect("write");
    change(&place, &workspace, "echo evil > src/a.txt; echo evil > src/new; rm src/b.txt; rm link; mkdir link; echo evil > link/a.txt").exits(0);
    fs::rename(workspace.join("src"), workspace.join("src.old")).expect("rename");
    symlink(&outside, workspace.join("src")).expect("symlink");
    fs::remove_file(workspace.join("link")).expect("unlink");
    symlink(&outside, workspace.join("link")).expect("symlink");
    for options in [
        &["workspace", "commit", place.name()][..],
        &["workspace", "commit", "--force", place.name()],
    ] {
        let _ = place.nucleus(options);
        let names: Vec<_> = fs::read_dir(&outside)
            .expect("read")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(names, ["a.txt"]);
        assert_eq!(fs::read_to_string(outside.join("a.txt")).expect("read"), "mine\n");
    }
    place.nucleus(&["workspace", "drop", place.name()]);
    assert_eq!(place.left_in("workspaces"), [""; 0]);
}

#[test]
fn a_commit_beside_a_swapping_link_never_leaves_the_workspace() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    let outside = place.path("outside");
    fs::create_dir(&outside).expect("mkdir");
    symlink(&outside, workspace.join("swap")).expect("symlink");
    change(
        &place,
        &workspace,
        "for i in $(seq 100); do echo evil > src/f$i; done",
    )
    .exits(0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (one, other) = (workspace.join("src"), workspace.join("swap"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let _ = rustix::fs::renameat_with(rustix::fs::CWD, &one, rustix::fs::CWD, &other, flags);
            }
        });
        for _ in 0..6 {
            let _ = place.nucleus(&["workspace", "commit", "--force", place.name()]);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(
        fs::read_dir(&outside).expect("read").count(),
        0,
        "something left the workspace"
    );
    let _ = place.nucleus(&["workspace", "drop", place.name()]);
    let left: Vec<_> = fs::read_dir(&workspace)
        .expect("read")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().contains("nucleus-commit")),
        "{left:?}"
    );
}

#[test]
fn names_with_control_characters_are_shown_and_taken_over() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    let script = "echo x > \"$(printf 'a\\nb\\033[2J\\377')\"; printf 'x\\033[2Jy\\n' > text";
    change(&place, &workspace, script).exits(0);
    assert_eq!(diff(&place), "A a\\nb\\x1b[2J\\xff\nA text\n");
    place.nucleus(&["workspace", "commit", place.name()]).exits(0);
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(b"a\nb\x1b[2J\xff");
    assert!(workspace.join(name).exists());
}

#[test]
fn the_copy_keeps_times_holes_and_modes() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    let sparse = fs::File::create(workspace.join("sparse")).expect("create");
    sparse.set_len(1 << 30).expect("truncate");
    std::os::unix::fs::FileExt::write_at(&sparse, b"end", (1 << 30) - 3).expect("write");
    chown(workspace.join("sparse"), Some(12_345), Some(12_345)).expect("chown");
    let before = fs::metadata(workspace.join("run.sh")).expect("stat").mtime_nsec();
    let finished = change(
        &place,
        &workspace,
        "stat -c %y run.sh | cut -d. -f2 | cut -d' ' -f1; du -k sparse | cut -f1; tail -c 3 sparse; cp --sparse=always sparse other",
    );
    let lines: Vec<&str> = finished.exits(0).lines().collect();
    assert_eq!(lines[0], format!("{before:09}"));
    assert!(lines[1].parse::<u32>().expect("KiB") < 1024, "{lines:?}");
    assert_eq!(lines[2], "end");
    place.nucleus(&["workspace", "commit", place.name()]).exits(0);
    assert!(fs::metadata(workspace.join("other")).expect("other").blocks() < 2048);
}

#[test]
fn a_change_in_the_first_moment_is_seen() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    for _ in 0..4 {
        // The same size, and the time put back.
        change(
            &place,
            &workspace,
            "touch -r src/a.txt t; echo 'one two thre.' > src/a.txt; touch -r t src/a.txt; rm t",
        )
        .exits(0);
        assert_eq!(diff(&place), "M src/a.txt\n");
        place.nucleus(&["workspace", "drop", place.name()]).exits(0);
    }
}

#[test]
fn protected_files_of_a_bound_workspace_are_read_only_and_stay_where_they_are() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    let bound = workspace.to_str().expect("UTF-8");
    let attacks = r#"
        echo evil > .git/hooks/pre-commit && echo 1
        echo evil > .git/config && echo 2
        mv .git moved && echo 3
        rm -r .git/hooks && echo 4
        mv .git/hooks .git/other && echo 5
        echo evil > .envrc && echo 6
        rm .envrc && echo 7
        echo x > evil; mv evil .envrc && echo 8
        ln -f evil .git/config && echo 9
        mount -o remount,rw,bind .git/hooks && echo 10
        umount .git/hooks && echo 11
        chmod 777 .git/hooks && echo 12
        echo fine > .git/HEAD; echo fine > src/a.txt; exit 0"#;
    let finished = place.sh(&["--workspace", bound], &format!("exec 2>/dev/null; {attacks}"));
    assert_eq!(finished.exits(0), "");
    assert_eq!(
        fs::read_to_string(workspace.join(".git/HEAD")).expect("HEAD"),
        "fine\n"
    );
    assert_eq!(
        fs::read_to_string(workspace.join(".git/config")).expect("config"),
        "[core]\n"
    );
    let metadata = fs::metadata(workspace.join(".git/HEAD")).expect("stat");
    assert_eq!(metadata.uid(), 12_345);
    // Owned by the workload as ever, and without protection as asked.
    let finished = place.sh(
        &["--workspace", bound, "--workspace-unprotected"],
        "echo mine > .envrc; echo mine > .git/hooks/x",
    );
    finished.exits(0);
    // What was not there cannot be mounted over: it is told.
    let finished = place.sh(&["--workspace", bound], "mkdir .vscode; echo x > .git/commondir");
    finished.exits(0);
    assert!(finished.stderr.contains("/.vscode: tasks and"), "{finished:?}");
    assert!(finished.stderr.contains("/.git/commondir: leads"), "{finished:?}");
    fs::remove_dir_all(workspace.join(".git/hooks")).expect("rm");
    let finished = place.sh(
        &["--workspace", bound],
        "mkdir -p .git/hooks; echo x > .git/hooks/pre-commit",
    );
    assert_ne!(finished.code, 0);
    symlink("/etc/hosts", workspace.join(".exrc")).expect("symlink");
    place
        .sh(&["--workspace", bound], "true")
        .fails_with(&[".exrc", "copy-in-out"]);
}

#[test]
fn a_killed_front_end_leaves_changes_to_review_and_no_unfinished_copy() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    let bound = workspace.to_str().expect("UTF-8");
    let mut child = place
        .command(&[
            "run",
            "--name",
            place.name(),
            "--workspace",
            bound,
            "--workspace-mode",
            "copy-in-out",
            "--",
        ])
        .args(["sh", "-c", "echo x > made; sleep 100"])
        .spawn()
        .expect("start");
    let made = place
        .root()
        .join(format!("workspaces/{}/tree/made", place.name()));
    eventually("the workload runs", || {
        fs::read_to_string(&made).is_ok_and(|text| !text.is_empty())
    });
    place
        .nucleus(&["workspace", "commit", place.name()])
        .fails_with(&["nucleus is there still"]);
    child.kill().expect("SIGKILL");
    child.wait().expect("wait");
    eventually("the workload has ended", || place.left_in("runtime").is_empty());
    assert_eq!(diff(&place), "A made\n");
    place.nucleus(&["workspace", "commit", place.name()]).exits(0);
    assert!(workspace.join("made").exists());
    // As a copy looks whose nucleus was killed in the middle.
    let unfinished = place.root().join("workspaces/half/tree/deep");
    fs::create_dir_all(&unfinished).expect("mkdir");
    place.sh(&[], "true").exits(0);
    assert_eq!(place.left_in("workspaces"), [""; 0]);
    place.expect_nothing_left();
}
