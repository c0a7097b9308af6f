//! The road of `run`: request, mode, policies, bundle, runtime, supervision, and the way back.

use crate::adapt::{Features, Loss, adapt};
use crate::attested::Attested;
use crate::begin::{begin, is_checked, is_held};
use crate::bundle;
use crate::context;
use crate::egress::{self, Network, Preparing};
use crate::ending::Ending;
use crate::events::Events;
use crate::facts::{Facts, Program, Runtime};
use crate::foreign;
use crate::keeper::Keeper;
use crate::kept::Kept;
use crate::kernel_log::{self, Killed};
use crate::launch::{self, Launch, Root};
use crate::mode::{self, Violation};
use crate::policy;
use crate::protected::Protected;
use crate::request::Request;
use crate::secrets;
use crate::skeleton::{self, Skeleton};
use crate::store::{Sandbox, Store};
use crate::supervise::{self, Supervised};
use crate::workspace::copies::Copies;
use crate::workspace::{around, guard};
use anyhow::Context;
use nucleus_policy::{CapabilityPolicy, VerifiedPolicy};
use oci_spec::runtime::Spec;
use serde_json::json;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Options of `run` that are about this call, not about the sandbox.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// `--root`.
    pub root: Option<PathBuf>,
    /// `--events`.
    pub events: Option<String>,
    /// `--detach`.
    pub detach: bool,
    /// `--report`.
    pub report: Option<PathBuf>,
    /// `create`: the command waits for `start`. Detached.
    pub create: bool,
    /// `--quiet`.
    pub quiet: bool,
}

/// A request that its mode refuses.
#[derive(Debug)]
pub struct Refused(pub Vec<Violation>);

impl std::error::Error for Refused {}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::from("the request is refused");
        for violation in &self.0 {
            write!(text, "\n  {violation}")?;
        }
        f.write_str(&text)
    }
}

/// All that was decided before anything is made.
#[derive(Debug)]
pub struct Decided {
    /// The runtime.
    pub program: Program,
    /// What it can do.
    pub features: Features,
    /// What is started.
    pub launch: Launch,
    /// What it is held to.
    pub policy: VerifiedPolicy,
    /// The root file system that was compared with its manifest.
    pub rootfs: Option<Attested>,
}

/// Decides a request. Nothing is made; all that is wrong with the request is told at once.
///
/// # Errors
/// What is wrong.
pub fn decide(request: &Request, terminal: bool, quiet: bool) -> Result<Decided, anyhow::Error> {
    let program = Program::of(request)?;
    let facts = Facts::of(&program, request);
    decide_by(request, program, &facts, terminal, quiet)
}

/// The same for a host with these facts.
///
/// # Errors
/// What is wrong.
pub fn decide_by(
    request: &Request,
    program: Program,
    facts: &Facts,
    terminal: bool,
    quiet: bool,
) -> Result<Decided, anyhow::Error> {
    let (decision, mut violations) = mode::judge(request, facts);
    let policy = policy::load(request, &decision.rules, !decision.without_landlock, facts.kernel);
    // Only our own makes a terminal without being handed a socket for it.
    let terminal = terminal && program.kind == Runtime::Native;
    let launch = match launch::resolve(request, facts, decision, terminal) {
        Ok(launch) => launch,
        Err(faults) => {
            violations.extend(faults);
            return Err(Refused(violations).into());
        }
    };
    let policy = match policy {
        Err(error) if violations.is_empty() => return Err(error.into()),
        Err(_) => return Err(Refused(violations).into()),
        Ok(policy) => policy,
    };
    let mut decided = Decided {
        features: program.features(),
        rootfs: None,
        program,
        launch,
        policy,
    };
    if decided.program.kind != Runtime::Native {
        let (_, _, losses) = decided.compose(Path::new("/"))?;
        let (warnings, lost) = mode::weigh(request, &losses);
        decided.launch.decision.warnings.extend(warnings);
        violations.extend(lost);
    }
    if !violations.is_empty() {
        return Err(Refused(violations).into());
    }
    // Last, because it may read all of a root file system.
    decided.rootfs = Attested::of(request, &decided.launch, quiet)?;
    if let (Some(rootfs), Root::Directory(path)) = (&decided.rootfs, &decided.launch.root) {
        let (spec, ..) = decided.compose(Path::new("/"))?;
        rootfs.has_targets(path, spec.mounts().as_deref().unwrap_or_default())?;
    }
    Ok(decided)
}

