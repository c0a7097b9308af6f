//! From create to rm.

use anyhow::{Result, ensure};

use super::{Case, Engine};
use crate::clients::case;
use crate::clients::command::until;

/// The cases of this file.
pub(super) fn cases() -> Vec<Case<Engine>> {
    vec![
        case!("lifecycle: detach, logs, wait and exit code", detached),
        case!("lifecycle: create, start, state words", created),
        case!("lifecycle: start --attach", attached),
        case!("lifecycle: attach to a running container", attach_later),
        case!("lifecycle: kill --signal", |e| signalled(e, "kill --signal USR1")),
        case!("lifecycle: kill by signal number", |e| signalled(
            e,
            "kill --signal 10"
        )),
        case!("lifecycle: kill ends with 137", killed),
        case!("lifecycle: stop lets the process end itself", stopped),
        case!("lifecycle: stop kills after its time", stop_by_force),
        case!("lifecycle: restart", restarted),
        case!("lifecycle: start again after the end", started_again),
        case!("lifecycle: --restart on-failure", restart_policy),
        case!("lifecycle: pause and unpause", paused),
        case!("lifecycle: stop of a paused container", |e| paused_end(
            e,
            "stop --time 1"
        )),
        case!("lifecycle: rm --force of a paused container", |e| paused_end(
            e, e.remove
        )),
        case!("lifecycle: rm of a running container is refused", rm_running),
        case!("lifecycle: rm --force leaves no process", rm_forced),
        case!("lifecycle: top", |e| shown(e, "top", "sleep 600")),
        case!("lifecycle: stats", |e| shown(e, "stats --no-stream", "%")),
        case!("lifecycle: ps", listed),
        case!("lifecycle: cp into and out of a container", copied),
        case!("lifecycle: a health check", healthy),
        case!(
            "lifecycle: a failed start leaves nothing to clean up",
            failed_start
        ),
        case!("lifecycle: five at once", concurrent),
    ]
}

fn expect_status(engine: &Engine, name: &str, word: &str) -> Result<()> {
    let found = engine.status(name)?;
    ensure!(found == word, "the status is {found} instead of {word}");
    Ok(())
}

fn wait_for_log(engine: &Engine, name: &str, text: &str) -> Result<()> {
    until(5, &format!("the log says {text:?}"), || {
        Ok(engine.client(&format!("logs {name}"))?.stdout.contains(text))
    })
}

fn detached(engine: &Engine) -> Result<()> {
    engine.start("logged", "", "echo out; echo err >&2; sleep 0.3; exit 9")?;
    engine.client("wait logged")?.prints("9")?;
    engine.client("logs logged")?.prints("out")?.complains("err")?;
    expect_status(engine, "logged", "exited")?;
    let code = engine.field("logged", ".State.ExitCode")?;
    ensure!(code == "9", "the exit code is {code}");
    engine.remove("logged")
}

fn created(engine: &Engine) -> Result<()> {
    engine
        .with_input(&engine.words("create --name staged", "", &["sleep", "600"]), None)?
        .ok()?;
    expect_status(engine, "staged", "created")?;
    engine.client("start staged")?.ok()?;
    expect_status(engine, "staged", "running")?;
    engine.remove("staged")
}

fn attached(engine: &Engine) -> Result<()> {
    let words = engine.words("create --name attached", "", &["sh", "-c", "echo seen; exit 6"]);
    engine.with_input(&words, None)?.ok()?;
    engine
        .client("start --attach attached")?
        .exits(6)?
        .shows("seen")?;
    engine.remove("attached")
}

fn attach_later(engine: &Engine) -> Result<()> {
    engine.start(
        "joined",
        "",
        "until [ -e /tmp/go ]; do sleep 0.05; done; echo after; exit 4",
    )?;
    let output = std::thread::scope(|scope| {
        let thread = scope.spawn(|| engine.client("attach --no-stdin joined"));
        std::thread::sleep(std::time::Duration::from_millis(500));
        let told = engine.exec("", "joined", "touch /tmp/go");
        (thread.join(), told)
    });
    output.1?.ok()?;
    // Without an event log podman does not learn the exit code here.
    output
        .0
        .map_err(|_| anyhow::anyhow!("a thread panicked"))??
        .shows("after")?;
    engine.client("wait joined")?.prints("4")?;
    engine.remove("joined")
}

