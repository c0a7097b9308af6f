//! The `process` object: who the process is, and what it may do.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;

use super::expect_eq;
use crate::inside::skip;
use crate::lab::{Container, Lab, status_field};

super::list![
    args_and_env_arrive_unchanged,
    program_is_found_on_the_containers_path,
    cwd_is_the_working_directory,
    user_has_uid_gid_and_additional_gids,
    additional_gids_are_none_by_default,
    umask_is_set,
    umask_defaults_to_0022,
    rlimits_are_set,
    capabilities_have_five_sets,
    inheritable_set_is_empty_unless_asked_for,
    no_capabilities_means_none,
    no_new_privileges_is_set_only_when_asked_for,
    oom_score_adj_is_set,
    scheduler_policy_and_nice_are_set,
    scheduler_fifo_priority_is_set,
    io_priority_is_set,
    personality_is_set,
    exec_cpu_affinity_is_set,
    memory_policy_is_set,
    standard_streams_pass_through,
    process_is_a_session_leader,
    signal_masks_are_empty,
];

fn args_and_env_arrive_unchanged(lab: &Lab) -> Result<()> {
    let script = "printf '<%s>' \"$@\"; echo; env";
    let mut bundle = lab.bundle(&["sh", "-c", script, "zero", "a b", "", "c\nd", "$HOME *"])?;
    bundle.set(
        "/process/env",
        json!(["PATH=/bin", "EMPTY=", "SPACES= a  b ", "EQUAL=a=b"]),
    );
    let seen = lab.run(&bundle)?.success()?.stdout;
    ensure!(
        seen.contains("<a b><><c\nd><$HOME *>\n"),
        "arguments arrive as {seen:?}"
    );
    for line in ["EMPTY=", "SPACES= a  b ", "EQUAL=a=b"] {
        ensure!(
            seen.lines().any(|seen| seen == line),
            "no {line:?} in the environment {seen:?}"
        );
    }
    Ok(())
}

fn program_is_found_on_the_containers_path(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["only-here"])?;
    fs::create_dir(bundle.in_root("/private"))?;
    std::os::unix::fs::symlink("/bin/busybox", bundle.in_root("/private/only-here"))?;
    bundle
        .set("/process/args", json!(["only-here"]))
        .set("/process/env", json!(["PATH=/nowhere:/private"]));
    // busybox does not know this applet, and says so by its name: it was found and ran.
    let output = lab.run(&bundle)?.exits_with(127)?;
    ensure!(
        output.stderr.contains("applet not found"),
        "standard error is {:?}",
        output.stderr
    );
    Ok(())
}

fn cwd_is_the_working_directory(lab: &Lab) -> Result<()> {
    let seen = lab.output_of("pwd", |bundle| {
        bundle.set("/process/cwd", json!("/tmp"));
    })?;
    expect_eq("working directory", seen, "/tmp")
}

fn user_has_uid_gid_and_additional_gids(lab: &Lab) -> Result<()> {
    let seen = lab.output_of("echo $(id -u) $(id -g) $(id -G)", |bundle| {
        bundle.set(
            "/process/user",
            json!({"uid": 1000, "gid": 1001, "additionalGids": [2000, 3000]}),
        );
    })?;
    expect_eq("ids", seen, "1000 1001 1001 2000 3000")
}

fn additional_gids_are_none_by_default(lab: &Lab) -> Result<()> {
    let status = lab.output_of("cat /proc/self/status", |bundle| {
        bundle.set("/process/user", json!({"uid": 1000, "gid": 1001}));
    })?;
    expect_eq("Groups", status_field(&status, "Groups")?, "")
}

fn umask_is_set(lab: &Lab) -> Result<()> {
    let seen = lab.output_of("umask", |bundle| {
        bundle.set("/process/user/umask", json!(0o027));
    })?;
    expect_eq("umask", seen, "0027")
}

fn umask_defaults_to_0022(lab: &Lab) -> Result<()> {
    expect_eq("umask", lab.output_of("umask", |_| {})?, "0022")
}

