//! `update`: new limits for a container, in the kernel and in the recorded configuration.

use crate::bundle::typed;
use crate::container::{self, Container};
use crate::state;
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Why limits could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container.
    #[error(transparent)]
    Container(#[from] container::Error),
    /// Its state.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The limits are not those of `linux.resources`.
    #[error("resources")]
    Resources(#[source] serde_json::Error),
    /// The cgroups refuse.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::Error),
    /// It was created without `linux.intelRdt`.
    #[error("container {0:?} is in no resource control group of its own (linux.intelRdt)")]
    NoResctrl(String),
    /// The kernel refuses a schema.
    #[error("write {schema:?} to {}", .path.display())]
    Schema {
        /// The line.
        schema: String,
        /// The file.
        path: PathBuf,
        /// Its errno.
        #[source]
        source: std::io::Error,
    },
}

/// Sets the limits that `resources` (in the form of `linux.resources`) and `schemata` (lines of
/// `Documentation/arch/x86/resctrl.rst`) name. The others stay. The container is locked by the caller.
///
/// # Errors
/// The limit that was refused; those before it are in force then.
pub fn update(
    container: &Container,
    resources: Map<String, Value>,
    schemata: &[String],
) -> Result<(), Error> {
    let mut given = Value::Object(Map::new());
    merge_value(&mut given, Value::Object(resources));
    let limits: LinuxResources = typed(&given).map_err(Error::Resources)?;
    let resctrl = match schemata {
        [] => None,
        // Looked for first: nothing is changed when a part cannot be done.
        _ => Some(resctrl(container)?),
    };
    if given.as_object().is_some_and(|given| !given.is_empty()) {
        container.cgroups()?.update(&limits)?;
        record(container, given)?;
    }
    if let Some(directory) = resctrl {
        write_schemata(&directory, schemata)?;
    }
    Ok(())
}

/// Puts the members of `changes` over those of `object`, in depth. Null, `""` and `[]` are no change: callers
/// write them for limits that they know nothing of.
pub fn merge(object: &mut Map<String, Value>, changes: Value) {
    let Value::Object(changes) = changes else { return };
    for (key, change) in changes {
        match change {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            Value::Array(items) if items.is_empty() => {}
            Value::Object(members) => {
                let mut target = match object.remove(&key) {
                    Some(Value::Object(target)) => target,
                    _ => Map::new(),
                };
                merge(&mut target, Value::Object(members));
                if !target.is_empty() {
                    object.insert(key, Value::Object(target));
                }
            }
            change => {
                object.insert(key, change);
            }
        }
    }
}

fn merge_value(value: &mut Value, changes: Value) {
    if let Value::Object(object) = value {
        merge(object, changes);
    }
}

/// Keeps the recorded configuration in step with the kernel.
fn record(container: &Container, resources: Value) -> Result<(), Error> {
    let Some(bytes) = container.directory.read("config.json")? else {
        return Ok(());
    };
    let mut config: Map<String, Value> = serde_json::from_slice(&bytes).map_err(Error::Resources)?;
    merge(
        &mut config,
        serde_json::json!({"linux": {"resources": resources}}),
    );
    let text = Value::Object(config).to_string();
    Ok(container.directory.write("config.json", text.as_bytes())?)
}

fn resctrl(container: &Container) -> Result<PathBuf, Error> {
    let own = container
        .record
        .as_ref()
        .and_then(|record| record.intel_rdt.clone());
    own.filter(|directory| crate::intel_rdt::is_class(directory))
        .ok_or_else(|| Error::NoResctrl(container.id().to_owned()))
}

fn write_schemata(directory: &Path, schemata: &[String]) -> Result<(), Error> {
    let path = directory.join("schemata");
    for schema in schemata {
        // One write a line, since the kernel stops at the first that is wrong.
        std::fs::write(&path, format!("{schema}\n")).map_err(|source| Error::Schema {
            schema: schema.clone(),
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_go_over_what_is_there() {
        let mut object = json!({"cpu": {"quota": 5, "shares": 7}, "pids": {"limit": 1}});
        merge_value(
            &mut object,
            json!({"cpu": {"quota": 6, "period": null, "cpus": "", "x": []}, "memory": {"limit": null}, "unified": {"a.b": "c"}}),
        );
        assert_eq!(
            object,
            json!({"cpu": {"quota": 6, "shares": 7}, "pids": {"limit": 1}, "unified": {"a.b": "c"}})
        );
    }
}
