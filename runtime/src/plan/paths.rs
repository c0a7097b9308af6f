//! The part of the road from the inherited mount tree to the pivot, in order.

use super::step::{ChildHooks, Root, Step};
use super::tree::{self, Propagations};
use super::{Builder, Error, ToOpen, c_string, devices, mounts, sysctl};
use crate::hooks::Hooks;
use crate::rootfs::mount::{BindSource, Propagation};
use oci_spec::runtime as oci;
use std::path::{Component, Path, PathBuf};

/// Adds the steps of the root file system.
pub(super) fn root_and_mounts(
    builder: &mut Builder<'_>,
    hooks: &Hooks,
    process: &oci::Process,
    notify: Option<&Path>,
) -> Result<(), Error> {
    let root = root_path(builder)?;
    let propagation = root_propagation(builder)?;
    let Propagations {
        inherited,
        place,
        shared,
    } = tree::propagations(propagation, builder.request.no_pivot);

    // In a chroot(2) nobody makes a user namespace (user_namespaces(7)): who has a new one is not in any.
    let whole = !builder.has_new_namespace(oci::LinuxNamespaceType::User);
    builder.steps.push(Step::InheritedPropagation {
        propagation: inherited,
        whole,
    });
    // The final slash makes the kernel refuse what is not a directory.
    let path = c_string(root.join("").into_os_string())?;
    let source = builder.parent_opens_sources().then(|| {
        builder.open(ToOpen::Mount {
            source: BindSource {
                path: path.clone(),
                recursive: true,
                links: true,
            },
            idmap: None,
        })
    });
    builder.steps.push(Step::Root(Root {
        path,
        source,
        place,
        inode: builder.request.rootfs,
    }));
    mounts::add(builder)?;
    if let Some(directory) = notify {
        mounts::notify(builder, directory)?;
    }
    devices::add(builder)?;
    sysctl::add(builder)?;
    // The root itself is there.
    if !matches!(process.cwd().to_str(), Some("" | "/")) {
        builder.steps.push(Step::WorkingDirectory(c_string(
            process.cwd().clone().into_os_string(),
        )?));
    }
    if process.terminal().unwrap_or(false) {
        builder.steps.push(super::process::terminal(process, true)?);
    }
    if !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty() {
        builder.steps.push(Step::AwaitRuntimeHooks);
    }
    if !hooks.create_container.is_empty() {
        builder.steps.push(Step::Hooks(ChildHooks::CreateContainer));
    }
    // After the hooks, which may still change what is below the root.
    hide(builder)?;
    builder.steps.push(Step::PivotRoot {
        chroot: builder.request.no_pivot,
        shared,
    });
    if let Some(propagation) = propagation {
        // The root only: what lay below was set with the inherited tree, and mounts may have words of their own.
        builder.steps.push(Step::RootPropagation(Propagation {
            recursive: false,
            ..propagation
        }));
    }
    if root_is_readonly(builder) {
        builder.steps.push(Step::ReadonlyRoot);
    }
    Ok(())
}

/// What the configuration says about the mount tree, told from it and not from the steps.
pub(super) fn asked(builder: &Builder<'_>, hooks: &Hooks) -> Result<tree::Asked, Error> {
    let named = |paths: Option<&Vec<String>>| paths.is_some_and(|paths| !paths.is_empty());
    let linux = builder.linux();
    Ok(tree::Asked {
        hooks: !(hooks.prestart.is_empty()
            && hooks.create_runtime.is_empty()
            && hooks.create_container.is_empty()),
        readonly_paths: named(linux.and_then(|linux| linux.readonly_paths().as_ref())),
        masked_paths: named(linux.and_then(|linux| linux.masked_paths().as_ref())),
        propagation: root_propagation(builder)?.is_some(),
        readonly_root: root_is_readonly(builder),
    })
}

fn root_is_readonly(builder: &Builder<'_>) -> bool {
    let root = builder.request.spec.root().as_ref();
    root.and_then(oci::Root::readonly).unwrap_or(false)
}

fn root_path(builder: &Builder<'_>) -> Result<PathBuf, Error> {
    let root = builder
        .request
        .spec
        .root()
        .as_ref()
        .ok_or_else(|| Error::invalid("root", "missing"))?;
    if root.path().as_os_str().is_empty() {
        return Err(Error::invalid("root.path", "empty"));
    }
    Ok(builder.request.bundle.join(root.path()))
}

fn root_propagation(builder: &Builder<'_>) -> Result<Option<Propagation>, Error> {
    let Some(word) = builder
        .linux()
        .and_then(|linux| linux.rootfs_propagation().as_deref())
    else {
        return Ok(None);
    };
    let (plain, recursive) = match word.strip_prefix('r') {
        Some(plain) => (plain, true),
        None => (word, false),
    };
    let flag = match plain {
        "" => return Ok(None),
        "private" => libc::MS_PRIVATE,
        "slave" => libc::MS_SLAVE,
        "shared" => libc::MS_SHARED,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => {
            return Err(Error::invalid(
                "linux.rootfsPropagation",
                format!("unknown value {word:?}"),
            ));
        }
    };
    Ok(Some(Propagation { flag, recursive }))
}

fn hide(builder: &mut Builder<'_>) -> Result<(), Error> {
    let below_root = |paths: &[String], field: &str| {
        let one = |path: &String| match path.starts_with('/') {
            true if is_root(path.as_ref()) => Err(Error::invalid(
                field,
                format!(
                    "{path:?} is the root directory, which is not covered so: use root.path and root.readonly"
                ),
            )),
            true => c_string(path.as_str()).map_err(|error| error.at(field.to_owned())),
            false => Err(Error::invalid(field, format!("{path:?} is not absolute"))),
        };
        paths.iter().map(one).collect::<Result<Vec<_>, _>>()
    };
    let Some(linux) = builder.linux() else {
        return Ok(());
    };
    let readonly = below_root(
        linux.readonly_paths().as_deref().unwrap_or_default(),
        "linux.readonlyPaths",
    )?;
    let masked = below_root(
        linux.masked_paths().as_deref().unwrap_or_default(),
        "linux.maskedPaths",
    )?;
    if !readonly.is_empty() {
        builder.steps.push(Step::ReadonlyPaths(readonly));
    }
    if !masked.is_empty() {
        builder.steps.push(Step::Mask(masked));
    }
    Ok(())
}

/// Whether a path, without looking at links, is the root directory's. A mount there covers nothing for those who are in
/// it already.
fn is_root(path: &Path) -> bool {
    let depth = path
        .components()
        .fold(0_usize, |depth, component| match component {
            Component::Normal(_) => depth + 1,
            Component::ParentDir => depth.saturating_sub(1),
            _ => depth,
        });
    depth == 0
}
