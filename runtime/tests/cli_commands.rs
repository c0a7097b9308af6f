//! The commands beside the life of a container: what they print, and what they do in the kernel.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use support::{Host, eventually};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The state letter of a process; `proc_pid_stat(5)`.
fn letter(pid: &Value) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

/// The value of a file in the container's cgroup: version 1 or 2, whichever has it.
fn limit(host: &Host, id: &str, files: [&str; 2]) -> String {
    let pid = host.state(id)["pid"].clone();
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    for line in cgroups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap(), parts.next().unwrap());
        for file in files {
            for mount in [controllers, "unified", ""] {
                if let Ok(text) = fs::read_to_string(format!("/sys/fs/cgroup/{mount}{path}/{file}")) {
                    return text.trim_end().to_owned();
                }
            }
        }
    }
    panic!("no cgroup of {id} has any of {files:?}:\n{cgroups}");
}

#[test]
fn list_shows_running_stopped_and_damaged_containers() {
    let Some(host) = Host::new() else { return };
    assert_eq!(
        json(&host.ok(&["list", "--format", "json"])),
        json!([]),
        "no state directory yet"
    );
    let running = host.running(|config| config["annotations"] = json!({"a": "b"}));
    // Behind the other in the order of the list.
    let damaged = format!("{running}-damaged");
    fs::create_dir(host.root().join(&damaged)).unwrap();
    fs::write(host.root().join(&damaged).join("init"), "{").unwrap();
    fs::write(host.root().join("a file"), "").unwrap();

    let list = host.run(&["list", "-f", "json"]);
    assert_eq!(list.code, 0, "{list}");
    let list = json(&list.stdout);
    assert_eq!(list[0], host.state(&running));
    assert_eq!(list[0]["annotations"], json!({"a": "b"}));
    assert_eq!(
        (&list[1]["id"], &list[1]["status"]),
        (&json!(damaged), &json!("damaged"))
    );
    assert_eq!(list.as_array().unwrap().len(), 2);

    let table = host.ok(&["list"]);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    assert_eq!(
        rows[1][..3],
        [running.as_str(), &list[0]["pid"].to_string(), "running"]
    );
    assert_eq!(rows[1][5], "root");
    assert_eq!(host.ok(&["list", "--quiet"]), format!("{running}\n{damaged}\n"));
    let delete = host.run(&["delete", &damaged]);
    assert!(delete.code == 1 && delete.stderr.contains("damaged"), "{delete}");
    host.ok(&["delete", "--force", &damaged]);
    assert_eq!(host.ok(&["list", "-q"]), format!("{running}\n"));
}

#[test]
fn a_damaged_state_still_leads_to_the_processes() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|_| {});
    fs::write(host.root().join(&id).join("state.json"), "{}").unwrap();
    assert_eq!(host.run(&["state", &id]).code, 1);
    host.ok(&["delete", "--force", &id]);
    assert_eq!(host.leftovers(&id), Vec::<String>::new());
}

#[test]
fn ps_shows_the_processes_of_one_container() {
    let Some(host) = Host::new() else { return };
    let id =
        host.running(|config| config["process"]["args"] = json!(["sh", "-c", "sleep 1001 & sleep 1002"]));
    let other = host.running(|_| {});
    let pids = || json(&host.ok(&["ps", "--format", "json", &id]));
    eventually("two processes", || pids().as_array().unwrap().len() == 2);
    assert!(pids().as_array().unwrap().contains(&host.state(&id)["pid"]));

    let table = host.ok(&["ps", &id]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].contains("PID") && lines[0].contains("CMD"), "{table}");
    assert!(
        table.contains("sleep 1001") && table.contains("sleep 1002"),
        "{table}"
    );
    let own = host.ok(&["ps", &id, "-o", "pid,args"]);
    assert!(
        own.lines().nth(1).unwrap().contains("sleep") && !own.contains("UID"),
        "{own}"
    );

    let without_pid = host.run(&["ps", &other, "-o", "args"]);
    assert_eq!(without_pid.code, 1, "{without_pid}");
    assert!(without_pid.stderr.contains("PID"), "{without_pid}");
}

