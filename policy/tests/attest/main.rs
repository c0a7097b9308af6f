//! Attestation on real trees: the manifest against `sha256sum -c`, every kind of tampering, and hostile trees.

mod hostile;

use nucleus_policy::attest::{self, Difference, Error, MANIFEST, Mismatch, Options, Summary};
use rustix::fd::AsFd;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

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
