//! From a launch and its policies to the bundle: `config.json`, and what lies under it. Pure.

use crate::config::Config;
use crate::launch::{Bind, Launch, Root, user_name};
use crate::skeleton::{ETC_DIRECTORIES, Skeleton};
use crate::swap::Swap;
use nucleus_policy::seccomp::Resolved;
use nucleus_policy::{CapabilityPolicy, Kind, Origin, VerifiedPolicy};
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, Mount, Spec};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The annotation with the mode's word.
pub const MODE: &str = "dev.nucleus.mode";

/// The root directory's name in a bundle.
pub const ROOTFS: &str = "rootfs";

/// The option of a mount whose source was looked up and judged: no symbolic link that a workload puts there meanwhile,
/// in a directory that it shares, is followed.
pub const UNLINKED: &str = "src-nosymlinks";

/// What `/proc` and `/sys` show of the host without need.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A policy cannot be applied.
    #[error(transparent)]
    Policy(#[from] nucleus_policy::ApplyError),
    /// The configuration is not what oci-spec takes: a defect.
    #[error("config.json")]
    Spec(#[from] serde_json::Error),
}

/// The `config.json` of a launch, and what its root directory consists of, if that is made from the host: then it
/// is `rootfs` in the bundle, unless the caller makes it elsewhere.
///
/// # Errors
/// A policy that cannot be applied.
pub fn compose(
    launch: &Launch,
    policy: &VerifiedPolicy,
    secrets: &Path,
) -> Result<(Config, Skeleton), Error> {
    let mut skeleton = Skeleton::default();
    let root = match &launch.root {
        Root::Host(_) => {
            skeleton.host(launch);
            PathBuf::from(ROOTFS)
        }
        Root::Directory(path) => path.clone(),
    };
    let mut config = json!({
        "ociVersion": "1.3.0",
        "hostname": launch.hostname,
        "root": {"path": root, "readonly": true},
        "process": process(launch, policy),
        "linux": linux(launch),
        "annotations": {MODE: launch.mode},
    });
    if !launch.clocks.is_empty() {
        config["linux"]["timeOffsets"] = clocks(launch);
    }
    if let Some(path) = &launch.cgroups_path {
        config["linux"]["cgroupsPath"] = json!(path);
    }
    let mut spec: Spec = serde_json::from_value(config)?;
    let mounts = mounts(launch, secrets);
    if let Root::Host(directories) = &launch.root {
        skeleton.targets(&mounts, directories);
    }
    spec.set_mounts(Some(mounts));
    let mut profile = policy.apply_apart(&mut spec)?;
    if launch.init.is_some() {
        crate::landlock::admit_init(&mut spec)?;
    }
    let mut policies = policy.digests();
    if policies.any(|(kind, origin, _)| kind == Kind::Landlock && matches!(origin, Origin::BuiltIn(_))) {
        crate::landlock::admit(&mut spec, launch)?;
    }
    if launch.log_denied {
        profile = profile.map(log_denied).transpose()?;
    }
    Ok((Config::new(spec, profile), skeleton))
}

fn process(launch: &Launch, policy: &VerifiedPolicy) -> Value {
    // Policies only take away, so what this one leaves has to be there first.
    let sets = policy.capabilities().map(CapabilityPolicy::sets);
    let capabilities: serde_json::Map<String, Value> = sets
        .into_iter()
        .flatten()
        .map(|(set, names)| (set.to_owned(), json!(names)))
        .collect();
    let init = launch.init.iter().map(|_| crate::init::PATH);
    let args: Vec<&str> = init.chain(launch.command.iter().map(String::as_str)).collect();
    let rlimits = launch
        .rlimit_nproc
        .map(|most| json!({"type": "RLIMIT_NPROC", "soft": most, "hard": most}));
    let (uid, gid) = launch.ids.inside();
    let further = launch.additional_groups.iter();
    let further: Vec<u32> = further.map(|id| launch.ids.group_inside(*id)).collect();
    json!({
        "terminal": launch.terminal,
        "rlimits": rlimits.into_iter().collect::<Vec<_>>(),
        "user": {
            "uid": uid,
            "gid": gid,
            "umask": 0o022,
            "additionalGids": further,
        },
        "args": args,
        "env": launch.env,
        "cwd": launch.workdir,
        "noNewPrivileges": true,
        "capabilities": capabilities,
    })
}

fn linux(launch: &Launch) -> Value {
    let mut namespaces = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    if launch.ids.mapped {
        namespaces.push("user");
    }
    if !launch.decision.without_time_namespace {
        namespaces.push("time");
    }
    if !launch.host_network {
        namespaces.push("network");
    }
    let mut namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({"type": kind})).collect();
    if let (Some(network), Some(bridge)) = (
        namespaces.iter_mut().find(|one| one["type"] == "network"),
        &launch.bridge,
    ) {
        network["path"] = json!(bridge.namespace);
    }
    let mut linux = json!({
        "namespaces": namespaces,
        "maskedPaths": MASKED,
        "readonlyPaths": READONLY,
        "resources": resources(launch),
    });
    if launch.ids.mapped {
        let map = |(inside, outside, size): (u32, u32, u32)| json!([{"containerID": inside, "hostID": outside, "size": size}]);
        linux["uidMappings"] = map(launch.ids.users);
        linux["gidMappings"] = map(launch.ids.groups);
    }
    linux
}

