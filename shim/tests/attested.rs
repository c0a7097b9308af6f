//! Root file systems that are compared with their manifest: production mode, tampering, and a directory that is
//! swapped between the comparison and the mount.

mod support;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Finished, NUCLEUS, Place};

/// A root file system of busybox, with a file that tells it from others.
fn rootfs(at: &Path, word: &str) {
    support::make_root(at, &["bin", "home/user"]);
    fs::copy("/bin/busybox", at.join("bin/busybox")).expect("busybox (apt-get install busybox-static)");
    for applet in ["sh", "cat", "sleep"] {
        symlink("busybox", at.join("bin").join(applet)).expect("symlink");
    }
    fs::write(at.join("etc/word"), format!("{word}\n")).expect("write");
    fs::set_permissions(at, Permissions::from_mode(0o755)).expect("chmod");
}

fn pin(place: &Place, at: &Path) -> String {
    let created = place.nucleus(&["attest", "create", at.to_str().expect("UTF-8")]);
    created.exits(0).trim().to_owned()
}

#[test]
fn a_missing_mount_target_is_told_with_and_without_root_and_nothing_is_made() {
    let Some(place) = Place::new() else { return };
    fs::set_permissions(place.path(""), Permissions::from_mode(0o755)).expect("chmod");
    let (at, data) = (place.path("rootfs"), place.path("data"));
    rootfs(&at, "right");
    fs::create_dir(&data).expect("mkdir");
    fs::remove_dir_all(at.join("home")).expect("rmdir");
    let pin = pin(&place, &at);
    let volume = format!("{}:/mnt/data", data.display());
    let flags = ["--rootfs-manifest-sha256", &pin, "--volume", &volume, "--rootfs"];
    let theirs = Theirs::new(&place);
    for as_root in [true, false] {
        let told = theirs.run(&place, as_root, &flags, &at);
        told.fails_with(&[
            "has no ",
            "/home/",
            "/mnt/data",
            "nucleus attest create",
            "mountPoints",
        ]);
        assert!(!told.stderr.contains("/tmp,"), "{told:?}");
    }
    assert!(!at.join("home").exists() && !at.join("mnt").exists());
    // With them it starts. What lies in a mount is made there.
    for directory in ["home/user", "home/agent", "mnt/data"] {
        fs::create_dir_all(at.join(directory)).expect("mkdir");
    }
    fs::remove_file(at.join(".nucleus-rootfs-sha256")).expect("rm");
    let pin = self::pin(&place, &at);
    let deep = format!("{}:/tmp/deep/down", data.display());
    let flags = [
        "--rootfs-manifest-sha256",
        &pin,
        "--volume",
        &volume,
        "--volume",
        &deep,
        "--rootfs",
    ];
    for as_root in [true, false] {
        assert_eq!(theirs.run(&place, as_root, &flags, &at).exits(0), "right\n");
    }
}

/// Another user, with programs and a directory that are theirs to use.
struct Theirs {
    root: std::path::PathBuf,
}

impl Theirs {
    fn new(place: &Place) -> Self {
        let programs = Path::new(NUCLEUS).parent().expect("a directory");
        for name in ["nucleus", "nucleus-runtime"] {
            fs::copy(programs.join(name), place.path(name)).expect("copy");
        }
        let root = place.path("theirs");
        fs::create_dir(&root).expect("mkdir");
        std::os::unix::fs::chown(&root, Some(12_345), Some(12_345)).expect("chown");
        Self { root }
    }

    /// Prints the word of a root file system, whose path follows the flags.
    fn run(&self, place: &Place, as_root: bool, flags: &[&str], at: &Path) -> Finished {
        let user = ["--reuid=12345", "--regid=12345", "--clear-groups"];
        std::process::Command::new("setpriv")
            .args(user.iter().filter(|_| !as_root))
            .arg(place.path("nucleus"))
            .arg("--root")
            .arg(self.root.join(if as_root { "root" } else { "nucleus" }))
            .arg("run")
            .args(flags)
            .arg(at)
            .args(["--", "/bin/cat", "/etc/word"])
            .output()
            .expect("setpriv")
            .into()
    }
}

/// A run in production mode that prints the word.
fn production(place: &Place, at: &Path, pin: Option<&str>) -> Finished {
    let at = at.to_str().expect("UTF-8");
    let mut args = vec!["run", "--mode", "production", "--rootfs", at];
    args.extend(pin.into_iter().flat_map(|pin| ["--rootfs-manifest-sha256", pin]));
    args.extend(["--user", "1000", "--memory", "64M", "--", "/bin/cat", "/etc/word"]);
    place.nucleus(&args)
}

#[test]
fn production_mode_starts_what_was_attested() {
    let Some(place) = Place::new() else { return };
    let at = place.path("rootfs");
    rootfs(&at, "right");
    let pin = pin(&place, &at);
    assert_eq!(production(&place, &at, Some(&pin)).exits(0), "right\n");
    // And has left it as it was.
    assert_eq!(production(&place, &at, Some(&pin)).exits(0), "right\n");
    production(&place, &at, None).fails_with(&["rootfs-manifest-sha256", "/nix/store"]);
    let wrong = "0".repeat(64);
    production(&place, &at, Some(&wrong)).fails_with(&["its SHA-256 is", &pin, &wrong]);
    production(&place, &at, Some("x")).fails_with(&["rootfs-manifest-sha256", "not a SHA-256 digest"]);
}

