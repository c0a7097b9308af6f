//! What the front-end makes on this host, and takes back, against the spec Sandbox; and the runtime that it calls
//! against the others.

use super::hold::{Event, either, ends, one_of, rests, when};
use super::strace::{Call, Moment};
use nucleus_formal::graph::Graph;
use nucleus_formal::trace::Step;
use serde_json::Value;
use std::path::Path;

/// What is seen of `nucleus`, and of what it calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// The sandbox's directory is made, and locked: by who made it, or by who comes after.
    MakeDirectory,
    Lock,
    MakeNetwork,
    MakeFiles,
    MakeContainer,
    /// The workload has ended.
    Ended,
    TakeContainer,
    TakeNetwork,
    TakeFiles,
    TakeDirectory,
    Exited(i32),
    Killed,
}

/// One deed, and the command that did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub command: usize,
    pub deed: Deed,
    pub at: Moment,
    /// The call, if the command's own process made it.
    pub by: Option<(String, usize)>,
}

/// Where a sandbox is.
pub struct Place<'a> {
    pub root: &'a Path,
    pub name: &'a str,
}

impl Place<'_> {
    /// The deeds in the calls of a command and of all that it has called.
    pub fn deeds(&self, command: usize, calls: &[Call]) -> Vec<Done> {
        let main = calls[0].pid;
        let workload = self.workload(calls);
        let ours = calls
            .iter()
            .any(|call| self.deed(call) == Some(Deed::MakeDirectory));
        let mut deeds = Vec::new();
        for call in calls {
            let deed = match self.deed(call) {
                None if call.pid == main && end(call).is_some() => end(call),
                None if Some(call.pid) == workload => end(call).map(|_| Deed::Ended),
                // Where the workload is not traced, the runtime tells of its end.
                None if ours
                    && workload.is_none()
                    && call.name == "read"
                    && call.text().starts_with("{\\")
                    && call.has("exit-code") =>
                {
                    Some(Deed::Ended)
                }
                deed => deed,
            };
            let Some(deed) = deed else { continue };
            // The record is written again when more is known.
            if deed == Deed::MakeNetwork && deeds.iter().any(|done: &Done| done.deed == deed) {
                continue;
            }
            deeds.push(Done {
                command,
                deed,
                at: if end(call).is_some() {
                    call.entered
                } else {
                    call.left
                },
                by: (call.pid == main).then(|| (call.name.clone(), call.nth)),
            });
        }
        // With its configuration the runtime gets the container; until then it makes nothing.
        let bundle = self.quoted("sandboxes");
        let runtime = calls
            .iter()
            .find(|call| call.name == "execve" && call.has("\"--config-fd\"") && call.has(&bundle));
        let given = calls.iter().find(|call| call.pid == main && is_given(call));
        if let (Some(given), Some(runtime)) = (given, runtime) {
            let made = deeds.iter().any(|done| done.deed == Deed::MakeContainer);
            deeds.retain(|done| done.deed != Deed::MakeContainer);
            let by = Some((given.name.clone(), given.nth));
            let at = given.entered;
            deeds.push(Done {
                command,
                deed: Deed::MakeContainer,
                at,
                by,
            });
            let gone = calls
                .iter()
                .find(|call| end(call).is_some() && runtime.pid == call.pid);
            if let (false, Some(gone)) = (made, gone) {
                deeds.push(Done {
                    command,
                    deed: Deed::TakeContainer,
                    at: gone.entered,
                    by: None,
                });
            }
        }
        deeds.sort_by_key(|done| done.at);
        // Of a workload that was left to itself the end changes nothing.
        let mut left = false;
        deeds.retain(|done| {
            left |= matches!(done.deed, Deed::Exited(_) | Deed::Killed);
            !(left && done.deed == Deed::Ended)
        });
        deeds
    }

    /// The first process of the container.
    fn workload(&self, calls: &[Call]) -> Option<u32> {
        let runtime = calls
            .iter()
            .find(|call| call.name == "mkdirat" && call.has(&self.quoted("runtime")))?;
        let spawn = calls
            .iter()
            .find(|call| call.pid == runtime.pid && super::seen::is_spawn(call))?;
        spawn.result.parse().ok()
    }

    fn quoted(&self, of: &str) -> String {
        format!("\"{}\"", self.root.join(of).join(self.name).display())
    }

    fn deed(&self, call: &Call) -> Option<Deed> {
        let sandbox = call.has(&self.quoted("sandboxes"));
        let runtime = call.has(&self.quoted("runtime"));
        let secrets = call.has("\"/dev/shm/nucleus-secrets-")
            && call.text().contains(&format!("-{}@", self.name))
            && !call.text().ends_with("/0");
        let record = self.root.join("sandboxes").join(self.name).join("network.json");
        let record = call.text() == record.to_string_lossy();
        let removes = call.name == "rmdir" || call.has("AT_REMOVEDIR");
        Some(match call.name.as_str() {
            _ if !call.is_done() => return None,
            "mkdir" if sandbox => Deed::MakeDirectory,
            "flock"
                if call.has(&format!(
                    "<{}>",
                    self.root.join("sandboxes").join(self.name).display()
                )) =>
            {
                Deed::Lock
            }
            "mkdir" if secrets => Deed::MakeFiles,
            "mkdirat" if runtime => Deed::MakeContainer,
            // From its record on there may be one; and who takes it back begins there. The link itself may be gone before.
            "openat" if record && call.has("O_CREAT") => Deed::MakeNetwork,
            "openat" if record => Deed::TakeNetwork,
            "unlinkat" if runtime && removes => Deed::TakeContainer,
            "unlinkat" | "rmdir" if secrets && removes => Deed::TakeFiles,
            "unlinkat" | "rmdir" if sandbox && removes => Deed::TakeDirectory,
            _ => return None,
        })
    }
}

