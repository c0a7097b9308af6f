//! The messages of parent, child and `start` against the spec Handshake: what each of them says, hears and does about
//! it, and how each ends. No step of the spec is hidden.

use super::hold::{Event, either, ends, is_whole, one_of, rests, when};
use super::seen::{Seen, What, Who};
use nucleus_formal::graph::{Graph, text};
use serde_json::{Value, json};

/// One exchange: that of a command which makes a process, and of the `start` that goes with it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What was asked for, as the spec has it.
    pub wanted: Value,
    /// The numbers of the commands.
    pub maker: usize,
    pub starter: Option<usize>,
}

/// What the spec calls what was asked for.
pub fn wanted(mode: &str, proceed: bool, hooks: bool) -> Value {
    json!({"mode": mode, "proceed": proceed, "terminal": proceed, "hooks": hooks, "listener": false, "block": false})
}

impl Exchange {
    /// What of a trace belongs to it.
    pub fn of(&self, seen: &[Seen]) -> Vec<Seen> {
        let (mut deserted, mut gave_up, mut asked) = (false, false, false);
        let belongs = |seen: &&Seen| match (seen.who, &seen.what) {
            (Who::Child(number), what) if number == self.maker => {
                // What it says to nobody any more.
                let to_nobody = deserted && *what == What::Told;
                deserted |= *what == What::Heard("closed");
                !to_nobody && !matches!(what, What::Step(_))
            }
            (Who::Command(number), what) if number == self.maker => match what {
                // It only looks for a better word of why.
                What::Heard(_) => !gave_up,
                What::Signal(_) => {
                    gave_up = true;
                    true
                }
                What::Spawn | What::Said(_) | What::Record | What::Exited(_) | What::Killed => true,
                _ => false,
            },
            (Who::Command(number), what) if Some(number) == self.starter => {
                asked |= *what == What::Byte;
                asked
                    && matches!(
                        what,
                        What::Byte | What::Answer(_) | What::Exited(_) | What::Killed
                    )
            }
            _ => false,
        };
        seen.iter().filter(belongs).cloned().collect()
    }

    /// The answers that the caller may have got, where the spec allows this trace.
    pub fn answers<'a>(&self, graph: &'a Graph, trace: &[Seen]) -> Vec<&'a str> {
        let Some(events) = is_whole(trace, Some(self.maker))
            .then(|| self.events(trace))
            .flatten()
        else {
            return Vec::new();
        };
        let starts = |state: &Value| state["wanted"] == self.wanted;
        let ends = ends(graph, starts, &events, |_| false);
        let over = ends.into_iter().filter(|state| state["child"] != "alive");
        over.map(|state| text(&state["answer"])).collect()
    }

    fn events(&self, trace: &[Seen]) -> Option<Vec<Event>> {
        let mut events = Vec::new();
        let mut parent = Parent::default();
        for seen in trace {
            events.push(match seen.who {
                Who::Child(_) => child(&seen.what)?,
                Who::Command(number) if number == self.maker => parent.event(&seen.what)?,
                Who::Command(_) => starter(&seen.what)?,
            });
        }
        Some(events)
    }
}

/// What the parent has heard and not answered yet: the spec has both in one action.
#[derive(Default)]
struct Parent {
    heard: Option<&'static str>,
    started: bool,
}

impl Parent {
    fn event(&mut self, what: &What) -> Option<Event> {
        let heard = self.heard.take();
        Some(match (what, heard) {
            (What::Said("hooks done"), Some("mounted")) => one_of(&["RunsHooks"]),
            (What::Said("listener sent"), Some("listener")) => one_of(&["PassesListener"]),
            (What::Signal(_), Some("failed")) => one_of(&["Reports"]),
            (What::Signal(_), Some("closed")) => one_of(&["SeesDeath"]),
            // By itself, and not because the child has told anything or ended.
            (What::Signal(_), _) => when("ParentFails", |step| {
                let queue = step.before["toParent"].as_array();
                !queue.is_some_and(|queue| {
                    queue
                        .iter()
                        .any(|message| message == "failed" || message == "closed")
                })
            }),
            (What::Killed, _) => either(
                one_of(&["ParentDies"]),
                rests(|state| matches!(text(&state["parent"]), "done" | "failed" | "idle")),
            ),
            (_, Some(_)) => return None,
            (What::Heard("terminal"), None) => one_of(&["KeepsTerminal"]),
            (What::Heard("ready"), None) => one_of(&["GoesOn"]),
            (What::Heard("closed"), None) if self.started => one_of(&["SeesExec"]),
            (What::Heard(message), None) => {
                let message = *message;
                self.heard = Some(message);
                rests(move |state| state["toParent"][0] == message)
            }
            (What::Spawn, None) => one_of(&["Clones"]),
            (What::Said("proceed"), None) => one_of(&["Proceeds"]),
            (What::Said("start"), None) => {
                self.started = true;
                one_of(&["LeavesWaiting", "StartsAlone", "CallerGoes"])
            }
            (What::Record, None) => one_of(&["Records"]),
            (What::Exited(code), None) => {
                let failed = *code != 0;
                rests(move |state| match text(&state["answer"]) {
                    "ok" => true,
                    "failed" => failed,
                    // It has failed before there was a child.
                    _ => failed && state["parent"] == "idle",
                })
            }
            _ => return None,
        })
    }
}

fn child(what: &What) -> Option<Event> {
    Some(match *what {
        What::Said("failed") => when("Fails", |step| {
            step.after["toParent"]
                .as_array()
                .is_some_and(|queue| queue.iter().any(|message| message == "failed"))
        }),
        What::Said(said) => when("Sends", move |step| {
            step.after["toParent"].as_array().and_then(|queue| queue.last()) == Some(&json!(said))
        }),
        What::Heard("closed") => one_of(&["HearsTheEnd"]),
        What::Heard(heard) => when("Hears", move |step| step.before["toChild"][0] == heard),
        What::ReadByte => one_of(&["HearsByte"]),
        What::Told => when("Fails", |step| step.after["result"] == "failed"),
        What::Exec => one_of(&["Execs"]),
        What::Killed => either(one_of(&["Dies"]), rests(has_ended)),
        // Without a word it goes only where nobody is there to hear what it says.
        What::Exited(_) => either(
            when("Dies", |step| {
                let says =
                    ["terminal", "mounted", "listener", "ready"].contains(&text(&step.before["script"][0]));
                says && matches!(text(&step.before["parent"]), "dead" | "failed")
            }),
            rests(has_ended),
        ),
        _ => return None,
    })
}

fn has_ended(state: &Value) -> bool {
    matches!(text(&state["child"]), "dead" | "program")
}

fn starter(what: &What) -> Option<Event> {
    Some(match *what {
        What::Byte => one_of(&["WritesByte"]),
        What::Answer(failed) => when("ReadsAnswer", move |step| {
            step.after["starter"] == if failed { "failed" } else { "ok" }
        }),
        What::Exited(0) => rests(|state| state["starter"] == "ok"),
        What::Exited(_) => rests(|state| state["starter"] == "failed"),
        What::Killed => rests(|_| true),
        _ => return None,
    })
}
