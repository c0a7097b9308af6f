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
use crate::request::{Network, Request};
use crate::run::Call;
use crate::store::Store;
use crate::supervise::Waiting;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Options of `run` that change how the runtime is started. One that is forgotten here makes a guess wrong, and no more.
const TELLING: [&str; 13] = [
    "config",
    "config-fd",
    "console-socket",
    "detach",
    "events",
    "help",
    "mode",
    "name",
    "report",
    "root",
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
    /// Starts what most command lines ask for, if this may be one of them: `args` are those behind the program's name.
    pub fn guess(args: impl Iterator<Item = OsString>) -> Option<Self> {
        if !is_usual(args) {
            return None;
        }
        let request = Request {
            name: Some(launch::made_up_name()),
            ..Request::default()
        };
        let program = Program::of(&request).ok()?;
        Start::of(&program, &request, &Call::default())?.start()
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

/// Whether these words are `run`, options that change nothing about the runtime's start, and a command behind `--`.
fn is_usual(mut args: impl Iterator<Item = OsString>) -> bool {
    args.next().is_some_and(|word| word == "run")
        && args
            .take_while(|word| word != "--")
            .all(|word| !is_telling(&word))
}

fn is_telling(word: &OsStr) -> bool {
    let word = word.as_encoded_bytes();
    match word.strip_prefix(b"--") {
        Some(option) => {
            let name = option.split(|&byte| byte == b'=').next().unwrap_or_default();
            TELLING.iter().any(|telling| telling.as_bytes() == name)
        }
        // Short ones may be many in one word.
        None => word.len() > 1 && word[0] == b'-' && word != b"-q",
    }
}