impl Decided {
    /// The configuration for this runtime, what its root directory consists of, and what it leaves out.
    ///
    /// # Errors
    /// A policy that cannot be applied.
    pub fn compose(&self, secrets: &Path) -> Result<(Spec, Skeleton, Vec<Loss>), anyhow::Error> {
        let (spec, skeleton) = bundle::compose(&self.launch, &self.policy, secrets)?;
        if self.program.kind == Runtime::Native {
            return Ok((spec, skeleton, Vec::new()));
        }
        let mut config = serde_json::to_value(spec)?;
        let losses = adapt(&mut config, self.program.kind, &self.features);
        Ok((serde_json::from_value(config)?, skeleton, losses))
    }
}

/// Runs a request and returns the exit code.
///
/// # Errors
/// What kept it from starting, or from being cleaned up.
pub fn run(request: &Request, call: &Call) -> Result<i32, anyhow::Error> {
    let here = !call.detach && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let terminal = here || request.console_socket.is_some() || call.detach && request.terminal;
    anyhow::ensure!(
        terminal || !request.terminal,
        "terminal: standard input and output are none; --console-socket takes one"
    );
    let mut decided = decide(request, terminal, call.quiet)?;
    anyhow::ensure!(
        decided.program.kind == Runtime::Native || request.console_socket.is_none() && !request.terminal,
        "terminal, console-socket: only with nucleus-runtime"
    );
    anyhow::ensure!(
        decided.program.kind == Runtime::Native
            || decided.launch.bridge.is_none()
            || rustix::process::geteuid().is_root(),
        "network: bridge without root: only with nucleus-runtime, which takes over a network that it cannot join"
    );
    // Nobody would be there to hold the workload to it.
    anyhow::ensure!(
        !call.detach || request.timeout.is_none(),
        "timeout: not with --detach"
    );
    anyhow::ensure!(
        !(call.create && decided.launch.decision.rules.checked),
        "create: {} mode holds its promises against the kernel before the first instruction; nucleus run --detach does",
        decided.launch.mode
    );
    warn(&decided.launch, call.quiet);
    let store = Store::open(call.root.clone())?;
    if request.cgroups_path.is_none() {
        decided.launch.set_group(&store.full_name(&decided.launch.name));
    }
    sweep(&store, &decided.program, call.quiet)?;
    let target = call.events.as_deref();
    let mut events = Events::open(&decided.launch.name, target)
        .map_err(|error| at("open", Path::new(target.unwrap_or_default()))(error))?;
    let guarded = decided.launch.workspace_guarded.clone();
    let before = guarded.as_deref().map(guard::present).transpose()?;
    let mut sandbox = store.create(&decided.launch.name)?;
    let copies = Copies::of(call.root.as_deref());
    let mut copy = None;
    let mut network = None;
    let outcome = around::copy_in(&mut decided.launch, &copies)
        .map_err(anyhow::Error::from)
        .map(|made| copy = made)
        .and_then(|()| Ok(context::verify(&mut decided.launch, sandbox.directory())?))
        .and_then(|()| egress::begin(&mut decided.launch, &mut sandbox))
        .map(|begun| network = begun)
        .map(|()| decided.program.network = gvisor_network(&decided))
        .and_then(|()| in_sandbox(&decided, &store, &mut sandbox, network, call, &mut events));
    if call.detach && outcome.as_ref().is_ok_and(|code| *code == 0) {
        return outcome;
    }
    let removed = remove(&store, &decided.program, sandbox, outcome.is_err());
    let reviewed = copy.map_or(Ok(0), |copy| around::look_at(copy, call.quiet));
    let code = outcome?;
    removed?;
    if let (Some(workspace), Some(before)) = (&guarded, before) {
        around::tell_newcomers(workspace, &before, call.quiet)?;
    }
    match reviewed? {
        0 => events.write("cleaned-up", &json!({}))?,
        changes => events.write("cleaned-up", &json!({"workspace-changes": changes}))?,
    }
    Ok(code)
}

/// Where gVisor has to be started to have the network that was made.
fn gvisor_network(decided: &Decided) -> Option<PathBuf> {
    let bridge = decided.launch.bridge.as_ref()?;
    (decided.program.kind == Runtime::Gvisor).then(|| bridge.namespace.clone())
}

