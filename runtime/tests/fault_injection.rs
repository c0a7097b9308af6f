//! Fails each system call of `create` once, and kills each of its two processes before each of their calls:
//! the error tells what failed, and nothing is left behind.
//!
//! By default every seventh call is tried; `NUCLEUS_TESTS_FULL=1` tries all.

mod support;

use serde_json::{Value, json};
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use support::{Bundle, Finished, Host, finish, probe};

/// Of how many calls one is tried by default.
const SAMPLED: usize = 7;

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
];

/// Calls that no step depends on. Their failure may change nothing, or, where memory is what is missing, end
/// the process.
const HARMLESS: &[i64] = &[
    libc::SYS_close,
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
struct Call {
    number: i64,
    /// The path that it is about, if it has one.
    object: String,
}

/// Whether a container may be created although this call failed.
fn tolerated(who: &str, number: usize, call: &Call) -> bool {
    let looks_further = match (who, call.number) {
        // Before main the binary is protected in the cheapest way; what fails there is made up for later.
        (
            "parent",
            libc::SYS_open_tree | libc::SYS_fstatfs | libc::SYS_mount_setattr | libc::SYS_execveat,
        ) => number < 10,
        // A hierarchy that is not where it usually is, is looked for in the mount table.
        ("parent", libc::SYS_faccessat) => true,
        // The fork's check, in debug builds, that there is one thread.
        ("parent", libc::SYS_newfstatat) => call.object == "/proc/self/task",
        // A device that may not be made is bound.
        ("child", libc::SYS_mknodat) => true,
        // A filter may refuse to look at the program: exec tells. Without groups there are none to give up.
        ("child", libc::SYS_faccessat | libc::SYS_newfstatat | libc::SYS_setgroups) => true,
        // The working directory is tried again as the user; what comes after `created` is for `start` to tell.
        ("child", libc::SYS_chdir | libc::SYS_recvfrom | libc::SYS_read) => true,
        _ => false,
    };
    looks_further || HARMLESS.contains(&call.number) || INFALLIBLE.contains(&call.number)
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "system call {} ({})", self.number, self.object)
    }
}

struct Bed {
    host: Host,
    bundle: Bundle,
    injector: PathBuf,
    id: String,
}

impl Bed {
    fn new(edit: impl FnOnce(&mut Value)) -> Option<Self> {
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

    /// Runs `create` with one fault; nothing when there was no such call any more.
    fn inject(&self, who: &str, number: usize, fault: Fault) -> Option<(Call, Finished)> {
        let report = self.host.directory().join("report");
        let errno = match fault {
            Fault::Error(errno) => errno,
            Fault::Kill => 0,
        };
        let mut command = Command::new(&self.injector);
        command.args([who, &number.to_string(), &errno.to_string()]);
        command.arg(&report).arg(support::program());
        command.arg("--root").arg(self.host.root());
        command.args(["create", "--bundle", self.bundle.path(), &self.id]);
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
        who: &str,
        fault: Fault,
        check: impl Fn(usize, &Call, &Finished) -> Result<(), String>,
    ) -> Vec<String> {
        let step = if std::env::var_os("NUCLEUS_TESTS_FULL").is_some() {
            1
        } else {
            SAMPLED
        };
        let mut wrong = Vec::new();
        let mut number = 1;
        while let Some((call, finished)) = self.inject(who, number, fault) {
            let checked = check(number, &call, &finished);
            self.delete();
            let left = self.host.leftovers(&self.id);
            if let Err(complaint) = checked {
                wrong.push(format!("{who}'s call {number}, {call}: {complaint}\n{finished}"));
            }
            if !left.is_empty() {
                wrong.push(format!("{who}'s call {number}, {call}, after delete: {left:?}"));
            }
            number += step;
        }
        assert!(
            number > 50,
            "{who} made only {number} system calls: was it traced?"
        );
        self.delete();
        wrong
    }

    fn left_at_once(&self) -> Result<(), String> {
        match self.host.leftovers(&self.id) {
            left if left.is_empty() => Ok(()),
            left => Err(format!("left behind: {left:?}")),
        }
    }

    fn after_error(&self, who: &str, number: usize, call: &Call, finished: &Finished) -> Result<(), String> {
        if MEMORY.contains(&call.number) {
            return Ok(());
        }
        match finished.code {
            0 if tolerated(who, number, call) => Ok(()),
            0 => Err("the failure went unnoticed".to_owned()),
            1 => {
                let message = finished.stderr.trim_end();
                let message_is = |words| message.to_lowercase().contains(words);
                // What cannot be looked at is no program, in runc's words.
                let told = message_is("operation not permitted") || message_is("executable file not found");
                if !told || message.contains('\n') || message.contains("panicked") {
                    return Err("not one line that tells what failed".to_owned());
                }
                self.left_at_once()
            }
            code => Err(format!("ended with {code}")),
        }
    }

    fn errors(&self, who: &str) {
        let wrong = self.sweep(who, Fault::Error(libc::EPERM), |number, call, finished| {
            self.after_error(who, number, call, finished)
        });
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    fn kills(&self, who: &str) {
        let wrong = self.sweep(who, Fault::Kill, |_, call, finished| match (who, finished.code) {
            ("parent", 137) => Ok(()),
            // It had told that it was ready: the container is created, and has ended.
            ("child", 0) if matches!(call.number, libc::SYS_recvfrom | libc::SYS_read) => Ok(()),
            ("child", 1) if finished.stderr.contains("died") => self.left_at_once(),
            (_, code) => Err(format!("ended with {code}")),
        });
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// Every kind of step that needs nothing special of the host.
fn full(config: &mut Value) {
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
fn mapped(config: &mut Value) {
    let linux = &mut config["linux"];
    let namespaces = linux["namespaces"].as_array_mut().expect("namespaces");
    namespaces.push(json!({"type": "user"}));
    let maps = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    linux["uidMappings"] = maps.clone();
    linux["gidMappings"] = maps;
}

#[test]
fn a_failed_call_of_the_runtime_is_told_and_undone() {
    let Some(bed) = Bed::new(full) else { return };
    bed.errors("parent");
}

#[test]
fn a_failed_call_of_the_first_process_is_told_and_undone() {
    let Some(bed) = Bed::new(full) else { return };
    bed.errors("child");
}

#[test]
fn a_runtime_killed_at_any_call_leaves_nothing_after_delete() {
    let Some(bed) = Bed::new(full) else { return };
    bed.kills("parent");
}

#[test]
fn a_first_process_killed_at_any_call_leaves_nothing() {
    let Some(bed) = Bed::new(full) else { return };
    bed.kills("child");
}

#[test]
fn failures_with_a_user_namespace_are_told_and_undone() {
    let Some(bed) = Bed::new(mapped) else { return };
    bed.errors("parent");
    bed.errors("child");
}

#[test]
fn kills_with_a_user_namespace_leave_nothing() {
    let Some(bed) = Bed::new(mapped) else { return };
    bed.kills("parent");
    bed.kills("child");
}
