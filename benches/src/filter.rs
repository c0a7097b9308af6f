//! The limit program's seccomp filter: classic BPF, a binary search over ranges of system call numbers.
//!
//! It decides as the OCI profile does, except that libseccomp also looks into i386's `socketcall`.

use std::collections::BTreeMap;

use crate::profile::{self, Architecture, Argument, Rule};

/// One `struct sock_filter` (`linux/filter.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if the comparison holds.
    pub jump_true: u8,
    /// Instructions to skip if not.
    pub jump_false: u8,
    /// Operand.
    pub k: u32,
}

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn argument_low(index: u8) -> u32 {
    16 + 8 * index as u32
}

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
const X32_BIT: u32 = 0x4000_0000;

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

fn op(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jump_true: 0,
        jump_false: 0,
        k,
    }
}

fn branch(code: u16, k: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction {
        code,
        jump_true,
        jump_false,
        k,
    }
}

/// Compiles the profile's three architectures.
///
/// # Errors
/// When the system call numbers cannot be had from the C compiler.
pub fn compile() -> anyhow::Result<Vec<Instruction>> {
    let tree = |architecture| search(&ranges(&profile::numbered(architecture)?));
    let (x86_64, x86, x32) = (
        tree(Architecture::X86_64)?,
        tree(Architecture::X86)?,
        tree(Architecture::X32)?,
    );
    let native = split(X32_BIT, x86_64, x32);
    let mut program = vec![op(LOAD, ARCHITECTURE)];
    // A conditional jump reaches 255 instructions: longer ways go through `JUMP`.
    program.push(branch(JUMP_EQUAL, AUDIT_ARCH_X86_64, 0, 1));
    program.push(op(JUMP, 3 + u32::try_from(x86.len())?));
    program.push(branch(JUMP_EQUAL, AUDIT_ARCH_I386, 1, 0));
    program.push(op(RETURN, KILL_PROCESS));
    program.push(op(LOAD, NUMBER));
    program.extend(x86);
    program.push(op(LOAD, NUMBER));
    program.extend(native);
    Ok(program)
}

/// The number at which each run of equal rules starts; `None` is the default action. The first starts at 0.
fn ranges(rules: &BTreeMap<u32, Rule>) -> Vec<(u32, Option<Rule>)> {
    let mut ranges: Vec<(u32, Option<Rule>)> = vec![(0, None)];
    let mut next = 0;
    for (&number, rule) in rules {
        if number != next {
            push_range(&mut ranges, next, None);
        }
        push_range(&mut ranges, number, Some(rule.clone()));
        next = number + 1;
    }
    push_range(&mut ranges, next, None);
    ranges
}

fn push_range(ranges: &mut Vec<(u32, Option<Rule>)>, start: u32, rule: Option<Rule>) {
    match ranges.last_mut() {
        Some((_, last)) if *last == rule => {}
        Some((last_start, last)) if *last_start == start => *last = rule,
        _ => ranges.push((start, rule)),
    }
}

/// Where a comparison goes on: all plain verdicts of a tree share one instruction each, at its end.
#[derive(Clone, Copy)]
enum Target {
    At(usize),
    Allow,
    Default,
}

enum Slot {
    Ready(Instruction),
    Branch {
        number: u32,
        from: Target,
        below: Target,
    },
}

/// A binary search over the ranges.
///
/// # Errors
/// When a jump within the tree would be longer than 255 instructions.
fn search(ranges: &[(u32, Option<Rule>)]) -> anyhow::Result<Vec<Instruction>> {
    let mut slots = Vec::new();
    place(ranges, &mut slots);
    let end = slots.len();
    let jump = |at: usize, target| {
        let to = match target {
            Target::At(to) => to,
            Target::Allow => end,
            Target::Default => end + 1,
        };
        u8::try_from(to - at - 1)
            .map_err(|_| anyhow::anyhow!("a search tree of {end} instructions is too large"))
    };
    let mut program = Vec::with_capacity(end + 2);
    for (at, slot) in slots.into_iter().enumerate() {
        program.push(match slot {
            Slot::Ready(instruction) => instruction,
            Slot::Branch { number, from, below } => {
                branch(JUMP_AT_LEAST, number, jump(at, from)?, jump(at, below)?)
            }
        });
    }
    program.extend([op(RETURN, ALLOW), default()]);
    Ok(program)
}

fn place(ranges: &[(u32, Option<Rule>)], slots: &mut Vec<Slot>) -> Target {
    let here = slots.len();
    match ranges {
        [(_, None)] => return Target::Default,
        [(_, Some(Rule::Allow))] => return Target::Allow,
        [(_, Some(rule))] => slots.extend(special(rule).into_iter().map(Slot::Ready)),
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            slots.push(Slot::Ready(default()));
            let below = place(left, slots);
            let from = place(right, slots);
            slots[here] = Slot::Branch {
                number: right[0].0,
                from,
                below,
            };
        }
    }
    Target::At(here)
}

fn default() -> Instruction {
    op(RETURN, ERRNO | profile::DEFAULT_ERRNO)
}

fn split(at: u32, below: Vec<Instruction>, from: Vec<Instruction>) -> Vec<Instruction> {
    let mut program = match u8::try_from(below.len()) {
        Ok(length) => vec![branch(JUMP_AT_LEAST, at, length, 0)],
        Err(_) => vec![branch(JUMP_AT_LEAST, at, 0, 1), op(JUMP, below.len() as u32)],
    };
    program.extend(below);
    program.extend(from);
    program
}

