//! Units of the Nix module with what they need, built in a throw-away store on this host. The stand-in for nixpkgs
//! and what evaluates the module are those of `nix/tests`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::apt;

/// The units, by the names of their sandboxes.
pub(super) const UNITS: [&str; 2] = ["hello", "direct"];

const CONFIGURATION: &str = "experimental-features = nix-command flakes
sandbox = true
substitute = false
substituters =
build-users-group =
warn-dirty = false";

/// Puts `store` (what is to lie in `/nix/store`) and `units` into `output`. `programs` has the runtime and the
/// front-end.
///
/// # Errors
/// Nix is missing, or cannot build something.
pub(super) fn prepare(programs: &Path, output: &Path) -> Result<()> {
    apt::install(&["nix-bin", "busybox-static"])?;
    let work = Work {
        dir: tempfile::tempdir()?,
    };
    let (project, source) = (work.project(), Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    fs::create_dir(&project)?;
    for name in ["nix", "flake.nix", "Cargo.lock"] {
        apt::quiet(Command::new("cp").arg("-R").arg(source.join(name)).arg(&project))?;
    }
    let seed = project.join("nix/tests/nixpkgs/seed");
    fs::create_dir_all(seed.join("busybox"))?;
    fs::copy("/bin/busybox", seed.join("busybox/busybox")).context("copy /bin/busybox")?;
    for name in ["nucleus", "nucleus-runtime"] {
        fs::copy(programs.join(name), seed.join(name))?;
    }

    let bundle = work.build("bundle")?;
    let pin = fs::read_to_string(work.in_store(&bundle).join("config-sha256"))?;
    let (units, store) = (output.join("units"), output.join("store"));
    fs::create_dir_all(&units)?;
    for name in UNITS {
        // What a unit refers to is built with its text.
        let text = work.build(&format!(
            "pkgs.writeText \"{name}\" (module \"{}\").units.nucleus-{name}",
            pin.trim()
        ))?;
        fs::copy(work.in_store(&text), units.join(name))?;
    }
    apt::quiet(
        Command::new("cp")
            .arg("-a")
            .arg(work.in_store("/nix/store"))
            .arg(&store),
    )
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

    /// Builds an expression; the result is its store path.
    fn build(&self, expression: &str) -> Result<String> {
        let project = self.project();
        let project = project.display();
        let all = format!(
            r#"let
              pkgs = import {project}/nix/tests/nixpkgs {{ }};
              flake = import {project}/nix {{ src = {project}; pkgsFor = _: pkgs; }};
              nucleus = flake.packages.x86_64-linux.default;
              rootfs = flake.lib.mkRootfs {{ inherit pkgs; packages = [ pkgs.hello ]; }};
              bundle = flake.lib.mkBundle {{
                inherit pkgs rootfs;
                container = "direct";
                request = {{ command = [ "/bin/hello" ]; user = 1000; memory = "64M"; pids = 20; }};
              }};
              module = configSha256: import {project}/nix/tests/evaluate.nix {{
                inherit pkgs nucleus;
                containers = {{
                  hello = {{ inherit rootfs; command = [ "/bin/hello" ]; user = 1000; memory = "64M"; restart = "no"; }};
                  direct = {{ direct = true; inherit bundle configSha256; restart = "no"; }};
                }};
              }};
            in {expression}"#
        );
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