#[expect(clippy::print_stderr, reason = "warnings are for the caller")]
fn warn(launch: &Launch, quiet: bool) {
    for warning in launch.decision.warnings.iter().filter(|_| !quiet) {
        eprintln!("nucleus: warning: {warning}");
    }
}

/// A bundle that was written.
#[derive(Debug)]
pub struct Bundle {
    /// Where.
    pub directory: PathBuf,
    /// What was decided.
    pub spec: oci_spec::runtime::Spec,
    /// The bytes of `config.json`.
    pub config: Vec<u8>,
    /// A root directory that outlasts it.
    pub kept: Option<Kept>,
    /// The rules of its network, where they are going to be checked.
    pub rules: Option<String>,
    /// The directory that the runtime mounts for `sd_notify(3)`.
    pub notify: Option<PathBuf>,
}

/// Where the root directory of a sandbox is that is made from the host.
#[derive(Debug)]
pub enum Place {
    /// In the bundle.
    Bundle,
    /// Among those that outlast a sandbox, if one can be had there; otherwise in the bundle.
    Kept(PathBuf),
    /// Here.
    Apart(PathBuf),
}

/// Writes the bundle of a launch into the sandbox's directory.
///
/// # Errors
/// A policy that cannot be applied, or a file that cannot be written.
pub fn write_bundle(
    decided: &Decided,
    directory: &Path,
    secrets: &Path,
    place: &Place,
) -> Result<Bundle, anyhow::Error> {
    around::make_hooks(&decided.launch)?;
    let (mut spec, skeleton, _) = decided.compose(secrets)?;
    let mut kept = None;
    if !skeleton.is_empty() {
        let made = skeleton
            .resolve()
            .map_err(|(path, error)| at("stat", &path)(error))?;
        if let Place::Kept(all) = place {
            kept = Kept::take(all, &made, &decided.launch.name);
        }
        let root = match (&kept, place) {
            (Some(kept), _) => Some(kept.root()),
            (None, Place::Apart(root)) => Some(root.clone()),
            (None, _) => None,
        };
        if kept.is_none() {
            let root = root.clone().unwrap_or_else(|| directory.join(bundle::ROOTFS));
            skeleton::write(&made, &root).map_err(|(path, error)| at("write", &path)(error))?;
        }
        if let Some(root) = root {
            bundle::set_root(&mut spec, root);
        }
    }
    let path = directory.join("config.json");
    let config = bundle::bytes(&mut spec)?;
    std::fs::write(&path, &config).map_err(at("write", &path))?;
    let directory = directory.to_owned();
    Ok(Bundle {
        directory,
        spec,
        config,
        kept,
        rules: None,
        notify: None,
    })
}

/// A root directory is shared only among workloads that cannot mount it writable, and only while somebody watches.
fn may_share_root(decided: &Decided, call: &Call) -> bool {
    let powerless = |policy: &CapabilityPolicy| policy.sets().into_iter().all(|(_, names)| names.is_empty());
    !call.detach && decided.policy.capabilities().is_some_and(powerless)
}

