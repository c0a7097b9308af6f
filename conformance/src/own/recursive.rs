//! The recursive option words, which mount_setattr(2) applies to a whole tree.

use std::fs;

use anyhow::{Result, ensure};

use super::mounts::{mounted, row, table, words};
use crate::lab::Lab;

super::list![
    rro_makes_submounts_read_only,
    ro_leaves_submounts_writable,
    recursive_words_reach_submounts,
    recursive_words_clear_flags,
    rro_holds_against_writes,
];

/// A tree of two mounts in the sandbox; the result is its path.
fn tree(lab: &Lab, options: &str) -> Result<String> {
    let source = mounted(lab, "source", options)?;
    mounted(lab, "source/sub", options)?;
    Ok(source)
}

fn rro_makes_submounts_read_only(lab: &Lab) -> Result<()> {
    let source = tree(lab, "mode=755")?;
    let table = table(lab, |bundle| {
        bundle.mount("bind", &source, "/m", &["rbind", "rro"]);
    })?;
    for target in ["/m", "/m/sub"] {
        ensure!(
            words(row(&table, target)?).contains(&"ro"),
            "{target} is {:?}",
            row(&table, target)?
        );
    }
    let host = fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(
        words(row(&host, &source)?).contains(&"rw"),
        "the host's mount became read-only"
    );
    Ok(())
}

fn ro_leaves_submounts_writable(lab: &Lab) -> Result<()> {
    let source = tree(lab, "mode=755")?;
    let table = table(lab, |bundle| {
        bundle.mount("bind", &source, "/m", &["rbind", "ro"]);
    })?;
    ensure!(words(row(&table, "/m")?).contains(&"ro"), "/m is writable");
    ensure!(
        words(row(&table, "/m/sub")?).contains(&"rw"),
        "/m/sub is read-only"
    );
    Ok(())
}

fn recursive_words_reach_submounts(lab: &Lab) -> Result<()> {
    let source = tree(lab, "mode=755")?;
    let expected: [(&str, &str); 7] = [
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
        ("rnoatime", "noatime"),
        ("rnodiratime", "nodiratime"),
        ("rrelatime", "relatime"),
        ("rnosymfollow", "nosymfollow"),
    ];
    let table = table(lab, |bundle| {
        for (word, _) in expected {
            bundle.mount("bind", &source, &format!("/{word}"), &["rbind", word]);
        }
    })?;
    for (word, seen) in expected {
        for target in [format!("/{word}"), format!("/{word}/sub")] {
            ensure!(
                words(row(&table, &target)?).contains(&seen),
                "{target} is {:?}",
                row(&table, &target)?
            );
        }
    }
    Ok(())
}

fn recursive_words_clear_flags(lab: &Lab) -> Result<()> {
    let source = tree(lab, "mode=755,nosuid,nodev,noexec,noatime")?;
    let cleared: [(&str, &str); 4] = [
        ("rsuid", "nosuid"),
        ("rdev", "nodev"),
        ("rexec", "noexec"),
        ("ratime", "noatime"),
    ];
    let table = table(lab, |bundle| {
        for (word, _) in cleared {
            bundle.mount("bind", &source, &format!("/{word}"), &["rbind", word]);
        }
    })?;
    for (word, flag) in cleared {
        for target in [format!("/{word}"), format!("/{word}/sub")] {
            ensure!(
                !words(row(&table, &target)?).contains(&flag),
                "{target} is {:?}",
                row(&table, &target)?
            );
        }
    }
    Ok(())
}

fn rro_holds_against_writes(lab: &Lab) -> Result<()> {
    let source = tree(lab, "mode=755")?;
    lab.output_of(
        "! touch /m/new 2>/dev/null && ! touch /m/sub/new 2>/dev/null",
        |bundle| {
            bundle.mount("bind", &source, "/m", &["rbind", "rro"]);
        },
    )
    .map(drop)
}
