//! What the suites need from Debian: packages installed, and source archives fetched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, bail, ensure};

/// apt-get(8) locks; two threads must not meet there.
static LOCK: Mutex<()> = Mutex::new(());

/// The keys that Debian signs its archives with.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The Debian release whose source archives are used. A stable release keeps its versions.
const SOURCE_SUITE: &str = "trixie";

/// Installs those of the packages that are missing.
///
/// # Errors
/// A package is missing and cannot be installed: not root, no apt-get, no network.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let _guard = LOCK.lock().expect("no thread panics with the lock");
    let missing: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|package| !installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let needed = missing.join(" ");
    ensure!(
        rustix::process::geteuid().is_root(),
        "packages missing: {needed} (and we are not root)"
    );
    if quiet(
        Command::new("apt-get")
            .args(["install", "-y", "--no-install-recommends"])
            .args(&missing),
    )
    .is_err()
    {
        quiet(Command::new("apt-get").arg("update"))?;
        quiet(
            Command::new("apt-get")
                .args(["install", "-y", "--no-install-recommends"])
                .args(&missing),
        )
        .with_context(|| format!("install {needed}"))?;
    }
    Ok(())
}

fn installed(package: &str) -> bool {
    let query = Command::new("dpkg-query")
        .args(["-W", "-f", "${Status}", package])
        .output();
    query.is_ok_and(|output| output.stdout.ends_with(b" installed"))
}

/// Runs a command without showing its output, unless it fails.
pub(crate) fn quiet(command: &mut Command) -> Result<()> {
    command
        .stdin(Stdio::null())
        .env("DEBIAN_FRONTEND", "noninteractive");
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("start {name}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{name} failed ({}): {}",
        output.status,
        stderr.trim()
    );
    Ok(())
}

/// Fetches the upstream archive of a Debian source package and unpacks it to `dir`.
///
/// apt's own signature and hash checks apply; its lists stay below `dir`, the host's stay as they are.
///
/// # Errors
/// No Debian mirror is configured, or the version is not to be had there.
pub(crate) fn source(package: &str, version: &str, dir: &Path) -> Result<()> {
    install(&["xz-utils", "debian-archive-keyring"])?;
    let apt = dir.with_extension("apt");
    fs::create_dir_all(apt.join("lists/partial"))?;
    fs::create_dir_all(apt.join("cache/archives/partial"))?;
    let line = format!(
        "deb-src [signed-by={KEYRING}] {} {SOURCE_SUITE} main\n",
        mirror()?
    );
    fs::write(apt.join("sources.list"), line)?;
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command.current_dir(&apt).args([
            "-o",
            "Dir::Etc::SourceParts=/dev/null",
            "-o",
            "APT::Sandbox::User=root",
        ]);
        command.arg("-o").arg(format!(
            "Dir::Etc::SourceList={}",
            apt.join("sources.list").display()
        ));
        command
            .arg("-o")
            .arg(format!("Dir::State::lists={}", apt.join("lists").display()));
        command
            .arg("-o")
            .arg(format!("Dir::Cache={}", apt.join("cache").display()));
        command
    };
    quiet(apt_get().arg("update"))?;
    // --tar-only: a mirror may carry the archives without the .dsc files.
    quiet(
        apt_get()
            .args(["source", "--download-only", "--tar-only"])
            .arg(format!("{package}={version}")),
    )?;
    fs::create_dir_all(dir)?;
    quiet(
        Command::new("tar")
            .args(["--strip-components=1", "-xf"])
            .arg(archive(&apt)?)
            .arg("-C")
            .arg(dir),
    )?;
    fs::remove_dir_all(&apt).with_context(|| format!("remove {}", apt.display()))
}

fn archive(dir: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.to_string_lossy().contains(".orig.tar.") {
            return Ok(path);
        }
    }
    bail!("apt-get source left no .orig.tar archive in {}", dir.display())
}

/// The Debian mirror that this host installs from, or `NUCLEUS_DEBIAN_MIRROR`.
pub(crate) fn mirror() -> Result<String> {
    if let Ok(mirror) = std::env::var("NUCLEUS_DEBIAN_MIRROR") {
        return Ok(mirror);
    }
    let output = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Created-By: Packages",
            "Origin: Debian",
            "Component: main",
        ])
        .output()
        .context("start apt-get")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let uri = text.lines().find(|line| !line.contains("security"));
    uri.map(str::to_owned)
        .context("no Debian mirror is configured: set NUCLEUS_DEBIAN_MIRROR to the URI of one")
}
