//! Namespaces, capabilities, seccomp and what of `/proc` is hidden.

use anyhow::{Result, ensure};

use super::{Case, Engine};
use crate::clients::case;
use crate::clients::facts::{
    capabilities, process_file, require_all_capabilities, same_namespace, status_field,
};

const CHOWN: u64 = 1 << 0;
const SYS_PTRACE: u64 = 1 << 19;

/// The cases of this file.
pub(super) fn cases() -> Vec<Case<Engine>> {
    vec![
        case!(
            "isolation: own pid, ipc, uts, mount and network namespaces",
            own_namespaces
        ),
        case!("isolation: --pid host", |e| shares(e, "pid")),
        case!("isolation: --ipc host", |e| shares(e, "ipc")),
        case!("isolation: --uts host", |e| shares(e, "uts")),
        case!("isolation: --network host", |e| shares(e, "network")),
        case!("isolation: --network container:", |e| joins(e, "network")),
        case!("isolation: --pid container:", |e| joins(e, "pid")),
        case!("isolation: --ipc container:", |e| joins(e, "ipc")),
        case!("isolation: --cgroupns private", |e| {
            e.run("--cgroupns private", "cut -d: -f3 /proc/self/cgroup | sort -u")?
                .prints("/")
        }),
        case!(
            "isolation: capabilities as given by default",
            default_capabilities
        ),
        case!("isolation: --cap-add and --cap-drop", |e| {
            caps(e, "--cap-add SYS_PTRACE --cap-drop CHOWN", SYS_PTRACE, CHOWN)
        }),
        case!("isolation: --cap-drop ALL", |e| caps(
            e,
            "--cap-drop ALL",
            0,
            u64::MAX
        )),
        case!("isolation: no capabilities for another user", |e| caps(
            e,
            "--user 1000",
            0,
            u64::MAX
        )),
        case!("isolation: --privileged", privileged),
        case!("isolation: no-new-privileges", |e| {
            status(e, "--security-opt no-new-privileges", "NoNewPrivs", "1")
        }),
        case!("isolation: new privileges otherwise", |e| status(
            e,
            "",
            "NoNewPrivs",
            "0"
        )),
        case!("isolation: a seccomp filter by default", |e| status(
            e, "", "Seccomp", "2"
        )),
        case!("isolation: seccomp=unconfined", |e| status(
            e,
            "--security-opt seccomp=unconfined",
            "Seccomp",
            "0"
        )),
        case!("isolation: seccomp=PROFILE", custom_profile),
        case!("isolation: masked paths", |e| {
            e.run(
                "",
                "wc -c < /proc/kcore; ls /proc/scsi /sys/firmware | grep -vc :",
            )?
            .shows("0\n")
        }),
        case!("isolation: /proc/sys is read-only", |e| {
            e.run("", "echo 1 > /proc/sys/kernel/msgmax")?
                .refused()?
                .complains("ead-only")
        }),
        case!("isolation: --sysctl", |e| {
            e.run("--sysctl kernel.msgmax=12345", "cat /proc/sys/kernel/msgmax")?
                .prints("12345")
        }),
        case!("isolation: an unknown sysctl is refused by name", |e| {
            e.run("--sysctl net.ipv4.no_such_key=1", "true")?
                .refused()?
                .complains("no_such_key")
        }),
        case!("isolation: --device", |e| {
            e.run(
                "--device /dev/zero:/dev/naught:r",
                "head -c 3 /dev/naught | wc -c; stat -c %t:%T /dev/naught",
            )?
            .prints("3\n1:5")
        }),
        case!("isolation: a device that was not given is refused", |e| {
            e.run("", "mknod /dev/memory c 1 1 && head -c 1 /dev/memory")?
                .refused()?
                .complains("not permitted")
        }),
    ]
}

fn own_namespaces(engine: &Engine) -> Result<()> {
    let pid = engine.idle("apart", "")?;
    for kind in ["pid", "ipc", "uts", "mnt", "net"] {
        same_namespace(kind, pid, std::process::id(), false)?;
    }
    same_namespace("user", pid, std::process::id(), true)?;
    engine.remove("apart")
}

/// The name of a namespace under `/proc/pid/ns`, for the client's word.
fn namespace(word: &str) -> &str {
    if word == "network" { "net" } else { word }
}

fn shares(engine: &Engine, kind: &str) -> Result<()> {
    let name = format!("shares-{kind}");
    let pid = engine.idle(&name, &format!("--{kind} host"))?;
    same_namespace(namespace(kind), pid, std::process::id(), true)?;
    engine.remove(&name)
}

fn joins(engine: &Engine, kind: &str) -> Result<()> {
    let (first, second) = (format!("first-{kind}"), format!("second-{kind}"));
    let shareable = if kind == "ipc" { "--ipc shareable" } else { "" };
    let a = engine.idle(&first, shareable)?;
    let b = engine.idle(&second, &format!("--{kind} container:{first}"))?;
    same_namespace(namespace(kind), a, b, true)?;
    same_namespace(namespace(kind), b, std::process::id(), false)?;
    engine.remove(&second)?;
    engine.remove(&first)
}

fn default_capabilities(engine: &Engine) -> Result<()> {
    let text = engine.run("", "cat /proc/self/status")?.ok()?.stdout;
    let effective = capabilities(&text, "CapEff")?;
    ensure!(effective & CHOWN != 0, "CAP_CHOWN is missing from {effective:#x}");
    ensure!(effective & SYS_PTRACE == 0, "CAP_SYS_PTRACE is in {effective:#x}");
    ensure!(
        effective == capabilities(&text, "CapBnd")?,
        "the bounding set differs from {effective:#x}"
    );
    Ok(())
}

/// Requires the effective set to hold `with`, and to hold nothing of `without`.
fn caps(engine: &Engine, flags: &str, with: u64, without: u64) -> Result<()> {
    let text = engine.run(flags, "cat /proc/self/status")?.ok()?.stdout;
    let effective = capabilities(&text, "CapEff")?;
    ensure!(
        effective & with == with,
        "{with:#x} is missing from {effective:#x}"
    );
    ensure!(
        effective & without == 0,
        "{:#x} should not be in {effective:#x}",
        effective & without
    );
    Ok(())
}

/// Clients ask for every capability that they know of, not for those that they have.
fn privileged(engine: &Engine) -> Result<()> {
    if engine.privileged_wants_all {
        require_all_capabilities()?;
    }
    let text = engine
        .run(
            "--privileged",
            "cat /proc/self/status; echo 8192 > /proc/sys/kernel/msgmax",
        )?
        .ok()?
        .stdout;
    let ours = capabilities(&process_file(std::process::id(), "status")?, "CapBnd")?;
    let theirs = capabilities(&text, "CapEff")?;
    ensure!(theirs == ours, "capabilities {theirs:#x} instead of {ours:#x}");
    ensure!(
        status_field(&text, "Seccomp")? == "0",
        "a seccomp filter is loaded"
    );
    Ok(())
}

fn status(engine: &Engine, flags: &str, field: &str, value: &str) -> Result<()> {
    let found = status_field(&engine.run(flags, "cat /proc/self/status")?.ok()?.stdout, field)?;
    ensure!(found == value, "{field} is {found} instead of {value}");
    Ok(())
}

/// A profile that forbids nothing but making directories.
fn custom_profile(engine: &Engine) -> Result<()> {
    let profile = engine.world.file(
        "profile.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
            "syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#,
    )?;
    let flag = format!("--security-opt seccomp={profile}");
    engine
        .run(&flag, "touch /tmp/file && mkdir /tmp/dir")?
        .refused()?
        .complains("No space left")?;
    Ok(())
}
