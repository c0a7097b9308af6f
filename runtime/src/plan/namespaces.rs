//! From `linux.namespaces` to clone flags and joins.

use super::step::Step;
use super::{Builder, Error, IdMaps, ToOpen};
use crate::host::HostFacts;
use oci_spec::runtime::{self as oci, LinuxNamespaceType as Type};
use std::path::PathBuf;

/// `CLONE_NEWTIME` of `linux/sched.h`; `time_namespaces(7)`.
const CLONE_NEWTIME: i32 = 0x80;

/// From this version on a process enters its time namespace for children at exec.
const TIME_AT_EXEC: (u32, u32) = (6, 2);

/// The order in which namespaces are joined: the user namespace first, for the privileges over the others;
/// the mount namespace last, because paths are gone after it.
const ORDER: [Type; 8] = [
    Type::User,
    Type::Pid,
    Type::Ipc,
    Type::Uts,
    Type::Network,
    Type::Time,
    Type::Cgroup,
    Type::Mount,
];

/// The runtime's own network namespace, as a path of the configuration: the container inherits it, which takes no
/// privilege over it. Who prepared a network in a user namespace above the runtime's calls it so.
const OWN_NETWORK: &str = "/proc/self/ns/net";

/// Whether a namespace of the configuration is the runtime's own, and inherited.
pub(crate) fn is_inherited(namespace: &oci::LinuxNamespace) -> bool {
    let own = |path: &PathBuf| path.as_os_str() == OWN_NETWORK;
    namespace.typ() == Type::Network && namespace.path().as_ref().is_some_and(own)
}

/// The container's namespaces.
#[derive(Debug, Default)]
pub struct Namespaces {
    new: Vec<Type>,
    joined: Vec<(Type, PathBuf)>,
}

/// A namespace that the parent enters for the time of the clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Name as in `/proc/<pid>/ns`.
    pub name: &'static str,
    /// `CLONE_NEW*`.
    pub flag: i32,
    /// Its file.
    pub path: PathBuf,
}

/// How the namespaces are entered.
pub(super) struct Entered {
    pub(super) clone_flags: u64,
    pub(super) parent_joins: Vec<Join>,
    pub(super) by_helper: bool,
    pub(super) helper_oom_score_adj: Option<i32>,
    pub(super) parent_time_offsets: Option<String>,
}

/// `CLONE_NEW*` of a type.
pub fn flag(typ: Type) -> i32 {
    match typ {
        Type::Mount => libc::CLONE_NEWNS,
        Type::Cgroup => libc::CLONE_NEWCGROUP,
        Type::Uts => libc::CLONE_NEWUTS,
        Type::Ipc => libc::CLONE_NEWIPC,
        Type::User => libc::CLONE_NEWUSER,
        Type::Pid => libc::CLONE_NEWPID,
        Type::Network => libc::CLONE_NEWNET,
        Type::Time => CLONE_NEWTIME,
    }
}

/// The name in `/proc/<pid>/ns`.
pub fn name(typ: Type) -> &'static str {
    match typ {
        Type::Mount => "mnt",
        Type::Cgroup => "cgroup",
        Type::Uts => "uts",
        Type::Ipc => "ipc",
        Type::User => "user",
        Type::Pid => "pid",
        Type::Network => "net",
        Type::Time => "time",
    }
}

impl Namespaces {
    /// Reads and checks the list.
    ///
    /// # Errors
    /// A type given twice, or what the namespaces rule out.
    pub fn new(linux: Option<&oci::Linux>, host: &HostFacts) -> Result<Self, Error> {
        let mut namespaces = Self::default();
        let list = linux
            .and_then(|linux| linux.namespaces().as_deref())
            .unwrap_or_default();
        for (index, namespace) in list.iter().enumerate() {
            let typ = namespace.typ();
            if namespaces.has(typ) {
                let field = format!("linux.namespaces[{index}]");
                return Err(Error::invalid(
                    field,
                    format!("the {typ} namespace is given twice"),
                ));
            }
            match namespace
                .path()
                .as_ref()
                .filter(|path| !path.as_os_str().is_empty())
            {
                _ if is_inherited(namespace) => {}
                None => namespaces.new.push(typ),
                Some(path) if path.is_absolute() => namespaces.joined.push((typ, path.clone())),
                Some(path) => {
                    let field = format!("linux.namespaces[{index}].path");
                    return Err(Error::invalid(
                        field,
                        format!("{} is not absolute", path.display()),
                    ));
                }
            }
        }
        namespaces.check(linux, host)?;
        Ok(namespaces)
    }

