//! `delete`.

use super::{Global, Outcome, Run};
use crate::container::Container;
use crate::fault::chain;
use crate::lifecycle::Operation;
use crate::{hooks, start, state};
use clap::Args;

/// Remove a container that has ended.
#[derive(Debug, Args)]
pub struct Delete {
    /// End the container first; no error if it does not exist
    #[arg(long, short)]
    force: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Run for Delete {
    const NAME: &'static str = "delete";
    const ABOUT: &'static str = "Remove a container";

    fn run(self, global: &Global) -> Outcome {
        let open = if self.force {
            Container::open_locked_damaged
        } else {
            Container::open_locked
        };
        let container = match open(&global.root(), &self.id) {
            Err(crate::container::Error::State(state::Error::Missing { .. })) if self.force => return Ok(0),
            result => result?,
        };
        let acts = container.decide(if self.force {
            Operation::ForceDelete
        } else {
            Operation::Delete
        })?;
        // A broken record must not keep a container from being removed.
        let hooks = start::recorded_hooks(&container.directory);
        let state = container
            .hook_state()
            .map(|state| state.json("stopped", None))
            .unwrap_or_default();
        container.take_down(acts)?;
        match hooks {
            Ok(hooks) => {
                for failure in hooks::run_each(&hooks.poststop, &state) {
                    crate::log::warning(&format!("poststop: {}", chain(&failure)));
                }
            }
            Err(error) => crate::log::warning(&format!("poststop: {}", chain(&error))),
        }
        Ok(0)
    }
}
