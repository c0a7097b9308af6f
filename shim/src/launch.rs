//! A request with every word parsed, every path looked up and every default filled in.

use crate::block_io;
use crate::delegation::{self, Cgroups, Place};
use crate::egress::Bridge;
use crate::facts::Facts;
use crate::mode::{Decision, Violation, Weaker};
use crate::parse;
use crate::request::{ContextMode, Network, Request, WorkspaceMode};
use crate::workspace::guard::Guard;
use nucleus_policy::Digest;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The ids of the workload when root starts it and names none.
const WORKLOAD: u32 = 1000;
/// How many ids a user namespace made by root has.
const IDS: u32 = 65_536;
/// Where such ranges begin, as systemd-nspawn(1) has it, and how many there are.
const FIRST_RANGE: u32 = 524_288;
const RANGES: u32 = 28_000;

/// How many processes and threads a workload has that asks for no limit: more than builds and servers need, and too few
/// to keep others from starting any.
const PROCESSES: i64 = 2048;

/// Where the workspace is inside.
pub const WORKSPACE: &str = "/workspace";
/// Where the context is inside.
pub const CONTEXT: &str = "/context";

/// The user namespace of the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// The workload's user id inside.
    pub uid: u32,
    /// Its group id inside.
    pub gid: u32,
    /// First id inside, first user and group id outside, how many.
    pub users: (u32, u32, u32),
    /// The same for groups.
    pub groups: (u32, u32, u32),
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

    /// Puts another directory at a place.
    pub fn put_at(&mut self, destination: &str, directory: &Path) {
        for bind in self
            .binds
            .iter_mut()
            .filter(|bind| bind.destination == destination)
        {
            // The store may be reached through a link, such as /var/run.
            bind.source = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
        }
    }
}

impl Ids {
    /// The workload's user and group id on the host.
    pub fn outside(&self) -> (u32, u32) {
        let outside = |inside: u32, (first, outside, _): (u32, u32, u32)| outside + (inside - first);
        (outside(self.uid, self.users), outside(self.gid, self.groups))
    }

