//! Units that `nucleus unit` prints, run by systemd.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::beds::Bed;
use crate::beds::guest::{Guest, Service, read};
use crate::lab::within;

super::list![super::ALL;
    a_unit_through_the_front_end_runs_and_stops_cleanly,
    a_unit_on_a_bundle_runs_and_stops_cleanly,
    a_crash_is_followed_by_a_new_start,
    a_killed_supervisor_leaves_nothing,
    a_volume_can_be_written_and_the_rest_not,
];

/// What does not depend on the kernel.
pub(super) mod plain {
    pub(super) use super::*;

    super::super::list![&[Bed::Container];
        systemd_finds_nothing_wrong_with_a_unit,
        readiness_comes_from_inside,
        a_program_that_is_never_ready_fails_its_unit,
        words_arrive_as_they_were,
        a_credential_is_a_secret_of_the_sandbox,
        a_failed_start_says_why_in_the_journal,
        a_changed_policy_keeps_the_unit_from_starting,
        a_changed_bundle_keeps_the_unit_from_starting,
        a_changed_root_keeps_either_unit_from_starting,
    ];
}

/// Where the limits are.
pub(super) mod limited {
    pub(super) use super::*;

    super::super::list![super::super::MACHINES;
        limits_are_the_units_properties_and_the_sandboxes,
        want_of_memory_is_told_in_the_journal,
    ];
}

/// How long it sleeps, by which its process is known.
pub(super) const STAYS: &str = "98765";

/// Stays until SIGTERM, which a first process has to ask for.
const STAY: &str = "trap 'exit 0' TERM; sleep 98765 & wait";

/// As [`STAY`], and says so.
const POLITE: &str = "trap 'echo bye; exit 0' TERM; echo hello from $$; sleep 98765 & wait";

/// Prints a unit with `nucleus unit`.
fn print(guest: &Guest, words: &[&str]) -> Result<String> {
    let mut all = vec!["unit"];
    all.extend(words);
    Ok(guest.nucleus(&all)?.success()?.stdout)
}

/// Installs the unit of a sandbox that runs a script.
fn unit<'a>(guest: &'a Guest, name: &str, flags: &[&str], script: &str) -> Result<Service<'a>> {
    let mut words = vec![name];
    words.extend(flags);
    words.extend(["--", "sh", "-c", script]);
    guest.service(&print(guest, &words)?)
}

/// Fails unless nothing is left of a sandbox: no cgroup, no state, no process that sleeps this long.
pub(super) fn expect_nothing_left(name: &str, seconds: &str) -> Result<()> {
    let mut left = String::new();
    let gone = within(Duration::from_secs(5), || {
        left.clear();
        for place in [
            "/run/nucleus/sandboxes",
            "/run/nucleus/runtime",
            "/run/nucleus-runtime",
        ] {
            if Path::new(place).join(name).exists() {
                left.push_str(&format!("{place}/{name} "));
            }
        }
        find_cgroup(Path::new("/sys/fs/cgroup"), name, &mut left)?;
        find_process(seconds, &mut left)?;
        Ok(left.is_empty())
    })?;
    ensure!(gone, "left behind: {left}");
    Ok(())
}

fn find_cgroup(dir: &Path, name: &str, left: &mut String) -> Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name().to_string_lossy().contains(name) {
                left.push_str(&format!("{} ", entry.path().display()));
            }
            find_cgroup(&entry.path(), name, left)?;
        }
    }
    Ok(())
}

fn find_process(seconds: &str, left: &mut String) -> Result<()> {
    for entry in fs::read_dir("/proc")?.flatten() {
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if words == format!("sleep\0{seconds}\0").as_bytes() {
            left.push_str(&format!("process {} ", entry.file_name().display()));
        }
    }
    Ok(())
}

fn a_unit_through_the_front_end_runs_and_stops_cleanly(guest: &Guest) -> Result<()> {
    let service = unit(guest, "front", &[], POLITE)?;
    service.start()?;
    service.wait_for("hello from ")?;
    stops_cleanly(guest, &service, "front")
}

/// A bundle of a script, which a unit can run. Its cgroup is below the unit's.
fn bundle(guest: &Guest, name: &str, script: &str) -> Result<String> {
    let mut bundle = guest.lab.script(script)?;
    bundle.set("/linux/cgroupsPath", json!(format!("sandbox-{name}")));
    bundle.save()?;
    Ok(bundle.path().to_owned())
}

