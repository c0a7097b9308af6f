//! Units of the Nix module with what they need, built in a throw-away store on this host. The stand-in for nixpkgs
//! and what evaluates the module are those of `nix/tests`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::apt;

const CONFIGURATION: &str = "experimental-features = nix-command flakes
sandbox = true
substitute = false
substituters =
build-users-group =
warn-dirty = false";

/// Puts `store` (what is to lie in `/nix/store`) and `units`, of which `rules` are tmpfiles.d(5)'s, into `output`.
/// `programs` has the runtime and the front-end.
///
/// # Errors
/// Nix is missing, or cannot build something.
pub(super) fn prepare(programs: &Path, output: &Path) -> Result<()> {
    apt::install(&["nix-bin", "busybox-static", "gcc", "libc6-dev"])?;
    let work = Work {
        dir: tempfile::tempdir()?,
    };
    let (project, source) = (work.project(), Path::new(env!("CARGO_MANIFEST_DIR")));
    fs::create_dir(&project)?;
    for name in ["nix", "flake.nix", "Cargo.lock"] {
        apt::quiet(
            Command::new("cp")
                .arg("-R")
                .arg(source.join("..").join(name))
                .arg(&project),
        )?;
    }
    let seed = project.join("nix/tests/nixpkgs/seed");
    fs::create_dir_all(seed.join("busybox"))?;
    fs::copy("/bin/busybox", seed.join("busybox/busybox")).context("copy /bin/busybox")?;
    for name in ["nucleus", "nucleus-runtime"] {
        fs::copy(programs.join(name), seed.join(name))?;
    }
    apt::quiet(
        Command::new("gcc")
            .args(["-static", "-Os", "-o"])
            .arg(seed.join("ready"))
            .arg(source.join("beds/ready.c")),
    )?;

    let policy = Command::new(programs.join("nucleus"))
        .args(["policy", "show", "seccomp"])
        .output()?;
    ensure!(policy.status.success(), "nucleus policy show: {policy:?}");
    fs::write(seed.join("seccomp.json"), policy.stdout)?;

    // What a pin is of has to be there before the unit that has the pin.
    let built = work.in_store(&work.build("{ }", "built")?);
    let mut pins = String::new();
    for entry in fs::read_dir(built)? {
        let entry = entry?;
        let pin = fs::read_to_string(entry.path())?;
        pins.push_str(&format!("{} = \"{}\"; ", entry.file_name().display(), pin.trim()));
    }
    let units = work.in_store(&work.build(&format!("{{ {pins}}}"), "units")?);
    fs::create_dir_all(output)?;
    for (from, name) in [(units, "units"), (work.in_store("/nix/store"), "store")] {
        apt::quiet(Command::new("cp").arg("-a").arg(from).arg(output.join(name)))?;
    }
    Ok(())
}

/// A project and a store, for as long as they are needed.
struct Work {
    dir: tempfile::TempDir,
}

impl Work {
    fn project(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    /// Where a store path lies here.
    fn in_store(&self, path: &str) -> PathBuf {
        self.dir.path().join("store").join(path.trim_start_matches('/'))
    }

    /// Builds an attribute of `nix/tests/bed.nix`; the result is its store path.
    fn build(&self, pins: &str, attribute: &str) -> Result<String> {
        let project = self.project();
        let project = project.display();
        let all =
            format!("(import {project}/nix/tests/bed.nix {{ src = {project}; pins = {pins}; }}).{attribute}");
        let home = self.dir.path();
        let output = Command::new("nix")
            .args(["build", "--impure", "--json", "--no-link", "--store"])
            .arg(home.join("store"))
            .args(["--expr", &all])
            .env("NIX_CONFIG", CONFIGURATION)
            .envs(["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"].map(|name| (name, home)))
            .stdin(Stdio::null())
            .output()
            .context("start nix")?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nix build: {}", told.trim());
        let built: Value = serde_json::from_slice(&output.stdout).context("nix build --json")?;
        let path = built.pointer("/0/outputs/out").and_then(Value::as_str);
        Ok(path.context("nix build told no path")?.to_owned())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Directories of a store are read-only.
        let _ = apt::quiet(Command::new("chmod").args(["-R", "u+w"]).arg(self.dir.path()));
    }
}
