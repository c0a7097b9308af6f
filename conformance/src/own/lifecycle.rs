//! create, start, state, kill, delete, run: what each does and refuses.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::expect_eq;
use crate::lab::{Container, Lab, within};

super::list![
    state_has_the_fields_of_the_spec,
    state_follows_the_lifecycle,
    create_does_not_run_the_process,
    start_twice_is_refused,
    start_of_a_stopped_container_is_refused,
    commands_on_a_missing_container_are_refused,
    used_id_is_refused_and_its_container_lives_on,
    config_is_read_at_create_only,
    delete_of_a_running_container_is_refused,
    delete_of_a_created_container_with_force,
    delete_of_a_running_container_with_force,
    delete_with_force_of_a_missing_container_succeeds,
    delete_works_after_the_bundle_is_gone,
    delete_ends_processes_in_a_shared_pid_namespace,
    delete_after_a_stop_leaves_nothing,
    kill_takes_names_and_numbers,
    kill_of_an_unknown_signal_is_refused,
    kill_defaults_to_term,
    kill_of_a_stopped_container_is_refused,
    kill_all_reaches_every_process,
    kill_works_on_a_created_container,
    run_passes_the_exit_code_on,
    run_turns_a_signal_into_128_and_its_number,
    run_leaves_nothing,
    run_detached_leaves_the_container_running,
    run_with_keep_leaves_the_state,
    run_passes_signals_on,
    run_without_pivot_and_without_new_keyring,
    pid_file_holds_the_state_pid,
    an_ended_init_makes_the_container_stopped,
];

fn sleeper<'a>(lab: &'a Lab) -> Result<Container<'a>> {
    Container::started(lab, &lab.bundle(&["sleep", "1000"])?)
}

fn state_has_the_fields_of_the_spec(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.set("/annotations", json!({"org.example.key": "value"}));
    let container = Container::create(lab, &bundle)?;
    let state = container.state()?;
    ensure!(
        state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")),
        "ociVersion in {state}"
    );
    expect_eq("id", &state["id"], &json!(container.id))?;
    expect_eq("status", &state["status"], &json!("created"))?;
    expect_eq("bundle", &state["bundle"], &json!(bundle.path()))?;
    expect_eq(
        "annotation",
        &state["annotations"]["org.example.key"],
        &json!("value"),
    )?;
    let pid = container.pid()?;
    ensure!(fs::exists(format!("/proc/{pid}"))?, "no process {pid}");
    Ok(())
}

fn state_follows_the_lifecycle(lab: &Lab) -> Result<()> {
    let container = Container::create(lab, &lab.bundle(&["sleep", "1000"])?)?;
    expect_eq("status after create", container.status()?, "created")?;
    container.start()?;
    expect_eq("status after start", container.status()?, "running")?;
    container.call(&["kill"])?.success()?;
    container.call(&["state"])?.success()?;
    container.delete()?;
    container.call(&["state"])?.exits_with(1).map(drop)
}

fn create_does_not_run_the_process(lab: &Lab) -> Result<()> {
    let bundle = lab.script("echo ran > /ran; sleep 1000")?;
    let container = Container::create(lab, &bundle)?;
    std::thread::sleep(Duration::from_millis(200));
    ensure!(!bundle.in_root("/ran").exists(), "the process ran before start");
    container.start()?;
    ensure!(
        within(Duration::from_secs(5), || Ok(bundle.in_root("/ran").exists()))?,
        "the process did not run"
    );
    Ok(())
}

fn start_twice_is_refused(lab: &Lab) -> Result<()> {
    let container = sleeper(lab)?;
    container.call(&["start"])?.exits_with(1)?;
    expect_eq("status", container.status()?, "running")
}

fn start_of_a_stopped_container_is_refused(lab: &Lab) -> Result<()> {
    let container = Container::started(lab, &lab.bundle(&["true"])?)?;
    container.wait_for("stopped")?;
    container.call(&["start"])?.exits_with(1)?;
    expect_eq("status", container.status()?, "stopped")
}

fn commands_on_a_missing_container_are_refused(lab: &Lab) -> Result<()> {
    for command in ["start", "state", "kill", "delete", "pause", "resume", "ps"] {
        lab.call(&[command, "no-such-container"])?.refuses("container")?;
    }
    lab.call(&["update", "--pids-limit", "10", "no-such-container"])?
        .refuses("container")?;
    Ok(())
}

