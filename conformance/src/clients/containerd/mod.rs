//! containerd, its runc shim, and `ctr run --rootfs --runc-binary`.

mod run;
mod task;

use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

use super::command::{self, Output, split, until};
use super::facts::{self, capabilities, status_field};
use super::world::World;
use super::{Case, Client};

/// containerd without images: the suites for it.
#[derive(Debug)]
pub(crate) struct Containerd;

/// ctr, pointed at the sandbox's containerd.
#[derive(Debug)]
pub(crate) struct Ctr {
    world: World,
    program: Vec<String>,
}

impl Client for Containerd {
    type Handle = Ctr;

    fn start(world: World) -> Result<Ctr> {
        // ctr asks for 1024 CPU shares unless told another number.
        facts::SHARES.require(world.view)?;
        let dir = world.directory("containerd")?;
        let config = world.file(
            "containerd.toml",
            &format!(
                "version = 2\nroot = \"{dir}/root\"\nstate = \"{dir}/state\"\n\
                 disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\", \
                 \"io.containerd.snapshotter.v1.btrfs\", \"io.containerd.snapshotter.v1.devmapper\", \
                 \"io.containerd.snapshotter.v1.zfs\", \"io.containerd.snapshotter.v1.aufs\"]\n\
                 [grpc]\naddress = \"{dir}/socket\"\n[ttrpc]\naddress = \"{dir}/socket.ttrpc\"\n"
            ),
        )?;
        let log = File::create(format!("{dir}/log"))?;
        command::command(&world.dir, &split(&format!("containerd --config {config}")))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("run containerd")?;
        let ctr = Ctr {
            world,
            program: split(&format!("ctr --address {dir}/socket")),
        };
        until(30, "containerd answers", || Ok(ctr.client("tasks ls")?.code == 0))?;
        Ok(ctr)
    }

    fn cases() -> Vec<Case<Ctr>> {
        let mut cases = run::cases();
        cases.extend(task::cases());
        cases
    }

    /// No two cases use the same id.
    fn recover(_: &Ctr) {}
}

impl Ctr {
    fn client(&self, words: &str) -> Result<Output> {
        self.with_input(&split(words), None)
    }

    fn with_input(&self, words: &[String], input: Option<&str>) -> Result<Output> {
        let line: Vec<String> = self.program.iter().chain(words).cloned().collect();
        command::run(&self.world.dir, &line, input)
    }

    /// The words of `run`. A root file system without image brings no environment: PATH is ours to give.
    fn words(&self, flags: &str, id: &str, program: &[&str]) -> Vec<String> {
        let (runtime, rootfs) = (self.world.runtime.display(), self.world.rootfs.display());
        let mut words = split(&format!(
            "run {flags} --env PATH=/bin --runc-binary {runtime} --rootfs {rootfs} {id}"
        ));
        words.extend(program.iter().map(|word| (*word).to_owned()));
        words
    }

    /// An id that no other container has.
    fn id() -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        format!("c{}", NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// Runs a shell script in the foreground, and removes the container.
    fn run(&self, flags: &str, script: &str) -> Result<Output> {
        self.run_program(flags, &["sh", "-c", &unhurried(script)])
    }

    fn run_program(&self, flags: &str, program: &[&str]) -> Result<Output> {
        self.with_input(&self.words(&format!("--rm {flags}"), &Self::id(), program), None)
    }

    /// Starts a detached container and returns its process id.
    fn start(&self, id: &str, flags: &str, script: &str) -> Result<u32> {
        self.with_input(
            &self.words(&format!("--detach {flags}"), id, &["sh", "-c", script]),
            None,
        )?
        .ok()?;
        Ok(self.task(id)?.with_context(|| format!("{id} is not listed"))?.0)
    }

    fn idle(&self, id: &str, flags: &str) -> Result<u32> {
        self.start(id, flags, "exec sleep 600")
    }

    /// The process id and status that `tasks ls` prints for `id`.
    fn task(&self, id: &str) -> Result<Option<(u32, String)>> {
        let text = self.client("tasks ls")?.ok()?.text();
        let Some(line) = text
            .lines()
            .find(|line| line.split_whitespace().next() == Some(id))
        else {
            return Ok(None);
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        ensure!(words.len() == 3, "tasks ls says {line:?}");
        Ok(Some((words[1].parse()?, words[2].to_owned())))
    }

    fn expect_status(&self, id: &str, word: &str) -> Result<()> {
        until(5, &format!("{id} is {word}"), || {
            Ok(self.task(id)?.is_some_and(|task| task.1 == word))
        })
    }

    fn exec(&self, flags: &str, id: &str, script: &str) -> Result<Output> {
        let mut words = split(&format!("tasks exec {flags} --exec-id {} {id} sh -c", Self::id()));
        words.push(unhurried(script));
        self.with_input(&words, None)
    }

    /// Ends and removes a container.
    fn remove(&self, id: &str) -> Result<()> {
        self.client(&format!("tasks rm --force {id}"))?.ok()?;
        self.client(&format!("containers rm {id}"))?.ok()?;
        Ok(())
    }

    fn status_is(&self, flags: &str, field: &str, value: &str) -> Result<()> {
        let found = status_field(&self.run(flags, "cat /proc/self/status")?.ok()?.stdout, field)?;
        ensure!(found == value, "{field} is {found} instead of {value}");
        Ok(())
    }

    fn capabilities(&self, flags: &str) -> Result<u64> {
        capabilities(&self.run(flags, "cat /proc/self/status")?.ok()?.stdout, "CapEff")
    }

    /// Runs ctr with these words on a terminal of 33 rows and 77 columns. No word may hold a quote.
    fn on_terminal(&self, words: &[String]) -> Result<Output> {
        let quoted: Vec<String> = self
            .program
            .iter()
            .chain(words)
            .map(|word| format!("'{word}'"))
            .collect();
        command::on_terminal(&self.world.dir, &quoted.join(" "))?.ok()
    }
}

/// When a process ends before ctr has opened the pipes that bring its output, ctr drops them unread; on a busy
/// machine that happens with any runtime.
fn unhurried(script: &str) -> String {
    format!("sleep 0.1; {script}")
}
