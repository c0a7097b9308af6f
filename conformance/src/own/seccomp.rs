//! Seccomp filters, by what they do to system calls.

use std::fs;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::expect_eq;
use crate::lab::socket::Listener;
use crate::lab::{Container, Lab, status_field};

super::list![
    seccomp_errno,
    seccomp_errno_defaults_to_eperm,
    seccomp_kill_process,
    seccomp_trap,
    seccomp_log_and_allow_let_pass,
    seccomp_default_action_applies,
    seccomp_compares_arguments,
    seccomp_masked_comparison,
    seccomp_is_on_without_no_new_privileges,
    seccomp_unknown_action_is_refused,
    seccomp_unknown_operator_is_refused,
    seccomp_unknown_call_is_ignored,
    seccomp_flags_are_taken,
    seccomp_refuses_the_other_architecture,
    seccomp_notify_hands_the_listener_over,
    seccomp_notify_without_listener_path_is_refused,
];

/// A filter that refuses the calls with an error number and allows the others.
pub(super) fn refusing(names: &[&str], errno: u32) -> Value {
    filter(json!([{"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno}]))
}

fn filter(rules: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules})
}

fn output(lab: &Lab, filter: Value, script: &str) -> Result<String> {
    lab.output_of(script, |bundle| {
        bundle.set("/linux/seccomp", filter);
    })
}

const MKDIR: [&str; 2] = ["mkdir", "mkdirat"];

fn seccomp_errno(lab: &Lab) -> Result<()> {
    let seen = output(
        lab,
        refusing(&MKDIR, 38),
        "mkdir /tmp/x 2>&1; touch /tmp/y && echo touched",
    )?;
    ensure!(
        seen.contains("Function not implemented") && seen.contains("touched"),
        "output is {seen:?}"
    );
    Ok(())
}

fn seccomp_errno_defaults_to_eperm(lab: &Lab) -> Result<()> {
    let rules = json!([{"names": MKDIR, "action": "SCMP_ACT_ERRNO"}]);
    let seen = output(lab, filter(rules), "mkdir /tmp/x 2>&1; true")?;
    ensure!(seen.contains("Operation not permitted"), "output is {seen:?}");
    Ok(())
}

fn seccomp_kill_process(lab: &Lab) -> Result<()> {
    for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD"] {
        let rules = json!([{"names": MKDIR, "action": action}]);
        // 31 is SIGSYS.
        expect_eq(
            action,
            output(lab, filter(rules), "(mkdir /tmp/x) 2>/dev/null; echo $?")?,
            "159",
        )?;
    }
    Ok(())
}

fn seccomp_trap(lab: &Lab) -> Result<()> {
    let rules = json!([{"names": MKDIR, "action": "SCMP_ACT_TRAP"}]);
    expect_eq(
        "exit code",
        output(lab, filter(rules), "(mkdir /tmp/x) 2>/dev/null; echo $?")?,
        "159",
    )
}

fn seccomp_log_and_allow_let_pass(lab: &Lab) -> Result<()> {
    for action in ["SCMP_ACT_LOG", "SCMP_ACT_ALLOW"] {
        let rules = json!([{"names": MKDIR, "action": action}]);
        expect_eq(
            action,
            output(lab, filter(rules), "mkdir /tmp/x && echo made")?,
            "made",
        )?;
    }
    Ok(())
}

/// What busybox and any runtime near its exec call. Profiles like this one are older than faccessat2, statx and
/// close_range, so a runtime must be done with its own look-ups before it loads the filter.
const BASE: &str = "\
    execve execveat exit exit_group brk mmap munmap mprotect arch_prctl read write writev open openat \
    close fstat newfstatat stat getuid geteuid getgid getegid getpid getppid rt_sigaction rt_sigprocmask \
    rt_sigreturn set_tid_address set_robust_list rseq prlimit64 readlinkat readlink getrandom ioctl \
    fcntl getcwd uname setuid setgid setgroups capset capget prctl futex chdir sigaltstack \
    nanosleep clone wait4 dup2 dup3 fchdir fstatfs statfs lseek \
    pread64 getdents64 tgkill gettid madvise sched_getaffinity access faccessat \
    setresuid setresgid setsid umask seccomp poll ppoll sched_yield socket sendmsg \
    recvmsg sendto recvfrom personality setfsuid setfsgid restart_syscall";

fn seccomp_default_action_applies(lab: &Lab) -> Result<()> {
    let names: Vec<&str> = BASE.split_whitespace().collect();
    // ENOSYS makes a caller try an older call; after EPERM it gives up. Without no_new_privs the filter is
    // loaded before the capabilities are dropped, and the runtime's own last steps run under it.
    let variants = [(38, true), (1, true), (38, false), (1, false)];
    for (errno, no_new_privileges) in variants {
        let filter = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": errno,
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]
        });
        let told = || format!("default errno {errno}, noNewPrivileges {no_new_privileges}");
        let seen = lab.output_of("mkdir /tmp/x 2>&1; echo alive", |bundle| {
            bundle
                .set("/linux/seccomp", filter)
                .set("/process/noNewPrivileges", json!(no_new_privileges));
        });
        let seen = seen.with_context(told)?;
        let text = if errno == 38 {
            "Function not implemented"
        } else {
            "Operation not permitted"
        };
        ensure!(
            seen.contains(text) && seen.contains("alive"),
            "{}: output is {seen:?}",
            told()
        );
    }
    Ok(())
}

