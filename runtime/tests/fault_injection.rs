//! Fails each system call of `create` once, and kills each of its two processes before each of their calls:
//! the error tells what failed, and nothing is left behind.

mod injection;
mod support;

use injection::{Attempt, Bed, Call, full, hooked, mapped};

const CREATE: Attempt<'static> = Attempt {
    command: &["create"],
    after: &[],
    before: &[],
    sampled: 11,
    fewest: 50,
};

fn errors(bed: &Bed, who: &str) {
    bed.errors(
        &CREATE,
        who,
        // What comes after `created` is for `start` to tell.
        |call, _| who == "child" && is_wait(call),
        || left_at_once(bed),
    );
}

fn is_wait(call: &Call) -> bool {
    matches!(call.number, libc::SYS_recvfrom | libc::SYS_read)
}

fn left_at_once(bed: &Bed) -> Result<(), String> {
    match bed.left() {
        left if left.is_empty() => Ok(()),
        left => Err(format!("left behind: {left:?}")),
    }
}

fn kills(bed: &Bed, who: &str) {
    bed.kills(&CREATE, who, |call, finished| match finished.code {
        // It had told that it was ready: the container is created, and has ended.
        0 if is_wait(call) => Ok(()),
        1 if finished.stderr.contains("died") => left_at_once(bed),
        code => Err(format!("ended with {code}")),
    });
}

#[test]
fn a_failed_call_of_the_runtime_is_told_and_undone() {
    let Some(bed) = Bed::new(full) else { return };
    errors(&bed, "parent");
}

#[test]
fn a_failed_call_of_the_first_process_is_told_and_undone() {
    let Some(bed) = Bed::new(full) else { return };
    errors(&bed, "child");
}

#[test]
fn a_runtime_killed_at_any_call_leaves_nothing_after_delete() {
    let Some(bed) = Bed::new(full) else { return };
    kills(&bed, "parent");
}

#[test]
fn a_first_process_killed_at_any_call_leaves_nothing() {
    let Some(bed) = Bed::new(full) else { return };
    kills(&bed, "child");
}

#[test]
fn failures_with_a_user_namespace_are_told_and_undone() {
    let Some(bed) = Bed::new(mapped) else { return };
    errors(&bed, "parent");
    errors(&bed, "child");
}

#[test]
fn kills_with_a_user_namespace_leave_nothing() {
    let Some(bed) = Bed::new(mapped) else { return };
    kills(&bed, "parent");
    kills(&bed, "child");
}

#[test]
fn failures_and_kills_between_hooks_are_told_and_undone() {
    let Some(bed) = Bed::new(hooked) else { return };
    errors(&bed, "parent");
    errors(&bed, "child");
    kills(&bed, "parent");
    kills(&bed, "child");
}
