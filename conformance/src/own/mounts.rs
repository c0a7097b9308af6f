//! Mounts: types, option words, sources, targets, propagation.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::expect_eq;
use crate::lab::{Bundle, Container, Lab};

super::list![
    option_words_reach_the_mount,
    later_words_win,
    tmpfs_data_reaches_the_filesystem,
    bind_of_a_directory_and_of_a_file,
    bind_read_only,
    bind_source_may_be_relative,
    bind_sets_and_clears_flags,
    rbind_brings_submounts_and_bind_does_not,
    targets_are_created,
    target_links_stay_in_the_root,
    target_dots_stay_in_the_root,
    mounts_follow_the_listed_order,
    tmpcopyup_copies_the_image,
    tmpcopyup_keeps_owner_mode_and_links,
    mount_propagation_words,
    rootfs_propagation_is_set,
    rootfs_propagation_leaves_the_mounts_own,
    read_only_root,
    proc_and_sys_are_of_their_types,
    proc_hides_other_processes,
    cgroup_mount_shows_the_containers_cgroup,
    no_mount_of_the_host_is_left_below_the_root,
];

/// The row of mountinfo for a target: its options and, after the dash, its filesystem.
pub(super) fn row<'a>(table: &'a str, target: &str) -> Result<&'a str> {
    let found = table.lines().rfind(|line| line.split(' ').nth(4) == Some(target));
    found.with_context(|| format!("nothing is mounted on {target}"))
}

/// The words of per-mount options in a row.
pub(super) fn words(row: &str) -> Vec<&str> {
    row.split(' ').nth(5).unwrap_or_default().split(',').collect()
}

/// The container's mount table, after `change`.
pub(super) fn table(lab: &Lab, change: impl FnOnce(&mut Bundle)) -> Result<String> {
    lab.output_of("cat /proc/self/mountinfo", change)
}

fn option_words_reach_the_mount(lab: &Lab) -> Result<()> {
    let expected: [(&str, &str); 8] = [
        ("nosuid", "nosuid"),
        ("nodev", "nodev"),
        ("noexec", "noexec"),
        ("ro", "ro"),
        ("noatime", "noatime"),
        ("nodiratime", "nodiratime"),
        ("relatime", "relatime"),
        ("nosymfollow", "nosymfollow"),
    ];
    let table = table(lab, |bundle| {
        for (word, _) in expected {
            bundle.mount("tmpfs", "tmpfs", &format!("/m/{word}"), &[word]);
        }
        bundle.mount("tmpfs", "tmpfs", "/m/sync", &["sync", "dirsync", "lazytime"]);
        bundle.mount("tmpfs", "tmpfs", "/m/strictatime", &["strictatime"]);
    })?;
    for (word, seen) in expected {
        let row = row(&table, &format!("/m/{word}"))?;
        ensure!(words(row).contains(&seen), "mount with {word} is {row:?}");
    }
    let strict = words(row(&table, "/m/strictatime")?);
    ensure!(
        !strict.contains(&"relatime") && !strict.contains(&"noatime"),
        "strictatime gives {strict:?}"
    );
    let (_, superblock) = row(&table, "/m/sync")?.split_once(" - ").context("a dash")?;
    for word in ["sync", "dirsync", "lazytime"] {
        ensure!(
            superblock.split([',', ' ']).any(|seen| seen == word),
            "no {word} in {superblock:?}"
        );
    }
    Ok(())
}

fn later_words_win(lab: &Lab) -> Result<()> {
    let table = table(lab, |bundle| {
        bundle.mount(
            "tmpfs",
            "tmpfs",
            "/m/a",
            &["noexec", "nosuid", "ro", "exec", "rw"],
        );
    })?;
    let words = words(row(&table, "/m/a")?);
    ensure!(
        words.contains(&"rw") && words.contains(&"nosuid"),
        "options are {words:?}"
    );
    ensure!(!words.contains(&"noexec"), "options are {words:?}");
    Ok(())
}

fn tmpfs_data_reaches_the_filesystem(lab: &Lab) -> Result<()> {
    let seen = lab.output_of("stat -c '%a %u %g' /m; cat /proc/self/mountinfo", |bundle| {
        bundle.mount(
            "tmpfs",
            "tmpfs",
            "/m",
            &["mode=1750", "uid=5", "gid=7", "size=1024k"],
        );
    })?;
    expect_eq("mode and owner", seen.lines().next(), Some("1750 5 7"))?;
    ensure!(
        row(&seen, "/m")?.contains("size=1024k"),
        "no size in {:?}",
        row(&seen, "/m")?
    );
    Ok(())
}

