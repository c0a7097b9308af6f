//! The pure decision: `(Spec, HostFacts) -> Plan`. Everything is decided, checked and allocated here, before
//! the fork; the parent and the child only carry it out.

mod arrange;
mod attributes;
pub mod capabilities;
mod devices;
pub mod exec;
pub mod landlock;
mod mounts;
pub mod namespaces;
pub mod options;
pub mod order;
mod paths;
pub mod process;
pub mod step;
pub mod sysctl;
pub mod tree;

use crate::cgroup;
use crate::hooks::Hooks;
use crate::host::HostFacts;
use crate::protocol::{Protocol, Stage};
use crate::rootfs::mount::BindSource;
use crate::state::HookState;
use nucleus_sys::exec::CStrings;
use oci_spec::runtime as oci;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use step::{FdSlot, Step};

/// Why a configuration cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that can never be right.
    #[error("{field}: {reason}")]
    Invalid {
        /// Where in config.json.
        field: String,
        /// Why.
        reason: String,
    },
    /// Something that this kernel, host or caller cannot do.
    #[error("{field} cannot be enforced: {reason}")]
    Unsupported {
        /// Where in config.json.
        field: String,
        /// Why not.
        reason: String,
    },
    /// `linux.resources` or `linux.cgroupsPath`.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// A step that is not where it has to be: a fault of this program, found before anything is made.
    #[error("the plan of the set-up is wrong")]
    Order(#[from] order::Misplaced),
    /// The same of the mount tree.
    #[error("the plan of the set-up is wrong")]
    Tree(#[from] tree::Misplaced),
    /// `linux.seccomp`.
    #[error("linux.seccomp")]
    Seccomp(#[from] crate::seccomp::Error),
}

impl Error {
    fn value(reason: String) -> Self {
        Self::Invalid {
            field: String::new(),
            reason,
        }
    }

    fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            reason: reason.into(),
        }
    }

    fn unsupported(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported {
            field: field.into(),
            reason: reason.into(),
        }
    }

    /// Adds where in config.json the error is.
    fn at(self, place: String) -> Self {
        let join = |field: String| {
            if field.is_empty() {
                place.clone()
            } else {
                format!("{place}: {field}")
            }
        };
        match self {
            Self::Invalid { field, reason } => Self::Invalid {
                field: join(field),
                reason,
            },
            Self::Unsupported { field, reason } => Self::Unsupported {
                field: join(field),
                reason,
            },
            other => other,
        }
    }
}

/// What the command asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Absolute path of the bundle.
    pub bundle: &'a Path,
    /// The parsed config.json.
    pub spec: &'a oci::Spec,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// How many descriptors after the standard streams the program inherits.
    pub preserved: Preserved,
    /// Further entries of its environment.
    pub environment: &'a [String],
    /// The directory of the readiness socket, under a service manager.
    pub notify: Option<&'a Path>,
    /// Who creates cgroups, or nobody (`--cgroup-manager disabled`).
    pub cgroups: Option<cgroup::Driver>,
    /// The caller looks at the first process before it starts the program (`--block-fd`).
    pub traced: bool,
    /// The program is started by another command, which asks for `process` then (`create`).
    pub started_later: bool,
    /// Which directory the root file system must be (`--rootfs-fd`).
    pub rootfs: Option<step::Inode>,
}

/// Descriptors that the program inherits beside the standard streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Preserved {
    /// `--preserve-fds`.
    pub plain: u32,
    /// `LISTEN_FDS` of the runtime's own environment; `sd_listen_fds(3)`.
    pub listen: u32,
}

