//! From `mounts` to steps.

use super::options::{self, Options};
use super::{Builder, Error, ToOpen, c_string, namespaces};
use crate::cgroup;
use crate::plan::step::Step;
use crate::readiness;
use crate::rootfs::cgroupfs::{CgroupMount, Files, Hierarchy, Version};
use crate::rootfs::lookup::may_follow_links;
use crate::rootfs::mount::{BindSource, Mount, Parameter, Propagation, Source};
use oci_spec::runtime::{self as oci, LinuxNamespaceType};
use std::path::{Component, Path};

/// File systems for which a read-only mount says all that `ro` can say: their super block is shared or has
/// no storage behind it.
const VIRTUAL: &[&str] = &["proc", "sysfs", "tmpfs", "devpts", "mqueue"];

/// Adds one step for each mount, in the order given.
pub(super) fn add(builder: &mut Builder<'_>) -> Result<(), Error> {
    let spec = builder.request.spec;
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let step = one(builder, mount)
            .map_err(|error| error.at(format!("mounts[{index}] ({})", mount.destination().display())))?;
        builder.steps.push(step);
    }
    Ok(())
}

/// The directory of the readiness socket, after the mounts that may make `/run`.
pub(super) fn notify(builder: &mut Builder<'_>, directory: &Path) -> Result<(), Error> {
    let options = ["bind", "ro", "nosuid", "nodev", "noexec"];
    let mut mount = oci::Mount::default();
    mount
        .set_destination(readiness::DIRECTORY.into())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(directory.to_owned()))
        .set_options(Some(options.map(str::to_owned).to_vec()));
    let step = one(builder, &mount).map_err(|error| error.at("NOTIFY_SOCKET".to_owned()))?;
    builder.steps.push(step);
    Ok(())
}

fn one(builder: &mut Builder<'_>, mount: &oci::Mount) -> Result<Step, Error> {
    let words = mount.options().as_deref().unwrap_or_default();
    let options = options::parse(words).map_err(Error::value)?;
    let destination = destination(mount.destination())?;
    let typ = mount.typ().as_deref().unwrap_or_default();
    if options.bind.is_some() || typ == "bind" {
        return bind(builder, mount, destination, options);
    }
    if options.idmap.is_some() || mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
        return Err(Error::unsupported(
            "id mappings of a mount",
            "only bind mounts can be id-mapped",
        ));
    }
    if matches!(typ, "cgroup" | "cgroup2") {
        return cgroup_mount(builder, destination, options);
    }
    if options.remount {
        let source = Source::Remount {
            parameters: options.parameters.clone(),
        };
        return Ok(Step::Mount(Box::new(finish(destination, source, options, true))));
    }
    if typ.is_empty() || typ == "none" {
        return Err(Error::value("no type, and no bind option".to_owned()));
    }
    file_system(builder, mount, destination, typ, options)
}

