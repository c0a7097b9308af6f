//! The plan of `exec`: another process in a running container.

use super::namespaces::{self, Join};
use super::process::{self, End};
use super::step::{FdSlot, Step};
use super::{Error, Listener, Plan, Preserved, arrange, attributes, c_string, capabilities, landlock, order};
use crate::cgroup;
use crate::hooks::Hooks;
use crate::host::HostFacts;
use crate::state::HookState;
use oci_spec::runtime::{self as oci, LinuxNamespaceType as Type};
use std::path::{Path, PathBuf};

/// What `exec` asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Its bundle.
    pub bundle: &'a Path,
    /// The container's configuration as it was at `create`.
    pub spec: &'a oci::Spec,
    /// The new process.
    pub process: &'a oci::Process,
    /// The container's first process, in the runtime's pid namespace.
    pub init: u32,
    /// Whether the first process is in the runtime's own network namespace.
    pub same_network: bool,
    /// Whether the container's cgroups are entered through version 1 files.
    pub by_tasks: bool,
    /// What the new process inherits.
    pub preserved: Preserved,
    /// Further entries of its environment.
    pub environment: &'a [String],
}

/// The descriptor of the container's first process, handed to the child first.
pub const INIT: FdSlot = FdSlot(0);

/// Decides everything about a further process.
///
/// # Errors
/// A value that is wrong, or a request that this host cannot meet.
pub fn plan(request: &Request<'_>, host: &HostFacts) -> Result<Plan, Error> {
    let linux = request.spec.linux().as_ref();
    let types: Vec<Type> = linux
        .and_then(|linux| linux.namespaces().as_deref())
        .unwrap_or_default()
        .iter()
        .filter(|namespace| !(request.same_network && namespaces::is_inherited(namespace)))
        .map(oci::LinuxNamespace::typ)
        .collect();
    let mut notes = Vec::new();
    let mut steps = Vec::with_capacity(24);
    let affinity = affinity(request.process)?;
    steps.extend(affinity.0);
    let oom_score_adj = match request.spec.process() {
        Some(first) if request.process.oom_score_adj().is_none() => process::oom_score_adj(first)?,
        _ => process::oom_score_adj(request.process)?,
    };
    steps.extend([Step::FollowRuntime(true), Step::NotDumpable]);
    if request.by_tasks {
        steps.push(Step::JoinCgroups);
    }
    steps.extend(affinity.1);
    let (parent_joins, by_helper) = join(request, host, &types, &mut steps);
    if let (Some(value), false) = (oom_score_adj, by_helper) {
        steps.insert(0, Step::OomScoreAdj(value));
    }
    steps.push(Step::NewSession);
    steps.push(Step::SessionKeyring(c_string(format!("_ses.{}", request.id))?));
    steps.push(Step::CurrentRoot);
    let process = request.process;
    if process.terminal().unwrap_or(false) {
        steps.push(process::terminal(process, false)?);
    }
    attributes::add_attributes(&mut steps, process, host)?;
    if let Some(personality) = linux.and_then(|linux| linux.personality().as_ref()) {
        steps.push(attributes::persona(personality)?);
    }
    let listener = end(request, host, &types, &mut steps, &mut notes)?;
    arrange::check(asked(request, &steps), &steps)?;
    Ok(Plan {
        clone_flags: 0,
        parent_joins,
        by_helper,
        helper_oom_score_adj: oom_score_adj.filter(|_| by_helper),
        open: Vec::new(),
        id_maps: None,
        time_offsets: None,
        steps,
        program: process::program(process, request.preserved, request.environment)?,
        hooks: Hooks::default(),
        hook_state: HookState::new(request.spec, request.id, request.bundle, None),
        landlock: None,
        cgroup: cgroup::Plan::none(),
        net_devices: Vec::new(),
        intel_rdt: None,
        listener,
        proceed: false,
        terminal: process.terminal().unwrap_or(false),
        notify: false,
        notes,
    })
}

/// What decides about the order of the steps.
fn asked(request: &Request<'_>, steps: &[Step]) -> order::Asked {
    let filter = request
        .spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.seccomp().as_ref());
    order::Asked {
        enters: true,
        user_namespace: steps.iter().any(|step| matches!(step, Step::BecomeRoot { .. })),
        no_new_privileges: request.process.no_new_privileges().unwrap_or(false),
        landlock: steps.iter().any(|step| matches!(step, Step::Landlock(_))),
        filter: filter.is_some(),
        listener: filter.is_some_and(|filter| filter.listener_path().is_some()),
        terminal: request.process.terminal().unwrap_or(false),
        ..order::Asked::default()
    }
}

