//! Attestation on real trees: the manifest against `sha256sum -c`, every kind of tampering, and hostile trees.

use nucleus_policy::attest::{self, Difference, Error, FileKind, MANIFEST, Mismatch, Options, Summary};
use rustix::fd::AsFd;
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

fn create(tree: &Path) -> Result<Summary, Error> {
    let root = attest::open_root(tree).expect("the top");
    attest::create(root.as_fd(), &Options::default())
}

fn verify(tree: &Path) -> Result<Vec<Mismatch>, Error> {
    let root = attest::open_root(tree).expect("the top");
    let mut found = Vec::new();
    let summary = attest::verify(root.as_fd(), &Options::default(), &mut |mismatch| {
        found.push(mismatch);
    })?;
    assert_eq!(summary.mismatches, found.len() as u64);
    Ok(found)
}

/// What `sha256sum -c` says.
fn sha256sum(tree: &Path) -> bool {
    let output = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", MANIFEST])
        .current_dir(tree)
        .output()
        .expect("sha256sum");
    output.status.success() && output.stderr.is_empty()
}

/// A tree with all that is usual, and names that are not.
fn tree() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a directory");
    let at = |name: &str| place.path().join(name);
    fs::create_dir_all(at("usr/bin")).expect("mkdir");
    fs::create_dir_all(at("empty/below")).expect("mkdir");
    fs::write(at("usr/bin/tool"), vec![7; 300_000]).expect("write");
    fs::set_permissions(at("usr/bin/tool"), Permissions::from_mode(0o755)).expect("chmod");
    fs::hard_link(at("usr/bin/tool"), at("usr/bin/same")).expect("link");
    fs::write(at("usr.conf"), "sorts between usr and usr/bin by bytes").expect("write");
    fs::write(at("empty-file"), "").expect("write");
    fs::write(at("-"), "sha256sum would read its input").expect("write");
    for name in [
        &b"new\nline"[..],
        b"back\\slash",
        b"return\r",
        b" spaces ",
        b"\xff\xfe",
        b"*star",
        b"#hash",
    ] {
        fs::write(place.path().join(OsStr::from_bytes(name)), name).expect("write");
        symlink(
            OsStr::from_bytes(name),
            at("empty/below").join(OsStr::from_bytes(name)),
        )
        .expect("symlink");
    }
    symlink("usr/bin", at("bin")).expect("symlink");
    symlink("/nix/store/nothing", at("absolute")).expect("symlink");
    symlink("../..", at("usr/bin/up")).expect("symlink");
    symlink("loop", at("loop")).expect("symlink");
    place
}

#[test]
fn a_tree_is_what_its_manifest_says_and_sha256sum_agrees() {
    let tree = tree();
    let summary = create(tree.path()).expect("created");
    assert_eq!((summary.files, summary.directories, summary.links), (12, 5, 11));
    assert_eq!(verify(tree.path()).expect("verified"), []);
    assert!(sha256sum(tree.path()), "sha256sum takes it");
    fs::write(tree.path().join(OsStr::from_bytes(b"return\r")), "other").expect("write");
    assert!(
        !sha256sum(tree.path()),
        "sha256sum looks at the names with escapes"
    );
    assert!(matches!(create(tree.path()), Err(Error::Exists)));
}

/// Files are hashed side by side, in pieces of 32 KiB, and the last few by themselves.
#[test]
fn files_of_all_sizes_have_the_digests_that_sha256sum_finds() {
    let tree = tempfile::tempdir().expect("a directory");
    let content: Vec<u8> = (0..400_000_u64).map(|at| ((at * at) >> 9) as u8).collect();
    let borders = [32 << 10, 64 << 10, 300 << 10].into_iter();
    let around = borders.flat_map(|border: usize| border - 70..border + 70);
    for (number, size) in (0..200).chain(around).enumerate() {
        // Neighbours are of very different sizes.
        let path = tree.path().join((number * 37 % 1000).to_string());
        fs::write(path, &content[number..number + size]).expect("write");
    }
    let summary = create(tree.path()).expect("created");
    assert_eq!(summary.files, 620);
    assert!(sha256sum(tree.path()), "sha256sum takes it");
    for threads in [1, 2] {
        let root = attest::open_root(tree.path()).expect("the top");
        let options = Options {
            threads,
            ..Options::default()
        };
        let mut report = |mismatch| panic!("{mismatch}");
        attest::verify(root.as_fd(), &options, &mut report).expect("verified");
    }
    // A byte of each, in its last block.
    for number in 0..620_usize {
        let path = tree.path().join((number * 37 % 1000).to_string());
        let mut bytes = fs::read(&path).expect("read");
        let Some(last) = bytes.last_mut() else { continue };
        *last ^= 1;
        fs::write(path, bytes).expect("write");
    }
    let found = verify(tree.path()).expect("verified");
    assert_eq!(found.len(), 619);
    assert!(
        found
            .iter()
            .all(|mismatch| mismatch.difference == Difference::Changed)
    );
}

