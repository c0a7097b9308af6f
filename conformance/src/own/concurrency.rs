//! Many commands at once on one container: one winner where only one can win, and no wreck.
//!
//! With `NUCLEUS_TESTS_FULL=1` the rounds of all cases together are more than 10,000.

use anyhow::{Result, ensure};

use super::expect_eq;
use crate::inside::full;
use crate::lab::{Caught, Container, Lab, Output};

super::list![
    concurrent_creates_have_one_winner,
    concurrent_starts_have_one_winner,
    concurrent_deletes_leave_nothing,
    concurrent_kills_and_states,
    concurrent_execs_all_run,
    concurrent_runs_of_many_containers,
    concurrent_create_and_forced_delete,
    list_works_while_containers_come_and_go,
    concurrent_commands_of_every_kind,
];

fn rounds(by_default: usize) -> std::ops::RangeInclusive<usize> {
    1..=by_default * if full() { 300 } else { 1 }
}

/// Starts all commands before it waits for any.
fn at_once(lab: &Lab, commands: &[Vec<String>]) -> Result<Vec<Output>> {
    let running: Vec<Caught> = commands
        .iter()
        .map(|words| Caught::start(&mut lab.command(words)))
        .collect::<Result<_>>()?;
    running.into_iter().map(Caught::finish).collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// How many succeeded; the others must have failed in an orderly way.
fn winners(outputs: &[Output]) -> Result<usize> {
    for output in outputs {
        let orderly = output.code <= 1 && !output.stderr.contains("panic");
        ensure!(
            orderly,
            "`{}` ends with {}: {:?}",
            output.command,
            output.code,
            output.stderr
        );
        ensure!(
            output.code == 0 || !output.stderr.is_empty(),
            "`{}` fails without a word",
            output.command
        );
    }
    Ok(outputs.iter().filter(|output| output.code == 0).count())
}

fn concurrent_creates_have_one_winner(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.save()?;
    for _ in rounds(4) {
        let container = Container::named(lab, lab.id());
        let commands = vec![words(&["create", "--bundle", bundle.path(), &container.id]); 8];
        expect_eq("winners", winners(&at_once(lab, &commands)?)?, 1)?;
        expect_eq("status", container.status()?, "created")?;
        container.start()?;
        container.delete()?;
        lab.expect_nothing_left(&container.id)?;
    }
    Ok(())
}

fn concurrent_starts_have_one_winner(lab: &Lab) -> Result<()> {
    let bundle = lab.script("echo ran >> /ran; sleep 1000")?;
    for round in rounds(4) {
        let container = Container::create(lab, &bundle)?;
        let commands = vec![words(&["start", &container.id]); 6];
        expect_eq("winners", winners(&at_once(lab, &commands)?)?, 1)?;
        expect_eq("status", container.status()?, "running")?;
        let ran = crate::lab::within(std::time::Duration::from_secs(5), || {
            Ok(std::fs::read_to_string(bundle.in_root("/ran"))
                .unwrap_or_default()
                .lines()
                .count()
                == round)
        })?;
        ensure!(ran, "the process did not run once a start");
        container.delete()?;
    }
    Ok(())
}

fn concurrent_deletes_leave_nothing(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["true"])?;
    for _ in rounds(4) {
        let container = Container::started(lab, &bundle)?;
        container.wait_for("stopped")?;
        let commands = vec![words(&["delete", &container.id]); 6];
        ensure!(winners(&at_once(lab, &commands)?)? >= 1, "no delete succeeds");
        lab.expect_nothing_left(&container.id)?;
    }
    Ok(())
}

fn concurrent_kills_and_states(lab: &Lab) -> Result<()> {
    rounds(1).try_for_each(|_| kills_and_states(lab))
}

fn kills_and_states(lab: &Lab) -> Result<()> {
    let container = Container::started(lab, &lab.bundle(&["sleep", "1000"])?)?;
    let mut commands = Vec::new();
    for _ in 0..4 {
        commands.push(words(&["state", &container.id]));
        commands.push(words(&["kill", &container.id, "KILL"]));
    }
    let outputs = at_once(lab, &commands)?;
    winners(&outputs)?;
    for output in outputs
        .iter()
        .filter(|output| output.command.starts_with("state"))
    {
        expect_eq("exit code of state", output.code, 0)?;
        let state: serde_json::Value = serde_json::from_str(&output.stdout)?;
        let status = state["status"].as_str().unwrap_or_default();
        ensure!(["running", "stopped"].contains(&status), "status is {status:?}");
    }
    container.wait_for("stopped")?;
    container.delete()?;
    lab.expect_nothing_left(&container.id)
}

fn concurrent_execs_all_run(lab: &Lab) -> Result<()> {
    let container = Container::started(lab, &lab.bundle(&["sleep", "1000"])?)?;
    let commands: Vec<Vec<String>> = (0..10)
        .map(|number| words(&["exec", &container.id, "sh", "-c", &format!("echo {number}")]))
        .collect();
    for _ in rounds(1) {
        for (number, output) in at_once(lab, &commands)?.into_iter().enumerate() {
            let seen = output.success()?.stdout;
            expect_eq("output", seen.trim(), number.to_string().as_str())?;
        }
    }
    container.delete()?;
    lab.expect_nothing_left(&container.id)
}

fn concurrent_runs_of_many_containers(lab: &Lab) -> Result<()> {
    let bundle = lab.script("exit 5")?;
    bundle.save()?;
    for _ in rounds(1) {
        let ids: Vec<String> = (0..10).map(|_| lab.id()).collect();
        let commands: Vec<Vec<String>> = ids
            .iter()
            .map(|id| words(&["run", "--bundle", bundle.path(), id]))
            .collect();
        for output in at_once(lab, &commands)? {
            output.exits_with(5)?;
        }
        ids.iter().try_for_each(|id| lab.expect_nothing_left(id))?;
    }
    Ok(())
}

fn concurrent_create_and_forced_delete(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.save()?;
    for _ in rounds(10) {
        let container = Container::named(lab, lab.id());
        let commands = [
            words(&["create", "--bundle", bundle.path(), &container.id]),
            words(&["delete", "--force", &container.id]),
            words(&["state", &container.id]),
            words(&["delete", "--force", &container.id]),
        ];
        winners(&at_once(lab, &commands)?)?;
        container.delete()?;
        lab.expect_nothing_left(&container.id)?;
    }
    Ok(())
}

fn list_works_while_containers_come_and_go(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["true"])?;
    bundle.save()?;
    for _ in rounds(5) {
        let mut commands = Vec::new();
        for _ in 0..4 {
            commands.push(words(&["run", "--bundle", bundle.path(), &lab.id()]));
            commands.push(words(&["list", "--format", "json"]));
        }
        for output in at_once(lab, &commands)? {
            output.success()?;
        }
    }
    Ok(())
}

fn concurrent_commands_of_every_kind(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.save()?;
    for _ in rounds(5) {
        let container = Container::named(lab, lab.id());
        let id = container.id.as_str();
        let commands = [
            words(&["create", "--bundle", bundle.path(), id]),
            words(&["start", id]),
            words(&["state", id]),
            words(&["kill", id, "KILL"]),
            words(&["ps", id]),
            words(&["pause", id]),
            words(&["resume", id]),
            words(&["list"]),
            words(&["delete", id]),
            words(&["delete", "--force", id]),
        ];
        winners(&at_once(lab, &commands)?)?;
        container.delete()?;
        lab.expect_nothing_left(id)?;
    }
    Ok(())
}