fn rlimits_are_set(lab: &Lab) -> Result<()> {
    // Only lower limits than the host's: raising one needs CAP_SYS_RESOURCE.
    let limits = json!([
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_NPROC", "soft": 500, "hard": 600},
        {"type": "RLIMIT_FSIZE", "soft": 1_000_000, "hard": 2_000_000}
    ]);
    let seen = lab.output_of("cat /proc/self/limits", |bundle| {
        bundle.set("/process/rlimits", limits);
    })?;
    let expected = [
        ("Max open files", ["100", "200"]),
        ("Max core file size", ["0", "0"]),
        ("Max processes", ["500", "600"]),
        ("Max file size", ["1000000", "2000000"]),
    ];
    for (name, values) in expected {
        let line = seen
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        expect_eq(name, words, values)?;
    }
    Ok(())
}

/// The mask of capabilities as `/proc` prints it; see capabilities(7) for the numbers.
fn mask(numbers: &[u32]) -> String {
    format!(
        "{:016x}",
        numbers.iter().fold(0u64, |mask, number| mask | 1 << number)
    )
}

fn capabilities_have_five_sets(lab: &Lab) -> Result<()> {
    let status = lab.output_of("cat /proc/self/status", |bundle| {
        bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
        let sets = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
            "permitted": ["CAP_CHOWN", "CAP_KILL"],
            "effective": ["CAP_CHOWN"],
            "inheritable": ["CAP_CHOWN", "CAP_KILL"],
            "ambient": ["CAP_KILL"]
        });
        bundle.set("/process/capabilities", sets);
    })?;
    expect_eq("CapBnd", status_field(&status, "CapBnd")?, mask(&[0, 5, 13]))?;
    expect_eq("CapInh", status_field(&status, "CapInh")?, mask(&[0, 5]))?;
    expect_eq("CapAmb", status_field(&status, "CapAmb")?, mask(&[5]))?;
    // Of an ordinary user's sets only the ambient one outlives execve.
    expect_eq("CapPrm", status_field(&status, "CapPrm")?, mask(&[5]))?;
    expect_eq("CapEff", status_field(&status, "CapEff")?, mask(&[5]))
}

fn inheritable_set_is_empty_unless_asked_for(lab: &Lab) -> Result<()> {
    let container = Container::started(lab, &lab.bundle(&["sleep", "1000"])?)?;
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid()?))?;
    expect_eq("CapInh", status_field(&status, "CapInh")?, mask(&[]))?;
    expect_eq("CapAmb", status_field(&status, "CapAmb")?, mask(&[]))?;
    expect_eq("CapBnd", status_field(&status, "CapBnd")?, mask(&[5, 10, 29]))?;
    expect_eq("CapEff", status_field(&status, "CapEff")?, mask(&[5, 10, 29]))?;
    let status = container.exec_stdout(&[], "cat /proc/self/status")?;
    expect_eq("CapInh of exec", status_field(&status, "CapInh")?, mask(&[]))
}

fn no_capabilities_means_none(lab: &Lab) -> Result<()> {
    let status = lab.output_of("cat /proc/self/status", |bundle| {
        bundle.set("/process/capabilities", json!({}));
    })?;
    for set in ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"] {
        expect_eq(set, status_field(&status, set)?, mask(&[]))?;
    }
    Ok(())
}

fn no_new_privileges_is_set_only_when_asked_for(lab: &Lab) -> Result<()> {
    for (asked, expected) in [(true, "1"), (false, "0")] {
        let status = lab.output_of("cat /proc/self/status", |bundle| {
            bundle.set("/process/noNewPrivileges", json!(asked));
        })?;
        expect_eq("NoNewPrivs", status_field(&status, "NoNewPrivs")?, expected)?;
    }
    Ok(())
}

fn oom_score_adj_is_set(lab: &Lab) -> Result<()> {
    let seen = lab.output_of("cat /proc/self/oom_score_adj", |bundle| {
        bundle.set("/process/oomScoreAdj", json!(500));
    })?;
    expect_eq("oom_score_adj", seen, "500")
}

/// Field of `/proc/self/stat`, counted from 1 as in proc_pid_stat(5).
fn stat_field(lab: &Lab, number: usize, change: impl FnOnce(&mut crate::lab::Bundle)) -> Result<String> {
    lab.output_of(&format!("cut -d' ' -f{number} /proc/self/stat"), change)
}

