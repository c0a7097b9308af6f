//! Trees that are made to keep it waiting, to lead it out, or to change under it.

use super::{after, create, tree, verify};
use nucleus_policy::attest::{Difference, Error, FileKind, MANIFEST};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, XattrFlags, makedev, mknodat, renameat_with, setxattr};
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether this is root; says that something is skipped if not, which is an error where everything has to run.
fn is_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        assert!(
            std::env::var_os("NUCLEUS_TESTS_MUST_RUN").is_none(),
            "{what} needs root"
        );
        let _ = std::io::stderr().write_all(format!("SKIPPED: {what} needs root\n").as_bytes());
    }
    root
}

/// A device that never ends and one that never answers: the kernel has no driver for it.
const DEVICES: [(FileType, u32, u32); 2] = [
    (FileType::CharacterDevice, 1, 5),
    (FileType::BlockDevice, 259, 9999),
];

fn node(at: PathBuf, (kind, major, minor): (FileType, u32, u32)) {
    mknodat(CWD, at, kind, Mode::RWXU, makedev(major, minor)).expect("mknod");
}

#[test]
fn pipes_sockets_and_devices_are_told_and_never_opened() {
    let mut kinds = vec![(FileType::Fifo, 0, 0), (FileType::Socket, 0, 0)];
    if is_root("to make devices") {
        kinds.extend(DEVICES);
    }
    for kind in kinds {
        let found = after(|tree| {
            node(tree.join("added"), kind);
            fs::remove_file(tree.join("usr.conf")).expect("rm");
            node(tree.join("usr.conf"), kind);
        });
        let expected = [("added", "extra"), ("usr.conf", "wrong-type")];
        assert_eq!(found, expected.map(|(path, word)| (path.to_owned(), word)));
        let tree = tree();
        node(tree.path().join("usr/node"), kind);
        let error = create(tree.path()).expect_err("unfit");
        assert!(error.to_string().starts_with("usr/node: wrong type"), "{error}");
        assert!(!tree.path().join(MANIFEST).exists(), "none is left");
    }
}

#[test]
fn a_program_with_file_capabilities_is_told() {
    if !is_root("to give capabilities to a file") {
        return;
    }
    // CAP_NET_RAW, permitted and effective (struct vfs_cap_data of revision 2, linux/capability.h).
    let value: Vec<u8> = [0x0200_0001_u32, 1 << 13, 0, 0, 0]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let give = |at: PathBuf| {
        setxattr(at, c"security.capability", &value, XattrFlags::empty()).expect("setxattr");
    };
    let found = after(|tree| give(tree.join("usr/bin/tool")));
    let both = ["usr/bin/same", "usr/bin/tool"].map(|path| (path.to_owned(), "file-capabilities"));
    assert_eq!(found, both);
    let tree = tree();
    give(tree.path().join("usr/bin/tool"));
    assert!(matches!(
        create(tree.path()),
        Err(Error::Unfit(mismatch)) if mismatch.difference == Difference::Capabilities
    ));
    // Nobody can execute this one, until somebody changes its mode, which is told.
    let conf = |mode| {
        move |tree: &Path| {
            give(tree.join("usr.conf"));
            fs::set_permissions(tree.join("usr.conf"), Permissions::from_mode(mode)).expect("chmod");
        }
    };
    assert_eq!(after(conf(0o644)), []);
    assert_eq!(after(conf(0o645)), [("usr.conf".to_owned(), "file-capabilities")]);
}

#[test]
fn a_file_system_mounted_in_the_tree_is_told_and_not_entered() {
    if !is_root("to mount") {
        return;
    }
    const INSIDE: &str = "NUCLEUS_TEST_MOUNTED";
    // In a mount namespace of its own: this test once more, as another process.
    let Some(tree) = std::env::var_os(INSIDE).map(PathBuf::from) else {
        let tree = tree();
        create(tree.path()).expect("created");
        let script = "mount --bind usr empty/below && mount --bind . usr/bin && mount --bind usr.conf ./- && exec \"$0\" \"$@\"";
        let status = Command::new("unshare")
            .args(["--mount", "sh", "-ec", script])
            .arg(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "hostile::a_file_system_mounted_in_the_tree_is_told_and_not_entered",
            ])
            .env(INSIDE, tree.path())
            .current_dir(tree.path())
            .status()
            .expect("unshare");
        assert!(status.success());
        return;
    };
    let found = verify(&tree).expect("compared");
    let at = |path: &str| {
        found
            .iter()
            .any(|told| told.path == path.as_bytes() && told.difference == Difference::MountPoint)
    };
    // The tree mounted within itself has no end.
    assert!(at("-") && at("empty/below") && at("usr/bin"), "{found:?}");
    // What is listed below is not to be had: nobody looked under the other mount's names.
    let others = found
        .iter()
        .filter(|told| told.difference != Difference::MountPoint);
    for told in others {
        assert_eq!(told.difference, Difference::Missing, "{told}");
    }
}

#[test]
fn a_manifest_that_is_none_is_refused_without_waiting() {
    let tree = tree();
    let path = tree.path().join(MANIFEST);
    assert!(matches!(verify(tree.path()), Err(Error::NoManifest)));
    mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).expect("mkfifo");
    assert!(matches!(verify(tree.path()), Err(Error::NotRegular)));
    fs::remove_file(&path).expect("rm");
    symlink("usr.conf", &path).expect("symlink");
    assert!(matches!(verify(tree.path()), Err(Error::NotRegular)));
    fs::remove_file(&path).expect("rm");
    fs::create_dir(&path).expect("mkdir");
    assert!(matches!(verify(tree.path()), Err(Error::NotRegular)));
    fs::remove_dir(&path).expect("rmdir");
    for text in [
        "",
        "# nucleus-rootfs-manifest 2\n",
        "# nucleus-rootfs-manifest 1\n",
        "\0",
    ] {
        fs::write(&path, text).expect("write");
        assert!(
            matches!(verify(tree.path()), Err(Error::Manifest { .. })),
            "{text:?}"
        );
    }
}

