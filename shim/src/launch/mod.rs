//! A request with every word parsed, every path looked up and every default filled in.

mod ids;
mod paths;
mod process;

pub use ids::Ids;
pub use process::user_name;

use crate::block_io;
use crate::delegation::{self, Cgroups, Place};
use crate::egress::Bridge;
use crate::facts::{Facts, Runtime};
use crate::mode::{Decision, Violation};
use crate::parse;
use crate::reach::Space;
use crate::request::Request;
use crate::swap::Swap;
use nucleus_policy::Digest;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ids::{IDS, ids};
pub(crate) use ids::{RANGES, hash, range};
pub(crate) use paths::keep_owners_where_that_fails;
use paths::{map_no_ids_where_that_fails, paths, root};
use process::{environment, working_directory};

/// How many processes and threads a workload has that asks for no limit: more than builds and servers need, and too few
/// to keep others from starting any.
const PROCESSES: i64 = 2048;

/// Where the workspace is inside.
pub const WORKSPACE: &str = "/workspace";
/// Where the context is inside.
pub const CONTEXT: &str = "/context";

/// A host path in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// Inside.
    pub destination: String,
    /// Whether the workload may change it.
    pub writable: bool,
    /// Whether programs in it may be executed.
    pub executable: bool,
    /// Owner on the host, for writable ones: the workload's files are to be theirs.
    pub owner: (u32, u32),
    /// Whether it is a directory.
    pub directory: bool,
    /// Whether the owner's files are the workload's own inside.
    pub owned: bool,
}

/// Where the root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// The host's system directories.
    Host(Vec<PathBuf>),
    /// This directory, read-only.
    Directory(PathBuf),
}

/// What is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Its name.
    pub name: String,
    /// What the mode made of the request.
    pub decision: Decision,
    /// The mode's word.
    pub mode: &'static str,
    /// Command and arguments.
    pub command: Vec<String>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// Working directory.
    pub workdir: String,
    /// Host name.
    pub hostname: String,
    /// User, group and namespace ids.
    pub ids: Ids,
    /// Further groups, as they were asked for.
    pub additional_groups: Vec<u32>,
    /// The root file system.
    pub root: Root,
    /// Volumes, workspace, home, configurations.
    pub binds: Vec<Bind>,
    /// A workspace of which the workload gets a copy: the source of the bind at [`WORKSPACE`] until that is made.
    pub workspace_copy: Option<PathBuf>,
    /// A workspace that the workload may change but for what is mounted over it.
    pub workspace_guarded: Option<PathBuf>,
    /// A copied context: a directory on the host.
    pub context_copy: Option<Bind>,
    /// Whether the context is a bind of such a directory until a copy is made in its place: other runtimes than ours
    /// make none.
    pub context_apart: bool,
    /// A context that must have this digest.
    pub context_pin: Option<Digest>,
    /// The home directory inside.
    pub home: String,
    /// Whether it is a directory of the host.
    pub home_is_bound: bool,
    /// Destination and options.
    pub tmpfs: Vec<(String, Vec<String>)>,
    /// Source and destination.
    pub secrets: Vec<(PathBuf, String)>,
    /// Bytes.
    pub memory: Option<i64>,
    /// What becomes of swap, which the limit is one of too where the kernel counts that.
    pub swap: Swap,
    /// Processors.
    pub cpus: Option<f64>,
    /// Processes and threads, held by a control group.
    pub pids: Option<i64>,
    /// The same where no control group holds them: `RLIMIT_NPROC`, which counts in each user namespace by itself and
    /// needs no privilege.
    pub rlimit_nproc: Option<i64>,
    /// Disks.
    pub io: Vec<block_io::Limits>,
    /// Clock and seconds.
    pub clocks: Vec<(&'static str, i64)>,
    /// Who gets the terminal.
    pub console_socket: Option<PathBuf>,
    /// Whether the network is the host's.
    pub host_network: bool,
    /// The network that is made for it.
    pub bridge: Option<Bridge>,
    /// The control group, if there is one, as `linux.cgroupsPath`.
    pub cgroups_path: Option<String>,
    /// Where it is delegated, if it is.
    pub delegated: Option<Place>,
    /// Whether the workload has a terminal.
    pub terminal: bool,
    /// When it is ended.
    pub timeout: Option<Duration>,
    /// Whether refused system calls are logged.
    pub log_denied: bool,
    /// The program that is the first process over the command: this one.
    pub init: Option<PathBuf>,
}

impl Launch {
    /// Names the control group, if there is one.
    pub fn set_group(&mut self, name: &str) {
        let delegated = self.delegated.is_some();
        self.cgroups_path = self
            .cgroups_path
            .take()
            .map(|_| delegation::group(delegated, name));
    }

    /// Whether its ids on the host are a range, of which each sandbox has another.
    pub fn has_range(&self) -> bool {
        self.ids.are_range()
    }

    /// Takes the range with this number.
    pub fn set_range(&mut self, number: u32) {
        self.ids.set_range(number);
    }

    /// Lets the context be copied before the container is made.
    fn set_context_apart(&mut self) {
        let context = self.context_copy.take();
        self.context_apart = context.is_some();
        self.binds
            .splice(..0, context.map(|bind| Bind { owned: false, ..bind }));
    }

    /// Puts another directory at a place.
    pub fn put_at(&mut self, destination: &str, directory: &Path) {
        let all = self.binds.iter_mut().chain(&mut self.context_copy);
        for bind in all.filter(|bind| bind.destination == destination) {
            // The store may be reached through a link, such as /var/run.
            bind.source = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
        }
    }
}

