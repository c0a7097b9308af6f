//! A workload of one sandbox changes a directory that it shares, while another one is prepared from it.

use crate::support::{Finished, Place, liar};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LAUNCHES: usize = 15;
const SECRET: &str = "the host's\n";

/// A directory that workloads may write to, with a link to one that they may not see.
struct Shared {
    place: Place,
    workspace: PathBuf,
}

impl Shared {
    fn new() -> Option<Self> {
        let place = Place::new()?;
        fs::set_permissions(place.path(""), Permissions::from_mode(0o755)).expect("chmod");
        let (secret, workspace) = (place.path("secret"), place.path("workspace"));
        fs::create_dir(&secret).expect("mkdir");
        fs::write(secret.join("config"), SECRET).expect("write");
        for name in [".git", "data"] {
            fs::create_dir_all(workspace.join(name)).expect("mkdir");
            fs::write(workspace.join(name).join("config"), "ours\n").expect("write");
        }
        symlink(&secret, workspace.join("link")).expect("symlink");
        Some(Self { place, workspace })
    }

    fn text(&self) -> String {
        self.workspace.display().to_string()
    }

    /// Runs under a runtime that exchanges a directory and the link when everything is decided, and does `more`.
    fn run_swapped(&self, directory: &str, more: &str, options: &[&str], script: &str) -> Finished {
        let names = [directory, "link", "aside"].map(|name| self.workspace.join(name));
        let swap = format!(
            "[os.rename(a, b) for a, b in (({0:?}, {2:?}), ({1:?}, {0:?}), ({2:?}, {1:?}))]",
            names[0], names[1], names[2]
        );
        let runtime = liar(&self.place, &format!("{swap}; {more}"));
        let runtime = runtime.display().to_string();
        let mut all = vec!["--runtime", &runtime];
        all.extend(options);
        let finished = self.place.sh(&all, script);
        exchange(&self.workspace, [directory, "link"]);
        finished
    }
}

fn exchange(directory: &Path, names: [&str; 2]) {
    let [one, other] = names.map(|name| directory.join(name));
    renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).expect("renameat2");
}

#[test]
fn a_link_that_comes_after_the_decision_is_not_followed() {
    let Some(shared) = Shared::new() else { return };
    let workspace = shared.text();
    let volume = format!("{workspace}/data:/data:ro");
    let context = format!("{workspace}/data");
    let table: [(&str, &[&str], &str); 3] = [
        ("data", &["--volume", &volume], "cat /data/config"),
        ("data", &["--context", &context], "cat /context/config"),
        (
            "data",
            &["--workspace", &context, "--workspace-mode", "bind-ro"],
            "cat config",
        ),
    ];
    for (directory, options, script) in table {
        let finished = shared.run_swapped(directory, "pass", options, script);
        finished.fails_with(&["ELOOP", directory]);
        // Without the option that says so, it is.
        let followed = "[x['options'].remove('src-nosymlinks') for x in c['mounts'] if 'src-nosymlinks' in x['options']]";
        let finished = shared.run_swapped(directory, followed, options, script);
        assert_eq!(finished.stdout, SECRET, "{options:?}: {finished:?}");
    }
}

#[test]
fn no_launch_of_many_follows_a_link_that_comes_and_goes() {
    let Some(shared) = Shared::new() else { return };
    let (workspace, end) = (shared.text(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                exchange(&shared.workspace, [".git", "link"]);
                // Launches are to get on as well.
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        for mode in ["bind-rw", "copy-in-out"] {
            for _ in 0..LAUNCHES {
                let options = ["--workspace", &workspace, "--workspace-mode", mode];
                let finished = shared.place.sh(&options, "cat .git/config link/config");
                assert!(!finished.stdout.contains(SECRET), "{finished:?}");
            }
        }
        end.store(true, Ordering::Relaxed);
    });
    for left in shared.place.left_in("workspaces") {
        shared.place.nucleus(&["workspace", "drop", &left]).exits(0);
    }
}
