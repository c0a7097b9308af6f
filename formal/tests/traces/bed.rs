//! A bundle, and commands of the real runtime under strace(1), each to its own file: the containers outlive the
//! commands.

use super::seen::{Seen, Watched};
use super::strace::{Call, OPTIONS, parse};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Bed {
    directory: tempfile::TempDir,
}

impl Bed {
    /// Nothing where these tests cannot run.
    pub fn new() -> Option<Self> {
        let can = Path::new("/bin/busybox").exists()
            && nucleus_runtime::host::HostFacts::probe(None).is_ok_and(|host| host.uid == 0);
        if !can {
            assert!(
                std::env::var_os("NUCLEUS_TESTS_MUST_RUN").is_none(),
                "these tests need root and busybox"
            );
            return None;
        }
        let directory = tempfile::Builder::new()
            .prefix("nucleus-trace-")
            .tempdir()
            .unwrap();
        let bin = directory.path().join("rootfs/bin");
        for name in ["bin", "dev", "proc", "etc"] {
            fs::create_dir_all(directory.path().join("rootfs").join(name)).unwrap();
        }
        // The first command would make it, and the others not.
        fs::create_dir(directory.path().join("state")).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for applet in ["sleep", "true"] {
            symlink("busybox", bin.join(applet)).unwrap();
        }
        Some(Self { directory })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn configure(&self, args: &[&str], edit: impl FnOnce(&mut Value)) {
        let mut config = json!({
            "ociVersion": "1.2.0",
            "process": {"user": {"uid": 1000, "gid": 1000}, "args": args, "env": ["PATH=/bin"], "cwd": "/"},
            "root": {"path": "rootfs"},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
                      "maskedPaths": ["/proc/kcore"]}
        });
        edit(&mut config);
        fs::write(self.path().join("config.json"), config.to_string()).unwrap();
    }

    fn id(&self) -> String {
        self.path().file_name().unwrap().to_string_lossy().into_owned()
    }

    fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// The words of a command: its options, the id, and what follows that.
    fn words(&self, command: &[&str], after: &[&str]) -> Vec<String> {
        let mut words = vec!["--root".to_owned(), self.state().to_string_lossy().into_owned()];
        words.extend(command.iter().map(|word| (*word).to_owned()));
        if matches!(command[0], "run" | "create") {
            words.extend(["--bundle".to_owned(), self.path().to_string_lossy().into_owned()]);
        }
        if matches!(command[0], "run" | "create" | "exec") {
            // Between the record and the word `start`, where a kill could not be told from one at another step without.
            let file = self.path().join("pid").to_string_lossy().into_owned();
            words.extend(["--pid-file".to_owned(), file]);
        }
        words.push(self.id());
        words.extend(after.iter().map(|word| (*word).to_owned()));
        words
    }

    /// Begins to watch commands.
    pub fn watch(&self) -> Watch<'_> {
        Watch {
            bed: self,
            straces: Straces::new(self.path()),
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let words = self.words(&["delete", "--force"], &[]);
        let _ = quiet(Command::new(runtime()).args(words)).status();
    }
}

pub fn quiet(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

/// Commands under strace(1), one after the other; what each has left is traced on.
pub struct Straces {
    directory: PathBuf,
    commands: Vec<(PathBuf, Child)>,
}

impl Straces {
    /// Their files are in this directory.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            commands: Vec::new(),
        }
    }

    /// Runs a command to its end, with further options of strace(1). Returns its file.
    pub fn command(&mut self, options: &[&str], command: &mut Command) -> PathBuf {
        let file = self.directory.join(format!("trace{}", self.commands.len()));
        let _ = fs::remove_file(&file);
        let mut strace = Command::new("strace");
        strace.args(OPTIONS).arg("-o").arg(&file).args(options);
        strace.arg(command.get_program()).args(command.get_args());
        let strace = quiet(&mut strace)
            .spawn()
            .expect("strace (apt-get install strace)");
        self.commands.push((file.clone(), strace));
        until("the command ends", || is_over(&file).is_some());
        file
    }

    /// Whether nothing that a command has made lives any more.
    pub fn has_ended(&mut self, number: usize) -> bool {
        self.commands[number].1.try_wait().unwrap().is_some()
    }

    /// Waits until all have ended; the calls of each.
    pub fn finish(self) -> Vec<Vec<Call>> {
        let calls = |(file, mut strace): (PathBuf, Child)| {
            until("strace ends", || strace.try_wait().unwrap().is_some());
            parse(&String::from_utf8_lossy(&fs::read(file).unwrap()))
        };
        self.commands.into_iter().map(calls).collect()
    }
}

