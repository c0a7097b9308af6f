//! SIGKILL of a command before each of its steps that the specs tell apart, and an error at each of them: what is seen up
//! to there, what its process does then, and what the next commands do about it is what the specs allow.

use super::bed::{Bed, Trace, until};
use super::hold::told;
use super::runs::{EVERYTHING, everything};
use super::seen::{Seen, What, Who, is_end};
use super::strace::Call;
use super::subject::Subject;

/// A call of a process at which something is injected that strikes no other process.
#[derive(Debug, Clone)]
pub struct Place<W> {
    name: String,
    nth: usize,
    /// How much is seen of the process before it, and what next.
    pub before: usize,
    pub next: W,
}

impl<W> Place<W> {
    /// What strace(1) is to do there.
    pub fn injected(&self, what: &str) -> String {
        format!("inject={}:{what}:when={}", self.name, self.nth)
    }
}

/// For each step of a process the last call before it that strikes nobody else: that of the step itself, where it is one;
/// and the steps before which there is none. `steps` are told with the calls that make them, `calls` are those of a run
/// that nobody disturbs.
pub fn places<W: Clone>(steps: &[(W, (String, usize))], calls: &[Call], pid: u32) -> (Vec<Place<W>>, Vec<W>) {
    let mine: Vec<&Call> = calls.iter().filter(|call| call.pid == pid).collect();
    let mut from = 0;
    let (mut places, mut unreached) = (Vec::new(), Vec::new());
    for (before, (step, by)) in steps.iter().enumerate() {
        let at = mine.iter().position(|call| call.name == by.0 && call.nth == by.1);
        let at = at.expect("its call");
        let mut candidates = mine[from..=at].iter().rev();
        let call = candidates.clone().find(|call| strikes_alone(calls, call, false));
        // Nobody else makes it as often when the first one has been struck.
        let call = call.or_else(|| candidates.find(|call| strikes_alone(calls, call, true)));
        from = at + 1;
        let Some(call) = call else {
            unreached.push(step.clone());
            continue;
        };
        places.push(Place {
            name: call.name.clone(),
            nth: call.nth,
            before,
            next: step.clone(),
        });
    }
    (places, unreached)
}

/// Whether no other process makes this call as often: at all, or until then.
fn strikes_alone(calls: &[Call], struck: &Call, until_then: bool) -> bool {
    // How often these are made is not the same every time.
    let varies = [
        "getdents64",
        "futex",
        "ppoll",
        "mmap",
        "munmap",
        "madvise",
        "brk",
        "mprotect",
    ];
    !varies.contains(&&*struck.name)
        && !calls.iter().any(|call| {
            let is_same = call.pid != struck.pid && call.name == struck.name && call.nth == struck.nth;
            is_same && !(until_then && call.entered > struck.entered)
        })
}

/// A command among those that come before and after it.
struct Struck<'a> {
    before: &'a [&'a [&'a str]],
    command: &'a [&'a str],
    /// What follows the id.
    after: &'a [&'a str],
    next: &'a [&'a [&'a str]],
    /// Whether its process ends by itself, and is waited for.
    ends: bool,
}

impl Struck<'_> {
    fn number(&self) -> usize {
        self.before.len()
    }

    fn trace(&self, bed: &Bed, injected: Option<&str>) -> Trace {
        let mut watch = bed.watch();
        for command in self.before {
            watch.command(None, command, &[]);
        }
        watch.command(injected, self.command, self.after);
        until("its process ends", || {
            !self.ends || watch.has_ended(self.number())
        });
        for command in self.next {
            watch.command(None, command, &[]);
        }
        watch.finish()
    }

    fn asked(&self) -> Vec<&'static str> {
        let all = self.before.iter().chain([&self.command]).chain(self.next);
        all.map(|words| match words {
            ["create", ..] => "create",
            ["run", ..] => "run",
            ["start", ..] => "start",
            ["kill", ..] => "kill",
            ["exec", ..] => "exec",
            ["delete"] => "delete",
            _ => "force",
        })
        .collect()
    }

    /// Has the command, or its child, struck before each of its steps, and holds each trace by `hold`.
    fn each(&self, bed: &Bed, blow: Blow, unreached: &[What], hold: impl Fn(&[Seen], &Place<What>)) {
        let whole = self.trace(bed, None);
        let (who, pid) = self.who(blow, &whole);
        let own = whole
            .seen
            .iter()
            .filter(|seen| seen.who == who && !is_end(&seen.what));
        let steps: Vec<_> = own.map(|seen| (seen.what.clone(), seen.by.clone())).collect();
        let (places, without) = places(&steps, &whole.calls[self.number()], pid);
        assert_eq!(without, unreached, "{places:?}");
        for place in places.iter().filter(|place| blow.is_felt(&place.next)) {
            let seen = self.trace(bed, Some(&blow.injected(place))).seen;
            let shown = || format!("{blow:?} at {place:?}:\n{}", told(&seen));
            let killed = seen
                .iter()
                .filter(|seen| seen.who == who && seen.what == What::Killed);
            assert!(!blow.is_kill() || killed.count() == 1, "{}", shown());
            let own: Vec<&What> = seen
                .iter()
                .filter(|seen| seen.who == who)
                .map(|seen| &seen.what)
                .collect();
            let before: Vec<&What> = whole
                .seen
                .iter()
                .filter(|seen| seen.who == who)
                .map(|seen| &seen.what)
                .collect();
            assert_eq!(own[..place.before], before[..place.before], "{}", shown());
            assert!(!blow.is_kill() || own.len() == place.before + 1, "{}", shown());
            hold(&seen, place);
        }
    }

    fn who(&self, blow: Blow, whole: &Trace) -> (Who, u32) {
        let calls = &whole.calls[self.number()];
        match blow {
            Blow::Kill | Blow::Error => (Who::Command(self.number()), calls[0].pid),
            Blow::KillChild | Blow::ErrorOfChild => {
                let spawn = calls
                    .iter()
                    .find(|call| super::seen::is_spawn(call))
                    .expect("a child");
                (
                    Who::Child(self.number()),
                    spawn.result.parse().expect("a process"),
                )
            }
        }
    }

    /// The container that the first command makes.
    fn subject(&self) -> Subject {
        let asked = self.asked();
        let mut subject = Subject::of(asked[0]);
        subject.exchange.starter = asked.iter().position(|op| *op == "start");
        subject.life.asked = asked;
        subject
    }
}