/// Everything that parent and child will do.
#[derive(Debug)]
pub struct Plan {
    /// `CLONE_NEW*` for `clone3(2)`.
    pub clone_flags: u64,
    /// Namespaces that the parent enters before `clone3(2)` and leaves after it.
    pub parent_joins: Vec<namespaces::Join>,
    /// Another process enters them and makes the clone: there is no way back out of a user namespace.
    pub by_helper: bool,
    /// What the helper sets as its `oom_score_adj`, for the child to inherit; see [`Step::OomScoreAdj`].
    pub helper_oom_score_adj: Option<i32>,
    /// What the parent opens for the child; the index is the child's [`FdSlot`].
    pub open: Vec<ToOpen>,
    /// Id maps of a new user namespace.
    pub id_maps: Option<IdMaps>,
    /// Offsets of a time namespace that the parent makes, for `/proc/self/timens_offsets`.
    pub time_offsets: Option<String>,
    /// The child's work, in order.
    pub steps: Vec<Step>,
    /// What the child becomes.
    pub program: Program,
    /// The six kinds of hooks.
    pub hooks: Hooks,
    /// What hooks are told about the container.
    pub hook_state: HookState,
    /// The container's cgroups.
    pub cgroup: cgroup::Plan,
    /// Network devices to move into the container: name on the host, name inside.
    pub net_devices: Vec<(String, String)>,
    /// Cache and memory bandwidth control.
    pub intel_rdt: Option<oci::LinuxIntelRdt>,
    /// Where the listener of an `SCMP_ACT_NOTIFY` filter goes.
    pub listener: Option<Listener>,
    /// Whether the child waits for the parent before anything else.
    pub proceed: bool,
    /// What is enforced of the annotation for Landlock: the value of [`landlock::ENFORCED`] in the state.
    pub landlock: Option<String>,
    /// Whether `process.terminal` is set.
    pub terminal: bool,
    /// Whether the container gets the directory of the readiness socket.
    pub notify: bool,
    /// Things that the caller may want to know and that change nothing: for the log.
    pub notes: Vec<String>,
}

impl Plan {
    /// What is expected of a child with this plan, which sends its terminal unless somebody else gets it.
    pub fn protocol(&self, console_socket: bool) -> Protocol {
        let waits = |step: &Step| matches!(step, Step::AwaitRuntimeHooks);
        Protocol {
            stage: Stage::SetUp,
            hooks: self.steps.iter().any(waits),
            terminal: self.terminal && !console_socket,
            listener: self.steps.iter().any(Step::sends_listener),
        }
    }
}

/// A seccomp agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its socket.
    pub path: PathBuf,
    /// Passed to it as it is.
    pub metadata: String,
}

/// The program and what it starts with.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its arguments, the first being its name.
    pub args: CStrings,
    /// Its environment.
    pub env: CStrings,
    /// Its user, for `HOME`.
    pub uid: u32,
    /// How many descriptors it inherits beside the standard streams.
    pub preserved: u32,
    /// Whether sockets are among them: then `LISTEN_PID` is its id, which only itself knows.
    pub listens: bool,
}

impl Program {
    /// The first descriptor that is closed before the program runs.
    pub fn first_closed_fd(&self) -> i32 {
        3 + self.preserved as i32
    }
}

/// Something that the parent opens before the fork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToOpen {
    /// A namespace file.
    Namespace(PathBuf),
    /// A detached copy of a mount.
    Mount {
        /// Where it is.
        source: BindSource,
        /// Id mappings.
        idmap: Option<IdMappedMount>,
    },
}

/// Id mappings of a mount; `mount_setattr(2)`, `MOUNT_ATTR_IDMAP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMappedMount {
    /// The mappings.
    pub maps: IdMaps,
    /// Also for the mounts below.
    pub recursive: bool,
}

/// Id maps in the form of `/proc/<pid>/uid_map`; `user_namespaces(7)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMaps {
    /// User ids: inside, outside, count.
    pub uids: Vec<[u32; 3]>,
    /// Group ids: inside, outside, count.
    pub gids: Vec<[u32; 3]>,
}

impl IdMaps {
    /// The kernel's limit for lines of a map; `user_namespaces(7)`, Linux 4.15.
    const MOST: usize = 340;