fn used_id_is_refused_and_its_container_lives_on(lab: &Lab) -> Result<()> {
    let container = sleeper(lab)?;
    let pid = container.pid()?;
    let second = lab.bundle(&["sleep", "1000"])?;
    second.save()?;
    for command in ["create", "run"] {
        let output = lab.call(&[command, "--bundle", second.path(), &container.id])?;
        output.refuses("exist")?;
    }
    expect_eq("status", container.status()?, "running")?;
    expect_eq("pid", container.pid()?, pid)
}

fn config_is_read_at_create_only(lab: &Lab) -> Result<()> {
    let mut bundle = lab.script("echo first")?;
    let container = Container::create(lab, &bundle)?;
    bundle.set("/process/args", json!(["echo", "second"])).save()?;
    container.start()?;
    container.wait_for("stopped")?;
    expect_eq("standard output", container.stdout()?, "first\n")
}

fn delete_of_a_running_container_is_refused(lab: &Lab) -> Result<()> {
    let container = sleeper(lab)?;
    let pid = container.pid()?;
    container.call(&["delete"])?.exits_with(1)?;
    expect_eq("status", container.status()?, "running")?;
    expect_eq("pid", container.pid()?, pid)
}

fn delete_of_a_created_container_with_force(lab: &Lab) -> Result<()> {
    let container = Container::create(lab, &lab.bundle(&["sleep", "1000"])?)?;
    container.delete()?;
    lab.expect_nothing_left(&container.id)
}

fn delete_of_a_running_container_with_force(lab: &Lab) -> Result<()> {
    let container = Container::started(lab, &lab.script("sleep 1000 & sleep 1000 & wait")?)?;
    container.delete()?;
    lab.expect_nothing_left(&container.id)
}

fn delete_with_force_of_a_missing_container_succeeds(lab: &Lab) -> Result<()> {
    lab.call(&["delete", "--force", "no-such-container"])?
        .success()
        .map(drop)
}

fn delete_works_after_the_bundle_is_gone(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["sleep", "1000"])?;
    let container = Container::started(lab, &bundle)?;
    fs::remove_dir_all(bundle.dir())?;
    expect_eq("status", container.status()?, "running")?;
    container.delete()?;
    lab.expect_nothing_left(&container.id)
}

fn delete_ends_processes_in_a_shared_pid_namespace(lab: &Lab) -> Result<()> {
    let mut bundle = lab.script("sleep 1000 & echo up")?;
    bundle.drop_namespace("pid");
    let container = Container::started(lab, &bundle)?;
    container.wait_for("stopped")?;
    container.delete()?;
    lab.expect_nothing_left(&container.id)
}

fn delete_after_a_stop_leaves_nothing(lab: &Lab) -> Result<()> {
    let container = Container::started(lab, &lab.bundle(&["true"])?)?;
    container.wait_for("stopped")?;
    container.call(&["delete"])?.success()?;
    lab.expect_nothing_left(&container.id)
}

fn kill_takes_names_and_numbers(lab: &Lab) -> Result<()> {
    let script = "trap 'echo one' USR1; trap 'echo two' USR2; trap 'echo int' INT; trap 'echo hup' HUP; \
        echo ready; while :; do sleep 0.05; done";
    let container = Container::started(lab, &lab.script(script)?)?;
    container.wait_for_stdout("ready")?;
    for (signal, word) in [
        ("USR1", "one"),
        ("SIGUSR2", "two"),
        ("2", "int"),
        ("sighup", "hup"),
    ] {
        lab.call(&["kill", &container.id, signal])?.success()?;
        container.wait_for_stdout(word)?;
    }
    Ok(())
}

fn kill_of_an_unknown_signal_is_refused(lab: &Lab) -> Result<()> {
    let container = sleeper(lab)?;
    for signal in ["NOSUCH", "-1", "999"] {
        let output = lab.call(&["kill", "--", &container.id, signal])?;
        ensure!(output.code != 0, "`kill {signal}` succeeds");
    }
    expect_eq("status", container.status()?, "running")
}

fn kill_defaults_to_term(lab: &Lab) -> Result<()> {
    let script = "trap 'echo term; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let container = Container::started(lab, &lab.script(script)?)?;
    container.wait_for_stdout("ready")?;
    container.call(&["kill"])?.success()?;
    container.wait_for_stdout("term")?;
    container.wait_for("stopped")
}

fn kill_of_a_stopped_container_is_refused(lab: &Lab) -> Result<()> {
    let container = Container::started(lab, &lab.bundle(&["true"])?)?;
    container.wait_for("stopped")?;
    lab.call(&["kill", &container.id, "KILL"])?
        .exits_with(1)
        .map(drop)
}

