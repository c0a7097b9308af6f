//! The built-in profiles under the real runtime: the programs that they are for work, and the calls that they
//! are against are refused.

mod sandbox;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nucleus_policy::{Choice, Kind, Request, VerifiedPolicy, load};
use sandbox::{Ran, Sandbox, ask, lacking};

fn policies(profile: &str) -> VerifiedPolicy {
    load(&Request {
        seccomp: Some(Choice::named(Kind::Seccomp, profile)),
        capabilities: Some(Choice::named(Kind::Capabilities, "none")),
        landlock: Some(Choice::named(Kind::Landlock, "agent-network")),
        ..Request::default()
    })
    .expect("the built-in policies")
}

/// Runs `args` under each profile; what works under the default one has to work under the wider one.
fn works(sandbox: &Sandbox, args: &[&str], expected: &str) {
    for profile in ["default", "service"] {
        let ran = sandbox.run(Some(&policies(profile)), args);
        assert_eq!(ran.status, Some(0), "{profile}: {args:?}: {ran}");
        assert!(ran.stdout.contains(expected), "{profile}: {args:?}: {ran}");
    }
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs")
}

fn on_the_host(program: &str) -> Option<String> {
    let found = ask("sh", &["-c", &format!("command -v {program}")]);
    if found.is_none() {
        lacking(program);
    }
    found
}

#[test]
fn a_shell_and_coreutils_work() {
    let Some(sandbox) = Sandbox::new() else { return };
    let script = r#"set -e
        echo a >a; cp -a a b; mv b c; ln -s c d; ln c e; mkdir -p x/y; touch x/y/z
        find . -type f | sort | xargs cat | wc -c; ls -lR >list; grep -r a c d e; sed -i s/a/b/ a
        tar czf t.tgz x a; mkdir u; tar xzf t.tgz -C u
        mkfifo p; (echo through the pipe >p &); cat p
        dd if=/dev/zero of=big bs=1M count=2 status=none; sha256sum big; truncate -s 1 big; df . >/dev/null
        chmod 600 a; chown 0:0 a; timeout 1 sleep 0.1; nohup true; nice true; id; uname -a; date; nproc
        (sleep 10 & kill $!); head -c 4 /dev/urandom | od; setsid true; stty -a </dev/pts/ptmx; rm -r x
        echo finished"#;
    works(&sandbox, &["/bin/sh", "-c", script], "through the pipe");
    works(&sandbox, &["/bin/sh", "-c", script], "finished");
}

#[test]
fn bash_works() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(bash) = on_the_host("bash") else { return };
    let script = r#"set -e
        cat <(echo substituted); for i in 1 2 3; do sleep 0.05 & done; wait
        trap 'echo trapped' USR1; kill -USR1 $$; ulimit -c 0; ulimit -n; read -t 0.1 x </dev/zero || true"#;
    works(&sandbox, &[&bash, "-c", script], "substituted");
    works(&sandbox, &[&bash, "-c", script], "trapped");
}

#[test]
fn python_works_with_threads_processes_and_sqlite() {
    let Some(mut sandbox) = Sandbox::new() else { return };
    let place = "import sys; print(sys.base_prefix)";
    let Some(prefix) = ask("python3", &["-c", place]) else {
        return lacking("python3");
    };
    // An interpreter may live outside the system directories.
    if !prefix.starts_with("/usr") {
        sandbox.bind(Path::new(&prefix), &prefix);
    }
    sandbox.bind(&programs(), "/opt");
    let python = format!("{prefix}/bin/python3");
    works(&sandbox, &[&python, "/opt/python.py"], "python works");
}

#[test]
fn node_works_with_workers_children_and_watches() {
    let Some(mut sandbox) = Sandbox::new() else { return };
    let Some(node) = on_the_host("node") else { return };
    sandbox.bind(&programs(), "/opt");
    works(&sandbox, &[&node, "/opt/node.js"], "node works");
}

#[test]
fn git_works() {
    let Some(sandbox) = Sandbox::new() else { return };
    if on_the_host("git").is_none() {
        return;
    }
    let script = "set -e
        git init -q r; cd r; git config user.email a@b; git config user.name n
        echo x >f; git add f; git commit -qm first; git checkout -qb b; echo y >>f; git commit -qam second
        git diff HEAD~1 --stat; git clone -q . ../s; git gc -q; git status -s; git fsck; git log --oneline";
    works(&sandbox, &["/bin/sh", "-c", script], "second");
}

#[test]
fn programs_that_drop_capabilities_first_work() {
    let Some(sandbox) = Sandbox::new() else { return };
    let Some(ip) = on_the_host("ip") else { return };
    works(&sandbox, &[&ip, "address", "show", "lo"], "LOOPBACK");
}

#[test]
fn a_c_compiler_and_make_work() {
    let Some(mut sandbox) = Sandbox::new() else {
        return;
    };
    if on_the_host("gcc").is_none() || on_the_host("make").is_none() {
        return;
    }
    sandbox.bind(&programs(), "/opt");
    let script = r"set -e
        cp /opt/hello.c .
        printf 'all: hello\n\techo made; ./hello\n' >Makefile
        make -j4 CFLAGS='-O2 -pthread' all";
    works(&sandbox, &["/bin/sh", "-c", script], "compiled and run");
}

#[test]
fn cargo_builds_and_tests_a_crate() {
    let Some(mut sandbox) = Sandbox::new() else { return };
    let Some(sysroot) = ask("rustc", &["--print", "sysroot"]) else {
        return lacking("rustc");
    };
    // Shown below /opt: whoever runs the tests may keep it where the Landlock policy allows nothing.
    if !sysroot.starts_with("/usr") {
        sandbox.bind(Path::new(&sysroot), "/opt");
    }
    let bin = if sysroot.starts_with("/usr") {
        "/usr/bin"
    } else {
        "/opt/bin"
    };
    let script = format!(
        "set -e; PATH={bin}:$PATH; export PATH; cargo new -q --vcs none c; cd c
        cargo build -q --offline; ./target/debug/c; cargo test -q --offline"
    );
    works(&sandbox, &["/bin/sh", "-c", &script], "Hello, world!");
}