/// A rule on the mode that chmod is called with, whichever call the C library chooses.
fn chmod_rules(condition: impl Fn(u32) -> Value) -> Value {
    let rule = |name: &str, index: u32| json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "args": [condition(index)]});
    filter(json!([
        rule("chmod", 1),
        rule("fchmodat", 2),
        rule("fchmodat2", 2)
    ]))
}

fn modes_refused(lab: &Lab, rules: Value) -> Result<Vec<String>> {
    let script = "touch /tmp/x; for m in 600 644 700 755; do chmod $m /tmp/x 2>/dev/null || echo $m; done";
    Ok(output(lab, rules, script)?.lines().map(str::to_owned).collect())
}

fn seccomp_compares_arguments(lab: &Lab) -> Result<()> {
    let expected: [(&str, &[&str]); 6] = [
        ("SCMP_CMP_EQ", &["644"]),
        ("SCMP_CMP_NE", &["600", "700", "755"]),
        ("SCMP_CMP_LT", &["600"]),
        ("SCMP_CMP_LE", &["600", "644"]),
        ("SCMP_CMP_GT", &["700", "755"]),
        ("SCMP_CMP_GE", &["644", "700", "755"]),
    ];
    for (operator, refused) in expected {
        let rules = chmod_rules(|index| json!({"index": index, "value": 0o644, "op": operator}));
        expect_eq(operator, modes_refused(lab, rules)?, refused)?;
    }
    Ok(())
}

fn seccomp_masked_comparison(lab: &Lab) -> Result<()> {
    let condition =
        |index| json!({"index": index, "value": 0o100, "valueTwo": 0o100, "op": "SCMP_CMP_MASKED_EQ"});
    expect_eq(
        "refused modes",
        modes_refused(lab, chmod_rules(condition))?,
        ["700", "755"],
    )
}

fn seccomp_is_on_without_no_new_privileges(lab: &Lab) -> Result<()> {
    for flag in [true, false] {
        let status = lab.output_of("cat /proc/self/status; ! mkdir /tmp/x", |bundle| {
            bundle
                .set("/linux/seccomp", refusing(&MKDIR, 1))
                .set("/process/noNewPrivileges", json!(flag));
        })?;
        expect_eq("Seccomp", status_field(&status, "Seccomp")?, "2")?;
        expect_eq(
            "NoNewPrivs",
            status_field(&status, "NoNewPrivs")?,
            if flag { "1" } else { "0" },
        )?;
    }
    Ok(())
}

fn refused(lab: &Lab, seccomp: Value, thing: &str) -> Result<()> {
    let mut bundle = lab.bundle(&["true"])?;
    bundle.set("/linux/seccomp", seccomp);
    let id = lab.id();
    lab.run_as(&bundle, &id)?.refuses(thing)?;
    lab.expect_nothing_left(&id)
}

fn seccomp_unknown_action_is_refused(lab: &Lab) -> Result<()> {
    refused(
        lab,
        filter(json!([{"names": MKDIR, "action": "SCMP_ACT_SING"}])),
        "SCMP_ACT_SING",
    )
}

fn seccomp_unknown_operator_is_refused(lab: &Lab) -> Result<()> {
    let condition = json!([{"index": 0, "value": 0, "op": "SCMP_CMP_ODD"}]);
    refused(
        lab,
        filter(json!([{"names": MKDIR, "action": "SCMP_ACT_ERRNO", "args": condition}])),
        "SCMP_CMP_ODD",
    )
}

fn seccomp_unknown_call_is_ignored(lab: &Lab) -> Result<()> {
    let seen = output(
        lab,
        refusing(&["no_such_call", "mkdir", "mkdirat"], 38),
        "mkdir /tmp/x 2>&1; true",
    )?;
    ensure!(seen.contains("Function not implemented"), "output is {seen:?}");
    Ok(())
}

