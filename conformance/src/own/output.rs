//! What the runtime prints for clients: version, list, ps, events, logs, spec.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::expect_eq;
use crate::lab::{Container, Lab, finish};

super::list![
    version_has_a_line_for_the_spec,
    list_as_json,
    list_as_table,
    list_quiet_prints_ids_only,
    list_of_nothing,
    ps_as_json_lists_the_processes,
    ps_as_table_has_a_heading,
    events_stats_is_one_json_line,
    log_in_json_holds_the_whole_error,
    log_in_text_holds_the_error,
    spec_writes_a_config_that_runs,
    spec_keeps_an_existing_config,
    spec_rootless_has_a_user_namespace,
    flags_are_taken_after_the_id,
    help_is_there_for_every_command,
    bundle_defaults_to_the_working_directory,
];

fn json_of(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("parse {text:?} as JSON"))
}

fn version_has_a_line_for_the_spec(lab: &Lab) -> Result<()> {
    let text = lab.call(&["--version"])?.success()?.stdout;
    let first = text.lines().next().unwrap_or_default();
    ensure!(first.contains(" version "), "the first line is {first:?}");
    ensure!(
        text.lines().any(|line| line.starts_with("spec: 1.")),
        "no line `spec: 1.x` in {text:?}"
    );
    Ok(())
}

fn list_as_json(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.set("/annotations", json!({"org.example.key": "value"}));
    let first = Container::create(lab, &bundle)?;
    let second = Container::started(lab, &lab.bundle(&["sleep", "1000"])?)?;
    let list = json_of(&lab.call(&["list", "--format", "json"])?.success()?.stdout)?;
    let find = |id: &str| {
        list.as_array()
            .into_iter()
            .flatten()
            .find(|entry| entry["id"] == id)
    };
    let entry = find(&first.id).with_context(|| format!("no {} in {list}", first.id))?;
    expect_eq("status", &entry["status"], &json!("created"))?;
    expect_eq("pid", entry["pid"].as_i64(), Some(i64::from(first.pid()?)))?;
    expect_eq("bundle", &entry["bundle"], &json!(bundle.path()))?;
    ensure!(
        entry["created"].as_str().is_some_and(|time| time.contains('T')),
        "created in {entry}"
    );
    expect_eq(
        "second status",
        find(&second.id).map(|entry| &entry["status"]),
        Some(&json!("running")),
    )
}

fn list_as_table(lab: &Lab) -> Result<()> {
    let container = Container::create(lab, &lab.bundle(&["sleep", "1000"])?)?;
    let text = lab.call(&["list"])?.success()?.stdout;
    let heading: Vec<&str> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    for word in ["PID", "STATUS", "BUNDLE", "CREATED", "OWNER"] {
        ensure!(heading.contains(&word), "no {word} in the heading {heading:?}");
    }
    let row = text
        .lines()
        .find(|line| line.contains(&container.id))
        .context("no row for the container")?;
    ensure!(
        row.contains("created") && row.contains(&container.pid()?.to_string()),
        "the row is {row:?}"
    );
    Ok(())
}

fn list_quiet_prints_ids_only(lab: &Lab) -> Result<()> {
    let container = Container::create(lab, &lab.bundle(&["sleep", "1000"])?)?;
    expect_eq(
        "list",
        lab.call(&["list", "--quiet"])?.success()?.stdout.trim(),
        container.id.as_str(),
    )
}

fn list_of_nothing(lab: &Lab) -> Result<()> {
    expect_eq(
        "list",
        lab.call(&["list", "--quiet"])?.success()?.stdout.trim(),
        "",
    )?;
    let text = lab.call(&["list", "--format", "json"])?.success()?.stdout;
    let list = json_of(&text)?;
    ensure!(
        list.is_null() || list.as_array().is_some_and(Vec::is_empty),
        "the empty list is {text:?}"
    );
    Ok(())
}

fn ps_as_json_lists_the_processes(lab: &Lab) -> Result<()> {
    let container = Container::started(lab, &lab.script("sleep 1000 & echo up; exec sleep 1000")?)?;
    container.wait_for_stdout("up")?;
    let pids = json_of(&container.call(&["ps", "--format", "json"])?.success()?.stdout)?;
    let pids: Vec<i64> = pids
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_i64)
        .collect();
    ensure!(
        pids.len() == 2 && pids.contains(&i64::from(container.pid()?)),
        "ps prints {pids:?}"
    );
    Ok(())
}

fn ps_as_table_has_a_heading(lab: &Lab) -> Result<()> {
    let container = Container::started(lab, &lab.bundle(&["sleep", "1000"])?)?;
    let text = container.call(&["ps"])?.success()?.stdout;
    ensure!(
        text.lines().next().is_some_and(|line| line.contains("PID")),
        "ps prints {text:?}"
    );
    ensure!(text.contains(&container.pid()?.to_string()), "no pid in {text:?}");
    Ok(())
}