fn a_unit_on_a_bundle_runs_and_stops_cleanly(guest: &Guest) -> Result<()> {
    let bundle = bundle(guest, "direct", POLITE)?;
    let service = guest.service(&print(guest, &["direct", "--bundle", &bundle])?)?;
    service.start()?;
    service.wait_for("hello from ")?;
    stops_cleanly(guest, &service, "direct")
}

fn stops_cleanly(guest: &Guest, service: &Service<'_>, name: &str) -> Result<()> {
    let sandbox = format!("/sandbox-{name}");
    let (control, main) = (
        guest.show(&service.name, "ControlGroup")?,
        guest.show(&service.name, "MainPID")?,
    );
    // Debian 12's systemd does not know of subgroups: there it lies beside the unit.
    let above = match guest.bed {
        Bed::OldMachine => Path::new(&control).parent().context("no parent")?.to_owned(),
        _ => Path::new(&control).to_owned(),
    };
    let inside = read(
        Path::new("/sys/fs/cgroup")
            .join(above.strip_prefix("/")?)
            .join(&sandbox[1..])
            .join("cgroup.procs"),
    )?;
    ensure!(
        !inside.is_empty() && !inside.lines().any(|pid| pid == main),
        "in the sandbox's group are {inside:?}"
    );
    service.stop()?;
    service.wait_for("Deactivated successfully")?;
    ensure!(
        service.journal()?.contains("bye"),
        "SIGTERM does not arrive: {}",
        service.journal()?
    );
    expect_nothing_left(&sandbox[1..], STAYS)
}

fn a_crash_is_followed_by_a_new_start(guest: &Guest) -> Result<()> {
    let service = unit(guest, "crash", &[], "echo up; sleep 2; exit 3")?;
    service.start()?;
    guest.wait_shown(&service.name, "NRestarts", "1")?;
    let told = service.journal()?;
    ensure!(
        told.contains("status=3"),
        "the journal does not tell the exit code: {told}"
    );
    guest.wait_shown(&service.name, "ActiveState", "active")
}

fn a_killed_supervisor_leaves_nothing(guest: &Guest) -> Result<()> {
    for (name, flags) in [("killed", None), ("killed-direct", Some("--bundle"))] {
        let script = "echo up; exec sleep 98765";
        let text = match flags {
            None => print(guest, &[name, "--", "sh", "-c", script])?,
            Some(flag) => print(guest, &[name, flag, &bundle(guest, name, script)?])?,
        };
        // The next start would take away what is left, too.
        let service = guest.service(&text.replace("Restart=on-failure", "Restart=no"))?;
        service.start()?;
        service.wait_for("up")?;
        guest.systemctl(&["kill", "--kill-whom=main", "--signal=KILL", &service.name])?;
        guest.wait_shown(&service.name, "ActiveState", "failed")?;
        expect_nothing_left(name, STAYS)?;
    }
    Ok(())
}

fn systemd_finds_nothing_wrong_with_a_unit(guest: &Guest) -> Result<()> {
    let bundle = bundle(guest, "verified", "true")?;
    let full = [
        "verified",
        "--notify",
        "--memory",
        "64M",
        "--cpus",
        "0.5",
        "--pids",
        "9",
        "--credential",
        "a:/etc/hostname",
    ];
    for flags in [&full[..], &["verified", "--bundle", &bundle]] {
        let mut words = flags.to_vec();
        if !flags.contains(&"--bundle") {
            words.extend(["--", "echo", "100%", "$HOME"]);
        }
        let text = print(guest, &words)?;
        let path = guest.lab.dir.join("nucleus-verified.service");
        fs::write(&path, &text)?;
        let output = guest.call("systemd-analyze", &["verify", &path.display().to_string()])?;
        ensure!(
            output.code == 0 && output.stderr.trim().is_empty(),
            "{:?} about {text}",
            output.stderr
        );
    }
    Ok(())
}

/// Tells systemd, from inside, by what every base system has.
const READY: &str = "perl -MSocket -e 'socket(S, AF_UNIX, SOCK_DGRAM, 0); \
    send(S, \"READY=1\\nSTATUS=at work\", 0, sockaddr_un($ENV{NOTIFY_SOCKET})) or die $!'";

