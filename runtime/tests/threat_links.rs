//! Links and swapped directories in a hostile root file system that point out of it: to `/proc`, `/sys`, `/dev`,
//! masked paths and mount targets.

mod support;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Bundle, Host};

/// What a link points to: a directory and a file of the host that nothing may touch.
struct Canary {
    directory: PathBuf,
    file: PathBuf,
}

const SONG: &str = "untouched\n";

impl Canary {
    fn new(host: &Host) -> Self {
        let directory = host.directory().join("canary");
        fs::create_dir(&directory).expect("make the canary");
        let file = host.directory().join("canary-file");
        fs::write(&file, SONG).expect("write the canary");
        Self { directory, file }
    }

    /// The ways to name something of the host from inside a bundle's root file system.
    fn names(target: &Path) -> [PathBuf; 2] {
        let climb = "../".repeat(20);
        let below = target.strip_prefix("/").expect("an absolute path");
        [target.to_owned(), Path::new(&climb).join(below)]
    }

    #[track_caller]
    fn assert_untouched(&self, what: &str) {
        let found: Vec<_> = fs::read_dir(&self.directory).expect("the canary").collect();
        assert!(found.is_empty(), "{what}: {found:?}");
        assert_eq!(
            fs::read_to_string(&self.file).expect("the canary"),
            SONG,
            "{what}"
        );
        for path in [&self.directory, &self.file] {
            let metadata = fs::metadata(path).expect("the canary");
            let mode = if metadata.is_dir() { 0o755 } else { 0o644 };
            assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (mode, 0), "{what}");
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
        assert!(!mounts.contains("canary"), "{what}: {mounts}");
    }
}

/// Replaces a path of the root file system by a link.
fn plant(bundle: &Bundle, path: &str, target: &Path) {
    let path = bundle.rootfs(path);
    let _ = fs::remove_dir_all(&path);
    let _ = fs::remove_file(&path);
    symlink(target, &path).expect("plant a link");
}

/// The root file system's own `/dev`, as an image brings it.
fn without_dev(config: &mut Value) {
    let mounts = config["mounts"].as_array_mut().expect("mounts");
    mounts.retain(|mount| {
        !mount["destination"]
            .as_str()
            .is_some_and(|path| path.starts_with("/dev"))
    });
}

#[test]
fn proc_and_sys_are_never_mounted_through_links() {
    let Some(host) = Host::new() else { return };
    for path in ["/proc", "/sys"] {
        for target in ["/fake", "fake", "./fake/../fake", "/root", "../../../fake"] {
            let bundle = host.bundle(|config| config["process"]["args"] = json!(["ls", "/fake"]));
            fs::create_dir(bundle.rootfs("/fake")).expect("make /fake");
            plant(&bundle, path, Path::new(target));
            let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
            assert_eq!(run.code, 1, "{path} -> {target}: {run}");
            assert!(run.stderr.contains(path), "{run}");
        }
    }
}

/// Writes of labels, limits and sysctls that a volume over `/proc` would like to receive.
#[test]
fn a_volume_over_proc_receives_no_writes() {
    let Some(host) = Host::new() else { return };
    let volume = host.directory().join("volume");
    let names = [
        "self/oom_score_adj",
        "self/attr/exec",
        "self/attr/apparmor/exec",
        "thread-self/oom_score_adj",
        "thread-self/attr/exec",
        "1/oom_score_adj",
        "sys/net/ipv4/ip_forward",
        "sys/kernel/domainname",
        "self/setgroups",
        "self/timens_offsets",
    ];
    for name in names {
        let path = volume.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("make the fake");
        fs::write(path, SONG).expect("write the fake");
    }
    for options in [json!(["rbind", "rw"]), json!(["bind", "rprivate"])] {
        let bundle = host.bundle(|config| {
            config["process"]["oomScoreAdj"] = json!(500);
            config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.domainname": "test"});
            config["mounts"][0] =
                json!({"destination": "/proc", "type": "bind", "source": volume, "options": options});
        });
        host.run(&["run", "--bundle", bundle.path(), &host.id()]);
        for name in names {
            let text = fs::read_to_string(volume.join(name)).expect("the fake");
            assert_eq!(text, SONG, "{name} was written");
        }
    }
}

/// Exchanges two names as fast as it can until it is dropped.
struct Swapper<'scope> {
    stop: &'scope AtomicBool,
}