/// Absolute inside the container, without `..`: a relative destination counts from the root, as in runc.
fn destination(path: &Path) -> Result<std::ffi::CString, Error> {
    let mut clean = String::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => {
                let name = name
                    .to_str()
                    .ok_or_else(|| Error::value("not UTF-8".to_owned()))?;
                if clean.len() > 1 {
                    clean.push('/');
                }
                clean.push_str(name);
            }
            Component::ParentDir => {
                clean.truncate(clean.rfind('/').unwrap_or(0).max(1));
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if clean == "/" {
        return Err(Error::value(
            "the root directory itself cannot be a mount's destination".to_owned(),
        ));
    }
    c_string(clean)
}

fn finish(destination: std::ffi::CString, source: Source, options: Options, links: bool) -> Mount {
    Mount {
        destination,
        source,
        attributes: options.attributes,
        recursive: options.recursive,
        propagation: options.propagation,
        links,
    }
}

fn file_system(
    builder: &Builder<'_>,
    mount: &oci::Mount,
    destination: std::ffi::CString,
    typ: &str,
    mut options: Options,
) -> Result<Step, Error> {
    let source = mount
        .source()
        .as_deref()
        .and_then(Path::to_str)
        .filter(|source| !source.is_empty());
    let mut parameters = vec![Parameter {
        key: c"source".into(),
        value: Some(c_string(source.unwrap_or(typ))?),
    }];
    check_owner(builder, &options)?;
    parameters.append(&mut options.parameters);
    if options.attributes.set & libc::MOUNT_ATTR_RDONLY != 0 && !VIRTUAL.contains(&typ) {
        parameters.push(Parameter {
            key: c"ro".into(),
            value: None,
        });
    }
    if matches!(typ, "tmpfs" | "mqueue" | "devpts") {
        parameters.extend(label(builder)?);
    }
    if typ == "sysfs" && builder.in_user_namespace() && !builder.namespaces.has(LinuxNamespaceType::Network) {
        return Err(Error::unsupported(
            "sysfs in a user namespace",
            "needs a network namespace that belongs to it: add one, or bind /sys",
        ));
    }
    if options.copy_up && typ != "tmpfs" {
        return Err(Error::value("tmpcopyup is for tmpfs only".to_owned()));
    }
    let links = may_follow_links(typ);
    let source = Source::FileSystem {
        fstype: c_string(typ)?,
        parameters,
        copy_up: options.copy_up,
    };
    Ok(Step::Mount(Box::new(finish(destination, source, options, links))))
}

/// `linux.mountLabel` as a parameter of a new file system.
fn label(builder: &Builder<'_>) -> Result<Option<Parameter>, Error> {
    let label = builder
        .linux()
        .and_then(|linux| linux.mount_label().as_deref())
        .filter(|l| !l.is_empty());
    let Some(label) = label else {
        return Ok(None);
    };
    if !builder.host.has_selinux() {
        return Err(Error::unsupported(
            "linux.mountLabel",
            "SELinux is not enabled on this host",
        ));
    }
    let value = Some(c_string(label)?);
    Ok(Some(Parameter {
        key: c"context".into(),
        value,
    }))
}

fn bind(
    builder: &mut Builder<'_>,
    mount: &oci::Mount,
    destination: std::ffi::CString,
    mut options: Options,
) -> Result<Step, Error> {
    let source = mount
        .source()
        .as_deref()
        .ok_or_else(|| Error::value("a bind mount without source".to_owned()))?;
    let path = c_string(builder.request.bundle.join(source).into_os_string())?;
    if let Some(parameter) = options
        .parameters
        .iter()
        .find(|parameter| !SUPER_BLOCK_ONLY.contains(&parameter.key.to_bytes()))
    {
        // runc hands such words to the kernel, which ignores them for a bind mount.
        let word = parameter.key.to_string_lossy().into_owned();
        builder
            .notes
            .push(format!("mount option {word:?} has no effect on a bind mount"));
    }
    let source = BindSource {
        path,
        recursive: options.bind == Some(true),
        links: !options.source_without_links,
    };
    let idmap = idmap(builder, mount, &options)?;
    let opened = if idmap.is_some() || builder.parent_opens_sources() {
        if options.propagation.is_empty() {
            options.propagation.push(Propagation::RECURSIVE_SLAVE);
        }
        Some(builder.open(ToOpen::Mount {
            source: source.clone(),
            idmap,
        }))
    } else {
        None
    };
    let source = Source::Bind { source, opened };
    Ok(Step::Mount(Box::new(finish(destination, source, options, true))))
}

/// Words for the super block, which a bind mount shares with its source: nothing to do.
const SUPER_BLOCK_ONLY: &[&[u8]] = &[
    b"sync",
    b"async",
    b"dirsync",
    b"lazytime",
    b"nolazytime",
    b"acl",
    b"noacl",
];

fn idmap(
    builder: &Builder<'_>,
    mount: &oci::Mount,
    options: &Options,
) -> Result<Option<super::IdMappedMount>, Error> {
    let own = (mount.uid_mappings().as_deref(), mount.gid_mappings().as_deref());
    let recursive = options.idmap.unwrap_or(false);
    let maps = match own {
        (Some(uids), Some(gids)) if !uids.is_empty() && !gids.is_empty() => super::IdMaps::new(uids, gids)?,
        (None, None) if options.idmap.is_none() => return Ok(None),
        (None, None) => container_maps(builder).ok_or_else(|| {
            Error::value(
                "idmap without mappings, in a container that has no user namespace or does not tell its maps"
                    .to_owned(),
            )
        })?,
        _ => {
            return Err(Error::value(
                "uidMappings and gidMappings must both be given".to_owned(),
            ));
        }
    };
    Ok(Some(super::IdMappedMount { maps, recursive }))
}

/// The maps of the container's user namespace.
fn container_maps(builder: &Builder<'_>) -> Option<super::IdMaps> {
    let known = || {
        builder
            .in_user_namespace()
            .then(|| namespaces::known_maps(builder.linux()))
    };
    builder.id_maps.clone().or_else(|| known().flatten())
}

/// The kernel takes only ids that the user namespace has, and says no more than `EINVAL` of others.
fn check_owner(builder: &Builder<'_>, options: &Options) -> Result<(), Error> {
    let Some(maps) = container_maps(builder) else {
        return Ok(());
    };
    for Parameter { key, value } in &options.parameters {
        let lines = match key.to_bytes() {
            b"uid" => &maps.uids,
            b"gid" => &maps.gids,
            _ => continue,
        };
        let (key, value) = (key.to_string_lossy(), value.as_deref().unwrap_or_default());
        let value = value.to_string_lossy();
        if value
            .parse()
            .is_ok_and(|id| !super::IdMaps::maps_inside(lines, id))
        {
            return Err(Error::value(format!(
                "option {key}={value}: {value} has no {key} mapping"
            )));
        }
    }
    Ok(())
}

fn cgroup_mount(
    builder: &Builder<'_>,
    destination: std::ffi::CString,
    options: Options,
) -> Result<Step, Error> {
    let new_namespace = builder.has_new_namespace(LinuxNamespaceType::Cgroup);
    let version = match &builder.host.cgroups {
        cgroup::Layout::None => {
            return Err(Error::unsupported(
                "a cgroup mount",
                "this host has no cgroup file system",
            ));
        }
        _ => cgroup_version(builder, new_namespace)?,
    };
    let mut tmpfs = vec![
        Parameter {
            key: c"source".into(),
            value: Some(c"cgroup".into()),
        },
        Parameter {
            key: c"mode".into(),
            value: Some(c"755".into()),
        },
    ];
    tmpfs.extend(label(builder)?);
    Ok(Step::CgroupMount(Box::new(CgroupMount {
        destination,
        version,
        attributes: options.attributes,
        propagation: options.propagation,
        tmpfs,
    })))
}

fn cgroup_version(builder: &Builder<'_>, namespace: bool) -> Result<Version, Error> {
    let views = builder.cgroup.views();
    let files = |view: &cgroup::View| -> Result<Files, Error> {
        if !namespace {
            return Ok(Files::Bind(c_string(view.path.clone().into_os_string())?));
        }
        let source = Parameter {
            key: c"source".into(),
            value: Some(c"cgroup".into()),
        };
        let mut parameters = vec![source];
        for option in &view.options {
            parameters.push(match option.split_once('=') {
                Some((key, value)) => Parameter {
                    key: c_string(key)?,
                    value: Some(c_string(value)?),
                },
                None => Parameter {
                    key: c_string(option.as_str())?,
                    value: None,
                },
            });
        }
        Ok(Files::New(parameters))
    };
    if let [view] = views.as_slice()
        && view.unified
        && view.name.is_empty()
    {
        return Ok(Version::Two(files(view)?));
    }
    let hierarchies = views.iter().map(|view| {
        let links = view
            .name
            .split(',')
            .filter(|_| view.name.contains(','))
            .map(c_string);
        Ok(Hierarchy {
            name: c_string(view.name.as_str())?,
            fstype: if view.unified {
                c"cgroup2".into()
            } else {
                c"cgroup".into()
            },
            files: files(view)?,
            links: links.collect::<Result<_, Error>>()?,
        })
    });
    Ok(Version::One(hierarchies.collect::<Result<_, Error>>()?))
}
