//! What is promised of a launch: the table, in one place. Pure.

use super::facts::RLIMIT_NPROC;
use super::probe::{self, Probe};
use crate::launch::Launch;
use crate::mode::Landlock;
use nucleus_policy::landlock::annotation::Annotation;
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, PosixRlimitType, Spec};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A word of the kernel's: one of this table, or one that was kept.
pub type Word = Cow<'static, str>;

/// One promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// Its name, and its object.
    pub name: String,
    /// What the kernel is to show.
    pub what: What,
}

/// What the kernel is to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A field of `status`.
    Status(Word, String),
    /// One filter more than this process has.
    Filter,
    /// The supplementary groups; with `or_own` the caller's too, which a user cannot give up.
    Groups {
        /// On the host.
        ids: Vec<u32>,
        /// See above.
        or_own: bool,
    },
    /// A namespace that is not this process's.
    Namespace(String),
    /// The map of user ids.
    UserMap(String),
    /// The map of group ids.
    GroupMap(String),
    /// The root directory is this one, read-only.
    Root(PathBuf),
    /// A mount of the request.
    Mount(Mount),
    /// No other mount than these, devices, and what is hidden.
    NoOtherMount {
        /// Those of the request.
        mounts: Vec<Mount>,
        /// Paths that are hidden or read-only.
        covered: Vec<String>,
    },
    /// Nothing can be read there, where it exists.
    Masked(String),
    /// Nothing can be written there, where it exists.
    ReadOnly(String),
    /// The process is in this control group.
    Cgroup(String),
    /// The files of the control group: one of the alternatives.
    Limit(Vec<Vec<(Word, String)>>),
    /// No interface but these.
    Interfaces(String),
    /// The rules in force in its network namespace, as they were made: `nucleus_network::nftables::in_force`.
    EgressRules(String),
    /// No descriptor but the standard streams, and none of them a directory.
    Descriptors,
    /// The working directory lies in one of its mounts.
    WorkingDirectory,
    /// It is the first process of its namespace.
    FirstProcess,
    /// The kernel does not spare it more than this process when memory runs out.
    OomScore,
    /// A system call gives this.
    Call(Probe, i64),
    /// A system call gives `EACCES`, from this version of Landlock on. Without `strict` an older kernel is excused.
    Refused {
        /// The call.
        probe: Probe,
        /// Version.
        abi: u32,
        /// Whether it has to be there.
        strict: bool,
    },
    /// What the runtime says of Landlock: full, or (false) anything.
    LandlockWord {
        /// Whether all of it has to be in force.
        full: bool,
        /// The least version.
        abi: u32,
    },
}

/// A mount of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where.
    pub destination: String,
    /// Type of the file system, or `bind`.
    pub kind: String,
    /// Source of a bind mount.
    pub source: PathBuf,
    /// Options that it has to have.
    pub options: Vec<Word>,
    /// Options that its file system has to have: one of each list.
    pub super_options: Vec<Vec<Word>>,
    /// Whether what is mounted below the source comes along.
    pub recursive: bool,
}

/// Where the runtime mounts the directory of a socket by which the program tells that it is ready.
const NOTIFY: &str = "/run/notify";

/// The promises of a launch whose configuration is `spec`, in a bundle at `directory`.
/// `rules` are those of its network. `notify` is the directory on this host that the runtime mounts for
/// `sd_notify(3)`, if a service manager waits for that.
pub fn table(
    launch: &Launch,
    spec: &Spec,
    directory: &Path,
    rules: Option<&str>,
    notify: Option<&Path>,
) -> Vec<Promise> {
    let mut table = Table(Vec::new());
    table.process(launch, spec);
    table.namespaces(launch, spec);
    if let Some(rules) = rules {
        table.add("egress rules", What::EgressRules(rules.to_owned()));
    }
    table.mounts(spec, directory, notify);
    table.limits(launch, spec);
    table.calls(spec);
    table.landlock(launch, spec);
    table.0
}

