//! exec: another process in a running container.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::expect_eq;
use crate::inside::skip;
use crate::lab::{Bundle, Container, Lab, finish, status_field, within};

super::list![
    exec_joins_every_namespace,
    exec_passes_the_exit_code_on,
    exec_turns_a_signal_into_128_and_its_number,
    exec_passes_the_streams_through,
    exec_inherits_from_the_config,
    exec_with_cwd,
    exec_with_env,
    exec_with_user,
    exec_with_additional_gids,
    exec_with_cap,
    exec_with_no_new_privs,
    exec_with_process_file,
    exec_fills_a_process_file_from_the_config,
    exec_joins_the_session_keyring,
    exec_detached_with_pid_file,
    exec_detached_outlives_the_runtime,
    exec_of_an_absent_program_is_refused,
    exec_in_a_stopped_container_is_refused,
    exec_keeps_the_caps_of_the_config,
    exec_in_a_user_namespace,
    exec_ends_with_the_container,
    exec_options_after_the_id_belong_to_the_process,
    exec_with_ignore_paused_waits_for_resume,
    exec_applies_the_seccomp_filter,
    exec_joins_a_time_namespace,
    exec_with_cgroup,
];

fn sleeper<'a>(lab: &'a Lab) -> Result<Container<'a>> {
    Container::started(lab, &lab.bundle(&["sleep", "1000"])?)
}

fn changed<'a>(lab: &'a Lab, change: impl FnOnce(&mut Bundle)) -> Result<Container<'a>> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    change(&mut bundle);
    Container::started(lab, &bundle)
}

fn exec_joins_every_namespace(lab: &Lab) -> Result<()> {
    let container = changed(lab, |bundle| {
        bundle.namespace("cgroup");
    })?;
    let seen = container.exec_stdout(
        &[],
        "for n in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done",
    )?;
    let pid = container.pid()?;
    for (name, seen) in ["pid", "net", "ipc", "uts", "mnt", "cgroup"]
        .iter()
        .zip(seen.lines())
    {
        let link = fs::read_link(format!("/proc/{pid}/ns/{name}"))?;
        expect_eq(name, seen, link.display().to_string().as_str())?;
    }
    expect_eq(
        "root",
        container.exec_stdout(&[], "cat /proc/1/cmdline | tr '\\0' ' '")?,
        "sleep 1000",
    )
}

fn exec_passes_the_exit_code_on(lab: &Lab) -> Result<()> {
    let container = sleeper(lab)?;
    for code in [0, 1, 42, 127, 255] {
        container
            .exec(&[], &["sh", "-c", &format!("exit {code}")])?
            .exits_with(code)?;
    }
    Ok(())
}

fn exec_turns_a_signal_into_128_and_its_number(lab: &Lab) -> Result<()> {
    let container = sleeper(lab)?;
    container
        .exec(&[], &["sh", "-c", "kill -KILL $$"])?
        .exits_with(137)?;
    container
        .exec(&[], &["sh", "-c", "kill -TERM $$"])?
        .exits_with(143)
        .map(drop)
}

fn exec_passes_the_streams_through(lab: &Lab) -> Result<()> {
    let container = sleeper(lab)?;
    let input = lab.dir.join("input");
    fs::write(&input, "from the caller\n")?;
    let mut command = lab.command(&["exec", &container.id, "sh", "-c", "cat; echo error >&2"]);
    let output = finish(command.stdin(fs::File::open(&input)?))?.success()?;
    expect_eq("standard output", output.stdout.as_str(), "from the caller\n")?;
    expect_eq("standard error", output.stderr.as_str(), "error\n")
}

fn exec_inherits_from_the_config(lab: &Lab) -> Result<()> {
    let container = changed(lab, |bundle| {
        bundle.set("/process/cwd", json!("/tmp"));
        bundle.push("/process/env", json!("FROM_CONFIG=yes"));
        bundle.set(
            "/process/user",
            json!({"uid": 1000, "gid": 1001, "additionalGids": [2000]}),
        );
        bundle.set(
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]),
        );
    })?;
    let seen = container.exec_stdout(&[], "pwd; echo $FROM_CONFIG; id -u; id -g; id -G; ulimit -n")?;
    let expected = ["/tmp", "yes", "1000", "1001", "1001 2000", "100"];
    expect_eq("process", seen.lines().collect::<Vec<_>>(), expected)
}

