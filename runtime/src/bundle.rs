//! The bundle: a directory with `config.json`, opened once and read once.

use oci_spec::runtime::Spec;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path that cannot be opened or read.
    #[error("{call} {}", .path.display())]
    File {
        /// The call.
        call: &'static str,
        /// The path.
        path: PathBuf,
        /// Its errno.
        #[source]
        source: std::io::Error,
    },
    /// No `config.json`.
    #[error("{} does not exist: a bundle is a directory with a config.json (`nucleus-runtime spec` writes one)", .0.display())]
    NoConfig(PathBuf),
    /// The state and the hooks, which are told the path, are JSON.
    #[error("bundle {0:?}: a path that is not UTF-8 cannot be told in the state (rename it)")]
    NotUtf8(PathBuf),
    /// The caller has closed `--config-fd` without a word.
    #[error("--config-fd: {} ended without a configuration", .0.display())]
    NotGiven(PathBuf),
    /// Not the reviewed configuration. It was not parsed.
    #[error("{}: its SHA-256 is {actual}, not the pinned {expected} (--config-sha256)", .path.display())]
    Pin {
        /// The file.
        path: PathBuf,
        /// The pin.
        expected: Pin,
        /// What the bytes have.
        actual: Pin,
    },
    /// Not JSON, or a value of the wrong type.
    #[error("{}", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and what.
        #[source]
        source: serde_json::Error,
    },
    /// A version of the specification that is not implemented.
    #[error("{}: ociVersion {version:?} is not supported: this runtime implements 1.x", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The value.
        version: String,
    },
}

/// The SHA-256 that a configuration must have, as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin(String);

impl Pin {
    fn of(bytes: &[u8]) -> Self {
        use std::fmt::Write;
        let mut hex = String::with_capacity(64);
        for byte in Sha256::digest(bytes) {
            let _ = write!(hex, "{byte:02x}");
        }
        Self(hex)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no SHA-256 digest.
#[derive(Debug, thiserror::Error)]
#[error("not a SHA-256 digest (64 hexadecimal digits)")]
pub struct NotADigest;

impl FromStr for Pin {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(hex.to_ascii_lowercase()))
        } else {
            Err(NotADigest)
        }
    }
}

/// A bundle whose configuration has been parsed.
#[derive(Debug)]
pub struct Bundle {
    /// Absolute path.
    pub path: PathBuf,
    /// `config.json` as it was read.
    pub bytes: Vec<u8>,
    /// The same, parsed.
    pub spec: Spec,
    /// What was left out of the configuration because it means nothing to this kernel.
    pub notes: Vec<String>,
}

impl Bundle {
    /// Opens a bundle, compares its configuration with a pin, and parses the very bytes that were compared. They
    /// come from `config`, if there is such a descriptor, and the bundle's `config.json` is not looked at.
    ///
    /// # Errors
    /// The path that cannot be read, another digest than the pin, or where the JSON is wrong.
    pub fn open(path: &Path, config: Option<OwnedFd>, pin: Option<&Pin>) -> Result<Self, Error> {
        let path = std::path::absolute(path).map_err(|source| Error::File {
            call: "getcwd for",
            path: path.to_owned(),
            source,
        })?;
        if path.to_str().is_none() {
            return Err(Error::NotUtf8(path));
        }
        let (config, bytes) = match config {
            None => read_config(&path)?,
            Some(fd) => {
                let name = PathBuf::from(format!("descriptor {}", fd.as_raw_fd()));
                let bytes = read_all(fd.as_fd()).map_err(|errno| file_error("read", &name, errno))?;
                if bytes.is_empty() {
                    return Err(Error::NotGiven(name));
                }
                // Only now: a caller may make the bundle while this process waits.
                open_directory(&path)?;
                (name, bytes)
            }
        };
        if let Some(expected) = pin {
            let actual = Pin::of(&bytes);
            if actual != *expected {
                let (path, expected) = (config, expected.clone());
                return Err(Error::Pin {
                    path,
                    expected,
                    actual,
                });
            }
        }
        let (spec, notes) = parse(&bytes).map_err(|source| Error::Json {
            path: config.clone(),
            source,
        })?;
        let version = spec.version();
        if !is_supported(version) {
            return Err(Error::Version {
                path: config,
                version: version.clone(),
            });
        }
        Ok(Self {
            path,
            bytes,
            spec,
            notes,
        })
    }
}

