//! Ways past the container that lead through the kernel: system calls, cgroup files, and lengths that wrap.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use support::{Host, probe};

/// What a small static program needs, and nothing more.
const ALLOWED: &[&str] = &[
    "access",
    "arch_prctl",
    "brk",
    "close",
    "dup2",
    "execve",
    "exit",
    "exit_group",
    "faccessat",
    "fcntl",
    "fstat",
    "futex",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getppid",
    "getrandom",
    "gettid",
    "getuid",
    "lseek",
    "mmap",
    "mprotect",
    "munmap",
    "newfstatat",
    "open",
    "openat",
    "poll",
    "prctl",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "set_robust_list",
    "set_tid_address",
    "tgkill",
    "uname",
    "wait4",
    "write",
    "writev",
];

/// `CLONE_NEW*` of `linux/sched.h`: the bits that make namespaces.
const NAMESPACES: u64 = 0x7e02_0000;

fn allowlist(config: &mut Value) {
    config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {"names": ALLOWED, "action": "SCMP_ACT_ALLOW"},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "value": NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 1, "value": 0x5401, "op": "SCMP_CMP_EQ"}]},
        ]
    });
}

/// Results by the attempt's name.
fn attempts(host: &Host, probe: &Path, edit: impl FnOnce(&mut Value)) -> BTreeMap<String, String> {
    let bundle = host.bundle(|config| {
        config["process"]["args"] = json!(["/bin/attempts"]);
        edit(config);
    });
    fs::copy(probe, bundle.rootfs("/bin/attempts")).expect("install the probe");
    let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!(run.code, 0, "{run}");
    let lines = run.stdout.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(name, result)| (name.to_owned(), result.to_owned()))
        .collect()
}

#[test]
fn what_an_allowlist_does_not_name_is_refused() {
    let Some(host) = Host::new() else { return };
    let Some(probe) = probe::build("attempts") else {
        return;
    };
    let open = attempts(&host, &probe, |_| {});
    // Otherwise the refusals below would say nothing.
    for name in [
        "i386",
        "io_uring_setup",
        "clone3-newuser",
        "unshare-newuser",
        "ptrace",
        "keyctl",
        "add_key",
    ] {
        assert_eq!(
            open.get(name).map(String::as_str),
            Some("allowed"),
            "without a filter: {open:?}"
        );
    }
    for no_new_privileges in [true, false] {
        let results = attempts(&host, &probe, |config| {
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            allowlist(config);
            if !no_new_privileges {
                // Loaded before the credentials change, the filter has to allow that.
                let own = json!({"names": ["capset", "capget", "chdir", "close_range", "faccessat2", "getgroups",
                    "recvfrom", "sendto", "setgid", "setgroups", "setresgid", "setresuid", "setuid", "stat",
                    "fstatfs", "umask"], "action": "SCMP_ACT_ALLOW"});
                let rules = config["linux"]["seccomp"]["syscalls"].as_array_mut();
                rules.expect("rules").push(own);
            }
        });
        assert!(results.len() >= open.len(), "{results:?}");
        for (name, result) in results.iter().filter(|(name, _)| *name != "controlling-terminal") {
            // SIGSYS from the kernel's own answer to a foreign architecture.
            let refused = matches!(result.as_str(), "errno 1" | "signal 31");
            assert!(refused, "{name}: {result} (no_new_privs {no_new_privileges})");
        }
    }
}

/// Directories of version 1 hierarchies or of cgroup2, where this process is.
fn own_cgroups() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").expect("the cgroups");
    let top = Path::new("/sys/fs/cgroup");
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, own) = (fields.next()?, fields.next()?);
            let name = controllers.trim_start_matches("name=");
            let mount = match name {
                "" if top.join("unified").exists() => top.join("unified"),
                _ => top.join(name),
            };
            Some(mount.join(own.trim_start_matches('/')))
        })
        .filter(|path| path.exists())
        .collect()
}

