//! What a profile says, taken literally: the witness for compiled filters.

use std::collections::BTreeSet;

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator as Operator};

use super::super::interpret::{Call, arch};
use super::super::syscalls::{self, Multiplexer, Syscall};

pub(in super::super) fn repeats_an_index(args: &[&LinuxSeccompArg]) -> bool {
    let indices: BTreeSet<_> = args.iter().map(|arg| arg.index()).collect();
    indices.len() < args.len()
}

/// One rule of a profile, read literally for one system call.
struct Rule<'a> {
    syscall: &'static Syscall,
    verdict: u32,
    args: Vec<&'a LinuxSeccompArg>,
}

/// The rules of a profile, taken literally.
pub(in super::super) struct Meaning<'a> {
    default: u32,
    rules: Vec<Rule<'a>>,
    architectures: &'a [Arch],
}

impl<'a> Meaning<'a> {
    pub(in super::super) fn of(seccomp: &'a LinuxSeccomp) -> Self {
        let default = seccomp.default_action().as_u32(seccomp.default_errno_ret());
        let mut rules = Vec::new();
        for entry in seccomp.syscalls().iter().flatten() {
            let verdict = entry.action().as_u32(entry.errno_ret());
            if verdict == default {
                continue;
            }
            let args: Vec<_> = entry.args().iter().flatten().collect();
            for syscall in entry.names().iter().filter_map(|name| syscalls::find(name)) {
                if repeats_an_index(&args) {
                    rules.extend(args.iter().map(|arg| Rule {
                        syscall,
                        verdict,
                        args: vec![arg],
                    }));
                } else {
                    rules.push(Rule {
                        syscall,
                        verdict,
                        args: args.clone(),
                    });
                }
            }
        }
        let architectures = seccomp.architectures().as_deref().unwrap_or_default();
        Self {
            default,
            rules,
            architectures,
        }
    }

    /// The actions of all rules that describe the call; the default if none does; KILL for calls of an
    /// architecture that is not listed.
    pub(in super::super) fn verdicts(&self, call: &Call) -> BTreeSet<u32> {
        let listed = |arch: Arch| self.architectures.contains(&arch);
        let known = match call.arch {
            arch::X86_64 => {
                call.number < arch::X32_BIT || call.number == u32::MAX || listed(Arch::ScmpArchX32)
            }
            arch::I386 => listed(Arch::ScmpArchX86),
            _ => false,
        };
        if !known {
            return [0].into();
        }
        let verdicts: BTreeSet<u32> = self
            .rules
            .iter()
            .filter(|rule| rule.describes(call))
            .map(|rule| rule.verdict)
            .collect();
        if verdicts.is_empty() {
            [self.default].into()
        } else {
            verdicts
        }
    }
}

impl Rule<'_> {
    fn describes(&self, call: &Call) -> bool {
        let holds = |arg: &&&LinuxSeccompArg| holds(arg, call);
        let Syscall(_, x86_64, x32, i386, multiplexer) = self.syscall;
        let number = |number: &i16, base| u32::try_from(*number).ok().map(|number| number + base);
        if call.arch == arch::X86_64 {
            let is_it = [number(x86_64, 0), number(x32, arch::X32_BIT)].contains(&Some(call.number));
            return is_it && self.args.iter().all(|arg| holds(&arg));
        }
        let (by, operation) = match multiplexer {
            Multiplexer::Direct => (u32::MAX, 0),
            Multiplexer::Socketcall(operation) => (102, *operation),
            Multiplexer::Ipc(operation) => (117, *operation),
        };
        let multiplexed = by == call.number
            && call.args[0] as u32 == u32::from(operation)
            && self
                .args
                .iter()
                .filter(|arg| arg.index() != 0)
                .all(|arg| holds(&arg));
        multiplexed || (number(i386, 0) == Some(call.number) && self.args.iter().all(|arg| holds(&arg)))
    }
}