#[test]
fn pause_stops_and_resume_continues() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|config| {
        config["process"]["args"] = json!(["sh", "-c", "while :; do :; done"]);
    });
    let pid = host.state(&id)["pid"].clone();
    eventually("the program runs", || letter(&pid) == 'R');
    host.ok(&["pause", &id]);
    assert_eq!(host.state(&id)["status"], "paused");
    let ticks = || fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(before, ticks(), "a paused process uses no time");

    let again = host.run(&["pause", &id]);
    assert!(again.code == 1 && again.stderr.contains("paused"), "{again}");
    let exec = host.run(&["exec", &id, "true"]);
    assert!(exec.code != 0 && exec.stderr.contains("paused"), "{exec}");

    host.ok(&["resume", &id]);
    assert_eq!(host.state(&id)["status"], "running");
    eventually("it uses time again", || before != ticks());
    let again = host.run(&["resume", &id]);
    assert!(again.code == 1 && again.stderr.contains("running"), "{again}");
}

#[test]
fn a_paused_container_can_be_killed_and_deleted() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|_| {});
    host.ok(&["pause", &id]);
    host.ok(&["delete", &id, "--force"]);
    assert_eq!(host.leftovers(&id), Vec::<String>::new());
}

#[test]
fn without_a_cgroup_there_is_nothing_to_pause() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| {
        config["process"]["args"] = json!(["sleep", "1000"]);
        config["linux"]["resources"] = json!({});
    });
    let id = host.id();
    host.ok(&[
        "--cgroup-manager",
        "disabled",
        "run",
        "--detach",
        "--bundle",
        bundle.path(),
        &id,
    ]);
    for command in ["pause", "ps", "events"] {
        let finished = host.run(&[command, &id]);
        assert_eq!(finished.code, 1, "{finished}");
        assert!(finished.stderr.contains("no cgroup"), "{finished}");
    }
}

#[test]
fn update_changes_limits_and_the_record() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|config| config["linux"]["resources"]["pids"] = json!({"limit": 50}));
    let pids = || limit(&host, &id, ["pids.max", "pids.max"]);
    assert_eq!(pids(), "50");
    host.ok(&["update", "--pids-limit", "40", "--memory", "64M", &id]);
    assert_eq!(pids(), "40");
    let memory = || limit(&host, &id, ["memory.limit_in_bytes", "memory.max"]);
    assert_eq!(memory(), (64 << 20).to_string());

    let recorded = || {
        let bytes = fs::read(host.root().join(&id).join("config.json")).unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()["linux"]["resources"].clone()
    };
    assert_eq!(recorded()["pids"], json!({"limit": 40}));
    assert_eq!(recorded()["memory"], json!({"limit": 64 << 20}));
    assert_eq!(recorded()["devices"], json!([{"allow": false, "access": "rwm"}]));

    let file = host.directory().join("resources.json");
    let text = r#"{"memory": {"limit": 33554432, "swap": null}, "pids": {}, "blockIO": {}, "devices": []}"#;
    fs::write(&file, text).unwrap();
    host.ok(&["update", "-r", file.to_str().unwrap(), &id, "--cpu-share=512"]);
    assert_eq!((memory(), pids()), ((32 << 20).to_string(), "40".to_owned()));
    let shares = limit(&host, &id, ["cpu.shares", "cpu.weight"]);
    assert!(["512", "20", "59"].contains(&shares.as_str()), "{shares}");
    assert_eq!(host.ok(&["exec", &id, "echo", "still usable"]), "still usable\n");
}