/// CVE-2023-25809: the container writes limits or processes of groups above its own.
#[test]
fn no_cgroup_above_the_containers_own_is_written() {
    let Some(host) = Host::new() else { return };
    let id = host.id();
    let slice = format!("{id}-slice");
    // Other processes of the host, which the container would like to move or freeze.
    let others: Vec<PathBuf> = own_cgroups().iter().map(|own| own.join(&slice)).collect();
    // The directory of version 1 hierarchies itself is a tmpfs of the container.
    let script = "for d in /sys/fs/cgroup/*/ /sys/fs/cgroup/*/../*/; do
            mkdir $d/planted 2>/dev/null && echo made $d
            for f in cgroup.procs tasks release_agent notify_on_release memory.limit_in_bytes memory.max \
                     cgroup.subtree_control devices.allow; do
                [ -e $d/$f ] && echo 1 > $d/$f && echo wrote $d/$f
            done
        done 2>/dev/null; find /sys/fs/cgroup -name '*slice*'; true";
    let user_namespace = |config: &mut Value| {
        let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        let linux = &mut config["linux"];
        let namespaces = linux["namespaces"].as_array_mut().expect("namespaces");
        namespaces.push(json!({"type": "user"}));
        (linux["uidMappings"], linux["gidMappings"]) = (maps.clone(), maps);
    };
    for (own_namespace, options) in [
        (true, json!(["nosuid", "noexec", "nodev"])),
        (false, json!(["ro"])),
    ] {
        let bundle = host.bundle(|config| {
            config["process"]["args"] = json!(["sh", "-c", script]);
            config["linux"]["cgroupsPath"] = json!(format!("/{slice}/{id}"));
            config["mounts"].as_array_mut().expect("mounts").push(json!({
                "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}));
            if own_namespace {
                user_namespace(config);
            } else {
                let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
                namespaces.retain(|namespace| namespace["type"] != "cgroup");
            }
        });
        if own_namespace {
            open_to_all(host.directory(), Path::new(bundle.path()));
        }
        let run = host.run(&["run", "--bundle", bundle.path(), &id]);
        assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{run}");
        for other in &others {
            assert!(!other.exists(), "{} is left", other.display());
        }
    }
}

/// The first user of the user namespace has to reach the root file system.
fn open_to_all(directory: &Path, bundle: &Path) {
    let mode = || std::os::unix::fs::PermissionsExt::from_mode(0o755);
    for path in [directory, bundle, &bundle.join("rootfs")] {
        fs::set_permissions(path, mode()).expect("chmod");
    }
}

/// CVE-2021-43784: lengths that wrap on their way to the kernel.
#[test]
fn oversized_maps_and_paths_are_refused() {
    let Some(host) = Host::new() else { return };
    let line = |inside: u64, outside: u64, size: u64| json!({"containerID": inside, "hostID": outside, "size": size});
    let many: Vec<Value> = (0..400).map(|n| line(n, 100_000 + n, 1)).collect();
    let maps = [
        json!(many),
        json!([line(0, 100_000, u64::from(u32::MAX) + 1)]),
        json!([line(0, u64::from(u32::MAX) + 1, 1)]),
        json!([line(1 << 32, 100_000, 1)]),
        json!([line(0, 100_000, 0)]),
        json!([line(0, u64::from(u32::MAX) - 1, 65536)]),
        json!([line(0, 100_000, 10), line(5, 200_000, 10)]),
        json!([{"containerID": -1, "hostID": 0, "size": 1}]),
    ];
    for map in maps {
        let bundle = host.bundle(|config| {
            let linux = &mut config["linux"];
            let namespaces = linux["namespaces"].as_array_mut().expect("namespaces");
            namespaces.push(json!({"type": "user"}));
            (linux["uidMappings"], linux["gidMappings"]) = (map.clone(), map.clone());
        });
        let id = host.id();
        let run = host.run(&["run", "--bundle", bundle.path(), &id]);
        assert_eq!(run.code, 1, "{map}: {run}");
        assert_eq!(host.leftovers(&id), Vec::<String>::new(), "{map}");
    }
    for length in [255, 4095, 4096, 65535, 65536, 1 << 20] {
        let path = format!("/{}", "x".repeat(length));
        for kind in ["network", "pid", "ipc"] {
            let bundle = host.bundle(|config| {
                let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
                namespaces.retain(|namespace| namespace["type"] != kind);
                namespaces.push(json!({"type": kind, "path": path}));
            });
            let id = host.id();
            let run = host.run(&["run", "--bundle", bundle.path(), &id]);
            assert_eq!(run.code, 1, "{kind} path of {length} bytes: {}", run.code);
            assert_eq!(host.leftovers(&id), Vec::<String>::new());
        }
    }
}

/// Nor does a wrong number of descriptors, groups or arguments.
#[test]
fn oversized_lists_are_refused_or_carried_out() {
    let Some(host) = Host::new() else { return };
    let bundle = host.bundle(|config| {
        let groups: Vec<u32> = (1..70_000).collect();
        config["process"]["user"]["additionalGids"] = json!(groups);
    });
    let run = host.run(&["run", "--bundle", bundle.path(), &host.id()]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    let bundle = host.bundle(|_| {});
    for count in ["1000000", "4294967295", "-1", "2147483648"] {
        let argument = format!("--preserve-fds={count}");
        let run = host.run(&["run", &argument, "--bundle", bundle.path(), &host.id()]);
        assert_eq!(run.code, 1, "{run}");
        assert!(!run.stderr.contains("panicked"), "{run}");
    }
}