fn exec_with_cwd(lab: &Lab) -> Result<()> {
    expect_eq(
        "directory",
        sleeper(lab)?.exec_stdout(&["--cwd", "/tmp"], "pwd")?,
        "/tmp",
    )
}

fn exec_with_env(lab: &Lab) -> Result<()> {
    let flags = ["--env", "A=1 2", "--env", "B=x=y", "--env", "HOME=/elsewhere"];
    let seen = sleeper(lab)?.exec_stdout(&flags, "echo \"$A|$B|$HOME|$PATH\"")?;
    expect_eq("environment", seen, "1 2|x=y|/elsewhere|/bin")
}

fn exec_with_user(lab: &Lab) -> Result<()> {
    let container = sleeper(lab)?;
    for (user, expected) in [
        ("0:0", "0 0"),
        ("1000", "1000 0"),
        ("1000:2000", "1000 2000"),
        ("4321:1", "4321 1"),
    ] {
        expect_eq(
            user,
            container.exec_stdout(&["--user", user], "echo $(id -u) $(id -g)")?,
            expected,
        )?;
    }
    for user in ["-1", "1000:", "1000:x", "4294967296", ""] {
        let output = container.exec(&[&format!("--user={user}")], &["true"])?;
        // An empty value may stand for the default; anything else that is no number must not become one.
        ensure!(output.code != 0 || user.is_empty(), "--user {user:?} is accepted");
    }
    Ok(())
}

fn exec_with_additional_gids(lab: &Lab) -> Result<()> {
    let flags = [
        "--user",
        "1000:1000",
        "--additional-gids",
        "2000",
        "--additional-gids",
        "3000",
    ];
    expect_eq(
        "groups",
        sleeper(lab)?.exec_stdout(&flags, "id -G")?,
        "1000 2000 3000",
    )
}

fn exec_with_cap(lab: &Lab) -> Result<()> {
    let container = sleeper(lab)?;
    let status = container.exec_stdout(&["--cap", "CAP_NET_RAW"], "cat /proc/self/status")?;
    let effective = u64::from_str_radix(status_field(&status, "CapEff")?, 16)?;
    ensure!(
        effective & (1 << 13) != 0,
        "CAP_NET_RAW is missing from {effective:#x}"
    );
    expect_eq("CapAmb", status_field(&status, "CapAmb")?, "0000000000000000")
}

fn exec_with_no_new_privs(lab: &Lab) -> Result<()> {
    let container = changed(lab, |bundle| {
        bundle.set("/process/noNewPrivileges", json!(false));
    })?;
    let with = container.exec_stdout(&["--no-new-privs"], "cat /proc/self/status")?;
    expect_eq("NoNewPrivs", status_field(&with, "NoNewPrivs")?, "1")?;
    let without = container.exec_stdout(&[], "cat /proc/self/status")?;
    expect_eq(
        "NoNewPrivs without the flag",
        status_field(&without, "NoNewPrivs")?,
        "0",
    )
}

fn exec_with_process_file(lab: &Lab) -> Result<()> {
    let container = sleeper(lab)?;
    let process = json!({
        "terminal": false,
        "user": {"uid": 1000, "gid": 1001, "additionalGids": [2000], "umask": 0o077},
        "args": ["sh", "-c", "echo $(id -u) $(id -G) $WHO; pwd; umask; grep CapEff /proc/self/status"],
        "env": ["PATH=/bin", "WHO=me"],
        "cwd": "/tmp",
        "capabilities": {},
        "noNewPrivileges": true
    });
    let file = lab.dir.join("process.json");
    fs::write(&file, process.to_string())?;
    let output = container
        .call(&["exec", "--process", &file.display().to_string()])?
        .success()?;
    let expected = ["1000 1001 2000 me", "/tmp", "0077", "CapEff:\t0000000000000000"];
    expect_eq("process", output.stdout.lines().collect::<Vec<_>>(), expected)
}