#[test]
fn update_reads_the_standard_input() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|_| {});
    let mut command = host.command(&["update", "--resources", "-", &id]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(br#"{"pids": {"limit": 33}}"#).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    assert_eq!(limit(&host, &id, ["pids.max", "pids.max"]), "33");
}

#[test]
fn updates_that_cannot_be_done_name_the_limit() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|_| {});
    let table: &[(&[&str], &str)] = &[
        (&["--cpu-share", "1"], "linux.resources.cpu.shares"),
        (&["--memory", "much"], "--memory"),
        (&["--pids-limit", "many"], "--pids-limit"),
        (&["--cpuset-cpus", "4000"], "cpus"),
        (&["--l3-cache-schema", "L3:0=f"], "intelRdt"),
        (&["--resources", "/does/not/exist"], "/does/not/exist"),
        (&[], "nothing to update"),
    ];
    for (options, named) in table {
        let args: Vec<&str> = ["update"]
            .iter()
            .chain(*options)
            .copied()
            .chain([id.as_str()])
            .collect();
        let finished = host.run(&args);
        assert_eq!(finished.code, 1, "{finished}");
        assert!(finished.stderr.contains(named), "{named}: {finished}");
    }
}

#[test]
fn events_print_what_is_used() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|config| config["linux"]["resources"]["pids"] = json!({"limit": 50}));
    let event = json(&host.ok(&["events", "--stats", &id]));
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(id)));
    assert_eq!(event["data"]["pids"], json!({"current": 1, "limit": 50}));
    assert!(event["data"]["memory"]["usage"].is_object(), "{event}");

    let mut child = host
        .command(&["events", "--interval", "20ms", &id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        assert_eq!(json(&lines.next().unwrap().unwrap())["type"], "stats");
    }
    host.ok(&["kill", &id, "KILL"]);
    assert!(lines.all(|line| json(&line.unwrap())["type"] == "stats"));
    assert!(
        child.wait().unwrap().success(),
        "the stream ends with the container"
    );
    let stopped = host.run(&["events", &id]);
    assert!(
        stopped.code == 1 && stopped.stderr.contains("stopped"),
        "{stopped}"
    );
}

