//! What the annotation `dev.nucleus.landlock` may say, and what `state` and `features` tell of it.

mod confined;
mod support;

use confined::{ANNOTATION, ENFORCED, annotate, confined, files, host};
use serde_json::{Value, json};

#[test]
fn optional_paths_may_be_missing_and_others_not() {
    let Some(host) = host() else { return };
    let rule = |optional: bool| {
        files(json!([
            {"allowedAccess": ["read_file"], "paths": ["/nowhere", "/etc/passwd/x"], "optional": optional},
            {"allowedAccess": ["read_file"], "paths": ["/free"]}
        ]))
    };
    let attempts = ["read:/free/file", "read:/closed/file"];
    let Some(run) = confined(&host, &rule(true), &attempts, |_| {}) else {
        return;
    };
    assert_eq!(run.stdout, "read:/free/file 0\nread:/closed/file 13\n", "{run}");

    let refusal = "landlock: add rule for \"/nowhere\": no such file or directory (ENOENT)\n";
    let Some(run) = confined(&host, &rule(false), &attempts, |_| {}) else {
        return;
    };
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run}");
    assert!(run.stderr.ends_with(refusal), "{run}");

    let bundle = host.bundle(|config| annotate(config, &rule(false)));
    let id = host.id();
    host.ok(&["create", "--bundle", bundle.path(), &id]);
    let start = host.run(&["start", &id]);
    assert_eq!(start.code, 1, "{start}");
    assert!(start.stderr.ends_with(refusal), "{start}");
}

/// A rule follows the links of the root file system, not those of `/proc` that lead to other roots or descriptors.
#[test]
fn a_rule_follows_no_link_of_proc() {
    let Some(host) = host() else { return };
    for path in ["/proc/self/root", "/proc/1/cwd", "/proc/self/fd/0"] {
        let rules = files(json!([{"allowedAccess": ["read_file"], "paths": [path]}]));
        let Some(run) = confined(&host, &rules, &["read:/closed/file"], |_| {}) else {
            return;
        };
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run}");
        assert!(run.stderr.contains("ELOOP"), "{run}");
    }
}

#[test]
fn a_kernel_that_is_too_old_fails_the_start_best_effort_or_not() {
    let Some(host) = host() else { return };
    for strict in [true, false] {
        let bundle = host.bundle(|config| {
            let mut rules = files(json!([]));
            rules["minABI"] = json!(99);
            rules["disableBestEffort"] = json!(strict);
            annotate(config, &rules);
        });
        let id = host.id();
        let run = host.run(&["run", "--bundle", bundle.path(), &id]);
        assert_eq!(run.code, 1, "{run}");
        assert!(
            run.stderr
                .contains("minABI 99 cannot be enforced: this kernel's Landlock has ABI"),
            "{run}"
        );
        assert_eq!(host.leftovers(&id), [""; 0]);
    }
}

#[test]
fn what_is_wrong_in_the_annotation_is_named() {
    let Some(host) = host() else { return };
    let path_rule = |rule: Value| {
        json!({"ruleset": {"handledAccessFS": ["read_file"]}, "rules": {"pathBeneath": [rule]}}).to_string()
    };
    let table = [
        ("{".to_owned(), "EOF"),
        ("[]".to_owned(), "annotations dev.nucleus.landlock"),
        ("{}".to_owned(), "missing field `ruleset`"),
        (r#"{"ruleset":{}}"#.to_owned(), "ruleset: nothing is handled"),
        (
            r#"{"ruleset":{"handledAccessFS":["fly"]}}"#.to_owned(),
            r#"ruleset.handledAccessFS: unknown word "fly""#,
        ),
        (
            r#"{"ruleset":{"handledAccessNet":["read_file"]}}"#.to_owned(),
            "ruleset.handledAccessNet",
        ),
        (
            r#"{"ruleset":{"scoped":["Signal"]}}"#.to_owned(),
            "ruleset.scoped",
        ),
        (
            r#"{"ruleset":{"scoped":["signal"]},"minAbi":3}"#.to_owned(),
            "unknown field `minAbi`",
        ),
        (
            r#"{"ruleset":{"scoped":["signal"]},"minABI":-1}"#.to_owned(),
            "-1",
        ),
        (
            r#"{"ruleset":{"scoped":["signal"],"scoped":["signal"]}}"#.to_owned(),
            "duplicate field",
        ),
        (
            path_rule(json!({"allowedAccess": ["read_file"], "paths": ["usr"]})),
            r#""usr" is not absolute"#,
        ),
        (
            path_rule(json!({"allowedAccess": ["read_file"], "paths": ["/a\0"]})),
            "NUL",
        ),
        (
            path_rule(json!({"allowedAccess": [], "paths": ["/"]})),
            "rules.pathBeneath[0].allowedAccess: empty",
        ),
        (
            path_rule(json!({"allowedAccess": ["execute"], "paths": ["/"]})),
            r#""execute" is not handled"#,
        ),
        (
            path_rule(json!({"paths": ["/"]})),
            "missing field `allowedAccess`",
        ),
        (
            json!({"ruleset": {"handledAccessNet": ["bind_tcp"]},
                "rules": {"netPort": [{"allowedAccess": ["bind_tcp"], "ports": [65536]}]}})
            .to_string(),
            "65536",
        ),
    ];
    for (text, message) in table {
        let bundle = host.bundle(|config| config["annotations"][ANNOTATION] = json!(text));
        let id = host.id();
        let run = host.run(&["run", "--bundle", bundle.path(), &id]);
        assert_eq!(run.code, 1, "{text}: {run}");
        assert!(run.stderr.contains(message), "{text}: {run}");
        assert!(run.stderr.contains(ANNOTATION), "{text}: {run}");
        assert_eq!(host.leftovers(&id), [""; 0]);
    }
    let bundle = host.bundle(|config| config["annotations"][ENFORCED] = json!("{}"));
    let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
    assert!(run.code == 1 && run.stderr.contains(ENFORCED), "{run}");
}

#[test]
fn state_and_features_tell_what_is_enforced() {
    let Some(host) = host() else { return };
    let rules = files(json!([]));
    let id = host.running(|config| annotate(config, &rules));
    let state = host.state(&id);
    let text = state["annotations"][ENFORCED].as_str().expect("an annotation");
    let enforced: Value = serde_json::from_str(text).expect("JSON");
    let abi = nucleus_runtime::host::landlock_abi();
    assert_eq!(enforced, json!({"status": "full", "abi": abi, "missing": []}));
    assert_eq!(state["annotations"][ANNOTATION], json!(rules.to_string()));

    let plain = host.running(|_| {});
    assert_eq!(host.state(&plain)["annotations"], Value::Null);

    let features: Value = serde_json::from_str(&host.ok(&["features"])).expect("JSON");
    assert_eq!(
        features["potentiallyUnsafeConfigAnnotations"],
        json!([ANNOTATION, "dev.nucleus.promises", "org.systemd.property."])
    );
    assert_eq!(
        features["annotations"]["dev.nucleus.landlock.abi"],
        json!(abi.to_string())
    );
}