    fn check(&self, linux: Option<&oci::Linux>, host: &HostFacts) -> Result<(), Error> {
        if !self.has(Type::Mount) {
            return Err(Error::invalid(
                "linux.namespaces",
                "no mount namespace: the container's mounts would be the host's",
            ));
        }
        if host.rootless() && !self.has(Type::User) {
            return Err(Error::invalid(
                "linux.namespaces",
                "without root the container needs a user namespace: add {\"type\": \"user\"} and id mappings",
            ));
        }
        let offsets = linux.and_then(|linux| linux.time_offsets().as_ref());
        if offsets.is_some_and(|offsets| !offsets.is_empty()) && !self.is_new(Type::Time) {
            return Err(Error::invalid("linux.timeOffsets", "needs a new time namespace"));
        }
        Ok(())
    }

    /// Whether the container has its own namespace of this type, new or joined.
    pub fn has(&self, typ: Type) -> bool {
        self.is_new(typ) || self.path(typ).is_some()
    }

    /// Whether a new one is made.
    pub fn is_new(&self, typ: Type) -> bool {
        self.new.contains(&typ)
    }

    fn path(&self, typ: Type) -> Option<&PathBuf> {
        self.joined
            .iter()
            .find(|(joined, _)| *joined == typ)
            .map(|(_, path)| path)
    }
}

/// The id maps of a new user namespace.
pub(super) fn id_maps(linux: Option<&oci::Linux>, namespaces: &Namespaces) -> Result<Option<IdMaps>, Error> {
    let get = |maps: &Option<Vec<oci::LinuxIdMapping>>| maps.clone().unwrap_or_default();
    let (uids, gids) = linux.map_or_else(Default::default, |linux| {
        (get(linux.uid_mappings()), get(linux.gid_mappings()))
    });
    if !namespaces.is_new(Type::User) {
        if (!uids.is_empty() || !gids.is_empty()) && !namespaces.has(Type::User) {
            return Err(Error::invalid(
                "linux.uidMappings",
                "id mappings need a user namespace",
            ));
        }
        return Ok(None);
    }
    if uids.is_empty() || gids.is_empty() {
        return Err(Error::invalid(
            "linux.uidMappings",
            "a new user namespace needs uidMappings and gidMappings",
        ));
    }
    IdMaps::new(&uids, &gids).map(Some)
}

/// The id maps that a configuration tells, also for a user namespace that is joined.
pub(super) fn known_maps(linux: Option<&oci::Linux>) -> Option<IdMaps> {
    let uids = linux?.uid_mappings().as_deref().filter(|maps| !maps.is_empty())?;
    let gids = linux?.gid_mappings().as_deref().filter(|maps| !maps.is_empty())?;
    IdMaps::new(uids, gids).ok()
}

/// Who owns what is made in a user namespace: its root, or its first id where 0 is not mapped.
pub(super) fn root_of(maps: Option<&IdMaps>) -> (u32, u32) {
    let owner = |lines: &[[u32; 3]]| match lines.first() {
        Some([first, ..]) if !IdMaps::maps_inside(lines, 0) => *first,
        _ => 0,
    };
    maps.map_or((0, 0), |maps| (owner(&maps.uids), owner(&maps.gids)))
}