    fn new(uids: &[oci::LinuxIdMapping], gids: &[oci::LinuxIdMapping]) -> Result<Self, Error> {
        let lines = |maps: &[oci::LinuxIdMapping], field: &str| {
            if maps.len() > Self::MOST {
                return Err(Error::invalid(
                    field,
                    format!("more than {} mappings", Self::MOST),
                ));
            }
            maps.iter()
                .map(|map| match map.size() {
                    0 => Err(Error::invalid(field, "a mapping of size 0")),
                    size => Ok([map.container_id(), map.host_id(), size]),
                })
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            uids: lines(uids, "uidMappings")?,
            gids: lines(gids, "gidMappings")?,
        })
    }

    /// Whether an id inside is mapped by these lines.
    pub fn maps_inside(lines: &[[u32; 3]], id: u32) -> bool {
        lines
            .iter()
            .any(|[inside, _, count]| id.checked_sub(*inside).is_some_and(|offset| offset < *count))
    }
}

/// The plan while it is being made.
struct Builder<'a> {
    request: &'a Request<'a>,
    host: &'a HostFacts,
    cgroup: cgroup::Plan,
    namespaces: namespaces::Namespaces,
    id_maps: Option<IdMaps>,
    open: Vec<ToOpen>,
    steps: Vec<Step>,
    notes: Vec<String>,
    landlock: Option<String>,
    landlock_steps: bool,
}

impl Builder<'_> {
    fn linux(&self) -> Option<&oci::Linux> {
        self.request.spec.linux().as_ref()
    }

    fn open(&mut self, what: ToOpen) -> FdSlot {
        self.open.push(what);
        FdSlot(self.open.len() - 1)
    }

    fn has_new_namespace(&self, typ: oci::LinuxNamespaceType) -> bool {
        self.namespaces.is_new(typ)
    }

    /// Whether the container has a user namespace of its own, new or joined.
    fn in_user_namespace(&self) -> bool {
        self.namespaces.has(oci::LinuxNamespaceType::User)
    }

    /// Keeps what the state tells of Landlock, and returns the child's step.
    fn take_landlock(&mut self, decision: landlock::Decision) -> Option<Step> {
        self.notes.extend(decision.note());
        self.landlock = Some(decision.enforced);
        self.landlock_steps = decision.rules.is_some();
        decision.rules.map(|rules| Step::Landlock(Box::new(rules)))
    }

    /// A privileged parent opens what the user namespace's root may not be able to reach.
    fn parent_opens_sources(&self) -> bool {
        self.in_user_namespace() && !self.host.rootless()
    }
}

/// Decides everything about a container.
///
/// # Errors
/// A value that is wrong, or a request that this host cannot meet: the first one found.
pub fn plan(request: &Request<'_>, host: &HostFacts) -> Result<Plan, Error> {
    let spec = request.spec;
    let nothing;
    let process = match spec.process() {
        Some(process) => process,
        None if request.started_later => {
            nothing = process::nothing();
            &nothing
        }
        None => return Err(Error::invalid("process", "missing")),
    };
    let linux = spec.linux().as_ref();
    let namespaces = namespaces::Namespaces::new(linux, host)?;
    let id_maps = namespaces::id_maps(linux, &namespaces)?;
    let cgroup = plan_cgroup(request.id, spec, request.cgroups, host)?;
    let hooks =
        Hooks::new(spec.hooks().as_ref()).map_err(|error| Error::invalid("hooks", error.to_string()))?;
    let mut builder = Builder {
        request,
        host,
        cgroup,
        namespaces,
        id_maps,
        open: Vec::new(),
        steps: Vec::with_capacity(64),
        notes: Vec::new(),
        landlock: None,
        landlock_steps: false,
    };
    let net_devices = namespaces::net_devices(&builder)?;
    let intel_rdt = intel_rdt(linux)?;
    let proceed = builder.id_maps.is_some() || !net_devices.is_empty() || intel_rdt.is_some();
    let entered = namespaces::enter(&mut builder, process, proceed)?;
    let notify = notify(request, process);
    paths::root_and_mounts(&mut builder, &hooks, process, notify)?;
    let listener = process::add(&mut builder, process, &hooks)?;
    arrange::check(asked(&builder, process, &hooks), &builder.steps)?;
    arrange::check_tree(paths::asked(&builder, &hooks)?, &builder.steps)?;
    if spec.process().is_none() {
        builder.steps.retain(|step| !matches!(step, Step::FindProgram));
    }
    let mut program = process::program(process, request.preserved, request.environment)?;
    if notify.is_some() {
        program.env.push(crate::readiness::VARIABLE.to_owned());
    }
    Ok(Plan {
        clone_flags: entered.clone_flags,
        parent_joins: entered.parent_joins,
        by_helper: entered.by_helper,
        helper_oom_score_adj: entered.helper_oom_score_adj,
        time_offsets: entered.parent_time_offsets,
        open: builder.open,
        id_maps: builder.id_maps,
        steps: builder.steps,
        program,
        hooks,
        hook_state: HookState::new(spec, request.id, request.bundle, builder.landlock.as_deref()),
        landlock: builder.landlock,
        cgroup: builder.cgroup,
        net_devices,
        intel_rdt,
        listener,
        proceed,
        terminal: process.terminal().unwrap_or(false),
        notify: notify.is_some(),
        notes: builder.notes,
    })
}