fn clocks(launch: &Launch) -> Value {
    let clocks = launch.clocks.iter();
    let clocks =
        clocks.map(|(clock, seconds)| ((*clock).to_owned(), json!({"secs": seconds, "nanosecs": 0})));
    Value::Object(clocks.collect())
}

fn resources(launch: &Launch) -> Value {
    let mut resources = json!({});
    if let Some(bytes) = launch.memory {
        resources["memory"] = json!({"limit": bytes});
        if launch.swap == Swap::Counted {
            // Memory and swap together: none of it.
            resources["memory"]["swap"] = json!(bytes);
        }
    }
    if let Some(cpus) = launch.cpus {
        resources["cpu"] = json!({"quota": quota(cpus), "period": 100_000});
    }
    if let Some(pids) = launch.pids {
        resources["pids"] = json!({"limit": pids});
    }
    if !launch.io.is_empty() {
        resources["blockIO"] = crate::block_io::json(&launch.io);
    }
    resources
}

/// Microseconds of processor time in each period of 100 ms.
#[expect(clippy::cast_possible_truncation, reason = "checked to be finite and small")]
pub fn quota(cpus: f64) -> i64 {
    (cpus * 100_000.0).round() as i64
}

fn mount(destination: impl Into<PathBuf>, kind: &str, source: impl Into<PathBuf>, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(destination.into())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.into()))
        .set_options(Some(options.iter().map(|&option| option.to_owned()).collect()));
    mount
}

fn mounts(launch: &Launch, secrets: &Path) -> Vec<Mount> {
    let special = |destination: &str, kind: &str, options: &[&str]| mount(destination, kind, kind, options);
    let mut proc = vec!["nosuid", "noexec", "nodev"];
    if launch.decision.rules.hidepid {
        proc.push("hidepid=2");
    }
    let mut mounts = vec![
        special("/proc", "proc", &proc),
        special(
            "/dev",
            "tmpfs",
            &["nosuid", "noexec", "strictatime", "mode=755", "size=64k"],
        ),
        special(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        ),
        special("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777"]),
        special("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        special("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
        special("/run", "tmpfs", &["nosuid", "nodev", "mode=755", "size=1m"]),
    ];
    if let Root::Host(directories) = &launch.root {
        let options = ["rbind", "rro", "nosuid", "nodev", "noexec"];
        let (system, etc) = (directories.iter(), ETC_DIRECTORIES.iter().map(Path::new));
        mounts.extend(system.map(|path| mount(path, "bind", path, &options[..4])));
        mounts.extend(
            etc.filter(|path| path.is_dir())
                .map(|path| mount(path, "bind", path, &options)),
        );
    }
    if !launch.home_is_bound {
        mounts.push(own_tmpfs(launch, &launch.home, &["mode=700"]));
    }
    for (destination, options) in &launch.tmpfs {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        mounts.push(own_tmpfs(launch, destination, &options));
    }
    if let Some(context) = &launch.context_copy {
        // The directory itself, and over it a tmpfs that takes over what it covers.
        mounts.push(bound(launch, context));
        mounts.push(own_tmpfs(launch, "/context", &["mode=755", "tmpcopyup"]));
    }
    mounts.extend(launch.binds.iter().map(|bind| bound(launch, bind)));
    let file = ["bind", "ro", "nosuid", "nodev", "noexec"];
    if let Some(program) = &launch.init {
        mounts.push(mount(crate::init::PATH, "bind", program, &file[..4]));
    }
    if let (Some(bridge), Root::Directory(root)) = (&launch.bridge, &launch.root)
        && holds(root, "etc/resolv.conf")
    {
        mounts.push(mount("/etc/resolv.conf", "bind", &bridge.etc_resolv_conf, &file));
    }
    for (index, (_, destination)) in launch.secrets.iter().enumerate() {
        mounts.push(mount(destination, "bind", secrets.join(index.to_string()), &file));
    }
    mounts
}

