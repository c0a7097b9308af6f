//! `ctr run`.

use anyhow::{Result, ensure};

use super::Ctr;
use crate::clients::engine::TERMINAL_SIZE;
use crate::clients::facts::{self, Knob, capabilities, cgroup_of, process_file, same_namespace};
use crate::clients::hierarchy::View;
use crate::clients::{Case, case};

/// The cases of this file.
pub(super) fn cases() -> Vec<Case<Ctr>> {
    vec![
        case!("run: exit code 0 and standard output", |c| c
            .run("", "echo hi")?
            .prints("hi")),
        case!("run: exit code 7", |c| c.run("", "exit 7")?.exits(7)),
        case!("run: standard error", |c| c
            .run("", "echo two >&2")?
            .ok()?
            .complains("two")),
        // Debian's ctr never closes the container's standard input: its end cannot be waited for.
        case!("run: standard input", |c| {
            c.with_input(
                &c.words("--rm", "reader", &["head", "-n", "1"]),
                Some(
                    "from outside
",
                ),
            )?
            .prints("from outside")
        }),
        case!("run: a missing command is named", |c| {
            c.run_program("", &["nosuchcommand"])?
                .refused()?
                .complains("nosuchcommand")?
                .complains("not found in $PATH")
        }),
        case!("run: a missing path is named", |c| {
            c.run_program("", &["/no/such/command"])?
                .refused()?
                .complains("/no/such/command")
        }),
        case!("run: a file that may not be executed", |c| {
            c.run_program("", &["/etc/notexec"])?
                .refused()?
                .complains("ermission denied")
        }),
        case!("run: a mount that cannot be made is named", |c| {
            let flag = "--mount type=bind,src=/no/such/source,dst=/mnt,options=rbind";
            c.run(flag, "true")?.refused()?.complains("/no/such/source")
        }),
        case!("run: --tty gives a terminal of the caller's size", terminal),
        case!("run: --env", |c| c
            .run("--env NAME=value", "echo $NAME")?
            .prints("value")),
        case!("run: --cwd", |c| c.run("--cwd /tmp", "pwd")?.prints("/tmp")),
        case!("run: --mount read-only and writable", mounts),
        case!("run: --read-only", |c| c
            .run("--read-only", "touch /bin/file")?
            .refused()?
            .complains("ead-only")),
        case!("run: --device", |c| c
            .run("--device /dev/full", "echo x > /dev/full")?
            .refused()?
            .complains("No space")),
        case!("run: --memory-limit", |c| {
            limit(c, "--memory-limit 67108864", facts::MEMORY, ["67108864"; 2])
        }),
        case!("run: --cpus", |c| limit(
            c,
            "--cpus 0.5",
            facts::QUOTA,
            ["50000", "50000 100000"]
        )),
        case!("run: --cpu-shares", |c| limit(
            c,
            "--cpu-shares 512",
            facts::SHARES,
            ["512", "20"]
        )),
        case!("run: --cgroup", cgroup),
        case!("run: no seccomp filter by default", |c| c
            .status_is("", "Seccomp", "0")),
        case!("run: --seccomp", |c| c.status_is("--seccomp", "Seccomp", "2")),
        case!("run: --seccomp-profile", seccomp_profile),
        case!("run: no new privileges by default", |c| c.status_is(
            "",
            "NoNewPrivs",
            "1"
        )),
        case!("run: --allow-new-privs", |c| c.status_is(
            "--allow-new-privs",
            "NoNewPrivs",
            "0"
        )),
        case!("run: --cap-add and --cap-drop", changed_capabilities),
        case!("run: --privileged", privileged),
        case!("run: --net-host", shares_network),
        case!("run: --with-ns", joins_namespace),
        case!("run: --rootfs-propagation", |c| {
            let script = "grep -m 1 ' / / ' /proc/self/mountinfo | grep -c master: ; true";
            c.run("--rootfs-propagation rslave", script)?.ok()
        }),
        case!("run: an id can be used again after a failed start", |c| {
            c.with_input(&c.words("--rm", "again", &["/no/such/command"]), None)?
                .refused()?;
            c.with_input(&c.words("--rm", "again", &["true"]), None)?.ok()
        }),
        case!("run: an id in use is refused", id_in_use),
        case!("run: five at once", concurrent),
    ]
}

