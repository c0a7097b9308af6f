//! What a comparison of code with a spec comes to.
//!
//! The comparisons are in `formal/bindings`, a file for each file of decisions, and are compiled against the shipped
//! code and against each mutant of it; see `build.rs`.

use std::fmt;

/// The code and the spec differ. Nothing else counts: what goes wrong in the comparison itself panics.
#[derive(Debug)]
pub struct Disagreement(pub String);

/// Whether they agree.
pub type Agrees = Result<(), Disagreement>;

/// A comparison by its name.
pub type Property = (&'static str, fn() -> Agrees);

/// A file of decisions.
#[derive(Debug)]
pub struct Bound {
    /// Its name in `formal/bindings` and `formal/mutants/code`.
    pub name: &'static str,
    /// The file.
    pub file: &'static str,
    /// The comparisons.
    pub properties: &'static [Property],
    /// Its mutants.
    pub mutants: &'static [CodeMutant],
}

/// A file of decisions in which one thing is wrong.
#[derive(Debug)]
pub struct CodeMutant {
    /// The name.
    pub name: &'static str,
    /// What is wrong.
    pub what: &'static str,
    /// The name of the comparison that notices.
    pub killed_by: &'static str,
    /// The comparisons of this mutant.
    pub properties: &'static [Property],
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Compares what the code says with what the spec says.
///
/// # Errors
/// They differ.
pub fn same<T: PartialEq + fmt::Debug>(code: &T, spec: &T, place: impl FnOnce() -> String) -> Agrees {
    if code == spec {
        return Ok(());
    }
    Err(Disagreement(format!(
        "the code says {code:?}, the spec {spec:?}: {}",
        place()
    )))
}

/// Asks for something that both must have in common.
///
/// # Errors
/// It is not so.
pub fn holds(what: bool, place: impl FnOnce() -> String) -> Agrees {
    if what {
        return Ok(());
    }
    Err(Disagreement(place()))
}
