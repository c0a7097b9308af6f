//! Seccomp policies: the JSON of an OCI spec's `linux.seccomp`, or of container engines' profiles, which add
//! `archMap`, `comment`, and `includes` and `excludes` by capability, architecture and kernel.

mod guard;
mod loaded;
mod names;
mod profile;
mod render;

use std::path::PathBuf;

use oci_spec::runtime::{
    Arch, Capabilities, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSyscall,
};

pub use guard::Guard;
pub(crate) use loaded::Profile;
pub use loaded::Resolved;

/// A profile that was understood, for x86_64 and the kernel it was read for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeccompPolicy {
    pub(crate) default: Verdict,
    /// Empty: the native one.
    pub(crate) architectures: Vec<Arch>,
    pub(crate) flags: Vec<LinuxSeccompFilterFlag>,
    pub(crate) listener_path: Option<PathBuf>,
    pub(crate) listener_metadata: Option<String>,
    pub(crate) rules: Vec<Rule>,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The action.
    pub action: LinuxSeccompAction,
    /// The error returned, or the value for the tracer; the runtime's default (EPERM) where absent.
    pub errno: Option<u32>,
}

/// One entry of `syscalls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The calls.
    pub names: Vec<&'static str>,
    /// What happens to them.
    pub verdict: Verdict,
    /// Conditions on their arguments, all of which must hold.
    pub args: Vec<LinuxSeccompArg>,
    /// Capabilities for which the rule is there.
    pub guard: Guard,
    /// The reason that the profile gives.
    pub comment: String,
    /// The line of the file where the entry starts.
    pub line: usize,
    /// Whether x86_64 lacks one of the calls.
    pub(crate) has_foreign: bool,
}

impl SeccompPolicy {
    /// The rules, in the profile's order; those for other architectures and kernels are left out.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What happens to a call that no rule names.
    #[must_use]
    pub fn default_verdict(&self) -> Verdict {
        self.default
    }

    /// The profile for a process with this bounding set (capabilities(7)).
    ///
    /// Calls that no listed architecture has are left out: no process can make them.
    #[must_use]
    pub fn resolve(&self, bounding: &Capabilities) -> LinuxSeccomp {
        let native = self
            .architectures
            .iter()
            .all(|arch| matches!(arch, Arch::ScmpArchNative | Arch::ScmpArchX86_64));
        let rules = self.rules.iter().filter(|rule| rule.guard.holds(bounding));
        let mut profile = LinuxSeccomp::default();
        profile
            .set_default_action(self.default.action)
            .set_default_errno_ret(self.default.errno)
            .set_architectures(some(self.architectures.clone()))
            .set_flags(some(self.flags.clone()))
            .set_listener_path(self.listener_path.clone())
            .set_listener_metadata(self.listener_metadata.clone())
            .set_syscalls(some(rules.filter_map(|rule| rule.resolve(native)).collect()));
        profile
    }
}

impl Rule {
    fn resolve(&self, native: bool) -> Option<LinuxSyscall> {
        let without = native && self.has_foreign;
        let there = |name: &&str| !without || names::Call::named(name).is_some_and(names::Call::is_native);
        let names = self.names.iter().copied().filter(there).map(str::to_owned);
        let names: Vec<String> = names.collect();
        if names.is_empty() {
            return None;
        }
        let mut entry = LinuxSyscall::default();
        entry
            .set_names(names)
            .set_action(self.verdict.action)
            .set_errno_ret(self.verdict.errno)
            .set_args(some(self.args.clone()));
        Some(entry)
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

#[cfg(test)]
mod tests;