fn scheduler_policy_and_nice_are_set(lab: &Lab) -> Result<()> {
    let change = |bundle: &mut crate::lab::Bundle| {
        bundle.set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 5}));
    };
    // 3 is SCHED_BATCH, sched(7).
    expect_eq("policy", stat_field(lab, 41, change)?, "3")?;
    expect_eq("nice", stat_field(lab, 19, change)?, "5")
}

fn scheduler_fifo_priority_is_set(lab: &Lab) -> Result<()> {
    if fs::exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us")? {
        return skip("this kernel gives a new v1 cpu cgroup no real-time budget (RT_GROUP_SCHED)");
    }
    let change = |bundle: &mut crate::lab::Bundle| {
        bundle.set(
            "/process/scheduler",
            json!({"policy": "SCHED_FIFO", "priority": 7}),
        );
        bundle.capabilities(&["CAP_SYS_NICE"]);
    };
    expect_eq("policy", stat_field(lab, 41, change)?, "1")?;
    expect_eq("priority", stat_field(lab, 40, change)?, "7")
}

fn io_priority_is_set(lab: &Lab) -> Result<()> {
    let seen = lab.output_of("ionice", |bundle| {
        bundle.set(
            "/process/ioPriority",
            json!({"class": "IOPRIO_CLASS_BE", "priority": 6}),
        );
    })?;
    expect_eq("io priority", seen, "best-effort: prio 6")
}

fn personality_is_set(lab: &Lab) -> Result<()> {
    let seen = lab.output_of("uname -m", |bundle| {
        bundle.set("/linux/personality", json!({"domain": "LINUX32"}));
    })?;
    expect_eq("machine", seen, "i686")
}

fn exec_cpu_affinity_is_set(lab: &Lab) -> Result<()> {
    if std::thread::available_parallelism()?.get() < 2 {
        return skip("this host has one processor only");
    }
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.set("/process/execCPUAffinity", json!({"initial": "0", "final": "1"}));
    let container = Container::started(lab, &bundle)?;
    let status = container.exec_stdout(&[], "cat /proc/self/status")?;
    expect_eq(
        "Cpus_allowed_list",
        status_field(&status, "Cpus_allowed_list")?,
        "1",
    )
}

fn memory_policy_is_set(lab: &Lab) -> Result<()> {
    if !fs::exists("/proc/self/numa_maps")? {
        return skip("this kernel has no memory policies (no /proc/self/numa_maps)");
    }
    let seen = lab.output_of("cat /proc/self/numa_maps", |bundle| {
        bundle.set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0"}));
    })?;
    ensure!(
        seen.contains("bind:0"),
        "no policy bind:0 in {:?}",
        seen.lines().next()
    );
    Ok(())
}

fn standard_streams_pass_through(lab: &Lab) -> Result<()> {
    let bundle = lab.script("cat; echo error >&2; echo output")?;
    bundle.save()?;
    let input = lab.dir.join("input");
    fs::write(&input, "from the caller\n")?;
    let mut command = lab.command(&["run", "--bundle", bundle.path(), &lab.id()]);
    let output = crate::lab::finish(command.stdin(fs::File::open(&input)?))?.success()?;
    expect_eq(
        "standard output",
        output.stdout.as_str(),
        "from the caller\noutput\n",
    )?;
    expect_eq("standard error", output.stderr.as_str(), "error\n")
}

fn process_is_a_session_leader(lab: &Lab) -> Result<()> {
    expect_eq("session", stat_field(lab, 6, |_| {})?, "1")
}

fn signal_masks_are_empty(lab: &Lab) -> Result<()> {
    let container = Container::started(lab, &lab.bundle(&["sleep", "1000"])?)?;
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid()?))?;
    for name in ["SigBlk", "SigIgn"] {
        let mask = u64::from_str_radix(status_field(&status, name)?, 16)?;
        // The C libraries keep 32 to 34 for themselves, and a program cannot reset what it inherits there.
        expect_eq(name, mask & !(0b111 << 31), 0)?;
    }
    Ok(())
}
