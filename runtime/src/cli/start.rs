//! `start`.

use super::{Global, Outcome, Run};
use crate::start;
use clap::Args;

/// Run the program of a created container.
#[derive(Debug, Args)]
pub struct Start {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Run for Start {
    const NAME: &'static str = "start";
    const ABOUT: &'static str = "Run the program of a created container";

    fn run(self, global: &Global) -> Outcome {
        start::start(&global.root(), &self.id)?;
        Ok(0)
    }
}
