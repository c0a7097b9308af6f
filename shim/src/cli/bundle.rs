//! `nucleus bundle`.

use super::run::Source;
use crate::bundle::ROOTFS;
use crate::decide::{self, Decided};
use crate::facts::{Facts, Program};
use crate::run::at;
use crate::skeleton;
use crate::write::{self, Place};
use anyhow::Context;
use clap::Args;
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Write the bundle of a sandbox, or compare it with one that is there.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  nucleus bundle --output /srv/app --rootfs /srv/rootfs -- /bin/app
  nucleus-runtime run --bundle /srv/app app")]
pub struct Bundle {
    /// Directory of the bundle; it must not be there yet
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Write nothing: print how the bundle that is there differs, and exit with 1 if it does
    #[arg(long)]
    check: bool,
    /// Decide as root on any supported host would, whatever this one is and may: for bundles that are built elsewhere
    #[arg(long)]
    for_root: bool,
    #[command(flatten)]
    source: Source,
}

impl Bundle {
    /// Writes or compares it.
    ///
    /// # Errors
    /// What is wrong with the request, or cannot be written.
    pub fn run(self, quiet: bool) -> Result<i32, anyhow::Error> {
        let Self {
            output,
            check,
            for_root,
            source,
        } = self;
        let mut request = source.request()?;
        anyhow::ensure!(
            request.secret.is_empty(),
            "secret: a bundle keeps no secrets; nucleus run does"
        );
        anyhow::ensure!(
            request.workspace_mode != Some(crate::request::WorkspaceMode::CopyInOut),
            "workspace-mode: a bundle has no copy that somebody reviews; nucleus run does"
        );
        anyhow::ensure!(
            request.verify_context.is_none(),
            "verify-context: a bundle leads to the directory itself, which may change; nucleus run does"
        );
        // The same request gives the same bundle.
        let file_name = || output.file_name().map(|name| name.to_string_lossy().into_owned());
        request.name = request.name.or_else(file_name);
        let decided = if for_root {
            let program = Program::find(request.runtime.as_deref().unwrap_or("native"))?;
            decide::decide_by(&request, program, &Facts::declared(&request), false, quiet)?
        } else {
            decide::decide(&request, false, quiet)?
        };
        anyhow::ensure!(
            !decided.launch.context_apart,
            "context: only nucleus-runtime makes a copy of it from a bundle; --context-mode bind shows it as it is"
        );
        anyhow::ensure!(
            decided.launch.bridge.is_none(),
            "network: bridge is made by nucleus run for as long as it runs; a bundle has none or host"
        );
        if check {
            return compare(&output, &decided);
        }
        std::fs::create_dir(&output).with_context(|| {
            let path = output.display();
            format!("mkdir {path} (--output makes a new directory; --check compares with one that is there)")
        })?;
        let directory = output.canonicalize()?;
        if let Err(error) = write::write_bundle(&decided, &directory, &directory, &Place::Bundle) {
            std::fs::remove_dir_all(&directory)?;
            return Err(error);
        }
        Ok(0)
    }
}

fn compare(output: &Path, decided: &Decided) -> Result<i32, anyhow::Error> {
    let directory = output
        .canonicalize()
        .with_context(|| format!("open {}", output.display()))?;
    let path = directory.join("config.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let there: Value = serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    let (config, skeleton, _) = decided.compose(&directory)?;
    let mut found = String::new();
    differences(
        "",
        &there,
        &crate::config::json(config.whole()?.as_ref())?,
        &mut found,
    );
    if !skeleton.is_empty() {
        let read = |(path, error): (PathBuf, std::io::Error)| at("read", &path)(error);
        let made = skeleton.resolve().map_err(read)?;
        for line in skeleton::differences(&made, &directory.join(ROOTFS)).map_err(read)? {
            let _ = writeln!(found, "{ROOTFS}{line}");
        }
    }
    if found.is_empty() {
        return Ok(0);
    }
    super::print(found.trim_end())?;
    Ok(1)
}

/// One line for each value that differs: what is there, and what it would be.
fn differences(at: &str, there: &Value, wanted: &Value, found: &mut String) {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            let mut keys: Vec<&String> = there.keys().chain(wanted.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let of =
                    |object: &serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or(Value::Null);
                differences(&format!("{at}/{key}"), &of(there), &of(wanted), found);
            }
        }
        _ if there == wanted => {}
        _ => {
            let _ = writeln!(found, "{at}\n  - {there}\n  + {wanted}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_name_their_place() {
        let mut found = String::new();
        differences(
            "",
            &json!({"a": {"b": 1}, "c": 2}),
            &json!({"a": {"b": 3}, "c": 2, "d": 4}),
            &mut found,
        );
        assert_eq!(found, "/a/b\n  - 1\n  + 3\n/d\n  - null\n  + 4\n");
    }
}
