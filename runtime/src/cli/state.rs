//! `state`.

use super::{Global, Outcome, Run};
use crate::container::Container;
use crate::lifecycle::Status;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Print the state of a container as JSON.
#[derive(Debug, Args)]
pub struct State {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

/// `runtime.md#state`, with runc's further fields.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Version of the specification.
    pub oci_version: String,
    /// Name of the container.
    pub id: String,
    /// Its first process, 0 when it has ended.
    pub pid: u32,
    /// Its status.
    pub status: String,
    /// Its bundle.
    pub bundle: String,
    /// Its root file system.
    pub rootfs: String,
    /// When it was created.
    pub created: String,
    /// Its annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Name of the user who created it, empty for one without name.
    pub owner: String,
}

impl Shown {
    /// What is shown of a container.
    pub fn new(container: &Container) -> Self {
        let alive = !matches!(container.status, Status::Stopped | Status::Creating);
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let record = container.record.as_ref();
        Self {
            oci_version: record.map_or_else(
                || crate::state::OCI_VERSION.to_owned(),
                |record| record.oci_version.clone(),
            ),
            id: container.id().to_owned(),
            pid: container
                .process
                .filter(|_| alive)
                .map_or(0, |process| process.pid),
            status: container.status.word().to_owned(),
            bundle: record.map(|record| text(&record.bundle)).unwrap_or_default(),
            rootfs: record.map(|record| text(&record.rootfs)).unwrap_or_default(),
            created: record.map(|record| record.created.clone()).unwrap_or_default(),
            annotations: record
                .map(|record| record.annotations.clone())
                .unwrap_or_default(),
            owner: record.map(|record| user_name(record.owner)).unwrap_or_default(),
        }
    }

    /// What is shown of a container whose state cannot be read.
    pub fn damaged(id: &str) -> Self {
        Self {
            oci_version: crate::state::OCI_VERSION.to_owned(),
            id: id.to_owned(),
            pid: 0,
            status: "damaged".to_owned(),
            bundle: String::new(),
            rootfs: String::new(),
            created: String::new(),
            annotations: BTreeMap::new(),
            owner: String::new(),
        }
    }
}

/// The user's name from `/etc/passwd`, without a name service.
fn user_name(uid: u32) -> String {
    if uid == 0 {
        return "root".to_owned();
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let uid = uid.to_string();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid));
    line.and_then(|line| line.split(':').next())
        .unwrap_or_default()
        .to_owned()
}

impl Run for State {
    const NAME: &'static str = "state";
    const ABOUT: &'static str = "Print the state of a container as JSON";

    fn run(self, global: &Global) -> Outcome {
        let container = Container::open(&global.root(), &self.id)?;
        super::print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&Shown::new(&container))?
        ));
        Ok(0)
    }
}
