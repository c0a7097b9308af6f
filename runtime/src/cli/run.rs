//! `run`.

use super::create::Common;
use super::{Global, Outcome, Run as Command};
use crate::create::{self, Created};
use crate::fault::chain;
use crate::handshake::Handshake;
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
    /// Write {"pid":N} and a newline to descriptor FD when the container is created, with what is enforced of
    /// Landlock rules as "landlock", and how it ended at the end:
    /// {"exit-code" or "signal":N,"oom-kills":N,"pids-refused":N}
    #[arg(long, value_name = "FD")]
    info_fd: Option<i32>,
    /// Start the program only after a byte was read from descriptor FD; its end without one gives up
    #[arg(long, value_name = "FD")]
    block_fd: Option<i32>,
    /// Kill and remove the container when descriptor FD reaches its end: the caller is gone
    #[arg(long, value_name = "FD", conflicts_with = "detach")]
    alive_fd: Option<i32>,
}

impl Command for Run {
    const NAME: &'static str = "run";
    const ABOUT: &'static str = "Create a container, run its program and wait for its end";
    const AFTER: &'static str = "\
It returns the program's exit code, or 128 and the number of the signal that ended it.

Examples:
  nucleus-runtime run --bundle box one
  nucleus-runtime run --detach --pid-file pid --bundle box two

With --info-fd and --block-fd a caller looks at the container after all of its set-up and before its first \
instruction; process N is not yet the program, and becomes it after the byte:
  nucleus-runtime run --info-fd 3 --block-fd 4 --bundle box three 3>info 4<go";
    const ENTERS: bool = true;

    fn run(self, global: &Global) -> Outcome {
        let mut options = self.common.options(global, self.detach)?;
        options.traced = self.block_fd.is_some();
        // Before the container is made: the numbers are the caller's, and must not become ours.
        let handshake = Handshake::take(self.info_fd, self.block_fd, self.alive_fd, options.preserved)?;
        let created: Created = match create::create(options, false) {
            // To a caller that asks how it ended, as from a shell; runc's own is 1.
            Err(create::Error::Program { words, code }) if self.info_fd.is_some() => {
                crate::log::fatal(&words);
                return Ok(code);
            }
            created => created?,
        };
        for note in &created.notes {
            crate::log::warning(note);
        }
        let caller = match handshake.wait(&created) {
            Ok(caller) => caller,
            Err(error) => {
                create::abandon(created);
                return Err(error.into());
            }
        };
        let poststart = created.plan.hooks.poststart.clone();
        let running = road::start(created, self.detach)?;
        for failure in hooks::run_each(&poststart, &running.state_json("running")) {
            crate::log::warning(&format!("poststart: {}", chain(&failure)));
        }
        if self.detach {
            running.detach()?;
            return Ok(0);
        }
        Ok(running.wait(self.keep, caller)?)
    }
}
