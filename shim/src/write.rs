//! The bundle of a sandbox, written.

use crate::bundle;
use crate::config::Config;
use crate::decide::Decided;
use crate::kept::Kept;
use crate::run::at;
use crate::skeleton;
use crate::workspace::around;
use oci_spec::runtime::Spec;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A bundle that was written.
#[derive(Debug)]
pub struct Bundle {
    /// Where.
    pub directory: PathBuf,
    /// What was decided.
    pub config: Config,
    /// The bytes of `config.json`.
    pub bytes: Vec<u8>,
    /// A root directory that outlasts it.
    pub kept: Option<Kept>,
    /// The rules of its network, where they are going to be checked.
    pub rules: Option<String>,
    /// The directory that the runtime mounts for `sd_notify(3)`.
    pub notify: Option<PathBuf>,
}

/// Where the root directory of a sandbox is that is made from the host.
#[derive(Debug)]
pub enum Place {
    /// In the bundle.
    Bundle,
    /// Among those that outlast a sandbox, if one can be had there; otherwise in the bundle.
    Kept(PathBuf),
    /// Here.
    Apart(PathBuf),
}

/// runc gives a tmpfs the mode of the directory that it covers, whatever its own option says.
fn give_modes(spec: &Spec, root: &Path) -> Result<(), anyhow::Error> {
    for mount in spec.mounts().iter().flatten() {
        let options = mount.options().iter().flatten();
        let mut modes =
            options.filter_map(|option| u32::from_str_radix(option.strip_prefix("mode=")?, 8).ok());
        let covered = root.join(
            mount
                .destination()
                .strip_prefix("/")
                .unwrap_or(mount.destination()),
        );
        if let Some(mode) = modes.next().filter(|_| mount.typ().as_deref() == Some("tmpfs")) {
            std::fs::set_permissions(&covered, Permissions::from_mode(mode))
                .map_err(at("chmod", &covered))?;
        }
    }
    Ok(())
}

/// Writes the bundle of a launch into the sandbox's directory.
///
/// # Errors
/// A policy that cannot be applied, or a file that cannot be written.
pub fn write_bundle(
    decided: &Decided,
    directory: &Path,
    secrets: &Path,
    place: &Place,
) -> Result<Bundle, anyhow::Error> {
    around::make_hooks(&decided.launch)?;
    let (mut config, skeleton, _) = decided.compose(secrets)?;
    let mut kept = None;
    if !skeleton.is_empty() {
        let made = skeleton
            .resolve()
            .map_err(|(path, error)| at("stat", &path)(error))?;
        if let Place::Kept(all) = place {
            kept = Kept::take(all, &made, &decided.launch.name);
        }
        let root = match (&kept, place) {
            (Some(kept), _) => Some(kept.root()),
            (None, Place::Apart(root)) => Some(root.clone()),
            (None, _) => None,
        };
        if kept.is_none() {
            let root = root.clone().unwrap_or_else(|| directory.join(bundle::ROOTFS));
            skeleton::write(&made, &root).map_err(|(path, error)| at("write", &path)(error))?;
            if let Place::Apart(root) = place {
                give_modes(config.but_profile(), root)?;
            }
        }
        if let Some(root) = root {
            config.set_root(root);
        }
    }
    let path = directory.join("config.json");
    let bytes = config.bytes()?;
    std::fs::write(&path, &bytes).map_err(at("write", &path))?;
    let directory = directory.to_owned();
    Ok(Bundle {
        directory,
        config,
        bytes,
        kept,
        rules: None,
        notify: None,
    })
}
