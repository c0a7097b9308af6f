//! Runs of `nucleus`, whole and killed, with a network and without; and the runtime that it calls.

use super::bed::{Bed, Straces, runtime};
use super::killed::places;
use super::sandbox::{Deed, Done, Place, only_as_it_is, told};
use super::seen::{Seen, Watched, is_spawn};
use super::strace::Call;
use super::subject::Subject;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

struct House {
    directory: tempfile::TempDir,
    root: PathBuf,
    /// That no other sandbox of this host has.
    name: String,
    /// Options that have everything made that the spec tells apart.
    options: Vec<String>,
}

impl House {
    fn new() -> Option<Self> {
        Bed::new()?;
        let directory = tempfile::Builder::new()
            .prefix("nucleus-house-")
            .tempdir()
            .unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        fs::write(path("secret"), "secret").unwrap();
        let options = [
            "--secret".to_owned(),
            format!("{}:/run/secrets/s", path("secret")),
            "--events".to_owned(),
            path("events"),
        ];
        let name = directory
            .path()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .to_lowercase();
        let name = name
            .replace("nucleus-house-.", "")
            .replace("nucleus-house-", "house");
        let house = Self {
            root: directory.path().join("root"),
            name,
            options: options.to_vec(),
            directory,
        };
        // What outlasts sandboxes is made once, and is no part of any.
        for network in ["none", "bridge"] {
            assert!(
                super::bed::quiet(&mut house.make(&["run"], network, &["true"]))
                    .status()
                    .unwrap()
                    .success()
            );
        }
        Some(house)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(nucleus());
        command.arg("--root").arg(&self.root).args(words);
        command
    }

    /// With the options, in this sandbox.
    fn make(&self, words: &[&str], network: &str, program: &[&str]) -> Command {
        let mut command = self.command(words);
        command
            .args(["--name", &self.name, "--network", network])
            .args(&self.options)
            .arg("--")
            .args(program);
        command
    }

    fn straces(&self) -> Straces {
        Straces::new(self.directory.path())
    }

    /// What was done by these commands, in order.
    fn deeds(&self, calls: &[Vec<Call>]) -> Vec<Done> {
        let place = Place {
            root: &self.root,
            name: &self.name,
        };
        let mut deeds: Vec<Done> = calls
            .iter()
            .enumerate()
            .flat_map(|(at, calls)| place.deeds(at, calls))
            .collect();
        deeds.sort_by_key(|done| done.at);
        deeds
    }

    /// What `nucleus run` calls with this network when nobody disturbs it.
    fn run(&self, network: &str) -> Vec<Vec<Call>> {
        let mut straces = self.straces();
        straces.command(&[], &mut self.make(&["run"], network, &["true"]));
        straces.finish()
    }

    /// The commands of the runtime that were called for this sandbox, and what was seen of them.
    fn runtimes(&self, calls: &[Vec<Call>]) -> (Vec<&'static str>, Vec<Seen>) {
        let state = self.root.join("runtime");
        let (mut asked, mut seen) = (Vec::new(), Vec::new());
        for calls in calls {
            for begun in calls
                .iter()
                .filter(|call| call.name == "execve" && call.has("nucleus-runtime\""))
            {
                let ops = ["create", "run", "start", "kill", "delete"];
                let op = ops.into_iter().find(|op| begun.has(&format!("\"{op}\"")));
                let Some(op) = op.filter(|_| begun.has(&format!("\"{}\"", self.name))) else {
                    continue;
                };
                let child = calls.iter().find(|call| call.pid == begun.pid && is_spawn(call));
                let child = child.and_then(|call| call.result.parse::<u32>().ok());
                let own = calls
                    .iter()
                    .filter(|call| call.pid == begun.pid || Some(call.pid) == child);
                let own: Vec<Call> = own.cloned().collect();
                let watched = Watched {
                    state: &state,
                    id: &self.name,
                    number: asked.len(),
                };
                seen.extend(watched.seen(&own));
                asked.push(if begun.has("\"--force\"") { "force" } else { op });
            }
        }
        seen.sort_by_key(|seen| seen.at);
        (asked, seen)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = super::bed::quiet(&mut self.command(&["rm", "--force", &self.name])).status();
    }
}