#[test]
fn production_mode_holds_a_created_sandbox_against_its_promises_at_the_start() {
    let Some(place) = Place::new() else { return };
    let at = place.path("rootfs");
    rootfs(&at, "right");
    let (pin, name, report) = (pin(&place, &at), place.name(), place.path("report"));
    let options = [
        "--mode",
        "production",
        "--user",
        "1000",
        "--memory",
        "64M",
        "--rootfs-manifest-sha256",
        &pin,
    ];
    let root = ["--name", name, "--rootfs", at.to_str().expect("UTF-8")];
    let create = |runtime: &[&str]| {
        let command = ["--", "/bin/cat", "/etc/word"];
        let args = [&["create"], &options[..], &root, runtime, &command].concat();
        place.nucleus(&args).exits(0);
    };
    let start = ["start", "--report", report.to_str().expect("UTF-8"), name];
    create(&[]);
    place.nucleus(&start).exits(0);
    support::eventually("its output", || {
        place.nucleus(&["logs", name]).stdout == "right\n"
    });
    let found: serde_json::Value =
        serde_json::from_slice(&fs::read(&report).expect("a report")).expect("JSON");
    assert_eq!(
        (&found["kept"], &found["mode"]),
        (&true.into(), &"production".into())
    );
    place.nucleus(&["rm", "--force", name]).exits(0);
    for (lie, promise) in [
        ("c['root']['readonly'] = False", "root directory: expected"),
        (
            "m['/proc']['options'] = [o for o in m['/proc']['options'] if not o.startswith('hidepid')]",
            "mount /proc: expected",
        ),
    ] {
        let liar = support::liar(&place, lie);
        create(&["--runtime", liar.to_str().expect("UTF-8")]);
        place.nucleus(&start).fails_with(&[promise]);
        place.expect_nothing_left();
    }
}

#[test]
fn a_root_that_was_tampered_with_starts_in_no_mode_under_a_pin() {
    let Some(place) = Place::new() else { return };
    let at = place.path("rootfs");
    rootfs(&at, "right");
    let pin = pin(&place, &at);
    fs::write(at.join("etc/word"), "wrong\n").expect("write");
    fs::write(at.join("bin/added"), "").expect("write");
    fs::remove_dir(at.join("home/user")).expect("rmdir");
    fs::set_permissions(at.join("bin/busybox"), Permissions::from_mode(0o4755)).expect("chmod");
    fs::remove_file(at.join("bin/sh")).expect("rm");
    symlink("added", at.join("bin/sh")).expect("symlink");
    let all = [
        "etc/word: changed",
        "bin/added: extra file",
        "home/user: missing",
        "bin/busybox: wrong mode: 4755, not 0755",
        "bin/sh: wrong target: added, not busybox",
    ];
    production(&place, &at, Some(&pin)).fails_with(&all);
    let at = at.to_str().expect("UTF-8");
    for mode in ["agent", "strict-agent"] {
        let options = [
            "--mode",
            mode,
            "--toolchain-rootfs",
            at,
            "--rootfs-manifest-sha256",
            &pin,
        ];
        let mut args = vec!["run"];
        args.extend(options);
        args.extend(["--", "/bin/cat", "/etc/word"]);
        place.nucleus(&args).fails_with(&all);
    }
    let verified = place.nucleus(&["attest", "verify", at]);
    assert_eq!(
        (verified.code, verified.stdout.lines().count()),
        (1, 5),
        "{verified:?}"
    );
    let verified = place.nucleus(&["attest", "verify", "--json", at]);
    let found: serde_json::Value = serde_json::from_str(&verified.stdout).expect("JSON");
    assert_eq!((verified.code, verified.stderr.as_str()), (1, ""));
    assert_eq!(found["mismatches"].as_array().expect("a list").len(), 5);
    assert_eq!(found["summary"]["manifest-sha256"], pin.as_str());
}

/// `NUCLEUS_TESTS_FULL=1` takes a million files, and once more in one directory.
#[test]
fn memory_does_not_grow_with_the_tree() {
    let Some(place) = Place::new() else { return };
    let full = std::env::var_os("NUCLEUS_TESTS_FULL").is_some();
    // Bytes of writable memory of the process: the manifest of the lesser tree alone has more.
    let limited = |limit: &str, args: [&str; 3]| {
        let mut command = std::process::Command::new("prlimit");
        command.args([limit, "--", NUCLEUS]).args(args);
        Finished::from(command.output().expect("prlimit"))
    };
    let directories = if full { 1000 } else { 100 };
    for (name, directories, each, limit) in [
        ("wide", directories, 1000, "--data=6000000"),
        // 25 bytes for each name while its directory is walked through.
        ("flat", usize::from(full), 1_000_000, "--data=64000000"),
    ] {
        if directories == 0 {
            continue;
        }
        let at = place.path(name);
        hard_links(&at, directories, each);
        let at = at.to_str().expect("UTF-8");
        let pin = limited(limit, ["attest", "create", at])
            .exits(0)
            .trim()
            .to_owned();
        let text = limited(limit, ["attest", "verify", at]);
        assert_eq!(text.exits(0), "");
        let json = place.nucleus(&["attest", "verify", "--json", "--manifest-sha256", &pin, at]);
        let found: serde_json::Value = serde_json::from_str(json.exits(0)).expect("JSON");
        assert_eq!(found["summary"]["files"], directories * each, "{name}");
        let manifest = fs::metadata(place.path(name).join(".nucleus-rootfs-sha256")).expect("stat");
        assert!(manifest.len() > 6_000_000, "{}", manifest.len());
    }
}

