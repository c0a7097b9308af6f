//! What of a file goes along into the copy and back: contents with their holes, names, times, attributes, links.

use super::*;

#[test]
fn names_with_control_characters_are_shown_and_taken_over() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    let script = "echo x > \"$(printf 'a\\nb\\033[2J\\377')\"; printf 'x\\033[2Jy\\n' > text";
    change(&place, &workspace, script).exits(0);
    assert_eq!(diff(&place), "A a\\nb\\x1b[2J\\xff\nA text\n");
    place.nucleus(&["workspace", "commit", place.name()]).exits(0);
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(b"a\nb\x1b[2J\xff");
    assert!(workspace.join(name).exists());
}

#[test]
fn the_copy_keeps_times_holes_and_modes() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    let sparse = fs::File::create(workspace.join("sparse")).expect("create");
    sparse.set_len(1 << 30).expect("truncate");
    std::os::unix::fs::FileExt::write_at(&sparse, b"end", (1 << 30) - 3).expect("write");
    chown(workspace.join("sparse"), Some(12_345), Some(12_345)).expect("chown");
    let before = fs::metadata(workspace.join("run.sh")).expect("stat").mtime_nsec();
    let finished = change(
        &place,
        &workspace,
        "stat -c %y run.sh | cut -d. -f2 | cut -d' ' -f1; du -k sparse | cut -f1; tail -c 3 sparse; cp --sparse=always sparse other",
    );
    let lines: Vec<&str> = finished.exits(0).lines().collect();
    assert_eq!(lines[0], format!("{before:09}"));
    assert!(lines[1].parse::<u32>().expect("KiB") < 1024, "{lines:?}");
    assert_eq!(lines[2], "end");
    place.nucleus(&["workspace", "commit", place.name()]).exits(0);
    assert!(fs::metadata(workspace.join("other")).expect("other").blocks() < 2048);
}

fn set(path: &Path, name: &str, value: &str) {
    rustix::fs::setxattr(path, name, value.as_bytes(), rustix::fs::XattrFlags::empty()).expect("setxattr");
}

fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = [0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    Some(value[..length].to_vec())
}

/// Python has the calls.
fn attribute(act: &str) -> String {
    format!("python3 -c 'import os; {act}'")
}

#[test]
fn notes_on_files_go_along_and_layers_and_capabilities_do_not() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    let [file, other, directory] = ["src/a.txt", "src/b.txt", "src"].map(|path| workspace.join(path));
    set(&file, "user.note", "host's");
    set(&other, "user.note", "host's");
    set(&directory, "user.note", "of the directory");
    set(&file, "user.overlay.opaque", "y");
    // cap_net_raw, permitted and effective.
    let capability = "\u{1}\0\0\u{2}\0\u{20}\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    set(&other, "security.capability", capability);
    let script = [
        "print(sorted(os.listxattr(\"src/a.txt\")), os.getxattr(\"src\", \"user.note\"), os.listxattr(\"src/b.txt\"))",
        "os.setxattr(\"src/b.txt\", \"user.note\", b\"workload\")",
        "os.removexattr(\"src/a.txt\", \"user.note\")",
        "open(\"new\", \"w\"); os.setxattr(\"new\", \"user.new\", b\"1\"); os.setxattr(\"new\", \"user.overlay.redirect\", b\"/etc\")",
        "os.setxattr(\"new\", \"user.containers.override_stat\", b\"0:0:4755\")",
        "os.mkdir(\"box\"); os.setxattr(\"box\", \"user.new\", b\"2\"); os.setxattr(\"box\", \"user.overlay.opaque\", b\"y\")",
    ]
    .join("; ");
    let finished = change(&place, &workspace, &attribute(&script));
    assert_eq!(
        finished.exits(0),
        "['user.note'] b'of the directory' ['user.note']\n",
        "{finished:?}"
    );
    assert_eq!(diff(&place), "A box/\nA new\nM src/a.txt\nM src/b.txt\n");
    let patch = place.nucleus(&["workspace", "diff", "--patch", place.name()]);
    assert!(
        patch.exits(0).contains("M src/b.txt\n  (attributes alone)\n"),
        "{patch:?}"
    );
    place.nucleus(&["workspace", "commit", place.name()]).exits(0);
    assert_eq!(get(&file, "user.note"), None);
    assert_eq!(get(&other, "user.note").as_deref(), Some(&b"workload"[..]));
    assert_eq!(
        get(&workspace.join("new"), "user.new").as_deref(),
        Some(&b"1"[..])
    );
    assert_eq!(
        get(&workspace.join("box"), "user.new").as_deref(),
        Some(&b"2"[..])
    );
    for (path, name) in [
        ("new", "user.overlay.redirect"),
        ("new", "user.containers.override_stat"),
        ("box", "user.overlay.opaque"),
        ("src/b.txt", "security.capability"),
    ] {
        assert_eq!(get(&workspace.join(path), name), None, "{path} {name}");
    }
    assert_eq!(place.left_in("workspaces"), [""; 0]);
}

/// `acl(5)` as the kernel has it: version 2, then tag, permissions and id for each entry.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

const NOBODY: u32 = u32::MAX;

/// The owner may read and write, user 77 as well, the group nothing: with the mask the mode is 0660.
fn for_user_77(permissions: u16) -> Vec<u8> {
    acl(&[
        (1, 6, NOBODY),
        (2, permissions, 77),
        (4, 0, NOBODY),
        (0x10, 6, NOBODY),
        (0x20, 0, NOBODY),
    ])
}

