//! From the created container to its program's first instruction.

use crate::decide::Decided;
use crate::events::Events;
use crate::facts::Program;
use crate::mode::Rules;
use crate::report::document::{self, Broken};
use crate::report::look;
use crate::report::pledge::Pledge;
use crate::report::verdict::{self, Finding};
use crate::run::{Call, at};
use crate::supervise::{Created, Supervised};
use crate::write::Bundle;
use anyhow::Context;
use nucleus_policy::Digest;
use nucleus_sys::trace::Tracee;
use serde_json::json;
use std::path::Path;

/// Whether the program has to wait until something was seen or told that comes before its first instruction. Where
/// nobody asks for that, the runtime need not be waited for.
pub fn is_held(rules: &Rules, call: &Call) -> bool {
    is_checked(rules, call) || call.events.is_some()
}

/// Whether the container is held against its promises before its first instruction.
pub fn is_checked(rules: &Rules, call: &Call) -> bool {
    rules.checked || call.report.is_some()
}

/// Waits for the container, holds it against its promises, and lets its program begin. Returns its process,
/// or nothing if the runtime failed.
///
/// # Errors
/// Each promise that is not kept, or what could not be looked at or written; the container is gone then.
pub fn begin(
    supervised: &mut Supervised,
    decided: &Decided,
    bundle: &Bundle,
    call: &Call,
    events: &mut Events,
) -> Result<Option<i32>, anyhow::Error> {
    let Some(created) = supervised.created()? else {
        return Ok(None);
    };
    let pid = created.pid;
    events.write("created", &json!({"pid": pid, "mode": decided.launch.mode}))?;
    if is_checked(&decided.launch.decision.rules, call) {
        let trace = || format!("ptrace process {pid}, to look at it before its first instruction");
        let Some(tracee) = supervised.go_to_exec(pid).with_context(trace)? else {
            return Ok(None);
        };
        let checked = check(&tracee, created, decided, bundle, call, events);
        if checked.is_err() {
            drop(tracee);
            // The runtime removes the container before this process does.
            supervised.code()?;
            return checked.map(|()| None);
        }
        tracee
            .detach()
            .map_err(std::io::Error::from)
            .with_context(trace)?;
    } else {
        supervised.go()?;
    }
    events.write("started", &json!({"pid": pid}))?;
    Ok(Some(pid))
}

/// Holds a process that stands before its first instruction against what was promised, and writes the report.
fn check(
    tracee: &Tracee,
    created: Created,
    decided: &Decided,
    bundle: &Bundle,
    call: &Call,
    events: &mut Events,
) -> Result<(), anyhow::Error> {
    let pledge = Pledge::of(decided, bundle)?;
    let landlock = created.landlock.map(|told| told.to_string());
    let findings = look(&pledge, tracee, created.pid, landlock)?;
    Teller::of(decided, bundle, call, events).tell(&pledge, &findings)
}

/// Holds a process that stands before its first instruction against what was promised.
///
/// # Errors
/// What could not be looked at.
pub fn look(
    pledge: &Pledge,
    tracee: &Tracee,
    pid: i32,
    landlock: Option<String>,
) -> Result<Vec<Finding>, look::Error> {
    let facts = look::look(tracee, pid, &pledge.promises, landlock)?;
    Ok(verdict::judge(&pledge.promises, &pledge.maker, &facts))
}

/// Where it is told what was found, and of what.
pub struct Teller<'a> {
    /// The runtime.
    pub program: &'a Program,
    /// The digest of the configuration.
    pub config: Digest,
    /// `--report`.
    pub report: Option<&'a Path>,
    /// `--events`.
    pub events: &'a mut Events,
}

impl<'a> Teller<'a> {
    /// Of a launch, where its call wants it.
    pub fn of(decided: &'a Decided, bundle: &Bundle, call: &'a Call, events: &'a mut Events) -> Self {
        Self {
            program: &decided.program,
            config: Digest::of(&bundle.bytes),
            report: call.report.as_deref(),
            events,
        }
    }

    /// Writes the report and the event of what was found.
    ///
    /// # Errors
    /// The promises that are not kept, or what could not be written.
    pub fn tell(self, pledge: &Pledge, findings: &[Finding]) -> Result<(), anyhow::Error> {
        let broken = document::broken(findings);
        let names: Vec<&str> = broken.iter().map(|finding| finding.promise.as_str()).collect();
        let mut event = json!({"promises": findings.len(), "broken": names});
        if let Some(path) = self.report {
            let text = document::render(pledge, self.program, self.config, findings);
            event["report-sha256"] = json!(Digest::of(text.as_bytes()).to_string());
            document::write(path, &text)
                .map_err(at("write", path))
                .context("report")?;
        }
        self.events.write("checked", &event)?;
        if broken.is_empty() {
            Ok(())
        } else {
            Err(Broken(broken).into())
        }
    }
}