/// A tree of many names of few files.
fn hard_links(at: &Path, directories: usize, each: usize) {
    let mut source = std::path::PathBuf::new();
    for number in 0..directories * each {
        let directory = at.join(format!("directory-{}", number / each));
        if number % each == 0 {
            fs::create_dir_all(&directory).expect("mkdir");
        }
        let path = directory.join(format!("file-{number}"));
        // File systems allow 65,000 and fewer.
        if number % 30_000 == 0 {
            fs::write(&path, [7; 100]).expect("write");
            source = path;
        } else {
            fs::hard_link(&source, path).expect("link");
        }
    }
}

/// Swaps two directories again and again, with pauses shorter and longer than a start takes however busy the machine
/// is, while `check` is called: `rounds` times, and until it has seen all that it looks for, but not for ever.
fn while_swapped(one: &Path, other: &Path, rounds: u32, mut check: impl FnMut() -> bool) {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            for pause in [300, 1_500, 6_000, 25_000].into_iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("swap");
                std::thread::sleep(std::time::Duration::from_micros(pause));
            }
        });
        for round in 1..10 * rounds {
            if check() && round >= rounds {
                break;
            }
        }
    });
}

fn swap(place: &Place, runner: impl Fn(&Path, &str) -> Finished) {
    let (one, other) = (place.path("rootfs"), place.path("other"));
    rootfs(&one, "right");
    let pin = pin(place, &one);
    rootfs(&other, "wrong");
    fs::copy(
        one.join(".nucleus-rootfs-sha256"),
        other.join(".nucleus-rootfs-sha256"),
    )
    .expect("copy");
    let (mut right, mut replaced) = (0, 0);
    while_swapped(&one, &other, 120, || {
        let finished = runner(&one, &pin);
        assert_ne!(finished.stdout, "wrong\n", "{finished:?}");
        right += u32::from(finished.code == 0 && finished.stdout == "right\n");
        replaced += u32::from(finished.stderr.contains("it was replaced meanwhile"));
        right > 0 && replaced > 0
    });
    // Both sides of the race were seen.
    assert!(right > 0 && replaced > 0, "right {right}, replaced {replaced}");
}

#[test]
fn a_directory_swapped_after_its_verification_is_never_mounted() {
    let Some(place) = Place::new() else { return };
    swap(&place, |at, pin| production(&place, at, Some(pin)));
}

#[test]
fn nor_is_it_without_root() {
    let Some(place) = Place::new() else { return };
    // Where another user reaches it.
    fs::set_permissions(place.path(""), Permissions::from_mode(0o755)).expect("chmod");
    let theirs = Theirs::new(&place);
    swap(&place, |at, pin| {
        theirs.run(&place, false, &["--rootfs-manifest-sha256", pin, "--rootfs"], at)
    });
}

#[test]
fn a_bundle_for_root_has_nothing_of_this_host() {
    let Some(place) = Place::new() else { return };
    let at = place.path("rootfs");
    rootfs(&at, "right");
    let pin = pin(&place, &at);
    let write = |prefix: &[&str], name: &str| {
        let output = place.path(name);
        let mut command = std::process::Command::new(prefix[0]);
        command
            .args(&prefix[1..])
            .arg(NUCLEUS)
            .args(["bundle", "--for-root", "--name", "app", "--output"]);
        command.arg(&output).arg("--rootfs").arg(&at);
        command.args([
            "--mode",
            "production",
            "--rootfs-manifest-sha256",
            &pin,
            "--user",
            "1000",
        ]);
        command.args(["--memory", "64M", "--", "/bin/cat", "/etc/word"]);
        Finished::from(command.output().expect("nucleus")).exits(0);
        fs::read(output.join("config.json")).expect("config.json")
    };
    fs::set_permissions(place.path(""), Permissions::from_mode(0o777)).expect("chmod");
    let here = write(&["env"], "here");
    let elsewhere = write(
        &[
            "env",
            "-i",
            "setarch",
            "--uname-2.6",
            "unshare",
            "--user",
            "--map-user=77",
            "--uts",
            "--net",
        ],
        "elsewhere",
    );
    assert_eq!(
        String::from_utf8_lossy(&here),
        String::from_utf8_lossy(&elsewhere)
    );
}
