//! `--config-sha256`, `--config-fd` and `--rootfs-fd`: a bundle that is not the reviewed one, a configuration that is not
//! given, or a root that is not the verified directory, starts nothing.

mod support;

use serde_json::json;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use support::Host;

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("sha256sum");
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .next()
        .expect("a digest")
        .to_owned()
}

#[test]
fn a_configuration_with_another_digest_than_its_pin_starts_nothing() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["echo", "reviewed"]));
    let config = Path::new(bundle.path()).join("config.json");
    let pin = sha256(&config);
    for form in [pin.clone(), pin.to_uppercase(), format!("sha256:{pin}")] {
        let args = [
            "run",
            "--bundle",
            bundle.path(),
            "--config-sha256",
            &form,
            &host.id(),
        ];
        assert_eq!(host.ok(&args), "reviewed\n");
    }
    let text = fs::read_to_string(&config).expect("read");
    fs::write(&config, format!("{text} ")).expect("write");
    for command in ["run", "create"] {
        let id = host.id();
        let run = host.run(&[command, "--bundle", bundle.path(), "--config-sha256", &pin, &id]);
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run}");
        assert!(
            run.stderr.contains(&pin) && run.stderr.contains(&sha256(&config)),
            "{run}"
        );
        assert_eq!(host.leftovers(&id), Vec::<String>::new());
    }
    let run = host.run(&[
        "run",
        "--bundle",
        bundle.path(),
        "--config-sha256",
        "12",
        &host.id(),
    ]);
    assert!(
        run.code == 1 && run.stderr.contains("64 hexadecimal digits"),
        "{run}"
    );
}

#[test]
fn a_configuration_that_is_swapped_all_the_while_runs_only_as_it_was_pinned() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["echo", "reviewed"]));
    let config = Path::new(bundle.path()).join("config.json");
    let pin = sha256(&config);
    let other = Path::new(bundle.path()).join("other.json");
    let text = fs::read_to_string(&config).expect("read");
    fs::write(&other, text.replace("reviewed", "wrong")).expect("write");
    let stop = AtomicBool::new(false);
    let (mut ran, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &config, CWD, &other, RenameFlags::EXCHANGE).expect("swap");
                std::thread::sleep(std::time::Duration::from_micros(700));
            }
        });
        let outcomes: Vec<_> = (0..60)
            .map(|_| {
                host.run(&[
                    "run",
                    "--bundle",
                    bundle.path(),
                    "--config-sha256",
                    &pin,
                    &host.id(),
                ])
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        for run in outcomes {
            match run.code {
                0 => assert_eq!(run.stdout, "reviewed\n"),
                _ => assert!(run.stderr.contains("not the pinned"), "{run}"),
            }
            *if run.code == 0 { &mut ran } else { &mut refused } += 1;
        }
    });
    assert!(ran > 0 && refused > 0, "ran {ran}, refused {refused}");
}

#[test]
fn a_root_that_is_not_the_open_directory_is_not_mounted() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["echo", "mounted"]));
    let rootfs = Path::new(bundle.path()).join("rootfs");
    let other = Path::new(bundle.path()).join("other");
    assert!(
        Command::new("cp")
            .arg("-a")
            .args([&rootfs, &other])
            .status()
            .expect("cp")
            .success()
    );
    let with = |directory: &Path, id: &str| {
        let open = File::open(directory).expect("open");
        rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).expect("fcntl");
        let number = open.as_raw_fd().to_string();
        host.run(&["run", "--bundle", bundle.path(), "--rootfs-fd", &number, id])
    };
    let run = with(&rootfs, &host.id());
    assert_eq!((run.code, run.stdout.as_str()), (0, "mounted\n"), "{run}");
    let id = host.id();
    let run = with(&other, &id);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run}");
    assert!(run.stderr.contains("it was replaced meanwhile"), "{run}");
    assert_eq!(host.leftovers(&id), Vec::<String>::new());
    let run = host.run(&["run", "--bundle", bundle.path(), "--rootfs-fd", "77", &host.id()]);
    assert!(
        run.code == 1 && run.stderr.contains("--rootfs-fd: descriptor 77 is not open"),
        "{run}"
    );
}

#[test]
fn a_configuration_from_a_descriptor_is_waited_for_and_is_all_that_is_read() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| config["process"]["args"] = json!(["echo", "given"]));
    let config = Path::new(bundle.path()).join("config.json");
    let text = fs::read_to_string(&config).expect("read");
    // Not looked at, and not even there until the configuration comes.
    let kept = Path::new(bundle.path()).with_extension("kept");
    fs::write(&config, text.replace("given", "of the bundle")).expect("write");
    fs::rename(bundle.path(), &kept).expect("rename");
    let given = |text: &str, id: &str, pin: &[&str]| {
        let (there, here) = rustix::pipe::pipe().expect("pipe");
        rustix::io::fcntl_setfd(&here, rustix::io::FdFlags::CLOEXEC).expect("fcntl");
        let number = there.as_raw_fd().to_string();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(50));
                if !text.is_empty() {
                    fs::rename(&kept, bundle.path()).expect("rename");
                }
                File::from(here).write_all(text.as_bytes()).expect("write");
            });
            let mut args = vec!["run", "--bundle", bundle.path(), "--config-fd", &number];
            args.extend(pin);
            args.push(id);
            host.run(&args)
        })
    };
    let id = host.id();
    let run = given("", &id, &[]);
    assert!(
        run.code == 1 && run.stderr.contains("ended without a configuration"),
        "{run}"
    );
    assert_eq!(host.leftovers(&id), Vec::<String>::new());
    let run = given(&text, &host.id(), &[]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "given\n"), "{run}");
    // A caller that dies half way.
    fs::rename(bundle.path(), &kept).expect("rename");
    let id = host.id();
    let run = given(&text[..text.len() / 2], &id, &[]);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run}");
    assert_eq!(host.leftovers(&id), Vec::<String>::new());
    fs::rename(bundle.path(), &kept).expect("rename");
    let id = host.id();
    let run = given(
        &text,
        &id,
        &["--config-sha256", &sha256(&kept.join("config.json"))],
    );
    assert!(run.code == 1 && run.stderr.contains("not the pinned"), "{run}");
    assert_eq!(host.leftovers(&id), Vec::<String>::new());
    let run = host.run(&["run", "--bundle", bundle.path(), "--config-fd", "77", &host.id()]);
    assert!(
        run.code == 1 && run.stderr.contains("--config-fd: descriptor 77 is not open"),
        "{run}"
    );
}
