//! From a launch and its policies to the bundle: `config.json`, and what lies under it. Pure.

use crate::launch::{Bind, Launch, Root, user_name};
use crate::skeleton::Skeleton;
use nucleus_policy::{CapabilityPolicy, Kind, Origin, VerifiedPolicy};
use oci_spec::runtime::{LinuxSeccomp, Spec};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
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
pub fn compose(launch: &Launch, policy: &VerifiedPolicy, secrets: &Path) -> Result<(Spec, Skeleton), Error> {
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
        "mounts": mounts(launch, secrets),
        "linux": linux(launch),
        "annotations": {MODE: launch.mode},
    });
    if let Root::Host(_) = launch.root {
        skeleton.targets(config["mounts"].as_array().into_iter().flatten());
    }
    if !launch.clocks.is_empty() {
        config["linux"]["timeOffsets"] = clocks(launch);
    }
    if let Some(path) = &launch.cgroups_path {
        config["linux"]["cgroupsPath"] = json!(path);
    }
    let mut spec: Spec = serde_json::from_value(config)?;
    policy.apply(&mut spec)?;
    if launch.init.is_some() {
        crate::landlock::admit_init(&mut spec)?;
    }
    let mut policies = policy.digests();
    if policies.any(|(kind, origin, _)| kind == Kind::Landlock && matches!(origin, Origin::BuiltIn(_))) {
        crate::landlock::admit(&mut spec, launch)?;
    }
    if launch.log_denied {
        log_denied(&mut spec);
    }
    Ok((spec, skeleton))
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
    json!({
        "terminal": launch.terminal,
        "rlimits": rlimits.into_iter().collect::<Vec<_>>(),
        "user": {
            "uid": launch.ids.uid,
            "gid": launch.ids.gid,
            "umask": 0o022,
            "additionalGids": launch.additional_groups,
        },
        "args": args,
        "env": launch.env,
        "cwd": launch.workdir,
        "noNewPrivileges": true,
        "capabilities": capabilities,
    })
}

