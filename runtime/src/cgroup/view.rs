//! The container's cgroups as its own mount of type `cgroup` shows them.

use super::Plan;
use std::path::PathBuf;

/// One hierarchy of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Name of its mount point below `/sys/fs/cgroup`; empty for the only hierarchy of a cgroup2 host.
    pub name: String,
    /// Whether it is cgroup2.
    pub unified: bool,
    /// Mount options that select it.
    pub options: Vec<String>,
    /// The container's directory on the host.
    pub path: PathBuf,
}

impl Plan {
    /// A plan that makes nothing: the container stays in its caller's cgroups.
    pub fn none() -> Self {
        Self {
            directories: Vec::new(),
            dispensable: true,
            scope: None,
            properties: Vec::new(),
        }
    }

    /// Whether the child enters version 1 hierarchies itself.
    pub fn joins_by_tasks(&self) -> bool {
        self.directories.iter().any(|directory| !directory.is_unified())
    }

    /// The hierarchies to mount inside the container.
    pub fn views(&self) -> Vec<View> {
        let alone = self.directories.len() == 1;
        self.directories
            .iter()
            .map(|directory| {
                let unified = directory.is_unified();
                let point = &directory.path[..directory.mount];
                let name = point.rsplit('/').next().unwrap_or_default();
                View {
                    name: if unified && alone {
                        String::new()
                    } else {
                        name.to_owned()
                    },
                    unified,
                    options: options(&directory.controllers),
                    path: PathBuf::from(&directory.path),
                }
            })
            .collect()
    }
}

fn options(controllers: &str) -> Vec<String> {
    if controllers.is_empty() {
        return Vec::new();
    }
    let named = controllers.starts_with("name=").then(|| "none".to_owned());
    named
        .into_iter()
        .chain(controllers.split(',').map(str::to_owned))
        .collect()
}
