//! Idmapped mounts.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::expect_eq;
use crate::inside::skip;
use crate::lab::{Bundle, Lab};

super::list![
    idmapped_mount_in_a_user_namespace,
    idmapped_mount_with_mappings_of_its_own,
    ridmap_reaches_submounts,
    idmap_without_mappings_and_user_namespace_is_refused,
    files_made_in_an_idmapped_mount_keep_the_hosts_owner,
];

/// A directory of files with known owners. It lies on the sandbox's tmpfs, which can be idmapped from 6.3 on.
fn source(lab: &Lab) -> Result<PathBuf> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release
        .split(['.', '-'])
        .map(|word| word.parse::<u32>().unwrap_or_default());
    let version = (numbers.next(), numbers.next());
    if version < (Some(6), Some(3)) {
        return skip(format!("Linux {} cannot idmap tmpfs (6.3 can)", release.trim()));
    }
    let dir = lab.dir.join("source");
    fs::create_dir(&dir)?;
    for id in [0, 1, 1000] {
        let file = dir.join(id.to_string());
        fs::write(&file, "")?;
        std::os::unix::fs::chown(&file, Some(id), Some(id))?;
    }
    Ok(dir)
}

fn mount(bundle: &mut Bundle, source: &str, word: &str, map: Option<Value>) {
    let mut mount = json!({
        "destination": "/m", "type": "bind", "source": source, "options": ["rbind", word]
    });
    if let Some(map) = map {
        mount["uidMappings"] = map.clone();
        mount["gidMappings"] = map;
    }
    bundle.push("/mounts", mount);
}

fn map(host: u32) -> Value {
    json!([{"containerID": 0, "hostID": host, "size": 65_536}])
}

fn idmapped_mount_in_a_user_namespace(lab: &Lab) -> Result<()> {
    let source = source(lab)?.display().to_string();
    let mut bundle = lab.script("cd /m && stat -c '%n %u %g' 0 1 1000")?;
    bundle.user_namespace(100_000, 65_536).give_root_to(100_000)?;
    mount(&mut bundle, &source, "idmap", Some(map(100_000)));
    let seen = lab.stdout(&bundle)?;
    expect_eq(
        "owners",
        seen.lines().collect::<Vec<_>>(),
        ["0 0 0", "1 1 1", "1000 1000 1000"],
    )
}

fn idmapped_mount_with_mappings_of_its_own(lab: &Lab) -> Result<()> {
    let source = source(lab)?.display().to_string();
    let mut bundle = lab.script("cd /m && stat -c '%n %u %g' 0 1 1000")?;
    mount(&mut bundle, &source, "idmap", Some(map(20_000)));
    let seen = lab.stdout(&bundle)?;
    let expected = ["0 20000 20000", "1 20001 20001", "1000 21000 21000"];
    expect_eq("owners", seen.lines().collect::<Vec<_>>(), expected)
}

fn ridmap_reaches_submounts(lab: &Lab) -> Result<()> {
    let source = source(lab)?;
    super::mounts::mounted(lab, "source/sub", "mode=755")?;
    fs::write(source.join("sub/file"), "")?;
    let path = source.display().to_string();
    for (word, expected) in [("idmap", "0"), ("ridmap", "20000")] {
        let mut bundle = lab.script("stat -c %u /m/sub/file")?;
        mount(&mut bundle, &path, word, Some(map(20_000)));
        expect_eq(word, lab.stdout(&bundle)?, expected)?;
    }
    Ok(())
}

fn idmap_without_mappings_and_user_namespace_is_refused(lab: &Lab) -> Result<()> {
    let source = source(lab)?.display().to_string();
    let mut bundle = lab.bundle(&["true"])?;
    mount(&mut bundle, &source, "idmap", None);
    lab.run(&bundle)?.exits_with(1).map(drop)
}

fn files_made_in_an_idmapped_mount_keep_the_hosts_owner(lab: &Lab) -> Result<()> {
    let source = source(lab)?;
    let mut bundle = lab.script("touch /m/new && chown 5:6 /m/new")?;
    bundle.user_namespace(100_000, 65_536).give_root_to(100_000)?;
    bundle.capabilities(&["CAP_CHOWN"]);
    mount(
        &mut bundle,
        &source.display().to_string(),
        "idmap",
        Some(map(100_000)),
    );
    lab.stdout(&bundle)?;
    let Ok(metadata) = fs::metadata(source.join("new")) else {
        bail!("the file is not there")
    };
    ensure!(metadata.is_file());
    expect_eq("owner on the host", (metadata.uid(), metadata.gid()), (5, 6)).context("after chown 5:6 inside")
}