/// The verdict of a rule that is neither plainly allowed nor the default.
fn special(rule: &Rule) -> Vec<Instruction> {
    match rule {
        Rule::Allow => vec![op(RETURN, ALLOW)],
        Rule::Errno(errno) => vec![op(RETURN, ERRNO | errno)],
        Rule::AllowIf { index, argument } => {
            let (low, high) = (op(LOAD, argument_low(*index)), op(LOAD, argument_low(*index) + 4));
            let mut program = match argument {
                Argument::NoneOfBits(bits) => vec![low, branch(JUMP_ANY_BIT, *bits, 0, 1)],
                Argument::Not(value) => {
                    vec![
                        low,
                        branch(JUMP_EQUAL, *value, 0, 3),
                        high,
                        branch(JUMP_EQUAL, 0, 0, 1),
                    ]
                }
                Argument::OneOf(values) => one_of(values, low, high),
            };
            program.extend([default(), op(RETURN, ALLOW)]);
            program
        }
    }
}

fn one_of(values: &[u32], low: Instruction, high: Instruction) -> Vec<Instruction> {
    let count = values.len() as u8;
    let mut program = vec![high, branch(JUMP_EQUAL, 0, 0, count + 1), low];
    for (done, value) in (1..=count).zip(values) {
        program.push(branch(JUMP_EQUAL, *value, count - done + 1, 0));
    }
    program
}

/// The program as initializers of a C array.
pub fn as_c(program: &[Instruction]) -> String {
    program
        .iter()
        .map(|i| format!("{{{},{},{},{}u}},", i.code, i.jump_true, i.jump_false, i.k))
        .collect()
}

/// The program as the kernel takes it: an array of `struct sock_filter`.
pub fn as_bytes(program: &[Instruction]) -> Vec<u8> {
    program
        .iter()
        .flat_map(|i| {
            let [code_low, code_high] = i.code.to_ne_bytes();
            let [a, b, c, d] = i.k.to_ne_bytes();
            [code_low, code_high, i.jump_true, i.jump_false, a, b, c, d]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Call {
        architecture: u32,
        number: u32,
        arguments: [u64; 6],
    }

    fn load(call: &Call, offset: u32) -> u32 {
        match offset {
            NUMBER => call.number,
            ARCHITECTURE => call.architecture,
            _ => {
                let argument = call.arguments[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) {
                    argument as u32
                } else {
                    (argument >> 32) as u32
                }
            }
        }
    }

    fn run(program: &[Instruction], call: &Call) -> u32 {
        let (mut at, mut value) = (0usize, 0u32);
        loop {
            let i = program[at];
            at += 1;
            let holds = match i.code {
                LOAD => {
                    value = load(call, i.k);
                    continue;
                }
                JUMP => {
                    at += i.k as usize;
                    continue;
                }
                RETURN => return i.k,
                JUMP_EQUAL => value == i.k,
                JUMP_AT_LEAST => value >= i.k,
                JUMP_ANY_BIT => value & i.k != 0,
                other => panic!("operation {other:#x}"),
            };
            at += usize::from(if holds { i.jump_true } else { i.jump_false });
        }
    }

    fn expected(rule: Option<&Rule>, arguments: &[u64; 6]) -> u32 {
        let allowed = match rule {
            Some(Rule::Allow) => true,
            Some(Rule::Errno(errno)) => return ERRNO | errno,
            None => false,
            Some(Rule::AllowIf { index, argument }) => {
                let given = arguments[usize::from(*index)];
                match argument {
                    Argument::OneOf(values) => values.iter().any(|v| u64::from(*v) == given),
                    Argument::NoneOfBits(bits) => given & u64::from(*bits) == 0,
                    Argument::Not(value) => u64::from(*value) != given,
                }
            }
        };
        if allowed {
            ALLOW
        } else {
            ERRNO | profile::DEFAULT_ERRNO
        }
    }

    /// Every number near the tables, with arguments around every value that a rule compares.
    #[test]
    fn the_filter_decides_as_the_rules_do() {
        let program = compile().unwrap();
        assert!(program.len() < 450, "{} instructions", program.len());
        let interesting = [
            0u64,
            1,
            8,
            9,
            40,
            0x5412,
            0x2_0000,
            0x2_0008,
            0x0200_0000,
            0x1000_0000,
            0xffff_ffff,
            1 << 32,
            (1 << 32) | 40,
        ];
        for (architecture, audit, base) in [
            (Architecture::X86_64, AUDIT_ARCH_X86_64, 0),
            (Architecture::X86, AUDIT_ARCH_I386, 0),
            (Architecture::X32, AUDIT_ARCH_X86_64, X32_BIT),
        ] {
            let rules = profile::numbered(architecture).unwrap();
            for number in base..base + 600 {
                for a in interesting {
                    let call = Call {
                        architecture: audit,
                        number,
                        arguments: [a; 6],
                    };
                    let expected = expected(rules.get(&number), &call.arguments);
                    assert_eq!(run(&program, &call), expected, "{architecture:?} {number} {a:#x}");
                }
            }
        }
    }

    #[test]
    fn a_foreign_architecture_is_killed() {
        let call = Call {
            architecture: 0xc000_00b7,
            number: 0,
            arguments: [0; 6],
        };
        assert_eq!(run(&compile().unwrap(), &call), KILL_PROCESS);
    }

    #[test]
    fn jumps_over_more_than_255_instructions_go_through_a_trampoline() {
        let below = vec![op(RETURN, 1); 300];
        let program = split(7, below, vec![op(RETURN, 2)]);
        let call = |number| Call {
            architecture: 0,
            number,
            arguments: [0; 6],
        };
        let with_load: Vec<_> = [op(LOAD, NUMBER)].into_iter().chain(program).collect();
        assert_eq!(run(&with_load, &call(6)), 1);
        assert_eq!(run(&with_load, &call(7)), 2);
    }
}
