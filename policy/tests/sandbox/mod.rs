//! A sandbox made from this host's own directories, under policies and the real runtime of this workspace.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nucleus_policy::VerifiedPolicy;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Says that a test is skipped, which is an error where everything has to run.
pub(crate) fn lacking(what: &str) {
    assert!(
        std::env::var_os("NUCLEUS_TESTS_MUST_RUN").is_none(),
        "this test needs {what}"
    );
    // Not `eprintln!`: the test harness would swallow it.
    let _ = std::io::stderr().write_all(format!("SKIPPED: this test needs {what}\n").as_bytes());
}

/// The runtime beside this test in the target directory, built from what is there now.
fn runtime() -> &'static Path {
    static RUNTIME: OnceLock<PathBuf> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let test = std::env::current_exe().expect("the test's own path");
        // target/TRIPLE/PROFILE/deps/TEST
        let profile = test.parent().and_then(Path::parent).expect("a target directory");
        let runtime = profile.join("nucleus-runtime");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--package", "nucleus-runtime"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let status = build.status().expect("start cargo");
        assert!(status.success(), "build the runtime: {status}");
        runtime
    })
}

/// What a command in the sandbox said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) status: Option<i32>,
}

impl fmt::Display for Ran {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stdout,
            stderr,
            status,
        } = self;
        write!(formatter, "status {status:?}\nstdout: {stdout}\nstderr: {stderr}")
    }
}

/// A bundle with the host's system directories read-only, an empty `/tmp`, and nothing else.
pub(crate) struct Sandbox {
    directory: TempDir,
    config: Value,
}

impl Sandbox {
    /// Nothing where the test cannot run.
    pub(crate) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            lacking("root");
            return None;
        }
        let directory = tempfile::Builder::new()
            .prefix("nucleus-policy-")
            .tempdir()
            .expect("a directory");
        fs::create_dir(directory.path().join("rootfs")).expect("a root file system");
        let config = json!({
            "ociVersion": "1.3.0",
            "hostname": "sandbox",
            "root": {"path": "rootfs", "readonly": true},
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": [],
                "env": ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/tmp", "LANG=C.UTF-8"],
                "cwd": "/tmp",
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "mode=1777"]},
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]},
            ],
            "linux": {"namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "cgroup"},
            ]},
        });
        let mut sandbox = Self { directory, config };
        for system in [
            "/bin", "/sbin", "/usr", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/nix",
        ] {
            if Path::new(system).is_dir() {
                sandbox.bind(Path::new(system), system);
            }
        }
        Some(sandbox)
    }

    /// Shows `source` read-only at `destination`.
    pub(crate) fn bind(&mut self, source: &Path, destination: &str) {
        let mounts = self.config["mounts"].as_array_mut().expect("mounts");
        mounts.push(json!({
            "destination": destination, "type": "bind", "source": source, "options": ["rbind", "rro", "nosuid"],
        }));
    }

    /// Runs `args` under `policy`, or under none.
    pub(crate) fn run(&self, policy: Option<&VerifiedPolicy>, args: &[&str]) -> Ran {
        let mut config = self.config.clone();
        config["process"]["args"] = json!(args);
        let mut spec = serde_json::from_value(config).expect("a spec");
        if let Some(policy) = policy {
            policy.apply(&mut spec).expect("apply the policy");
        }
        let path = self.directory.path();
        let file = fs::File::create(path.join("config.json")).expect("config.json");
        serde_json::to_writer(file, &spec).expect("write config.json");
        let id = path.file_name().expect("a name");
        let output = Command::new("timeout")
            .args(["--kill-after=5", "120"])
            .arg(runtime())
            .arg("--root")
            .arg(path.join("state"))
            .args(["run", "--bundle"])
            .arg(path)
            .arg(id)
            .stdin(Stdio::null())
            .output()
            .expect("start the runtime");
        Ran {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: output.status.code(),
        }
    }
}

/// What a command prints on this host, without the newline; nothing where it cannot be run.
pub(crate) fn ask(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// Builds `tests/probes/NAME.c` into `directory`; nothing where there is no C compiler.
pub(crate) fn probe(name: &str, directory: &Path) -> Option<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/probes/{name}.c"));
    let built = Command::new("cc")
        .args(["-static", "-O1", "-Wall", "-o"])
        .args([&directory.join(name), &source])
        .output();
    let Ok(built) = built else {
        lacking("a C compiler (apt install gcc libc6-dev)");
        return None;
    };
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "cc {}: {errors}", source.display());
    Some(())
}
