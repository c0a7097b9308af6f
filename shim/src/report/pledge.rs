//! What is promised of a launch, in a form that lasts from `create` to `start`.
//!
//! It is kept in the sandbox's own directory, which is its user's alone. Its digest goes into the bundle's configuration
//! as an annotation, which the runtime records when the container is created: a file that was changed later is found out.

use super::facts::Maker;
use super::look;
use super::promise::{self, Promise};
use crate::decide::Decided;
use crate::facts::Runtime;
use crate::write::Bundle;
use nucleus_policy::Digest;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The annotation with the digest of the kept file. `nucleus-runtime` starts a container that has it only for a caller
/// that names the same digest, and lets nothing else into it before.
pub const ANNOTATION: &str = "dev.nucleus.promises";

/// The file that is kept.
const FILE: &str = "promises.json";
/// The digest of the configuration that names it.
const CONFIG_DIGEST: &str = "config.sha256";

/// Everything that a launch is held against, and what a report says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pledge {
    /// The sandbox.
    pub name: String,
    /// The mode's word.
    pub mode: String,
    /// Command and arguments.
    pub command: Vec<String>,
    /// The policies.
    pub policies: Vec<Policy>,
    /// Whether the mode has it checked, with or without a report.
    pub checked: bool,
    /// Who made it.
    pub maker: Maker,
    /// What can be held against the kernel.
    pub promises: Vec<Promise>,
    /// What only gVisor's kernel knows.
    pub on_trust: Vec<Promise>,
}

/// A policy, as a report names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    kind: String,
    origin: String,
    sha256: String,
}

/// Why kept promises cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error("read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// It is not what it was.
    #[error(
        "{}: it has changed since nucleus create: its SHA-256 is {found}, not {expected}; nothing was started, \
         nucleus rm removes the sandbox", path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Of `create`.
        expected: String,
        /// Now.
        found: Digest,
    },
    /// Another version's, at best.
    #[error("parse {}", .0.display())]
    Parse(PathBuf, #[source] serde_json::Error),
}

/// A pledge that is what it was at `create`.
#[derive(Debug)]
pub struct Kept {
    /// It.
    pub pledge: Pledge,
    /// The digest of its file.
    pub digest: Digest,
    /// The digest of the configuration.
    pub config: Digest,
}

impl Pledge {
    /// What is promised of a launch with this bundle.
    ///
    /// # Errors
    /// This process cannot be looked at.
    pub fn of(decided: &Decided, bundle: &Bundle) -> Result<Self, look::Error> {
        let launch = &decided.launch;
        let spec = bundle.config.whole().map_err(look::Error::Profile)?;
        let table = promise::table(
            launch,
            &spec,
            &bundle.directory,
            bundle.rules.as_deref(),
            bundle.notify.as_deref(),
        );
        let (promises, on_trust) = if decided.program.kind == Runtime::Gvisor {
            (promise::sentry(launch, &spec, bundle.rules.as_deref()), table)
        } else {
            (table, Vec::new())
        };
        let policies = decided.policy.digests().map(|(kind, origin, digest)| Policy {
            kind: kind.to_string(),
            origin: origin.to_string(),
            sha256: digest.to_string(),
        });
        Ok(Self {
            name: launch.name.clone(),
            mode: launch.mode.to_owned(),
            command: launch.command.clone(),
            policies: policies.collect(),
            checked: launch.decision.rules.checked,
            maker: Maker::read().map_err(|(path, error)| look::Error::Read(path, error))?,
            promises,
            on_trust,
        })
    }

    /// Keeps it in a sandbox's directory, and returns the digest of the file.
    ///
    /// # Errors
    /// The file, and as open(2) and write(2).
    pub fn keep(&self, directory: &Path) -> Result<Digest, (PathBuf, io::Error)> {
        let path = directory.join(FILE);
        let written = serde_json::to_vec(self)
            .map_err(io::Error::from)
            .and_then(|text| {
                create(&path)?.write_all(&text)?;
                Ok(Digest::of(&text))
            });
        written.map_err(|error| (path, error))
    }

    /// What was kept in a sandbox's directory. `annotation` is what the runtime recorded.
    ///
    /// # Errors
    /// It, or the configuration, is not what it was at `create`.
    pub fn kept(directory: &Path, annotation: &str) -> Result<Kept, Error> {
        let read = |name: &str| {
            let path = directory.join(name);
            let bytes = std::fs::read(&path).map_err(|error| Error::Read(path.clone(), error));
            bytes.map(|bytes| (path, bytes))
        };
        let unchanged = |path: &Path, bytes: &[u8], expected: &str| match Digest::of(bytes) {
            found if found.to_string() == expected => Ok(found),
            found => Err(Error::Changed {
                path: path.to_owned(),
                expected: expected.to_owned(),
                found,
            }),
        };
        let (path, bytes) = read(FILE)?;
        let digest = unchanged(&path, &bytes, annotation)?;
        let pledge = serde_json::from_slice(&bytes).map_err(|error| Error::Parse(path, error))?;
        let (_, expected) = read(CONFIG_DIGEST)?;
        let (path, bytes) = read("config.json")?;
        let config = unchanged(&path, &bytes, &String::from_utf8_lossy(&expected))?;
        Ok(Kept {
            pledge,
            digest,
            config,
        })
    }
}

/// Keeps the digest of the configuration in a sandbox's directory.
///
/// # Errors
/// The file, and as open(2) and write(2).
pub fn keep_config(directory: &Path, config: &[u8]) -> Result<(), (PathBuf, io::Error)> {
    let path = directory.join(CONFIG_DIGEST);
    let text = Digest::of(config).to_string();
    let written = create(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| (path, error))
}

/// A new file for this user alone.
fn create(path: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}
