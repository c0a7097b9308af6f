//! A sandbox stays with the runtime that it was made with, also when that is gone or another one.

mod support;

use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use support::{NUCLEUS, Place, eventually, installed};

/// A `nucleus-runtime` of its own for this test that is not the one beside `nucleus`: each of its calls is a line in a file.
struct Other {
    path: PathBuf,
    calls: PathBuf,
}

impl Other {
    fn new(place: &Place, name: &str) -> Self {
        let (directory, calls) = (place.path("other"), place.path("calls"));
        fs::create_dir(&directory).expect("mkdir");
        let (path, source) = (directory.join(name), place.path("other.c"));
        let real = Path::new(NUCLEUS).with_file_name("nucleus-runtime");
        // No script: it is started from a mount that only the program has.
        let text = format!(
            "#include <stdio.h>\n#include <unistd.h>\nint main(int n, char **a) {{\n  FILE *f = fopen({calls:?}, \"a\");\n  \
             for (int i = 1; i < n; i++) fprintf(f, \"%s \", a[i]);\n  fputs(\"\\n\", f);\n  fclose(f);\n  \
             return execv({real:?}, a);\n}}\n"
        );
        fs::write(&source, text).expect("write");
        let built = std::process::Command::new("cc")
            .arg("-o")
            .args([&path, &source])
            .status();
        assert!(built.expect("cc").success());
        Self { path, calls }
    }

    /// Whether one of the calls since the last question has this word.
    fn was_called(&self, word: &str) -> bool {
        let calls = fs::read_to_string(&self.calls).unwrap_or_default();
        let _ = fs::remove_file(&self.calls);
        calls.split_whitespace().any(|one| one == word)
    }
}

#[test]
fn every_later_command_uses_the_native_runtime_that_was_named() {
    let Some(place) = Place::new() else { return };
    // Under another name it is known by what it says of itself.
    for file in ["nucleus-runtime", "nucleus-runtime-1.2"] {
        let _ = fs::remove_dir_all(place.path("other"));
        let other = Other::new(&place, file);
        let (name, path) = (place.name(), other.path.to_str().expect("UTF-8"));
        let run = [
            "run",
            "-d",
            "--mode",
            "strict-agent",
            "--runtime",
            path,
            "--name",
            name,
        ];
        place
            .nucleus(&[&run[..], &["--", "sleep", "1000"]].concat())
            .exits(0);
        assert!(other.was_called("run"), "{file}");
        for (args, call) in [
            (&["exec", name, "true"][..], "exec"),
            (&["kill", name, "USR1"], "kill"),
            (&["ps"], "state"),
            (&["state", name], "state"),
            (&["logs", "-f", name], "state"),
            (&["stop", "-t", "0", name], "kill"),
            (&["rm", name], "delete"),
        ] {
            if args[0] == "logs" {
                let mut logs = place.command(args).spawn().expect("start nucleus");
                eventually("it asks", || other.was_called(call));
                logs.kill().expect("kill");
                logs.wait().expect("wait");
                continue;
            }
            place.nucleus(args).exits(0);
            assert!(other.was_called(call), "{file}: {args:?}");
        }
        let create = ["create", "--runtime", path, "--name", name, "--", "true"];
        place.nucleus(&create).exits(0);
        assert!(other.was_called("create"), "{file}");
        place.nucleus(&["start", name]).exits(0);
        assert!(other.was_called("start"), "{file}");
        place.nucleus(&["rm", "-f", name]).exits(0);
        // One that is waited for leaves it to this runtime too.
        place.nucleus(&["run", "--runtime", path, "--", "true"]).exits(0);
    }
}

#[test]
fn a_native_runtime_that_is_gone_or_another_program_is_told_and_the_sandbox_can_be_removed() {
    let Some(place) = Place::new() else { return };
    let other = Other::new(&place, "nucleus-runtime");
    let (name, path) = (place.name(), other.path.to_str().expect("UTF-8"));
    let run = [
        "run",
        "-d",
        "--runtime",
        path,
        "--name",
        name,
        "--",
        "sleep",
        "1000",
    ];
    let commands: [&[&str]; 6] = [
        &["exec", name, "true"],
        &["state", name],
        &["kill", name],
        &["stop", name],
        &["attach", name],
        &["rm", name],
    ];
    for word in ["it is gone", "it is another program now"] {
        place.nucleus(&run).exits(0);
        let kept = place.path("kept");
        fs::rename(&other.path, &kept).expect("rename");
        if word != "it is gone" {
            fs::copy("/bin/true", &other.path).expect("copy");
        }
        for args in commands {
            place
                .nucleus(args)
                .fails_with(&[path, word, "nucleus rm --force"]);
        }
        let ps = place.nucleus(&["ps", "--json"]);
        let rows: Value = serde_json::from_str(ps.exits(0)).expect("JSON");
        assert_eq!(rows[0]["status"], "unknown", "{rows}");
        assert!(ps.stderr.contains(word), "{ps:?}");
        // It keeps nobody else from starting, and is left alone.
        place.nucleus(&["run", "--", "true"]).exits(0);
        place.nucleus(&["rm", "--force", name]).exits(0);
        place.expect_nothing_left();
        fs::rename(&kept, &other.path).expect("rename");
    }
    // A newer version in its place is used.
    place.nucleus(&run).exits(0);
    let newer = place.path("newer");
    fs::copy(&other.path, &newer).expect("copy");
    fs::rename(&newer, &other.path).expect("rename");
    other.was_called("exec");
    place.nucleus(&["exec", name, "true"]).exits(0);
    assert!(other.was_called("exec"));
    place.nucleus(&["rm", "--force", name]).exits(0);
}

#[test]
fn another_kind_of_runtime_that_is_gone_has_to_be_put_back() {
    let Some(place) = Place::new().filter(|_| installed("runc")) else {
        return;
    };
    fs::set_permissions(place.path(""), Permissions::from_mode(0o711)).expect("chmod");
    let (name, path) = (place.name(), place.path("runc"));
    fs::copy("/usr/sbin/runc", &path).expect("copy");
    let word = path.to_str().expect("UTF-8");
    let run = [
        "run",
        "-q",
        "-d",
        "--allow-degraded-security",
        "--runtime",
        word,
        "--name",
        name,
    ];
    place
        .nucleus(&[&run[..], &["--", "sleep", "1000"]].concat())
        .exits(0);
    let away = place.path("away");
    fs::rename(&path, &away).expect("rename");
    for args in [&["exec", name, "true"][..], &["rm", "--force", name]] {
        place
            .nucleus(args)
            .fails_with(&[word, "it is gone", "put it back"]);
    }
    fs::rename(&away, &path).expect("rename");
    place.nucleus(&["exec", name, "true"]).exits(0);
    place.nucleus(&["rm", "--force", name]).exits(0);
}
