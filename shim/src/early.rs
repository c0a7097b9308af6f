//! The runtime, started before it is decided, or even known, what for: its own start-up and its look at the host then
//! take place while the command line is parsed and the request decided (measured: `benches/steps.md`).
//!
//! What is started reads its configuration from a pipe and makes nothing before it has that. A guess that turns out to
//! be wrong costs its start, and nothing else: what it was started as is held against what the request asks for.

use crate::begin::is_held;
use crate::facts::{Program, Runtime};
use crate::launch;
use crate::mode::Rules;
use crate::native::{name_bundle, name_console};
use crate::parse;
use crate::protected::Protected;
use crate::request::{Mode, Network, Request};
use crate::run::Call;
use crate::store::Store;
use crate::supervise::Waiting;
use clap::ValueEnum;
use std::ffi::OsString;
use std::path::PathBuf;

/// Options that change how the runtime is started, and are not read here. One that is forgotten makes a guess wrong, and
/// no more.
const TELLING: [&str; 8] = [
    "config",
    "config-fd",
    "console-socket",
    "detach",
    "help",
    "rootfs-manifest-sha256",
    "runtime",
    "version",
];

/// What a runtime is started as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    program: PathBuf,
    store: Store,
    name: String,
    console: Option<PathBuf>,
    held: bool,
}

impl Start {
    /// What a request asks for, if that is known before it is decided: nothing that is decided changes it.
    pub fn of(program: &Program, request: &Request, call: &Call) -> Option<Self> {
        let name = request.name.as_deref().filter(|name| parse::name(name).is_ok())?;
        let rules = Rules::of(request.mode.unwrap_or_default());
        let is_attested = rules.attested_rootfs || request.rootfs_manifest_sha256.is_some();
        // Who starts it from elsewhere: a leaf of a delegated control group, or the namespaces of a user's network.
        let is_led = !rustix::process::geteuid().is_root()
            && (request.needs_cgroup() || request.network() == Network::Bridge);
        if program.kind != Runtime::Native || call.detach || is_attested || is_led {
            return None;
        }
        Some(Self {
            program: program.path.clone(),
            store: Store::expected(call.root.as_deref())?,
            name: name.to_owned(),
            console: request.console_socket.clone(),
            held: is_held(&rules, call),
        })
    }

    /// Starts it. Where that fails, it is told when the runtime is needed.
    pub fn start(self) -> Option<Early> {
        let mut runtime = Protected::new(&self.program);
        name_bundle(&mut runtime, &self.store, &self.name, "run");
        name_console(&mut runtime, self.console.as_deref());
        let waiting = Waiting::start(runtime, &self.name, self.held, true).ok()?;
        Some(Early { start: self, waiting })
    }
}

/// A runtime that waits for its configuration.
#[derive(Debug)]
pub struct Early {
    start: Start,
    waiting: Waiting,
}

impl Early {
    /// Starts what a command line seems to ask for, if that is `run`: `args` are the words behind the program's name.
    pub fn guess(args: impl Iterator<Item = OsString>) -> Option<Self> {
        let (mut request, call) = glance(args)?;
        request.name.get_or_insert_with(launch::made_up_name);
        let program = Program::of(&request).ok()?;
        Start::of(&program, &request, &call)?.start()
    }

    /// The name that it was given.
    pub fn name(&self) -> &str {
        &self.start.name
    }

    /// The runtime, if it was started as this; otherwise it is ended.
    pub fn started_as(self, start: &Start) -> Option<Waiting> {
        (self.start == *start).then_some(self.waiting)
    }
}

/// The runtime for a request: the one that was guessed, or one that is started now; none where it is started when all
/// is decided.
pub fn start(guess: Option<Early>, program: &Program, request: &Request, call: &Call) -> Option<Waiting> {
    let start = Start::of(program, request, call)?;
    let guessed = guess.and_then(|early| early.started_as(&start));
    guessed.or_else(|| start.start().map(|early| early.waiting))
}

/// What a command line says of the runtime's start, as far as that is seen at a glance.
fn glance(args: impl Iterator<Item = OsString>) -> Option<(Request, Call)> {
    let (mut request, mut call) = (Request::default(), Call::default());
    let mut is_run = false;
    let mut words = args.take_while(|word| word != "--");
    while let Some(word) = words.next() {
        let word = word.to_str()?;
        let Some(option) = word.strip_prefix("--") else {
            match word {
                "run" if !is_run => is_run = true,
                "-q" => {}
                // Short ones may be many in one word.
                _ if is_run && !word.starts_with('-') => {}
                _ => return None,
            }
            continue;
        };
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option, None),
        };
        if TELLING.contains(&name) {
            return None;
        }
        if !["name", "mode", "root", "report", "events"].contains(&name) {
            continue;
        }
        let value = value.or_else(|| words.next()?.into_string().ok())?;
        match name {
            "name" => request.name = Some(value),
            "mode" => request.mode = Some(Mode::from_str(&value, false).ok()?),
            "root" => call.root = Some(value.into()),
            "report" => call.report = Some(value.into()),
            _ => call.events = Some(value),
        }
    }
    is_run.then_some((request, call))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    fn words(line: &str) -> impl Iterator<Item = OsString> {
        line.split(' ').map(OsString::from)
    }

    /// What the whole parser makes of it; the program is not what is asked about.
    fn parsed(line: &str) -> (Request, Call) {
        let line = format!("nucleus {line}");
        Cli::run_of(words(&line)).expect(&line)
    }

    fn start((request, call): &(Request, Call)) -> Option<Start> {
        let program = Program {
            path: "/runtime".into(),
            kind: Runtime::Native,
            options: Vec::new(),
            network: None,
            usual: true,
        };
        let mut request = request.clone();
        request.name.get_or_insert_with(|| "made-up".into());
        Start::of(&program, &request, call)
    }

    #[test]
    fn a_glance_sees_what_the_parser_sees() {
        for line in [
            "run true",
            "run -- true --name other -d",
            "run --memory 64M --workspace . -q -- true",
            "run --name one -- true",
            "run --name=one --quiet -- true",
            "run --mode strict-agent -- true",
            "run --mode agent --report there -- true",
            "run --events 3 -- true",
            "--root /tmp run -- true",
            "--quiet --root=/tmp run --env A=--name -- true",
            "run --root /tmp -- true",
        ] {
            let glanced = glance(words(line)).expect(line);
            assert_eq!(start(&glanced), start(&parsed(line)), "{line}");
            assert!(start(&glanced).is_some(), "{line}");
        }
    }

    #[test]
    fn where_a_glance_does_not_do_nothing_is_started() {
        for line in [
            "",
            "ps",
            "create -- true",
            "--version",
            "run --help",
            "run -h",
            "run -d -- true",
            "run -qd -- true",
            "run --detach -- true",
            "run --runtime gvisor -- true",
            "run --config file -- true",
            "run -c file -- true",
            "run --mode none -- true",
            "run --name",
        ] {
            assert!(glance(words(line)).is_none(), "{line}");
        }
    }

    #[test]
    fn what_is_looked_for_are_options() {
        let mut command = Cli::command();
        command.build();
        let run = command.find_subcommand("run").expect("run");
        let names: Vec<&str> = run.get_arguments().filter_map(clap::Arg::get_long).collect();
        for name in TELLING.iter().filter(|name| **name != "version") {
            assert!(names.contains(name), "{name}");
        }
    }
}