fn bind_of_a_directory_and_of_a_file(lab: &Lab) -> Result<()> {
    let source = lab.dir.join("source");
    fs::create_dir(&source)?;
    fs::write(source.join("file"), "hello\n")?;
    let file = source.join("file").display().to_string();
    let script = "cat /dir/file /dir-file; echo more >> /dir/file";
    let seen = lab.output_of(script, |bundle| {
        bundle.mount("bind", &source.display().to_string(), "/dir", &["bind"]);
        // The type of a bind mount is without meaning; the option decides.
        bundle.mount("none", &file, "/dir-file", &["bind"]);
    })?;
    expect_eq("contents", seen, "hello\nhello")?;
    expect_eq("the host's file", fs::read_to_string(&file)?, "hello\nmore\n")
}

fn bind_read_only(lab: &Lab) -> Result<()> {
    let source = lab.dir.join("source");
    fs::create_dir(&source)?;
    lab.output_of("! touch /dir/new", |bundle| {
        bundle.mount("bind", &source.display().to_string(), "/dir", &["bind", "ro"]);
    })?;
    ensure!(!source.join("new").exists(), "the host's directory was written");
    Ok(())
}

fn bind_source_may_be_relative(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["cat", "/dir/file"])?;
    fs::create_dir(bundle.dir().join("beside"))?;
    fs::write(bundle.dir().join("beside/file"), "hello")?;
    bundle.mount("bind", "beside", "/dir", &["bind"]);
    expect_eq("contents", lab.stdout(&bundle)?, "hello")
}

fn bind_sets_and_clears_flags(lab: &Lab) -> Result<()> {
    let source = mounted(lab, "source", "nosuid,noexec,nodev,mode=755")?;
    let plain = mounted(lab, "plain", "mode=755")?;
    let table = table(lab, |bundle| {
        bundle.mount("bind", &plain, "/set", &["bind", "nosuid", "noexec", "nodev"]);
        bundle.mount(
            "bind",
            &source,
            "/cleared",
            &["bind", "suid", "exec", "dev", "noatime"],
        );
    })?;
    let (set, cleared) = (words(row(&table, "/set")?), words(row(&table, "/cleared")?));
    for word in ["nosuid", "noexec", "nodev"] {
        ensure!(set.contains(&word), "no {word} in {set:?}");
        ensure!(!cleared.contains(&word), "{word} is left in {cleared:?}");
    }
    Ok(())
}

/// Mounts a tmpfs in the sandbox, outside of any bundle; the result is its path.
pub(super) fn mounted(lab: &Lab, name: &str, options: &str) -> Result<String> {
    let dir = lab.dir.join(name);
    fs::create_dir_all(&dir)?;
    let arguments = ["-t", "tmpfs", "-o", options, "none"];
    let status = std::process::Command::new("mount")
        .args(arguments)
        .arg(&dir)
        .status()?;
    ensure!(status.success(), "mount {} failed", dir.display());
    Ok(dir.display().to_string())
}

fn rbind_brings_submounts_and_bind_does_not(lab: &Lab) -> Result<()> {
    let source = mounted(lab, "source", "mode=755")?;
    let below = mounted(lab, "source/sub", "mode=755")?;
    fs::write(Path::new(&below).join("file"), "")?;
    let seen = lab.output_of("ls /all/sub /one/sub", |bundle| {
        bundle
            .mount("bind", &source, "/all", &["rbind"])
            .mount("bind", &source, "/one", &["bind"]);
    })?;
    expect_eq(
        "listing",
        seen.split_whitespace().collect::<Vec<_>>(),
        ["/all/sub:", "file", "/one/sub:"],
    )
}

fn targets_are_created(lab: &Lab) -> Result<()> {
    let mut bundle = lab.script("stat -c %F /new/dir/deep /new/file")?;
    bundle.mount("tmpfs", "tmpfs", "/new/dir/deep", &[]).mount(
        "bind",
        "/etc/hostname",
        "/new/file",
        &["bind"],
    );
    expect_eq("types", lab.stdout(&bundle)?, "directory\nregular file")
}

