//! One runtime made ready for one mode: its containers, and the request that makes a sample.

use std::borrow::Cow;
use std::path::PathBuf;

use super::{Metric, Mode, Sample, count_system_calls};
use crate::bundle::{Kind, PAYLOAD};
use crate::cgroup;
use crate::launcher::{Answer, Arguments, Launcher, Order};
use crate::peers::{Container, Runtime};
use crate::sandbox::Sandbox;
use crate::work::Bundles;

const STRACE: &str = "/usr/bin/strace";

/// Where all runtimes of a table find their bundles.
pub(super) struct Place<'a> {
    pub(super) bundles: &'a Bundles<'a>,
    pub(super) sandbox: Option<&'a Sandbox>,
    pub(super) trace: PathBuf,
}

pub(super) struct Prepared<'a> {
    pub(super) name: String,
    runtime: Cow<'a, Runtime>,
    mode: Mode,
    /// What is timed, one request a sample.
    commands: Vec<Arguments>,
    /// What must run before the first sample.
    before: Vec<Arguments>,
    slots: Vec<String>,
    trace: PathBuf,
}

impl<'a> Prepared<'a> {
    /// `None` where the runtime has no such command.
    pub(super) fn new(
        runtime: Cow<'a, Runtime>,
        place: &Place<'_>,
        (mode, kind): (Mode, Kind),
        parallel: usize,
    ) -> anyhow::Result<Option<Self>> {
        let slots: Vec<String> = match mode {
            Mode::Throughput => (0..parallel).map(|at| format!("run-{at}")).collect(),
            // Containers of all runtimes run at the same time, each in a cgroup of its own.
            Mode::Exec => vec![format!("pause-{}", runtime.name)],
            _ => vec!["run-0".into()],
        };
        let args: &[&str] = if mode == Mode::Exec {
            &[PAYLOAD, "pause"]
        } else {
            &[PAYLOAD]
        };
        let mut containers = Vec::new();
        for slot in &slots {
            containers.push(Container {
                bundle: place.bundles.write(slot, args)?,
                slot: slot.clone(),
            });
        }
        let Some((before, commands)) = commands(&runtime, mode, kind, &containers, place) else {
            return Ok(None);
        };
        Ok(Some(Prepared {
            name: runtime.name.clone(),
            runtime,
            mode,
            commands,
            before,
            slots,
            trace: place.trace.clone(),
        }))
    }

    /// Does what must be done once before the first sample; the inner error is the runtime's complaint.
    pub(super) fn begin(&self, launcher: &mut Launcher) -> anyhow::Result<Result<(), String>> {
        if self.before.is_empty() {
            return Ok(Ok(()));
        }
        let answer = launcher.run(Order::Chain, &self.before)?;
        if answer.succeeded() {
            return Ok(Ok(()));
        }
        let reason = complaint(launcher, &answer);
        self.clear(launcher)?;
        Ok(Err(reason))
    }

    /// Takes one sample.
    pub(super) fn sample(&self, launcher: &mut Launcher) -> anyhow::Result<Result<Sample, String>> {
        let order = if self.mode == Mode::Throughput {
            Order::Parallel
        } else {
            Order::Chain
        };
        let answer = launcher.run(order, &self.commands)?;
        if !answer.succeeded() {
            return Ok(Err(complaint(launcher, &answer)));
        }
        Ok(self.read(&answer))
    }

    fn read(&self, answer: &Answer) -> Result<Sample, String> {
        let mut cpu = answer
            .costs
            .iter()
            .map(|cost| cost.user + cost.system)
            .sum::<u64>() as f64
            / 1e3;
        if self.mode == Mode::Throughput {
            cpu /= self.commands.len() as f64;
        }
        let peak = answer
            .costs
            .iter()
            .map(|cost| cost.peak_kib)
            .max()
            .unwrap_or_default() as f64
            / 1024.0;
        let milliseconds = answer.nanoseconds as f64 / 1e6;
        let value = match self.mode.metric() {
            Metric::WallMs | Metric::Quotient => milliseconds,
            Metric::PerSecond => self.commands.len() as f64 / (milliseconds / 1e3),
            Metric::Calls => count_system_calls(&self.trace).ok_or("strace gave no total")? as f64,
            Metric::Mebibytes => peak,
        };
        Ok(Sample { value, cpu, peak })
    }

    /// Ends what [`Prepared::begin`] began.
    pub(super) fn finish(&self, launcher: &mut Launcher) -> anyhow::Result<()> {
        if self.before.is_empty() {
            Ok(())
        } else {
            self.clear(launcher)
        }
    }

    /// Removes the runtime's containers, whatever became of them.
    pub(super) fn clear(&self, launcher: &mut Launcher) -> anyhow::Result<()> {
        for slot in &self.slots {
            launcher.run(Order::Chain, &[self.runtime.delete(slot, true)])?;
            launcher.complaint();
            cgroup::remove_leftovers(slot)?;
        }
        Ok(())
    }
}

fn commands(
    runtime: &Runtime,
    mode: Mode,
    kind: Kind,
    containers: &[Container],
    place: &Place<'_>,
) -> Option<(Vec<Arguments>, Vec<Arguments>)> {
    let first = &containers[0];
    let mut before = Vec::new();
    let timed = match mode {
        Mode::Run | Mode::Sequence | Mode::Rss => vec![runtime.run(kind, first)?],
        Mode::Throughput => containers
            .iter()
            .map(|container| runtime.run(kind, container))
            .collect::<Option<_>>()?,
        Mode::Sandbox => vec![place.sandbox?.command(runtime)?],
        Mode::Syscalls => {
            let mut command: Arguments = [STRACE, "-f", "-c", "-o"].map(str::to_owned).into();
            command.push(place.trace.to_string_lossy().into_owned());
            command.extend(runtime.run(kind, first)?);
            vec![command]
        }
        Mode::Lifecycle => vec![
            runtime.create(first, &[])?,
            runtime.start(&first.slot),
            vec!["@wait".into(), runtime.pid_file(&first.slot)],
            runtime.delete(&first.slot, false),
        ],
        Mode::Exec => {
            before = vec![
                runtime.create(first, &[PAYLOAD, "pause"])?,
                runtime.start(&first.slot),
            ];
            vec![runtime.exec(&first.slot)]
        }
    };
    Some((before, timed))
}

fn complaint(launcher: &mut Launcher, answer: &Answer) -> String {
    let status = answer
        .costs
        .iter()
        .map(|cost| cost.status)
        .find(|&status| status != 0);
    format!(
        "exit status {}: {}",
        status.unwrap_or_default(),
        launcher.complaint()
    )
}