fn terminal(ctr: &Ctr) -> Result<()> {
    let script = format!("tty; {TERMINAL_SIZE}");
    ctr.on_terminal(&ctr.words("--rm --tty", &Ctr::id(), &["sh", "-c", &script]))?
        .shows("/dev/pts/0")?
        .shows("size 33 77")?;
    Ok(())
}

fn mounts(ctr: &Ctr) -> Result<()> {
    let dir = ctr.world.directory("mounted")?;
    let flag = |mode: &str| format!("--mount type=bind,src={dir},dst=/mnt,options=rbind:{mode}");
    ctr.run(&flag("rw"), "echo written > /mnt/file")?.ok()?;
    ensure!(
        std::fs::read_to_string(format!("{dir}/file"))? == "written\n",
        "the host's file is not as written"
    );
    ctr.run(&flag("ro"), "cat /mnt/file; touch /mnt/file")?
        .refused()?
        .shows("written")?
        .complains("ead-only")?;
    Ok(())
}

fn limit(ctr: &Ctr, flags: &str, knob: Knob, values: [&str; 2]) -> Result<()> {
    let view = ctr.world.view;
    knob.require(view)?;
    let (id, value) = (Ctr::id(), values[usize::from(view == View::V2)]);
    let pid = ctr.idle(&id, flags)?;
    let found = knob.read(view, pid);
    ctr.remove(&id)?;
    let found = found?;
    ensure!(found == value, "{} is {found} instead of {value}", knob.v1);
    Ok(())
}

fn cgroup(ctr: &Ctr) -> Result<()> {
    let id = Ctr::id();
    let pid = ctr.idle(&id, "--cgroup /chosen/group")?;
    let group = cgroup_of(ctr.world.view, "freezer", pid)?;
    ctr.remove(&id)?;
    ensure!(
        group.ends_with("chosen/group"),
        "the cgroup is {}",
        group.display()
    );
    Ok(())
}

fn seccomp_profile(ctr: &Ctr) -> Result<()> {
    let profile = ctr.world.file(
        "profile.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
            "syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#,
    )?;
    let flags = format!("--seccomp --seccomp-profile {profile}");
    ctr.run(&flags, "mkdir /tmp/dir")?
        .refused()?
        .complains("No space left")?;
    Ok(())
}

fn changed_capabilities(ctr: &Ctr) -> Result<()> {
    const CHOWN: u64 = 1;
    const SYS_PTRACE: u64 = 1 << 19;
    let found = ctr.capabilities("--cap-add CAP_SYS_PTRACE --cap-drop CAP_CHOWN")?;
    ensure!(
        found & SYS_PTRACE != 0 && found & CHOWN == 0,
        "capabilities {found:#x}"
    );
    Ok(())
}

fn privileged(ctr: &Ctr) -> Result<()> {
    let ours = capabilities(&process_file(std::process::id(), "status")?, "CapBnd")?;
    let theirs = ctr.capabilities("--privileged")?;
    ensure!(theirs == ours, "capabilities {theirs:#x} instead of {ours:#x}");
    Ok(())
}

fn shares_network(ctr: &Ctr) -> Result<()> {
    let id = Ctr::id();
    let pid = ctr.idle(&id, "--net-host")?;
    let same = same_namespace("net", pid, std::process::id(), true);
    let apart = same_namespace("pid", pid, std::process::id(), false);
    ctr.remove(&id)?;
    same.and(apart)
}

fn joins_namespace(ctr: &Ctr) -> Result<()> {
    let (first, second) = (Ctr::id(), Ctr::id());
    let a = ctr.idle(&first, "")?;
    let b = ctr.idle(&second, &format!("--with-ns network:/proc/{a}/ns/net"))?;
    let same = same_namespace("net", a, b, true);
    ctr.remove(&second)?;
    ctr.remove(&first)?;
    same
}

fn id_in_use(ctr: &Ctr) -> Result<()> {
    let id = Ctr::id();
    ctr.idle(&id, "")?;
    ctr.with_input(&ctr.words("--detach", &id, &["true"]), None)?
        .refused()?
        .complains("already exists")?;
    ctr.expect_status(&id, "RUNNING")?;
    ctr.remove(&id)
}

fn concurrent(ctr: &Ctr) -> Result<()> {
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..5)
            .map(|n| scope.spawn(move || ctr.run("", &format!("sleep 0.2; exit {n}"))))
            .collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    for (n, result) in (0..).zip(results) {
        result
            .map_err(|_| anyhow::anyhow!("a thread panicked"))??
            .exits(n)?;
    }
    Ok(())
}
