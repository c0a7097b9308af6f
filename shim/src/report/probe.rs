//! System calls that a process is made to try, harmless whether they are refused or not. Which of them a policy
//! refuses is decided here, purely; [`super::look`] has them made.

use nucleus_policy::landlock::annotation::Annotation;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction};
use serde::{Deserialize, Serialize};

/// An argument of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Argument {
    /// A number.
    Number(i64),
    /// The address of these bytes.
    Bytes(Vec<u8>),
    /// What an earlier call of the probe gave.
    Of(usize),
}

/// Calls in a row; what one of them gives is the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Numbers and arguments.
    pub calls: Vec<(i64, Vec<Argument>)>,
    /// Index of the call that answers.
    pub answer: usize,
}

/// Permission denied, as Landlock says it.
pub const EACCES: i64 = -13;

const OPENAT: i64 = 257;
const CLOSE: i64 = 3;
const SOCKET: i64 = 41;
const CONNECT: i64 = 42;
const BIND: i64 = 49;
const AT_FDCWD: i64 = -100;
const O_CLOEXEC: i64 = 0o2_000_000;
const AF_INET: i64 = 2;
const SOCK_STREAM_CLOEXEC: i64 = 1 | O_CLOEXEC;

/// Calls that do nothing with these arguments, each with its number.
const CANDIDATES: [(&str, i64, [i64; 3]); 21] = [
    ("add_key", 248, [0, 0, 0]),
    ("bpf", 321, [-1, 0, 0]),
    ("chroot", 161, [0, 0, 0]),
    ("clone3", 435, [0, 0, 0]),
    ("io_uring_enter", 426, [-1, 0, 0]),
    ("io_uring_setup", 425, [0, 0, 0]),
    ("kcmp", 312, [-1, -1, 0]),
    ("keyctl", 250, [-1, 0, 0]),
    ("mount", 165, [0, 0, 0]),
    ("name_to_handle_at", 303, [-1, 0, 0]),
    ("open_tree", 428, [-1, 0, 0]),
    ("perf_event_open", 298, [0, 0, 0]),
    ("pidfd_getfd", 438, [-1, -1, 0]),
    ("process_vm_readv", 310, [0, 0, 0]),
    ("process_vm_writev", 311, [0, 0, 0]),
    ("ptrace", 101, [-1, 0, 0]),
    ("request_key", 249, [0, 0, 0]),
    ("setns", 308, [-1, 0, 0]),
    ("umount2", 166, [0, 0, 0]),
    ("unshare", 272, [0, 0, 0]),
    ("userfaultfd", 323, [-1, 0, 0]),
];

/// The calls that a profile refuses with an errno whatever their arguments are, and what they give then. Those that
/// end the process cannot be tried.
pub fn refused(profile: &LinuxSeccomp) -> Vec<(&'static str, Probe, i64)> {
    let refusal = |name: &str| {
        let mut rules = profile
            .syscalls()
            .iter()
            .flatten()
            .filter(|rule| rule.names().iter().any(|one| one == name));
        let (action, errno) = match (rules.next(), rules.next()) {
            (None, _) => (profile.default_action(), profile.default_errno_ret()),
            (Some(rule), None) if rule.args().iter().flatten().next().is_none() => {
                (rule.action(), rule.errno_ret())
            }
            // It depends on the arguments.
            _ => return None,
        };
        (action == LinuxSeccompAction::ScmpActErrno).then(|| -i64::from(errno.unwrap_or(1)))
    };
    CANDIDATES
        .iter()
        .filter_map(|(name, number, arguments)| {
            let calls = vec![(*number, arguments.map(Argument::Number).to_vec())];
            Some((*name, Probe { calls, answer: 0 }, refusal(name)?))
        })
        .collect()
}

