//! `config.json`, as it is composed and as it is written.

use nucleus_policy::seccomp::Resolved;
use oci_spec::runtime::{Linux, Process, Spec};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A configuration. Its seccomp profile, which is most of it, is apart where it is there as it is written.
#[derive(Debug, Clone)]
pub struct Config {
    spec: Spec,
    profile: Option<&'static str>,
}

impl From<Spec> for Config {
    fn from(spec: Spec) -> Self {
        Self { spec, profile: None }
    }
}

impl Config {
    /// A specification and its profile; none where it keeps what it has.
    pub fn new(mut spec: Spec, profile: Option<Resolved>) -> Self {
        // Always there: what has no place could not be written.
        let linux = spec.linux_mut().get_or_insert_default();
        let profile = match profile {
            Some(Resolved::Text(text)) => Some(text),
            Some(Resolved::Typed(profile)) => {
                linux.set_seccomp(Some(profile));
                None
            }
            None => None,
        };
        Self { spec, profile }
    }

    /// It, but perhaps for its seccomp profile.
    pub fn but_profile(&self) -> &Spec {
        &self.spec
    }

    /// All of it.
    ///
    /// # Errors
    /// None that is known.
    pub fn whole(&self) -> Result<Cow<'_, Spec>, serde_json::Error> {
        let Some(text) = self.profile else {
            return Ok(Cow::Borrowed(&self.spec));
        };
        let mut spec = self.spec.clone();
        let profile = Resolved::Text(text).typed()?;
        spec.linux_mut()
            .get_or_insert_default()
            .set_seccomp(Some(profile));
        Ok(Cow::Owned(spec))
    }

    /// Adds an annotation.
    pub fn annotate(&mut self, key: &str, value: String) {
        let annotations = self.spec.annotations_mut().get_or_insert_default();
        annotations.insert(key.to_owned(), value);
    }

    /// Says where the root directory is, if not in the bundle.
    pub fn set_root(&mut self, path: PathBuf) {
        if let Some(root) = self.spec.root_mut() {
            root.set_path(path);
        }
    }

    /// As it is written: the same request gives the same bytes.
    ///
    /// # Errors
    /// None that is known.
    pub fn bytes(&mut self) -> Result<Vec<u8>, serde_json::Error> {
        let spec = &mut self.spec;
        let (mut process, linux) = (spec.process_mut().take(), spec.linux_mut().take());
        let annotations = spec.annotations_mut().take();
        let capabilities = process.as_mut().and_then(|process| {
            let had = process.capabilities().clone();
            process.set_capabilities(None);
            had
        });
        let mut sets = serde_json::to_value(&capabilities)?;
        sort(&mut sets);
        let written = Written {
            rest: spec,
            process: process.as_ref().map(|rest| WrittenProcess {
                rest,
                capabilities: sets,
            }),
            linux: linux
                .as_ref()
                .map(|rest| {
                    let seccomp = self.profile.map(serde_json::from_str).transpose()?;
                    Ok::<_, serde_json::Error>(WrittenLinux { rest, seccomp })
                })
                .transpose()?,
            annotations: annotations.as_ref().map(|all| all.iter().collect()),
        };
        let mut bytes = Vec::with_capacity(32 * 1024);
        let outcome = serde_json::to_writer(&mut bytes, &written);
        if let Some(process) = &mut process {
            process.set_capabilities(capabilities);
        }
        self.spec
            .set_process(process)
            .set_linux(linux)
            .set_annotations(annotations);
        outcome.map(|()| bytes)
    }
}

/// What oci-spec keeps in no order is apart, and in order.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    rest: &'a Spec,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<WrittenProcess<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    linux: Option<WrittenLinux<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<&'a String, &'a String>>,
}

#[derive(Serialize)]
struct WrittenProcess<'a> {
    #[serde(flatten)]
    rest: &'a Process,
    #[serde(skip_serializing_if = "Value::is_null")]
    capabilities: Value,
}

#[derive(Serialize)]
struct WrittenLinux<'a> {
    #[serde(flatten)]
    rest: &'a Linux,
    #[serde(skip_serializing_if = "Option::is_none")]
    seccomp: Option<&'a RawValue>,
}

/// The configuration, with the sets of capabilities in order.
///
/// # Errors
/// None that is known.
pub fn json(spec: &Spec) -> Result<Value, serde_json::Error> {
    let mut config = serde_json::to_value(spec)?;
    sort(&mut config["process"]["capabilities"]);
    Ok(config)
}

/// Sets of capabilities, which oci-spec keeps unordered.
fn sort(sets: &mut Value) {
    let sets = sets.as_object_mut();
    let names = sets
        .into_iter()
        .flat_map(serde_json::Map::values_mut)
        .filter_map(Value::as_array_mut);
    for names in names {
        names.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
}