/// Decides flags and joins and adds the steps that come before the root file system.
pub(super) fn enter(
    builder: &mut Builder<'_>,
    process: &oci::Process,
    proceed: bool,
) -> Result<Entered, Error> {
    let mut entered = Entered {
        clone_flags: 0,
        parent_joins: Vec::new(),
        by_helper: builder.namespaces.path(Type::User).is_some(),
        helper_oom_score_adj: None,
        parent_time_offsets: None,
    };
    let new_user = builder.has_new_namespace(Type::User);
    builder.steps.push(Step::FollowRuntime(true));
    match super::process::oom_score_adj(process)? {
        value if entered.by_helper => entered.helper_oom_score_adj = value,
        Some(value) => builder.steps.push(Step::OomScoreAdj(value)),
        None => {}
    }
    if !new_user {
        // A process of a joined namespace must not trace us; a new user namespace has no such process, and
        // its maps are written through files of the child.
        builder.steps.push(Step::NotDumpable);
    }
    join(builder, &mut entered, new_user);
    for typ in ORDER {
        // The cgroup namespace comes after the cgroup was entered, time has its own way.
        if builder.has_new_namespace(typ) && !matches!(typ, Type::Cgroup | Type::Time) {
            entered.clone_flags |= flag(typ) as u64;
        }
    }
    if builder.cgroup.joins_by_tasks() {
        builder.steps.push(Step::JoinCgroups);
    }
    if proceed {
        builder.steps.push(Step::AwaitProceed);
    }
    // Before the user changes: from then on the kernel's own root owns this process's files in /proc.
    time(builder, &mut entered, new_user)?;
    if builder.in_user_namespace() {
        let maps = builder.id_maps.clone().or_else(|| known_maps(builder.linux()));
        let (uid, gid) = root_of(maps.as_ref());
        builder
            .steps
            .extend([Step::BecomeRoot { uid, gid }, Step::FollowRuntime(true)]);
    }
    if builder.has_new_namespace(Type::Cgroup) {
        let (name, flag) = (name(Type::Cgroup), libc::CLONE_NEWCGROUP);
        builder.steps.push(Step::NewNamespace { name, flag });
    }
    builder.steps.push(Step::NewSession);
    if !builder.request.no_new_keyring {
        let name = super::c_string(format!("_ses.{}", builder.request.id))?;
        builder.steps.push(Step::SessionKeyring(name));
    }
    uts(builder)?;
    if builder.has_new_namespace(Type::Network) {
        builder.steps.push(Step::LoopbackUp);
    }
    Ok(entered)
}

/// A joined pid namespace holds only for children, so the parent enters it for the clone; with a new user
/// namespace the parent enters all of them, because the child has no privilege over them any more.
///
/// A joined user namespace has to own the new ones, so it is entered before the clone, by a helper, because
/// there is no way back. Root enters it last, having privilege over all the others; an unprivileged caller
/// first, having none before.
fn join(builder: &mut Builder<'_>, entered: &mut Entered, new_user: bool) {
    let before = new_user || entered.by_helper;
    for typ in ORDER {
        let Some(path) = builder.namespaces.path(typ).cloned() else {
            continue;
        };
        let (name, flag) = (name(typ), flag(typ));
        if typ == Type::Pid || before && typ != Type::Mount {
            entered.parent_joins.push(Join { name, flag, path });
        } else {
            let fd = builder.open(ToOpen::Namespace(path.clone()));
            let path = Some(path);
            builder.steps.push(Step::JoinNamespace { name, flag, fd, path });
        }
    }
    if entered.by_helper && !builder.host.rootless() {
        entered.parent_joins.rotate_left(1);
    }
}