/// What Landlock rules refuse for certain, and from which version on. The owner of a process may write its
/// `oom_score_adj`, and nobody else hands out `EACCES` for TCP.
pub fn restricted(annotation: &Annotation) -> Vec<(&'static str, Probe, u32)> {
    let ruleset = &annotation.ruleset;
    let handled = |right: &str| ruleset.handled_access_fs.iter().any(|one| one == right);
    let mut found = Vec::new();
    for (right, path, flags) in [
        ("write_file", "/proc/self/oom_score_adj", 1),
        ("read_file", "/proc/self/status", 0),
    ] {
        if handled(right) && !allows(annotation, right, path) {
            found.push((right, open(path, flags | O_CLOEXEC), 1));
        }
    }
    let ports = &annotation.rules.net_port;
    for (right, call) in [("connect_tcp", CONNECT), ("bind_tcp", BIND)] {
        let handled = ruleset.handled_access_net.iter().any(|one| one == right);
        let free = |port: &u16| !ports.iter().any(|rule| rule.ports.contains(port));
        if handled && let Some(port) = [1, 7, 9, 4_999, 60_001].iter().find(|port| free(port)) {
            found.push((right, tcp(call, *port), 4));
        }
    }
    found
}

fn allows(annotation: &Annotation, right: &str, path: &str) -> bool {
    annotation.rules.path_beneath.iter().any(|rule| {
        let beneath = |one: &String| std::path::Path::new(path).starts_with(one) || one.starts_with("/proc");
        rule.allowed_access.iter().any(|one| one == right) && rule.paths.iter().any(beneath)
    })
}

fn open(path: &str, flags: i64) -> Probe {
    let text = [path.as_bytes(), b"\0"].concat();
    let arguments = vec![
        Argument::Number(AT_FDCWD),
        Argument::Bytes(text),
        Argument::Number(flags),
        Argument::Number(0),
    ];
    Probe {
        calls: vec![(OPENAT, arguments), (CLOSE, vec![Argument::Of(0)])],
        answer: 0,
    }
}

/// A TCP socket that is connected or bound to a port of 127.0.0.1, and closed.
fn tcp(call: i64, port: u16) -> Probe {
    let mut address = vec![2, 0];
    address.extend(port.to_be_bytes());
    address.extend([127, 0, 0, 1]);
    address.extend([0; 8]);
    let number = Argument::Number;
    Probe {
        calls: vec![
            (
                SOCKET,
                vec![number(AF_INET), number(SOCK_STREAM_CLOEXEC), number(0)],
            ),
            (call, vec![Argument::Of(0), Argument::Bytes(address), number(16)]),
            (CLOSE, vec![Argument::Of(0)]),
        ],
        answer: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_calls_that_are_refused_whatever_their_arguments_are_tried() {
        let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [
            {"names": ["keyctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["setns"], "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["unshare"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
        ]});
        let found = refused(&serde_json::from_value(profile).expect("a profile"));
        let result = |name| found.iter().find(|one| one.0 == name).map(|one| one.2);
        assert_eq!(result("keyctl"), Some(-1));
        assert_eq!(result("add_key"), Some(-38));
        for name in ["ptrace", "setns", "unshare"] {
            assert_eq!(result(name), None, "{name}");
        }
    }

    #[test]
    fn what_rules_allow_is_not_tried() {
        let annotation = |text: &str| serde_json::from_str::<Annotation>(text).expect("an annotation");
        let names = |text: &str| -> Vec<&'static str> {
            restricted(&annotation(text))
                .into_iter()
                .map(|one| one.0)
                .collect()
        };
        let handled =
            r#""ruleset":{"handledAccessFS":["write_file","read_file"],"handledAccessNet":["connect_tcp"]}"#;
        assert_eq!(
            names(&format!("{{{handled}}}")),
            ["write_file", "read_file", "connect_tcp"]
        );
        let all = r#"{"rules":{"pathBeneath":[{"allowedAccess":["write_file","read_file"],"paths":["/"]}]},"#;
        assert_eq!(names(&format!("{all}{handled}}}")), ["connect_tcp"]);
        let proc = r#"{"rules":{"pathBeneath":[{"allowedAccess":["read_file"],"paths":["/proc"]}]},"#;
        assert_eq!(
            names(&format!("{proc}{handled}}}")),
            ["write_file", "connect_tcp"]
        );
    }
}
