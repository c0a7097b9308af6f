//! New limits for a running container.

use std::os::fd::{AsFd, BorrowedFd};

use nucleus_sys::bpf;
use nucleus_sys::process::Batch;
use oci_spec::runtime::LinuxResources;

use super::Error;
use super::create::{open_directory, read_at, set};
use super::devices::{Allowlist, Rules};
use super::limits::Phase;
use super::plan::{Directory, assign, restrict};
use super::record::Record;
use super::systemd;

const LIMIT: &str = "linux.resources.memory.limit";

impl Record {
    /// Changes the limits that `resources` has; the others stay. Device rules, where given, replace all
    /// earlier ones.
    ///
    /// # Errors
    /// As for [`create()`](super::create()); what was written before the failure stays in force.
    pub fn update(&self, resources: &LinuxResources) -> Result<(), Error> {
        if self.intended {
            return Err(Error::unsupported(
                "linux.resources",
                "the container's cgroups are not made yet",
            ));
        }
        let mut directories: Vec<Directory> = self
            .places
            .iter()
            .map(|place| Directory {
                controllers: place.controllers.clone(),
                path: place.path.clone(),
                mount: place.mount,
                writes: Vec::new(),
                needs: Vec::new(),
                program: None,
            })
            .collect();
        assign(&mut directories, &self.completed(resources)?, Phase::Update)?;
        self.check_memory(resources)?;
        if let Some(rules) = resources.devices().as_deref().filter(|rules| !rules.is_empty()) {
            self.restrict(&mut directories, rules)?;
        }
        for directory in &directories {
            if let Some(scope) = &self.scope {
                systemd::update(scope, &directory.writes)?;
            }
            if directory.writes.is_empty() && directory.program.is_none() {
                continue;
            }
            let at = open_directory(&directory.path)?;
            set(Some(at.as_fd()), directory, &mut Batch::default())?;
            if let Some(code) = &directory.program {
                replace_program(at.as_fd(), code, &directory.path)?;
            }
        }
        Ok(())
    }

    /// `cpu.max` holds quota and period, and the quota comes first: a new period needs the quota in force.
    fn completed(&self, resources: &LinuxResources) -> Result<LinuxResources, Error> {
        let mut resources = resources.clone();
        let Some(cpu) = resources.cpu_mut() else {
            return Ok(resources);
        };
        let given = cpu.quota().is_some_and(|quota| quota != 0) || cpu.period().unwrap_or(0) == 0;
        let (v1, unified) = (self.places.iter().any(|place| place.has("cpu")), self.unified());
        if let (false, false, Some(path)) = (given, v1, unified) {
            let text = read_at(open_directory(path)?.as_fd(), "cpu.max", path)?;
            let quota = text.split_whitespace().next().unwrap_or("max");
            cpu.set_quota(Some(quota.parse().unwrap_or(-1)));
        }
        Ok(resources)
    }

    /// `checkBeforeUpdate`: version 1 refuses a limit below the use by itself, version 2 would start killing.
    fn check_memory(&self, resources: &LinuxResources) -> Result<(), Error> {
        let Some(memory) = resources.memory() else {
            return Ok(());
        };
        let (Some(true), Some(limit @ 1..)) = (memory.check_before_update(), memory.limit()) else {
            return Ok(());
        };
        let (false, Some(path)) = (
            self.places.iter().any(|place| place.has("memory")),
            self.unified(),
        ) else {
            return Ok(());
        };
        let text = read_at(open_directory(path)?.as_fd(), "memory.current", path)?;
        match text.trim_end().parse::<i64>() {
            Ok(used) if used > limit => Err(Error::invalid(
                LIMIT,
                format!("{used} bytes are in use, more than the new limit {limit}"),
            )),
            _ => Ok(()),
        }
    }

    fn restrict(
        &self,
        directories: &mut [Directory],
        rules: &[oci_spec::runtime::LinuxDeviceCgroup],
    ) -> Result<(), Error> {
        let Some(place) = self.places.iter().find(|place| place.has("devices")) else {
            return restrict(directories, Some(rules), &[], Phase::Update);
        };
        let at = open_directory(&place.path)?;
        let current = Allowlist::parse(&read_at(at.as_fd(), "devices.list", &place.path)?);
        let writes = Allowlist::new(&Rules::new(rules, &[])?)?.transition(current.as_ref());
        if let Some(directory) = directories
            .iter_mut()
            .find(|directory| directory.path == place.path)
        {
            directory.writes.extend(writes);
        }
        Ok(())
    }

    fn unified(&self) -> Option<&str> {
        self.places
            .iter()
            .find(|place| place.is_unified())
            .map(|place| place.path.as_str())
    }
}

/// Puts a new device program in the place of the one that is there, at no moment without any.
fn replace_program(at: BorrowedFd<'_>, code: &[bpf::Instruction], path: &str) -> Result<(), Error> {
    let program = bpf::load_device_program(code).map_err(Error::io("load device program for", path))?;
    let attached = bpf::attached_device_programs(at).map_err(Error::io("list device programs of", path))?;
    // systemd may have one of its own there, put before ours.
    let old = attached.last().map(|program| program.as_fd());
    bpf::attach_device_program(at, program.as_fd(), old).map_err(Error::io("attach device program to", path))
}
