//! Changes are told, shown, taken over, left and dropped; what the host changed meanwhile is a conflict.

use super::*;

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
