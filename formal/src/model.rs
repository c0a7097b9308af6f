//! A spec on disk: a module, its configuration, and the directory with the modules that it may instantiate.

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

/// What is checked: all that the configuration lists, or one thing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Every invariant and property, and that no state is the last.
    Everything,
    /// One invariant or property alone.
    Only(String),
    /// Only that no state is the last.
    NoDeadlock,
}

/// A module and its configuration.
#[derive(Debug, Clone)]
pub struct Model {
    /// The module's name.
    pub name: String,
    /// Where it and all other modules are.
    pub directory: PathBuf,
    /// `INVARIANT` entries of the configuration.
    pub invariants: Vec<String>,
    /// `PROPERTY` entries.
    pub properties: Vec<String>,
    /// The configuration without those.
    rest: String,
}

/// Keywords of a configuration; each begins a section.
const SECTIONS: [&str; 12] = [
    "INVARIANT",
    "INVARIANTS",
    "PROPERTY",
    "PROPERTIES",
    "SPECIFICATION",
    "CONSTANT",
    "CONSTANTS",
    "INIT",
    "NEXT",
    "CONSTRAINT",
    "VIEW",
    "SYMMETRY",
];

/// The directory of this crate.
pub fn home() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The directory of the specs.
pub fn specs() -> PathBuf {
    home().join("specs")
}

/// The names of all models: the modules that have a configuration.
///
/// # Errors
/// The directory cannot be read, or holds none.
pub fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(specs()).context("list formal/specs")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cfg") {
            let stem = path.file_stem().context("a name")?;
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    ensure!(!names.is_empty(), "no specs in formal/specs");
    Ok(names)
}

impl Model {
    /// Reads the configuration of a model.
    ///
    /// # Errors
    /// A file is missing, or something in the configuration is not understood.
    pub fn open(directory: &Path, name: &str) -> Result<Self> {
        let path = directory.join(format!("{name}.cfg"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let module = directory.join(format!("{name}.tla"));
        ensure!(module.exists(), "{} is missing", module.display());
        let (mut invariants, mut properties, mut rest) = (Vec::new(), Vec::new(), String::new());
        let mut section = String::new();
        for line in text.lines() {
            let line = line.split("\\*").next().unwrap_or_default();
            let mut words = line.split_whitespace().peekable();
            if let Some(word) = words.peek().filter(|word| SECTIONS.contains(word)) {
                section = (*word).to_owned();
                if !section.starts_with("INVARIANT") && !section.starts_with("PROPERT") {
                    rest.push_str(line);
                    rest.push('\n');
                    continue;
                }
                words.next();
            }
            match section.as_str() {
                "INVARIANT" | "INVARIANTS" => invariants.extend(words.map(str::to_owned)),
                "PROPERTY" | "PROPERTIES" => properties.extend(words.map(str::to_owned)),
                "" if words.peek().is_some() => bail!("{}: unknown section {line:?}", path.display()),
                _ => {
                    rest.push_str(line);
                    rest.push('\n');
                }
            }
        }
        ensure!(!invariants.is_empty(), "{}: no invariant", path.display());
        Ok(Self {
            name: name.to_owned(),
            directory: directory.to_owned(),
            invariants,
            properties,
            rest,
        })
    }

    /// The module's file.
    pub fn module(&self) -> PathBuf {
        self.directory.join(format!("{}.tla", self.name))
    }

    /// The names of everything that is asked for.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.invariants.iter().chain(&self.properties).map(String::as_str)
    }

    /// A configuration that asks for this.
    ///
    /// # Errors
    /// There is no such invariant or property.
    pub fn configuration(&self, ask: &Ask) -> Result<String> {
        let mut text = self.rest.clone();
        let mut list = |keyword: &str, names: &[&String]| {
            for name in names {
                text.push_str(&format!("{keyword} {name}\n"));
            }
        };
        match ask {
            Ask::NoDeadlock => {}
            Ask::Everything => {
                list("INVARIANT", &self.invariants.iter().collect::<Vec<_>>());
                list("PROPERTY", &self.properties.iter().collect::<Vec<_>>());
            }
            Ask::Only(name) if self.invariants.contains(name) => list("INVARIANT", &[name]),
            Ask::Only(name) if self.properties.contains(name) => list("PROPERTY", &[name]),
            Ask::Only(name) => bail!("{} has no invariant or property {name}", self.name),
        }
        Ok(text)
    }
}
