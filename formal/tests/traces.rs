//! What real runs do, against the specs: the messages that the runtime logs, the acts of its commands, and the system
//! calls of the first process are accepted only where the spec allows them in that order. The same traces with two
//! events exchanged, or one left out, are refused.

use nucleus_formal::graph::{Graph, text};
use nucleus_formal::trace::{Step, follow};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Bed {
    directory: tempfile::TempDir,
}

impl Bed {
    /// Nothing where these tests cannot run.
    fn new() -> Option<Self> {
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
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for applet in ["sleep", "true"] {
            symlink("busybox", bin.join(applet)).unwrap();
        }
        Some(Self { directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn configure(&self, args: &[&str], edit: impl FnOnce(&mut Value)) {
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

    /// The words of the runtime with `--root`, and its log in `log`.
    fn words(&self, log: &str, command: &[&str]) -> Vec<String> {
        let path = |name: &str| self.path().join(name).to_string_lossy().into_owned();
        let mut words = vec!["--root".to_owned(), path("state"), "--log".to_owned(), path(log)];
        words.extend(["--log-format", "json", "--log-level", "debug"].map(str::to_owned));
        words.extend(command.iter().map(|word| (*word).to_owned()));
        if matches!(command[0], "run" | "create") {
            words.extend(["--bundle".to_owned(), self.path().to_string_lossy().into_owned()]);
        }
        words.push(self.id());
        words
    }

    fn id(&self) -> String {
        self.path().file_name().unwrap().to_string_lossy().into_owned()
    }

    fn run(&self, log: &str, command: &[&str]) -> Output {
        let mut run = Command::new(runtime());
        run.args(self.words(log, command)).current_dir(self.path());
        // A container that is left running keeps the ends of pipes open.
        run.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs under strace, with its options.
    fn strace(&self, options: &[&str], log: &str, command: &[&str]) -> String {
        let trace = self.path().join("trace");
        let mut run = Command::new("strace");
        run.args(["-f", "-q", "-o"])
            .arg(&trace)
            .args(options)
            .arg(runtime());
        run.args(self.words(log, command)).current_dir(self.path());
        run.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        run.status().expect("strace (apt-get install strace)");
        fs::read_to_string(trace).unwrap()
    }

    /// What the log says with this word first.
    fn logged(&self, log: &str, first: &[&str]) -> Vec<String> {
        let text = fs::read_to_string(self.path().join(log)).unwrap_or_default();
        let messages = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let messages = messages.map(|line| text_of(&line["msg"]));
        messages
            .filter(|message| first.iter().any(|first| message.starts_with(first)))
            .collect()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = self.run("last", &["delete", "--force"]);
    }
}

fn text_of(value: &Value) -> String {
    text(value).to_owned()
}

/// The runtime, which cargo has put beside this test's directory; built where it was not.
fn runtime() -> PathBuf {
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

/// The spec accepts the trace, and none in which two events are exchanged or one is left out.
fn only_as_it_is<E: Clone + PartialEq + std::fmt::Debug>(events: &[E], accepts: impl Fn(&[E]) -> bool) {
    assert!(accepts(events), "refused: {events:?}");
    for at in 0..events.len() {
        let mut less = events.to_vec();
        less.remove(at);
        assert!(!accepts(&less), "accepted without {:?}: {events:?}", events[at]);
        if at > 0 && events[at] != events[at - 1] {
            let mut swapped = events.to_vec();
            swapped.swap(at, at - 1);
            assert!(!accepts(&swapped), "accepted: {swapped:?}");
        }
        let mut twice = events.to_vec();
        twice.insert(at, events[at].clone());
        assert!(!accepts(&twice), "accepted: {twice:?}");
    }
}

// ---- Isolation, from the system calls ----

/// The spec's action of a line of strace, of the process that becomes the program.
fn isolation(line: &str) -> Option<&'static str> {
    let call = line.split_once(' ')?.1.trim_start();
    let starts = |word: &str| call.starts_with(word);
    Some(match () {
        () if line.contains(" = -1 ") => return None,
        () if starts("pivot_root(") => "Pivot",
        () if starts("chdir(\"/\")") => "Directory",
        () if starts("prctl(PR_SET_NO_NEW_PRIVS") => "NoNewPrivileges",
        () if starts("landlock_restrict_self(") => "Landlock",
        () if starts("seccomp(SECCOMP_SET_MODE_FILTER") => "Filter",
        () if starts("capset(") => "Credentials",
        () if starts("prctl(PR_SET_PDEATHSIG, 0)") => "Release",
        () if starts("sendto(") && call.contains("\"f\", 1") => "Ready",
        () if call.contains("recvfrom") && call.contains("\"\\4\", 1") => "AwaitStart",
        () if starts("execve(") => "Exec",
        () => return None,
    })
}

const HIDDEN: [&str; 7] = ["Clone", "BecomeRoot", "Root", "Hide", "Close", "Home", "Program"];

fn isolated(graph: &Graph, asked: &Value, events: &[&str]) -> bool {
    let ends = follow(
        graph,
        |state| &state["plan"] == asked,
        events,
        |step| HIDDEN.contains(&step.action),
        |event, step| step.action == *event,
    );
    ends.iter().any(|state| state["fate"] == "program")
}

#[test]
fn the_first_process_isolates_itself_in_the_order_of_the_spec() {
    let Some(bed) = Bed::new() else { return };
    let graph = Graph::of("Isolation").unwrap();
    let rules = r#"{"ruleset":{"handledAccessFS":["write_file"]},"rules":{}}"#;
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]});
    for (nnp, landlock, seccomp) in [
        (false, false, true),
        (true, false, true),
        (true, true, true),
        (false, true, true),
        (true, false, false),
    ] {
        bed.configure(&["true"], |config| {
            config["process"]["noNewPrivileges"] = json!(nnp);
            if landlock {
                config["annotations"] = json!({"dev.nucleus.landlock": rules});
            }
            if seccomp {
                config["linux"]["seccomp"] = filter.clone();
            }
        });
        let calls =
            "trace=pivot_root,chdir,prctl,landlock_restrict_self,seccomp,capset,sendto,recvfrom,execve";
        let trace = bed.strace(&["-e", calls], "log", &["run"]);
        let child = trace
            .lines()
            .find(|line| line.contains("pivot_root("))
            .expect("a pivot")
            .split(' ')
            .next()
            .unwrap();
        let from = trace
            .lines()
            .position(|line| line.contains("pivot_root("))
            .unwrap();
        let events: Vec<&str> = trace
            .lines()
            .skip(from)
            .filter(|line| line.starts_with(child))
            .filter_map(isolation)
            .collect();
        // The pivot enters its new root, and a set of capabilities is set twice: before and after the user changes.
        let mut once: Vec<&str> = events.clone();
        once.dedup();
        let directory = once.iter().rposition(|event| *event == "Directory").unwrap_or(0);
        let mut at = 0;
        once.retain(|event| {
            at += 1;
            *event != "Directory" || at - 1 == directory
        });
        let asked = json!({"enters": false, "userns": false, "nnp": nnp, "landlock": landlock,
            "filter": if seccomp { "plain" } else { "none" }, "terminal": false, "hooks": false, "traced": false});
        only_as_it_is(&once, |events| isolated(&graph, &asked, events));
    }
}

// ---- Handshake, from the messages that the parent logs ----

/// Whether a logged message is this step. What the parent says after its hooks and its listener is a part of them.
fn handshake(event: &String, step: Step<'_>) -> bool {
    let answered = step.before["toParent"]
        .get(0)
        .map(|message| format!("heard: {}", text(message)));
    match step.action {
        "Proceeds" => event == "said: proceed",
        "LeavesWaiting" | "StartsAlone" | "CallerGoes" => event == "said: start",
        "RunsHooks" | "KeepsTerminal" | "PassesListener" | "GoesOn" | "SeesExec" | "Reports"
        | "SeesDeath" | "Refuses" => answered.as_ref() == Some(event),
        _ => false,
    }
}

fn is_silent(step: Step<'_>) -> bool {
    let own = [
        "Clones",
        "Sends",
        "Hears",
        "HearsTheEnd",
        "HearsByte",
        "Execs",
        "Fails",
        "Dies",
        "Records",
    ];
    own.contains(&step.action)
}

fn shakes_hands(graph: &Graph, asked: &Value, told: &str, events: &[String]) -> bool {
    let ends = follow(
        graph,
        |state| &state["wanted"] == asked,
        events,
        is_silent,
        handshake,
    );
    ends.iter().any(|state| text(&state["answer"]) == told)
}

fn mixture(mode: &str, hooks: bool) -> Value {
    json!({"mode": mode, "proceed": false, "terminal": false, "hooks": hooks, "listener": false, "block": false})
}

#[test]
fn the_parent_hears_and_says_what_the_spec_allows() {
    let Some(bed) = Bed::new() else { return };
    let graph = Graph::of("Handshake").unwrap();
    let spoken = ["heard: ", "said: proceed", "said: start"];
    for (number, hooks) in [(0, false), (1, true)] {
        bed.configure(&["true"], |config| {
            if hooks {
                config["hooks"] = json!({"createRuntime": [{"path": "/bin/true"}]});
            }
        });
        let log = format!("run{number}");
        assert!(bed.run(&log, &["run"]).status.success());
        let events = bed.logged(&log, &spoken);
        only_as_it_is(&events, |events| {
            shakes_hands(&graph, &mixture("run", hooks), "ok", events)
        });
        let log = format!("create{number}");
        assert!(bed.run(&log, &["create"]).status.success());
        let events = bed.logged(&log, &spoken);
        only_as_it_is(&events, |events| {
            shakes_hands(&graph, &mixture("create", hooks), "ok", events)
        });
        bed.run("delete", &["delete", "--force"]);
    }
    // A step of the child fails, and a program that is not there.
    bed.configure(&["missing"], |_| {});
    assert!(!bed.run("failed", &["run"]).status.success());
    let events = bed.logged("failed", &spoken);
    only_as_it_is(&events, |events| {
        shakes_hands(&graph, &mixture("run", false), "failed", events)
    });
    // The child is killed at its pivot.
    bed.configure(&["true"], |_| {});
    bed.strace(&["-e", "inject=pivot_root:signal=KILL"], "killed", &["run"]);
    let events = bed.logged("killed", &spoken);
    only_as_it_is(&events, |events| {
        shakes_hands(&graph, &mixture("run", false), "failed", events)
    });
}

// ---- Lifecycle, from the acts that the commands log ----

#[derive(Debug, Clone, PartialEq)]
enum Event {
    Asked(&'static str),
    Act(String),
    Killed,
}

/// The program sleeps: that it ends by itself is no explanation for anything here.
const SILENT: [&str; 11] = [
    "Open",
    "LockToCreate",
    "LockAndGo",
    "ClaimDirectory",
    "Spawn",
    "Record",
    "Leave",
    "Go",
    "Await",
    "Relock",
    "BecomeProgram",
];

fn lived(event: &Event, step: Step<'_>) -> bool {
    let (before, after) = (&step.before["op"]["c1"], &step.after["op"]["c1"]);
    match event {
        Event::Asked(op) => before == "none" && after == *op && !SILENT.contains(&step.action),
        Event::Act(act) => {
            let acts = ["ClaimStart", "Tell", "Forget", "End", "Free", "Remove"];
            acts.contains(&step.action) && step.before["todo"]["c1"][0] == act.as_str()
        }
        Event::Killed => step.action == "Crash",
    }
}

fn is_legal(graph: &Graph, status: &str, events: &[Event]) -> bool {
    let hidden = |step: Step<'_>| SILENT.contains(&step.action);
    let ends = follow(graph, |_| true, events, hidden, lived);
    ends.iter().any(|state| {
        let idle = state["op"]["c1"] == "none";
        idle && match status {
            "gone" => state["dir"] == "none" && state["cgroup"] == false,
            "running" => state["proc"] == "program",
            _ => state["fifo"] == "starting",
        }
    })
}

#[test]
fn the_commands_act_as_the_spec_allows() {
    let Some(bed) = Bed::new() else { return };
    let ops = [
        "create", "run", "start", "kill", "delete", "force", "pause", "resume",
    ];
    let graph = Graph::with("Lifecycle", &[("Commands", &["c1"]), ("Asked", &ops)]).unwrap();
    let acts = |log: &str| -> Vec<Event> {
        let acts = bed.logged(log, &["act: "]);
        acts.into_iter()
            .map(|act| Event::Act(act.trim_start_matches("act: ").to_owned()))
            .collect()
    };
    bed.configure(&["sleep", "1000"], |_| {});
    // A whole life.
    let mut events = vec![Event::Asked("create")];
    assert!(bed.run("create", &["create"]).status.success());
    assert!(bed.run("start", &["start"]).status.success());
    events.push(Event::Asked("start"));
    events.extend(acts("start"));
    assert!(is_legal(&graph, "running", &events), "{events:?}");
    assert!(bed.run("force", &["delete", "--force"]).status.success());
    events.push(Event::Asked("force"));
    events.extend(acts("force"));
    assert_eq!(events.len(), 9, "{events:?}");
    only_as_it_is(&events, |events| is_legal(&graph, "gone", events));
    // `start` is killed while it waits for the answer; the next one finds the start claimed.
    let mut events = vec![Event::Asked("create"), Event::Asked("start")];
    assert!(bed.run("create2", &["create"]).status.success());
    bed.strace(&["-e", "inject=ppoll:signal=KILL:when=1"], "killed", &["start"]);
    events.extend(acts("killed"));
    events.push(Event::Killed);
    assert_eq!(events.len(), 5, "{events:?}");
    assert!(is_legal(&graph, "claimed", &events), "{events:?}");
    // It succeeds or not, whichever is quicker: this command or the child.
    bed.run("again", &["start"]);
    events.push(Event::Asked("start"));
    events.extend(acts("again"));
    assert!(is_legal(&graph, "running", &events), "{events:?}");
    assert!(bed.run("force2", &["delete", "--force"]).status.success());
    events.push(Event::Asked("force"));
    events.extend(acts("force2"));
    assert!(is_legal(&graph, "gone", &events), "{events:?}");
}