/// The promises of gVisor's kernel, the sentry, as a process of this host. It shares the host's processes: its filter
/// and its root directory keep it from them.
pub fn sentry(launch: &Launch, spec: &Spec, rules: Option<&str>) -> Vec<Promise> {
    let mut table = Table(Vec::new());
    if let Some(rules) = rules {
        table.add("sentry: egress rules", What::EgressRules(rules.to_owned()));
    }
    let asked = names_of_namespaces(spec);
    for name in ["ipc", "mnt", "net", "user", "uts"] {
        if asked.iter().any(|one| one == name) {
            table.add(
                format!("sentry: namespace {name}"),
                What::Namespace(name.to_owned()),
            );
        }
    }
    table.add("sentry: seccomp mode", What::Status("Seccomp".into(), "2".into()));
    table.add(
        "sentry: no new privileges",
        What::Status("NoNewPrivs".into(), "1".into()),
    );
    if !launch.host_network {
        table.add("sentry: network", interfaces(launch));
    }
    table.0
}

fn interfaces(launch: &Launch) -> What {
    What::Interfaces(if launch.bridge.is_some() { "lo eth0" } else { "lo" }.to_owned())
}

struct Table(Vec<Promise>);

impl Table {
    fn add(&mut self, name: impl Into<String>, what: What) {
        self.0.push(Promise {
            name: name.into(),
            what,
        });
    }

    fn process(&mut self, launch: &Launch, spec: &Spec) {
        let process = spec.process().as_ref();
        if process
            .and_then(|process| process.no_new_privileges())
            .unwrap_or(false)
        {
            self.add("no new privileges", What::Status("NoNewPrivs".into(), "1".into()));
        }
        let (uid, gid) = launch.ids.outside();
        self.add("user", What::Status("Uid".into(), four(uid)));
        self.add("group", What::Status("Gid".into(), four(gid)));
        let ids: Vec<u32> = launch
            .additional_groups
            .iter()
            .map(|id| launch.ids.group_outside(*id))
            .collect();
        let or_own = launch.ids.groups.2 == 1;
        self.add("supplementary groups", What::Groups { ids, or_own });
        let sets = process.and_then(|process| process.capabilities().as_ref());
        for (field, bits) in after_exec(sets, launch.ids.inside().0 == 0) {
            self.add(
                format!("capabilities {field}"),
                What::Status(field.into(), format!("{bits:016x}")),
            );
        }
        self.add("first process", What::FirstProcess);
        self.add("descriptors", What::Descriptors);
        self.add("working directory", What::WorkingDirectory);
        self.add("out-of-memory score", What::OomScore);
    }

    fn namespaces(&mut self, launch: &Launch, spec: &Spec) {
        for name in names_of_namespaces(spec) {
            self.add(format!("namespace {name}"), What::Namespace(name));
        }
        if launch.ids.mapped {
            let map = |(inside, outside, size): (u32, u32, u32)| format!("{inside} {outside} {size}");
            self.add("user ids", What::UserMap(map(launch.ids.users)));
            self.add("group ids", What::GroupMap(map(launch.ids.groups)));
        }
        if !launch.host_network {
            self.add("network", interfaces(launch));
        }
    }

    fn mounts(&mut self, spec: &Spec, directory: &Path, notify: Option<&Path>) {
        if let Some(root) = spec.root() {
            self.add("root directory", What::Root(directory.join(root.path())));
        }
        let mut mounts: Vec<Mount> = spec.mounts().iter().flatten().map(mount).collect();
        mounts.extend(notify.map(|source| Mount {
            destination: NOTIFY.to_owned(),
            kind: "bind".to_owned(),
            source: source.to_owned(),
            options: ["ro", "nosuid", "nodev", "noexec"].map(Word::from).to_vec(),
            super_options: Vec::new(),
            recursive: false,
        }));
        // What comes later at the same place covers what was there.
        let visible: BTreeMap<&str, &Mount> = mounts
            .iter()
            .map(|mount| (mount.destination.as_str(), mount))
            .collect();
        for (destination, mount) in visible {
            self.add(format!("mount {destination}"), What::Mount(mount.clone()));
        }
        let linux = spec.linux().as_ref();
        let has_sys = mounts.iter().any(|mount| mount.destination == "/sys");
        let there = |path: &&String| has_sys || !path.starts_with("/sys/");
        let masked: Vec<&String> = linux
            .and_then(|linux| linux.masked_paths().as_ref())
            .into_iter()
            .flatten()
            .filter(there)
            .collect();
        let read_only: Vec<&String> = linux
            .and_then(|linux| linux.readonly_paths().as_ref())
            .into_iter()
            .flatten()
            .filter(there)
            .collect();
        for path in &masked {
            self.add(format!("masked {path}"), What::Masked((*path).clone()));
        }
        for path in &read_only {
            self.add(format!("read-only {path}"), What::ReadOnly((*path).clone()));
        }
        let covered = masked.into_iter().chain(read_only).cloned().collect();
        self.add("no other mount", What::NoOtherMount { mounts, covered });
    }

