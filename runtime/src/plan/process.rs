//! From `process` to the steps between the pivot and exec.

use super::attributes::{add_attributes, memory_policy, persona};
use super::capabilities::capabilities;
use super::step::{ChildHooks, Step};
use super::{Builder, Error, IdMaps, Listener, Preserved, Program, arrange, c_string, landlock, order};
use crate::credentials::{Capabilities, Identity};
use crate::hooks::Hooks;
use crate::host::HostFacts;
use nucleus_sys::exec::CStrings;
use oci_spec::runtime as oci;

/// The mask of a container that names none, as in runc.
const DEFAULT_UMASK: u32 = 0o022;
/// All capabilities of a user namespace's first process.
const EVERY_CAPABILITY: u64 = u64::MAX;

/// Adds the steps of the process; returns where a seccomp listener goes.
pub(super) fn add(
    builder: &mut Builder<'_>,
    process: &oci::Process,
    hooks: &Hooks,
) -> Result<Option<Listener>, Error> {
    let cwd = process.cwd();
    if !cwd.is_absolute() {
        return Err(Error::invalid(
            "process.cwd",
            format!("{} is not absolute", cwd.display()),
        ));
    }
    add_attributes(&mut builder.steps, process, builder.host)?;
    if let Some(policy) = builder.linux().and_then(|linux| linux.memory_policy().as_ref()) {
        let step = memory_policy(policy)?;
        builder.steps.push(step);
    }
    if let Some(personality) = builder.linux().and_then(|linux| linux.personality().as_ref()) {
        let step = persona(personality)?;
        builder.steps.push(step);
    }
    let identity = identity(process.user(), builder.id_maps.as_ref(), builder.host)?;
    let available = if builder.in_user_namespace() {
        EVERY_CAPABILITY
    } else {
        builder.host.capabilities
    };
    let capabilities = capabilities(process.capabilities().as_ref(), available, &mut builder.notes)?;
    let filter = match builder.linux().and_then(|linux| linux.seccomp().as_ref()) {
        Some(seccomp) => Some(crate::seccomp::compile(seccomp)?),
        None => None,
    };
    let listener = filter.as_ref().and_then(|filter| {
        let path = filter.listener_path.clone()?;
        Some(Listener {
            path,
            metadata: filter.listener_metadata.clone(),
        })
    });
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    let abi = builder.host.landlock_abi;
    let landlock = landlock::decide(builder.request.spec, abi, no_new_privileges, available)?;
    let start_hooks = (!hooks.start_container.is_empty()).then_some(Step::Hooks(ChildHooks::StartContainer));
    let end = End {
        cwd: c_string(cwd.clone().into_os_string())?,
        no_new_privileges,
        identity,
        capabilities,
        landlock: landlock.and_then(|decision| builder.take_landlock(decision)),
        seccomp: filter.map(|filter| Step::Seccomp(Box::new(filter))),
        tracing: tracing(builder),
        start_hooks,
    };
    add_end(&mut builder.steps, end);
    Ok(listener)
}

/// What the last steps before exec need.
pub(super) struct End {
    pub(super) cwd: std::ffi::CString,
    pub(super) no_new_privileges: bool,
    pub(super) identity: Identity,
    pub(super) capabilities: Capabilities,
    pub(super) landlock: Option<Step>,
    pub(super) seccomp: Option<Step>,
    pub(super) tracing: Option<Step>,
    pub(super) start_hooks: Option<Step>,
}

/// A caller that looks at the waiting process seizes it (`ptrace(2)`). Root can do that with any process; an
/// unprivileged caller has the privilege over its own user namespace, but the kernel asks for it in the one
/// where this program was executed, unless the process is dumpable. Here that lets in nobody else: the pid
/// namespace has no other process yet, and one outside of it is either the caller's own, which could have
/// traced the runtime itself, or, as a process of another container, lacks the privilege over this one's user
/// namespace, also with the same user id.
///
/// A program that `exec` puts beside the waiting process may have the same ids. Under root it finds the process
/// not dumpable; without root, `exec` itself could not join such a process and refuses while it waits.
pub(super) fn tracing(builder: &Builder<'_>) -> Option<Step> {
    use oci::LinuxNamespaceType as Type;
    if !builder.has_new_namespace(Type::User) {
        return None;
    }
    if !builder.host.rootless() {
        return Some(Step::NotDumpable);
    }
    (builder.request.traced && builder.has_new_namespace(Type::Pid)).then_some(Step::Dumpable)
}

