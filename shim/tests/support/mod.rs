//! Runs the real `nucleus` with the real runtime, as root.

#![allow(dead_code, unreachable_pub, reason = "not every test file uses all of it")]

pub mod bed;
pub mod user;
pub mod world;

use serde_json::Value;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The front-end under test.
pub const NUCLEUS: &str = env!("CARGO_BIN_EXE_nucleus");

/// Runtimes with runc's command line that are not ours, and the options that choose them.
pub const ENGINES: [(&str, [&str; 3]); 2] = [
    (
        "runc",
        ["--allow-degraded-security", "--runtime", "/usr/sbin/runc"],
    ),
    (
        "crun",
        ["--allow-degraded-security", "--runtime", "/usr/bin/crun"],
    ),
];
/// For a shell in a mount namespace of its own: crun 1.8 takes no host with both versions of control groups.
pub const CGROUPS_1: &str = "umount --no-mtab /sys/fs/cgroup/unified 2>/dev/null || true";

/// A place of its own for one test; at the end nothing may be left in it.
pub struct Place {
    directory: tempfile::TempDir,
    name: String,
}

/// What a command printed and returned.
#[derive(Debug)]
pub struct Finished {
    /// The exit code, 128 + n after a signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let status = output.status;
        Self {
            code: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The runtime beside the front-end, built from what is there now: cargo builds only its own crate's for this test.
fn runtime() {
    static BUILT: std::sync::Once = std::sync::Once::new();
    BUILT.call_once(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "-p", "nucleus-runtime"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(built.expect("cargo").success(), "nucleus-runtime was not built");
    });
}

impl Place {
    /// `None`, with the reason printed, where these tests cannot run.
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    pub fn new() -> Option<Self> {
        runtime();
        if !rustix::process::geteuid().is_root() {
            assert!(
                std::env::var_os("NUCLEUS_TESTS_MUST_RUN").is_none(),
                "not root, and NUCLEUS_TESTS_MUST_RUN is set"
            );
            eprintln!("skipped: not root");
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let name = directory.path().file_name().expect("a name").to_string_lossy();
        let name = format!("box{name}");
        Some(Self { directory, name })
    }

    /// A name for a sandbox that no other test has: control groups are named after it.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn root(&self) -> PathBuf {
        self.path("root")
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(NUCLEUS);
        command
            .arg("--root")
            .arg(self.root())
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// The same under strace(1), with these options of its.
    pub fn straced(&self, options: &[&str], args: &[&str]) -> Command {
        let mut command = Command::new("strace");
        command
            .args(options)
            .arg(NUCLEUS)
            .arg("--root")
            .arg(self.root())
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// A command in a chroot to a copy of this host's tree, in a mount namespace of its own: there is no user namespace
    /// to be had there.
    pub fn in_chroot(&self, command: &Command) -> Command {
        const SCRIPT: &str = "mkdir -p \"$1\" && mount -n --rbind / \"$1\" && mount -n --make-rslave \"$1\" && exec chroot \"$@\"";
        let mut chrooted = Command::new("unshare");
        chrooted.args(["--mount", "sh", "-c", SCRIPT, "sh"]);
        chrooted.arg(self.path("top")).arg(command.get_program());
        chrooted.args(command.get_args()).stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            chrooted.env(name, value.unwrap_or_default());
        }
        chrooted
    }

    pub fn nucleus(&self, args: &[&str]) -> Finished {
        self.command(args).output().expect("start nucleus").into()
    }

    /// `nucleus run OPTIONS -- sh -c SCRIPT`.
    pub fn sh(&self, options: &[&str], script: &str) -> Finished {
        self.nucleus(&in_shell(options, script))
    }

    /// What is in a directory of the root.
    pub fn left_in(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root().join(directory));
        let entries = entries.into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// Neither a sandbox nor a container, nor a copy of a workspace.
    pub fn expect_nothing_left(&self) {
        for directory in ["sandboxes", "runtime", "workspaces"] {
            let left = self.left_in(directory);
            assert!(left.is_empty(), "left in {directory}: {left:?}");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.expect_nothing_left();
            return;
        }
        // A test that failed half way has not ended its sandboxes.
        for name in self.left_in("sandboxes") {
            let _ = self.command(&["rm", "--force", &name]).output();
        }
    }
}

impl Finished {
    /// Checks the exit code, and returns standard output.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{self:?}");
        &self.stdout
    }

    /// Checks that it failed, and that every one of `words` is in its error.
    #[track_caller]
    pub fn fails_with(&self, words: &[&str]) {
        assert_eq!(self.code, 1, "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {self:?}");
        }
    }
}