impl Drop for Swapper<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn while_swapping(one: &Path, other: &Path, body: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("exchange");
            }
        });
        let _swapper = Swapper { stop: &stop };
        body();
    });
}

/// How often a race is run: `NUCLEUS_TESTS_FULL=1` for ten thousand.
fn rounds() -> usize {
    match std::env::var_os("NUCLEUS_TESTS_FULL") {
        Some(_) => 10_000,
        None => 60,
    }
}

/// `/proc` is now a directory, now a link to a fake with files that would like to be written.
#[test]
fn a_proc_that_is_swapped_all_the_time_is_real_or_refused() {
    let Some(host) = Host::new() else { return };
    let canary = Canary::new(&host);
    let bundle = host.bundle(|config| {
        config["process"]["oomScoreAdj"] = json!(500);
        config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
        config["linux"]["maskedPaths"] = json!(["/proc/kcore"]);
        config["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
    });
    let fakes = [
        "self/oom_score_adj",
        "thread-self/oom_score_adj",
        "sys/net/ipv4/ip_forward",
    ]
    .map(|name| bundle.rootfs("/fake").join(name));
    for fake in &fakes {
        fs::create_dir_all(fake.parent().expect("a parent")).expect("make the fake");
        fs::write(fake, SONG).expect("write the fake");
    }
    symlink("fake", bundle.rootfs("/link")).expect("plant a link");
    let mut ran = 0;
    while_swapping(&bundle.rootfs("/proc"), &bundle.rootfs("/link"), || {
        for _ in 0..rounds() {
            let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
            assert!(matches!(run.code, 0 | 1), "{run}");
            ran += usize::from(run.code == 0);
            for fake in &fakes {
                assert_eq!(
                    fs::read_to_string(fake).expect("the fake"),
                    SONG,
                    "{}",
                    fake.display()
                );
            }
        }
    });
    canary.assert_untouched("after the race");
    assert!(ran < rounds(), "the race was never met");
}

/// CVE-2021-30465: a volume that two containers share, in which one swaps the other's mount target.
#[test]
fn a_mount_target_that_is_swapped_stays_inside() {
    let Some(host) = Host::new() else { return };
    let canary = Canary::new(&host);
    for (number, target) in Canary::names(&canary.directory).iter().enumerate() {
        let volume = host.directory().join(format!("volume{number}"));
        fs::create_dir_all(volume.join("target")).expect("make the volume");
        symlink(target, volume.join("link")).expect("plant a link");
        let bundle = host.bundle(|config| {
            let mounts = config["mounts"].as_array_mut().expect("mounts");
            mounts.push(json!({"destination": "/volume", "type": "bind", "source": volume, "options": ["rbind"]}));
            mounts.push(json!({"destination": "/volume/target/inner", "type": "tmpfs", "source": "tmpfs"}));
            mounts.push(json!({"destination": "/volume/target/etc", "type": "bind", "source": "/etc", "options": ["rbind", "ro"]}));
        });
        while_swapping(&volume.join("target"), &volume.join("link"), || {
            for round in 0..rounds() / 2 {
                host.run(&["run", "--bundle", bundle.path(), &host.id()]);
                canary.assert_untouched(&format!("round {round}"));
            }
        });
    }
}

/// Devices: what is there already must be the device, or the container is refused.
#[test]
fn links_at_the_places_of_devices_are_not_followed() {
    let Some(host) = Host::new() else { return };
    let canary = Canary::new(&host);
    for path in ["/dev/null", "/dev/zero", "/dev/tty", "/dev/custom"] {
        for target in Canary::names(&canary.file) {
            let bundle = host.bundle(|config| {
                without_dev(config);
                config["linux"]["devices"] = json!([{"path": "/dev/custom", "type": "c", "major": 1, "minor": 3,
                    "fileMode": 0o666, "uid": 7, "gid": 7}]);
                config["linux"]["maskedPaths"] = json!(["/proc/kcore", "/etc/passwd"]);
                config["process"]["args"] = json!(["sh", "-c", "echo written > /dev/null; echo written > /dev/custom"]);
            });
            plant(&bundle, path, &target);
            let what = format!("{path} -> {}", target.display());
            let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
            assert_eq!(run.code, 1, "{what}: {run}");
            canary.assert_untouched(&what);
        }
    }
}

#[test]
fn another_device_at_the_place_of_null_is_refused() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(without_dev);
    let device = rustix::fs::makedev(1, 5);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(CWD, bundle.rootfs("/dev/null"), kind, 0o666.into(), device).expect("mknod");
    let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains("/dev/null"), "{run}");
}