#[test]
fn a_manifest_cut_anywhere_never_passes() {
    let tree = tree();
    create(tree.path()).expect("created");
    let path = tree.path().join(MANIFEST);
    let whole = fs::read(&path).expect("read");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("chmod");
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).expect("write");
        assert!(
            !matches!(verify(tree.path()).as_deref(), Ok([])),
            "cut at {length}"
        );
    }
}

#[test]
fn a_sparse_file_of_any_size_ends_at_once() {
    let tree = tree();
    create(tree.path()).expect("created");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(tree.path().join("usr.conf"))
        .expect("open");
    file.set_len(1 << 43).expect("truncate");
    let found = verify(tree.path()).expect("compared");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].difference, Difference::Changed);
}

#[test]
fn deep_and_wide_trees_are_walked_or_refused() {
    let tree = tempfile::tempdir().expect("a directory");
    let mut deep = PathBuf::from(tree.path());
    for _ in 0..200 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).expect("mkdir");
    for number in 0..20_000 {
        fs::write(tree.path().join(format!("d/{number}")), "").expect("write");
    }
    let summary = create(tree.path()).expect("created");
    assert_eq!((summary.directories, summary.files), (201, 20_000));
    assert_eq!(verify(tree.path()).expect("verified"), []);
    fs::create_dir_all(deep.join(["e"; 60].join("/"))).expect("mkdir");
    // What is extra is not gone into.
    assert_eq!(verify(tree.path()).expect("compared").len(), 1);
    fs::remove_file(tree.path().join(MANIFEST)).expect("rm");
    assert!(matches!(create(tree.path()), Err(Error::TooMuch { .. })));
}

/// Runs `change` over and over while `check` is called.
fn meanwhile(rounds: usize, change: impl Fn() + Sync, mut check: impl FnMut()) {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // However the checks end.
        let _stop = Stop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                change();
            }
        });
        (0..rounds).for_each(|_| check());
    });
}

#[test]
fn files_swapped_while_they_are_hashed_never_pass() {
    let tree = tempfile::tempdir().expect("a directory");
    let outside = tempfile::tempdir().expect("a directory");
    let (inside, other) = (tree.path().join("dir/file"), outside.path().join("file"));
    fs::create_dir(tree.path().join("dir")).expect("mkdir");
    fs::write(&inside, vec![1; 3 << 20]).expect("write");
    fs::write(&other, vec![2; 3 << 20]).expect("write");
    create(tree.path()).expect("created");
    let swap = || renameat_with(CWD, &inside, CWD, &other, RenameFlags::EXCHANGE).expect("swap");
    let mut told = 0;
    meanwhile(60, swap, || {
        told += usize::from(!verify(tree.path()).expect("compared").is_empty());
    });
    // A comparison passes only when the swapping thread rested all the while with the right file in place.
    assert!(told > 20, "{told} of 60");
}

#[test]
fn a_growing_file_ends_and_never_passes() {
    let tree = tempfile::tempdir().expect("a directory");
    let path = tree.path().join("log");
    fs::write(&path, vec![0; 1 << 20]).expect("write");
    create(tree.path()).expect("created");
    let grow = || {
        use std::io::Write;
        let mut file = fs::OpenOptions::new().append(true).open(&path).expect("open");
        file.write_all(&[0; 4096]).expect("write");
        if file.metadata().expect("stat").len() > 32 << 20 {
            file.set_len(0).expect("truncate");
        }
    };
    grow();
    meanwhile(50, grow, || {
        assert!(!verify(tree.path()).expect("compared").is_empty());
    });
}

#[test]
fn a_directory_swapped_for_a_link_never_leads_out() {
    let tree = tempfile::tempdir().expect("a directory");
    let outside = tempfile::tempdir().expect("a directory");
    for top in [tree.path(), outside.path()] {
        fs::create_dir(top.join("dir")).expect("mkdir");
        (0..50).for_each(|number| fs::write(top.join(format!("dir/{number}")), [number; 64]).expect("write"));
    }
    create(tree.path()).expect("created");
    // The same content lies behind the link: only a walk that goes there can pass while the link is in place.
    symlink(outside.path().join("dir"), outside.path().join("link")).expect("symlink");
    let (inside, link) = (tree.path().join("dir"), outside.path().join("link"));
    renameat_with(CWD, &inside, CWD, &link, RenameFlags::EXCHANGE).expect("swap");
    let found = verify(tree.path()).expect("compared");
    let wrong = Difference::WrongType {
        expected: FileKind::Directory,
        actual: FileKind::Link,
    };
    assert_eq!(found[0].difference, wrong);
    let swap = || renameat_with(CWD, &inside, CWD, &link, RenameFlags::EXCHANGE).expect("swap");
    meanwhile(300, swap, || {
        for mismatch in verify(tree.path()).expect("compared") {
            let seen = matches!(
                mismatch.difference,
                Difference::WrongType { .. } | Difference::Missing | Difference::Unsteady
            );
            assert!(seen, "{mismatch}");
        }
    });
}
