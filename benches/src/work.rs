//! The directory that a measurement works in: rootfs, bundles, native programs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::bundle::{self, Kind, PAYLOAD};
use crate::cgroup::{Hierarchies, View};
use crate::filter::{self, Instruction};
use crate::native;

/// Directories that mounts of the real bundle go to; its root is read-only.
const MOUNT_POINTS: [&str; 4] = ["bin", "dev", "proc", "sys"];

/// A directory with one rootfs and the programs that do not depend on a view.
pub struct Work {
    directory: PathBuf,
    filter: Vec<Instruction>,
    /// The launcher program.
    pub launcher: PathBuf,
}

/// The bundles of one kind under one view of the cgroups.
pub struct Bundles<'a> {
    work: &'a Work,
    kind: Kind,
    view: View,
    hierarchies: Hierarchies,
    /// The limit program with these bundles' facts.
    pub limit: PathBuf,
}

impl Work {
    /// Makes the rootfs and compiles the launcher in `directory`, which is made when missing.
    ///
    /// # Errors
    /// When it cannot be written, or there is no C compiler.
    pub fn prepare(directory: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        let directory = directory.canonicalize()?;
        anyhow::ensure!(
            !directory.starts_with("/run"),
            "the launcher hides /run: choose another directory"
        );
        for name in MOUNT_POINTS {
            fs::create_dir_all(directory.join("rootfs").join(name))?;
        }
        native::build_payload(&directory, &directory.join("rootfs").join(&PAYLOAD[1..]))?;
        let launcher = native::build_launcher(&directory)?;
        Ok(Work {
            filter: filter::compile()?,
            launcher,
            directory,
        })
    }

    /// How many instructions the limit program's seccomp filter has.
    pub fn filter_length(&self) -> usize {
        self.filter.len()
    }

    /// A path in the work directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Prepares bundles of `kind` for `view`; `None` where the host has no such view.
    ///
    /// # Errors
    /// When a file cannot be written or the limit program does not compile.
    pub fn bundles(&self, kind: Kind, view: View) -> anyhow::Result<Option<Bundles<'_>>> {
        let Some(hierarchies) = Hierarchies::of_host(view)? else {
            return Ok(None);
        };
        let facts = bundle::facts(kind, &hierarchies, &self.filter);
        let directory = self
            .directory
            .join(format!("limit-{}-{}", kind.name(), view.name()));
        let limit = native::build_limit(&directory, &facts)?;
        Ok(Some(Bundles {
            work: self,
            kind,
            view,
            hierarchies,
            limit,
        }))
    }
}

impl Bundles<'_> {
    /// Writes the bundle whose cgroup is named after `slot` and whose program gets these arguments, and gives
    /// its directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, slot: &str, args: &[&str]) -> anyhow::Result<PathBuf> {
        let name = format!("{}-{}-{slot}", self.kind.name(), self.view.name());
        let directory = self.work.directory.join("bundles").join(name);
        fs::create_dir_all(&directory)?;
        let rootfs = self.work.path("rootfs");
        let config = bundle::config(
            self.kind,
            &self.hierarchies,
            slot,
            &rootfs.to_string_lossy(),
            args,
        );
        fs::write(directory.join("config.json"), serde_json::to_vec_pretty(&config)?)?;
        Ok(directory)
    }

    /// The limits that this view has no controller for, for the report.
    pub fn missing_limits(&self) -> Vec<&'static str> {
        match self.kind {
            Kind::Minimal => Vec::new(),
            Kind::Real => ["memory", "pids", "cpu"]
                .into_iter()
                .filter(|c| !self.hierarchies.has(c))
                .collect(),
        }
    }
}