fn nucleus() -> &'static Path {
    static BUILT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    BUILT.get_or_init(|| {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "-p", "nucleus", "--bin", "nucleus"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.unwrap().success(), "nucleus was not built");
        runtime().with_file_name("nucleus")
    })
}

/// What the front-end asks of the runtime for a sandbox of agent mode.
fn subject(creator: &'static str) -> Subject {
    let mut subject = Subject::of(creator);
    subject.asks(&["nnp", "landlock", "userns", "traced", "proceed"], true);
    subject.asks(&["block"], creator == "run");
    subject.isolated.plan["filter"] = json!("plain");
    subject
}

#[test]
fn a_run_takes_back_what_it_makes() {
    let Some(house) = House::new() else { return };
    for network in ["none", "bridge"] {
        let calls = house.run(network);
        let deeds = house.deeds(&calls);
        only_as_it_is(network, &[], &deeds);
        assert_eq!(
            deeds.len(),
            if network == "bridge" { 11 } else { 9 },
            "{}",
            told(&deeds)
        );
        let (asked, seen) = house.runtimes(&calls);
        assert_eq!(asked, ["run"]);
        subject("run").holds(&seen, "ok", "program");
    }
    // Its modes that hold the workload against its promises trace that themselves: only the front-end can be watched.
    let mut straces = house.straces();
    straces.command(
        &["-b", "execve"],
        &mut house.make(&["run", "--mode", "strict-agent"], "none", &["true"]),
    );
    let deeds = house.deeds(&straces.finish());
    only_as_it_is("none", &["TakeContainer"], &deeds);
    assert_eq!(deeds.len(), 8, "{}", told(&deeds));
}

#[test]
fn a_run_is_killed_before_each_step() {
    let Some(house) = House::new() else { return };
    for network in ["none", "bridge"] {
        let whole = house.run(network).remove(0);
        let deeds = house.deeds(std::slice::from_ref(&whole));
        let own = deeds.iter().filter(|done| !matches!(done.deed, Deed::Exited(_)));
        let steps: Vec<_> = own
            .filter_map(|done| Some((done.deed, done.by.clone()?)))
            .collect();
        let (places, unreached) = places(&steps, &whole, whole[0].pid);
        assert_eq!(unreached, [], "{places:?}");
        for place in places {
            let injected = place.injected("signal=KILL");
            let mut straces = house.straces();
            straces.command(&["-e", &injected], &mut house.make(&["run"], network, &["true"]));
            super::bed::until("the runtime ends", || straces.has_ended(0));
            straces.command(&[], &mut house.command(&["run", "--name", "next", "--", "true"]));
            let deeds = house.deeds(&straces.finish());
            assert!(
                deeds.iter().any(|done| done.deed == Deed::Killed),
                "{place:?}:\n{}",
                told(&deeds)
            );
            only_as_it_is(network, &[], &deeds);
        }
    }
}

#[test]
fn create_start_kill_rm() {
    let Some(house) = House::new() else { return };
    let mut straces = house.straces();
    straces.command(&[], &mut house.make(&["create"], "none", &["sleep", "1000"]));
    straces.command(&[], &mut house.command(&["start", &house.name]));
    straces.command(&[], &mut house.command(&["kill", &house.name, "KILL"]));
    super::bed::until("the program ends", || straces.has_ended(0));
    straces.command(&[], &mut house.command(&["rm", &house.name]));
    let calls = straces.finish();
    let deeds = house.deeds(&calls);
    only_as_it_is("none", &[], &deeds);
    let (asked, seen) = house.runtimes(&calls);
    assert_eq!(asked, ["create", "start", "kill", "force"]);
    let mut subject = subject("create");
    subject.exchange.starter = Some(1);
    subject.life.asked = asked;
    subject.isolates(&seen, "program");
    subject.lives(&seen);
}