/// A target that the rootfs redirects must be looked up in the rootfs, wherever the link points.
fn target_links_stay_in_the_root(lab: &Lab) -> Result<()> {
    let canary = lab.dir.join("canary");
    fs::create_dir(&canary)?;
    let mut bundle = lab.bundle(&["cat", "/proc/self/mountinfo"])?;
    symlink(&canary, bundle.in_root("/absolute"))?;
    symlink("../../canary", bundle.in_root("/relative"))?;
    bundle
        .mount("tmpfs", "tmpfs", "/absolute/one", &[])
        .mount("tmpfs", "tmpfs", "/relative/two", &[]);
    // A runtime may refuse such links; what it must not do is to leave the root.
    let output = lab.run(&bundle)?;
    ensure!(
        fs::read_dir(&canary)?.next().is_none(),
        "a target was made outside the root"
    );
    ensure!(output.code == 0 || output.code == 1, "{output:?}");
    if output.code == 0 {
        row(&output.stdout, &format!("{}/one", canary.display()))?;
        row(&output.stdout, "/canary/two")?;
    }
    Ok(())
}

fn target_dots_stay_in_the_root(lab: &Lab) -> Result<()> {
    let table = table(lab, |bundle| {
        bundle.mount("tmpfs", "tmpfs", "/../../../dots", &[]);
    })?;
    row(&table, "/dots")?;
    ensure!(
        !lab.dir.join("dots").exists() && !fs::exists("/dots")?,
        "a target was made outside the root"
    );
    Ok(())
}

fn mounts_follow_the_listed_order(lab: &Lab) -> Result<()> {
    let source = lab.dir.join("source");
    fs::create_dir(&source)?;
    fs::write(source.join("file"), "second")?;
    let seen = lab.output_of("cat /m/inner/file", |bundle| {
        bundle.mount("tmpfs", "tmpfs", "/m", &[]);
        bundle.mount("bind", &source.display().to_string(), "/m/inner", &["bind"]);
    })?;
    expect_eq("contents", seen, "second")
}

fn tmpcopyup_copies_the_image(lab: &Lab) -> Result<()> {
    let mut bundle = lab.script("cat /data/deep/file; echo changed > /data/deep/file")?;
    fs::create_dir_all(bundle.in_root("/data/deep"))?;
    fs::write(bundle.in_root("/data/deep/file"), "image\n")?;
    bundle.mount("tmpfs", "tmpfs", "/data", &["tmpcopyup", "mode=755"]);
    expect_eq("contents", lab.stdout(&bundle)?, "image")?;
    expect_eq(
        "the image's file",
        fs::read_to_string(bundle.in_root("/data/deep/file"))?,
        "image\n",
    )
}

fn tmpcopyup_keeps_owner_mode_and_links(lab: &Lab) -> Result<()> {
    let script = "stat -c '%a %u %g' /data/dir /data/dir/file; readlink /data/link; ls -A /data";
    let mut bundle = lab.script(script)?;
    let (dir, file) = (bundle.in_root("/data/dir"), bundle.in_root("/data/dir/file"));
    fs::create_dir_all(&dir)?;
    fs::write(&file, "")?;
    symlink("/nowhere", bundle.in_root("/data/link"))?;
    std::os::unix::fs::chown(&file, Some(12), Some(34))?;
    std::os::unix::fs::chown(&dir, Some(56), Some(78))?;
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640))?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o2750))?;
    bundle
        .mount("tmpfs", "tmpfs", "/data", &["tmpcopyup"])
        .capabilities(&["CAP_DAC_OVERRIDE"]);
    let seen = lab.stdout(&bundle)?;
    expect_eq(
        "copy",
        seen.lines().collect::<Vec<_>>(),
        ["2750 56 78", "640 12 34", "/nowhere", "dir", "link"],
    )
}

fn mount_propagation_words(lab: &Lab) -> Result<()> {
    let source = mounted(lab, "source", "mode=755")?;
    let status = std::process::Command::new("mount")
        .args(["--make-shared", &source])
        .status()?;
    ensure!(status.success(), "mount --make-shared failed");
    let table = table(lab, |bundle| {
        bundle.mount("bind", &source, "/shared", &["rbind", "rshared"]);
        bundle.mount("bind", &source, "/slave", &["rbind", "rslave"]);
        bundle.mount("bind", &source, "/private", &["rbind", "rprivate"]);
        bundle.mount("bind", &source, "/unbindable", &["bind", "unbindable"]);
        // A mount of a shared parent would become shared again when the root moves.
        bundle.set("/linux/rootfsPropagation", json!("shared"));
    })?;
    let fields = |target: &str| -> Result<String> {
        let row = row(&table, target)?;
        let words: Vec<&str> = row.split(' ').skip(6).take_while(|word| *word != "-").collect();
        Ok(words.join(" "))
    };
    ensure!(
        fields("/shared")?.contains("shared:"),
        "rshared gives {:?}",
        fields("/shared")?
    );
    ensure!(
        fields("/slave")?.contains("master:"),
        "rslave gives {:?}",
        fields("/slave")?
    );
    expect_eq("rprivate", fields("/private")?, "")?;
    expect_eq("unbindable", fields("/unbindable")?, "unbindable")
}

