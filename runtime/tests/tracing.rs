//! Who may trace the process that waits in `run --block-fd`, before its filter is loaded: the caller, with or
//! without root, and nobody in a container.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Stdio};
use support::rootless::{
    GRANTED, Rootless, USER, has_map_helpers, map_granted_ids, remove_namespace, shell, with_granted_ids,
};
use support::{Host, eventually, finish, probe};

/// `run --block-fd`: a front-end of the user looks at the process at its exec, with the host's eyes.
#[test]
fn a_user_traces_the_waiting_process_of_its_own_container() {
    let Some(rootless) = Rootless::new() else { return };
    let Some(launcher) = probe::build("launcher") else {
        return;
    };
    let looker = rootless.host.directory().join("launcher");
    fs::copy(launcher, &looker).expect("copy the launcher");
    let before = [looker.to_str().expect("UTF-8")];
    for (granted, inside, outside) in [(false, 0, USER), (false, 1000, USER), (true, 50, GRANTED + 49)] {
        if granted && !has_map_helpers() {
            continue;
        }
        let bundle = rootless.bundle(|config| {
            if granted {
                map_granted_ids(config, 1000);
            } else {
                for ids in ["uidMappings", "gidMappings"] {
                    config["linux"][ids][0]["containerID"] = json!(inside);
                }
            }
            config["process"]["user"] = json!({"uid": inside, "gid": inside});
            config["process"]["capabilities"] = json!({});
            shell(config, "echo ran; exit 7");
        });
        let id = rootless.host.id();
        let mut args: Vec<&str> = "run --info-fd 3 --block-fd 4 --bundle".split(' ').collect();
        args.extend([bundle.path(), &id]);
        let run = if granted {
            with_granted_ids(&rootless, &before, &args)
        } else {
            rootless.as_user(&before, &args)
        };
        assert_eq!(run.code, 7, "{run}");
        let uids = format!("Uid:{}", format!("\t{outside}").repeat(4));
        for line in [
            &uids,
            "Name:\tsh",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "ran",
        ] {
            assert!(run.stdout.lines().any(|found| found == line), "{line}: {run}");
        }
        assert_eq!(rootless.host.leftovers(&id), [""; 0]);
    }
}

/// A container of the same user that shares the host's processes sees the waiting one, has the same user id, and
/// may not trace it; the user itself may.
#[test]
fn another_container_of_the_user_cannot_trace_the_waiting_process() {
    let Some(rootless) = Rootless::new() else { return };
    let Some(launcher) = probe::build("launcher") else {
        return;
    };
    let looker = rootless.host.directory().join("launcher");
    fs::copy(&launcher, &looker).expect("copy the launcher");
    let waiting = rootless.bundle(|_| {});
    let id = rootless.host.id();
    let script = "mkfifo go && exec \"$0\" run --info-fd 3 --block-fd 4 --bundle . \"$1\" 3>info 4<>go";
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "12345", "--regid", "12345", "--clear-groups"])
        .args(["sh", "-c", script])
        .arg(&rootless.program)
        .arg(&id)
        .env("XDG_RUNTIME_DIR", &rootless.run)
        .current_dir(waiting.path())
        .stdin(Stdio::null());
    let mut runtime = command.spawn().expect("start the runtime");
    let info = || fs::read_to_string(waiting.file("info")).unwrap_or_default();
    eventually("the container is created", || info().ends_with('\n'));
    let info: Value = serde_json::from_str(&info()).expect("JSON");
    let pid = info["pid"].to_string();

    let other = rootless.bundle(|config| {
        remove_namespace(config, "pid");
        // A new procfs is only for who has a pid namespace.
        config["mounts"][0] =
            json!({"destination": "/proc", "type": "none", "source": "/proc", "options": ["rbind"]});
        config["process"]["args"] = json!(["/bin/launcher", "--seize", pid]);
        let capabilities = json!(["CAP_SYS_PTRACE", "CAP_KILL"]);
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = capabilities.clone();
        }
    });
    fs::copy(&launcher, other.rootfs("bin/launcher")).expect("copy the launcher");
    let attacker = rootless.run(&["run", "--bundle", other.path(), &rootless.host.id()]);
    let mut owner = Command::new("setpriv");
    owner.args(["--reuid", "12345", "--regid", "12345", "--clear-groups"]);
    let owner = finish({
        owner.arg(&looker).args(["--seize", &pid]);
        owner
    });
    fs::write(waiting.file("go"), "x").expect("write the byte");
    eventually("the runtime ends", || runtime.try_wait().expect("wait").is_some());
    assert_eq!(attacker.stdout, format!("seize {}\n", libc::EPERM), "{attacker}");
    assert_eq!(owner.stdout, "seize 0\n", "{owner}");
}

/// A program that `exec` puts into a container that waits has the same ids as the waiting process.
/// As root, in a user namespace that changes no id.
#[test]
fn a_further_process_cannot_trace_the_one_that_waits() {
    let Some(host) = Host::new() else { return };
    let Some(launcher) = probe::build("launcher") else {
        return;
    };
    let bundle = host.bundle(|config| {
        let same = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
        config["linux"]["namespaces"]
            .as_array_mut()
            .expect("namespaces")
            .push(json!({"type": "user"}));
        config["linux"]["uidMappings"] = same.clone();
        config["linux"]["gidMappings"] = same;
        config["process"]["args"] = json!(["sleep", "1000"]);
        config["process"]["capabilities"] = json!({});
    });
    fs::copy(&launcher, bundle.rootfs("bin/launcher")).expect("copy the launcher");
    let id = host.id();
    host.ok(&["create", "--bundle", bundle.path(), &id]);
    let seize = ["exec", &id, "/bin/launcher", "--seize", "1"];
    assert_eq!(host.run(&seize).stdout, format!("seize {}\n", libc::EPERM));
    // It is not the attack that cannot work: when the process is what it was to be, the kernel asks for the ids.
    host.ok(&["start", &id]);
    eventually("sleep runs", || host.run(&seize).stdout == "seize 0\n");
}

/// Without root the process has to stay dumpable.
#[test]
fn without_root_there_is_no_further_process_beside_the_one_that_waits() {
    let Some(rootless) = Rootless::new() else { return };
    let Some(launcher) = probe::build("launcher") else {
        return;
    };
    let bundle = rootless.bundle(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    fs::copy(&launcher, bundle.rootfs("bin/launcher")).expect("copy the launcher");
    let id = rootless.host.id();
    rootless.ok(&["create", "--bundle", bundle.path(), &id]);
    let seize = ["exec", &id, "/bin/launcher", "--seize", "1"];
    let refused = rootless.run(&seize);
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.stderr.contains("not started yet"), "{refused}");
    rootless.ok(&["start", &id]);
    eventually("sleep runs", || rootless.run(&seize).stdout == "seize 0\n");
}
