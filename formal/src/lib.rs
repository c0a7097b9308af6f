//! Keeps the TLA+ specs of `formal/specs` honest: two checkers agree on each, nothing in them is dead, each
//! committed mutant dies by the property it names, and their state graphs are handed to the tests that compare
//! the shipped code with them. `formal/README.md` tells how to read and change them.

pub mod binding;
pub mod check;
pub mod graph;
pub mod model;
pub mod mutant;
pub mod native;
pub mod parallel;
pub mod pins;
pub mod product;
pub mod report;
pub mod tlc;
pub mod trace;
pub mod verdict;
pub mod wish;

// Never compiled here: it is how `cargo fmt` finds the comparisons, which `build.rs` has compiled once with the shipped
// code and once with each mutant of it, and which refuses to build where one is missing here.
#[cfg(false)]
#[path = "../bindings"]
mod bindings {
    mod address;
    mod cache;
    mod cleanup;
    mod lifecycle;
    mod lookup;
    mod mode;
    mod network;
    mod order;
    mod protocol;
    mod reach;
    mod settle;
    mod tree;
}
