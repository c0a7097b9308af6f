//! `pause`.

use super::{Global, Outcome, Run};
use crate::container::Container;
use crate::lifecycle::Operation;
use clap::Args;

/// Stop all processes of a container until resume.
#[derive(Debug, Args)]
pub struct Pause {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Run for Pause {
    const NAME: &'static str = "pause";
    const ABOUT: &'static str = "Stop all processes of a container until resume";

    fn run(self, global: &Global) -> Outcome {
        let container = Container::open_locked(&global.root(), &self.id)?;
        container.decide(Operation::Pause)?;
        container.cgroups()?.freeze()?;
        Ok(0)
    }
}