/// Without the ACL the mask's bits of the mode would be the group's: who could not read the file could write it.
#[test]
fn a_file_that_is_replaced_keeps_its_acl_and_a_new_one_has_its_directorys() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    let set_acl = |path: &str, name: &str| {
        let path = workspace.join(path);
        let set = rustix::fs::setxattr(&path, name, &for_user_77(6), rustix::fs::XattrFlags::empty());
        set.expect("setxattr");
    };
    set_acl("src/a.txt", "system.posix_acl_access");
    set_acl("src", "system.posix_acl_default");
    assert_eq!(
        fs::metadata(workspace.join("src/a.txt")).expect("stat").mode() & 0o777,
        0o660
    );
    let hostile = attribute(
        "v = (2).to_bytes(4, \"little\") + b\"\".join(t.to_bytes(2, \"little\") + p.to_bytes(2, \"little\") + \
         i.to_bytes(4, \"little\") for t, p, i in [(1, 7, 0xffffffff), (2, 7, 1000), (4, 7, 0xffffffff), \
         (0x10, 7, 0xffffffff), (0x20, 0, 0xffffffff)]); \
         [os.setxattr(f, \"system.posix_acl_access\", v) for f in (\"src/b.txt\", \"top\")]",
    );
    let script = format!(
        "echo 2 > src/a.txt; umask 077; echo new > src/new; chmod 644 src/new; echo b > src/b.txt; echo t > top; {hostile}"
    );
    change(&place, &workspace, &script).exits(0);
    place.nucleus(&["workspace", "commit", place.name()]).exits(0);
    let access = |path: &str| get(&workspace.join(path), "system.posix_acl_access");
    assert_eq!(access("src/a.txt"), Some(for_user_77(6)));
    // The mode's group is the mask: 0644 leaves user 77 reading.
    let masked = acl(&[
        (1, 6, NOBODY),
        (2, 6, 77),
        (4, 0, NOBODY),
        (0x10, 4, NOBODY),
        (0x20, 4, NOBODY),
    ]);
    assert_eq!(access("src/new"), Some(masked));
    assert_eq!((access("src/b.txt"), access("top")), (None, None));
}

#[test]
fn names_by_hard_links_are_files_of_their_own_and_told_of() {
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    fs::hard_link(workspace.join("src/a.txt"), workspace.join("src/twin")).expect("link");
    fs::hard_link(workspace.join("src/a.txt"), place.path("outside")).expect("link");
    change(
        &place,
        &workspace,
        "echo changed > src/a.txt; ln run.sh again; echo more >> again",
    )
    .exits(0);
    let told = "M src/a.txt  [2 other names of it, by hard links: what they show stays]";
    assert_eq!(diff(&place), format!("A again\nM run.sh\n{told}\n"));
    let json = place.nucleus(&["workspace", "diff", "--json", place.name()]);
    let json: Value = serde_json::from_str(json.exits(0)).expect("JSON");
    assert_eq!(
        (&json[2]["other-names"], &json[1]["other-names"]),
        (&2.into(), &Value::Null)
    );
    place.nucleus(&["workspace", "commit", place.name()]).exits(0);
    let read = |path: &Path| fs::read_to_string(path).expect("read");
    assert_eq!(read(&workspace.join("src/a.txt")), "changed\n");
    for path in [workspace.join("src/twin"), place.path("outside")] {
        assert_eq!(read(&path), "one\ntwo\nthree\n", "{}", path.display());
    }
    let links = |path: &str| fs::metadata(workspace.join(path)).expect("stat").nlink();
    assert_eq!((links("run.sh"), links("again")), (1, 1));
}

/// Past 4 GiB, where 32 bits end, with little in it; nobody reads its holes.
#[test]
fn a_large_file_with_holes_goes_there_and_back() {
    use std::os::unix::fs::FileExt;
    let Some(place) = Place::new() else { return };
    let workspace = workspace(&place);
    let (size, far) = (1_u64 << 42, (1 << 41) + 7);
    let large = fs::File::create(workspace.join("large")).expect("create");
    if let Err(error) = large.set_len(size) {
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::FBIG.raw_os_error()),
            "{error}"
        );
        return;
    }
    large.write_at(b"far", far).expect("write");
    give(&workspace.join("large"));
    let begun = std::time::Instant::now();
    let script = format!(
        "touch large; cp --sparse=always large other & wait; dd if=large bs=1 skip={far} count=3 status=none"
    );
    let script = script.replace("cp --sparse=always large other & wait; ", "");
    assert_eq!(change(&place, &workspace, &script).exits(0), "far");
    // Its bytes are what they were: a time of its own is no change.
    assert_eq!(place.left_in("workspaces"), [""; 0]);
    let script = format!("printf FAR | dd of=large bs=1 seek={far} conv=notrunc status=none");
    change(&place, &workspace, &script).exits(0);
    assert_eq!(diff(&place), "M large\n");
    place.nucleus(&["workspace", "commit", place.name()]).exits(0);
    let mut found = [0; 3];
    let large = fs::File::open(workspace.join("large")).expect("open");
    large.read_exact_at(&mut found, far).expect("read");
    assert_eq!((&found, large.metadata().expect("stat").len()), (b"FAR", size));
    assert!(large.metadata().expect("stat").blocks() < 2048);
    assert!(
        begun.elapsed().as_secs() < 60,
        "the holes were read: {:?}",
        begun.elapsed()
    );
}