/// The offsets of a time namespace can be written only before a process is in it. With privilege the parent
/// makes it, and the clone enters it; in a new user namespace the child makes it, and exec enters it. Where exec
/// does not, it stays with the parent, if that has the privilege: the host then owns the namespace, which gives
/// the container nothing.
fn time(builder: &mut Builder<'_>, entered: &mut Entered, new_user: bool) -> Result<(), Error> {
    if !builder.has_new_namespace(Type::Time) {
        return Ok(());
    }
    let offsets = time_offsets(builder.linux())?;
    let at_exec = builder.host.kernel >= TIME_AT_EXEC;
    if !new_user || !at_exec && !builder.host.rootless() {
        entered.parent_time_offsets = Some(offsets);
        return Ok(());
    }
    if !at_exec {
        return Err(Error::unsupported(
            "a time namespace inside a user namespace, without root's privileges",
            format!("needs Linux {}.{}", TIME_AT_EXEC.0, TIME_AT_EXEC.1),
        ));
    }
    builder.steps.push(Step::NewNamespace {
        name: name(Type::Time),
        flag: CLONE_NEWTIME,
    });
    if !offsets.is_empty() {
        builder.steps.push(Step::TimeOffsets(offsets));
    }
    Ok(())
}

fn time_offsets(linux: Option<&oci::Linux>) -> Result<String, Error> {
    let Some(offsets) = linux.and_then(|linux| linux.time_offsets().as_ref()) else {
        return Ok(String::new());
    };
    let mut lines = Vec::new();
    for (clock, offset) in offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Error::invalid(
                "linux.timeOffsets",
                format!("unknown clock {clock:?}"),
            ));
        }
        let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        if nanoseconds >= 1_000_000_000 {
            return Err(Error::invalid(
                "linux.timeOffsets",
                format!("{nanoseconds} nanosecs is a second or more"),
            ));
        }
        lines.push(format!("{clock} {seconds} {nanoseconds}\n"));
    }
    lines.sort();
    Ok(lines.concat())
}

fn uts(builder: &mut Builder<'_>) -> Result<(), Error> {
    let spec = builder.request.spec;
    for (field, value) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        let Some(value) = value.as_ref().filter(|value| !value.is_empty()) else {
            continue;
        };
        if !builder.namespaces.has(Type::Uts) {
            return Err(Error::invalid(
                field,
                "needs the container to have its own uts namespace",
            ));
        }
        if value.len() > 64 {
            return Err(Error::invalid(field, "longer than 64 bytes"));
        }
        let value = value.clone();
        builder.steps.push(if field == "hostname" {
            Step::Hostname(value)
        } else {
            Step::Domainname(value)
        });
    }
    Ok(())
}

/// `linux.netDevices`, sorted by name.
pub(super) fn net_devices(builder: &Builder<'_>) -> Result<Vec<(String, String)>, Error> {
    let Some(devices) = builder.linux().and_then(|linux| linux.net_devices().as_ref()) else {
        return Ok(Vec::new());
    };
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    if !builder.namespaces.has(Type::Network) {
        return Err(Error::invalid(
            "linux.netDevices",
            "needs the container to have its own network namespace",
        ));
    }
    if builder.host.rootless() {
        return Err(Error::unsupported(
            "linux.netDevices",
            "moving network devices needs root",
        ));
    }
    let mut moves: Vec<(String, String)> = devices
        .iter()
        .map(|(name, device)| {
            let inside = device.name().clone().filter(|inside| !inside.is_empty());
            (name.clone(), inside.unwrap_or_else(|| name.clone()))
        })
        .collect();
    moves.sort();
    let invalid = |reason: String| Err(Error::invalid("linux.netDevices", reason));
    for (index, (outside, inside)) in moves.iter().enumerate() {
        // The kernel puts a number in the place of one `%d`.
        let template = inside.matches("%d").count() == 1;
        let plain = if template {
            inside.replacen("%d", "", 1)
        } else {
            inside.clone()
        };
        for (name, letters) in [(outside, outside), (inside, &plain)] {
            let bad = name.is_empty() || name.len() >= libc::IFNAMSIZ || matches!(name.as_str(), "." | "..");
            if bad || letters.contains(['/', ':', '%', '\0']) || letters.contains(char::is_whitespace) {
                return invalid(format!("{name:?} is not an interface name"));
            }
        }
        if !template && moves[..index].iter().any(|(_, other)| other == inside) {
            return invalid(format!("two devices are to be named {inside:?}"));
        }
    }
    Ok(moves)
}
