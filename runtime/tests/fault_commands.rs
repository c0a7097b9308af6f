//! As `fault_injection`, for what comes after `create`: `start`, `run`, `exec` and `delete`, with hooks.

mod injection;
mod support;

use injection::{Attempt, Bed, Call, hooked, mapped, running};
use serde_json::Value;
use support::Finished;

const START: Attempt<'static> = Attempt {
    command: &["start"],
    after: &[],
    before: &[&["create"]],
    sampled: 17,
    fewest: 20,
};

/// In the first process, between the byte of `start` and exec.
const STARTED: Attempt<'static> = Attempt {
    sampled: 3,
    fewest: 3,
    ..START
};

const RUN: Attempt<'static> = Attempt {
    command: &["run", "--detach"],
    after: &[],
    before: &[],
    sampled: 43,
    fewest: 50,
};

const EXEC: Attempt<'static> = Attempt {
    command: &["exec", "--detach"],
    after: &["sleep", "1000"],
    before: &[&["run", "--detach"]],
    sampled: 29,
    fewest: 20,
};

const DELETE: Attempt<'static> = Attempt {
    command: &["delete", "--force"],
    after: &[],
    before: &[&["run", "--detach"]],
    sampled: 23,
    fewest: 20,
};

/// Hooks after the fact only warn, and a process that cannot be looked at counts as alive.
fn is_no_failure(call: &Call, finished: &Finished) -> bool {
    let warned = ["poststart: ", "poststop: "]
        .iter()
        .any(|kind| finished.stderr.contains("level=warning") && finished.stderr.contains(kind));
    let looked_at = |object: &str| object.starts_with("/proc/") && object.ends_with("/stat");
    warned
        || match call.number {
            libc::SYS_openat => looked_at(&call.object),
            libc::SYS_read => true,
            _ => false,
        }
}

fn both(config: &mut Value) {
    mapped(config);
    running(config);
}

#[test]
fn a_failed_or_killed_start_leaves_a_container_that_can_be_deleted() {
    let Some(bed) = Bed::new(hooked) else { return };
    bed.errors(&START, "parent", is_no_failure, || Ok(()));
    bed.kills(&START, "parent", |_, _| Ok(()));
    bed.errors(&STARTED, "waiting", |_, _| false, || Ok(()));
    bed.kills(&STARTED, "waiting", |_, _| Ok(()));
}

#[test]
fn a_failed_or_killed_run_leaves_nothing() {
    let Some(bed) = Bed::new(hooked) else { return };
    bed.errors(&RUN, "parent", is_no_failure, || Ok(()));
    bed.kills(&RUN, "parent", |_, _| Ok(()));
    bed.errors(&RUN, "child", |_, _| false, || Ok(()));
    bed.kills(&RUN, "child", |_, _| Ok(()));
}

#[test]
fn a_failed_or_killed_exec_leaves_the_container_alone() {
    let Some(bed) = Bed::new(running) else { return };
    exec(&bed, &["parent", "child"]);
}

#[test]
fn a_failed_or_killed_exec_in_a_user_namespace_leaves_the_container_alone() {
    let Some(bed) = Bed::new(both) else { return };
    exec(&bed, &["child"]);
}

/// The calls after the report that everything is ready.
fn is_last(call: &Call) -> bool {
    matches!(
        call.number,
        libc::SYS_recvfrom | libc::SYS_execve | libc::SYS_rt_sigprocmask | libc::SYS_close
    )
}

fn exec(bed: &Bed, processes: &[&str]) {
    for who in processes {
        bed.errors(&EXEC, who, is_no_failure, || bed.still("running"));
        bed.kills(&EXEC, who, |call, finished| match finished.code {
            // It had told that it was ready.
            0 if is_last(call) => Ok(()),
            1 if finished.stderr.contains("died") => bed.still("running"),
            code => Err(format!("ended with {code}")),
        });
    }
}

#[test]
fn a_failed_or_killed_delete_can_be_repeated() {
    let Some(bed) = Bed::new(hooked) else { return };
    bed.errors(&DELETE, "parent", is_no_failure, || Ok(()));
    bed.kills(&DELETE, "parent", |_, _| Ok(()));
}