const TRAP: &str = "trap 'echo caught; exit 3' USR1 TERM; echo ready; while :; do sleep 0.05; done";

fn signalled(engine: &Engine, verb: &str) -> Result<()> {
    engine.start("trapped", "", TRAP)?;
    wait_for_log(engine, "trapped", "ready")?;
    engine.client(&format!("{verb} trapped"))?.ok()?;
    engine.client("wait trapped")?.prints("3")?;
    engine.client("logs trapped")?.shows("caught")?;
    engine.remove("trapped")
}

fn killed(engine: &Engine) -> Result<()> {
    engine.idle("killed", "")?;
    engine.client("kill killed")?.ok()?;
    engine.client("wait killed")?.prints("137")?;
    engine.remove("killed")
}

fn stopped(engine: &Engine) -> Result<()> {
    engine.start("asked", "", TRAP)?;
    wait_for_log(engine, "asked", "ready")?;
    engine.client("stop --time 20 asked")?.ok()?;
    let code = engine.field("asked", ".State.ExitCode")?;
    ensure!(code == "3", "the exit code is {code}");
    engine.remove("asked")
}

/// The idle process is init of its namespace and has no handler: SIGTERM does not reach it.
fn stop_by_force(engine: &Engine) -> Result<()> {
    engine.idle("deaf", "")?;
    engine.client("stop --time 1 deaf")?.ok()?;
    let code = engine.field("deaf", ".State.ExitCode")?;
    ensure!(code == "137", "the exit code is {code}");
    engine.remove("deaf")
}

fn restarted(engine: &Engine) -> Result<()> {
    let before = engine.idle("again", "")?;
    engine.client("restart --time 0 again")?.ok()?;
    expect_status(engine, "again", "running")?;
    ensure!(engine.pid("again")? != before, "the process is the same");
    engine.remove("again")
}

fn started_again(engine: &Engine) -> Result<()> {
    engine.start("twice", "", "sleep 0.2; echo turn; exit 2")?;
    engine.client("wait twice")?.prints("2")?;
    engine.client("start --attach twice")?.exits(2)?.shows("turn")?;
    engine.client("logs twice")?.prints("turn\nturn")?;
    engine.remove("twice")
}

fn restart_policy(engine: &Engine) -> Result<()> {
    let flags = "--restart on-failure:2";
    let words = engine.words(
        "run --detach --name stubborn",
        flags,
        &["sh", "-c", "echo turn; sleep 0.2; exit 1"],
    );
    engine.with_input(&words, None)?.ok()?;
    until(10, "it has started three times", || {
        Ok(engine.client("logs stubborn")?.stdout.matches("turn").count() == 3)
    })?;
    until(
        5,
        "it has given up",
        || Ok(engine.status("stubborn")? == "exited"),
    )?;
    engine.remove("stubborn")
}

fn paused(engine: &Engine) -> Result<()> {
    let script = "while :; do echo x >> /tmp/ticks; sleep 0.05; done";
    let pid = engine.start("frozen", "--tmpfs /tmp", script)?;
    let ticks = || Ok::<_, anyhow::Error>(std::fs::metadata(format!("/proc/{pid}/root/tmp/ticks"))?.len());
    until(5, "it ticks", || Ok(ticks().unwrap_or(0) > 0))?;
    engine.client("pause frozen")?.ok()?;
    expect_status(engine, "frozen", "paused")?;
    let before = ticks()?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    ensure!(ticks()? == before, "it runs although paused");
    engine.exec("", "frozen", "true")?.refused()?;
    engine.client("unpause frozen")?.ok()?;
    expect_status(engine, "frozen", "running")?;
    until(5, "it ticks again", || Ok(ticks()? > before))?;
    engine.remove("frozen")
}