/// All namespaces at once through the first process's descriptor (`setns(2)`, Linux 5.8), but the pid
/// namespace: it holds only for children, so the parent enters it for the clone. An unprivileged one needs the
/// privileges of the user namespace for that, from which there is no way back: then a helper enters both.
fn join(request: &Request<'_>, host: &HostFacts, types: &[Type], steps: &mut Vec<Step>) -> (Vec<Join>, bool) {
    let by_helper = host.rootless() && types.contains(&Type::User) && types.contains(&Type::Pid);
    let by_parent = |typ: Type| typ == Type::Pid || by_helper && typ == Type::User;
    let mut joins: Vec<Join> = Vec::new();
    for typ in [Type::User, Type::Pid] {
        if types.contains(&typ) && by_parent(typ) {
            let name = namespaces::name(typ);
            let path = PathBuf::from(format!("/proc/{}/ns/{name}", request.init));
            joins.push(Join {
                name,
                flag: namespaces::flag(typ),
                path,
            });
        }
    }
    let flags = types
        .iter()
        .filter(|typ| !by_parent(**typ))
        .fold(0, |flags, typ| flags | namespaces::flag(*typ));
    if flags != 0 {
        steps.push(Step::JoinNamespace {
            name: "container's",
            flag: flags,
            fd: INIT,
            path: None,
        });
    }
    if types.contains(&Type::User) {
        let (uid, gid) = namespaces::root_of(namespaces::known_maps(request.spec.linux().as_ref()).as_ref());
        steps.extend([Step::BecomeRoot { uid, gid }, Step::FollowRuntime(true)]);
    }
    (joins, by_helper)
}

fn end(
    request: &Request<'_>,
    host: &HostFacts,
    types: &[Type],
    steps: &mut Vec<Step>,
    notes: &mut Vec<String>,
) -> Result<Option<Listener>, Error> {
    let linux = request.spec.linux().as_ref();
    let process = request.process;
    if !process.cwd().is_absolute() {
        return Err(Error::invalid(
            "process.cwd",
            format!("{} is not absolute", process.cwd().display()),
        ));
    }
    let in_user_namespace = types.contains(&Type::User);
    let available = if in_user_namespace {
        u64::MAX
    } else {
        host.capabilities
    };
    let filter = linux
        .and_then(|linux| linux.seccomp().as_ref())
        .map(crate::seccomp::compile)
        .transpose()?;
    let listener = filter.as_ref().and_then(|filter| {
        let path = filter.listener_path.clone()?;
        Some(Listener {
            path,
            metadata: filter.listener_metadata.clone(),
        })
    });
    // What the new process leaves open is as in the first one, as under runc.
    let first = request.spec.process().as_ref();
    let mut identity = process::identity(
        process.user(),
        namespaces::known_maps(request.spec.linux().as_ref()).as_ref(),
        host,
    )?;
    if process.user().umask().is_none()
        && let Some(umask) = first.and_then(|first| first.user().umask())
    {
        identity.umask = umask;
    }
    let capabilities = process.capabilities().as_ref();
    let capabilities = capabilities.or_else(|| first.and_then(|first| first.capabilities().as_ref()));
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    // The container's rules, in a domain of the new process's own: scopes keep it from the container's other
    // processes too, and those from it.
    let landlock = landlock::decide(request.spec, host.landlock_abi, no_new_privileges, available)?;
    notes.extend(landlock.as_ref().and_then(landlock::Decision::note));
    let landlock = landlock.and_then(|decision| decision.rules);
    process::add_end(
        steps,
        End {
            cwd: c_string(process.cwd().clone().into_os_string())?,
            no_new_privileges,
            identity,
            capabilities: capabilities::capabilities(capabilities, available, notes)?,
            landlock: landlock.map(|rules| Step::Landlock(Box::new(rules))),
            seccomp: filter.map(|filter| Step::Seccomp(Box::new(filter))),
            tracing: None,
            start_hooks: None,
        },
    );
    Ok(listener)
}

/// `process.execCPUAffinity`: before and after the process is in the container's cgroup.
fn affinity(process: &oci::Process) -> Result<(Option<Step>, Option<Step>), Error> {
    let Some(affinity) = process.exec_cpu_affinity() else {
        return Ok((None, None));
    };
    let step = |list: &Option<String>, field: &str| {
        let Some(text) = list.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let field = format!("process.execCPUAffinity.{field}");
        let cpus = attributes::list(text)
            .ok_or_else(|| Error::invalid(field, format!("{text:?} is not a list such as 0-3,7")))?;
        Ok::<_, Error>(Some(Step::Affinity(cpus)))
    };
    Ok((
        step(affinity.initial(), "initial")?,
        step(affinity.cpu_affinity_final(), "final")?,
    ))
}