/// What the configuration says about the order of the steps, told from it and not from the steps.
fn asked(builder: &Builder<'_>, process: &oci::Process, hooks: &Hooks) -> order::Asked {
    let filter = builder.linux().and_then(|linux| linux.seccomp().as_ref());
    order::Asked {
        enters: false,
        user_namespace: builder.in_user_namespace(),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        landlock: builder.landlock_steps,
        filter: filter.is_some(),
        listener: filter.is_some_and(|filter| filter.listener_path().is_some()),
        terminal: process.terminal().unwrap_or(false),
        runtime_hooks: !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty(),
        container_hooks: !hooks.create_container.is_empty(),
        start_hooks: !hooks.start_container.is_empty(),
        traced: process::tracing(builder).is_some(),
    }
}

/// Unless the caller arranges its own: its variable would win over ours, or ours over its.
fn notify<'a>(request: &Request<'a>, process: &oci::Process) -> Option<&'a Path> {
    let own_variable = process
        .env()
        .iter()
        .flatten()
        .any(|entry| entry.starts_with("NOTIFY_SOCKET="));
    request.notify.filter(|_| !own_variable)
}

fn intel_rdt(linux: Option<&oci::Linux>) -> Result<Option<oci::LinuxIntelRdt>, Error> {
    let Some(rdt) = linux.and_then(|linux| linux.intel_rdt().as_ref()) else {
        return Ok(None);
    };
    crate::intel_rdt::check(rdt)
        .map_err(|(field, reason)| Error::invalid(format!("linux.intelRdt.{field}"), reason))?;
    Ok(Some(rdt.clone()))
}

/// The container's cgroups, from its configuration alone.
///
/// # Errors
/// A value that is wrong, or that this host cannot do.
pub fn plan_cgroup(
    id: &str,
    spec: &oci::Spec,
    driver: Option<cgroup::Driver>,
    host: &HostFacts,
) -> Result<cgroup::Plan, Error> {
    let linux = spec.linux().as_ref();
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let path = path
        .map(|path| {
            path.to_str()
                .ok_or_else(|| Error::invalid("linux.cgroupsPath", "not UTF-8"))
        })
        .transpose()?;
    let Some(driver) = driver else {
        return Ok(cgroup::Plan::none());
    };
    let request = cgroup::Request {
        cgroups_path: path,
        id,
        resources: linux.and_then(|linux| linux.resources().as_ref()),
        devices: linux
            .and_then(|linux| linux.devices().as_deref())
            .unwrap_or_default(),
        rootless: host.rootless(),
        driver,
        annotations: spec.annotations().as_ref(),
    };
    Ok(cgroup::plan(&host.cgroups, &request)?)
}

/// A C string for the kernel.
fn c_string(text: impl Into<std::ffi::OsString>) -> Result<CString, Error> {
    use std::os::unix::ffi::OsStringExt;
    let bytes = text.into().into_vec();
    CString::new(bytes).map_err(|error| {
        let text = String::from_utf8_lossy(&error.into_vec()).into_owned();
        Error::value(format!("{text:?} holds a NUL byte"))
    })
}
