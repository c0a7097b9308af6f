//! A bed for fault injection: one command of the runtime is run with one fault at one system call of one of its
//! processes, then everything that it was about is deleted, and nothing may be left.
//!
//! By default one of several calls is tried; `NUCLEUS_TESTS_FULL=1` tries all.
#![allow(dead_code, reason = "each test file uses its part")]

use crate::support::{self, Bundle, Finished, Host, finish, probe};
use serde_json::{Value, json};
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Calls that the kernel never fails; the injector leaves them alone.
const INFALLIBLE: &[i64] = &[
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_rt_sigprocmask,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_geteuid,
    libc::SYS_getegid,
    libc::SYS_exit_group,
    libc::SYS_close,
];

/// Calls that no step depends on. Their failure may change nothing, or, where memory is what is missing, end
/// the process.
const HARMLESS: &[i64] = &[
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_prlimit64,
    libc::SYS_getrandom,
    libc::SYS_poll,
    libc::SYS_readlink,
    // The standard library's check, in debug builds, of a descriptor that it closes.
    libc::SYS_fcntl,
];

/// `open_tree_attr(2)`.
const SYS_OPEN_TREE_ATTR: i64 = 467;

/// Whether a command may succeed although this call of one of its processes failed.
fn is_made_up_for(who: &str, number: usize, call: &Call) -> bool {
    match (who, call.number) {
        // Before main the binary is protected in the cheapest way; what fails there is made up for later.
        ("parent", libc::SYS_statfs | libc::SYS_open_tree | libc::SYS_mount_setattr | libc::SYS_execveat) => {
            number < 10
        }
        // What is not closed now is closed by the end of the process.
        ("parent", libc::SYS_close_range) => true,
        // A hierarchy that is not where it usually is, is looked for in the mount table.
        ("parent", libc::SYS_faccessat) => true,
        // The fork's check, in debug builds, that there is one thread.
        ("parent", libc::SYS_newfstatat) => call.object == "/proc/self/task",
        // A mount that cannot be made in one call is made step by step.
        (_, libc::SYS_fchdir | libc::SYS_mount | SYS_OPEN_TREE_ATTR) => who != "parent",
        // A device that may not be made is bound.
        (_, libc::SYS_mknodat) => who != "parent",
        // A right that the cgroup above does not have is left out.
        ("parent", libc::SYS_write) => matches!(&*call.object, "c *:* m" | "b *:* m" | "c 10:200 rwm"),
        ("parent", libc::SYS_openat) => call.object == "devices.allow",
        // A filter may refuse to look at the program: exec tells. Without groups there are none to give up.
        (_, libc::SYS_faccessat | libc::SYS_newfstatat | libc::SYS_setgroups) => who != "parent",
        // The working directory is tried again as the user.
        (_, libc::SYS_chdir) => who != "parent",
        _ => false,
    }
}

/// Without memory the process may end in any way, as long as nothing is left.
const MEMORY: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_arch_prctl,
];

#[derive(Clone, Copy)]
enum Fault {
    Error(i32),
    Kill,
}

/// The system call at which the fault was injected.
pub(crate) struct Call {
    pub(crate) number: i64,
    /// The path that it is about, if it has one.
    pub(crate) object: String,
}

impl Call {
    /// Whether its failure means nothing for the outcome.
    fn is_harmless(&self) -> bool {
        HARMLESS.contains(&self.number) || INFALLIBLE.contains(&self.number)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "system call {} ({})", self.number, self.object)
    }
}

/// What is done to a fresh container.
pub(crate) struct Attempt<'a> {
    /// The command and its options before the id.
    pub(crate) command: &'a [&'a str],
    /// What follows the id.
    pub(crate) after: &'a [&'a str],
    /// The commands that come before it, each with its options.
    pub(crate) before: &'a [&'a [&'a str]],
    /// Of how many calls one is tried by default.
    pub(crate) sampled: usize,
    /// Fewer calls than this mean that the process was not traced.
    pub(crate) fewest: usize,
}

pub(crate) struct Bed {
    pub(crate) host: Host,
    bundle: Bundle,
    injector: PathBuf,
    id: String,
}

