//! Lock files: one small TOML file that names the three policies and pins each, so that one review, and
//! one pin, covers the set.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::builtin;
use crate::digest::Digest;
use crate::fault::{self, Document, Errors, Found, Problem, Problems};
use crate::request::{Choice, Kind, Origin, Request};
use crate::source;
use crate::toml_text::quoted;
use crate::verified::VerifiedPolicy;

/// The policies that a lock file names, each with its pin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// The seccomp profile.
    pub seccomp: Option<Choice>,
    /// The capability policy.
    pub capabilities: Option<Choice>,
    /// The Landlock policy.
    pub landlock: Option<Choice>,
}

/// Why a lock cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A lock without a pin is none.
    #[error("the {0} policy has no pin")]
    NoPin(Kind),
    /// A path that is not UTF-8.
    #[error("{0:?} is not UTF-8")]
    Path(PathBuf),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    seccomp: Option<Spanned<Entry>>,
    capabilities: Option<Spanned<Entry>>,
    landlock: Option<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    path: Option<Spanned<String>>,
    built_in: Option<Spanned<String>>,
    sha256: Option<Spanned<String>>,
}

impl Lock {
    /// Reads a lock file once, and checks its own pin where one is given. The policies that it names are
    /// not read; paths in it are relative to its directory.
    ///
    /// # Errors
    /// Everything that is wrong with it: unreadable, a wrong pin, unknown fields, a policy without a pin.
    pub fn load(path: &Path, pin: Option<Digest>) -> Result<Self, Errors> {
        let directory = path.parent().unwrap_or(Path::new(""));
        let read = source::read_file(path, pin, false).map_err(|problem| vec![(None, problem)]);
        let lock = read.and_then(|verified| Self::parse(&verified.text, directory));
        lock.map_err(|found| {
            Errors::of(fault::in_file(
                found,
                Document::Lock,
                &Origin::File(path.to_owned()),
            ))
        })
    }

    pub(crate) fn parse(text: &str, directory: &Path) -> Result<Self, Found> {
        let mut problems = Problems::of(text);
        let lock = problems.toml::<Text>().map(|text| {
            let mut choice = |kind, entry: Option<Spanned<Entry>>| {
                entry.and_then(|entry| choice(kind, &entry, directory, &mut problems))
            };
            Self {
                seccomp: choice(Kind::Seccomp, text.seccomp),
                capabilities: choice(Kind::Capabilities, text.capabilities),
                landlock: choice(Kind::Landlock, text.landlock),
            }
        });
        problems.or(lock)
    }

    /// A lock of policies as they were loaded: from the same places, pinned to the bytes that were read.
    #[must_use]
    pub fn of(policy: &VerifiedPolicy) -> Self {
        let mut lock = Self::default();
        for (kind, origin, digest) in policy.digests() {
            *lock.choice_mut(kind) = Some(Choice {
                origin: origin.clone(),
                pin: Some(digest),
            });
        }
        lock
    }

    /// The text of a lock file that will lie in `directory`. A file below it is named relative to it, any
    /// other by its absolute path (relative paths are those of the current directory).
    ///
    /// # Errors
    /// A choice without a pin, which [`Lock::load`] would refuse, and a path that TOML cannot hold.
    pub fn render(&self, directory: &Path) -> Result<String, RenderError> {
        let mut sections = Vec::new();
        for kind in Kind::ALL {
            let Some(Choice { origin, pin }) = self.choice(kind) else {
                continue;
            };
            let pin = pin.ok_or(RenderError::NoPin(kind))?;
            let (key, place) = match origin {
                Origin::BuiltIn(name) => ("built-in", (*name).to_owned()),
                Origin::File(path) => {
                    let text = relative(path, directory).into_os_string().into_string();
                    ("path", text.map_err(|path| RenderError::Path(path.into()))?)
                }
            };
            sections.push(format!(
                "[{kind}]\n{key} = {}\nsha256 = \"{pin}\"\n",
                quoted(&place)
            ));
        }
        Ok(sections.join("\n"))
    }

    /// Makes the lock's choices those of `request`, wherever the request has none of its own.
    pub fn fill(&self, request: &mut Request) {
        for (place, choice) in [
            (&mut request.seccomp, &self.seccomp),
            (&mut request.capabilities, &self.capabilities),
            (&mut request.landlock, &self.landlock),
        ] {
            if place.is_none() {
                place.clone_from(choice);
            }
        }
    }

    /// The choice for `kind`.
    #[must_use]
    pub fn choice(&self, kind: Kind) -> Option<&Choice> {
        match kind {
            Kind::Seccomp => self.seccomp.as_ref(),
            Kind::Capabilities => self.capabilities.as_ref(),
            Kind::Landlock => self.landlock.as_ref(),
        }
    }

    fn choice_mut(&mut self, kind: Kind) -> &mut Option<Choice> {
        match kind {
            Kind::Seccomp => &mut self.seccomp,
            Kind::Capabilities => &mut self.capabilities,
            Kind::Landlock => &mut self.landlock,
        }
    }
}

fn choice(
    kind: Kind,
    entry: &Spanned<Entry>,
    directory: &Path,
    problems: &mut Problems<'_>,
) -> Option<Choice> {
    let start = entry.span().start;
    let Entry {
        path,
        built_in,
        sha256,
    } = entry.get_ref();
    let pin = match sha256 {
        Some(text) => {
            let pin = text.get_ref().parse::<Digest>();
            pin.map_err(|error| problems.at(text.span().start, Problem::Syntax(error.to_string())))
                .ok()
        }
        None => {
            problems.at(start, Problem::Missing("`sha256`"));
            None
        }
    };
    let origin = match (path, built_in) {
        (Some(path), None) => Some(Origin::File(directory.join(path.get_ref()))),
        (None, Some(name)) => {
            let known = builtin::names(kind).find(|known| known == name.get_ref());
            if known.is_none() {
                problems.at(
                    name.span().start,
                    Problem::unknown("built-in policy", name.get_ref()),
                );
            }
            known.map(Origin::BuiltIn)
        }
        _ => {
            problems.at(start, Problem::Missing("one of `path` and `built-in`"));
            None
        }
    };
    pin.zip(origin).map(|(pin, origin)| Choice {
        origin,
        pin: Some(pin),
    })
}

fn relative(path: &Path, directory: &Path) -> PathBuf {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // The directory of "policy.lock" is "".
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let path = absolute(path);
    path.strip_prefix(absolute(directory))
        .map(Path::to_owned)
        .unwrap_or(path)
}
