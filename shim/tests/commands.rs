//! The commands beside `run`: two-step starts, logs that go on, policies compared and verified, documentation.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use support::{NUCLEUS, Place, eventually};

#[test]
fn a_created_sandbox_waits_for_start() {
    let Some(place) = Place::new() else { return };
    let name = place.name();
    place
        .nucleus(&[
            "create",
            "--name",
            name,
            "--",
            "sh",
            "-c",
            "echo began; exec sleep 1000",
        ])
        .exits(0);
    let status = || {
        let ps = place.nucleus(&["ps", "--json"]);
        let rows: serde_json::Value = serde_json::from_str(ps.exits(0)).expect("JSON");
        assert_eq!(rows[0]["name"], name);
        rows[0]["status"].as_str().expect("a status").to_owned()
    };
    assert_eq!(status(), "created");
    assert_eq!(place.nucleus(&["logs", name]).exits(0), "");
    place.nucleus(&["start", name]).exits(0);
    assert_eq!(status(), "running");
    eventually("it prints", || place.nucleus(&["logs", name]).stdout == "began\n");
    assert_eq!(place.nucleus(&["start", name]).code, 1);
    let begun = std::time::Instant::now();
    place.nucleus(&["stop", "--timeout", "0", name]).exits(0);
    assert!(begun.elapsed().as_secs() < 5);
    eventually("it stops", || status() == "stopped");
    place.nucleus(&["rm", name]).exits(0);
    place
        .nucleus(&["start", "nobody"])
        .fails_with(&["no sandbox with the name"]);
    place
        .nucleus(&["stop", "--timeout", "soon", "nobody"])
        .fails_with(&["not a time"]);
    place
        .nucleus(&["create", "--name", name, "--", "no-such-program"])
        .fails_with(&["no-such-program"]);
}

