//! Our own cases, for what no other suite covers; one file an area, one function a case.

mod cgroups;
mod concurrency;
mod crash;
mod devices;
mod errors;
mod exec;
mod fds;
mod hooks;
mod idmap;
mod lifecycle;
mod masks;
mod mounts;
mod namespaces;
mod output;
mod process;
mod recursive;
mod rootless;
mod seccomp;
mod terminal;

use anyhow::{Result, ensure};

use crate::apt;
use crate::inside::{self, Inside};
use crate::suite::Case;

/// Lists functions as the cases of a file; a case has its function's name.
macro_rules! list {
    ($($body:ident),* $(,)?) => {
        pub(super) const CASES: &[crate::inside::Inside] =
            &[$(crate::inside::Inside { name: stringify!($body), body: $body }),*];
    };
}
use list;

/// All cases.
pub(crate) fn all() -> Vec<Inside> {
    [
        lifecycle::CASES,
        errors::CASES,
        output::CASES,
        process::CASES,
        namespaces::CASES,
        mounts::CASES,
        recursive::CASES,
        idmap::CASES,
        masks::CASES,
        devices::CASES,
        cgroups::CASES,
        exec::CASES,
        hooks::CASES,
        fds::CASES,
        terminal::CASES,
        seccomp::CASES,
        rootless::CASES,
        concurrency::CASES,
        crash::CASES,
    ]
    .concat()
}

/// The cases in which another kernel could do something else: its mounts, namespaces and cgroups.
pub(crate) fn of_the_kernel() -> Vec<Inside> {
    let whole = [
        namespaces::CASES,
        mounts::CASES,
        recursive::CASES,
        cgroups::CASES,
        rootless::CASES,
    ];
    let some = [exec::CASES, seccomp::CASES].concat();
    let some = some
        .into_iter()
        .filter(|case| case.name.contains("namespace") || case.name.contains("notify"));
    whole.concat().into_iter().chain(some).collect()
}

/// The cases, for the host's side.
///
/// # Errors
/// busybox-static is missing and cannot be installed.
pub(crate) fn cases() -> Result<Vec<Case>> {
    apt::install(&["busybox-static"])?;
    Ok(all()
        .into_iter()
        .map(|case| inside::case("own", case.name, None))
        .collect())
}

/// Fails unless both are equal, and says what was seen.
fn expect_eq<T: PartialEq<U> + std::fmt::Debug, U: std::fmt::Debug>(
    what: &str,
    seen: T,
    expected: U,
) -> Result<()> {
    ensure!(seen == expected, "{what} is {seen:?} instead of {expected:?}");
    Ok(())
}
