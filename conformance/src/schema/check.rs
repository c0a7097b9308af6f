//! One document against one schema.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use boon::{Compiler, Schemas};
use serde_json::Value;

/// Checks a value against a schema file, with the files that it refers to.
///
/// # Errors
/// The schema cannot be read, or the value does not match: where, and why.
pub(super) fn against(schema: &Path, value: &Value) -> Result<()> {
    let path = schema.to_str().context("the schema's path is not UTF-8")?;
    let mut schemas = Schemas::new();
    let index = Compiler::new()
        .compile(path, &mut schemas)
        .map_err(|error| anyhow!("read {path}: {error}"))?;
    schemas.validate(value, index).map_err(|error| anyhow!("{error}"))
}
