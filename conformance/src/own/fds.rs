//! Descriptors and sockets handed to the container.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::expect_eq;
use crate::lab::socket::Listener;
use crate::lab::{Bundle, Caught, Container, Lab, finish, within};

super::list![
    listen_fds_reach_the_process,
    preserved_fds_reach_the_process,
    other_fds_do_not_reach_the_process,
    fds_of_the_caller_do_not_reach_exec,
    created_init_holds_no_foreign_directories,
    notify_socket_reports_readiness,
    pidfd_socket_gets_the_process,
];

/// The runtime's `run`, started by a shell that opens descriptors first.
fn run_with(lab: &Lab, bundle: &Bundle, redirections: &str, flags: &[&str]) -> Result<Command> {
    bundle.save()?;
    let mut words = vec!["run", "--bundle", bundle.path()];
    words.extend(flags);
    let id = lab.id();
    words.push(&id);
    let runtime = lab.command(&words);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("LISTEN_PID=$$ exec \"$@\" {redirections}"), "sh"]);
    command.arg(runtime.get_program()).args(runtime.get_args());
    Ok(command)
}

fn files(lab: &Lab) -> Result<String> {
    for number in 3..10 {
        fs::write(lab.dir.join(format!("fd{number}")), format!("content {number}\n"))?;
    }
    Ok(lab.dir.display().to_string())
}

fn listen_fds_reach_the_process(lab: &Lab) -> Result<()> {
    let dir = files(lab)?;
    let bundle = lab.script("echo $LISTEN_FDS $LISTEN_PID $$; cat <&3; cat <&4; ls /proc/self/fd")?;
    let mut command = run_with(lab, &bundle, &format!("3<{dir}/fd3 4<{dir}/fd4"), &[])?;
    let output = finish(command.env("LISTEN_FDS", "2"))?.success()?;
    let lines: Vec<&str> = output.stdout.lines().collect();
    expect_eq("process", &lines[..3], ["2 1 1", "content 3", "content 4"])
}

fn preserved_fds_reach_the_process(lab: &Lab) -> Result<()> {
    let dir = files(lab)?;
    let bundle = lab.script("cat <&3; cat <&4; ! cat <&5")?;
    let redirections = format!("3<{dir}/fd3 4<{dir}/fd4 5<{dir}/fd5");
    let mut command = run_with(lab, &bundle, &redirections, &["--preserve-fds", "2"])?;
    expect_eq(
        "contents",
        finish(&mut command)?.success()?.stdout.as_str(),
        "content 3\ncontent 4\n",
    )
}

fn other_fds_do_not_reach_the_process(lab: &Lab) -> Result<()> {
    let dir = files(lab)?;
    let bundle =
        lab.script("for fd in 3 4 5 6 7 8 9; do test -e /proc/self/fd/$fd && echo $fd; done; true")?;
    let mut command = run_with(lab, &bundle, &format!("3<{dir}/fd3 5<{dir} 9<{dir}/fd9"), &[])?;
    expect_eq(
        "open descriptors",
        finish(&mut command)?.success()?.stdout.trim(),
        "",
    )
}

fn fds_of_the_caller_do_not_reach_exec(lab: &Lab) -> Result<()> {
    let dir = files(lab)?;
    let container = Container::started(lab, &lab.bundle(&["sleep", "1000"])?)?;
    let script = "for fd in 3 4 5 6 7 8 9; do test -e /proc/self/fd/$fd && echo $fd; done; true";
    let runtime = lab.command(&["exec", &container.id, "sh", "-c", script]);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec \"$@\" 4<{dir} 7<{dir}/fd7"), "sh"]);
    command.arg(runtime.get_program()).args(runtime.get_args());
    expect_eq(
        "open descriptors",
        finish(&mut command)?.success()?.stdout.trim(),
        "",
    )
}

/// Before its exec, init may hold pipes and the like, but nothing through which the host's files are reached.
fn created_init_holds_no_foreign_directories(lab: &Lab) -> Result<()> {
    let container = Container::create(lab, &lab.bundle(&["sleep", "1000"])?)?;
    let dir = format!("/proc/{}/fd", container.pid()?);
    for entry in fs::read_dir(&dir)? {
        let path = entry?.path();
        let number: u32 = path.file_name().unwrap_or_default().to_string_lossy().parse()?;
        if number > 2 {
            let target = fs::metadata(&path).with_context(|| format!("stat {}", path.display()))?;
            ensure!(
                !target.is_dir(),
                "descriptor {number} is the directory {:?}",
                fs::read_link(&path)?
            );
        }
    }
    Ok(())
}

fn notify_socket_reports_readiness(lab: &Lab) -> Result<()> {
    let path = lab.dir.join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let bundle = lab.script("echo $NOTIFY_SOCKET > /notify; sleep 1000")?;
    bundle.save()?;
    let container = Container::named(lab, lab.id());
    let mut command = lab.command(&["run", "--detach", "--bundle", bundle.path(), &container.id]);
    // A runtime may wait for readiness before it returns.
    let running = Caught::start(command.env("NOTIFY_SOCKET", &path))?;
    let file = bundle.in_root("/notify");
    let written = within(Duration::from_secs(5), || {
        Ok(fs::read_to_string(&file).is_ok_and(|text| !text.is_empty()))
    })?;
    ensure!(written, "the process did not run");
    let inside = fs::read_to_string(&file)?;
    ensure!(!inside.trim().is_empty(), "the process has no NOTIFY_SOCKET");
    let there = format!("/proc/{}/root{}", container.pid()?, inside.trim());
    UnixDatagram::unbound()?
        .send_to(b"READY=1\n", &there)
        .with_context(|| format!("send to {there}"))?;
    let mut bytes = [0; 4096];
    let mut seen = String::new();
    while !seen.contains("READY=1") {
        let count = socket
            .recv(&mut bytes)
            .with_context(|| format!("no READY=1, only {seen:?}"))?;
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        seen.push('\n');
    }
    running.finish()?.success().map(drop)
}

fn pidfd_socket_gets_the_process(lab: &Lab) -> Result<()> {
    let listener = Listener::bind(&lab.dir.join("pidfd.sock"))?;
    let bundle = lab.bundle(&["sleep", "1000"])?;
    let container = Container::create_with(lab, &bundle, &["--pidfd-socket", &listener.path()])?;
    let fd = listener.receive_fd()?;
    use std::os::fd::AsRawFd;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    let pid = crate::lab::status_field(&info, "Pid")?;
    expect_eq("process of the pidfd", pid, container.pid()?.to_string().as_str())
}