/// Whether a path is there for who has this root directory: its links lead nowhere else.
fn holds(root: &Path, path: &str) -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = open(root, flags | OFlags::DIRECTORY, Mode::empty());
    root.and_then(|root| openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT))
        .is_ok()
}

/// Where a launch has mounts, in their order.
pub fn targets(launch: &Launch) -> Vec<PathBuf> {
    let mounts = mounts(launch, Path::new("/"));
    mounts.iter().map(|mount| mount.destination().clone()).collect()
}

/// A tmpfs that the workload owns.
fn own_tmpfs(launch: &Launch, destination: &str, options: &[&str]) -> Mount {
    let (uid, gid) = launch.ids.inside();
    let ids = [format!("uid={uid}"), format!("gid={gid}")];
    let mut all = vec!["nosuid", "nodev", &ids[0], &ids[1]];
    all.extend(options);
    mount(destination, "tmpfs", "tmpfs", &all)
}

fn bound(launch: &Launch, bind: &Bind) -> Mount {
    let mut options = vec!["rbind", UNLINKED, "nosuid", "nodev"];
    options.push(if bind.writable { "rw" } else { "rro" });
    if !bind.executable {
        options.push("noexec");
    }
    // The owner's files are the workload's in the sandbox, and what the workload makes is the owner's.
    let is_mapped = bind.owned && launch.ids.mapped && launch.ids.users.2 > 1;
    if is_mapped {
        options[0] = "bind";
        options.push("idmap");
    }
    let mut mount = mount(&bind.destination, "bind", &bind.source, &options);
    if is_mapped {
        let (uid, gid) = launch.ids.outside();
        mount.set_uid_mappings(Some(vec![one_id(bind.owner.0, uid)]));
        mount.set_gid_mappings(Some(vec![one_id(bind.owner.1, gid)]));
    }
    mount
}

fn one_id(inside: u32, outside: u32) -> LinuxIdMapping {
    let map = LinuxIdMappingBuilder::default();
    let map = map.container_id(inside).host_id(outside).size(1_u32);
    // All fields are there.
    map.build().unwrap_or_default()
}

fn log_denied(profile: Resolved) -> Result<Resolved, serde_json::Error> {
    use oci_spec::runtime::LinuxSeccompFilterFlag as Flag;
    let mut profile = profile.typed()?;
    let mut flags = profile.flags().clone().unwrap_or_default();
    if !flags.contains(&Flag::SeccompFilterFlagLog) {
        flags.push(Flag::SeccompFilterFlagLog);
    }
    profile.set_flags(Some(flags));
    Ok(Resolved::Typed(profile))
}

/// The texts of `/etc/passwd` and `/etc/group`.
pub fn accounts(launch: &Launch) -> (String, String) {
    let ((uid, gid), name) = (launch.ids.inside(), user_name(launch));
    let root = if uid == 0 {
        ""
    } else {
        "root:x:0:0:root:/:/bin/sh\n"
    };
    let root_group = if gid == 0 { "" } else { "root:x:0:\n" };
    (
        format!(
            "{root}{name}:x:{uid}:{gid}::{}:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
            launch.home
        ),
        format!("{root_group}{name}:x:{gid}:\nnogroup:x:65534:\n"),
    )
}
