//! `ctr tasks`: what is done to a running container.

use anyhow::{Result, ensure};

use super::Ctr;
use crate::clients::command::{split, until};
use crate::clients::engine::TERMINAL_SIZE;
use crate::clients::facts::{self, cgroup_of, process_file};
use crate::clients::{Case, case};

/// The cases of this file.
pub(super) fn cases() -> Vec<Case<Ctr>> {
    vec![
        case!("task: list, kill and delete", killed),
        case!("task: kill with a signal that is handled", signalled),
        case!("task: kill --all", kill_all),
        case!("task: delete of a running one is refused", delete_running),
        case!(
            "task: delete --force leaves no process and no cgroup",
            delete_forced
        ),
        case!("task: exec", |c| on_host(c, |c, id| c
            .exec("", id, "echo inside")?
            .prints("inside"))),
        case!("task: exec passes the exit code", |c| on_host(c, |c, id| c
            .exec("", id, "exit 4")?
            .exits(4))),
        case!("task: exec --user and --cwd", |c| on_host(c, |c, id| {
            c.exec("--user 1000:2000 --cwd /etc", id, "id -u; id -g; pwd")?
                .prints("1000\n2000\n/etc")
        })),
        case!("task: exec --tty", exec_terminal),
        case!("task: exec of a missing command is named", |c| on_host(
            c,
            |c, id| {
                let words = split(&format!("tasks exec --exec-id {} {id} nosuchcommand", Ctr::id()));
                c.with_input(&words, None)?.refused()?.complains("nosuchcommand")
            }
        )),
        case!("task: exec --detach shows in ps and can be killed", exec_detached),
        case!("task: pause and resume", paused),
        case!("task: ps", |c| on_host(c, |c, id| {
            let pid = c.task(id)?.unwrap_or_default().0.to_string();
            c.client(&format!("tasks ps {id}"))?.ok()?.shows(&pid)
        })),
        case!("task: metrics", |c| on_host(c, |c, id| {
            facts::MEMORY.require(c.world.view)?;
            c.client(&format!("tasks metrics {id}"))?.ok()?.shows("memory.")
        })),
    ]
}

fn exec_terminal(ctr: &Ctr) -> Result<()> {
    on_host(ctr, |ctr, id| {
        let mut words = split(&format!("tasks exec --tty --exec-id {} {id} sh -c", Ctr::id()));
        words.push(format!("tty; {TERMINAL_SIZE}"));
        ctr.on_terminal(&words)?.shows("/dev/pts/")?.shows("size 33 77")?;
        Ok(())
    })
}

/// Runs a check on an idle container of its own.
fn on_host<T>(ctr: &Ctr, check: impl FnOnce(&Ctr, &str) -> Result<T>) -> Result<T> {
    let id = Ctr::id();
    ctr.idle(&id, "")?;
    let result = check(ctr, &id);
    ctr.remove(&id)?;
    result
}

fn killed(ctr: &Ctr) -> Result<()> {
    let id = Ctr::id();
    ctr.idle(&id, "")?;
    ctr.expect_status(&id, "RUNNING")?;
    ctr.client(&format!("tasks kill --signal SIGKILL {id}"))?.ok()?;
    ctr.expect_status(&id, "STOPPED")?;
    ctr.client(&format!("tasks delete {id}"))?
        .ok()?
        .complains("137")?;
    ctr.client(&format!("containers delete {id}"))?.ok()?;
    ensure!(ctr.task(&id)?.is_none(), "{id} is still listed");
    Ok(())
}

const TRAP: &str = "trap 'exit 3' USR1; touch /tmp/ready; while :; do sleep 0.05; done";

fn signalled(ctr: &Ctr) -> Result<()> {
    let id = Ctr::id();
    let pid = ctr.start(&id, "", TRAP)?;
    until(5, "the handler is set", || {
        Ok(std::fs::exists(format!("/proc/{pid}/root/tmp/ready"))?)
    })?;
    ctr.client(&format!("tasks kill --signal SIGUSR1 {id}"))?.ok()?;
    ctr.expect_status(&id, "STOPPED")?;
    ctr.client(&format!("tasks delete {id}"))?
        .ok()?
        .complains("exit code 3")?;
    ctr.client(&format!("containers delete {id}"))?.ok()?;
    Ok(())
}

fn kill_all(ctr: &Ctr) -> Result<()> {
    let id = Ctr::id();
    ctr.start(&id, "", "sleep 600 & exec sleep 600")?;
    ctr.client(&format!("tasks kill --all --signal SIGKILL {id}"))?
        .ok()?;
    ctr.expect_status(&id, "STOPPED")?;
    ctr.remove(&id)
}

fn delete_running(ctr: &Ctr) -> Result<()> {
    let id = Ctr::id();
    ctr.idle(&id, "")?;
    ctr.client(&format!("tasks delete {id}"))?.refused()?;
    ctr.expect_status(&id, "RUNNING")?;
    ctr.remove(&id)
}

fn delete_forced(ctr: &Ctr) -> Result<()> {
    let id = Ctr::id();
    let pid = ctr.start(&id, "", "sleep 600 & exec sleep 600")?;
    let group = cgroup_of(ctr.world.view, "freezer", pid)?;
    ensure!(group.is_dir(), "{} does not exist", group.display());
    ctr.remove(&id)?;
    ensure!(!group.exists(), "{} is left", group.display());
    ensure!(process_file(pid, "stat").is_err(), "process {pid} is left");
    Ok(())
}

fn exec_detached(ctr: &Ctr) -> Result<()> {
    on_host(ctr, |ctr, id| {
        ctr.client(&format!("tasks exec --detach --exec-id side {id} sleep 500"))?
            .ok()?;
        ctr.client(&format!("tasks ps {id}"))?.ok()?.shows("side")?;
        ctr.client(&format!("tasks kill --signal SIGKILL --exec-id side {id}"))?
            .ok()?;
        until(5, "the process has gone from ps", || {
            Ok(ctr.client(&format!("tasks ps {id}"))?.text().lines().count() == 2)
        })
    })
}

fn paused(ctr: &Ctr) -> Result<()> {
    let id = Ctr::id();
    let dir = ctr.world.directory("ticks")?;
    let flag = format!("--mount type=bind,src={dir},dst=/mnt,options=rbind:rw");
    ctr.start(&id, &flag, "while :; do echo x >> /mnt/ticks; sleep 0.05; done")?;
    let ticks = || Ok::<_, anyhow::Error>(std::fs::metadata(format!("{dir}/ticks"))?.len());
    until(5, "it ticks", || Ok(ticks().unwrap_or(0) > 0))?;
    ctr.client(&format!("tasks pause {id}"))?.ok()?;
    ctr.expect_status(&id, "PAUSED")?;
    let before = ticks()?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    ensure!(ticks()? == before, "it runs although paused");
    ctr.client(&format!("tasks resume {id}"))?.ok()?;
    ctr.expect_status(&id, "RUNNING")?;
    until(5, "it ticks again", || Ok(ticks()? > before))?;
    ctr.remove(&id)
}
