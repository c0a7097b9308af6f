//! `exec`: another process in a running container.

use anyhow::{Result, ensure};

use super::{Case, Engine, TERMINAL_SIZE};
use crate::clients::case;
use crate::clients::command::until;
use crate::clients::facts::{capabilities, status_field};

/// The cases of this file. They share one container, which the first that runs starts.
pub(super) fn cases() -> Vec<Case<Engine>> {
    vec![
        case!("exec: exit code 0 and standard output", |e| host(e)?
            .exec("", NAME, "echo inside")?
            .prints("inside")),
        case!("exec: exit code 5", |e| host(e)?
            .exec("", NAME, "exit 5")?
            .exits(5)),
        case!("exec: a file that may not be executed is 126", |e| program(
            e,
            "/etc/notexec"
        )?
        .exits(126)),
        case!("exec: standard input", |e| {
            host(e)?
                .exec_program("-i", NAME, &["cat"], Some("through"))?
                .prints("through")
        }),
        case!("exec: -it gives a terminal of the caller's size", terminal),
        case!("exec: --user", |e| host(e)?
            .exec("--user 1000:2000", NAME, "id -u; id -g")?
            .prints("1000\n2000")),
        case!("exec: --workdir", |e| host(e)?
            .exec("--workdir /etc", NAME, "pwd")?
            .prints("/etc")),
        case!("exec: --env adds to the container's", |e| {
            host(e)?
                .exec("--env ADDED=yes", NAME, "echo $ADDED $GIVEN")?
                .prints("yes first")
        }),
        case!("exec: --detach", detached),
        case!("exec: --privileged", privileged),
        case!(
            "exec: the container's namespaces, filter and cgroup",
            same_confinement
        ),
        case!("exec: into a container that does not run is refused", |e| {
            e.exec("", "nosuchcontainer", "true")?
                .refused()?
                .complains("o such container")
        }),
        case!("exec: ten at once", concurrent),
    ]
}

const NAME: &str = "exec-host";

/// Starts the container unless it runs.
fn host(engine: &Engine) -> Result<&Engine> {
    if engine.client(&format!("inspect {NAME}"))?.code != 0 {
        engine.idle(NAME, "--env GIVEN=first")?;
    }
    Ok(engine)
}

fn program(engine: &Engine, path: &str) -> Result<crate::clients::command::Output> {
    host(engine)?.exec_program("", NAME, &[path], None)
}

fn terminal(engine: &Engine) -> Result<()> {
    let words = ["exec", "-it", NAME, "sh", "-c", &format!("tty; {TERMINAL_SIZE}")].map(String::from);
    host(engine)?
        .on_terminal(&words)?
        .ok()?
        .shows("/dev/pts/")?
        .shows("size 33 77")?;
    Ok(())
}

fn detached(engine: &Engine) -> Result<()> {
    host(engine)?
        .exec("--detach", NAME, "sleep 0.2; echo done > /tmp/detached")?
        .ok()?;
    until(5, "the detached process has written", || {
        Ok(engine
            .exec("", NAME, "cat /tmp/detached 2>/dev/null; true")?
            .text()
            == "done")
    })
}

fn privileged(engine: &Engine) -> Result<()> {
    if engine.privileged_wants_all {
        crate::clients::facts::require_all_capabilities()?;
    }
    let status = "cat /proc/self/status";
    let plain = capabilities(&host(engine)?.exec("", NAME, status)?.ok()?.stdout, "CapEff")?;
    let more = capabilities(&engine.exec("--privileged", NAME, status)?.ok()?.stdout, "CapEff")?;
    ensure!(
        more & plain == plain && more != plain,
        "capabilities {more:#x}, without the flag {plain:#x}"
    );
    Ok(())
}

fn same_confinement(engine: &Engine) -> Result<()> {
    let script = "readlink /proc/1/ns/* > /tmp/one; readlink /proc/self/ns/* > /tmp/two; cmp /tmp/one /tmp/two \
                  && cmp /proc/1/cgroup /proc/self/cgroup && cat /proc/1/status && cat /proc/self/status";
    let text = host(engine)?.exec("", NAME, script)?.ok()?.stdout;
    let (init, ours) = text.split_at(text.rfind("Name:").unwrap_or(0));
    for field in [
        "Seccomp",
        "NoNewPrivs",
        "CapEff",
        "CapBnd",
        "CapInh",
        "Uid",
        "Gid",
    ] {
        let (a, b) = (status_field(init, field)?, status_field(ours, field)?);
        ensure!(a == b, "{field} is {b}, but {a} for the container's init");
    }
    Ok(())
}

fn concurrent(engine: &Engine) -> Result<()> {
    host(engine)?;
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..10)
            .map(|n| scope.spawn(move || engine.exec("", NAME, &format!("sleep 0.1; echo {n}; exit {n}"))))
            .collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    for (n, output) in (0..).zip(outputs) {
        let output = output
            .map_err(|_| anyhow::anyhow!("a thread panicked"))??
            .exits(n)?;
        ensure!(
            output.text() == n.to_string(),
            "number {n} printed {:?}",
            output.text()
        );
    }
    Ok(())
}
