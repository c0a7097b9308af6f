//! For black-box tests: a bundle with busybox as its root file system, the real binary, and proof that nothing
//! is left behind.
//!
//! ```ignore
//! mod support;
//!
//! #[test]
//! fn a_program_runs() {
//!     let Some(host) = support::Host::new() else { return };
//!     let bundle = host.bundle(|config| config["process"]["args"] = json!(["echo", "hello"]));
//!     let id = host.id();
//!     let run = host.run(&["run", "--bundle", bundle.path(), &id]);
//!     assert_eq!(run.stdout, "hello\n", "{run}");
//! }
//! ```
#![allow(dead_code, reason = "each test file uses its part")]

mod leftovers;
pub(crate) mod probe;
pub(crate) mod refusal;
pub(crate) mod rootless;

use serde_json::{Value, json};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_nucleus-runtime");

/// The program under test, or another runtime: to see that a test fails where a protection is missing.
pub(crate) fn program() -> std::ffi::OsString {
    std::env::var_os("NUCLEUS_RUNTIME").unwrap_or_else(|| PROGRAM.into())
}

/// How long a command or a condition may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

const BUSYBOX: &str = "/bin/busybox";

/// Says that a test is skipped, which is an error where everything has to run.
pub(crate) fn lacking(what: &str) {
    assert!(
        std::env::var_os("NUCLEUS_TESTS_MUST_RUN").is_none(),
        "this test needs {what}"
    );
    // Not `eprintln!`: the test harness would swallow it.
    let line = format!("SKIPPED: this test needs {what}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// A state directory and bundles of one test. At its end every container is deleted, and the test fails if
/// something of one is still there.
pub(crate) struct Host {
    directory: TempDir,
    root: RefCell<PathBuf>,
    ids: RefCell<Vec<String>>,
    bundles: RefCell<u32>,
}

impl Host {
    /// Nothing where the tests cannot run: not root, or no busybox.
    pub(crate) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            lacking("root");
            return None;
        }
        if !Path::new(BUSYBOX).exists() {
            lacking("/bin/busybox (apt install busybox-static)");
            return None;
        }
        static SWEPT: Once = Once::new();
        SWEPT.call_once(leftovers::sweep);
        let directory = tempfile::Builder::new()
            .prefix("nucleus-test-")
            .tempdir()
            .expect("a temporary directory");
        Some(Self {
            root: RefCell::new(directory.path().join("state")),
            directory,
            ids: RefCell::default(),
            bundles: RefCell::default(),
        })
    }

    /// A directory that goes away with the test.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// `--root`.
    pub(crate) fn root(&self) -> PathBuf {
        self.root.borrow().clone()
    }

    /// Keeps states in another directory from now on.
    pub(crate) fn set_root(&self, root: &Path) {
        *self.root.borrow_mut() = root.to_owned();
    }

    /// A name that no other test or run uses; deleted at the end of the test.
    pub(crate) fn id(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!(
            "{}{}-{}",
            leftovers::PREFIX,
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        self.ids.borrow_mut().push(id.clone());
        id
    }

    /// A new bundle: busybox in `rootfs`, and [`config()`] as `edit` leaves it.
    pub(crate) fn bundle(&self, edit: impl FnOnce(&mut Value)) -> Bundle {
        let number = self.bundles.replace_with(|number| *number + 1);
        let path = self.directory.path().join(format!("bundle{number}"));
        fs::create_dir(&path).expect("make the bundle");
        make_rootfs(&path.join("rootfs"));
        let bundle = Bundle {
            text: path.to_str().expect("a path in UTF-8").to_owned(),
        };
        let mut config = config();
        edit(&mut config);
        if program() != PROGRAM {
            // What older runtimes accept.
            config["ociVersion"] = json!("1.0.2");
        }
        bundle.write(&config);
        bundle
    }

    /// The program with `--root`, not yet started. Nothing comes from the standard input.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(program());
        command.arg("--root").arg(self.root()).args(args);
        command.stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Finished {
        finish(self.command(args))
    }

    /// Runs the program to its end, which must be a success; its standard output.
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        let finished = self.run(args);
        assert_eq!(finished.code, 0, "{finished}");
        finished.stdout
    }

    /// What `state` says.
    pub(crate) fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.ok(&["state", id])).expect("state prints JSON")
    }

    /// A container that was created and started, whose program is still running.
    pub(crate) fn running(&self, edit: impl FnOnce(&mut Value)) -> String {
        let bundle = self.bundle(|config| {
            config["process"]["args"] = json!(["sleep", "1000"]);
            edit(config);
        });
        let id = self.id();
        self.ok(&["run", "--detach", "--bundle", bundle.path(), &id]);
        id
    }

    /// What is left of a container: state, processes, cgroups, mounts. Empty after a proper end.
    pub(crate) fn leftovers(&self, id: &str) -> Vec<String> {
        let mut found = leftovers::find(id);
        let state = self.root().join(id);
        if state.exists() {
            found.push(format!("state directory {}", state.display()));
        }
        found
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let ids = self.ids.take();
        for id in &ids {
            let _ = self.command(&["delete", "--force", id]).output();
        }
        let mut left: Vec<String> = ids.iter().flat_map(|id| self.leftovers(id)).collect();
        left.extend(leftovers::mounts(self.directory.path()));
        // A second panic would hide the first.
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left behind: {left:#?}");
        }
    }
}

