//! From the created container to its program's first instruction.

use crate::decide::Decided;
use crate::events::Events;
use crate::report::document::{self, Broken};
use crate::report::verdict::{self, Finding};
use crate::report::{look, promise};
use crate::run::{Call, at};
use crate::supervise::{Created, Supervised};
use crate::write::Bundle;
use anyhow::Context;
use nucleus_sys::trace::Tracee;
use serde_json::json;

/// Whether the program has to wait until something was seen or told that comes before its first instruction. Where
/// nobody asks for that, the runtime need not be waited for.
pub fn is_held(decided: &Decided, call: &Call) -> bool {
    is_checked(decided, call) || call.events.is_some()
}

/// Whether the container is held against its promises before its first instruction.
pub fn is_checked(decided: &Decided, call: &Call) -> bool {
    decided.launch.decision.rules.checked || call.report.is_some()
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
    if is_checked(decided, call) {
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
    let promises = promise::table(
        &decided.launch,
        &bundle.spec,
        &bundle.directory,
        bundle.rules.as_deref(),
        bundle.notify.as_deref(),
    );
    let landlock = created.landlock.map(|told| told.to_string());
    let facts = look::look(tracee, created.pid, &promises, landlock)?;
    let findings = verdict::judge(&promises, &facts);
    tell(decided, bundle, call, events, findings)
}

/// Writes the report and the event of what was found.
///
/// # Errors
/// The promises that are not kept, or what could not be written.
pub fn tell(
    decided: &Decided,
    bundle: &Bundle,
    call: &Call,
    events: &mut Events,
    findings: Vec<Finding>,
) -> Result<(), anyhow::Error> {
    let broken = document::broken(&findings);
    let names: Vec<&str> = broken.iter().map(|finding| finding.promise.as_str()).collect();
    let mut event = json!({"promises": findings.len(), "broken": names});
    if let Some(path) = &call.report {
        let Decided {
            launch,
            policy,
            program,
            ..
        } = decided;
        let text = document::render(launch, policy, program, &bundle.config, &findings);
        event["report-sha256"] = json!(nucleus_policy::Digest::of(text.as_bytes()).to_string());
        document::write(path, &text).map_err(at("write", path))?;
    }
    events.write("checked", &event)?;
    if broken.is_empty() {
        Ok(())
    } else {
        Err(Broken(broken).into())
    }
}