fn kill_all_reaches_every_process(lab: &Lab) -> Result<()> {
    let mut bundle = lab.script("sleep 1000 & sleep 1000 & echo up; exec sleep 1000")?;
    bundle.drop_namespace("pid");
    let container = Container::started(lab, &bundle)?;
    container.wait_for_stdout("up")?;
    lab.call(&["kill", "--all", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")?;
    container.call(&["delete"])?.success()?;
    lab.expect_nothing_left(&container.id)
}

fn kill_works_on_a_created_container(lab: &Lab) -> Result<()> {
    let container = Container::create(lab, &lab.bundle(&["sleep", "1000"])?)?;
    lab.call(&["kill", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")?;
    container.call(&["delete"])?.success()?;
    lab.expect_nothing_left(&container.id)
}

fn run_passes_the_exit_code_on(lab: &Lab) -> Result<()> {
    for code in [0, 1, 7, 126, 127, 255] {
        lab.run(&lab.script(&format!("exit {code}"))?)?.exits_with(code)?;
    }
    Ok(())
}

fn run_turns_a_signal_into_128_and_its_number(lab: &Lab) -> Result<()> {
    // The first process of a pid namespace ignores signals from inside, so it must not have its own.
    let mut bundle = lab.script("kill -KILL $$")?;
    bundle.drop_namespace("pid");
    lab.run(&bundle)?.exits_with(137)?;
    bundle.set("/process/args", json!(["sh", "-c", "kill -TERM $$"]));
    lab.run(&bundle)?.exits_with(143).map(drop)
}

fn run_leaves_nothing(lab: &Lab) -> Result<()> {
    let id = lab.id();
    lab.run_as(&lab.script("sleep 1000 & exit 3")?, &id)?
        .exits_with(3)?;
    lab.call(&["state", &id])?.exits_with(1)?;
    lab.expect_nothing_left(&id)
}

fn run_detached_leaves_the_container_running(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.save()?;
    let container = Container::named(lab, lab.id());
    container
        .call(&["run", "--detach", "--bundle", bundle.path()])?
        .success()?;
    expect_eq("status", container.status()?, "running")?;
    container.delete()?;
    lab.expect_nothing_left(&container.id)
}

fn run_with_keep_leaves_the_state(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["true"])?;
    bundle.save()?;
    let container = Container::named(lab, lab.id());
    container
        .call(&["run", "--keep", "--bundle", bundle.path()])?
        .success()?;
    expect_eq("status", container.status()?, "stopped")?;
    container.call(&["delete"])?.success()?;
    lab.expect_nothing_left(&container.id)
}

fn run_passes_signals_on(lab: &Lab) -> Result<()> {
    let script = "trap 'exit 9' TERM; echo ready > /ready; while :; do sleep 0.05; done";
    let bundle = lab.script(script)?;
    bundle.save()?;
    let mut command = lab.command(&["run", "--bundle", bundle.path(), &lab.id()]);
    let running = crate::lab::Caught::start(&mut command)?;
    ensure!(
        within(Duration::from_secs(5), || Ok(bundle.in_root("/ready").exists()))?,
        "it does not run"
    );
    let pid = rustix::process::Pid::from_child(&running.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    running.finish()?.exits_with(9).map(drop)
}

fn run_without_pivot_and_without_new_keyring(lab: &Lab) -> Result<()> {
    let bundle = lab.script("ls /; hostname")?;
    bundle.save()?;
    for flag in ["--no-pivot", "--no-new-keyring"] {
        let id = lab.id();
        let output = lab
            .call(&["run", flag, "--bundle", bundle.path(), &id])?
            .success()?;
        ensure!(
            output.stdout.ends_with("conformance\n"),
            "{flag}: output is {:?}",
            output.stdout
        );
        lab.expect_nothing_left(&id)?;
    }
    Ok(())
}

fn pid_file_holds_the_state_pid(lab: &Lab) -> Result<()> {
    let file = lab.dir.join("pid");
    let bundle = lab.bundle(&["sleep", "1000"])?;
    let path = file.display().to_string();
    let container = Container::create_with(lab, &bundle, &["--pid-file", &path])?;
    expect_eq(
        "pid file",
        fs::read_to_string(&file)?,
        container.pid()?.to_string(),
    )
}

fn an_ended_init_makes_the_container_stopped(lab: &Lab) -> Result<()> {
    let container = sleeper(lab)?;
    let pid = rustix::process::Pid::from_raw(container.pid()?).expect("not zero");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    container.wait_for("stopped")?;
    container.call(&["delete"])?.success()?;
    lab.expect_nothing_left(&container.id)
}
