//! A user without rights.

use super::{Finished, NUCLEUS, Place, in_shell};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The user's id.
pub const UID: u32 = 54_321;

/// A user's home, and copies of the programs that the user can reach.
pub struct User {
    pub place: Place,
    pub home: PathBuf,
    pub nucleus: PathBuf,
}

impl User {
    pub fn new() -> Option<Self> {
        let place = Place::new()?;
        let top = place.path("");
        fs::set_permissions(&top, PermissionsExt::from_mode(0o755)).expect("chmod");
        let (home, programs) = (place.path("home"), place.path("bin"));
        fs::create_dir(&home).expect("mkdir");
        fs::create_dir(&programs).expect("mkdir");
        chown(&home, Some(UID), Some(UID)).expect("chown");
        for program in ["nucleus", "nucleus-runtime"] {
            let from = Path::new(NUCLEUS).with_file_name(program);
            fs::hard_link(&from, programs.join(program))
                .or_else(|_| fs::copy(&from, programs.join(program)).map(drop))
                .expect("copy");
        }
        let nucleus = programs.join("nucleus");
        Some(Self { place, home, nucleus })
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.nucleus);
        command
            .args(args)
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", "/usr/bin:/bin")
            .env("XDG_RUNTIME_DIR", self.home.join("run"))
            .current_dir(&self.home)
            .uid(UID)
            .gid(UID)
            .stdin(Stdio::null());
        command
    }

    pub fn nucleus(&self, args: &[&str]) -> Finished {
        self.command(args).output().expect("start nucleus").into()
    }

    pub fn sh(&self, options: &[&str], script: &str) -> Finished {
        self.nucleus(&in_shell(options, script))
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.join(name);
        fs::write(&path, text).expect("write");
        chown(&path, Some(UID), Some(UID)).expect("chown");
        path.to_str().expect("UTF-8").to_owned()
    }

    pub fn directory(&self, name: &str) -> String {
        let path = self.home.join(name);
        fs::create_dir(&path).expect("mkdir");
        chown(&path, Some(UID), Some(UID)).expect("chown");
        path.to_str().expect("UTF-8").to_owned()
    }

    pub fn expect_nothing_left(&self) {
        for directory in [
            "run/nucleus/sandboxes",
            "run/nucleus/runtime",
            ".local/state/nucleus/workspaces",
        ] {
            let left: Vec<_> = fs::read_dir(self.home.join(directory))
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.file_name())
                .collect();
            assert!(left.is_empty(), "left in {directory}: {left:?}");
        }
    }
}