fn events_stats_is_one_json_line(lab: &Lab) -> Result<()> {
    let container = Container::started(lab, &lab.bundle(&["sleep", "1000"])?)?;
    let stats = json_of(&container.call(&["events", "--stats"])?.success()?.stdout)?;
    expect_eq("type", &stats["type"], &json!("stats"))?;
    expect_eq("id", &stats["id"], &json!(container.id))?;
    ensure!(stats["data"].is_object(), "no data in {stats}");
    if fs::exists("/sys/fs/cgroup/pids")? {
        expect_eq("pids.current", &stats["data"]["pids"]["current"], &json!(1))?;
        let used = stats["data"]["memory"]["usage"]["usage"].as_u64();
        ensure!(used.is_some_and(|bytes| bytes > 0), "memory usage in {stats}");
    }
    Ok(())
}

/// Fails `state` with the given log arguments; the result is the error text and what the log holds.
fn failed_with_log(lab: &Lab, format: &str) -> Result<(String, String)> {
    let log = lab.dir.join("log");
    let path = log.display().to_string();
    let output = lab.call(&[
        "--log",
        &path,
        "--log-format",
        format,
        "state",
        "no-such-container",
    ])?;
    let output = output.exits_with(1)?;
    Ok((output.stderr, fs::read_to_string(&log).context("read the log")?))
}

fn log_in_json_holds_the_whole_error(lab: &Lab) -> Result<()> {
    let (stderr, log) = failed_with_log(lab, "json")?;
    let line = log.lines().last().context("the log is empty")?;
    let entry = json_of(line)?;
    expect_eq("level", &entry["level"], &json!("error"))?;
    let message = entry["msg"].as_str().unwrap_or_default();
    ensure!(
        message.contains("container"),
        "msg is {message:?}, standard error is {stderr:?}"
    );
    let time = entry["time"].as_str().unwrap_or_default();
    ensure!(
        time.len() >= 20 && time.as_bytes()[10] == b'T',
        "time is {time:?}"
    );
    Ok(())
}

fn log_in_text_holds_the_error(lab: &Lab) -> Result<()> {
    let (_, log) = failed_with_log(lab, "text")?;
    ensure!(log.contains("container"), "the log is {log:?}");
    Ok(())
}

fn spec_writes_a_config_that_runs(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["true"])?;
    lab.call(&["spec", "--bundle", bundle.path()])?.success()?;
    bundle.config = json_of(&fs::read_to_string(bundle.dir().join("config.json"))?)?;
    bundle
        .set("/process/terminal", json!(false))
        .set("/process/args", json!(["echo", "hello"]));
    // The host may not allow raising limits, and that is not what this case is about.
    bundle.set("/process/rlimits", json!([]));
    expect_eq("output", lab.stdout(&bundle)?, "hello")
}

fn spec_keeps_an_existing_config(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["true"])?;
    bundle.write("mine")?;
    lab.call(&["spec", "--bundle", bundle.path()])?.exits_with(1)?;
    expect_eq(
        "config.json",
        fs::read_to_string(bundle.dir().join("config.json"))?,
        "mine",
    )
}

fn spec_rootless_has_a_user_namespace(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["true"])?;
    lab.call(&["spec", "--rootless", "--bundle", bundle.path()])?
        .success()?;
    let spec = json_of(&fs::read_to_string(bundle.dir().join("config.json"))?)?;
    let namespaces = spec["linux"]["namespaces"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    ensure!(
        namespaces.iter().any(|namespace| namespace["type"] == "user"),
        "namespaces are {namespaces:?}"
    );
    expect_eq("mapped ids", &spec["linux"]["uidMappings"][0]["size"], &json!(1))
}

fn flags_are_taken_after_the_id(lab: &Lab) -> Result<()> {
    let container = Container::started(lab, &lab.bundle(&["sleep", "1000"])?)?;
    lab.call(&["delete", &container.id, "--force"])?.success()?;
    lab.expect_nothing_left(&container.id)
}

fn help_is_there_for_every_command(lab: &Lab) -> Result<()> {
    let commands = [
        "create", "start", "run", "state", "kill", "delete", "exec", "list", "ps", "pause", "resume",
        "update", "spec", "features",
    ];
    for command in commands {
        let output = lab.call(&[command, "--help"])?.success()?;
        ensure!(
            (output.stdout + &output.stderr).contains(command),
            "`{command} --help` says nothing of it"
        );
    }
    Ok(())
}

fn bundle_defaults_to_the_working_directory(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["echo", "hello"])?;
    bundle.save()?;
    let id = lab.id();
    let output = finish(lab.command(&["run", &id]).current_dir(bundle.dir()))?.success()?;
    expect_eq("output", output.stdout.trim(), "hello")
}