/// Whether a program that some tests need is there. CI has all of them.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    if !there {
        assert!(
            std::env::var_os("NUCLEUS_TESTS_MUST_RUN").is_none(),
            "{program} is not installed"
        );
        eprintln!("skipped: no {program}");
    }
    there
}

/// Events as they were written.
pub fn events(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("events");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// `run OPTIONS -- sh -c SCRIPT`.
pub fn in_shell<'a>(options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["run"], options, &["--", "sh", "-c", script]].concat()
}

/// Makes the directories that every root file system has to have, and these.
pub fn make_root(at: &Path, more: &[&str]) {
    let every = ["etc", "proc", "dev", "sys", "tmp", "run", "home/agent"];
    for directory in every.iter().chain(more) {
        std::fs::create_dir_all(at.join(directory)).expect("mkdir");
    }
}

/// The options of production mode: policies that a lock pins, and a root file system that is attested, with the host's
/// programs.
pub fn production(place: &Place) -> Vec<String> {
    let (root, lock) = (place.path("rootfs"), place.path("policy.lock"));
    make_root(&root, &["usr", "programs"]);
    for name in ["bin", "lib", "lib64", "sbin"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name)).expect("symlink");
    }
    std::fs::write(root.join("etc/resolv.conf"), "nameserver 192.0.2.53\n").expect("write");
    let (root, lock) = (root.display().to_string(), lock.display().to_string());
    let pin = place.nucleus(&["attest", "create", &root]);
    place.nucleus(&["policy", "lock", "--output", &lock]).exits(0);
    let words = [
        "--mode",
        "production",
        "--policy-lock",
        &lock,
        "--rootfs",
        &root,
        "--rootfs-manifest-sha256",
        pin.exits(0).trim(),
        "--volume",
        "/usr:/usr:ro",
        "--user",
        "1000",
        "--memory",
        "256M",
    ];
    words.map(str::to_owned).to_vec()
}

/// Waits for something that comes by itself.
#[track_caller]
pub fn eventually(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !ready() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a runtime sends to a console socket.
pub fn receive_terminal(socket: &std::os::unix::net::UnixStream) -> std::fs::File {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 64];
    let mut buffers = [std::io::IoSliceMut::new(&mut name)];
    recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC).expect("recvmsg");
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fd.expect("a terminal").into()
}

/// A runtime that changes the configuration behind the front-end's back: a script, which then becomes the real one.
/// The program itself is no script, because the front-end starts it from a mount that only the program has.
pub fn liar(place: &Place, lie: &str) -> PathBuf {
    let (directory, lying) = (place.path("liar"), place.path("lying"));
    let _ = std::fs::create_dir(&directory);
    // Whoever calls it writes there.
    let _ = std::fs::create_dir(&lying);
    std::fs::set_permissions(&lying, Permissions::from_mode(0o777)).expect("chmod");
    let (path, script) = (directory.join("nucleus-runtime"), directory.join("lie.py"));
    let real = Path::new(NUCLEUS).with_file_name("nucleus-runtime");
    let text = format!(
        "import json, os, sys\na = sys.argv[1:]\nif 'run' in a or 'create' in a:\n    \
         i = a.index('--bundle') + 1\n    f = a.index('--config-fd') + 1 if '--config-fd' in a else 0\n    \
         c = json.load(os.fdopen(int(a[f])) if f else open(a[i] + '/config.json'))\n    l = c['linux']\n    \
         p1 = c['process']\n    m = {{one['destination']: one for one in c['mounts']}}\n    {lie}\n    \
         c['root']['path'] = os.path.join(a[i], c['root']['path'])\n    \
         a[i] = {lying:?}\n    \
         json.dump(c, open(a[i] + '/config.json', 'w'))\n    \
         if f: a[f] = str(os.open(a[i] + '/config.json', os.O_RDONLY))\n    \
         if f: os.set_inheritable(int(a[f]), True)\nos.execv({real:?}, ['nucleus-runtime', *a])\n",
    );
    std::fs::write(&script, text).expect("write");
    if !path.exists() {
        let source = directory.join("liar.c");
        let text = format!(
            "#include <unistd.h>\nint main(int n, char **a) {{\n  char *all[64] = {{\"python3\", {script:?}}};\n  \
             for (int i = 1; i < n && i < 62; i++) all[i + 1] = a[i];\n  return execv(\"/usr/bin/python3\", all);\n}}\n"
        );
        std::fs::write(&source, text).expect("write");
        let built = Command::new("cc").arg("-o").args([&path, &source]).status();
        assert!(built.expect("cc").success(), "the liar was not built");
    }
    path
}