pub(crate) fn at(call: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> anyhow::Error {
    let path = path.display().to_string();
    move |error| anyhow::Error::new(error).context(format!("{call} {path}"))
}

fn in_sandbox(
    decided: &Decided,
    store: &Store,
    sandbox: &mut Sandbox,
    network: Option<Preparing>,
    call: &Call,
    events: &mut Events,
) -> Result<i32, anyhow::Error> {
    let launch = &decided.launch;
    secrets::keep(sandbox.secrets(), &launch.secrets, launch.ids.outside())?;
    decided.program.record(sandbox.directory())?;
    let place = if decided.program.kind != Runtime::Native {
        Place::Apart(sandbox.make_apart()?)
    } else if may_share_root(decided, call) {
        Place::Kept(store.roots())
    } else {
        Place::Bundle
    };
    let mut bundle = write_bundle(decided, sandbox.directory(), sandbox.secrets(), &place)?;
    sandbox.root = bundle.kept.take();
    bundle.notify = notified(&bundle.spec).then(|| store.runtime_root().join(&launch.name).join("notify"));
    let network = network
        .zip(launch.bridge.as_ref())
        .map(|(preparing, bridge)| egress::finish(preparing, bridge, sandbox, call, events))
        .transpose()?;
    if let Some(network) = network.as_ref().filter(|_| is_checked(decided, call)) {
        bundle.rules = Some(network.rules_in_force()?);
    }
    let outcome = started(decided, store, sandbox, &bundle, network.as_ref(), call, events);
    match network {
        Some(network) if call.detach => {
            let begun = outcome.as_ref().is_ok_and(|code| *code == 0);
            let pid = begun.then(|| pid_of(decided, store)).transpose()?;
            network.leave(pid)?;
        }
        _ => {}
    }
    outcome
}

/// The workload's process, or who runs it for the runtime.
fn pid_of(decided: &Decided, store: &Store) -> Result<i32, anyhow::Error> {
    let output = decided
        .program
        .command(&store.runtime_root())
        .args(["state", &decided.launch.name])
        .stdin(Stdio::null())
        .output()?;
    let state: serde_json::Value = serde_json::from_slice(&output.stdout).context("the runtime's state")?;
    pid_in(&state).context("the runtime's state has no pid")
}

/// The process that a runtime's state names, if there is one.
pub fn pid_in(state: &serde_json::Value) -> Option<i32> {
    let pid = i32::try_from(state["pid"].as_i64()?).ok()?;
    (pid > 0).then_some(pid)
}

fn started(
    decided: &Decided,
    store: &Store,
    sandbox: &Sandbox,
    bundle: &Bundle,
    network: Option<&Network>,
    call: &Call,
    events: &mut Events,
) -> Result<i32, anyhow::Error> {
    let launch = &decided.launch;
    if decided.program.kind != Runtime::Native {
        let code = foreign::run(decided, bundle, store, sandbox, call, events)?;
        if let Some(network) = network.filter(|_| !call.detach) {
            network.tell_refused(events, call.quiet)?;
        }
        return Ok(code);
    }
    let words = match launch.delegated.filter(|_| launch.cgroups_path.is_some()) {
        Some(place) => place.words().context("this program")?,
        None => Vec::new(),
    };
    let mut runtime = Protected::behind(&words, &decided.program.path);
    runtime
        .command
        .arg("--root")
        .arg(store.runtime_root())
        .args([if call.create { "create" } else { "run" }, "--bundle"])
        .arg(sandbox.directory());
    if let Some(network) = network {
        network.enter(&mut runtime.command)?;
    }
    // Open until the container is created.
    let verified = match &decided.rootfs {
        Some(rootfs) => Some(rootfs.inherited()?),
        None => None,
    };
    if let Some(verified) = &verified {
        let number = verified.as_raw_fd().to_string();
        runtime.command.args(["--rootfs-fd", &number]);
    }
    if let Some(socket) = &launch.console_socket {
        runtime.command.arg("--console-socket").arg(socket);
    }
    if call.detach {
        let keeper =
            (launch.terminal && launch.console_socket.is_none()).then(|| Keeper::start(sandbox.directory()));
        let keeper = keeper
            .transpose()
            .map_err(at("keep a terminal in", sandbox.directory()))?;
        if let Some(keeper) = &keeper {
            runtime.command.arg("--console-socket").arg(&keeper.console);
        }
        let outcome = detached(runtime, decided, bundle, sandbox, call, events);
        if let (Some(keeper), false) = (keeper, outcome.as_ref().is_ok_and(|code| *code == 0)) {
            keeper.stop();
        }
        return outcome;
    }
    let begun = kernel_log::now();
    let mut supervised = Supervised::start(runtime, &launch.name, is_held(decided, call), true)?;
    let Some(pid) = begin(&mut supervised, decided, bundle, call, events)? else {
        return not_started(&mut supervised, events);
    };
    let (status, timed_out) = supervised.wait(launch.timeout)?;
    let Some(mut status) = status else {
        return not_started(&mut supervised, events);
    };
    let mut killed = Killed::Process(pid);
    if launch.init.is_some() {
        status = status.behind_init();
        killed = Killed::User(launch.ids.outside().0);
    }
    if let Some(network) = network {
        network.tell_refused(events, call.quiet)?;
    }
    let mut ending = Ending::of(status, timed_out);
    if let Ending::Seccomp(call) = &mut ending {
        *call = kernel_log::killed_call(killed, begun);
    }
    events.write("exited", &ending.json())?;
    tell(&ending, call.quiet);
    Ok(ending.code(status))
}

/// Whether the runtime passes on what the program tells a service manager: where one waits for it, and the program has
/// no other address.
fn notified(spec: &Spec) -> bool {
    let env = spec.process().as_ref().and_then(|process| process.env().as_ref());
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|address| !address.is_empty())
        && !env
            .into_iter()
            .flatten()
            .any(|entry| entry.starts_with("NOTIFY_SOCKET="))
}

