//! A workspace that the workload writes to itself.

use super::*;

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
