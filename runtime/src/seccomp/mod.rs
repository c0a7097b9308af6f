//! Seccomp filters: from `linux.seccomp` to a classic BPF program.
//!
//! [`compile`] is pure and gives the verdicts that libseccomp 2.5 (runc, crun) gives for the same profile,
//! with a shorter program. The tests under the feature `libseccomp` compare the two. Where they differ:
//!
//! - Always on purpose: a rule acts on exactly the calls that it describes. libseccomp at times compares the
//!   wrong half of a 64-bit argument, and widens or loses rules (or never returns) when `NE`, `GT`, `GE`,
//!   `LT` or `LE` on one argument, conditions on later arguments and other rules for the same call meet.
//! - Rules of different actions that overlap: an unconditional rule wins, then the order that
//!   `conditions` documents, as in libseccomp. In one of a hundred random profiles made to contradict
//!   themselves, libseccomp picks another of the rules, or only one of the two refuses.
//! - runc answers ENOSYS to calls newer than any in the profile. `config-linux.md#seccomp` knows only the
//!   default action, and that is what such calls get.
//!
//! Refused, as by libseccomp: rules of different actions of which one includes the other and came later.
//! A call through an architecture that the profile does not list kills the thread (`SCMP_ACT_KILL`), x32
//! calls among them.
//!
//! Platform: x86_64, with x32 and i386 if the profile lists them. Other architectures are accepted and
//! contribute nothing, since this kernel never reports them.

mod bpf;
mod conditions;
#[cfg(all(test, feature = "libseccomp"))]
mod differential;
mod emit;
pub mod interpret;
mod profile;
mod rules;
mod syscalls;
mod table;
#[cfg(test)]
mod tests;

pub use nucleus_sys::seccomp::SockFilter;
pub use profile::{Error, Filter, MAX_INSTRUCTIONS, compile};