/// Adds the last steps before exec, in the order that [`order::road`] gives them.
pub(super) fn add_end(steps: &mut Vec<Step>, end: End) {
    let End {
        cwd,
        no_new_privileges,
        identity,
        capabilities,
        landlock,
        seccomp,
        tracing,
        start_hooks,
    } = end;
    let asked = order::Asked {
        no_new_privileges,
        landlock: landlock.is_some(),
        filter: seccomp.is_some(),
        listener: matches!(&seccomp, Some(Step::Seccomp(filter)) if filter.listener_path.is_some()),
        start_hooks: start_hooks.is_some(),
        traced: tracing.is_some(),
        ..order::Asked::default()
    };
    let first = steps.len();
    let home = (landlock.is_some() && !no_new_privileges).then_some(Step::FindHome);
    steps.extend([
        Step::CloseDescriptors,
        Step::EnterDirectory(cwd),
        Step::Credentials {
            identity,
            capabilities,
        },
        Step::FindProgram,
        Step::FollowRuntime(false),
        Step::Ready,
        Step::AwaitStart,
    ]);
    steps.extend(no_new_privileges.then_some(Step::NoNewPrivileges));
    steps.extend(
        home.into_iter()
            .chain(landlock)
            .chain(seccomp)
            .chain(tracing)
            .chain(start_hooks),
    );
    arrange::arrange(&mut steps[first..], asked);
}

/// What waits in a container without `process`, which is required only when it is started (`config.md#process`):
/// `start` refuses. A directory cannot be executed.
pub(super) fn nothing() -> oci::Process {
    let mut process = oci::Process::default();
    process.set_args(Some(vec!["/".to_owned()]));
    process
}

/// `process.oomScoreAdj`, checked.
pub(super) fn oom_score_adj(process: &oci::Process) -> Result<Option<i32>, Error> {
    match process.oom_score_adj() {
        Some(value) if !(-1000..=1000).contains(&value) => Err(Error::invalid(
            "process.oomScoreAdj",
            format!("{value} is not in -1000..1000"),
        )),
        value => Ok(value),
    }
}

/// The program, its arguments and environment.
pub(super) fn program(
    process: &oci::Process,
    preserved: Preserved,
    passed: &[String],
) -> Result<Program, Error> {
    let strings = |list: &[String], field: &str| {
        list.iter()
            .map(|text| c_string(text.as_str()).map_err(|error| error.at(field.to_owned())))
            .collect::<Result<Vec<_>, _>>()
    };
    let args = strings(process.args().as_deref().unwrap_or_default(), "process.args")?;
    if args.is_empty() {
        return Err(Error::invalid("process.args", "empty: nothing to run"));
    }
    let mut env = strings(process.env().as_deref().unwrap_or_default(), "process.env")?;
    if let Some(entry) = env.iter().find(|entry| !entry.to_bytes().contains(&b'=')) {
        let entry = entry.to_string_lossy().into_owned();
        return Err(Error::invalid("process.env", format!("{entry:?} has no '='")));
    }
    for entry in passed {
        env.push(c_string(entry.as_str())?);
    }
    if preserved.listen > 0 {
        env.push(c_string(format!("LISTEN_FDS={}", preserved.listen))?);
    }
    Ok(Program {
        args: CStrings::new(args),
        env: CStrings::new(env),
        uid: process.user().uid(),
        preserved: preserved.plain + preserved.listen,
        listens: preserved.listen > 0,
    })
}

/// The terminal's step; with `console` it is `/dev/console` too.
pub(super) fn terminal(process: &oci::Process, console: bool) -> Result<Step, Error> {
    let size = process.console_size().map(|size| {
        let side = |value: u64| {
            u16::try_from(value).map_err(|_| {
                Error::invalid("process.consoleSize", format!("{value} characters are too many"))
            })
        };
        Ok::<_, Error>((side(size.height())?, side(size.width())?))
    });
    Ok(Step::Terminal {
        size: size.transpose()?,
        console,
    })
}

