//! What is recorded of a container, and how hooks are told of it.

use super::Process;
use crate::cgroup;
use oci_spec::runtime as oci;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What `create` records before it makes anything.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// `ociVersion` of the configuration.
    pub oci_version: String,
    /// The id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system.
    pub rootfs: PathBuf,
    /// The annotations of the configuration.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// When the container was created, RFC 3339.
    pub created: String,
    /// User id that created it.
    pub owner: u32,
    /// Its cgroups.
    pub cgroup: cgroup::Record,
    /// Its own directory of the resctrl file system, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<PathBuf>,
    /// Whether its first process is process 1 of a pid namespace, and all others end with it.
    pub pid_namespace: bool,
}

/// The file `init`: what was known when the container became `created`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Init {
    /// The first process.
    #[serde(flatten)]
    pub process: Process,
    /// The cgroups as they were made; the record in `state.json` is what was going to be made.
    pub cgroup: cgroup::Record,
}

/// The state as `state` prints it and hooks get it; `runtime.md#state`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HookState {
    oci_version: String,
    id: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    bundle: PathBuf,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl HookState {
    /// The state of a container that is being created, with what is enforced of Landlock.
    pub fn new(spec: &oci::Spec, id: &str, bundle: &Path, landlock: Option<&str>) -> Self {
        Self {
            oci_version: spec.version().clone(),
            id: id.to_owned(),
            status: String::new(),
            pid: None,
            bundle: bundle.to_owned(),
            annotations: annotations(spec, landlock),
        }
    }

    /// The state of a recorded container.
    pub fn of(record: &Record) -> Self {
        Self {
            oci_version: record.oci_version.clone(),
            id: record.id.clone(),
            status: String::new(),
            pid: None,
            bundle: record.bundle.clone(),
            annotations: record.annotations.clone(),
        }
    }

    /// As JSON, with this status and first process.
    pub fn json(&self, status: &str, pid: Option<u32>) -> String {
        let state = Self {
            status: status.to_owned(),
            pid,
            ..self.clone()
        };
        serde_json::to_string(&state).unwrap_or_default()
    }
}

/// The annotations in a stable order, with what is enforced of Landlock.
pub fn annotations(spec: &oci::Spec, landlock: Option<&str>) -> BTreeMap<String, String> {
    let enforced = landlock.map(|text| (crate::plan::landlock::ENFORCED.to_owned(), text.to_owned()));
    spec.annotations()
        .iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone()))
        .chain(enforced)
        .collect()
}

/// All that is recorded of a container.
#[derive(Debug)]
pub struct Loaded {
    /// Nothing when `create` died before it had made anything. The cgroups are the real ones as soon as they
    /// are known.
    pub record: Option<Record>,
    /// Nothing before the container was created.
    pub init: Option<Init>,
}

impl Loaded {
    pub(super) fn new(record: Option<Record>, init: Option<Init>) -> Self {
        let record = record.map(|record| match &init {
            Some(init) => Record {
                cgroup: init.cgroup.clone(),
                ..record
            },
            None => record,
        });
        Self { record, init }
    }
}
