//! SIGKILL of the runtime at any moment; `delete --force` must then leave nothing.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::expect_eq;
use crate::inside::full;
use crate::lab::{Bundle, Caught, Container, Lab};

super::list![
    killed_create_leaves_nothing_after_delete,
    killed_run_leaves_nothing_after_delete,
    killed_run_in_a_user_namespace_leaves_nothing_after_delete,
    killed_start_leaves_a_container_that_can_be_deleted,
    killed_exec_leaves_the_container_usable,
    killed_delete_can_be_repeated,
    killed_group_leaves_nothing_after_delete,
    id_is_free_again_after_a_crash,
    empty_state_directory_is_cleaned_up,
    truncated_state_is_cleaned_up,
];

/// How many moments are tried.
const MOMENTS: u32 = 14;

/// One a moment, and with `NUCLEUS_TESTS_FULL=1` twenty.
fn rounds() -> std::ops::Range<u32> {
    0..MOMENTS * if full() { 20 } else { 1 }
}

/// The moments, in µs after the start: dense where a fast runtime does its work, then growing.
fn moment(round: u32) -> Duration {
    let moment = round % MOMENTS;
    Duration::from_micros(u64::from(moment * moment) * 250 + 100)
}

/// Starts a command and kills it after `delay`. It may have ended by itself before.
fn kill_after(mut command: Command, delay: Duration) -> Result<()> {
    let mut running = Caught::start(&mut command)?;
    std::thread::sleep(delay);
    running.child.kill()?;
    running.finish().map(drop)
}

/// Runs one round a moment, each with a new id, and expects nothing to be left after `delete --force`.
fn each_moment(
    lab: &Lab,
    bundle: &Bundle,
    act: impl Fn(&Container<'_>, Duration) -> Result<()>,
) -> Result<()> {
    bundle.save()?;
    for round in rounds() {
        let container = Container::named(lab, lab.id());
        let delay = moment(round);
        let told = || format!("killed {} µs after its start", delay.as_micros());
        act(&container, delay).with_context(told)?;
        container.delete().with_context(told)?;
        lab.expect_nothing_left(&container.id).with_context(told)?;
    }
    Ok(())
}

fn killed_create_leaves_nothing_after_delete(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["sleep", "1000"])?;
    each_moment(lab, &bundle, |container, delay| {
        kill_after(
            lab.command(&["create", "--bundle", bundle.path(), &container.id]),
            delay,
        )
    })
}

fn killed_run_leaves_nothing_after_delete(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["sleep", "1000"])?;
    each_moment(lab, &bundle, |container, delay| {
        kill_after(
            lab.command(&["run", "--bundle", bundle.path(), &container.id]),
            delay,
        )
    })
}

fn killed_run_in_a_user_namespace_leaves_nothing_after_delete(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.user_namespace(100_000, 65_536).give_root_to(100_000)?;
    each_moment(lab, &bundle, |container, delay| {
        kill_after(
            lab.command(&["run", "--bundle", bundle.path(), &container.id]),
            delay,
        )
    })
}

fn killed_start_leaves_a_container_that_can_be_deleted(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["sleep", "1000"])?;
    each_moment(lab, &bundle, |container, delay| {
        container.try_create(&bundle, &[])?.success()?;
        kill_after(lab.command(&["start", &container.id]), delay / 4)?;
        let status = container.status()?;
        ensure!(
            ["created", "running"].contains(&status.as_str()),
            "status is {status}"
        );
        Ok(())
    })
}

fn killed_exec_leaves_the_container_usable(lab: &Lab) -> Result<()> {
    let container = Container::started(lab, &lab.bundle(&["sleep", "1000"])?)?;
    for round in rounds() {
        kill_after(
            lab.command(&["exec", &container.id, "sleep", "1000"]),
            moment(round),
        )?;
        expect_eq("status", container.status()?, "running")?;
    }
    expect_eq("output", container.exec_stdout(&[], "echo works")?, "works")?;
    container.delete()?;
    lab.expect_nothing_left(&container.id)
}

fn killed_delete_can_be_repeated(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["sleep", "1000"])?;
    each_moment(lab, &bundle, |container, delay| {
        container.try_create(&bundle, &[])?.success()?;
        kill_after(lab.command(&["delete", "--force", &container.id]), delay / 4)
    })
}

/// As a service manager or an OOM kill does it: the runtime and its children die together.
fn killed_group_leaves_nothing_after_delete(lab: &Lab) -> Result<()> {
    use std::os::unix::process::CommandExt;
    let bundle = lab.bundle(&["sleep", "1000"])?;
    each_moment(lab, &bundle, |container, delay| {
        let mut command = lab.command(&["run", "--bundle", bundle.path(), &container.id]);
        let running = Caught::start(command.process_group(0))?;
        std::thread::sleep(delay);
        let group = rustix::process::Pid::from_child(&running.child);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL)?;
        running.finish().map(drop)
    })
}

fn id_is_free_again_after_a_crash(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["sleep", "1000"])?;
    let container = Container::named(lab, lab.id());
    bundle.save()?;
    for round in rounds().step_by(2) {
        kill_after(
            lab.command(&["create", "--bundle", bundle.path(), &container.id]),
            moment(round),
        )?;
        container.delete()?;
        container.try_create(&bundle, &[])?.success()?;
        expect_eq("status", container.status()?, "created")?;
        container.delete()?;
    }
    lab.expect_nothing_left(&container.id)
}

fn empty_state_directory_is_cleaned_up(lab: &Lab) -> Result<()> {
    let container = Container::named(lab, lab.id());
    fs::create_dir(lab.state_root.join(&container.id))?;
    lab.call(&["list"])?.success()?;
    container.delete()?;
    lab.expect_nothing_left(&container.id)?;
    container
        .try_create(&lab.bundle(&["sleep", "1000"])?, &[])?
        .success()
        .map(drop)
}

/// Every file of the state cut to half: the runtime must say so or cope, and remove it when told.
fn truncated_state_is_cleaned_up(lab: &Lab) -> Result<()> {
    let container = Container::create(lab, &lab.bundle(&["sleep", "1000"])?)?;
    lab.call(&["kill", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")?;
    for entry in fs::read_dir(lab.state_root.join(&container.id))? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_file() {
            fs::File::options()
                .write(true)
                .open(&path)?
                .set_len(metadata.len() / 2)?;
        }
    }
    let state = container.call(&["state"])?;
    ensure!(
        state.code <= 1 && !state.stderr.contains("panic"),
        "state with half a file: {state:?}"
    );
    lab.call(&["list"])?;
    container.delete()?;
    lab.expect_nothing_left(&container.id)
}
