//! What a hostile workload leaves for the host, and what a hostile hand on the host does beside a commit.

use super::*;
use std::process::{Command, Stdio};

/// What a workload leaves for the host: nothing of it may arrive unasked.
const HOSTILE: &str = r#"
echo evil > .git/hooks/pre-commit; chmod 755 .git/hooks/pre-commit; echo evil >> .git/config
mkdir -p nested/.git/hooks .vscode; echo evil > nested/.git/config; echo evil > nested/.git/HEAD
echo evil > .vscode/tasks.json; echo evil > .envrc; echo evil > .nucleus.toml; echo evil > .GITMODULES
mkdir -p bare/objects bare/refs; echo evil > bare/HEAD; echo evil > bare/config
mkdir -p half rest/objects rest/refs; echo 'ref: refs/heads/main' > half/HEAD; echo ../rest > half/commondir
printf '[alias]\n\tst = !echo evil\n' > rest/config
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
        "A half/commondir",
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
        "half/commondir",
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
    // A repository in two directories, neither of which is one: Git would take the configuration of the other.
    if support::installed("git") {
        let git = Command::new("git")
            .args(["-C", workspace.join("half").to_str().expect("UTF-8"), "st"])
            .output()
            .expect("git");
        assert!(!String::from_utf8_lossy(&git.stdout).contains("evil"), "{git:?}");
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

/// Somebody saves a file, as editors do, when a commit has looked at it for the last time and is about to rename: strace(1)
/// holds it there.
#[test]
fn what_is_saved_in_the_last_moment_before_a_commit_is_not_lost() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    let (file, saved) = (workspace.join("src/a.txt"), place.path("workspace/saved"));
    for script in [
        "echo theirs > src/a.txt",
        "rm src/a.txt",
        "rm src/a.txt; mkdir src/a.txt",
    ] {
        for late in [false, true] {
            fs::write(&file, "before\n").expect("write");
            give(&file);
            change(&place, &workspace, script).exits(0);
            fs::write(&saved, "ours\n").expect("write");
            let log = place.path("strace");
            let mut commit = Command::new("strace")
                .arg("-o")
                .arg(&log)
                .args([
                    "-e",
                    "inject=renameat,renameat2:delay_enter=700ms:when=1",
                    "-e",
                    "trace=renameat,renameat2",
                ])
                .arg(support::NUCLEUS)
                .arg("--root")
                .arg(place.root())
                .args(["workspace", "commit", place.name()])
                .stderr(Stdio::null())
                .spawn()
                .expect("start strace");
            let stage = workspace.join(format!(".nucleus-commit-{}", place.name()));
            eventually("it is at work", || {
                stage.exists() || commit.try_wait().is_ok_and(|ended| ended.is_some())
            });
            std::thread::sleep(std::time::Duration::from_millis(250));
            if late {
                fs::rename(&saved, &file).expect("rename");
            }
            let committed = commit.wait().expect("wait").success();
            assert_eq!(committed, !late, "{script}");
            if late {
                assert_eq!(fs::read_to_string(&file).expect("read"), "ours\n", "{script}");
                place.nucleus(&["workspace", "drop", place.name()]).exits(0);
            } else {
                assert_ne!(
                    fs::read_to_string(&file).unwrap_or_default(),
                    "before\n",
                    "{script}"
                );
                let _ = fs::remove_dir(&file);
            }
            assert!(!stage.exists(), "{script}");
        }
    }
}
