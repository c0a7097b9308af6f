//! `run` in the foreground: exit codes, streams and the process's own properties.

use anyhow::{Result, ensure};

use super::{Case, Engine, TERMINAL_SIZE};
use crate::clients::case;

/// The cases of this file.
pub(super) fn cases() -> Vec<Case<Engine>> {
    vec![
        case!("run: exit code 0 and standard output", |e| e
            .run("", "echo hi")?
            .prints("hi")),
        case!("run: exit code 7", |e| e.run("", "exit 7")?.exits(7)),
        case!("run: standard error apart from standard output", |e| {
            e.run("", "echo one; echo two >&2")?
                .prints("one")?
                .complains("two")
        }),
        case!("run: -i passes standard input", |e| {
            e.run_with_input("-i", "cat", "from outside")?
                .prints("from outside")
        }),
        case!("run: a command missing from PATH is 127", |e| {
            e.run_program("", &["nosuchcommand"])?
                .exits(127)?
                .complains("nosuchcommand")
        }),
        case!("run: a missing path is 127", |e| {
            e.run_program("", &["/no/such/command"])?
                .exits(127)?
                .complains("/no/such/command")
        }),
        case!("run: a file that may not be executed is 126", |e| {
            e.run_program("", &["/etc/notexec"])?
                .exits(126)?
                .complains("ermission denied")
        }),
        case!("run: a directory as command is 126", |e| e
            .run_program("", &["/etc"])?
            .exits(126)),
        case!("run: -it gives a terminal of the caller's size", terminal),
        case!("run: -t without -i", |e| e
            .run("-t", "test -t 1 && echo terminal")?
            .prints("terminal")),
        case!("run: --env", |e| {
            e.run("--env NAME=value --env EMPTY=", "echo $NAME ${EMPTY-unset}.")?
                .prints("value .")
        }),
        case!("run: --workdir", |e| e
            .run("--workdir /tmp", "pwd")?
            .prints("/tmp")),
        case!("run: --user by number", |e| e
            .run("--user 1234:4321", "id -u; id -g")?
            .prints("1234\n4321")),
        case!("run: --user by name, with its groups", |e| {
            e.run("--user app", "id -u; id -G")?.prints("1000\n1000 2000")
        }),
        case!("run: --group-add", |e| {
            e.run("--user 1000:1000 --group-add 3000", "id -G")?
                .ok()?
                .shows("3000")
        }),
        case!("run: --hostname", |e| e
            .run("--hostname box", "hostname")?
            .prints("box")),
        case!("run: --ulimit", |e| {
            e.run(
                "--ulimit nofile=100:200 --ulimit nproc=4000:4000",
                "ulimit -Sn; ulimit -Hn",
            )?
            .prints("100\n200")
        }),
        case!("run: --oom-score-adj", |e| {
            e.run("--oom-score-adj 321", "cat /proc/self/oom_score_adj")?
                .prints("321")
        }),
        case!("run: --init reaps orphans", init),
        case!("run: a name in use is refused", name_in_use),
    ]
}

fn terminal(engine: &Engine) -> Result<()> {
    let script = format!("tty; {TERMINAL_SIZE}");
    let output = engine
        .on_terminal(&engine.words("run --rm -it", "", &["sh", "-c", &script]))?
        .ok()?;
    output.shows("/dev/pts/0")?.shows("size 33 77")?;
    Ok(())
}

/// The orphan of a child that ends is init's to wait for: afterwards no zombie is left.
fn init(engine: &Engine) -> Result<()> {
    let first = engine.run("--init", "cat /proc/1/cmdline")?.ok()?.text();
    ensure!(first.contains("init"), "process 1 is {first:?}");
    let script = "(sleep 0.1 &); sleep 0.4; grep -h ^State /proc/[0-9]*/status | grep -c Z; true";
    engine.run("--init", script)?.prints("0")?;
    Ok(())
}

fn name_in_use(engine: &Engine) -> Result<()> {
    engine.idle("taken", "")?;
    let again = engine.words("run --detach --name taken", "", &["true"]);
    engine.with_input(&again, None)?.refused()?.complains("in use")?;
    engine.remove("taken")
}
