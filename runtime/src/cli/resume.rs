//! `resume`.

use super::{Global, Outcome, Run};
use crate::container::Container;
use crate::lifecycle::Operation;
use clap::Args;

/// Let the processes of a paused container run again.
#[derive(Debug, Args)]
pub struct Resume {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Run for Resume {
    const NAME: &'static str = "resume";
    const ABOUT: &'static str = "Let the processes of a paused container run again";

    fn run(self, global: &Global) -> Outcome {
        let container = Container::open_locked(&global.root(), &self.id)?;
        container.decide(Operation::Resume)?;
        container.cgroups()?.thaw()?;
        Ok(0)
    }
}
