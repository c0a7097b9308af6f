//! The attacks, each with the protection that it is against. Pure.

use super::attempt::Means;
use crate::request::Mode;

/// Where the same attack gets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Outside of any sandbox.
    Host,
    /// The same, as a user without rights.
    Nobody,
    /// In a sandbox with these flags instead.
    Without(Vec<String>),
}

/// An attack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What it is against.
    pub name: &'static str,
    /// Which modes need the protection.
    pub needed: &'static [Mode],
    /// Flags of the sandbox.
    pub flags: Vec<String>,
    /// A shell script that succeeds if it gets through.
    pub attack: String,
    /// Where it does.
    pub control: Control,
    /// What to do where the protection is missing.
    pub remedy: &'static str,
}

/// What every mode needs.
pub const ALL: &[Mode] = &[Mode::Agent, Mode::StrictAgent, Mode::Production];
const STRICT: &[Mode] = &[Mode::StrictAgent, Mode::Production];
/// For what nobody has to have: only what does not hold, though it is there, is a failure.
pub const NONE: &[Mode] = &[];
/// The one that needs a user namespace to get through.
pub const NEW_NAMESPACES: &str = "new namespaces";
/// Where this program is in a sandbox.
pub const INSIDE: &str = "/opt/nucleus-attempt";
const CGROUPS: &str = "limits need the memory, pids and cpu controllers under /sys/fs/cgroup, and root or a control group that is \
                       delegated to this user, as a systemd of the user's has";

/// All attacks.
pub fn table(means: &Means) -> Vec<Probe> {
    let open = means.open.display();
    let text = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let volume = |suffix: &str| text(&["--volume", &format!("{open}:/probe{suffix}")]);
    let network = rustix::fs::readlink("/proc/self/ns/net", Vec::new()).unwrap_or_default();
    let network = network.to_string_lossy().into_owned();
    let mut probes = vec![
        Probe {
            name: "read-only mounts",
            needed: ALL,
            flags: volume(":ro"),
            attack: ": >/probe/written".into(),
            control: Control::Without(volume("")),
            remedy: "mount_setattr(2) needs Linux 5.12; the temporary directory must not be an overlay",
        },
        Probe {
            name: "host processes",
            needed: ALL,
            flags: Vec::new(),
            attack: format!("kill -0 {}", std::process::id()),
            control: Control::Host,
            remedy: "pid namespaces need CONFIG_PID_NS",
        },
        Probe {
            name: "host network",
            needed: ALL,
            flags: Vec::new(),
            attack: format!("[ \"$(readlink /proc/self/ns/net)\" = '{network}' ]"),
            control: Control::Without(text(&["--network", "host", "--allow-host-network"])),
            remedy: "network namespaces need CONFIG_NET_NS",
        },
        Probe {
            name: NEW_NAMESPACES,
            needed: ALL,
            flags: Vec::new(),
            attack: "unshare -U true".into(),
            control: Control::Host,
            remedy: "the control needs unshare(1) of util-linux and user namespaces: user.max_user_namespaces, \
                     kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns",
        },
        Probe {
            name: "masked paths",
            needed: ALL,
            flags: Vec::new(),
            attack: "read line </proc/interrupts".into(),
            control: Control::Host,
            remedy: "look at /proc/interrupts of this host",
        },
        Probe {
            name: "memory limit",
            needed: STRICT,
            flags: text(&["--memory", "48M"]),
            // tail(1) keeps what it may have to print.
            attack: "head -c 150000000 /dev/zero | tail -c 150000000 >/dev/null".into(),
            control: Control::Without(Vec::new()),
            remedy: CGROUPS,
        },
        Probe {
            name: "process limit",
            needed: STRICT,
            flags: text(&["--pids", "8"]),
            attack: "i=0; while [ $i -lt 20 ]; do sleep 0.2 & i=$((i+1)); done; wait".into(),
            control: Control::Without(Vec::new()),
            remedy: CGROUPS,
        },
    ];
    probes.extend(connections(means));
    probes.extend(set_user_id(means));
    probes
}

/// Flags of a sandbox that has this program.
pub fn with_program(means: &Means, words: &[&str]) -> Vec<String> {
    let volume = format!("{}:{INSIDE}:ro", means.program.display());
    let flags = ["--volume", &volume];
    flags.iter().chain(words).map(|&word| word.to_owned()).collect()
}

/// A connection to a port of the host: kept off by the network namespace, and by Landlock alone.
fn connections(means: &Means) -> [Probe; 2] {
    let port = means.listener.local_addr().map_or(0, |address| address.port());
    let with = |words: &[&str]| with_program(means, words);
    let attack = format!("{INSIDE} doctor --attempt connect:127.0.0.1:{port}");
    let host = ["--network", "host", "--allow-host-network"];
    let held = [&host[..], &["--landlock-policy", "agent"]].concat();
    [
        Probe {
            name: "connections",
            needed: ALL,
            flags: with(&[]),
            attack: attack.clone(),
            control: Control::Without(with(&host)),
            remedy: "network namespaces need CONFIG_NET_NS",
        },
        Probe {
            name: "Landlock TCP",
            needed: STRICT,
            flags: with(&held),
            attack,
            control: Control::Without(with(&host)),
            remedy: "TCP rules need Linux 6.7 with CONFIG_SECURITY_LANDLOCK, and landlock in the list of lsm=",
        },
    ]
}

/// Only root can make such a file of another user.
fn set_user_id(means: &Means) -> Option<Probe> {
    let program = means.set_user_id.as_ref()?.display();
    Some(Probe {
        name: "set-user-ID",
        needed: ALL,
        flags: vec!["--volume".to_owned(), format!("{program}:{program}:ro")],
        attack: format!("{program} doctor --attempt root"),
        control: Control::Nobody,
        remedy: "no_new_privs and nosuid are always there: look at the runtime",
    })
}
