//! The limit program runs the bundle's command under the bundle's confinement: otherwise it is no floor.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use nucleus_benches::bundle::{Kind, PAYLOAD};
use nucleus_benches::cgroup::{self, PREFIX, View};
use nucleus_benches::launcher::{Answer, Launcher, Order};
use nucleus_benches::peers::{self, Container, Runtime};
use nucleus_benches::work::Work;

struct Bed {
    launcher: Launcher,
    runtime: Runtime,
    container: Container,
    _directory: tempfile::TempDir,
}

/// `None`, with a note, where the test cannot run.
fn bed(view: View) -> Option<Bed> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return skip("needs root");
    }
    let directory = tempfile::tempdir().unwrap();
    let work = Work::prepare(directory.path()).unwrap();
    let Some(bundles) = work.bundles(Kind::Real, view).unwrap() else {
        return skip("no such view on this host");
    };
    let slot = format!("test-{}-{}", view.name(), std::process::id());
    let container = Container {
        bundle: bundles.write(&slot, &[PAYLOAD]).unwrap(),
        slot,
    };
    let mut runtime = peers::find(&[]).unwrap().remove(0);
    runtime.path.clone_from(&bundles.limit);
    let launcher = Launcher::start(&work.launcher, view, &work.path("stderr")).unwrap();
    Some(Bed {
        launcher,
        runtime,
        container,
        _directory: directory,
    })
}

fn skip(reason: &str) -> Option<Bed> {
    assert!(
        std::env::var_os("NUCLEUS_TESTS_MUST_RUN").is_none_or(|v| v != "1"),
        "skipped: {reason}"
    );
    let _ = writeln!(io::stderr(), "skipped: {reason}");
    None
}

impl Bed {
    fn run(&mut self, commands: &[Vec<String>]) -> Answer {
        self.launcher.run(Order::Chain, commands).unwrap()
    }

    fn created_with(&self, arguments: &[&str]) -> Vec<Vec<String>> {
        let create = self.runtime.create(&self.container, arguments).unwrap();
        vec![create, self.runtime.start(&self.container.slot)]
    }

    /// The cgroups of this test's container in any hierarchy of the host.
    fn cgroups(&self) -> Vec<PathBuf> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let (v1, v2) = cgroup::parse_mountinfo(&mountinfo);
        let mounts = v1.into_iter().map(|hierarchy| hierarchy.mount).chain(v2);
        let paths = mounts.map(|mount| PathBuf::from(mount).join(format!("{PREFIX}{}", self.container.slot)));
        paths.filter(|path| path.exists()).collect()
    }

    /// `/proc/PID/status` of the container's process, found through its cgroup.
    fn status(&self) -> String {
        let cgroup = self.cgroups().pop().expect("the container has a cgroup");
        let members = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
        fs::read_to_string(format!("/proc/{}/status", members.trim())).unwrap()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = cgroup::remove_leftovers(&self.container.slot);
    }
}

fn check(view: View) {
    let Some(mut bed) = bed(view) else { return };

    let run = bed.runtime.run(Kind::Real, &bed.container);
    let answer = bed.run(&[run.unwrap()]);
    assert!(answer.succeeded(), "{answer:?}: {}", bed.launcher.complaint());
    assert!(bed.cgroups().is_empty(), "run leaves no cgroup");

    let mut commands = bed.created_with(&[PAYLOAD, "7"]);
    commands.push(vec!["@wait".into(), bed.runtime.pid_file(&bed.container.slot)]);
    let answer = bed.run(&commands);
    assert_eq!(
        answer.costs[2].status,
        7,
        "the command's own status: {}",
        bed.launcher.complaint()
    );
    let delete = bed.runtime.delete(&bed.container.slot, false);
    assert!(bed.run(std::slice::from_ref(&delete)).succeeded());

    let commands = bed.created_with(&[PAYLOAD, "pause"]);
    assert!(bed.run(&commands).succeeded(), "{}", bed.launcher.complaint());
    let status = bed.status();
    for expected in [
        "Seccomp:\t2",
        "NoNewPrivs:\t1",
        "CapBnd:\t00000000a80425fb",
        "CapEff:\t00000000a80425fb",
    ] {
        assert!(status.contains(expected), "{expected} in {status}");
    }
    let exec = bed.runtime.exec(&bed.container.slot);
    assert!(bed.run(&[exec]).succeeded(), "{}", bed.launcher.complaint());
    assert!(bed.run(&[delete]).succeeded(), "{}", bed.launcher.complaint());
    assert!(bed.cgroups().is_empty(), "delete leaves no cgroup");
}

#[test]
fn the_limit_program_runs_the_real_bundle_as_the_host_is() {
    check(View::Host);
}

#[test]
fn the_limit_program_runs_the_real_bundle_on_cgroup2() {
    check(View::V2);
}
