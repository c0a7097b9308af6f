//! maskedPaths and readonlyPaths.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;

use super::expect_eq;
use super::mounts::{row, table, words};
use crate::lab::Lab;

super::list![
    masked_file_is_empty,
    masked_directory_is_empty_and_read_only,
    masked_path_that_is_missing_is_ignored,
    masked_path_through_a_link_stays_in_the_root,
    readonly_path_cannot_be_written,
    readonly_path_keeps_other_flags,
    readonly_path_that_is_missing_is_ignored,
];

fn masked_file_is_empty(lab: &Lab) -> Result<()> {
    let mut bundle = lab.script("cat /secret; cat /proc/version; echo x > /secret; true")?;
    fs::write(bundle.in_root("/secret"), "secret\n")?;
    bundle.set("/linux/maskedPaths", json!(["/secret", "/proc/version"]));
    expect_eq("contents", lab.stdout(&bundle)?, "")?;
    expect_eq(
        "the file",
        fs::read_to_string(bundle.in_root("/secret"))?,
        "secret\n",
    )
}

fn masked_directory_is_empty_and_read_only(lab: &Lab) -> Result<()> {
    let mut bundle = lab.script("ls -A /secret /proc/fs; ! touch /secret/new 2>/dev/null")?;
    fs::create_dir(bundle.in_root("/secret"))?;
    fs::write(bundle.in_root("/secret/file"), "secret\n")?;
    bundle.set("/linux/maskedPaths", json!(["/secret", "/proc/fs"]));
    let seen = lab.stdout(&bundle)?;
    expect_eq(
        "listing",
        seen.split_whitespace().collect::<Vec<_>>(),
        ["/proc/fs:", "/secret:"],
    )
    .or_else(|_| {
        expect_eq(
            "listing",
            seen.split_whitespace().collect::<Vec<_>>(),
            ["/secret:", "/proc/fs:"],
        )
    })
}

fn masked_path_that_is_missing_is_ignored(lab: &Lab) -> Result<()> {
    lab.output_of("! test -e /no", |bundle| {
        bundle.set("/linux/maskedPaths", json!(["/no/such/path"]));
    })
    .map(drop)
}

fn masked_path_through_a_link_stays_in_the_root(lab: &Lab) -> Result<()> {
    let canary = lab.dir.join("canary");
    fs::write(&canary, "safe\n")?;
    let mut bundle = lab.script("true")?;
    std::os::unix::fs::symlink(&canary, bundle.in_root("/link"))?;
    bundle
        .set("/linux/maskedPaths", json!(["/link"]))
        .set("/linux/readonlyPaths", json!(["/link"]));
    // Whether it is refused or ignored, the host's file stays what it was.
    let output = lab.run(&bundle)?;
    ensure!(output.code == 0 || output.code == 1, "{output:?}");
    expect_eq("the host's file", fs::read_to_string(&canary)?, "safe\n")?;
    ensure!(
        !fs::read_to_string("/proc/self/mountinfo")?.contains("canary"),
        "it is mounted over"
    );
    Ok(())
}

fn readonly_path_cannot_be_written(lab: &Lab) -> Result<()> {
    let script = "cat /data/file && ! touch /data/new && ! touch /data/sub/new && \
        ! echo other > /proc/sys/kernel/hostname";
    let mut bundle = lab.script(script)?;
    fs::create_dir_all(bundle.in_root("/data/sub"))?;
    fs::write(bundle.in_root("/data/file"), "hello\n")?;
    bundle.set("/linux/readonlyPaths", json!(["/data", "/proc/sys"]));
    expect_eq("contents", lab.stdout(&bundle)?, "hello")
}

fn readonly_path_keeps_other_flags(lab: &Lab) -> Result<()> {
    let table = table(lab, |bundle| {
        bundle.mount("tmpfs", "tmpfs", "/m", &["nosuid", "nodev", "noexec"]);
        bundle.set("/linux/readonlyPaths", json!(["/m"]));
    })?;
    let words = words(row(&table, "/m")?);
    for word in ["ro", "nosuid", "nodev", "noexec"] {
        ensure!(words.contains(&word), "no {word} in {words:?}");
    }
    Ok(())
}

fn readonly_path_that_is_missing_is_ignored(lab: &Lab) -> Result<()> {
    lab.output_of("! test -e /no", |bundle| {
        bundle.set("/linux/readonlyPaths", json!(["/no/such/path"]));
    })
    .map(drop)
}