/// The path and the bytes of a bundle's configuration.
fn read_config(bundle: &Path) -> Result<(PathBuf, Vec<u8>), Error> {
    let directory = open_directory(bundle)?;
    let config = bundle.join("config.json");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = match openat(&directory, c"config.json", flags, Mode::empty()) {
        Err(Errno::NOENT) => return Err(Error::NoConfig(config)),
        other => other.map_err(|errno| file_error("open", &config, errno))?,
    };
    let bytes = read_all(file.as_fd()).map_err(|errno| file_error("read", &config, errno))?;
    Ok((config, bytes))
}

/// Parses a configuration. Capabilities that are not known are left out with a note, as `config.md#process`
/// asks; everything else that is wrong is an error.
///
/// # Errors
/// Where the JSON is wrong.
pub fn parse(bytes: &[u8]) -> Result<(Spec, Vec<String>), serde_json::Error> {
    match serde_json::from_slice(bytes) {
        Ok(spec) => Ok((spec, Vec::new())),
        Err(error) => parse_without_unknown_capabilities(bytes).ok_or(error),
    }
}

/// The typed form of a JSON value, by way of its text: the specification's types would otherwise have a second
/// parser each, for values, and the program be larger by fifty thousand bytes.
///
/// # Errors
/// What is wrong with it.
pub fn typed<T: DeserializeOwned>(value: &serde_json::Value) -> Result<T, serde_json::Error> {
    serde_json::from_slice(value.to_string().as_bytes())
}

fn parse_without_unknown_capabilities(bytes: &[u8]) -> Option<(Spec, Vec<String>)> {
    let mut config: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let sets = config
        .get_mut("process")?
        .get_mut("capabilities")?
        .as_object_mut()?;
    let mut notes = Vec::new();
    for set in sets.values_mut().filter_map(serde_json::Value::as_array_mut) {
        set.retain(|name| {
            let known = typed::<oci_spec::runtime::Capability>(name).is_ok();
            if !known {
                notes.push(format!("unknown capability {name} is left out"));
            }
            known
        });
    }
    // An error elsewhere is reported as it was found in the text, with its line.
    if notes.is_empty() {
        return None;
    }
    Some((typed(&config).ok()?, notes))
}

/// Any 1.x is accepted: minor versions only add.
fn is_supported(version: &str) -> bool {
    let mut parts = version.split(['.', '-', '+']);
    parts.next() == Some("1") && parts.next().is_some_and(|minor| minor.parse::<u32>().is_ok())
}

fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(|errno| file_error("open bundle", path, errno))
}

fn file_error(call: &'static str, path: &Path, errno: Errno) -> Error {
    Error::File {
        call,
        path: path.to_owned(),
        source: errno.into(),
    }
}

/// Reads to the end of a file, usually with one read and one that finds the end.
///
/// # Errors
/// As `read(2)`.
pub fn read_all(fd: BorrowedFd<'_>) -> rustix::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(32 * 1024);
    loop {
        match rustix::io::read(fd, rustix::buffer::spare_capacity(&mut bytes)) {
            Ok(0) => return Ok(bytes),
            Ok(_) => bytes.reserve(16 * 1024),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_1_x_is_supported() {
        for good in ["1.0.0", "1.3.0", "1.2.0-dev", "1.0.2-rc1", "1.9"] {
            assert!(is_supported(good), "{good}");
        }
        for bad in ["", "1", "2.0.0", "0.9.0", "x.1"] {
            assert!(!is_supported(bad), "{bad}");
        }
    }

    #[test]
    fn unknown_capabilities_are_left_out_and_nothing_else() {
        let config = |capability: &str, cwd: &str| {
            format!(
                r#"{{"ociVersion":"1.0.0","process":{{"user":{{"uid":0,"gid":0}},"cwd":{cwd},
                "capabilities":{{"bounding":["CAP_KILL",{capability}]}}}}}}"#
            )
        };
        let (_, notes) = parse(config(r#""CAP_NOT_YET""#, r#""/""#).as_bytes()).unwrap();
        assert_eq!(notes, [r#"unknown capability "CAP_NOT_YET" is left out"#]);
        assert!(parse(config(r#""CAP_NOT_YET""#, "7").as_bytes()).is_err());
    }
}