/// What strikes.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Kill,
    Error,
    KillChild,
    ErrorOfChild,
}

impl Blow {
    fn is_kill(self) -> bool {
        matches!(self, Self::Kill | Self::KillChild)
    }

    fn injected(self, place: &Place<What>) -> String {
        place.injected(if self.is_kill() {
            "signal=KILL"
        } else {
            "error=EPERM"
        })
    }

    /// The specs have the failure of what a command does from the first process on, and of all that this one does.
    fn is_felt(self, next: &What) -> bool {
        let of_command = matches!(next, What::Spawn | What::Record | What::Said(_) | What::Heard(_));
        match self {
            Self::Error => of_command,
            // umask(2) never fails, a program that cannot be looked at is tried all the same, and what fails of a hook's
            // start is between the standard library and the kernel.
            Self::ErrorOfChild => {
                let unfelt = ["Root", "Program", "Hooks"];
                !matches!(next, What::Step(step) if unfelt.contains(step))
            }
            Self::Kill | Self::KillChild => true,
        }
    }
}

fn was_made(seen: &[Seen], number: usize) -> bool {
    seen.iter()
        .any(|seen| seen.who == Who::Command(number) && seen.what == What::Spawn)
}

/// Whoever was told so, and however the process has ended.
fn hold(subject: &Subject, seen: &[Seen]) {
    if was_made(seen, subject.exchange.maker) {
        subject.exchanges_somehow(seen);
        subject.isolates_somehow(seen);
    }
    subject.lives(seen);
}

#[test]
fn create_is_killed() {
    let Some(bed) = Bed::new() else { return };
    bed.configure(&["sleep", "1000"], |_| {});
    let create = Struck {
        before: &[],
        command: &["create"],
        after: &[],
        next: &[&["start"], &["delete"], &["delete", "--force"]],
        ends: false,
    };
    create.each(&bed, Blow::Kill, &[], |seen, _| hold(&create.subject(), seen));
    create.each(&bed, Blow::Error, &[], |seen, _| hold(&create.subject(), seen));
    create.each(
        &bed,
        Blow::ErrorOfChild,
        &[What::ReadByte, What::Exec],
        |seen, _| hold(&create.subject(), seen),
    );
    create.each(&bed, Blow::KillChild, &[What::ReadByte, What::Exec], |seen, _| {
        hold(&create.subject(), seen);
    });
}

#[test]
fn run_is_killed() {
    let Some(bed) = Bed::new() else { return };
    bed.configure(&["true"], everything);
    let run = Struck {
        before: &[],
        command: &["run"],
        after: &[],
        next: &[&["delete"], &["delete", "--force"]],
        ends: true,
    };
    let mut subject = run.subject();
    subject.asks(&EVERYTHING, true);
    run.each(&bed, Blow::Kill, &[], |seen, _| hold(&subject, seen));
    run.each(&bed, Blow::ErrorOfChild, &[What::Said("ready")], |seen, _| {
        hold(&subject, seen);
    });
}

#[test]
fn exec_is_killed() {
    let Some(bed) = Bed::new() else { return };
    bed.configure(&["sleep", "1000"], |_| {});
    let exec = Struck {
        before: &[&["create"], &["start"]],
        command: &["exec"],
        after: &["true"],
        next: &[&["delete"], &["delete", "--force"]],
        ends: true,
    };
    exec.each(&bed, Blow::Kill, &[], |seen, _| {
        exec.subject().holds(seen, "ok", "program");
        let mut entered = Subject::of("exec");
        entered.enters(2);
        if was_made(seen, 2) {
            entered.exchanges_somehow(seen);
            entered.isolates_somehow(seen);
        }
    });
}

#[test]
fn start_is_killed() {
    let Some(bed) = Bed::new() else { return };
    bed.configure(&["sleep", "1000"], |_| {});
    let start = Struck {
        before: &[&["create"]],
        command: &["start"],
        after: &[],
        next: &[&["start"], &["delete"], &["delete", "--force"]],
        ends: false,
    };
    start.each(&bed, Blow::Kill, &[], |seen, _| start.subject().lives(seen));
}

#[test]
fn delete_is_killed() {
    let Some(bed) = Bed::new() else { return };
    bed.configure(&["sleep", "1000"], |_| {});
    let delete = Struck {
        before: &[&["create"], &["start"]],
        command: &["delete", "--force"],
        after: &[],
        next: &[&["delete"], &["delete", "--force"]],
        ends: false,
    };
    delete.each(&bed, Blow::Kill, &[], |seen, _| hold(&delete.subject(), seen));
}