/// Commands of the runtime that are watched.
pub struct Watch<'bed> {
    bed: &'bed Bed,
    straces: Straces,
}

/// What was seen of them.
pub struct Trace {
    /// Of all of them, in the order in which it happened.
    pub seen: Vec<Seen>,
    /// The calls, each command's with those of all its processes.
    pub calls: Vec<Vec<Call>>,
}

impl Watch<'_> {
    /// Runs a command to its end, with something injected where it is given; what it leaves is watched on.
    pub fn command(&mut self, injected: Option<&str>, command: &[&str], after: &[&str]) -> &mut Self {
        let options: Vec<&str> = injected.map(|what| ["-e", what]).into_iter().flatten().collect();
        let words = self.bed.words(command, after);
        let file = self
            .straces
            .command(&options, Command::new(runtime()).args(words));
        if command[0] == "start" && is_over(&file).is_some_and(|end| end.contains("exited with 0")) {
            // What is killed in exec, strace does not know whether it was the program already.
            let first = self.bed.path().join("trace0");
            until("the program begins", || has_begun(&first) || self.has_ended(0));
        }
        let told = format!("/{}/result>, \"i", self.bed.id());
        if command[0] == "start" && fs::read_to_string(&file).unwrap().contains(&told) {
            // It has said why it cannot become the program, and is there for a moment still.
            until("the process ends", || self.has_ended(0));
        }
        self
    }

    /// Whether nothing that a command has made lives any more.
    pub fn has_ended(&mut self, number: usize) -> bool {
        self.straces.has_ended(number)
    }

    /// Waits until all that was watched has ended.
    pub fn finish(self) -> Trace {
        let (state, id) = (self.bed.state(), self.bed.id());
        let calls = self.straces.finish();
        let watched = |(number, calls): (usize, &Vec<Call>)| {
            let watched = Watched {
                state: &state,
                id: &id,
                number,
            };
            watched.seen(calls)
        };
        let mut seen: Vec<Seen> = calls.iter().enumerate().flat_map(watched).collect();
        seen.sort_by_key(|seen| seen.at);
        Trace { seen, calls }
    }
}

/// How the first process in the file has ended.
fn is_over(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let (first, _) = text.split_once(' ')?;
    let own = format!("{first} ");
    let end = text
        .lines()
        .find(|line| line.starts_with(&own) && line.ends_with("+++"));
    end.map(str::to_owned)
}

/// Whether a process of the runtime in the file, which executes itself once, has become the program.
fn has_begun(file: &Path) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    let done =
        |line: &&str| (line.contains("execve(") || line.contains("execve resumed")) && line.ends_with("= 0");
    text.lines().filter(done).count() > 1
}

pub fn until(what: &str, is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut is = is;
    while !is() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A program of this project, which cargo has put beside this test's directory; built where it was not.
pub fn runtime() -> PathBuf {
    static BUILT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    BUILT
        .get_or_init(|| {
            let built = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "-p", "nucleus-runtime"])
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status();
            assert!(built.unwrap().success(), "nucleus-runtime was not built");
            let test = std::env::current_exe().unwrap();
            test.parent().unwrap().with_file_name("nucleus-runtime")
        })
        .clone()
}