fn holds(arg: &LinuxSeccompArg, call: &Call) -> bool {
    let wide = call.arch == arch::X86_64 && call.number < arch::X32_BIT;
    let seen = |value: u64| if wide { value } else { u64::from(value as u32) };
    let (got, value) = (seen(call.args[arg.index()]), seen(arg.value()));
    match arg.op() {
        Operator::ScmpCmpNe => got != value,
        Operator::ScmpCmpLt => got < value,
        Operator::ScmpCmpLe => got <= value,
        Operator::ScmpCmpEq => got == value,
        Operator::ScmpCmpGe => got >= value,
        Operator::ScmpCmpGt => got > value,
        Operator::ScmpCmpMaskedEq => got & value == arg.value_two().unwrap_or_default() & value,
    }
}

/// Calls that tell filters for this profile apart.
pub(in super::super) fn calls(seccomp: &LinuxSeccomp, seed: u64) -> Vec<Call> {
    let mut calls = Vec::new();
    for number in 0..600 {
        let args = [0; 6];
        for (arch, number) in [
            (arch::X86_64, number),
            (arch::X86_64, number | arch::X32_BIT),
            (arch::I386, number),
            (0xc000_00f3, number),
        ] {
            calls.push(Call { arch, number, args });
        }
    }
    for number in [u32::MAX, u32::MAX - 1, 1 << 31, arch::X32_BIT - 1] {
        calls.extend([arch::X86_64, arch::I386, 0].map(|arch| Call {
            arch,
            number,
            args: [1; 6],
        }));
    }
    let mut random = Random(seed | 1);
    for entry in seccomp
        .syscalls()
        .iter()
        .flatten()
        .filter(|entry| entry.args().is_some())
    {
        for syscall in entry.names().iter().filter_map(|name| syscalls::find(name)) {
            // All rules of the call matter to it, and all entries come by.
            let operands = operands(seccomp, syscall.0);
            for _ in 0..64 {
                let args = std::array::from_fn(|index| random.pick(&operands[index]));
                calls.extend(forms(syscall, args));
            }
        }
    }
    calls
}

/// A call in every ABI, and through i386's multiplexers.
fn forms(syscall: &Syscall, args: [u64; 6]) -> Vec<Call> {
    let Syscall(_, x86_64, x32, i386, multiplexer) = syscall;
    let mut calls = Vec::new();
    for (arch, number, base) in [
        (arch::X86_64, x86_64, 0),
        (arch::X86_64, x32, arch::X32_BIT),
        (arch::I386, i386, 0),
    ] {
        if let Ok(number) = u32::try_from(*number) {
            calls.push(Call {
                arch,
                number: number + base,
                args,
            });
        }
    }
    let (number, operation) = match multiplexer {
        Multiplexer::Direct => return calls,
        Multiplexer::Socketcall(operation) => (102, *operation),
        Multiplexer::Ipc(operation) => (117, *operation),
    };
    let [first, rest @ ..] = args;
    for first in [first, operation.into()] {
        let mut args = [first; 6];
        args[1..].copy_from_slice(&rest);
        calls.push(Call {
            arch: arch::I386,
            number,
            args,
        });
    }
    calls
}

/// For each argument, values around what the rules of `name` compare it with.
fn operands(seccomp: &LinuxSeccomp, name: &str) -> [Vec<u64>; 6] {
    let mut operands: [Vec<u64>; 6] =
        std::array::from_fn(|_| vec![0, 1, 1 << 31, u32::MAX.into(), 1 << 32, u64::MAX]);
    let entries = seccomp
        .syscalls()
        .iter()
        .flatten()
        .filter(|entry| entry.names().iter().any(|n| n == name));
    for arg in entries.flat_map(|entry| entry.args().iter().flatten()) {
        for value in [arg.value(), arg.value_two().unwrap_or(arg.value())] {
            let near = [
                value,
                value.wrapping_sub(1),
                value.wrapping_add(1),
                value ^ (1 << 32),
                value | (7 << 33),
            ];
            for value in near {
                // Twice, so that values on the edge outweigh the generic ones.
                operands[arg.index()].extend([value, value]);
            }
        }
    }
    operands
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn pick(&mut self, values: &[u64]) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        values[(self.0 >> 16) as usize % values.len()]
    }
}