/// Looks up and parses everything.
///
/// # Errors
/// Everything that is wrong.
pub fn resolve(
    request: &Request,
    facts: &Facts,
    decision: Decision,
    terminal: bool,
) -> Result<Launch, Vec<Violation>> {
    let mut faults = Faults::default();
    let name = request.name.clone().unwrap_or_else(made_up_name);
    faults.note("name", parse::name(&name));
    let hostname = request.hostname.clone().unwrap_or_else(|| "sandbox".into());
    faults.note("hostname", parse::hostname(&hostname));
    if request.command.is_empty() {
        faults.push(
            "command",
            "there is none: it comes behind the options, as -- COMMAND [ARG...]".into(),
        );
    }
    let left_out = decision.without_limits;
    let memory = request.memory.as_deref().map(parse::size);
    let memory = memory.and_then(|size| faults.note("memory", size));
    let timeout = request.timeout.as_deref().map(parse::duration);
    let timeout = timeout.and_then(|time| faults.note("timeout", time));
    if request
        .cpus
        .is_some_and(|cpus| !(cpus.is_finite() && cpus >= 0.01))
    {
        faults.push("cpus", "not a number of processors of at least 0.01".into());
    }
    if request.pids.is_some_and(|pids| pids < 1) {
        faults.push("pids", "not a number of processes of at least 1".into());
    }
    let space = Space::of(request.network());
    let io = request.io.iter().map(|text| block_io::parse(text));
    let io: Vec<block_io::Limits> = io.filter_map(|parsed| faults.note("io", parsed)).collect();
    let io = if left_out.io { Vec::new() } else { io };
    let clocks = request.time_namespace.as_deref().map(parse::clocks);
    let clocks = clocks
        .and_then(|clocks| faults.note("time-namespace", clocks))
        .unwrap_or_default();
    if !clocks.is_empty() && decision.without_time_namespace {
        faults.push("time-namespace", "this host gives this user none".into());
    }
    let further = request.additional_group.iter().max().copied();
    if facts.uid != 0 && further.is_some() {
        faults.push(
            "additional-group",
            "needs root: the sandbox of a user has one group id".into(),
        );
    }
    for (field, id) in [
        ("user", request.user),
        ("group", request.group),
        ("additional-group", further),
    ] {
        if facts.uid == 0 && id.is_some_and(|id| id >= IDS) {
            faults.push(
                field,
                format!("not below {IDS}, the number of ids in the sandbox"),
            );
        }
    }
    let ids = ids(request, facts, !decision.without_user_namespace, &name);
    let home = format!("/home/{}", if facts.uid == 0 { "agent" } else { "user" });
    let mut launch = Launch {
        mode: request.mode.unwrap_or_default().word(),
        command: request.command.clone(),
        env: Vec::new(),
        workdir: String::new(),
        hostname,
        ids,
        additional_groups: request.additional_group.clone(),
        root: root(request, &mut faults),
        binds: Vec::new(),
        workspace_copy: None,
        workspace_guarded: None,
        context_copy: None,
        context_apart: false,
        context_pin: None,
        home_is_bound: request.home.is_some(),
        tmpfs: Vec::new(),
        secrets: Vec::new(),
        memory: memory.filter(|_| !left_out.memory),
        swap: facts.swap,
        cpus: request.cpus.filter(|_| !left_out.cpu),
        pids: request.pids.filter(|_| !left_out.pids),
        // gVisor takes it and does not count.
        rlimit_nproc: (!(facts.runtime == Runtime::Gvisor || !left_out.pids && request.pids.is_some()))
            .then(|| request.pids.unwrap_or(PROCESSES)),
        io,
        clocks,
        console_socket: request.console_socket.clone(),
        host_network: space == Space::Host,
        bridge: (space == Space::Ruled).then(|| Bridge::resolve(request, &mut faults)),
        cgroups_path: facts.cgroups.path(request, &name, left_out),
        delegated: match facts.cgroups {
            Cgroups::Delegated(place, _) => Some(place),
            _ => None,
        },
        terminal,
        timeout,
        log_denied: request.seccomp_log_denied,
        init: None,
        name,
        home,
        decision,
    };
    if request.init || launch.decision.rules.init {
        let program = std::env::current_exe().map_err(|error| format!("this program: {error}"));
        launch.init = faults.note("init", program);
    }
    paths(request, &mut launch, &mut faults);
    if facts.runtime != Runtime::Native {
        launch.set_context_apart();
    }
    map_no_ids_where_that_fails(&mut launch, &mut faults);
    launch.env = environment(request, &launch, &mut faults);
    launch.workdir = working_directory(request, &mut faults, &launch);
    if faults.0.is_empty() {
        Ok(launch)
    } else {
        Err(faults.0)
    }
}

/// What is wrong with a request.
#[derive(Default)]
pub(crate) struct Faults(Vec<Violation>);

impl Faults {
    fn push(&mut self, field: &'static str, reason: String) {
        self.0.push(Violation { field, reason });
    }

    pub(crate) fn note<T>(&mut self, field: &'static str, result: Result<T, String>) -> Option<T> {
        result.map_err(|reason| self.push(field, reason)).ok()
    }
}

/// A name that nobody else has: the process, and the time in case it comes again.
pub fn made_up_name() -> String {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    format!("n{}-{:x}", std::process::id(), time.tv_nsec)
}