fn paused_end(engine: &Engine, verb: &str) -> Result<()> {
    let pid = engine.idle("halted", "")?;
    engine.client("pause halted")?.ok()?;
    let output = engine.client(&format!("{verb} halted"))?;
    // Debian's podman refuses both; then nothing may have changed.
    if output.code == 0 {
        until(5, "its process has gone", || Ok(!running(pid)))?;
    } else {
        expect_status(engine, "halted", "paused")?;
        engine.client("unpause halted")?.ok()?;
    }
    engine.client(&format!("{} halted", engine.remove))?;
    Ok(())
}

/// Whether a process exists and has not ended. The sandbox's init may be late to reap it.
fn running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

fn rm_running(engine: &Engine) -> Result<()> {
    engine.idle("kept", "")?;
    engine.client("rm kept")?.refused()?;
    expect_status(engine, "kept", "running")?;
    engine.remove("kept")
}

fn rm_forced(engine: &Engine) -> Result<()> {
    let pid = engine.start("crowd", "", "sleep 600 & sleep 600 & exec sleep 600")?;
    engine.remove("crowd")?;
    ensure!(!running(pid), "process {pid} is left");
    engine.client("inspect crowd")?.refused()?;
    Ok(())
}

fn shown(engine: &Engine, verb: &str, text: &str) -> Result<()> {
    engine.idle("watched", "")?;
    engine.client(&format!("{verb} watched"))?.ok()?.shows(text)?;
    engine.remove("watched")
}

fn listed(engine: &Engine) -> Result<()> {
    engine.idle("listed", "")?;
    engine
        .client("ps --format {{.Names}}|{{.Status}}")?
        .ok()?
        .shows("listed|Up")?;
    engine.client("kill listed")?.ok()?;
    engine.client("wait listed")?.ok()?;
    engine
        .client("ps --all --format {{.Names}}|{{.Status}}")?
        .ok()?
        .shows("listed|Exited (137)")?;
    engine.remove("listed")
}

fn copied(engine: &Engine) -> Result<()> {
    let file = engine.world.file("copied", "to and fro\n")?;
    engine.idle("copies", "")?;
    engine.client(&format!("cp {file} copies:/root/copied"))?.ok()?;
    engine
        .exec(
            "",
            "copies",
            "cat /root/copied; rm /root/copied; echo back > /root/answer",
        )?
        .prints("to and fro")?;
    engine.client(&format!("cp copies:/root/answer {file}"))?.ok()?;
    ensure!(std::fs::read_to_string(&file)? == "back\n", "the copy differs");
    engine.remove("copies")
}

fn healthy(engine: &Engine) -> Result<()> {
    let check = "--health-cmd /tmp/healthy --health-interval 200ms --health-retries 1";
    engine.idle("patient", &format!("{check} --tmpfs /tmp:exec"))?;
    let becomes = |word: &str| {
        until(8, &format!("its health is {word}"), || {
            if engine.checks_health_on_demand {
                engine.client("healthcheck run patient")?;
            }
            Ok(engine.field("patient", ".State.Health.Status")? == word)
        })
    };
    becomes("unhealthy")?;
    engine
        .exec(
            "",
            "patient",
            "echo '#!/bin/sh' > /tmp/healthy; chmod 755 /tmp/healthy",
        )?
        .ok()?;
    becomes("healthy")?;
    engine.remove("patient")
}

/// After a start that failed, the name can be removed and used again.
fn failed_start(engine: &Engine) -> Result<()> {
    let words = engine.words("run --detach --name stillborn", "", &["/no/such/command"]);
    engine.with_input(&words, None)?.exits(127)?;
    engine.client("rm stillborn")?.ok()?;
    engine.idle("stillborn", "")?;
    engine.remove("stillborn")
}

fn concurrent(engine: &Engine) -> Result<()> {
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..5)
            .map(|n| scope.spawn(move || engine.run("", &format!("sleep 0.2; exit {n}"))))
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