    /// What a group id inside is on the host.
    pub fn group_outside(&self, inside: u32) -> u32 {
        let (first, outside, _) = self.groups;
        outside.saturating_add(inside.saturating_sub(first))
    }
}

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
    /// Further groups.
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
    pub context_copy: Option<PathBuf>,
    /// A context that must have this digest.
    pub context_pin: Option<(PathBuf, Digest)>,
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
    if request.command.is_empty() {
        faults.push(
            "command",
            "there is none: nucleus run [OPTIONS] -- COMMAND [ARG...]".into(),
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
    for (field, id) in [("user", request.user), ("group", request.group)] {
        if facts.uid == 0 && id.is_some_and(|id| id >= IDS) {
            faults.push(
                field,
                format!("not below {IDS}, the number of ids in the sandbox"),
            );
        }
    }
    let ids = ids(request, facts, &name);
    let home = format!("/home/{}", if facts.uid == 0 { "agent" } else { "user" });
    let mut launch = Launch {
        mode: request.mode.unwrap_or_default().word(),
        command: request.command.clone(),
        env: Vec::new(),
        workdir: String::new(),
        hostname: request.hostname.clone().unwrap_or_else(|| "sandbox".into()),
        ids,
        additional_groups: request.additional_group.clone(),
        root: root(request, &mut faults),
        binds: Vec::new(),
        workspace_copy: None,
        workspace_guarded: None,
        context_copy: None,
        context_pin: None,
        home_is_bound: request.home.is_some(),
        tmpfs: Vec::new(),
        secrets: Vec::new(),
        memory: memory.filter(|_| !left_out.memory),
        cpus: request.cpus.filter(|_| !left_out.cpu),
        pids: request.pids.filter(|_| !left_out.pids),
        // gVisor takes it and does not count.
        rlimit_nproc: (!(facts.gvisor || !left_out.pids && request.pids.is_some()))
            .then(|| request.pids.unwrap_or(PROCESSES)),
        io,
        clocks,
        console_socket: request.console_socket.clone(),
        host_network: request.network().is_hosts(),
        bridge: (request.network() == Network::Bridge).then(|| Bridge::resolve(request, &mut faults)),
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
fn made_up_name() -> String {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    format!("n{}-{:x}", std::process::id(), time.tv_nsec)
}

/// Root's workload gets a range of ids that no user has; everyone else's has the caller's own.
fn ids(request: &Request, facts: &Facts, name: &str) -> Ids {
    if facts.uid != 0 {
        let (uid, gid) = (
            request.user.unwrap_or(facts.uid),
            request.group.unwrap_or(facts.gid),
        );
        return Ids {
            uid,
            gid,
            users: (uid, facts.uid, 1),
            groups: (gid, facts.gid, 1),
        };
    }
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let first = FIRST_RANGE + (hash % RANGES) * IDS;
    Ids {
        uid: request.user.unwrap_or(WORKLOAD),
        gid: request.group.unwrap_or(WORKLOAD),
        users: (0, first, IDS),
        groups: (0, first, IDS),
    }
}

fn root(request: &Request, faults: &mut Faults) -> Root {
    let (field, directory) = match (&request.rootfs, &request.toolchain_rootfs) {
        (Some(directory), _) => ("rootfs", directory),
        (None, Some(directory)) => ("toolchain-rootfs", directory),
        (None, None) => return Root::Host(system_directories()),
    };
    let found = faults.note(field, directory_at(directory));
    Root::Directory(found.unwrap_or_default())
}

fn system_directories() -> Vec<PathBuf> {
    [
        "/bin", "/sbin", "/usr", "/lib", "/lib32", "/lib64", "/libx32", "/nix",
    ]
    .iter()
    .map(PathBuf::from)
    .filter(|path| path.is_dir())
    .collect()
}

fn directory_at(path: &Path) -> Result<PathBuf, String> {
    let found = path
        .canonicalize()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    if found.is_dir() {
        Ok(found)
    } else {
        Err(format!("{}: not a directory", path.display()))
    }
}

fn bind(source: &Path, destination: &str, writable: bool, executable: bool) -> Result<Bind, String> {
    let fault = |error: std::io::Error| format!("{}: {error}", source.display());
    let source = source.canonicalize().map_err(fault)?;
    let metadata = source.metadata().map_err(fault)?;
    Ok(Bind {
        directory: metadata.is_dir(),
        owner: (metadata.uid(), metadata.gid()),
        destination: parse::inside(destination)?,
        source,
        writable,
        executable,
        owned: writable,
    })
}

/// What is mounted over a workspace that the workload may write to.
fn guard(workspace: &Bind) -> Result<Vec<Bind>, String> {
    let guard = Guard::of(&workspace.source)?;
    let over = |path: &PathBuf, writable: bool| {
        let inside = path
            .to_str()
            .ok_or_else(|| format!("{}: not UTF-8", path.display()))?;
        Ok(Bind {
            source: workspace.source.join(path),
            destination: format!("{}/{inside}", workspace.destination),
            writable,
            ..workspace.clone()
        })
    };
    let kept = guard.kept.iter().map(|path| over(path, true));
    kept.chain(guard.read_only.iter().map(|path| over(path, false)))
        .collect()
}

fn paths(request: &Request, launch: &mut Launch, faults: &mut Faults) {
    if let Some(workspace) = &request.workspace {
        let mode = request.workspace_mode.unwrap_or(WorkspaceMode::BindRw);
        let found = directory_at(workspace).and_then(|source| {
            let writable = mode != WorkspaceMode::BindRo;
            bind(&source, WORKSPACE, writable, request.workspace_exec)
        });
        let found = faults.note("workspace", found);
        let directory = found.as_ref().map(|bind| bind.source.clone());
        let guarded = match (mode, &found) {
            (WorkspaceMode::BindRw, Some(bind)) if !request.workspace_unprotected => {
                launch.workspace_guarded = directory;
                faults.note("workspace", guard(bind))
            }
            (WorkspaceMode::CopyInOut, _) => {
                launch.workspace_copy = directory;
                None
            }
            _ => None,
        };
        launch.binds.extend(found);
        launch.binds.extend(guarded.into_iter().flatten());
    }
    if let Some(context) = &request.context {
        let found = faults.note("context", directory_at(context));
        let pin = request
            .verify_context
            .as_deref()
            .map(|text| text.parse::<Digest>().map_err(|error| error.to_string()));
        let pin = pin.and_then(|pin| faults.note("verify-context", pin));
        launch.context_pin = found.clone().zip(pin);
        match request.context_mode.unwrap_or(ContextMode::Copy) {
            ContextMode::Copy => launch.context_copy = found,
            ContextMode::Bind => {
                let found = found.map(|source| bind(&source, CONTEXT, false, false));
                launch
                    .binds
                    .extend(found.and_then(|bind| faults.note("context", bind)));
            }
        }
    }
    if request.context.is_none() && request.verify_context.is_some() {
        faults.push("verify-context", "there is no --context".into());
    }
    if let Some(home) = &request.home {
        let found = directory_at(home).and_then(|source| bind(&source, &launch.home, true, true));
        launch.binds.extend(faults.note("home", found));
    }
    let configs = [
        ("provider-config-ro", &request.provider_config_ro, false),
        ("provider-config-rw", &request.provider_config_rw, true),
    ];
    for (field, pairs, writable) in configs {
        for text in pairs {
            let found = parse::pair(text)
                .and_then(|(source, destination)| bind(Path::new(source), destination, writable, false));
            launch.binds.extend(faults.note(field, found));
        }
    }
    for text in &request.volume {
        let found = parse::volume(text)
            .and_then(|(source, destination, writable)| bind(Path::new(source), destination, writable, true));
        launch.binds.extend(faults.note("volume", found));
    }
    for text in &request.secret {
        let found = parse::pair(text).and_then(|(source, destination)| {
            let found = bind(Path::new(source), destination, false, false)?;
            if found.directory {
                return Err(format!("{source}: a directory"));
            }
            Ok((found.source, found.destination))
        });
        launch.secrets.extend(faults.note("secret", found));
    }
    for text in &request.tmpfs {
        launch.tmpfs.extend(faults.note("tmpfs", parse::tmpfs(text)));
    }
}

/// File systems whose mounts take no maps of ids (`mount_setattr(2)`, `EINVAL`), by `statfs(2)`.
const WITHOUT_ID_MAPS: [(i64, &str); 5] = [
    (0x794c_7630, "overlayfs"),
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9p"),
];

/// The workload of such a mount is another user to it, who may write what everyone may. That is less than was asked
/// for and no less protection: agent mode tells, the others refuse.
fn map_no_ids_where_that_fails(launch: &mut Launch, faults: &mut Faults) {
    if launch.ids.users.2 == 1 {
        return;
    }
    for bind in launch.binds.iter_mut().filter(|bind| bind.owned) {
        let kind = rustix::fs::statfs(&bind.source).ok();
        let kind = kind.and_then(|found| WITHOUT_ID_MAPS.iter().find(|(kind, _)| *kind == found.f_type));
        let Some((_, kind)) = kind else { continue };
        let what = format!(
            "{} for {}: {kind} maps no ids, so the workload may write there only what everyone may; a directory of \
             another file system has no such limit",
            bind.source.display(),
            bind.destination
        );
        if launch.decision.rules.weaker == Weaker::WithConsent {
            bind.owned = false;
            launch.decision.warnings.push(what);
        } else {
            faults.push("writable mount", what);
        }
    }
}

/// What every workload has, under the caller's own choices.
fn environment(request: &Request, launch: &Launch, faults: &mut Faults) -> Vec<String> {
    let mut env = vec![
        "PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin:/run/current-system/sw/bin"
            .to_owned(),
        format!("HOME={}", launch.home),
        format!("USER={}", user_name(launch)),
        "LANG=C.UTF-8".to_owned(),
    ];
    env.extend(launch.bridge.iter().flat_map(Bridge::environment));
    if let Some(terminal) = std::env::var("TERM").ok().filter(|_| launch.terminal) {
        env.push(format!("TERM={terminal}"));
    }
    for text in &request.env {
        let pair = match text.split_once('=') {
            Some(("", _)) => Err(format!("{text:?}: no name")),
            Some(_) => Ok(text.clone()),
            None => std::env::var(text)
                .map(|value| format!("{text}={value}"))
                .map_err(|_| format!("{text:?}: not set, or not UTF-8")),
        };
        let Some(pair) = faults.note("env", pair) else {
            continue;
        };
        let name = pair.split('=').next().unwrap_or_default().to_owned();
        env.retain(|there| there.split('=').next() != Some(&name));
        env.push(pair);
    }
    env
}

/// The workload's user name in its `/etc/passwd`.
pub fn user_name(launch: &Launch) -> &'static str {
    if launch.home.ends_with("/agent") {
        "agent"
    } else {
        "user"
    }
}

fn working_directory(request: &Request, faults: &mut Faults, launch: &Launch) -> String {
    if let Some(directory) = &request.workdir {
        let inside = parse::inside(&directory.to_string_lossy());
        return faults.note("workdir", inside).unwrap_or_default();
    }
    if request.workspace.is_some() {
        WORKSPACE.into()
    } else if request.context.is_some() {
        CONTEXT.into()
    } else {
        launch.home.clone()
    }
}
