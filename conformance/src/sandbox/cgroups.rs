//! A cgroup of its own for each sandbox, in every hierarchy of the view.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::host::{self, Hierarchy, View};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The cgroups of one sandbox; removed when dropped, with whatever was made below them.
pub(super) struct Subtree {
    dirs: Vec<PathBuf>,
    /// Where the processes of the unified hierarchy go.
    leaf: Option<PathBuf>,
}

impl Subtree {
    /// Makes an empty cgroup at the top of each hierarchy.
    pub(super) fn create(view: View) -> Result<Subtree> {
        let name = format!(
            "nucleus-conformance.{}.{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let mut subtree = Subtree {
            dirs: Vec::new(),
            leaf: None,
        };
        for hierarchy in host::hierarchies()?
            .iter()
            .filter(|hierarchy| seen(view, hierarchy))
        {
            let dir = hierarchy.path.join(&name);
            fs::create_dir(&dir).with_context(|| format!("create cgroup {}", dir.display()))?;
            if hierarchy.v1_options.is_none() {
                let leaf = dir.join("harness");
                fs::create_dir(&leaf).with_context(|| format!("create cgroup {}", leaf.display()))?;
                subtree.leaf = Some(leaf);
            }
            subtree.dirs.push(dir);
            inherit_cpuset(&hierarchy.path, &hierarchy.path.join(&name))?;
        }
        Ok(subtree)
    }

    /// The child of the unified cgroup, or an empty path.
    pub(super) fn leaf(&self) -> PathBuf {
        self.leaf.clone().unwrap_or_default()
    }

    /// The cgroups' paths with colons between them.
    pub(super) fn joined(&self) -> String {
        let paths: Vec<String> = self.dirs.iter().map(|dir| dir.display().to_string()).collect();
        paths.join(":")
    }
}

/// Whether a hierarchy appears in a view. The others keep the sandbox in the cgroup of its parent.
pub(super) fn seen(view: View, hierarchy: &Hierarchy) -> bool {
    match view {
        View::Host => true,
        View::V1 => hierarchy.v1_options.is_some(),
        View::V2 => hierarchy.v1_options.is_none(),
    }
}

/// A new v1 cpuset is empty, and no process may enter an empty one (cpuset(7)).
fn inherit_cpuset(parent: &Path, dir: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (parent.join(file), dir.join(file));
        // On v2 the file exists too, but an empty one there means all of the parent's.
        if from.exists() && to.exists() {
            let value = fs::read_to_string(&from).with_context(|| format!("read {}", from.display()))?;
            fs::write(&to, value).with_context(|| format!("write {}", to.display()))?;
        }
    }
    Ok(())
}

impl Drop for Subtree {
    fn drop(&mut self) {
        for dir in &self.dirs {
            // Killed processes leave their cgroup a moment after the namespace's first one has ended.
            for _ in 0..100 {
                remove(dir);
                if !dir.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Removes a cgroup from the leaves up, as far as that works.
fn remove(dir: &Path) {
    let children = fs::read_dir(dir).into_iter().flatten().flatten();
    for child in children.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&child.path());
    }
    thaw(dir);
    // The caller looks whether it is gone, and tries again.
    let _ = fs::remove_dir(dir);
}

/// A frozen v1 cgroup keeps even killed processes.
fn thaw(dir: &Path) {
    let state = dir.join("freezer.state");
    if state.exists() {
        let _ = fs::write(state, "THAWED");
    }
}