fn readiness_comes_from_inside(guest: &Guest) -> Result<()> {
    let script =
        format!("echo starting; until [ -e /go/now ]; do sleep 0.1; done; {READY} && echo told; {STAY}");
    let go = guest.lab.dir.join("go");
    fs::create_dir(&go)?;
    let volume = format!("{}:/go:ro", go.display());
    let service = unit(guest, "ready", &["--notify", "--volume", &volume], &script)?;
    guest.systemctl(&["start", "--no-block", &service.name])?;
    service.wait_for("starting")?;
    guest.expect_shown(&service.name, &[("ActiveState", "activating")])?;
    fs::write(go.join("now"), "")?;
    service.wait_for("told")?;
    guest.wait_shown(&service.name, "ActiveState", "active")?;
    guest.expect_shown(
        &service.name,
        &[("StatusText", "at work"), ("SubState", "running")],
    )
}

fn a_program_that_is_never_ready_fails_its_unit(guest: &Guest) -> Result<()> {
    let service = unit(guest, "unready", &["--notify"], "exit 0")?;
    let told = service.fails()?;
    ensure!(told.contains("protocol"), "{told}");
    Ok(())
}

fn words_arrive_as_they_were(guest: &Guest) -> Result<()> {
    let words = [
        "$HOME",
        "${HOME}",
        "$$",
        "%n",
        "100%",
        "a  b",
        "'single'",
        "\"double\"",
        "back\\slash",
        "",
        ";",
        "-x",
        "#",
    ];
    let mut all = vec![
        "words",
        "--",
        "sh",
        "-c",
        "for word; do echo \"<$word>\"; done",
        "sh",
    ];
    all.extend(words);
    let service = guest.service(&once(&print(guest, &all)?))?;
    service.start()?;
    let told = service.journal()?;
    for word in words {
        ensure!(
            told.lines().any(|line| line == format!("<{word}>")),
            "no <{word}> in {told}"
        );
    }
    Ok(())
}

fn a_credential_is_a_secret_of_the_sandbox(guest: &Guest) -> Result<()> {
    let source = guest.lab.dir.join("token");
    fs::write(&source, "s3cret\n")?;
    let credential = format!("token:{}", source.display());
    let script =
        format!("cat /run/secrets/token; (echo x >/run/secrets/token) 2>/dev/null || echo refused; {STAY}");
    let service = unit(guest, "secret", &["--credential", &credential], &script)?;
    service.start()?;
    service.wait_for("s3cret")?;
    service.wait_for("refused")?;
    ensure!(
        !guest.show(&service.name, "ExecStart")?.contains("s3cret"),
        "systemctl shows the secret"
    );
    service.stop()?;
    let left = fs::read_dir("/dev/shm")?
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().contains("secrets"));
    ensure!(left.is_none(), "the secret is left at {left:?}");
    Ok(())
}

fn a_volume_can_be_written_and_the_rest_not(guest: &Guest) -> Result<()> {
    let data = guest.lab.dir.join("data");
    fs::create_dir(&data)?;
    fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let volume = format!("{}:/data", data.display());
    let script = format!("echo kept >/data/file; (echo x >/etc/file) 2>/dev/null || echo refused; {STAY}");
    let service = unit(guest, "volume", &["--volume", &volume], &script)?;
    service.start()?;
    service.wait_for("refused")?;
    ensure!(read(data.join("file"))? == "kept", "the volume was not written");
    Ok(())
}

fn a_failed_start_says_why_in_the_journal(guest: &Guest) -> Result<()> {
    let text = print(guest, &["absent", "--", "/no/such/program"])?;
    let service = guest.service(&once(&text))?;
    let told = service.fails()?;
    ensure!(told.contains("/no/such/program: no such file"), "{told}");
    expect_nothing_left("absent", STAYS)
}

