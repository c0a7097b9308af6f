//! What podman and docker have in common: nearly the same words for the same effects. The cases here run
//! under both; what only one of them does is in its own module.

mod exec;
mod isolation;
mod lifecycle;
mod limits;
mod run;
mod storage;

use anyhow::{Context, Result};

use super::Case;
use super::command::{self, Output, split};
use super::world::World;

/// podman or docker, with the flags that point it at the sandbox.
#[derive(Debug)]
pub(crate) struct Engine {
    /// Where it runs.
    pub(crate) world: World,
    /// The program and its global flags.
    pub(crate) program: Vec<String>,
    /// What to run containers of: an image, or podman's `--rootfs DIR`.
    pub(crate) target: Vec<String>,
    /// `--privileged` asks for every capability that the client knows of, held by the host or not.
    pub(crate) privileged_wants_all: bool,
    /// `inspect` says whether memory ran out (conmon watches for that on version 2 only).
    pub(crate) tells_out_of_memory: bool,
    /// What ends and removes a container at once.
    pub(crate) remove: &'static str,
    /// Health checks run only when the client is told to run one (without systemd, podman has no timer).
    pub(crate) checks_health_on_demand: bool,
}

impl Engine {
    /// Runs a command of the client, split at white space.
    pub(crate) fn client(&self, words: &str) -> Result<Output> {
        self.with_input(&split(words), None)
    }

    /// Runs a command of the client with `input` on standard input.
    pub(crate) fn with_input(&self, words: &[String], input: Option<&str>) -> Result<Output> {
        let line: Vec<String> = self.program.iter().chain(words).cloned().collect();
        command::run(&self.world.dir, &line, input)
    }

    /// The words of `run` or `create`, for a container without network unless the flags name one.
    pub(crate) fn words(&self, verb: &str, flags: &str, program: &[&str]) -> Vec<String> {
        let network = if flags.contains("--network") {
            ""
        } else {
            "--network none"
        };
        let mut words = split(&format!("{verb} {network} {flags}"));
        words.extend(self.target.iter().cloned());
        words.extend(program.iter().map(|word| (*word).to_owned()));
        words
    }

    /// Runs a shell script in a container in the foreground, and removes the container.
    pub(crate) fn run(&self, flags: &str, script: &str) -> Result<Output> {
        self.run_program(flags, &["sh", "-c", script])
    }

    /// Runs a program in a container in the foreground, and removes the container.
    pub(crate) fn run_program(&self, flags: &str, program: &[&str]) -> Result<Output> {
        self.with_input(&self.words("run --rm", flags, program), None)
    }

    /// The same with `input` on standard input.
    pub(crate) fn run_with_input(&self, flags: &str, script: &str, input: &str) -> Result<Output> {
        self.with_input(&self.words("run --rm", flags, &["sh", "-c", script]), Some(input))
    }

    /// Runs a shell script in a detached container and returns the process id of its init.
    pub(crate) fn start(&self, name: &str, flags: &str, script: &str) -> Result<u32> {
        let verb = format!("run --detach --name {name}");
        self.with_input(&self.words(&verb, flags, &["sh", "-c", script]), None)?
            .ok()?;
        self.pid(name)
    }

    /// A detached container that does nothing for longer than any suite lasts.
    pub(crate) fn idle(&self, name: &str, flags: &str) -> Result<u32> {
        self.start(name, flags, "exec sleep 600")
    }

    /// Runs a shell script in a running container.
    pub(crate) fn exec(&self, flags: &str, name: &str, script: &str) -> Result<Output> {
        self.exec_program(flags, name, &["sh", "-c", script], None)
    }

    /// Runs a program in a running container.
    pub(crate) fn exec_program(
        &self,
        flags: &str,
        name: &str,
        program: &[&str],
        input: Option<&str>,
    ) -> Result<Output> {
        let mut words = split(&format!("exec {flags} {name}"));
        words.extend(program.iter().map(|word| (*word).to_owned()));
        self.with_input(&words, input)
    }

    /// Ends and removes a container.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        self.client(&format!("{} {name}", self.remove))?.ok()?;
        Ok(())
    }

    /// Removes every container, as far as the runtime lets.
    pub(crate) fn remove_all(&self) {
        let ids = self
            .client("ps --all --quiet")
            .map(|output| output.text().replace('\n', " "));
        for verb in ["unpause", "kill", self.remove] {
            // Most are not paused, and some do not run: what counts is that they go.
            let _ = ids.as_ref().map(|ids| self.client(&format!("{verb} {ids}")));
        }
    }

    /// A field of `inspect`, as a Go template names it.
    pub(crate) fn field(&self, name: &str, field: &str) -> Result<String> {
        Ok(self
            .client(&format!("inspect --format {{{{{field}}}}} {name}"))?
            .ok()?
            .text())
    }

    /// The process id of the container's init, as this sandbox sees it.
    pub(crate) fn pid(&self, name: &str) -> Result<u32> {
        let pid = self.field(name, ".State.Pid")?;
        pid.parse()
            .with_context(|| format!("the process id {pid:?} of {name}"))
    }

    /// The container's status word.
    pub(crate) fn status(&self, name: &str) -> Result<String> {
        self.field(name, ".State.Status")
    }

    /// Runs the client with these words on a terminal of 33 rows and 77 columns. No word may hold a quote.
    pub(crate) fn on_terminal(&self, words: &[String]) -> Result<Output> {
        let quoted: Vec<String> = self
            .program
            .iter()
            .chain(words)
            .map(|word| format!("'{word}'"))
            .collect();
        command::on_terminal(&self.world.dir, &quoted.join(" "))
    }
}

/// The cases for both.
pub(crate) fn cases() -> Vec<Case<Engine>> {
    let mut cases = Vec::new();
    cases.extend(run::cases());
    cases.extend(isolation::cases());
    cases.extend(storage::cases());
    cases.extend(limits::cases());
    cases.extend(exec::cases());
    cases.extend(lifecycle::cases());
    cases
}

/// Prints the size of the terminal on standard input, once the client has told it: clients do so only after
/// the start.
pub(crate) const TERMINAL_SIZE: &str = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do s=$(stty size 2>/dev/null); \
     [ \"$s\" = \"33 77\" ] && break; sleep 0.1; done; echo size $s";