#[test]
fn events_end_when_nobody_reads() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|_| {});
    let mut child = host
        .command(&["events", "--interval", "10ms", &id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    eventually("events ends", || host_exited(&mut child));
}

fn host_exited(child: &mut std::process::Child) -> bool {
    child.try_wait().unwrap().is_some()
}

#[test]
fn events_tell_of_want_of_memory() {
    let Some(host) = Host::new() else { return };
    if !["/sys/fs/cgroup/memory/cgroup.procs", "/sys/fs/cgroup/memory.stat"]
        .iter()
        .any(|file| fs::exists(file).unwrap())
    {
        return support::lacking("a memory controller");
    }
    let id = host.running(|config| {
        // The greedy child is ended, the first process stays; again and again, since events may come late.
        let script = "while :; do dd if=/dev/zero of=/dev/null bs=64M count=1; sleep 0.1; done";
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
    });
    let mut child = host
        .command(&["events", "--interval", "1h", &id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().expect("a line before the end").unwrap();
    assert_eq!(json(&first), json!({"type": "oom", "id": id}));
    host.ok(&["kill", &id, "KILL"]);
    assert!(child.wait().unwrap().success());
}

#[test]
fn features_are_those_of_this_build() {
    let Some(host) = Host::new() else { return };
    let features = json(&host.ok(&["features"]));
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert_eq!(features["hooks"].as_array().unwrap().len(), 6);
    assert!(
        features["mountOptions"]
            .as_array()
            .unwrap()
            .contains(&json!("rro"))
    );
    assert!(
        features["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .contains(&json!("time"))
    );
    assert_eq!(features["linux"]["capabilities"][40], "CAP_CHECKPOINT_RESTORE");
    let supported = features["linux"]["seccomp"]["supportedFlags"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(supported, 4, "every kernel since 6.1 has all four");
}

#[test]
fn spec_writes_a_configuration_that_runs() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|_| {});
    let config = bundle.file("config.json");
    let refused = host.run(&["spec", "--bundle", bundle.path()]);
    assert!(
        refused.code == 1 && refused.stderr.contains("exists already"),
        "{refused}"
    );
    fs::remove_file(&config).unwrap();
    host.ok(&["spec", "--bundle", bundle.path()]);
    let mut written = json(&fs::read_to_string(&config).unwrap());
    written["process"]["terminal"] = json!(false);
    written["process"]["args"] = json!(["sh", "-c", "id -u; hostname; touch /x"]);
    bundle.write(&written);
    for directory in ["dev/mqueue", "dev/shm"] {
        fs::create_dir_all(bundle.rootfs(directory)).unwrap();
    }
    let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!((run.code, run.stdout.as_str()), (1, "0\nnucleus\n"), "{run}");
    assert!(run.stderr.contains("Read-only file system"), "{run}");
}

#[test]
fn the_rootless_specification_maps_the_caller() {
    let Some(host) = Host::new() else { return };
    let directory = host.directory().join("rootless");
    fs::create_dir(&directory).unwrap();
    let mut command = host.command(&["spec", "--rootless"]);
    let finished = support::finish({
        command.current_dir(&directory);
        command
    });
    assert_eq!(finished.code, 0, "{finished}");
    let written = json(&fs::read_to_string(directory.join("config.json")).unwrap());
    assert_eq!(
        written["linux"]["uidMappings"],
        json!([{"containerID": 0, "hostID": 0, "size": 1}])
    );
    assert!(
        written["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .contains(&json!({"type": "user"}))
    );
}

#[test]
fn checkpoint_and_restore_say_that_they_are_missing() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|_| {});
    let options = ["--image-path", "/x", "--work-path", "/y", "--file-locks"];
    for (command, id) in [("checkpoint", &id), ("restore", &host.id())] {
        let args: Vec<&str> = [command]
            .into_iter()
            .chain(options)
            .chain([id.as_str()])
            .collect();
        let finished = host.run(&args);
        assert_eq!(finished.code, 1, "{finished}");
        assert!(finished.stderr.contains("not supported yet"), "{finished}");
    }
    assert_eq!(host.state(&id)["status"], "running");
}

/// Nothing tells of a container's processes where it has no control group.
#[test]
fn kill_all_ends_a_container_without_a_control_group() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| {
        config["process"]["args"] = json!(["sh", "-c", "sleep 1000 & exec sleep 1000"]);
    });
    let id = host.id();
    host.ok(&[
        "--cgroup-manager",
        "disabled",
        "create",
        "--bundle",
        bundle.path(),
        &id,
    ]);
    host.ok(&["start", &id]);
    host.ok(&["kill", "--all", &id, "KILL"]);
    support::eventually("it stops", || host.state(&id)["status"] == "stopped");
    host.ok(&["kill", "--all", &id, "KILL"]);
    host.ok(&["delete", &id]);
    assert_eq!(host.leftovers(&id), Vec::<String>::new());
}

#[test]
fn options_may_follow_the_name() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|_| {});
    host.ok(&["kill", &id, "--all", "CONT"]);
    host.ok(&["kill", "-a", &id, "18"]);
    host.ok(&["exec", "-cwd=/tmp", &id, "test", "-d", "."]);
    host.ok(&["delete", &id, "-f"]);
}

#[test]
fn help_and_version_are_for_clients_and_people() {
    let Some(host) = Host::new() else { return };
    let version = host.ok(&["--version"]);
    let lines: Vec<&str> = version.lines().collect();
    assert!(lines[0].starts_with("nucleus-runtime version "), "{version}");
    assert!(
        lines[1].starts_with("commit: ") && lines[2].starts_with("spec: 1."),
        "{version}"
    );
    let nothing: [&str; 0] = [];
    assert_eq!(host.ok(&nothing), host.ok(&["--help"]));
    assert_eq!(host.ok(&["help", "exec"]), host.ok(&["exec", "--help"]));
    for line in host.ok(&["--help"]).lines() {
        assert!(line.len() <= 100, "{line}");
    }
}
