//! Terminals: the console socket, the size, exec with a terminal.

use std::fs::File;
use std::io::Write;

use anyhow::{Result, ensure};
use serde_json::json;

use super::expect_eq;
use crate::lab::socket::{Listener, read_until};
use crate::lab::{Bundle, Container, Lab};

super::list![
    console_socket_gets_the_terminal,
    terminal_has_the_asked_size,
    terminal_passes_input_and_interrupts,
    terminal_belongs_to_the_containers_devpts,
    terminal_without_console_socket_is_refused,
    console_socket_without_terminal_is_refused,
    missing_console_socket_is_refused,
    exec_with_a_terminal,
];

fn with_terminal(lab: &Lab, script: &str) -> Result<(Bundle, Listener)> {
    let mut bundle = lab.script(script)?;
    bundle.set("/process/terminal", json!(true));
    Ok((bundle, Listener::bind(&lab.dir.join("console.sock"))?))
}

/// Creates and starts a container with a terminal; the result is the master's side.
fn started<'a>(lab: &'a Lab, bundle: &Bundle, listener: &Listener) -> Result<(Container<'a>, File)> {
    let container = Container::create_with(lab, bundle, &["--console-socket", &listener.path()])?;
    let terminal = File::from(listener.receive_fd()?);
    container.start()?;
    Ok((container, terminal))
}

fn console_socket_gets_the_terminal(lab: &Lab) -> Result<()> {
    let script = "for fd in 0 1 2; do test -t $fd && echo is-tty-$fd; done; \
        echo hello > /dev/console; echo to-tty > /dev/tty; echo end; sleep 1000";
    let (bundle, listener) = with_terminal(lab, script)?;
    let (_container, mut terminal) = started(lab, &bundle, &listener)?;
    let seen = read_until(&mut terminal, "end")?;
    for word in ["is-tty-0", "is-tty-1", "is-tty-2", "hello", "to-tty"] {
        ensure!(seen.contains(word), "no {word} in {seen:?}");
    }
    Ok(())
}

fn terminal_has_the_asked_size(lab: &Lab) -> Result<()> {
    let (mut bundle, listener) = with_terminal(lab, "stty size; echo end; sleep 1000")?;
    bundle.set("/process/consoleSize", json!({"height": 50, "width": 132}));
    let (_container, mut terminal) = started(lab, &bundle, &listener)?;
    let seen = read_until(&mut terminal, "end")?;
    ensure!(seen.contains("50 132"), "the size is {seen:?}");
    Ok(())
}

fn terminal_passes_input_and_interrupts(lab: &Lab) -> Result<()> {
    let script = "trap 'echo interrupted' INT; read line; echo \"<$line>\"; sleep 2; echo end; sleep 1000";
    let (bundle, listener) = with_terminal(lab, script)?;
    let (_container, mut terminal) = started(lab, &bundle, &listener)?;
    terminal.write_all(b"typed\n")?;
    read_until(&mut terminal, "<typed>")?;
    // Byte 3 is the interrupt character; it works only on a controlling terminal.
    terminal.write_all(b"\x03")?;
    read_until(&mut terminal, "interrupted").map(drop)
}

fn terminal_belongs_to_the_containers_devpts(lab: &Lab) -> Result<()> {
    let (bundle, listener) = with_terminal(
        lab,
        "tty; stat -c %u:%g $(tty); ls /dev/pts; echo end; sleep 1000",
    )?;
    let (_container, mut terminal) = started(lab, &bundle, &listener)?;
    let seen = read_until(&mut terminal, "end")?;
    ensure!(
        seen.contains("/dev/pts/0") || seen.contains("/dev/console"),
        "the terminal is {seen:?}"
    );
    Ok(())
}

fn terminal_without_console_socket_is_refused(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.set("/process/terminal", json!(true));
    let container = Container::named(lab, lab.id());
    container.try_create(&bundle, &[])?.refuses("console")?;
    lab.expect_nothing_left(&container.id)
}

fn console_socket_without_terminal_is_refused(lab: &Lab) -> Result<()> {
    let listener = Listener::bind(&lab.dir.join("console.sock"))?;
    let container = Container::named(lab, lab.id());
    let bundle = lab.bundle(&["sleep", "1000"])?;
    container
        .try_create(&bundle, &["--console-socket", &listener.path()])?
        .refuses("console")?;
    lab.expect_nothing_left(&container.id)
}

fn missing_console_socket_is_refused(lab: &Lab) -> Result<()> {
    let mut bundle = lab.bundle(&["sleep", "1000"])?;
    bundle.set("/process/terminal", json!(true));
    let container = Container::named(lab, lab.id());
    container
        .try_create(&bundle, &["--console-socket", "/no/such/console.sock"])?
        .exits_with(1)?;
    lab.expect_nothing_left(&container.id)
}

fn exec_with_a_terminal(lab: &Lab) -> Result<()> {
    let container = Container::started(lab, &lab.bundle(&["sleep", "1000"])?)?;
    let listener = Listener::bind(&lab.dir.join("console.sock"))?;
    let flags = ["--tty", "--detach", "--console-socket", &listener.path()];
    container
        .exec(
            &flags,
            &["sh", "-c", "tty; read line; echo \"<$line>\"; echo end"],
        )?
        .success()?;
    let mut terminal = File::from(listener.receive_fd()?);
    terminal.write_all(b"typed\n")?;
    let seen = read_until(&mut terminal, "end")?;
    ensure!(seen.contains("/dev/pts/"), "the terminal is {seen:?}");
    expect_eq("answer", seen.contains("<typed>"), true)
}