/// A directory with `config.json` and `rootfs`.
pub(crate) struct Bundle {
    text: String,
}

impl Bundle {
    /// The directory, for the command line.
    pub(crate) fn path(&self) -> &str {
        &self.text
    }

    /// A file in the bundle.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.text).join(name)
    }

    /// A file in the root file system, by its path in the container.
    pub(crate) fn rootfs(&self, name: &str) -> PathBuf {
        self.file("rootfs").join(name.trim_start_matches('/'))
    }

    /// Replaces `config.json`.
    pub(crate) fn write(&self, config: &Value) {
        fs::write(self.file("config.json"), config.to_string()).expect("write config.json");
    }
}

/// A configuration that runs on any host: new namespaces, `/proc`, `/dev`, `/sys` and a writable root.
pub(crate) fn config() -> Value {
    let capabilities = json!([
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SYS_CHROOT"
    ]);
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": ["PATH=/bin", "HOME=/root"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities
            },
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "container",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "cgroup"}
            ],
            "resources": {"devices": [{"allow": false, "access": "rwm"}]}
        }
    })
}

fn make_rootfs(root: &Path) {
    for directory in ["bin", "dev", "etc", "proc", "root", "sys", "tmp"] {
        fs::create_dir_all(root.join(directory)).expect("make the root file system");
    }
    fs::copy(BUSYBOX, root.join("bin/busybox")).expect("copy busybox");
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).expect("link an applet");
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("write /etc/passwd");
    fs::write(root.join("etc/group"), "root:x:0:\n").expect("write /etc/group");
}

const APPLETS: &[&str] = &[
    "cat", "chmod", "chown", "cp", "dd", "df", "echo", "env", "false", "grep", "head", "hostname", "id",
    "kill", "ln", "ls", "mkdir", "mknod", "mount", "mv", "nc", "printf", "ps", "pwd", "readlink", "rm",
    "sed", "sh", "sleep", "sort", "stat", "test", "touch", "tr", "true", "tty", "umount", "uname", "wc",
    "yes",
];

/// How a command ended.
pub(crate) struct Finished {
    /// The exit code, or 128 and the number of the signal that ended it.
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
    /// What was run.
    pub(crate) command: String,
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            stdout,
            stderr,
            command,
        } = self;
        write!(
            f,
            "{command}\nexit code {code}\nstdout: {stdout}\nstderr: {stderr}"
        )
    }
}

/// Runs a command to its end. Its output goes through files: a container that it leaves running may keep the
/// ends of pipes open for ever.
pub(crate) fn finish(mut command: Command) -> Finished {
    let output = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| output.path().join(name);
    let create = |name: &str| File::create(path(name)).expect("a file for the output");
    command.stdout(create("stdout")).stderr(create("stderr"));
    let text = format!("{command:?}");
    let mut child = command.spawn().expect("start the command");
    let code = wait(&mut child, &text);
    let read = |name: &str| String::from_utf8_lossy(&fs::read(path(name)).expect("the output")).into_owned();
    Finished {
        code,
        stdout: read("stdout"),
        stderr: read("stderr"),
        command: text,
    }
}

fn wait(child: &mut Child, command: &str) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("wait for the command") {
            return status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        }
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            panic!("still running after {PATIENCE:?}: {command}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a condition holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