fn seccomp_flags_are_taken(lab: &Lab) -> Result<()> {
    for flag in [
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    ] {
        let mut seccomp = refusing(&MKDIR, 38);
        seccomp["flags"] = json!([flag]);
        let seen = output(lab, seccomp, "mkdir /tmp/x 2>&1; true")?;
        ensure!(
            seen.contains("Function not implemented"),
            "{flag}: output is {seen:?}"
        );
    }
    let mut seccomp = refusing(&MKDIR, 38);
    seccomp["flags"] = json!(["SECCOMP_FILTER_FLAG_ODD"]);
    refused(lab, seccomp, "SECCOMP_FILTER_FLAG_ODD")
}

/// A call through another architecture's table must not pass a filter that does not name it.
fn seccomp_refuses_the_other_architecture(lab: &Lab) -> Result<()> {
    // A program of five instructions, ELF for x86: exit(7) through int 0x80.
    let mut bundle = lab.bundle(&["/exit7"])?;
    let file = bundle.in_root("/exit7");
    fs::write(&file, elf32(&[0xb8, 1, 0, 0, 0, 0xbb, 7, 0, 0, 0, 0xcd, 0x80]))?;
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    if lab.run(&bundle)?.code != 7 {
        return crate::inside::skip("this kernel does not run 32-bit programs");
    }
    bundle.set("/linux/seccomp", refusing(&MKDIR, 38));
    let output = lab.run(&bundle)?;
    ensure!(output.code != 7, "the 32-bit call passes a filter for x86_64");
    Ok(())
}

/// The smallest 32-bit program around some code, see elf(5).
fn elf32(code: &[u8]) -> Vec<u8> {
    let base: u32 = 0x0804_8000;
    let (header, segment) = (52u32, 32u32);
    let size = header + segment + code.len() as u32;
    let mut bytes = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |bytes: &mut Vec<u8>, value: u16| bytes.extend(value.to_le_bytes());
    let word = |bytes: &mut Vec<u8>, value: u32| bytes.extend(value.to_le_bytes());
    half(&mut bytes, 2); // an executable
    half(&mut bytes, 3); // for the 386
    for value in [1, base + header + segment, header, 0, 0] {
        word(&mut bytes, value);
    }
    for value in [header as u16, segment as u16, 1, 0, 0, 0] {
        half(&mut bytes, value);
    }
    for value in [1, 0, base, base, size, size, 5, 0x1000] {
        word(&mut bytes, value);
    }
    bytes.extend(code);
    bytes
}

fn notifying(path: Option<&str>) -> Value {
    let mut seccomp = filter(json!([{"names": MKDIR, "action": "SCMP_ACT_NOTIFY"}]));
    if let Some(path) = path {
        seccomp["listenerPath"] = json!(path);
        seccomp["listenerMetadata"] = json!("metadata of the case");
    }
    seccomp
}

fn seccomp_notify_hands_the_listener_over(lab: &Lab) -> Result<()> {
    let listener = Listener::bind(&lab.dir.join("seccomp.sock"))?;
    let mut bundle = lab.script("mkdir /tmp/x 2>&1; echo over; sleep 1000")?;
    bundle.set("/linux/seccomp", notifying(Some(&listener.path())));
    // The spec leaves open when the runtime sends it; only the first filtered call waits.
    let container = Container::started(lab, &bundle)?;
    let (data, fds) = listener.receive()?;
    let state: Value = serde_json::from_slice(&data).context("parse the container process state")?;
    expect_eq("descriptors", &state["fds"], &json!(["seccompFd"]))?;
    expect_eq("metadata", &state["metadata"], &json!("metadata of the case"))?;
    expect_eq("id", &state["state"]["id"], &json!(container.id))?;
    expect_eq("pid", &state["pid"], &json!(container.pid()?))?;
    ensure!(state["ociVersion"].is_string(), "no ociVersion in {state}");
    ensure!(fds.len() == 1, "{} descriptors were sent", fds.len());
    let link = fs::read_link(format!("/proc/self/fd/{}", fds[0].as_raw_fd()))?;
    expect_eq(
        "descriptor",
        link.display().to_string().as_str(),
        "anon_inode:seccomp notify",
    )?;
    // With its only listener gone, a waiting call fails with ENOSYS (seccomp_unotify(2)).
    drop(fds);
    container.wait_for_stdout("over")?;
    let seen = container.stdout()?;
    ensure!(seen.contains("Function not implemented"), "output is {seen:?}");
    Ok(())
}

fn seccomp_notify_without_listener_path_is_refused(lab: &Lab) -> Result<()> {
    refused(lab, notifying(None), "listener")
}