fn exec_fills_a_process_file_from_the_config(lab: &Lab) -> Result<()> {
    let container = changed(lab, |bundle| {
        bundle.capabilities(&["CAP_CHOWN"]);
        bundle.set("/process/oomScoreAdj", json!(500));
        bundle.set("/process/user/umask", json!(0o077));
    })?;
    let script = "cat /proc/self/oom_score_adj; grep -E 'CapBnd|Umask' /proc/self/status";
    let process = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"],
        "args": ["sh", "-c", script]});
    let file = lab.dir.join("process.json");
    fs::write(&file, process.to_string())?;
    let output = container.exec(&["--process", &file.display().to_string()], &[])?;
    let seen = output.success()?.stdout;
    expect_eq("Umask", status_field(&seen, "Umask")?, "0077")?;
    expect_eq("CapBnd", status_field(&seen, "CapBnd")?, "0000000000000001")?;
    expect_eq("oom_score_adj", seen.lines().next(), Some("500"))
}

fn exec_joins_the_session_keyring(lab: &Lab) -> Result<()> {
    if !fs::exists("/proc/keys")? {
        return skip("this kernel shows no keys");
    }
    // A keyring may outlive its container for a while: this name was never used before.
    let id = format!("nucleus-case-{:016x}", fastrand::u64(..));
    let container = Container::named(lab, id);
    let bundle = lab.bundle(&["sleep", "1000"])?;
    container.try_create(&bundle, &[])?.success()?;
    container.start()?;
    let keyrings = format!("grep -c {} /proc/keys", container.id);
    expect_eq("number of keyrings", container.exec_stdout(&[], &keyrings)?, "1")
}

fn exec_detached_with_pid_file(lab: &Lab) -> Result<()> {
    let container = sleeper(lab)?;
    let file = lab.dir.join("pid");
    let path = file.display().to_string();
    container
        .exec(&["--detach", "--pid-file", &path], &["sleep", "4321"])?
        .success()?;
    let pid = fs::read_to_string(&file).context("read the pid file")?;
    // Its descriptor may still be the runtime's for a moment.
    let command = format!("/proc/{}/cmdline", pid.trim());
    let runs = within(Duration::from_secs(5), || {
        Ok(fs::read(&command)? == b"sleep\x004321\x00")
    })?;
    ensure!(runs, "process {pid} is {:?}", fs::read_to_string(&command));
    Ok(())
}

fn exec_detached_outlives_the_runtime(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["sleep", "1000"])?;
    let container = Container::started(lab, &bundle)?;
    container
        .exec(&["--detach"], &["sh", "-c", "sleep 0.2; echo done > /done"])?
        .success()?;
    ensure!(
        within(Duration::from_secs(5), || Ok(bundle.in_root("/done").exists()))?,
        "it did not get there"
    );
    Ok(())
}

fn exec_of_an_absent_program_is_refused(lab: &Lab) -> Result<()> {
    let container = sleeper(lab)?;
    let output = container.exec(&[], &["no-such-program"])?;
    ensure!(output.code != 0, "exec of an absent program succeeds");
    ensure!(
        output.stderr.contains("no-such-program"),
        "standard error is {:?}",
        output.stderr
    );
    expect_eq("status", container.status()?, "running")
}

fn exec_in_a_stopped_container_is_refused(lab: &Lab) -> Result<()> {
    let container = Container::started(lab, &lab.bundle(&["true"])?)?;
    container.wait_for("stopped")?;
    let output = container.exec(&[], &["true"])?;
    ensure!(output.code != 0, "exec in a stopped container succeeds");
    Ok(())
}

fn exec_keeps_the_caps_of_the_config(lab: &Lab) -> Result<()> {
    let container = sleeper(lab)?;
    let status = container.exec_stdout(&[], "cat /proc/self/status")?;
    let init = fs::read_to_string(format!("/proc/{}/status", container.pid()?))?;
    for set in [
        "CapBnd",
        "CapPrm",
        "CapEff",
        "CapInh",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
    ] {
        expect_eq(set, status_field(&status, set)?, status_field(&init, set)?)?;
    }
    Ok(())
}