fn a_changed_policy_keeps_the_unit_from_starting(guest: &Guest) -> Result<()> {
    let dir = &guest.lab.dir;
    let (profile, lock) = (dir.join("seccomp.json"), dir.join("policy.lock"));
    let text = guest.nucleus(&["policy", "show", "seccomp"])?.success()?.stdout;
    fs::write(&profile, &text)?;
    let (profile_path, lock_path) = (profile.display().to_string(), lock.display().to_string());
    guest
        .nucleus(&[
            "policy",
            "lock",
            "--seccomp-profile",
            &profile_path,
            "--output",
            &lock_path,
        ])?
        .success()?;
    let text_of_unit = print(guest, &["locked", "--policy-lock", &lock_path, "--", "true"])?;
    let service = guest.service(&once(&text_of_unit))?;
    service.start()?;
    fs::write(&profile, format!("{text} "))?;
    let told = service.fails()?;
    ensure!(
        told.contains("seccomp.json") && told.contains("not the pinned"),
        "{told}"
    );
    Ok(())
}

/// A unit of a program that ends at once, and with that starts or fails.
pub(super) fn once(text: &str) -> String {
    text.replace("Restart=on-failure\n", "")
        .replace("Type=exec", "Type=oneshot")
}

fn a_changed_bundle_keeps_the_unit_from_starting(guest: &Guest) -> Result<()> {
    let bundle = bundle(guest, "pinned", "echo ran")?;
    let service = guest.service(&once(&print(guest, &["pinned", "--bundle", &bundle])?))?;
    service.start()?;
    service.wait_for("ran")?;
    let config = Path::new(&bundle).join("config.json");
    fs::write(&config, format!("{} ", fs::read_to_string(&config)?))?;
    let told = service.fails()?;
    ensure!(told.contains("config.json") && told.contains("SHA-256"), "{told}");
    expect_nothing_left("pinned", STAYS)
}

fn a_changed_root_keeps_either_unit_from_starting(guest: &Guest) -> Result<()> {
    let bundle = bundle(guest, "attested", "echo ran")?;
    let root = format!("{bundle}/rootfs");
    // Nothing is made in it later: what the front-end mounts on is there.
    for dir in ["run", "home/agent", "var/tmp"] {
        fs::create_dir_all(Path::new(&root).join(dir))?;
    }
    let pin = guest.nucleus(&["attest", "create", &root])?.success()?.stdout;
    let pin = pin.split_whitespace().next().context("no digest")?;
    let flags = [
        "attested",
        "--rootfs",
        &root,
        "--rootfs-manifest-sha256",
        pin,
        "--",
        "sh",
        "-c",
        "echo ran",
    ];
    let services = [
        guest.service(&once(&print(guest, &["attested", "--bundle", &bundle])?))?,
        guest.service(&once(&print(guest, &flags)?))?,
    ];
    for service in &services {
        service.start()?;
        service.wait_for("ran")?;
    }
    fs::write(Path::new(&root).join("etc/passwd"), "root::0:0::/:/bin/sh\n")?;
    for service in &services {
        let told = service.fails()?;
        ensure!(told.contains("etc/passwd"), "{told}");
    }
    expect_nothing_left("attested", STAYS)
}

fn limits_are_the_units_properties_and_the_sandboxes(guest: &Guest) -> Result<()> {
    let limits = ["--memory", "64M", "--pids", "50", "--cpus", "0.5"];
    let service = unit(guest, "limited", &limits, STAY)?;
    service.start()?;
    guest.expect_shown(
        &service.name,
        &[
            ("Delegate", "yes"),
            ("MemoryMax", "67108864"),
            ("TasksMax", "58"),
            ("CPUQuotaPerSecUSec", "500ms"),
        ],
    )?;
    let state = guest.nucleus(&["state", "limited"])?.success()?.stdout;
    let state: serde_json::Value = serde_json::from_str(&state)?;
    let table = read(format!("/proc/{}/cgroup", state["pid"]))?;
    let cgroup = Path::new("/sys/fs/cgroup").join(table.strip_prefix("0::/").context("no cgroup2")?);
    crate::beds::guest::expect_files(
        &cgroup,
        &[
            ("memory.max", "67108864"),
            ("pids.max", "50"),
            ("cpu.max", "50000 100000"),
        ],
    )
}

fn want_of_memory_is_told_in_the_journal(guest: &Guest) -> Result<()> {
    let script = "exec dd if=/dev/zero of=/dev/null bs=96M count=1";
    let text = print(guest, &["greedy", "--memory", "32M", "--", "sh", "-c", script])?;
    let service = guest.service(&once(&text))?;
    let told = service.fails()?;
    ensure!(told.contains("memory"), "{told}");
    guest.expect_shown(&service.name, &[("ExecMainStatus", "137")])
}