    fn limits(&mut self, launch: &Launch, spec: &Spec) {
        let linux = spec.linux().as_ref();
        if let Some(path) = linux.and_then(|linux| linux.cgroups_path().as_ref()) {
            self.add("control group", What::Cgroup(path.display().to_string()));
        }
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        let memory = resources
            .and_then(|all| all.memory().as_ref())
            .and_then(|memory| memory.limit());
        if let Some(bytes) = memory {
            let text = (bytes / 4096 * 4096).to_string();
            let (limit, limit1): ((Word, _), (Word, _)) = (
                ("memory.max".into(), text.clone()),
                ("memory.limit_in_bytes".into(), text.clone()),
            );
            // Swap is counted wherever there is a file for it.
            let files = vec![
                vec![limit.clone(), ("memory.swap.max".into(), "0".to_owned())],
                vec![limit],
                vec![limit1.clone(), ("memory.memsw.limit_in_bytes".into(), text)],
                vec![limit1],
            ];
            self.add("memory limit", What::Limit(files));
        }
        if let Some(pids) = resources.and_then(|all| all.pids().as_ref()) {
            let files = vec![vec![("pids.max".into(), pids.limit().to_string())]];
            self.add("process limit", What::Limit(files));
        }
        let process = spec.process().as_ref();
        for limit in process
            .into_iter()
            .flat_map(|process| process.rlimits().iter().flatten())
        {
            if limit.typ() == PosixRlimitType::RlimitNproc {
                let text = format!("{} {}", limit.soft(), limit.hard());
                self.add(
                    "process limit",
                    What::Limit(vec![vec![(RLIMIT_NPROC.into(), text)]]),
                );
            }
        }
        let cpu = resources.and_then(|all| all.cpu().as_ref());
        if let Some((quota, period)) = cpu.and_then(|cpu| cpu.quota().zip(cpu.period())) {
            let files = vec![
                vec![("cpu.max".into(), format!("{quota} {period}"))],
                vec![
                    ("cpu.cfs_quota_us".into(), quota.to_string()),
                    ("cpu.cfs_period_us".into(), period.to_string()),
                ],
            ];
            self.add("processor limit", What::Limit(files));
        }
        if resources.is_some_and(|all| all.block_io().is_some()) {
            self.disks(launch);
        }
    }

    /// What a disk may be read and written; a weight is a share and no limit.
    fn disks(&mut self, launch: &Launch) {
        for limits in &launch.io {
            let rates = [
                ("rbps", "read_bps", limits.read_bps),
                ("wbps", "write_bps", limits.write_bps),
                ("riops", "read_iops", limits.read_iops),
                ("wiops", "write_iops", limits.write_iops),
            ];
            if rates.iter().all(|(_, _, rate)| rate.is_none()) {
                continue;
            }
            let disk = format!("{}:{}", limits.device.0, limits.device.1);
            let line = rates.map(|(word, _, rate)| match rate {
                Some(rate) => format!("{word}={rate}"),
                None => format!("{word}=max"),
            });
            let version_1 = rates.iter().filter_map(|(_, file, rate)| {
                let file = format!("blkio.throttle.{file}_device {disk}");
                Some((file.into(), (*rate)?.to_string()))
            });
            let files = vec![
                vec![(format!("io.max {disk}").into(), line.join(" "))],
                version_1.collect(),
            ];
            self.add(format!("limit of disk {disk}"), What::Limit(files));
        }
    }

    fn calls(&mut self, spec: &Spec) {
        let linux = spec.linux().as_ref();
        let Some(profile) = linux.and_then(|linux| linux.seccomp().as_ref()) else {
            return;
        };
        self.add("seccomp filter", What::Filter);
        self.add("seccomp mode", What::Status("Seccomp".into(), "2".into()));
        for (name, probe, result) in probe::refused(profile) {
            self.add(format!("seccomp refuses {name}"), What::Call(probe, result));
        }
    }

    fn landlock(&mut self, launch: &Launch, spec: &Spec) {
        let annotation = spec
            .annotations()
            .as_ref()
            .and_then(|all| all.get(crate::LANDLOCK));
        let Some(annotation) = annotation.and_then(|text| serde_json::from_str::<Annotation>(text).ok())
        else {
            return;
        };
        let (full, abi) = match launch.decision.rules.landlock {
            Landlock::BestEffort => (false, annotation.min_abi),
            Landlock::Full => (true, annotation.min_abi),
            Landlock::FullFrom(abi) => (true, abi.max(annotation.min_abi)),
        };
        self.add("landlock", What::LandlockWord { full, abi });
        for (right, probe, abi) in probe::restricted(&annotation) {
            let refused = What::Refused {
                probe,
                abi,
                strict: full,
            };
            self.add(format!("landlock refuses {right}"), refused);
        }
    }
}