/// Control groups and `/dev/shm` are the same for all roots.
#[test]
fn one_name_under_two_roots_is_two_sandboxes() {
    let Some(place) = Place::new() else { return };
    let name = place.name();
    fs::write(place.path("secret"), "one").expect("write");
    let secret = format!("{}:/run/secrets/s", place.path("secret").display());
    let start = |root: &str| {
        let root = place.path(root).display().to_string();
        let args = [
            "--root", &root, "run", "--detach", "--name", name, "--secret", &secret, "--pids", "20",
        ];
        let args = args.iter().chain(&["--", "sleep", "1000"]);
        support::Finished::from(Command::new(NUCLEUS).args(args).output().expect("start")).exits(0);
        root
    };
    let roots = ["root", "other"].map(start);
    let in_place = |root: &str, args: &[&str]| -> support::Finished {
        let all = ["--root", root].into_iter().chain(args.iter().copied());
        Command::new(NUCLEUS).args(all).output().expect("start").into()
    };
    let groups = roots.clone().map(|root| {
        let state = in_place(&root, &["state", name]);
        let state: serde_json::Value = serde_json::from_str(state.exits(0)).expect("JSON");
        fs::read_to_string(format!("/proc/{}/cgroup", state["pid"])).expect("its groups")
    });
    assert_ne!(groups[0], groups[1]);
    // The end of one is not the end of the other, nor of its secret.
    in_place(&roots[0], &["rm", "--force", name]).exits(0);
    assert_eq!(
        in_place(&roots[1], &["exec", name, "cat", "/run/secrets/s"]).exits(0),
        "one"
    );
    in_place(&roots[1], &["rm", "--force", name]).exits(0);
    let shm = fs::read_dir("/dev/shm").expect("shm").flatten();
    let left = shm.filter(|entry| entry.file_name().to_string_lossy().contains(name));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_log_is_followed_to_its_end() {
    let Some(place) = Place::new() else { return };
    let name = place.name();
    let script = "echo one; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo two";
    place
        .nucleus(&["run", "--detach", "--name", name, "--", "sh", "-c", script])
        .exits(0);
    let mut follow = place
        .command(&["logs", "--follow", name])
        .stdout(Stdio::piped())
        .spawn()
        .expect("start");
    let mut lines = BufReader::new(follow.stdout.take().expect("a pipe")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "one");
    place.nucleus(&["exec", name, "touch", "/tmp/go"]).exits(0);
    assert_eq!(lines.next().expect("a line").expect("text"), "two");
    assert!(lines.next().is_none(), "more than it wrote");
    assert!(follow.wait().expect("wait").success());
    place.nucleus(&["logs", "--follow", name]).exits(0);
    place.nucleus(&["rm", name]).exits(0);
}

#[test]
fn policies_are_compared() {
    let Some(place) = Place::new() else { return };
    let diff = |args: &[&str]| {
        let mut all = vec!["policy", "diff"];
        all.extend_from_slice(args);
        place.nucleus(&all)
    };
    assert_eq!(diff(&["default", "default"]).exits(0).trim(), "");
    let finished = diff(&["--fail-if-wider", "agent", "agent-network"]);
    assert!(
        finished.exits(1).contains("+ landlock: connect_tcp: any port"),
        "{finished:?}"
    );
    diff(&["--fail-if-wider", "agent-network", "agent"]).exits(0);
    let write = |name: &str, text: &str| {
        fs::write(place.path(name), text).expect("write");
        place.path(name).to_str().expect("UTF-8").to_owned()
    };
    let none = write("none.toml", "keep = []\n");
    let kill = write("kill.toml", "keep = [\"CAP_KILL\"]\n");
    let finished = diff(&["--fail-if-wider", &none, &kill]);
    assert!(
        finished.exits(1).contains("+ capabilities: bounding: CAP_KILL"),
        "{finished:?}"
    );
    let (old, new) = (place.path("old.lock"), place.path("new.lock"));
    let (old, new) = (old.to_str().expect("UTF-8"), new.to_str().expect("UTF-8"));
    place
        .nucleus(&["policy", "lock", "--caps-policy", &none, "--output", old])
        .exits(0);
    place
        .nucleus(&["policy", "lock", "--caps-policy", &kill, "--output", new])
        .exits(0);
    assert!(diff(&["--fail-if-wider", old, new]).exits(1).contains("CAP_KILL"));
    diff(&["--fail-if-wider", new, old]).exits(0);
    diff(&["default", "agent"]).fails_with(&["seccomp: only one of the two"]);
    diff(&["/nowhere", "agent"]).fails_with(&["policy \"/nowhere\": cannot be read: No such file"]);
    let nothing = write("nothing.toml", "what = 1\n");
    diff(&[&nothing, "agent"]).fails_with(&["no policy of any kind"]);
    diff(&["--kind", "seccomp", &nothing, "default"]).fails_with(&["nothing.toml"]);
}

/// The built-in policy is completed for the places of a bundle, and that of a file for the first process: nothing else
/// may be in a bundle's rules than what its mounts have.
#[test]
fn rules_of_landlock_in_a_bundle_are_the_policys_and_its_mounts() {
    let Some(place) = Place::new() else { return };
    let text = |name: &str| place.path(name).to_str().expect("UTF-8").to_owned();
    let (file, built_in, own, bundle) = (text("mine.toml"), text("a.lock"), text("b.lock"), text("app"));
    let shown = place.nucleus(&["policy", "show", "landlock", "agent"]);
    fs::write(&file, shown.exits(0)).expect("write");
    let lock = ["policy", "lock", "--output"];
    place.nucleus(&[&lock[..], &[&built_in]].concat()).exits(0);
    place
        .nucleus(&[&lock[..], &[&own, "--landlock-policy", &file]].concat())
        .exits(0);
    let volumes = [
        "--volume",
        "/srv:/read:ro",
        "--volume",
        "/srv:/write",
        "--tmpfs",
        "/scratch",
        "--context",
        "/srv",
    ];
    let edits = [
        (
            "/usr",
            "x['rules']['pathBeneath'].append({'allowedAccess': ['write_file'], 'paths': ['/usr']})",
        ),
        (
            "/read",
            "x['rules']['pathBeneath'].append({'allowedAccess': ['write_file'], 'paths': ['/read']})",
        ),
        (
            "/",
            "x['rules']['pathBeneath'].append({'allowedAccess': ['read_file'], 'paths': ['/']})",
        ),
        (
            "/etc",
            "x['rules']['pathBeneath'].append({'allowedAccess': ['execute'], 'paths': ['/etc', '/tmp']})",
        ),
        (
            "paths",
            "x['rules']['pathBeneath'][0]['allowedAccess'].append('write_file')",
        ),
        ("refused", "x['ruleset']['scoped'] = []"),
        ("refused", "x['ruleset']['handledAccessFS'].remove('write_file')"),
        (
            "ports",
            "x['rules']['netPort'] = [{'allowedAccess': ['connect_tcp'], 'ports': [443]}]",
        ),
        ("minABI", "x['minABI'] = 0"),
        (
            "disableBestEffort",
            "x['disableBestEffort'] = not x['disableBestEffort']",
        ),
        ("no rules", "x = {}"),
        ("no rules", "x = None"),
    ];
    for (lock, mode, more) in [
        (&built_in, "agent", &volumes[..]),
        (&built_in, "strict-agent", &volumes[..]),
        (&own, "agent", &["--init"]),
        (&own, "strict-agent", &["--init"]),
    ] {
        let _ = fs::remove_dir_all(place.path("app"));
        let args = [
            "bundle",
            "--output",
            &bundle,
            "--policy-lock",
            lock,
            "--mode",
            mode,
        ];
        place
            .nucleus(&[&args[..], more, &["--", "true"]].concat())
            .exits(0);
        let verify = || place.nucleus(&["verify", "--policy-lock", lock, "--bundle", &bundle]);
        verify().exits(0);
        let config = place.path("app/config.json");
        let original = fs::read(&config).expect("read");
        for (word, edit) in edits {
            let script = format!(
                "import json\nc = json.load(open({config:?}))\nk = 'dev.nucleus.landlock'\na = c['annotations']\n\
                 x = json.loads(a.pop(k))\n{edit}\nif x is not None: a[k] = json.dumps(x)\n\
                 json.dump(c, open({config:?}, 'w'))\n"
            );
            let edited = std::process::Command::new("/usr/bin/python3")
                .args(["-c", &script])
                .status();
            assert!(edited.expect("python3").success(), "{edit}");
            verify().fails_with(&["landlock: ", word]);
            fs::write(&config, &original).expect("write");
        }
    }
}

#[test]
fn bundles_and_policies_are_verified() {
    let Some(place) = Place::new() else { return };
    let text = |name: &str| place.path(name).to_str().expect("UTF-8").to_owned();
    let (landlock, lock, bundle) = (text("landlock.toml"), text("policy.lock"), text("app"));
    let shown = place.nucleus(&["policy", "show", "landlock", "agent"]);
    fs::write(&landlock, shown.exits(0)).expect("write");
    place
        .nucleus(&[
            "policy",
            "lock",
            "--landlock-policy",
            &landlock,
            "--output",
            &lock,
        ])
        .exits(0);
    assert_eq!(
        place
            .nucleus(&["verify", "--policy-lock", &lock])
            .exits(0)
            .lines()
            .count(),
        3
    );
    place
        .nucleus(&[
            "bundle",
            "--output",
            &bundle,
            "--policy-lock",
            &lock,
            "--",
            "true",
        ])
        .exits(0);
    let verify = |more: &[&str]| {
        let mut args = vec!["verify", "--policy-lock", &lock, "--bundle", &bundle];
        args.extend_from_slice(more);
        place.nucleus(&args)
    };
    let verified = verify(&[]);
    let digest = verified.exits(0).lines().last().expect("a line")[..64].to_owned();
    verify(&["--config-sha256", &digest]).exits(0);
    let wrong = "0".repeat(64);
    verify(&["--config-sha256", &wrong]).fails_with(&[&digest, &wrong]);
    verify(&["--policy-lock-sha256", &wrong]).fails_with(&[&wrong]);
    place
        .nucleus(&["verify", "--bundle", &bundle])
        .fails_with(&["landlock: it was made with the policy"]);
    // Whoever edits the bundle is found out, whichever protection they take.
    let config = place.path("app/config.json");
    let original: serde_json::Value =
        serde_json::from_slice(&fs::read(&config).expect("read")).expect("JSON");
    type Edit = fn(&mut serde_json::Value);
    let edits: [(&str, Edit); 6] = [
        ("capabilities: it has more", |spec| {
            spec["process"]["capabilities"]["bounding"] = serde_json::json!(["CAP_SYS_ADMIN"]);
        }),
        ("seccomp", |spec| {
            spec["linux"]["seccomp"]["defaultAction"] = "SCMP_ACT_ALLOW".into();
        }),
        ("seccomp", |spec| {
            spec["linux"]["seccomp"] = serde_json::Value::Null;
        }),
        ("noNewPrivileges", |spec| {
            spec["process"]["noNewPrivileges"] = false.into();
        }),
        ("andlock", |spec| {
            let rules = spec["annotations"]["dev.nucleus.landlock"]
                .as_str()
                .expect("rules");
            let rules = rules.replace("\"/usr\"", "\"/\"");
            spec["annotations"]["dev.nucleus.landlock"] = rules.into();
        }),
        ("landlock: it has no rules", |spec| {
            let annotations = spec["annotations"].as_object_mut().expect("annotations");
            annotations.remove("dev.nucleus.landlock");
        }),
    ];
    for (word, edit) in edits {
        let mut spec = original.clone();
        edit(&mut spec);
        fs::write(&config, serde_json::to_vec(&spec).expect("JSON")).expect("write");
        verify(&[]).fails_with(&[word, "config.json"]);
    }
    fs::write(&config, "{}").expect("write");
    verify(&[]).fails_with(&["config.json"]);
}

#[test]
fn a_bundle_whose_root_directory_was_changed_is_told() {
    let Some(place) = Place::new() else { return };
    let bundle = place.path("app");
    let check = |more: &[&str]| {
        let args = ["bundle", "--output", bundle.to_str().expect("UTF-8")];
        place.nucleus(&[&args[..], more, &["--", "true"]].concat())
    };
    check(&[]).exits(0);
    assert_eq!(check(&["--check"]).exits(0), "");
    let root = bundle.join("rootfs");
    let at = |path: &str| root.join(path);
    fs::write(at("etc/passwd"), "root::0:0::/:/bin/sh\n").expect("write");
    fs::write(at("etc/ld.so.preload"), "/tmp/x.so\n").expect("write");
    fs::remove_file(at("etc/hosts")).expect("remove");
    fs::remove_dir(at("tmp")).expect("rmdir");
    std::os::unix::fs::symlink("/root", at("tmp")).expect("symlink");
    assert_eq!(
        check(&["--check"]).exits(1),
        "rootfs/etc/hosts: missing\nrootfs/etc/ld.so.preload: added\nrootfs/etc/passwd: changed\nrootfs/tmp: changed\n"
    );
}

#[test]
fn man_pages_and_completions_name_every_command() {
    let Some(place) = Place::new() else { return };
    let pages = place.path("man");
    place.nucleus(&["man", pages.to_str().expect("UTF-8")]).exits(0);
    for page in [
        "nucleus.1",
        "nucleus-run.1",
        "nucleus-workspace-diff.1",
        "nucleus-policy-diff.1",
    ] {
        let text = fs::read_to_string(pages.join(page)).expect(page);
        assert!(text.starts_with(".ie"), "{page}: {}", &text[..40]);
    }
    let run = fs::read_to_string(pages.join("nucleus-run.1")).expect("read");
    assert!(run.contains("workspace\\-mode"), "{run}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = place.nucleus(&["completions", shell]);
        assert!(text.exits(0).contains("workspace"), "{shell}");
    }
    let script = place.path("completions");
    fs::write(&script, place.nucleus(&["completions", "bash"]).stdout).expect("write");
    let checked = std::process::Command::new("bash").arg("-n").arg(&script).status();
    assert!(checked.expect("bash").success());
    place.nucleus(&["completions", "tcsh"]).fails_with(&["tcsh"]);
    place
        .nucleus(&["man", "/proc/nowhere"])
        .fails_with(&["mkdir /proc/nowhere"]);
}

/// What the program calls by itself is for nobody else.
const HIDDEN: [&str; 4] = ["keep-network", "hold-network", "delegated", "\n  keep"];

#[test]
fn each_command_says_the_same_of_itself_everywhere() {
    let Some(place) = Place::new() else { return };
    let help = |args: &[&str]| {
        let finished = place.nucleus(&[args, &["--help"]].concat());
        finished.exits(0).to_owned()
    };
    let pages = place.path("man");
    place.nucleus(&["man", pages.to_str().expect("UTF-8")]).exits(0);
    let mut seen = 0;
    for above in [&[][..], &["workspace"], &["policy"], &["attest"]] {
        let text = help(above);
        let commands = text.split("Commands:\n").nth(1).unwrap_or_default();
        for line in commands.lines().take_while(|line| !line.is_empty()) {
            // One that is longer than a line goes on below.
            let Some((name, about)) = line.trim().split_once("  ").filter(|_| !line.starts_with("   "))
            else {
                continue;
            };
            if name == "help" {
                continue;
            }
            let args = [above, &[name]].concat();
            let own = help(&args);
            let first = own.lines().next().unwrap_or_default();
            assert!(
                first.starts_with(about.trim()),
                "{args:?}: {first:?}, not {about:?}"
            );
            let page = fs::read_to_string(pages.join(format!("nucleus-{}.1", args.join("-"))));
            let page = page.expect("a page").replace("\\-", "-").replace("\\*(Aq", "'");
            assert!(page.contains(about.trim()), "{args:?}: {page}");
            seen += 1;
        }
    }
    assert!(seen > 25, "{seen}");
    let listed = place.nucleus(&["help"]).stdout;
    assert_eq!(listed, help(&[]));
    assert_eq!(
        place.nucleus(&["help", "policy", "show"]).exits(0),
        help(&["policy", "show"])
    );
    let completions = ["bash", "zsh", "fish"].map(|shell| place.nucleus(&["completions", shell]).stdout);
    for hidden in HIDDEN {
        for text in completions.iter().chain([&listed]) {
            assert!(!text.contains(hidden), "{hidden}: {text}");
        }
    }
}

/// What is one paragraph is wrapped for the terminal's width, and not before that for the source's.
#[test]
fn paragraphs_of_the_help_fill_their_lines() {
    let Some(place) = Place::new() else { return };
    let pages = place.path("man");
    place.nucleus(&["man", pages.to_str().expect("UTF-8")]).exits(0);
    for page in fs::read_dir(&pages).expect("pages") {
        let page = page.expect("an entry").file_name().into_string().expect("UTF-8");
        let command = page
            .trim_end_matches(".1")
            .trim_start_matches("nucleus")
            .trim_start_matches('-');
        let mut words = match command.split_once('-') {
            Some((group @ ("workspace" | "policy" | "attest"), inner)) => vec![group, inner],
            _ if command.is_empty() => vec![],
            _ => vec![command],
        };
        words.push("--help");
        let help = place.nucleus(&words);
        let lines: Vec<&str> = help.exits(0).lines().collect();
        for pair in lines
            .windows(2)
            .filter(|pair| pair.iter().all(|line| !line.starts_with(' ') && !line.is_empty()))
        {
            let next = pair[1].split(' ').next().unwrap_or_default();
            assert!(
                pair[0].len() + 1 + next.len() > 100 || pair[0].ends_with(':'),
                "{command}: {pair:?}"
            );
        }
    }
}

#[test]
fn a_terminal_of_a_detached_sandbox_is_attached_to_left_and_attached_to_again() {
    let Some(place) = Place::new() else { return };
    let name = place.name();
    let script = "echo ready; while read line; do echo \"got $line\"; [ \"$line\" = end ] && exit 9; done";
    place
        .nucleus(&[
            "run",
            "--detach",
            "--terminal",
            "--name",
            name,
            "--",
            "sh",
            "-c",
            script,
        ])
        .exits(0);
    let attach = |typed: &str| {
        let mut child = place
            .command(&["attach", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start");
        let mut input = child.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut input, typed.as_bytes()).expect("write");
        // The end of the input does not end it: Ctrl-P Ctrl-Q or the sandbox does.
        let finished = support::Finished::from(child.wait_with_output().expect("wait"));
        drop(input);
        finished
    };
    eventually("it is ready", || {
        place.nucleus(&["logs", name]).stdout.contains("ready")
    });
    let first = attach("one\n\x10\x11");
    first.exits(0);
    eventually("it got the line", || {
        place.nucleus(&["logs", name]).stdout.contains("got one")
    });
    let second = attach("end\n");
    // What was printed before is shown to whoever comes later.
    for word in ["ready", "got one", "got end"] {
        assert!(second.exits(9).contains(word), "{word}: {second:?}");
    }
    assert!(place.nucleus(&["logs", name]).stdout.contains("got end"));
    eventually("it has ended", || {
        let state: serde_json::Value =
            serde_json::from_str(&place.nucleus(&["state", name]).stdout).expect("JSON");
        state["status"] == "stopped"
    });
    place.nucleus(&["rm", name]).exits(0);
    // Without a terminal its output is shown.
    place
        .nucleus(&[
            "run",
            "--detach",
            "--name",
            name,
            "--",
            "sh",
            "-c",
            "echo plain; sleep 1; echo done; exit 5",
        ])
        .exits(0);
    assert_eq!(place.nucleus(&["attach", name]).exits(5), "plain\ndone\n");
    // Nobody was there when it ended.
    let late = place.nucleus(&["attach", name]);
    assert_eq!(late.exits(0), "plain\ndone\n");
    assert!(late.stderr.contains("the workload had ended before"), "{late:?}");
    place.nucleus(&["rm", name]).exits(0);
    // A start that fails leaves no keeper.
    place
        .nucleus(&[
            "run",
            "--detach",
            "--terminal",
            "--name",
            name,
            "--",
            "no-such-program",
        ])
        .fails_with(&["no-such-program"]);
}

#[test]
fn what_its_caller_waits_for_is_removed_by_force_alone() {
    let Some(place) = Place::new() else { return };
    let name = place.name();
    let args = ["run", "--quiet", "--name", name, "--", "sleep", "1000"];
    let mut run = place.command(&args).spawn().expect("start nucleus");
    eventually("it runs", || place.nucleus(&["ps"]).exits(0).contains("running"));
    place
        .nucleus(&["rm", name])
        .fails_with(&["its nucleus run is there still", "rm --force too"]);
    place.nucleus(&["rm", "--force", name]).exits(0);
    assert_eq!(run.wait().expect("wait").code(), Some(137));
    place.expect_nothing_left();
}
