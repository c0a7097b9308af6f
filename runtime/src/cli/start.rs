//! `start`.

use super::{Global, Outcome, Run};
use crate::bundle::Pin;
use crate::start;
use clap::Args;

/// Run the program of a created container.
#[derive(Debug, Args)]
pub struct Start {
    /// Needed where the container has the annotation dev.nucleus.promises: the same SHA-256. Whoever gives it has traced
    /// the waiting process, and looks at it before its first instruction
    #[arg(long, value_name = "DIGEST")]
    promises_sha256: Option<Pin>,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Run for Start {
    const NAME: &'static str = "start";
    const ABOUT: &'static str = "Run the program of a created container";

    fn run(self, global: &Global) -> Outcome {
        start::start(&global.root(), &self.id, self.promises_sha256.as_ref())?;
        Ok(0)
    }
}
