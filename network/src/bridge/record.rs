//! What has to be taken back of a sandbox's network, written down before it is made.

use crate::Error;
use crate::table::Element;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What the alias of a sandbox's link begins with; behind it is the path of the record.
pub(super) const ALIAS: &str = "nucleus sandbox ";

/// What has to be taken back of a sandbox's network.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Record {
    /// The alias of its link.
    pub(super) alias: String,
    /// What it has in the shared table.
    pub(super) elements: Vec<Element>,
}

impl Record {
    /// That of a sandbox that has nothing yet.
    pub(super) fn at(path: &Path) -> Self {
        Self {
            alias: format!("{ALIAS}{}", path.display()),
            ..Self::default()
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec(self).map_err(|error| Error::io("write", path, error.into()))?;
        std::fs::write(path, text).map_err(|error| Error::io("write", path, error))
    }

    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
        // Cut off when its writer was killed: then there was no link yet.
        Ok(serde_json::from_slice(&text).unwrap_or_default())
    }
}
