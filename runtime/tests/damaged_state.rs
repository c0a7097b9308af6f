//! What is no file where a container's record should be: no command waits for it or follows it, and `delete --force`
//! still ends the container.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use support::Host;

/// What it is, and how it comes there.
type Put = (&'static str, fn(&Path));

const PUT: [Put; 3] = [
    ("a FIFO", |path| {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path, fifo, mode, 0).unwrap();
    }),
    ("a directory", |path| fs::create_dir(path).unwrap()),
    ("a link", |path| symlink("/etc/passwd", path).unwrap()),
];

#[test]
fn it_is_told_and_not_waited_for() {
    let Some(host) = Host::new() else { return };
    let other = host.running(|_| {});
    for name in ["state.json", "init"] {
        for (what, put) in PUT {
            let id = host.running(|_| {});
            let path = host.root().join(&id).join(name);
            let kept = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            put(&path);
            let state = host.run(&["state", &id]);
            assert_eq!(state.code, 1, "{what}: {state}");
            let expected = format!("{} is damaged", path.display());
            assert!(state.stderr.contains(&expected), "{what}: {state}");
            assert!(host.ok(&["list", "-q"]).contains(&other), "{what}");
            if name == "init" {
                // Only this file knows the first process.
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
                fs::write(&path, &kept).unwrap();
            }
            host.ok(&["delete", "--force", &id]);
            assert_eq!(host.leftovers(&id), Vec::<String>::new(), "{what}");
        }
    }
}

#[test]
fn what_is_in_a_directory_of_somebody_else_is_left_and_named() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|_| {});
    let directory = host.root().join(&id).join("notes");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("one"), "").unwrap();
    let delete = host.run(&["delete", "--force", &id]);
    assert_eq!(delete.code, 1, "{delete}");
    let expected = format!("rmdir {}: ", directory.display());
    assert!(delete.stderr.contains(&expected), "{delete}");
    fs::remove_file(directory.join("one")).unwrap();
    host.ok(&["delete", "--force", &id]);
}

#[test]
fn a_copied_record_does_not_lead_to_the_container_that_it_is_of() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|_| {});
    let copy = host.id();
    fs::create_dir(host.root().join(&copy)).unwrap();
    for name in ["state.json", "config.json", "init"] {
        fs::copy(
            host.root().join(&id).join(name),
            host.root().join(&copy).join(name),
        )
        .unwrap();
    }
    for command in [
        &["kill", &copy, "KILL"][..],
        &["exec", &copy, "true"],
        &["delete", &copy],
    ] {
        let run = host.run(command);
        assert_eq!(run.code, 1, "{run}");
        let expected = format!("it is the record of container {id:?}");
        assert!(run.stderr.contains(&expected), "{run}");
    }
    host.ok(&["delete", "--force", &copy]);
    assert_eq!(host.state(&id)["status"], "running");
}
