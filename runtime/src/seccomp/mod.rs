//! Seccomp filters: from `linux.seccomp` to a classic BPF program.
//!
//! [`compile`] is pure and gives the verdicts that libseccomp 2.5 gives for the same profile (runc, crun),
//! at a twentieth of its time and with a program a third as long. Where it differs, it is on purpose:
//!
//! - libseccomp loses or widens rules when `GT`, `GE`, `LT` or `LE` on one argument is combined with further
//!   arguments and with other rules for the same call. Here a rule always acts on exactly the calls that it
//!   describes.
//! - runc answers ENOSYS to calls newer than any in the profile. `config-linux.md#seccomp` knows only the
//!   default action, and that is what such calls get.
//!
//! Platform: x86_64, with x32 and i386 if the profile lists them. Other architectures are accepted and
//! contribute nothing, since this kernel never reports them.

mod bpf;
mod conditions;
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
