//! The cases; one file an area, one function a case.

mod delegated;
mod io;
mod landlock;
mod limits;
mod network;
mod nix;
mod scope;
mod units;
mod user;

use super::Bed;
use super::guest::BedCase;

/// Lists functions as the cases of a file, all for the same beds; a case has its function's name.
macro_rules! list {
    ($beds:expr; $($body:ident),* $(,)?) => {
        pub(in crate::beds) const CASES: &[crate::beds::guest::BedCase] =
            &[$(crate::beds::guest::BedCase { name: stringify!($body), beds: $beds, body: $body }),*];
    };
}
use list;

/// Everywhere.
const ALL: &[Bed] = &[Bed::Container, Bed::Machine, Bed::OldMachine];
/// Where cgroup2 has all of its controllers.
const MACHINES: &[Bed] = &[Bed::Machine, Bed::OldMachine];

/// The cases of a bed.
pub(super) fn of(bed: Bed) -> impl Iterator<Item = BedCase> {
    let all = [
        scope::CASES,
        scope::plain::CASES,
        scope::limited::CASES,
        limits::CASES,
        landlock::CASES,
        units::CASES,
        units::plain::CASES,
        units::limited::CASES,
        user::CASES,
        nix::CASES,
        nix::plain::CASES,
        user::subgroup::CASES,
        delegated::CASES,
        delegated::networked::CASES,
        io::CASES,
    ]
    .concat();
    all.into_iter().filter(move |case| case.beds.contains(&bed))
}