/// Refuses what stands for *unchanged* in `setresuid(2)` and `chown(2)`: it would leave root's id.
pub(super) fn check_id(id: u32) -> Result<(), Error> {
    match id {
        u32::MAX => Err(Error::value(format!("{id} is nobody's id"))),
        _ => Ok(()),
    }
}

/// User, groups and mask, checked against the id maps.
pub(super) fn identity(user: &oci::User, maps: Option<&IdMaps>, host: &HostFacts) -> Result<Identity, Error> {
    let additional = user.additional_gids().clone().unwrap_or_default();
    let ids = [("process.user.uid", user.uid()), ("process.user.gid", user.gid())];
    let further = additional.iter().map(|gid| ("process.user.additionalGids", *gid));
    for (field, id) in ids.into_iter().chain(further) {
        check_id(id).map_err(|error| error.at(field.to_owned()))?;
    }
    if let Some(maps) = maps {
        if !IdMaps::maps_inside(&maps.uids, user.uid()) {
            return Err(Error::invalid(
                "process.user.uid",
                format!("{} has no uid mapping", user.uid()),
            ));
        }
        if let Some(gid) = std::iter::once(&user.gid())
            .chain(&additional)
            .find(|gid| !IdMaps::maps_inside(&maps.gids, **gid))
        {
            return Err(Error::invalid(
                "process.user",
                format!("group {gid} has no gid mapping"),
            ));
        }
    }
    // Without privilege over the mapped groups the kernel forbids setgroups(2) in the user namespace.
    let forbidden = host.rootless() && maps.is_none_or(|maps| !host.needs_map_helper(maps));
    let groups = match (forbidden, additional.is_empty()) {
        (true, false) => {
            return Err(Error::unsupported(
                "process.user.additionalGids",
                "setgroups(2) is forbidden in a user namespace made without newgidmap",
            ));
        }
        (true, true) => None,
        (false, _) => Some(additional),
    };
    let umask = user.umask().unwrap_or(DEFAULT_UMASK);
    if umask > 0o777 {
        return Err(Error::invalid(
            "process.user.umask",
            format!("{umask:#o} is not a mode"),
        ));
    }
    Ok(Identity {
        uid: user.uid(),
        gid: user.gid(),
        groups,
        umask,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the last steps that matter, in their order.
    fn order(no_new_privileges: bool, seccomp: &str) -> Vec<&'static str> {
        let mut steps = Vec::new();
        let profile = serde_json::from_str(seccomp).unwrap();
        let end = End {
            cwd: c"/".into(),
            no_new_privileges,
            identity: Identity::default(),
            capabilities: Capabilities::default(),
            landlock: Some(Step::Landlock(Box::default())),
            seccomp: Some(Step::Seccomp(Box::new(
                crate::seccomp::compile(&profile).unwrap(),
            ))),
            tracing: None,
            start_hooks: Some(Step::Hooks(ChildHooks::StartContainer)),
        };
        add_end(&mut steps, end);
        let name = |step: &Step| {
            Some(match step {
                Step::FindHome => "home",
                Step::Landlock(_) => "landlock",
                Step::Seccomp(_) => "filter",
                Step::Credentials { .. } => "credentials",
                Step::FindProgram => "program",
                Step::AwaitStart => "start",
                Step::Hooks(_) => "hooks",
                _ => return None,
            })
        };
        steps.iter().filter_map(name).collect()
    }

    #[test]
    fn the_place_of_filter_and_landlock_depends_on_no_new_privs() {
        let plain = r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#;
        let notify = r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/agent",
            "syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#;
        for profile in [plain, notify] {
            assert_eq!(
                order(false, profile),
                [
                    "home",
                    "landlock",
                    "filter",
                    "credentials",
                    "program",
                    "start",
                    "hooks"
                ]
            );
        }
        assert_eq!(
            order(true, plain),
            ["credentials", "program", "start", "hooks", "landlock", "filter"]
        );
        assert_eq!(
            order(true, notify),
            ["credentials", "program", "landlock", "filter", "start", "hooks"]
        );
    }
}
