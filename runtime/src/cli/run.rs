//! `run`.

use super::create::Common;
use super::{Global, Outcome, Run as Command};
use crate::create::{self, Created};
use crate::hooks;
use crate::run as road;
use clap::Args;

/// Create a container, run its program and wait for it.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    common: Common,
    /// Return when the program has started; under NOTIFY_SOCKET, when it is ready
    #[arg(long, short)]
    detach: bool,
    /// Keep the container's state after it has ended
    #[arg(long)]
    keep: bool,
}

impl Command for Run {
    const NAME: &'static str = "run";
    const ABOUT: &'static str = "Create a container, run its program and wait for its end";
    const AFTER: &'static str = "\
It returns the program's exit code, or 128 and the number of the signal that ended it.

Examples:
  nucleus-runtime run --bundle box one
  nucleus-runtime run --detach --pid-file pid --bundle box two";
    const ENTERS: bool = true;

    fn run(self, global: &Global) -> Outcome {
        let created: Created = create::create(&self.common.options(global, self.detach), false)?;
        for note in &created.notes {
            crate::log::warning(note);
        }
        let poststart = created.plan.hooks.poststart.clone();
        let running = road::start(created, self.detach)?;
        for failure in hooks::run_each(&poststart, &running.state_json("running")) {
            crate::log::warning(&format!("poststart: {failure}"));
        }
        if self.detach {
            running.detach()?;
            return Ok(0);
        }
        Ok(running.wait(self.keep)?)
    }
}
