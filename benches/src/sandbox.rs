//! The front-end's whole sandbox, beside what else makes one: the host's system directories, read-only, and
//! `/bin/true` in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::filter;
use crate::launcher::Arguments;
use crate::peers::{Interface, Runtime};
use crate::work::Work;

/// What runs in it.
const PROGRAM: &str = "/bin/true";
/// The name of the front-end in tables.
pub const FRONT: &str = "nucleus run";
/// The name of its predecessor in tables.
pub const PREDECESSOR: &str = "nucleus-container";
/// Whose rows the others are compared with: the runtime alone on the same bundle is called as in all tables.
pub const BASES: [&str; 3] = ["nucleus", PREDECESSOR, "bwrap"];

/// Of the host, if it has them.
const DIRECTORIES: [&str; 9] = [
    "/bin",
    "/sbin",
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/alternatives",
    "/etc/ssl/certs",
];

/// What the commands refer to.
#[derive(Debug)]
pub struct Sandbox {
    bundle: PathBuf,
    filter: PathBuf,
}

impl Sandbox {
    /// Writes the bundle with the front-end among `runtimes`, and a seccomp filter for bubblewrap. `None` without
    /// a front-end.
    ///
    /// # Errors
    /// When a file cannot be written, or the front-end fails.
    pub fn prepare(work: &Work, runtimes: &[Runtime]) -> anyhow::Result<Option<Self>> {
        let Some(front) = runtimes
            .iter()
            .find(|runtime| runtime.interface == Interface::Front)
        else {
            return Ok(None);
        };
        let bundle = work.path("sandbox");
        if bundle.exists() {
            fs::remove_dir_all(&bundle)?;
        }
        let output = Command::new(&front.path)
            .arg("bundle")
            .arg("--output")
            .arg(&bundle)
            .args(["--", PROGRAM])
            .output()
            .with_context(|| format!("start {}", front.path.display()))?;
        anyhow::ensure!(
            output.status.success(),
            "{FRONT}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let filter = work.path("filter.bpf");
        fs::write(&filter, filter::as_bytes(&filter::compile()?))?;
        Ok(Some(Self { bundle, filter }))
    }

    /// The command line; `None` for a program that makes no such sandbox, or, as other runtimes, would have to be
    /// given another bundle.
    pub fn command(&self, runtime: &Runtime) -> Option<Arguments> {
        let path = runtime.path.to_string_lossy().into_owned();
        let words: Vec<&str> = match runtime.interface {
            Interface::Front => vec!["--root", "/run/bench-front", "run", "--", PROGRAM],
            Interface::Oci if runtime.name == BASES[0] => {
                let bundle = self.bundle.to_str()?;
                vec!["--root", "/run/bench-alone", "run", "--bundle", bundle, "sandbox"]
            }
            Interface::Predecessor => vec![
                "create",
                "--root",
                "/run/bench-predecessor",
                "--runtime",
                "native",
                "--trust-level",
                "trusted",
                "--",
                PROGRAM,
            ],
            Interface::Bubblewrap => return Some(self.bubblewrap(path)),
            Interface::Limit | Interface::Oci => return None,
        };
        let words = words.into_iter().map(str::to_owned);
        Some(std::iter::once(path).chain(words).collect())
    }

    /// Its own namespaces, ids, capabilities and a filter; no cgroup, no Landlock, no time namespace, no masked
    /// paths, nobody who looks after it.
    fn bubblewrap(&self, path: String) -> Arguments {
        let mut command = vec![path];
        let mut add = |words: &[&str]| command.extend(words.iter().map(|&word| word.to_owned()));
        add(&["--unshare-all", "--die-with-parent", "--cap-drop", "ALL"]);
        add(&["--uid", "1000", "--gid", "1000", "--hostname", "sandbox"]);
        for directory in DIRECTORIES.iter().filter(|path| Path::new(path).is_dir()) {
            add(&["--ro-bind", directory, directory]);
        }
        for file in ["/etc/passwd", "/etc/group", "/etc/ld.so.cache"] {
            add(&["--ro-bind", file, file]);
        }
        add(&["--proc", "/proc", "--dev", "/dev"]);
        for directory in ["/tmp", "/run", "/home/agent", "/dev/shm"] {
            add(&["--tmpfs", directory]);
        }
        add(&["--clearenv", "--setenv", "PATH", "/usr/bin:/bin"]);
        add(&["--seccomp", &format!("@open:{}", self.filter.display())]);
        add(&["--", PROGRAM]);
        command
    }
}