fn exec_in_a_user_namespace(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.user_namespace(100_000, 65_536).give_root_to(100_000)?;
    let container = Container::started(lab, &bundle)?;
    let seen = container.exec_stdout(&[], "id -u; cat /proc/self/uid_map")?;
    expect_eq(
        "ids",
        seen.split_whitespace().collect::<Vec<_>>(),
        ["0", "0", "100000", "65536"],
    )?;
    expect_eq(
        "user",
        container.exec_stdout(&["--user", "7:8"], "echo $(id -u) $(id -g)")?,
        "7 8",
    )
}

fn exec_ends_with_the_container(lab: &Lab) -> Result<()> {
    let container = sleeper(lab)?;
    container.exec(&["--detach"], &["sleep", "1000"])?.success()?;
    lab.call(&["kill", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")?;
    container.call(&["delete"])?.success()?;
    lab.expect_nothing_left(&container.id)
}

fn exec_options_after_the_id_belong_to_the_process(lab: &Lab) -> Result<()> {
    let output = sleeper(lab)?
        .exec(&[], &["echo", "--user", "-e", "--", "x"])?
        .success()?;
    expect_eq("output", output.stdout.trim(), "--user -e -- x").or_else(|error| {
        // busybox's echo takes -e for itself.
        if output.stdout.trim() == "--user -- x" {
            Ok(())
        } else {
            Err(error)
        }
    })
}

fn exec_with_ignore_paused_waits_for_resume(lab: &Lab) -> Result<()> {
    let bundle = lab.bundle(&["sleep", "1000"])?;
    let container = Container::started(lab, &bundle)?;
    container.call(&["pause"])?.success()?;
    let words = [
        "exec",
        "--ignore-paused",
        &container.id,
        "sh",
        "-c",
        "echo ran > /ran",
    ];
    let running = crate::lab::Caught::start(&mut lab.command(&words))?;
    std::thread::sleep(Duration::from_millis(300));
    ensure!(
        !bundle.in_root("/ran").exists(),
        "the process ran in a paused container"
    );
    container.call(&["resume"])?.success()?;
    running.finish()?.success()?;
    ensure!(
        bundle.in_root("/ran").exists(),
        "the process did not run after resume"
    );
    Ok(())
}

fn exec_applies_the_seccomp_filter(lab: &Lab) -> Result<()> {
    let container = changed(lab, |bundle| {
        bundle.set(
            "/linux/seccomp",
            super::seccomp::refusing(&["mkdir", "mkdirat"], 38),
        );
    })?;
    let seen = container.exec_stdout(&[], "mkdir /tmp/x 2>&1; true")?;
    ensure!(seen.contains("Function not implemented"), "mkdir says {seen:?}");
    Ok(())
}

fn exec_joins_a_time_namespace(lab: &Lab) -> Result<()> {
    if !fs::exists("/proc/self/ns/time")? {
        return crate::inside::skip("this kernel has no time namespaces");
    }
    let container = changed(lab, |bundle| {
        bundle
            .namespace("time")
            .set("/linux/timeOffsets", json!({"boottime": {"secs": 50_000_000}}));
    })?;
    let seen = container.exec_stdout(&[], "cut -d. -f1 /proc/uptime")?;
    ensure!(seen.parse::<u64>()? > 50_000_000, "uptime is {seen} s");
    Ok(())
}

fn exec_with_cgroup(lab: &Lab) -> Result<()> {
    if !lab.is_v2() {
        return crate::inside::skip("only on the unified hierarchy does one path name one cgroup");
    }
    let container = sleeper(lab)?;
    fs::create_dir(container.cgroup("")?.join("child"))?;
    let seen = container.exec_stdout(&["--cgroup", "child"], "cat /proc/self/cgroup")?;
    ensure!(seen.ends_with("/child"), "the process is in {seen:?}");
    let output = container.exec(&["--cgroup", "../.."], &["true"])?;
    ensure!(
        output.code != 0,
        "a path out of the container's cgroup is accepted"
    );
    Ok(())
}
