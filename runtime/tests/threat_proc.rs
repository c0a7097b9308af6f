//! A `/proc` of another pid namespace than the runtime's: its numbers are other processes', and none of those is taken
//! for the first process of a container.

mod support;

use serde_json::json;
use std::process::{Command, Stdio};
use support::{Finished, Host, finish, program};

/// Starts a process with the number of another one, which it has in the pid namespace above; then runs a command, and
/// says whether that process is still there.
const SCRIPT: &str = r#"
if [ "$1" != 0 ]; then
    echo $(($1 - 1)) >/proc/sys/kernel/ns_last_pid
    sleep 1000 &
    [ $! = "$1" ] || exit 99
fi
other=$!
shift
code=0
"$@" || code=$?
if [ -n "$other" ]; then
    kill -0 $other && echo "it lives"
    kill -KILL $other
fi
exit $code
"#;

fn below(host: &Host, number: &str, args: &[&str]) -> Finished {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "sh", "-c", SCRIPT, "sh", number]);
    command.arg(program()).arg("--root").arg(host.root()).args(args);
    command.stdin(Stdio::null());
    finish(command)
}

#[test]
fn no_process_with_the_same_number_is_signalled_or_joined() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|_| {});
    let pid = host.state(&id)["pid"].to_string();
    let commands: [&[&str]; 5] = [
        &["kill", &id, "KILL"],
        &["kill", "--all", &id, "KILL"],
        &["exec", &id, "true"],
        &["delete", "--force", &id],
        &["events", "--interval", "1s", &id],
    ];
    for command in commands {
        let run = below(&host, &pid, command);
        assert_eq!((run.code, run.stdout.as_str()), (1, "it lives\n"), "{run}");
        let expected = format!("container {id:?}: process {pid}: /proc shows");
        assert!(run.stderr.contains(&expected), "{run}");
    }
    assert_eq!(host.state(&id)["status"], "running");
}

#[test]
fn nor_is_a_signal_lost_where_nobody_has_the_number() {
    let Some(host) = Host::new() else { return };
    let id = host.running(|_| {});
    let run = below(&host, "0", &["kill", &id, "KILL"]);
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains("another pid namespace"), "{run}");
}

#[test]
fn no_container_is_created() {
    let Some(host) = Host::new() else { return };
    for user_namespace in [false, true] {
        let bundle = host.bundle(|config| {
            if user_namespace {
                let map = json!([{"containerID": 0, "hostID": 0, "size": 1000}]);
                config["linux"]["uidMappings"] = map.clone();
                config["linux"]["gidMappings"] = map;
                let namespaces = config["linux"]["namespaces"].as_array_mut();
                namespaces.expect("a list").push(json!({"type": "user"}));
            }
        });
        let id = host.id();
        let run = below(&host, "0", &["run", "--bundle", bundle.path(), &id]);
        assert_eq!(run.code, 1, "{run}");
        // Whether the number is somebody's there is chance.
        assert!(
            run.stderr.contains("look at the container's first process: "),
            "{run}"
        );
        assert!(run.stderr.contains("/proc"), "{run}");
        assert_eq!(host.leftovers(&id), Vec::<String>::new());
    }
}