#[test]
fn the_same_tree_has_the_same_manifest_with_any_number_of_threads() {
    let tree = tree();
    let root = attest::open_root(tree.path()).expect("the top");
    let mut digests = Vec::new();
    for threads in [1, 2, 7] {
        let options = Options {
            threads,
            ..Options::default()
        };
        digests.push(attest::create(root.as_fd(), &options).expect("created").manifest);
        fs::remove_file(tree.path().join(MANIFEST)).expect("removed");
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_pin_is_the_digest_of_the_manifest() {
    let tree = tree();
    let pin = create(tree.path()).expect("created").manifest;
    let root = attest::open_root(tree.path()).expect("the top");
    let with = |pin| {
        let options = Options {
            pin: Some(pin),
            ..Options::default()
        };
        attest::verify(root.as_fd(), &options, &mut |mismatch| panic!("{mismatch}"))
    };
    assert_eq!(with(pin).expect("verified").manifest, pin);
    // Another tree with a manifest that fits it.
    fs::remove_file(tree.path().join(MANIFEST)).expect("removed");
    fs::write(tree.path().join("usr/bin/added"), "x").expect("write");
    let other = create(tree.path()).expect("created").manifest;
    assert_ne!(pin, other);
    assert!(matches!(with(pin), Err(Error::Pin { actual, .. }) if actual == other));
}

/// Does one thing to a tree, and returns the path and the word of each mismatch.
fn after(tamper: impl FnOnce(&Path)) -> Vec<(String, &'static str)> {
    let tree = tree();
    create(tree.path()).expect("created");
    tamper(tree.path());
    let found = verify(tree.path()).expect("compared");
    let pair = |mismatch: Mismatch| {
        (
            String::from_utf8_lossy(&mismatch.path).into_owned(),
            mismatch.difference.word(),
        )
    };
    found.into_iter().map(pair).collect()
}

#[test]
fn every_kind_of_tampering_is_told() {
    type Case = (&'static str, fn(&Path), &'static [(&'static str, &'static str)]);
    let table: [Case; 17] = [
        (
            "a byte",
            |tree| {
                let mut bytes = fs::read(tree.join("usr/bin/tool")).expect("read");
                bytes[299_999] ^= 1;
                fs::write(tree.join("usr/bin/tool"), bytes).expect("write");
            },
            &[("usr/bin/same", "changed"), ("usr/bin/tool", "changed")],
        ),
        (
            "a byte more",
            |tree| fs::write(tree.join("empty-file"), "x").expect("write"),
            &[("empty-file", "changed")],
        ),
        (
            "a byte less",
            |tree| fs::write(tree.join("-"), "").expect("write"),
            &[("-", "changed")],
        ),
        (
            "a link",
            |tree| {
                fs::remove_file(tree.join("bin")).expect("rm");
                symlink("usr/sbin", tree.join("bin")).expect("symlink");
            },
            &[("bin", "wrong-target")],
        ),
        (
            "a link that climbs out",
            |tree| {
                fs::remove_file(tree.join("bin")).expect("rm");
                symlink("usr/../../etc", tree.join("bin")).expect("symlink");
            },
            &[("bin", "escaping-symlink"), ("bin", "wrong-target")],
        ),
        (
            "an added link that climbs out",
            |tree| symlink("../../..", tree.join("usr/bin/out")).expect("symlink"),
            &[("usr/bin/out", "escaping-symlink"), ("usr/bin/out", "extra")],
        ),
        (
            "an added file",
            |tree| fs::write(tree.join("empty/below/new"), "").expect("write"),
            &[("empty/below/new", "extra")],
        ),
        (
            "an added directory",
            |tree| fs::create_dir_all(tree.join("usr/local/bin")).expect("mkdir"),
            &[("usr/local", "extra")],
        ),
        (
            "an added file of the manifest's name, elsewhere",
            |tree| fs::write(tree.join("usr").join(MANIFEST), "").expect("write"),
            &[("usr/.nucleus-rootfs-sha256", "extra")],
        ),
        (
            "a removed file",
            |tree| fs::remove_file(tree.join("usr.conf")).expect("rm"),
            &[("usr.conf", "missing")],
        ),
        (
            "a removed directory",
            |tree| fs::remove_dir_all(tree.join("usr")).expect("rm"),
            &[
                ("usr", "missing"),
                ("usr/bin", "missing"),
                ("usr/bin/same", "missing"),
                ("usr/bin/tool", "missing"),
                ("usr/bin/up", "missing"),
            ],
        ),
        (
            "a mode bit",
            |tree| fs::set_permissions(tree.join("usr.conf"), Permissions::from_mode(0o645)).expect("chmod"),
            &[("usr.conf", "wrong-mode")],
        ),
        (
            "a set-user-id bit",
            |tree| {
                fs::set_permissions(tree.join("usr/bin/tool"), Permissions::from_mode(0o4755))
                    .expect("chmod");
            },
            &[("usr/bin/same", "wrong-mode"), ("usr/bin/tool", "wrong-mode")],
        ),
        (
            "the mode of a directory, and of the top",
            |tree| {
                fs::set_permissions(tree.join("usr"), Permissions::from_mode(0o777)).expect("chmod");
                fs::set_permissions(tree, Permissions::from_mode(0o1777)).expect("chmod");
            },
            &[(".", "wrong-mode"), ("usr", "wrong-mode")],
        ),
        (
            "a file becomes a link to its like",
            |tree| {
                fs::rename(tree.join("usr/bin/same"), tree.join("usr/bin/t2")).expect("mv");
                symlink("t2", tree.join("usr/bin/same")).expect("symlink");
            },
            &[("usr/bin/same", "wrong-type"), ("usr/bin/t2", "extra")],
        ),
        (
            "a directory becomes a link to its like",
            |tree| {
                fs::rename(tree.join("empty"), tree.join("usr/empty")).expect("mv");
                symlink("usr/empty", tree.join("empty")).expect("symlink");
            },
            &[],
        ),
        (
            "a link becomes a directory",
            |tree| {
                fs::remove_file(tree.join("loop")).expect("rm");
                fs::create_dir(tree.join("loop")).expect("mkdir");
            },
            &[("loop", "wrong-type")],
        ),
    ];
    for (name, tamper, expected) in table {
        let found = after(tamper);
        if name == "a directory becomes a link to its like" {
            assert!(found.contains(&("empty".into(), "wrong-type")), "{found:?}");
            assert!(found.contains(&("empty/below".into(), "missing")), "{found:?}");
            assert!(found.contains(&("usr/empty".into(), "extra")), "{found:?}");
            continue;
        }
        let expected: Vec<_> = expected
            .iter()
            .map(|(path, word)| ((*path).to_owned(), *word))
            .collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn pipes_sockets_and_devices_are_told_and_never_opened() {
    let make =
        |tree: &Path, name: &str, kind| mknodat(CWD, tree.join(name), kind, Mode::RWXU, 0).expect("mknod");
    let found = after(|tree| {
        make(tree, "pipe", FileType::Fifo);
        make(tree, "socket", FileType::Socket);
        fs::remove_file(tree.join("usr.conf")).expect("rm");
        make(tree, "usr.conf", FileType::Fifo);
    });
    let expected = [("pipe", "extra"), ("socket", "extra"), ("usr.conf", "wrong-type")];
    assert_eq!(found, expected.map(|(path, word)| (path.to_owned(), word)));
    for kind in [FileType::Fifo, FileType::Socket] {
        let tree = tree();
        make(tree.path(), "usr/node", kind);
        let error = create(tree.path()).expect_err("unfit");
        assert!(error.to_string().starts_with("usr/node: wrong type"), "{error}");
        assert!(!tree.path().join(MANIFEST).exists(), "none is left");
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