/// The runtime has told on standard error why.
fn not_started(supervised: &mut Supervised, events: &mut Events) -> Result<i32, anyhow::Error> {
    let code = supervised.code()?;
    events.write("exited", &Ending::NotStarted(code).json())?;
    Ok(code)
}

#[expect(clippy::print_stderr, reason = "the ending is for the caller")]
pub(crate) fn tell(ending: &Ending, quiet: bool) {
    if ending.is_worth_a_line() && !quiet {
        eprintln!("nucleus: {ending}");
    }
}

/// Leaves the workload to itself; what it prints goes to the sandbox's log.
fn detached(
    mut runtime: Protected,
    decided: &Decided,
    bundle: &Bundle,
    sandbox: &Sandbox,
    call: &Call,
    events: &mut Events,
) -> Result<i32, anyhow::Error> {
    let log = sandbox.directory().join("log");
    let out = std::fs::OpenOptions::new().append(true).create(true).open(&log);
    let out = out.map_err(at("create", &log))?;
    let failure = sandbox.directory().join("detached");
    std::fs::File::create(&failure).map_err(at("create", &failure))?;
    runtime
        .command
        .args((!call.create).then_some("--detach"))
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out);
    let name = &decided.launch.name;
    let code = if call.create {
        let code = supervise::exit_code(runtime.command.arg(name).status()?);
        if code == 0 {
            events.write("created", &json!({"mode": decided.launch.mode}))?;
        }
        code
    } else {
        let mut supervised = Supervised::start(runtime, name, is_held(decided, call), false)?;
        begin(&mut supervised, decided, bundle, call, events)?;
        supervised.code()?
    };
    if code != 0 {
        let told = std::fs::read_to_string(&log).unwrap_or_default();
        anyhow::bail!("{}", told.trim_end());
    }
    Ok(code)
}

/// Takes back what `run` made. `force`: the runtime may have left its part behind.
///
/// # Errors
/// What could not be removed.
pub fn remove(store: &Store, program: &Program, sandbox: Sandbox, force: bool) -> Result<(), anyhow::Error> {
    let program = Program::recorded(sandbox.directory()).unwrap_or_else(|| program.clone());
    let there = || match program.kind {
        Runtime::Native => store.runtime_root().join(&sandbox.name).exists(),
        // Each has its own way to keep records.
        _ => program
            .command(&store.runtime_root())
            .args(["state", &sandbox.name])
            .stdin(Stdio::null())
            .output()
            .is_ok_and(|output| output.status.success()),
    };
    if force || there() {
        let output = program
            .command(&store.runtime_root())
            .args(["delete", "--force", &sandbox.name])
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() && there() {
            anyhow::bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
    }
    if sandbox.networked {
        nucleus_network::bridge::remove(&egress::record(&sandbox))?;
    }
    Ok(sandbox.remove()?)
}

/// Removes what a killed `nucleus` has left behind. What cannot be removed is told of, and is no reason not to start
/// another sandbox.
#[expect(clippy::print_stderr, reason = "warnings are for the caller")]
fn sweep(store: &Store, program: &Program, quiet: bool) -> Result<(), anyhow::Error> {
    for name in store.names()? {
        let Ok(directory) = store.directory(&name) else {
            continue;
        };
        if directory.join("detached").exists() {
            continue;
        }
        let Ok(Some(sandbox)) = store.orphan(&name) else {
            continue;
        };
        match remove(store, program, sandbox, true) {
            Err(error) if !quiet => {
                let told = format!("{error:#}").replace('\n', "; ");
                eprintln!("nucleus: warning: {name} was left behind and cannot be removed: {told}");
                eprintln!("nucleus: warning: once that is mended, nucleus rm {name} removes it");
            }
            _ => {}
        }
    }
    Ok(())
}