fn is_given(call: &Call) -> bool {
    call.name == "write"
        && call.is_done()
        && call.has("<pipe:")
        && call.text().starts_with("{\\")
        && call.has("ociVersion")
}

fn end(call: &Call) -> Option<Deed> {
    match call.name.as_str() {
        "killed" => Some(Deed::Killed),
        "exited" => Some(Deed::Exited(call.words.split(' ').nth(1)?.parse().ok()?)),
        _ => None,
    }
}

/// Whether the spec allows the deeds, and nothing is left then. `network` is what was asked for, `unseen`
/// are actions of processes that are not traced.
pub fn allows(graph: &Graph, network: &str, unseen: &[&str], commands: usize, deeds: &[Done]) -> bool {
    let Some(events) = events(commands, deeds) else {
        return false;
    };
    let hidden = |step: Step<'_>| {
        unseen.contains(&step.action) || step.action == "End" && step.before["act"] == "making"
    };
    let ends = ends(graph, |state| state["network"] == network, &events, hidden);
    ends.iter()
        .any(|state| state["there"].as_array().is_some_and(Vec::is_empty))
}

fn events(commands: usize, deeds: &[Done]) -> Option<Vec<Event>> {
    let mut events = Vec::new();
    let mut over = 0;
    for (at, done) in deeds.iter().enumerate() {
        // One command after the other; what the last one's runtime does may come later.
        let own = |rest: &[Done]| {
            rest.iter()
                .find(|other| other.command == done.command && other.by.is_some())
                .cloned()
        };
        let before = deeds[..at]
            .iter()
            .rev()
            .find(|other| other.command == done.command && other.by.is_some());
        if done.by.is_some() {
            if done.command != over {
                return None;
            }
            over += usize::from(matches!(done.deed, Deed::Exited(_) | Deed::Killed));
        }
        events.push(match done.deed {
            Deed::MakeDirectory => {
                let next = own(&deeds[at + 1..])?;
                if !matches!(next.deed, Deed::Lock | Deed::Killed) {
                    return None;
                }
                one_of(&["MakeDirectory"])
            }
            Deed::Lock if before.is_some_and(|before| before.deed == Deed::MakeDirectory) => {
                rests(|state| state["holder"] == "run")
            }
            Deed::Lock => one_of(&["Sweep"]),
            Deed::MakeNetwork => one_of(&["MakeNetwork"]),
            Deed::MakeFiles => one_of(&["MakeFiles"]),
            Deed::MakeContainer => one_of(&["Start"]),
            Deed::Ended if deeds[..at].iter().any(|other| other.deed == Deed::Ended) => return None,
            Deed::Ended => either(
                when("End", |step| step.before["act"] == "running"),
                rests(|state| state["holder"] != "run"),
            ),
            Deed::TakeContainer => one_of(&["TakeContainer", "Follow"]),
            Deed::TakeNetwork => {
                let taken: Vec<usize> = deeds[..at]
                    .iter()
                    .filter(|other| other.deed == done.deed)
                    .map(|other| other.command)
                    .collect();
                if taken.contains(&done.command) {
                    return None;
                }
                // Who was killed at it may have come to its end, and left the record.
                let again = !taken.is_empty();
                let is_gone =
                    move |state: &Value| again && state["act"] == "taking" && !has(state, "network");
                either(one_of(&["TakeNetwork"]), rests(is_gone))
            }
            Deed::TakeFiles => one_of(&["TakeFiles"]),
            Deed::TakeDirectory => one_of(&["TakeDirectory"]),
            Deed::Exited(_) => either(
                one_of(&["Detach", "GiveUp"]),
                rests(|state| state["holder"] == "none"),
            ),
            Deed::Killed => either(one_of(&["Kill"]), rests(|state| state["holder"] == "none")),
        });
    }
    (over == commands).then_some(events)
}

