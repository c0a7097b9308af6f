//! The pure decision: which directories, which writes, in which order.

use std::collections::HashMap;

use nucleus_sys::bpf::Instruction;
use oci_spec::runtime::{LinuxDevice, LinuxResources};

use super::devices::{self, Allowlist, Rules};
use super::limits::{self, Phase, Setting, Version};
use super::path::Location;
use super::systemd::{self, Property, Scope};
use super::writes::Write;
use super::{Error, Hierarchy, Layout};

/// Who creates the container's cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// The runtime, with mkdir(2).
    #[default]
    Cgroupfs,
    /// systemd, as a transient scope.
    Systemd,
}

/// What the bundle and the command line ask for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `linux.cgroupsPath`: absolute = below the mount point; relative = below the runtime's own cgroup (on
    /// cgroup2 below the parent of that); absent = `/<id>`. With systemd `slice:prefix:name`.
    pub cgroups_path: Option<&'a str>,
    /// The container's id.
    pub id: &'a str,
    /// `linux.resources`.
    pub resources: Option<&'a LinuxResources>,
    /// `linux.devices`, which the runtime has to be able to create from inside the cgroup.
    pub devices: &'a [LinuxDevice],
    /// Whether the runtime lacks the privileges of the host's root. Device rules are left out then (the
    /// container cannot create nodes, and opens what its user may open), and so is the whole cgroup where it
    /// may not be created and no limit was asked for.
    pub rootless: bool,
    /// Who creates the cgroup.
    pub driver: Driver,
    /// `annotations`, of which systemd gets `org.systemd.property.*`.
    pub annotations: Option<&'a HashMap<String, String>>,
}

/// What [`create`](super::create()) is going to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(super) directories: Vec<Directory>,
    /// Whether the container may run without a cgroup where none can be created.
    pub(super) dispensable: bool,
    /// The unit to start instead of making directories.
    pub(super) scope: Option<Scope>,
    /// What the bundle's annotations want of that unit.
    pub(super) properties: Vec<Property>,
}

/// The container's cgroup in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    /// As in [`Hierarchy`].
    pub(super) controllers: String,
    /// Absolute.
    pub(super) path: String,
    /// How much of `path` is the mount point.
    pub(super) mount: usize,
    pub(super) writes: Vec<Write>,
    /// Controllers of cgroup2 that the writes need.
    pub(super) needs: Vec<String>,
    /// The device program, on cgroup2.
    pub(super) program: Option<Vec<Instruction>>,
}

impl Directory {
    pub(super) fn new(hierarchy: &Hierarchy, below: &str) -> Self {
        Self {
            controllers: hierarchy.controllers.clone(),
            path: format!("{}/{below}", hierarchy.mount),
            mount: hierarchy.mount.len(),
            writes: Vec::new(),
            needs: Vec::new(),
            program: None,
        }
    }

    pub(super) fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.split(',').any(|each| each == controller)
    }
}

/// Decides everything about the container's cgroups, without looking at the host again.
///
/// # Errors
/// A value is invalid, or this layout cannot do what is asked for; the error names the property.
pub fn plan(layout: &Layout, request: &Request<'_>) -> Result<Plan, Error> {
    let mut directories = Vec::with_capacity(16);
    let scope = match (request.driver, layout) {
        (Driver::Cgroupfs, _) => {
            let location = Location::new(request.cgroups_path, request.id)?;
            for hierarchy in hierarchies(layout) {
                directories.push(Directory::new(hierarchy, &location.below(hierarchy)?));
            }
            None
        }
        (Driver::Systemd, Layout::V2(hierarchy)) => {
            let scope = Scope::new(request.cgroups_path, request.id, request.rootless)?;
            // Where exactly it is, systemd says when the scope is started.
            directories.push(Directory::new(hierarchy, &scope.path()?));
            Some(scope)
        }
        (Driver::Systemd, _) => {
            return Err(Error::unsupported(
                "--systemd-cgroup",
                "this host does not have cgroup2 alone",
            ));
        }
    };
    let properties = match (&scope, request.annotations) {
        (Some(_), Some(annotations)) => systemd::annotated(annotations)?,
        _ => Vec::new(),
    };
    if let Some(resources) = request.resources {
        assign(&mut directories, resources, Phase::Create)?;
    }
    let dispensable = request.rootless && directories.iter().all(|directory| directory.writes.is_empty());
    if !request.rootless {
        let rules = request
            .resources
            .and_then(|resources| resources.devices().as_deref());
        restrict(&mut directories, rules, request.devices, Phase::Create)?;
    }
    Ok(Plan {
        directories,
        dispensable,
        scope,
        properties,
    })
}

/// All hierarchies, the cgroup2 one last.
fn hierarchies(layout: &Layout) -> impl Iterator<Item = &Hierarchy> {
    let (v1, v2) = match layout {
        Layout::None => (&[][..], None),
        Layout::V2(hierarchy) => (&[][..], Some(hierarchy)),
        Layout::V1 { hierarchies, unified } => (&hierarchies[..], unified.as_ref()),
    };
    v1.iter().chain(v2)
}

/// Adds the writes of `resources` to the directories of their controllers.
pub(super) fn assign(
    directories: &mut [Directory],
    resources: &LinuxResources,
    phase: Phase,
) -> Result<(), Error> {
    let settings = limits::settings(resources, &|controller| version(directories, controller), phase)?;
    for Setting { controller, write } in settings {
        let at = directories
            .iter_mut()
            .find(|directory| !directory.is_unified() && directory.has(&controller));
        let directory = match at {
            Some(directory) => directory,
            // `version` has said that it is there.
            None => directories
                .iter_mut()
                .find(|directory| directory.is_unified())
                .ok_or_else(|| {
                    Error::unsupported(write.property.clone(), "no hierarchy has its controller")
                })?,
        };
        if directory.is_unified()
            && !controller.is_empty()
            && !directory.needs.iter().any(|n| *n == *controller)
        {
            directory.needs.push(controller.into_owned());
        }
        directory.writes.push(write);
    }
    Ok(())
}

/// Which interface `controller` has in these directories: what version 1 does not carry can only be on
/// cgroup2, and whether it is there shows when the file is opened.
fn version(directories: &[Directory], controller: &str) -> Option<Version> {
    let mut v1 = directories.iter().filter(|directory| !directory.is_unified());
    if v1.any(|directory| directory.has(controller) || controller == "cgroup") {
        return Some(Version::V1);
    }
    directories
        .iter()
        .any(Directory::is_unified)
        .then_some(Version::V2)
}

/// Adds the device rules: to the devices controller of version 1, else as a program on cgroup2.
pub(super) fn restrict(
    directories: &mut [Directory],
    configured: Option<&[oci_spec::runtime::LinuxDeviceCgroup]>,
    nodes: &[LinuxDevice],
    phase: Phase,
) -> Result<(), Error> {
    let rules = Rules::new(configured.unwrap_or_default(), nodes)?;
    if let Some(directory) = directories.iter_mut().find(|directory| directory.has("devices")) {
        directory.writes.extend(Allowlist::new(&rules)?.writes(phase));
        return Ok(());
    }
    if rules.is_everything() && phase == Phase::Create {
        return Ok(());
    }
    match directories.iter_mut().find(|directory| directory.is_unified()) {
        Some(directory) => directory.program = Some(devices::program(&rules)),
        None if configured.is_some_and(|rules| !rules.is_empty()) => {
            return Err(Error::unsupported(
                devices::PROPERTY,
                "no hierarchy can restrict devices",
            ));
        }
        None => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