/// The probe's answers by name.
fn answers(ran: &Ran) -> BTreeMap<&str, &str> {
    assert_eq!(ran.status, Some(0), "{ran}");
    ran.stdout
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect()
}

const SIGSYS: &str = "signal 31";
const EPERM: &str = "1";
const EBADF: &str = "9";
const ENOSYS: &str = "38";

/// What the probe has to hear under the default profile.
const REFUSED: &[(&str, &str)] = &[
    ("x32", SIGSYS),
    ("i386", SIGSYS),
    ("io_uring_setup", ENOSYS),
    ("clone_newuser", EPERM),
    ("clone_newns", EPERM),
    ("clone_newnet_newuser", EPERM),
    ("clone_newuser_high_bit", EPERM),
    ("clone3", ENOSYS),
    ("unshare", EPERM),
    ("setns", EPERM),
    ("bpf", EPERM),
    ("ptrace", EPERM),
    ("keyctl", EPERM),
    ("userfaultfd", EPERM),
    ("perf_event_open", EPERM),
    ("process_vm_readv", EPERM),
    ("mount", EPERM),
    ("fsopen", EPERM),
    ("open_by_handle_at", EPERM),
    ("mknod_device", EPERM),
    ("tiocsti", EPERM),
    ("tiocsti_high_bit", EPERM),
    ("tioclinux", EPERM),
    ("socket_netlink_audit", ENOSYS),
    ("socket_netlink_netfilter", ENOSYS),
    ("socket_mptcp", ENOSYS),
    ("socket_packet", ENOSYS),
    ("socket_vsock", ENOSYS),
    ("socket_alg", ENOSYS),
    ("personality_no_randomize", ENOSYS),
    ("personality_high_bit", ENOSYS),
    ("unknown", ENOSYS),
];

/// What stays allowed beside them. Requests on a descriptor that is not open reach the kernel: EBADF.
const ALLOWED: &[(&str, &str)] = &[
    ("clone", "ok"),
    ("mknod_fifo", "ok"),
    ("tcgets", EBADF),
    ("fionread", EBADF),
    ("fioclex", EBADF),
    ("ficlone", EBADF),
    ("socket_unix", "ok"),
    ("socket_inet", "ok"),
    ("socket_inet6", "ok"),
    ("socket_netlink_route", "ok"),
    ("personality_query", "ok"),
];

#[test]
fn dangerous_calls_are_refused_and_their_neighbours_are_not() {
    let Some(mut sandbox) = Sandbox::new() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    if sandbox::probe("refused", directory.path()).is_none() {
        return;
    }
    sandbox.bind(directory.path(), "/opt");
    for (profile, setuid) in [("default", EPERM), ("service", "ok")] {
        let ran = sandbox.run(Some(&policies(profile)), &["/opt/refused"]);
        let answers = answers(&ran);
        for (name, expected) in REFUSED.iter().chain(ALLOWED).chain(&[("setuid", setuid)]) {
            assert_eq!(answers.get(name), Some(expected), "{profile}: {name}");
        }
    }
}

/// Without the profile the same probe gets through: it is the profile that refuses.
#[test]
fn the_same_calls_pass_without_a_profile() {
    let Some(mut sandbox) = Sandbox::new() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    if sandbox::probe("refused", directory.path()).is_none() {
        return;
    }
    sandbox.bind(directory.path(), "/opt");
    let ran = sandbox.run(None, &["/opt/refused"]);
    let answers = answers(&ran);
    for name in [
        "clone_newuser",
        "clone_newuser_high_bit",
        "clone3",
        "unshare",
        "ptrace",
        "personality_no_randomize",
        "setuid",
    ] {
        assert_eq!(answers.get(name), Some(&"ok"), "{name}: {ran}");
    }
    assert_ne!(answers.get("tiocsti"), Some(&EPERM), "{ran}");
}

/// Landlock's part: `/dev` is a writable tmpfs, `/` can be read, and the port is only closed.
#[test]
fn files_and_ports_beyond_the_policy_are_refused() {
    let Some(sandbox) = Sandbox::new() else {
        return;
    };
    let Some(bash) = on_the_host("bash") else {
        return;
    };
    let script = r"
        ls / >/dev/null && echo listed
        echo x >/dev/made && echo made
        echo y >/tmp/made && echo kept
        (exec 3<>/dev/tcp/127.0.0.1/9) 2>&1 | grep -o 'Permission denied\|Connection refused' | sort -u
        exit 0";
    for (landlock, expected) in [
        ("agent", "kept\nPermission denied\n"),
        ("agent-network", "kept\nConnection refused\n"),
    ] {
        let policy = load(&Request {
            landlock: Some(Choice::named(Kind::Landlock, landlock)),
            landlock_strict: true,
            ..Request::default()
        })
        .expect("a built-in policy");
        let ran = sandbox.run(Some(&policy), &[&bash, "-c", script]);
        if ran.status != Some(0) && ran.stderr.contains("landlock") {
            return lacking(&format!(
                "Landlock with every right of the policy: {}",
                ran.stderr
            ));
        }
        assert_eq!(ran.stdout, expected, "{landlock}: {ran}");
    }
    let ran = sandbox.run(None, &[&bash, "-c", script]);
    assert_eq!(ran.stdout, "listed\nmade\nkept\nConnection refused\n", "{ran}");
}
