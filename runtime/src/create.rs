//! The parent's side of `create` and `run`: everything up to status `created`.

use crate::attend::connect_console;
use crate::bundle::{self, Bundle, Pin};
use crate::cgroup;
use crate::fault::{Call, Fault, chain};
use crate::hooks;
use crate::host::{self, HostFacts};
use crate::idmap;
use crate::init::StartFifos;
use crate::lifecycle::{Act, TAKE_DOWN};
use crate::plan::step::Inode;
use crate::plan::{self, Plan};
use crate::protocol::Reply;
use crate::spawn::{self, Handed, Spawned};
use crate::state::{self, Directory, Process, Record};
use crate::sync::ToChild;
use crate::{intel_rdt, net_device, readiness, start};
use nucleus_sys::signal;
use rustix::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What the command line asks for.
#[derive(Debug, Default)]
pub struct Options {
    /// The container's id.
    pub id: String,
    /// Where states are kept.
    pub root: PathBuf,
    /// The bundle.
    pub bundle: PathBuf,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<PathBuf>,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--preserve-fds` and `LISTEN_FDS`.
    pub preserved: plan::Preserved,
    /// Further entries of the program's environment.
    pub environment: Vec<String>,
    /// A service manager waits for the program's readiness.
    pub notify: bool,
    /// Who makes cgroups, if anyone.
    pub cgroups: Option<cgroup::Driver>,
    /// `--rootless`.
    pub rootless: Option<bool>,
    /// Whether the command returns before the container ends: then nobody would hold its terminal.
    pub detached: bool,
    /// `--block-fd` is given.
    pub traced: bool,
    /// `--config-fd`: where the configuration is read.
    pub config: Option<OwnedFd>,
    /// `--config-sha256`.
    pub config_pin: Option<Pin>,
    /// `--rootfs-fd`: the directory that the root file system must be. While it is open, no other one can get its
    /// inode number.
    pub rootfs: Option<OwnedFd>,
}

/// Why a container could not be created.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    /// The host.
    #[error(transparent)]
    Host(#[from] host::Error),
    /// The configuration.
    #[error("config.json")]
    Plan(#[from] plan::Error),
    /// The state directory.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The cgroups.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// `process.terminal` and the options do not fit together.
    #[error("{0}")]
    Terminal(&'static str),
    /// `--preserve-fds` or `LISTEN_FDS` names a descriptor that is not open.
    #[error("descriptor {0} is to be preserved, but it is not open")]
    Preserved(u64),
    /// A descriptor of `--info-fd` or `--block-fd` that cannot be one.
    #[error("{option}: descriptor {fd} {reason}")]
    Descriptor {
        /// The option.
        option: &'static str,
        /// Its value.
        fd: i32,
        /// Why not.
        reason: &'static str,
    },
    /// A step of the parent.
    #[error("{step}: {fault}")]
    Parent {
        /// The step.
        step: &'static str,
        /// What failed.
        fault: Fault,
    },
    /// A step of the child, described with its object.
    #[error("{0}")]
    Child(String),
    /// There is no such program, or it may not be executed.
    #[error("{words}")]
    Program {
        /// Which, and why.
        words: String,
        /// What a shell exits with.
        code: i32,
    },
    /// The child ended without a word.
    #[error("the container's first process died during set-up, {0}")]
    Died(String),
    /// A hook.
    #[error("{kind} hooks")]
    Hook {
        /// Which kind.
        kind: &'static str,
        /// Which one and why.
        source: hooks::Error,
    },
}

/// A created container, with its lock.
#[derive(Debug)]
pub struct Created {
    /// Its state directory.
    pub directory: Directory,
    /// Its plan.
    pub plan: Plan,
    /// What was recorded of it.
    pub record: Record,
    /// Its first process.
    pub spawned: Spawned,
    /// Its cgroups.
    pub cgroup: cgroup::Record,
    /// The master of its terminal, for `run` in the foreground.
    pub terminal: Option<OwnedFd>,
    /// Things to log.
    pub notes: Vec<String>,
    undo: Undo,
}

impl Created {
    /// The container is complete: a later failure no longer undoes it.
    pub fn keep(&mut self) {
        self.undo.armed = false;
    }
}

/// What is undone, in reverse, when creation fails.
#[derive(Debug, Default)]
struct Undo {
    armed: bool,
    /// Without a pid namespace of its own the end of the first process ends no other, of a hook's for example.
    others_survive: bool,
    cgroup: Option<cgroup::Record>,
    intel_rdt: intel_rdt::Made,
    net_devices: Option<net_device::Moved>,
}

/// Creates a container. With `wait_for_start` its first process waits for `start`; otherwise for
/// [`ToChild::Start`] on the channel.
///
/// # Errors
/// The first thing that failed; nothing that was made for the container is left then.
pub fn create(mut options: Options, wait_for_start: bool) -> Result<Created, Error> {
    check_preserved(options.preserved)?;
    state::check_id(&options.id)?;
    // Before the configuration, for which a caller may let this process wait.
    let host = HostFacts::probe(options.rootless)?;
    let Bundle {
        path,
        bytes,
        spec,
        notes,
    } = Bundle::open(
        &options.bundle,
        options.config.take(),
        options.config_pin.as_ref(),
    )?;
    let rootfs = options.rootfs.as_ref().map(Inode::of).transpose();
    let rootfs = rootfs.map_err(|fault| Error::Parent {
        step: "look at the directory of --rootfs-fd",
        fault,
    })?;
    let host = host.for_spec(&spec);
    let notify = notify_directory(&options)?;
    let request = plan::Request {
        id: &options.id,
        bundle: &path,
        spec: &spec,
        no_pivot: options.no_pivot,
        no_new_keyring: options.no_new_keyring,
        preserved: options.preserved,
        environment: &options.environment,
        notify: notify.as_deref(),
        cgroups: options.cgroups,
        traced: options.traced || promised(&spec),
        started_later: wait_for_start,
        rootfs,
    };
    let mut plan = plan::plan(&request, &host)?;
    plan.notes.splice(0..0, notes);
    check_terminal(plan.terminal, options.console_socket.as_deref(), options.detached)?;
    log_steps(&plan);
    let console = connect_console(options.console_socket.as_deref())?;
    let mask = signal::block_all();
    let directory = Directory::create(&options.root, &options.id)?;
    if let Err(error) = directory.claim("config.json", &bytes) {
        if !matches!(error, state::Error::Exists(_)) {
            let _ = directory.remove();
        }
        return Err(error.into());
    }
    let record = record(&plan, &spec, &options, &path, &host);
    let prepared = prepare(&directory, &record, wait_for_start, plan.notify);
    let start = match prepared {
        Ok(start) => start,
        Err(error) => {
            let _ = directory.remove();
            return Err(error);
        }
    };
    Creation {
        host,
        options: &options,
        directory,
        spec: Some(spec),
        plan,
        undo: Undo {
            armed: true,
            others_survive: !record.pid_namespace,
            ..Undo::default()
        },
        record,
    }
    .run(Handed {
        given: Vec::new(),
        start,
        console,
        mask,
    })
}

/// Where the readiness socket is going to be, for the bind mount.
fn notify_directory(options: &Options) -> Result<Option<PathBuf>, Error> {
    if !options.notify {
        return Ok(None);
    }
    let directory = options.root.join(&options.id).join(readiness::IN_STATE);
    let absolute = std::path::absolute(&directory).call_on("getcwd for", || directory.display().to_string());
    absolute.map(Some).map_err(|fault| Error::Parent {
        step: "prepare the readiness socket",
        fault,
    })
}

fn prepare(
    directory: &Directory,
    record: &Record,
    wait_for_start: bool,
    notify: bool,
) -> Result<Option<StartFifos>, Error> {
    let json = serde_json::to_vec(record).map_err(|source| state::Error::Damaged {
        path: PathBuf::from("state.json"),
        source,
    })?;
    directory.write("state.json", &json)?;
    if notify {
        readiness::make_directory(directory).map_err(|fault| Error::Parent {
            step: "prepare the readiness socket",
            fault,
        })?;
    }
    if !wait_for_start {
        return Ok(None);
    }
    Ok(Some(StartFifos {
        start: directory.make_fifo("start")?,
        result: directory.make_fifo("result")?,
    }))
}

/// A container on its way to `created`.
struct Creation<'a> {
    host: HostFacts,
    options: &'a Options,
    directory: Directory,
    /// Until the child is at work.
    spec: Option<oci_spec::runtime::Spec>,
    plan: Plan,
    record: Record,
    undo: Undo,
}

impl Creation<'_> {
    fn run(mut self, handed: Handed) -> Result<Created, Error> {
        let mut terminal = None;
        let made = self.cgroups_and_child(handed).and_then(|(spawned, cgroup)| {
            match self.attend(&spawned, &cgroup, &mut terminal) {
                Ok(()) => Ok((spawned, cgroup)),
                Err(error) => Err(spawned.end(&self.plan, error)),
            }
        });
        match made {
            Ok((spawned, cgroup)) => Ok(Created {
                notes: std::mem::take(&mut self.plan.notes),
                directory: self.directory,
                plan: self.plan,
                record: self.record,
                spawned,
                cgroup,
                terminal,
                undo: self.undo,
            }),
            Err(error) => {
                // The child has ended already.
                take_down(&TAKE_DOWN[1..], None, &mut self.undo, self.directory);
                Err(error)
            }
        }
    }

    fn cgroups_and_child(&mut self, handed: Handed) -> Result<(Spawned, cgroup::Record), Error> {
        let mut entered = cgroup::create(&self.plan.cgroup)?;
        self.undo.cgroup = Some(entered.record.clone());
        let spawned = spawn::spawn(&self.plan, &mut entered, handed).map_err(|fault| Error::Parent {
            step: "start the container's first process",
            fault,
        })?;
        Ok((spawned, entered.record))
    }

    /// Follows the protocol until the child is ready.
    fn attend(
        &mut self,
        spawned: &Spawned,
        cgroup: &cgroup::Record,
        terminal: &mut Option<OwnedFd>,
    ) -> Result<(), Error> {
        let pid = spawned.id();
        // Before anything is done to it through `/proc`.
        let process = Process::child(pid).map_err(|fault| Error::Parent {
            step: "look at the container's first process",
            fault,
        })?;
        if self.plan.proceed {
            self.before_proceed(spawned)?;
            spawned.send(ToChild::Proceed)?;
        }
        // While the child works: the file gets its name when the child is ready.
        self.directory.write_hidden("init", &init_file(process, cgroup))?;
        // A thousand strings, never freed: the child shares their pages, and freeing them would copy each.
        std::mem::forget(self.spec.take());
        let mut protocol = self.plan.protocol(self.options.console_socket.is_some());
        loop {
            match spawned.hear(&mut protocol, &self.plan)? {
                (Reply::RunHooks, _) => {
                    self.runtime_hooks(pid)?;
                    spawned.send(ToChild::HooksDone)?;
                }
                (Reply::KeepTerminal, master) => *terminal = master,
                (Reply::PassListener, listener) => spawned.pass_listener(&self.plan, listener)?,
                (Reply::GoOn, _) => break,
                (Reply::Report | Reply::Died | Reply::Executed, _) => {
                    let how = spawned.how_it_ended();
                    return Err(Error::Died(match cgroup.oom_kills() {
                        0 => how,
                        _ => format!("{how} for want of memory: is the memory limit too small for set-up?"),
                    }));
                }
            }
        }
        self.directory.publish("init")?;
        let Options {
            pid_file,
            pidfd_socket,
            ..
        } = self.options;
        spawned.tell_caller(pid_file.as_deref(), pidfd_socket.as_deref())
    }

    fn before_proceed(&mut self, spawned: &Spawned) -> Result<(), Error> {
        let step = |step| move |fault| Error::Parent { step, fault };
        if let Some(maps) = &self.plan.id_maps {
            let needs_helper = self.host.needs_map_helper(maps);
            let privileged = !self.host.rootless();
            idmap::write_maps(spawned.pid, maps, needs_helper, privileged)
                .map_err(step("write the id maps"))?;
        }
        if !self.plan.net_devices.is_empty() {
            let moved = net_device::move_into(spawned.pid, &self.plan.net_devices);
            self.undo.net_devices = Some(moved.map_err(step("move the network devices"))?);
        }
        if let Some(rdt) = &self.plan.intel_rdt {
            self.undo.intel_rdt =
                intel_rdt::apply(rdt, self.directory.id(), spawned.pid).map_err(step("set up intelRdt"))?;
        }
        Ok(())
    }

    fn runtime_hooks(&self, pid: u32) -> Result<(), Error> {
        let hooks = &self.plan.hooks;
        // Prestart hooks date from a time when they ran at `start`, and are still told so.
        for (kind, status, list) in [
            ("prestart", "created", &hooks.prestart),
            ("createRuntime", "creating", &hooks.create_runtime),
        ] {
            if !list.is_empty() {
                let state = self.plan.hook_state.json(status, Some(pid));
                hooks::run_all(list, &state).map_err(|source| Error::Hook { kind, source })?;
            }
        }
        Ok(())
    }
}

/// Undoes what a failed creation has made, in reverse.
fn undo(undo: &mut Undo) -> Result<(), cgroup::Error> {
    if let Some(moved) = &mut undo.net_devices {
        moved.back();
    }
    undo.intel_rdt.undo();
    let Some(record) = &undo.cgroup else { return Ok(()) };
    if undo.others_survive {
        record.kill_all(libc::SIGKILL)?;
    }
    record.delete()
}

/// Whether somebody is going to look at the waiting process.
fn promised(spec: &oci_spec::runtime::Spec) -> bool {
    let annotations = spec.annotations().as_ref();
    annotations.is_some_and(|all| all.contains_key(start::PROMISES))
}

/// Lets the first process of a created container wait for `start` without this process.
///
/// # Errors
/// The failed call.
pub fn leave_waiting(mut created: Created) -> Result<Created, Error> {
    if let Err(error) = created.spawned.send(ToChild::Start) {
        abandon(created);
        return Err(error);
    }
    created.keep();
    Ok(created)
}

/// Ends a container whose start failed, in reverse: process, cgroups, state.
pub fn abandon(mut created: Created) {
    let acts = if created.undo.armed {
        &TAKE_DOWN[..]
    } else {
        &TAKE_DOWN[..1]
    };
    take_down(acts, Some(&created.spawned), &mut created.undo, created.directory);
}

/// Takes a container down that never came to be; what cannot be removed is left to `delete`.
fn take_down(acts: &[Act], spawned: Option<&Spawned>, made: &mut Undo, directory: Directory) {
    let mut directory = Some(directory);
    for act in acts {
        crate::log::act(*act);
        match (act, spawned) {
            (Act::End, Some(spawned)) => spawned.kill(),
            (Act::Free, _) => {
                if let Err(error) = undo(made) {
                    // The state stays: without it nobody would find what is left.
                    crate::log::warning(&format!("{}: delete removes what is left", chain(&error)));
                    return;
                }
            }
            (Act::Remove, _) => drop(directory.take().map(Directory::remove)),
            _ => {}
        }
    }
}

/// Checks that the descriptors to preserve are open, before any of ours could take their numbers.
///
/// # Errors
/// [`Error::Preserved`].
pub fn check_preserved(preserved: plan::Preserved) -> Result<(), Error> {
    // In 64 bits: a count that wraps would leave every descriptor of the host open.
    for number in 3..3 + u64::from(preserved.plain) + u64::from(preserved.listen) {
        if !i32::try_from(number).is_ok_and(nucleus_sys::process::is_open) {
            return Err(Error::Preserved(number));
        }
    }
    Ok(())
}

/// Checks that a terminal has somebody to hold it, and that a socket has a terminal to get.
///
/// # Errors
/// [`Error::Terminal`].
pub fn check_terminal(terminal: bool, socket: Option<&Path>, detached: bool) -> Result<(), Error> {
    match (terminal, socket) {
        (true, None) if detached => Err(Error::Terminal(
            "process.terminal is set, and this command does not wait for the container: \
             give --console-socket, where the terminal is sent to",
        )),
        (false, Some(_)) => Err(Error::Terminal(
            "--console-socket was given, but process.terminal is not set: there is no terminal to send",
        )),
        _ => Ok(()),
    }
}

/// Logs the steps of a plan, for `--debug`.
pub fn log_steps(plan: &Plan) {
    if crate::log::debugging() {
        for (index, step) in plan.steps.iter().enumerate() {
            crate::log::debug(&format!("step {index}: {step:#}"));
        }
    }
}

fn record(
    plan: &Plan,
    spec: &oci_spec::runtime::Spec,
    options: &Options,
    bundle: &Path,
    host: &HostFacts,
) -> Record {
    let rootfs = spec
        .root()
        .as_ref()
        .map(|root| bundle.join(root.path()))
        .unwrap_or_default();
    Record {
        oci_version: spec.version().clone(),
        id: options.id.clone(),
        bundle: bundle.to_owned(),
        rootfs,
        annotations: state::annotations(spec, plan.landlock.as_deref()),
        created: crate::log::now(),
        owner: host.uid,
        cgroup: plan.cgroup.intent(),
        intel_rdt: intel_rdt::recorded(spec, &options.id),
        pid_namespace: plan.clone_flags & libc::CLONE_NEWPID as u64 != 0,
    }
}

fn init_file(process: Process, cgroup: &cgroup::Record) -> Vec<u8> {
    let file = state::Init {
        process,
        cgroup: cgroup.clone(),
    };
    serde_json::to_vec(&file).unwrap_or_default()
}