/// As `/proc/<pid>/ns` has them.
fn names_of_namespaces(spec: &Spec) -> Vec<String> {
    let linux = spec.linux().as_ref();
    let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
    let name = |namespace: &oci_spec::runtime::LinuxNamespace| match namespace.typ().to_string().as_str() {
        "network" => "net".to_owned(),
        "mount" => "mnt".to_owned(),
        other => other.to_owned(),
    };
    namespaces.into_iter().flatten().map(name).collect()
}

fn four(id: u32) -> String {
    [id.to_string(), id.to_string(), id.to_string(), id.to_string()].join(" ")
}

fn mount(mount: &oci_spec::runtime::Mount) -> Mount {
    let options: Vec<&str> = mount.options().iter().flatten().map(String::as_str).collect();
    let has = |word: &str| options.contains(&word);
    let mut wanted: Vec<Word> = ["nosuid", "nodev", "noexec"]
        .into_iter()
        .filter(|word| has(word))
        .map(Word::from)
        .collect();
    wanted.extend((has("ro") || has("rro")).then(|| "ro".into()));
    let hidden = has("hidepid=2").then(|| vec!["hidepid=2".into(), "hidepid=invisible".into()]);
    let bind = has("bind") || has("rbind");
    Mount {
        destination: mount.destination().display().to_string(),
        kind: if bind {
            "bind".into()
        } else {
            mount.typ().clone().unwrap_or_default()
        },
        source: mount.source().clone().unwrap_or_default(),
        options: wanted,
        super_options: hidden.into_iter().collect(),
        recursive: has("rbind"),
    }
}

/// The sets of a process that starts with these ones and executes its program, where nothing gives it new privileges
/// (capabilities(7), prctl(2)): root gets back all that it may have, everybody else keeps what is ambient.
fn after_exec(sets: Option<&LinuxCapabilities>, root: bool) -> [(&'static str, u64); 5] {
    let bits = |set: Option<&Option<Capabilities>>| {
        let set = set.and_then(Option::as_ref);
        set.into_iter().flatten().fold(0, |bits, one| bits | bit(*one))
    };
    let bounding = bits(sets.map(LinuxCapabilities::bounding));
    let inheritable = bits(sets.map(LinuxCapabilities::inheritable));
    let ambient = bits(sets.map(LinuxCapabilities::ambient));
    let permitted = if root {
        bits(sets.map(LinuxCapabilities::permitted)) & (bounding | inheritable)
    } else {
        ambient
    };
    [
        ("CapBnd", bounding),
        ("CapPrm", permitted),
        ("CapEff", permitted),
        ("CapInh", inheritable),
        ("CapAmb", ambient),
    ]
}

/// The capability's bit, `capabilities(7)`.
fn bit(capability: Capability) -> u64 {
    use Capability as C;
    const ORDER: [Capability; 41] = [
        C::Chown,
        C::DacOverride,
        C::DacReadSearch,
        C::Fowner,
        C::Fsetid,
        C::Kill,
        C::Setgid,
        C::Setuid,
        C::Setpcap,
        C::LinuxImmutable,
        C::NetBindService,
        C::NetBroadcast,
        C::NetAdmin,
        C::NetRaw,
        C::IpcLock,
        C::IpcOwner,
        C::SysModule,
        C::SysRawio,
        C::SysChroot,
        C::SysPtrace,
        C::SysPacct,
        C::SysAdmin,
        C::SysBoot,
        C::SysNice,
        C::SysResource,
        C::SysTime,
        C::SysTtyConfig,
        C::Mknod,
        C::Lease,
        C::AuditWrite,
        C::AuditControl,
        C::Setfcap,
        C::MacOverride,
        C::MacAdmin,
        C::Syslog,
        C::WakeAlarm,
        C::BlockSuspend,
        C::AuditRead,
        C::Perfmon,
        C::Bpf,
        C::CheckpointRestore,
    ];
    ORDER
        .iter()
        .position(|one| *one == capability)
        .map_or(0, |index| 1 << index)
}
