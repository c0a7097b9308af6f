//! What a suite is: a name, the views that it is worth running in, and its cases.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::host::View;
use crate::{diff, oci, own, schema};

/// How one case ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Outcome {
    /// Every expectation held.
    Passed,
    /// An expectation did not hold: which, and what was seen instead.
    Failed(String),
    /// The host or the view lacks what the case needs: what that is.
    Skipped(String),
}

/// What a case is told about its run.
pub(crate) struct Target<'a> {
    /// The runtime under test, an absolute path.
    pub(crate) runtime: &'a Path,
    /// The view of the cgroups.
    pub(crate) view: View,
}

/// The function of a case: runs it on the host's side, that is, makes the sandbox itself.
type Body = Box<dyn Fn(&Target<'_>) -> Outcome + Send + Sync>;

/// One case of a suite.
pub(crate) struct Case {
    /// Unique in its suite.
    pub(crate) name: String,
    /// Runs the case.
    pub(crate) run: Body,
}

/// The suites there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// The OCI's own validation programs.
    Oci,
    /// Documents read and printed, against the JSON schemas of runtime-spec.
    Schema,
    /// Our own cases, for what no other suite covers.
    Own,
    /// Random configs, beside a reference runtime.
    Diff,
}

impl Kind {
    /// All suites, in the order in which they run.
    pub(crate) const ALL: [Kind; 4] = [Kind::Schema, Kind::Own, Kind::Diff, Kind::Oci];

    /// The name on the command line and in `known.toml`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Oci => "oci",
            Kind::Schema => "schema",
            Kind::Own => "own",
            Kind::Diff => "diff",
        }
    }

    /// The views that this suite runs in unless the command line says otherwise.
    pub(crate) fn views(self) -> &'static [View] {
        match self {
            // The programs read cgroups v1; documents do not depend on the view.
            Kind::Oci | Kind::Schema => &[View::V1],
            Kind::Own | Kind::Diff => &[View::V1, View::V2],
        }
    }

    /// The cases of this suite, after fetching or building what they need.
    ///
    /// # Errors
    /// What could not be fetched or built; the suite then counts as skipped.
    pub(crate) fn cases(self, cache: &Path) -> Result<Vec<Case>> {
        match self {
            Kind::Oci => oci::cases(cache),
            Kind::Schema => schema::cases(cache),
            Kind::Own => own::cases(),
            Kind::Diff => diff::cases(),
        }
    }
}

/// One case's outcome for one runtime in one view.
pub(crate) struct Record {
    /// The suite of the case.
    pub(crate) suite: &'static str,
    /// Where it ran: the view of the cgroups, or the bed.
    pub(crate) place: String,
    /// The runtime it ran against.
    pub(crate) runtime: PathBuf,
    /// The case's name.
    pub(crate) case: String,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// How long it took, in seconds; shown under `--verbose`, never compared.
    pub(crate) seconds: f64,
}