fn rootfs_propagation_is_set(lab: &Lab) -> Result<()> {
    for (word, expected) in [("private", ""), ("rprivate", ""), ("unbindable", "unbindable")] {
        let table = table(lab, |bundle| {
            bundle.set("/linux/rootfsPropagation", json!(word));
        })?;
        let fields: Vec<&str> = row(&table, "/")?
            .split(' ')
            .skip(6)
            .take_while(|word| *word != "-")
            .collect();
        expect_eq(word, fields.join(" "), expected)?;
    }
    let table = table(lab, |bundle| {
        bundle.set("/linux/rootfsPropagation", json!("shared"));
    })?;
    ensure!(
        row(&table, "/")?.contains("shared:"),
        "shared gives {:?}",
        row(&table, "/")?
    );
    Ok(())
}

fn rootfs_propagation_leaves_the_mounts_own(lab: &Lab) -> Result<()> {
    for (root, own, field) in [
        ("rprivate", "unbindable", "unbindable"),
        ("rslave", "shared", "shared:"),
    ] {
        let table = table(lab, |bundle| {
            bundle.set("/linux/rootfsPropagation", json!(root));
            bundle.mount("bind", "/tmp", "/mnt", &["bind", own]);
        })?;
        let row = row(&table, "/mnt")?;
        ensure!(row.contains(field), "{own} mount below {root} root is {row:?}");
    }
    Ok(())
}

fn read_only_root(lab: &Lab) -> Result<()> {
    let mut bundle = lab.script("! touch /new && touch /dev/shm/new")?;
    bundle.set("/root/readonly", json!(true));
    lab.stdout(&bundle)?;
    ensure!(!bundle.in_root("/new").exists(), "the rootfs was written");
    Ok(())
}

fn proc_and_sys_are_of_their_types(lab: &Lab) -> Result<()> {
    let table = table(lab, |_| {})?;
    for (target, kind) in [
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/mqueue", "mqueue"),
        ("/dev/shm", "tmpfs"),
    ] {
        let row = row(&table, target)?;
        ensure!(row.contains(&format!(" - {kind} ")), "{target} is {row:?}");
    }
    Ok(())
}

fn proc_hides_other_processes(lab: &Lab) -> Result<()> {
    let seen = lab.output_of(
        "ls -d /proc/[0-9]* | wc -l; cut -d' ' -f1 /proc/self/stat",
        |_| {},
    )?;
    let count: u32 = seen.lines().next().unwrap_or_default().trim().parse()?;
    ensure!(count <= 4, "{count} processes are seen");
    Ok(())
}

fn cgroup_mount_shows_the_containers_cgroup(lab: &Lab) -> Result<()> {
    let mut bundle = lab.script("echo up; sleep 1000")?;
    bundle.namespace("cgroup").mount(
        "cgroup",
        "cgroup",
        "/sys/fs/cgroup",
        &["nosuid", "noexec", "nodev", "ro"],
    );
    let container = Container::started(lab, &bundle)?;
    container.wait_for_stdout("up")?;
    let file = if lab.is_v2() {
        "cgroup.procs"
    } else {
        "pids/cgroup.procs"
    };
    let seen = container.exec_stdout(
        &[],
        &format!("grep -x 1 /sys/fs/cgroup/{file}; touch /sys/fs/cgroup/x; true"),
    )?;
    expect_eq("process 1 in the container's cgroup", seen, "1")?;
    let refused = container.exec_stdout(&[], &format!("! echo 1 > /sys/fs/cgroup/{file}"))?;
    expect_eq("output", refused, "")
}

/// `/` of the container must be the rootfs, with no other root hidden below it.
fn no_mount_of_the_host_is_left_below_the_root(lab: &Lab) -> Result<()> {
    let table = table(lab, |_| {})?;
    let expected = [
        "/",
        "/proc",
        "/dev",
        "/sys",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/sys/firmware",
    ];
    for line in table.lines() {
        let target = line.split(' ').nth(4).unwrap_or_default();
        let known = expected.contains(&target)
            || target.starts_with("/proc/")
            // A runtime without device nodes of its own binds the host's.
            || ["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"]
                .iter()
                .any(|name| target == format!("/dev/{name}"));
        ensure!(known, "{line:?} is mounted too");
    }
    expect_eq(
        "mounts on /",
        table
            .lines()
            .filter(|line| line.split(' ').nth(4) == Some("/"))
            .count(),
        1,
    )
}