impl Bed {
    pub(crate) fn new(edit: impl FnOnce(&mut Value)) -> Option<Self> {
        let host = Host::new()?;
        let injector = probe::build("inject")?;
        let bundle = host.bundle(edit);
        let id = host.id();
        Some(Self {
            host,
            bundle,
            injector,
            id,
        })
    }

    fn args<'a>(&'a self, command: &[&'a str], after: &[&'a str]) -> Vec<&'a str> {
        let mut args = command.to_vec();
        if matches!(command[0], "create" | "run") {
            args.extend(["--bundle", self.bundle.path()]);
        }
        args.push(&self.id);
        args.extend(after);
        args
    }

    /// Runs the command with one fault; nothing when there was no such call any more.
    fn inject(
        &self,
        attempt: &Attempt<'_>,
        who: &str,
        number: usize,
        fault: Fault,
    ) -> Option<(Call, Finished)> {
        for before in attempt.before {
            self.host.ok(&self.args(before, &[]));
        }
        let who = match who {
            "waiting" => self.host.state(&self.id)["pid"].to_string(),
            who => who.to_owned(),
        };
        let report = self.host.directory().join("report");
        let errno = match fault {
            Fault::Error(errno) => errno,
            Fault::Kill => 0,
        };
        let mut command = Command::new(&self.injector);
        command.args([&who, &number.to_string(), &errno.to_string()]);
        command.arg(&report).arg(support::program());
        command.arg("--root").arg(self.host.root());
        command.args(self.args(attempt.command, attempt.after));
        command.stdin(Stdio::null());
        let finished = finish(command);
        let text = fs::read_to_string(&report).expect("the injector's report");
        let (number, object) = text.trim_end().split_once(' ').unwrap_or((text.trim_end(), ""));
        let call = Call {
            number: number.parse().expect("a number"),
            object: object.to_owned(),
        };
        (call.number >= 0).then_some((call, finished))
    }

    fn delete(&self) {
        let deleted = self.host.run(&["delete", "--force", &self.id]);
        assert_eq!(deleted.code, 0, "{deleted}");
    }

    /// Goes through the calls of one process; returns what went wrong.
    fn sweep(
        &self,
        attempt: &Attempt<'_>,
        who: &str,
        fault: Fault,
        check: impl Fn(usize, &Call, &Finished) -> Result<(), String>,
    ) -> Vec<String> {
        let full = std::env::var_os("NUCLEUS_TESTS_FULL").is_some();
        let step = if full { 1 } else { attempt.sampled };
        let mut wrong = Vec::new();
        let mut number = 1;
        while let Some((call, finished)) = self.inject(attempt, who, number, fault) {
            let checked = check(number, &call, &finished);
            if attempt.command[0] == "delete" && finished.code == 0 && !self.left().is_empty() {
                wrong.push(format!(
                    "{who}'s call {number}, {call}: success, but {:?}",
                    self.left()
                ));
            }
            self.delete();
            let left = self.left();
            if let Err(complaint) = checked {
                wrong.push(format!("{who}'s call {number}, {call}: {complaint}\n{finished}"));
            }
            if !left.is_empty() {
                wrong.push(format!("{who}'s call {number}, {call}, after delete: {left:?}"));
            }
            number += step;
        }
        assert!(
            number > attempt.fewest,
            "{who} made only {number} system calls: was it traced?"
        );
        self.delete();
        wrong
    }

    pub(crate) fn left(&self) -> Vec<String> {
        self.host.leftovers(&self.id)
    }

    /// Whether the container is as it was before a command that failed.
    pub(crate) fn still(&self, status: &str) -> Result<(), String> {
        let state = self.host.run(&["state", &self.id]);
        let processes = self
            .left()
            .iter()
            .filter(|left| left.starts_with("process"))
            .count();
        let told: Value = serde_json::from_str(&state.stdout).unwrap_or_default();
        let is_so = told["status"] == status;
        match (is_so, processes) {
            (true, 1) => Ok(()),
            _ => Err(format!("not {status} with one process but {processes}: {state}")),
        }
    }

    /// Fails calls with `EPERM`: the error is told, or the call is one that may fail, as
    /// `tolerated` says of this command. `after` looks at what a
    /// failed command has left.
    pub(crate) fn errors(
        &self,
        attempt: &Attempt<'_>,
        who: &str,
        tolerated: impl Fn(&Call, &Finished) -> bool,
        after: impl Fn() -> Result<(), String>,
    ) {
        let wrong = self.sweep(
            attempt,
            who,
            Fault::Error(libc::EPERM),
            |number, call, finished| {
                if MEMORY.contains(&call.number) {
                    return Ok(());
                }
                match finished.code {
                    0 if call.is_harmless() || is_made_up_for(who, number, call) => Ok(()),
                    0 if tolerated(call, finished) => Ok(()),
                    0 => Err("the failure went unnoticed".to_owned()),
                    1 => is_told(finished).and_then(|()| after()),
                    // The standard library gives up where its own pipe to a hook's child fails, which no kernel does.
                    134 if call.number == libc::SYS_recvfrom
                        && finished.stderr.contains("the CLOEXEC pipe failed") =>
                    {
                        Ok(())
                    }
                    code => Err(format!("ended with {code}")),
                }
            },
        );
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Kills the process before each call; `expected` judges how the command has ended.
    pub(crate) fn kills(
        &self,
        attempt: &Attempt<'_>,
        who: &str,
        expected: impl Fn(&Call, &Finished) -> Result<(), String>,
    ) {
        let wrong = self.sweep(attempt, who, Fault::Kill, |_, call, finished| {
            match (who, finished.code) {
                ("parent", 137) => Ok(()),
                _ => expected(call, finished),
            }
        });
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// One line that names the injected error.
fn is_told(finished: &Finished) -> Result<(), String> {
    let message = finished.stderr.trim_end();
    let message_is = |words| message.to_lowercase().contains(words);
    // What cannot be looked at is no program, in runc's words.
    let told = message_is("operation not permitted") || message_is("executable file not found");
    if !told || message.contains('\n') || message.contains("panicked") {
        return Err("not one line that tells what failed".to_owned());
    }
    Ok(())
}

/// Every kind of step that needs nothing special of the host.
pub(crate) fn full(config: &mut Value) {
    config["process"]["oomScoreAdj"] = json!(100);
    config["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
    config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [7]});
    config["root"]["readonly"] = json!(true);
    let mounts = config["mounts"].as_array_mut().expect("mounts");
    mounts.push(
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "ro"]}),
    );
    mounts.push(
        json!({"destination": "/volume", "type": "bind", "source": "/etc", "options": ["rbind", "ro"]}),
    );
    mounts.push(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}));
    let linux = &mut config["linux"];
    linux["maskedPaths"] = json!(["/proc/kcore", "/proc/acpi", "/sys/firmware"]);
    linux["readonlyPaths"] = json!(["/proc/sys", "/proc/bus"]);
    linux["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    linux["resources"]["memory"] = json!({"limit": 268_435_456});
    linux["resources"]["pids"] = json!({"limit": 100});
    linux["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["kexec_load"], "action": "SCMP_ACT_ERRNO"}]});
}

/// What a user namespace changes: the parent waits, opens the mounts and writes the maps.
pub(crate) fn mapped(config: &mut Value) {
    let linux = &mut config["linux"];
    let namespaces = linux["namespaces"].as_array_mut().expect("namespaces");
    namespaces.push(json!({"type": "user"}));
    let maps = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    linux["uidMappings"] = maps.clone();
    linux["gidMappings"] = maps;
}

/// Hooks of every kind.
pub(crate) fn hooked(config: &mut Value) {
    let hook = json!([{"path": "/bin/true"}]);
    config["hooks"] = json!({
        "prestart": hook, "createRuntime": hook, "createContainer": hook,
        "startContainer": hook, "poststart": hook, "poststop": hook,
    });
    running(config);
}

/// A program that stays.
pub(crate) fn running(config: &mut Value) {
    config["process"]["args"] = json!(["sleep", "1000"]);
}
