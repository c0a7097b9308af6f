//! Fetches and builds the validation programs, once.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::fs::FlockOperation;

use super::Programs;
use crate::apt;

const PACKAGE: &str = "golang-github-opencontainers-runtime-tools";
const VERSION: &str = "0.9.0.109.ge931285-1";
/// The only library that Debian does not carry; the stand-in is ours.
const TAP: &str = include_str!("../../tap/tap.go");
/// Changes with the recipe below, so that an older build in the cache is not taken for the new one.
const RECIPE: u32 = 1;

/// Which packages the build needs.
const PACKAGES: [&str; 3] = [
    "golang-go",
    "golang-github-opencontainers-runtime-tools-dev",
    "golang-github-google-uuid-dev",
];

/// The programs from the cache, built first if need be.
pub(super) fn programs(cache: &Path) -> Result<Programs> {
    let dir = cache.join(format!("oci-{VERSION}-{RECIPE}-{:08x}", checksum(TAP.as_bytes())));
    fs::create_dir_all(cache).with_context(|| format!("create {}", cache.display()))?;
    let lock = fs::File::create(cache.join("oci.lock"))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    if !dir.exists() {
        build(&dir).context("build the OCI validation programs")?;
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(dir.join("bin"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(Programs { dir, names })
}

/// Builds beside `dir` and renames, so that an interrupted build leaves no half of one.
fn build(dir: &Path) -> Result<()> {
    apt::install(&PACKAGES)?;
    let work = dir.with_extension("building");
    if let Err(error) = fs::remove_dir_all(&work)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error).with_context(|| format!("remove {}", work.display()));
    }
    let packages = work.join("go/src/github.com");
    let source = packages.join("opencontainers/runtime-tools");
    fs::create_dir_all(packages.join("mndrix/tap-go"))?;
    fs::create_dir_all(source.parent().context("a parent")?)?;
    apt::source(PACKAGE, VERSION, &source)?;
    fs::write(packages.join("mndrix/tap-go/tap.go"), TAP)?;

    let done = work.join("done");
    fs::create_dir_all(done.join("bin"))?;
    // Without cgo everything is static, `runtimetest` too, which runs in a rootfs without libraries.
    go(&work, &source, &done.join("bin"), "./validation/...")?;
    go(&work, &source, &done, "./cmd/runtimetest")?;
    fs::copy(
        source.join("rootfs-amd64.tar.gz"),
        done.join("rootfs-amd64.tar.gz"),
    )?;
    fs::rename(&done, dir).with_context(|| format!("rename to {}", dir.display()))?;
    fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))
}

fn go(work: &Path, source: &Path, output: &Path, packages: &str) -> Result<()> {
    let mut command = Command::new("go");
    command
        .current_dir(source)
        .args(["build", "-p=2", "-ldflags=-s -w", "-o"])
        .arg(output)
        .arg(packages);
    command
        .env("GO111MODULE", "off")
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "");
    command.env(
        "GOPATH",
        format!("{}:/usr/share/gocode", work.join("go").display()),
    );
    command.env("GOCACHE", work.join("gocache"));
    apt::quiet(&mut command)
}

/// FNV-1a: tells versions of a small text apart; not a security measure.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}