/// Whatever is at `/dev/null` in the image, masked files show the null device of the host.
#[test]
fn masks_do_not_come_from_the_image() {
    let Some(host) = Host::new() else { return };
    let canary = Canary::new(&host);
    for path in ["/secret", "/secrets"] {
        for target in Canary::names(&canary.file)
            .into_iter()
            .chain(Canary::names(&canary.directory))
        {
            let bundle = host.bundle(|config| {
                config["linux"]["maskedPaths"] = json!([path]);
                config["linux"]["readonlyPaths"] = json!([path]);
            });
            plant(&bundle, path, &target);
            host.run(&["run", "--bundle", bundle.path(), &host.id()]);
            canary.assert_untouched(&format!("{path} -> {}", target.display()));
        }
    }
    let bundle = host.bundle(|config| {
        config["linux"]["maskedPaths"] = json!(["/secret", "/secrets"]);
        let script = "stat -c '%t:%T' /secret; cat /secret; ls /secrets; touch /secrets/x";
        config["process"]["args"] = json!(["sh", "-c", script]);
    });
    fs::write(bundle.rootfs("/secret"), "secret").expect("write the secret");
    fs::create_dir(bundle.rootfs("/secrets")).expect("make the secrets");
    fs::write(bundle.rootfs("/secrets/one"), "secret").expect("write the secret");
    let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!((run.code, run.stdout.as_str()), (1, "1:3\n"), "{run}");
}

/// CVE-2025-52565: the console is a bind mount, and so could be what it covers.
#[test]
fn a_console_that_is_a_link_is_not_mounted_over() {
    let Some(host) = Host::new() else { return };
    let canary = Canary::new(&host);
    let inside = [
        PathBuf::from("/etc/passwd"),
        PathBuf::from("../etc/passwd"),
        PathBuf::from("/nowhere"),
    ];
    let targets: Vec<_> = Canary::names(&canary.file).into_iter().chain(inside).collect();
    for path in ["/dev/console", "/dev/pts", "/dev/ptmx"] {
        for target in &targets {
            let bundle = host.bundle(|config| {
                without_dev(config);
                let mounts = config["mounts"].as_array_mut().expect("mounts");
                mounts.push(
                    json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                    "options": ["newinstance", "ptmxmode=0666"]}),
                );
                config["process"]["terminal"] = json!(true);
                config["process"]["args"] = json!(["cat", "/etc/passwd"]);
            });
            plant(&bundle, path, target);
            let what = format!("{path} -> {}", target.display());
            let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
            canary.assert_untouched(&what);
            assert!(
                !bundle.rootfs("/nowhere").exists(),
                "{what}: the link's target was made"
            );
            if path == "/dev/console" {
                assert_eq!(run.code, 1, "{what}: {run}");
            } else if run.code == 0 {
                assert!(run.stdout.contains("root:x"), "{what}: {run}");
            }
        }
    }
}

/// What an image brings at the place of a file to mount on: opened, a FIFO blocks, and a device does what it does then.
#[test]
fn what_is_at_the_place_of_a_file_is_mounted_on_and_not_opened() {
    let Some(host) = Host::new() else { return };
    let source = host.directory().join("file");
    fs::write(&source, SONG).expect("write the source");
    let bundle = host.bundle(|config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        for name in ["missing", "fifo"] {
            mounts.push(
                json!({"destination": format!("/data/{name}"), "type": "bind", "source": source, "options": ["bind"]}),
            );
        }
        config["process"]["args"] = json!(["cat", "/data/fifo"]);
    });
    fs::create_dir(bundle.rootfs("/data")).expect("make /data");
    let path = bundle.rootfs("/data/fifo");
    rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, 0o666.into(), 0).expect("mkfifo");
    let reader = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .expect("open the FIFO");
    let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!((run.code, run.stdout.as_str()), (0, SONG), "{run}");
    // The end of a writer, if there ever was one.
    let mut seen = [rustix::event::PollFd::new(&reader, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec::default();
    rustix::event::poll(&mut seen, Some(&now)).expect("poll");
    assert!(seen[0].revents().is_empty(), "the FIFO was opened: {seen:?}");
}
