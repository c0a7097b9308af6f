//! The Debian that a bed runs, made from packages once and then kept in the cache.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt;

const RECIPE: &str = include_str!("../../beds/image.sh");
/// What the recipe puts into the image.
const FILES: [(&str, &str); 2] = [
    ("bed", include_str!("../../beds/bed")),
    ("bed.service", include_str!("../../beds/bed.service")),
];

const PACKAGES: &str = "systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,udev,kmod,procps,iproute2,uidmap,busybox-static,slirp4netns";

/// An image: a directory with `root`, `root.ext4` and `vmlinuz`.
pub(super) struct Image {
    dir: PathBuf,
}

impl Image {
    /// The image of a Debian release, from the cache or made now.
    ///
    /// # Errors
    /// A tool or package is missing and cannot be had.
    pub(super) fn of(suite: &str, cache: &Path) -> Result<Image> {
        let mut hasher = DefaultHasher::new();
        (RECIPE, FILES, PACKAGES).hash(&mut hasher);
        let beds = cache.join("beds");
        let dir = beds.join(format!("{suite}-{:016x}", hasher.finish()));
        if !dir.exists() {
            fs::create_dir_all(&beds)?;
            // Made beside its place, so that one that was interrupted is never taken for whole.
            let unfinished = tempfile::Builder::new().prefix(".unfinished").tempdir_in(&beds)?;
            // apt-get fetches as a user of its own.
            fs::set_permissions(unfinished.path(), fs::Permissions::from_mode(0o755))?;
            make(suite, unfinished.path()).with_context(|| format!("make the image of {suite}"))?;
            fs::rename(unfinished.keep(), &dir)?;
            forget_others(&beds, suite, &dir)?;
        }
        Ok(Image { dir })
    }

    /// The root directory.
    pub(super) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// The same as an ext4 file system.
    pub(super) fn disk(&self) -> PathBuf {
        self.dir.join("root.ext4")
    }

    /// The kernel.
    pub(super) fn kernel(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }
}

/// Removes the images of a release that another recipe has made.
fn forget_others(beds: &Path, suite: &str, dir: &Path) -> Result<()> {
    for entry in fs::read_dir(beds)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&format!("{suite}-")) && path != dir {
            fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn make(suite: &str, output: &Path) -> Result<()> {
    apt::install(&["mmdebstrap", "e2fsprogs", "debian-archive-keyring"])?;
    let files = tempfile::tempdir()?;
    for (name, text) in FILES {
        fs::write(files.path().join(name), text)?;
    }
    let mut command = Command::new("sh");
    command.args([
        "-c",
        RECIPE,
        "image.sh",
        suite,
        &apt::mirror()?,
        apt::KEYRING,
        PACKAGES,
    ]);
    // mmdebstrap keeps its own files beside the image: there is room.
    apt::quiet(command.arg(output).arg(files.path()).env("TMPDIR", output))
}