fn linux(launch: &Launch) -> Value {
    let mut namespaces = vec!["pid", "ipc", "uts", "mount", "cgroup", "user"];
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
    let map = |(inside, outside, size): (u32, u32, u32)| json!([{"containerID": inside, "hostID": outside, "size": size}]);
    json!({
        "namespaces": namespaces,
        "uidMappings": map(launch.ids.users),
        "gidMappings": map(launch.ids.groups),
        "maskedPaths": MASKED,
        "readonlyPaths": READONLY,
        "resources": resources(launch),
    })
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

fn mounts(launch: &Launch, secrets: &Path) -> Vec<Value> {
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
    let mut proc = vec!["nosuid", "noexec", "nodev"];
    if launch.decision.rules.hidepid {
        proc.push("hidepid=2");
    }
    let mut mounts = vec![
        mount("/proc", "proc", &proc),
        mount(
            "/dev",
            "tmpfs",
            &["nosuid", "noexec", "strictatime", "mode=755", "size=64k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        ),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
        mount("/run", "tmpfs", &["nosuid", "nodev", "mode=755", "size=1m"]),
    ];
    if let Root::Host(directories) = &launch.root {
        mounts.extend(directories.iter().map(|path| {
            json!({"destination": path, "type": "bind", "source": path,
                   "options": ["rbind", "rro", "nosuid", "nodev"]})
        }));
        mounts.extend(
            crate::skeleton::ETC_DIRECTORIES
                .iter()
                .filter(|path| Path::new(path).is_dir())
                .map(|path| {
                    json!({"destination": path, "type": "bind", "source": path,
                           "options": ["rbind", "rro", "nosuid", "nodev", "noexec"]})
                }),
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
        mounts.push(
            json!({"destination": "/context", "type": "bind", "source": context,
            "options": ["bind", UNLINKED, "ro", "nosuid", "nodev"]}),
        );
        mounts.push(own_tmpfs(launch, "/context", &["mode=755", "tmpcopyup"]));
    }
    mounts.extend(launch.binds.iter().map(|bind| bound(launch, bind)));
    if let Some(program) = &launch.init {
        mounts.push(
            json!({"destination": crate::init::PATH, "type": "bind", "source": program,
            "options": ["bind", "ro", "nosuid", "nodev"]}),
        );
    }
    if let (Some(_), Root::Directory(root)) = (&launch.bridge, &launch.root)
        && root.join("etc/resolv.conf").exists()
    {
        mounts.push(
            json!({"destination": "/etc/resolv.conf", "type": "bind", "source": crate::egress::RESOLV_CONF,
            "options": ["bind", "ro", "nosuid", "nodev", "noexec"]}),
        );
    }
    for (index, (_, destination)) in launch.secrets.iter().enumerate() {
        mounts.push(json!({"destination": destination, "type": "bind",
            "source": secrets.join(index.to_string()),
            "options": ["bind", "ro", "nosuid", "nodev", "noexec"]}));
    }
    mounts
}

/// Where a launch has mounts, in their order.
pub fn targets(launch: &Launch) -> Vec<PathBuf> {
    let mounts = mounts(launch, Path::new("/"));
    let destination = |mount: &Value| mount["destination"].as_str().map(PathBuf::from);
    mounts.iter().filter_map(destination).collect()
}

/// A tmpfs that the workload owns.
fn own_tmpfs(launch: &Launch, destination: &str, options: &[&str]) -> Value {
    let mut all = vec![
        "nosuid".to_owned(),
        "nodev".to_owned(),
        format!("uid={}", launch.ids.uid),
        format!("gid={}", launch.ids.gid),
    ];
    all.extend(options.iter().map(|&option| option.to_owned()));
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": all})
}

fn bound(launch: &Launch, bind: &Bind) -> Value {
    let mut options = vec!["rbind", UNLINKED, "nosuid", "nodev"];
    options.push(if bind.writable { "rw" } else { "rro" });
    if !bind.executable {
        options.push("noexec");
    }
    let mut mount = json!({"destination": bind.destination, "type": "bind", "source": bind.source});
    // The owner's files are the workload's in the sandbox, and what the workload makes is the owner's.
    if bind.owned && launch.ids.users.2 > 1 {
        options[0] = "bind";
        options.push("idmap");
        let (uid, gid) = launch.ids.outside();
        let map = |own: u32, outside: u32| json!([{"containerID": own, "hostID": outside, "size": 1}]);
        mount["uidMappings"] = map(bind.owner.0, uid);
        mount["gidMappings"] = map(bind.owner.1, gid);
    }
    mount["options"] = json!(options);
    mount
}

/// Adds an annotation.
pub fn annotate(spec: &mut Spec, key: &str, value: String) {
    let mut annotations = spec.annotations().clone().unwrap_or_default();
    annotations.insert(key.to_owned(), value);
    spec.set_annotations(Some(annotations));
}

/// Says where the root directory is, if not in the bundle.
pub fn set_root(spec: &mut Spec, path: PathBuf) {
    if let Some(root) = spec.root_mut() {
        root.set_path(path);
    }
}

/// `config.json` as it is written: the same request gives the same bytes.
///
/// # Errors
/// None that is known.
pub fn bytes(spec: &mut Spec) -> Result<Vec<u8>, serde_json::Error> {
    /// What is written; the keys of objects are sorted, but for those of the filter: it is most of the text, and has
    /// an order of its own.
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Part<'a> {
        Value(&'a Value),
        Seccomp(&'a LinuxSeccomp),
        Object(BTreeMap<&'a str, Part<'a>>),
    }
    fn object<'a>(value: &'a Value) -> BTreeMap<&'a str, Part<'a>> {
        let fields = value.as_object().into_iter().flatten();
        fields
            .map(|(key, value)| (key.as_str(), Part::Value(value)))
            .collect()
    }
    let linux = spec.linux_mut().as_mut();
    let seccomp = linux.and_then(|linux| linux.seccomp_mut().take());
    let rest = json(spec)?;
    let mut config = object(&rest);
    if let Some(seccomp) = &seccomp {
        let mut linux = object(&rest["linux"]);
        linux.insert("seccomp", Part::Seccomp(seccomp));
        config.insert("linux", Part::Object(linux));
    }
    let mut bytes = Vec::with_capacity(32 * 1024);
    serde_json::to_writer(&mut bytes, &config)?;
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(seccomp);
    }
    Ok(bytes)
}

/// The configuration, with the sets of capabilities in order.
///
/// # Errors
/// None that is known.
pub fn json(spec: &Spec) -> Result<Value, serde_json::Error> {
    let mut config = serde_json::to_value(spec)?;
    let sets = config["process"]["capabilities"].as_object_mut();
    for set in sets.into_iter().flat_map(serde_json::Map::values_mut) {
        // oci-spec keeps them unordered.
        if let Some(names) = set.as_array_mut() {
            names.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        }
    }
    Ok(config)
}

fn log_denied(spec: &mut Spec) {
    use oci_spec::runtime::LinuxSeccompFilterFlag as Flag;
    let Some(seccomp) = spec
        .linux_mut()
        .as_mut()
        .and_then(|linux| linux.seccomp_mut().as_mut())
    else {
        return;
    };
    let mut flags = seccomp.flags().clone().unwrap_or_default();
    if !flags.contains(&Flag::SeccompFilterFlagLog) {
        flags.push(Flag::SeccompFilterFlagLog);
    }
    seccomp.set_flags(Some(flags));
}

/// The texts of `/etc/passwd` and `/etc/group`.
pub fn accounts(launch: &Launch) -> (String, String) {
    let (uid, gid, name) = (launch.ids.uid, launch.ids.gid, user_name(launch));
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