fn has(state: &Value, part: &str) -> bool {
    state["there"]
        .as_array()
        .is_some_and(|there| there.iter().any(|one| one == part))
}

/// Panics unless the trace is allowed, and each is refused with a deed left out, doubled, or exchanged with the one before
/// it where one process has done both.
pub fn only_as_it_is(network: &str, unseen: &[&str], deeds: &[Done]) {
    let graph = nucleus_formal::graph::shared("Sandbox");
    let commands = deeds
        .iter()
        .map(|done| done.command + 1)
        .max()
        .unwrap_or_default();
    let allows = |deeds: &[Done]| allows(graph, network, unseen, commands, deeds);
    assert!(allows(deeds), "refused:\n{}", told(deeds));
    let refuse = |other: &[Done], what: &str| assert!(!allows(other), "accepted, {what}:\n{}", told(other));
    for (at, one) in deeds.iter().enumerate() {
        let next = deeds[at + 1..]
            .iter()
            .find(|other| other.command == one.command && other.by.is_some());
        let changes_nothing = next.is_some_and(|next| match next.deed {
            Deed::Killed => true,
            // It was looked at, under the lock.
            Deed::Exited(_) => one.deed == Deed::Lock,
            _ => false,
        });
        // One of two is enough.
        let again =
            deeds.iter().filter(|other| other.deed == one.deed).count() > 1 && one.deed == Deed::TakeNetwork;
        if !changes_nothing && !again {
            let mut other = deeds.to_vec();
            other.remove(at);
            refuse(&other, &format!("without {:?}", one.deed));
        }
        let mut other = deeds.to_vec();
        other.insert(at, one.clone());
        refuse(&other, &format!("twice {:?}", one.deed));
        // Of these the order is the code's own, which is held against the spec in formal/bindings/cleanup.rs.
        let either = |deed: Deed| matches!(deed, Deed::TakeNetwork | Deed::TakeFiles);
        let bound = |last: &Done| {
            last.command == one.command
                && last.by.is_some()
                && one.by.is_some()
                && !(either(last.deed) && either(one.deed))
        };
        if at > 0 && bound(&deeds[at - 1]) {
            let mut other = deeds.to_vec();
            other.swap(at, at - 1);
            refuse(&other, &format!("{:?} first", one.deed));
        }
    }
}

/// For a person.
pub fn told(deeds: &[Done]) -> String {
    deeds
        .iter()
        .map(|done| format!("  {} {:?}\n", done.command, done.deed))
        .collect()
}
