//! Device rules as an eBPF program (`BPF_PROG_TYPE_CGROUP_DEVICE`) for cgroup2.

use nucleus_sys::bpf::Instruction;

use super::{ALL, Rule, Rules};

// Opcodes of linux/bpf_common.h and linux/bpf.h.
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE: u8 = 0xbf; // BPF_ALU64 | BPF_MOV | BPF_X
const MOVE_VALUE: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const AND_VALUE: u8 = 0x57; // BPF_ALU64 | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x77; // BPF_ALU64 | BPF_RSH | BPF_K
const JUMP: u8 = 0x05; // BPF_JMP | BPF_JA
const JUMP_UNEQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const JUMP_ANY_BIT: u8 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

// Registers: the result, the context, and what is taken from it.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
/// The accesses asked for and not yet decided by a rule.
const OPEN: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// Assembles the program: it returns 1 to allow, 0 to deny (`struct bpf_cgroup_dev_ctx` of `linux/bpf.h`).
///
/// The rules stand in it from last to first. One that matches and denies any access still open ends in
/// denial; one that allows strikes out its accesses, and when none is left open, all are allowed.
pub(in crate::cgroup) fn program(rules: &Rules) -> Vec<Instruction> {
    let mut code = Vec::with_capacity(8 + 6 * rules.list.len());
    code.extend([
        op(LOAD_WORD, KIND, CONTEXT, 0, 0),
        op(MOVE, OPEN, KIND, 0, 0),
        op(AND_VALUE, KIND, 0, 0, 0xffff),
        op(SHIFT_RIGHT, OPEN, 0, 0, 16),
        op(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        op(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ]);
    for rule in rules.list.iter().rev() {
        add(&mut code, rule);
    }
    code.extend(answer(rules.allow));
    code
}

fn add(code: &mut Vec<Instruction>, rule: &Rule) {
    let access = i32::from(rule.access);
    let [result, exit] = answer(rule.allow);
    let verdict: &[Instruction] = match (rule.allow, rule.access == ALL) {
        (_, true) => &[result, exit],
        (true, false) => &[
            op(AND_VALUE, OPEN, 0, 0, i32::from(ALL & !rule.access)),
            op(JUMP_UNEQUAL, OPEN, 0, 2, 0),
            result,
            exit,
        ],
        (false, false) => &[
            op(JUMP_ANY_BIT, OPEN, 0, 1, access),
            op(JUMP, 0, 0, 2, 0),
            result,
            exit,
        ],
    };
    let conditions = [
        Some((KIND, u32::from(rule.devices.kind as u8))),
        rule.devices.major.map(|major| (MAJOR, major)),
        rule.devices.minor.map(|minor| (MINOR, minor)),
    ];
    let mut left = conditions.iter().flatten().count();
    for (register, value) in conditions.into_iter().flatten() {
        left -= 1;
        // Over the conditions that are left and the verdict. Both are a handful.
        let over = (left + verdict.len()) as i16;
        code.push(op(JUMP_UNEQUAL, register, 0, over, value.cast_signed()));
    }
    code.extend_from_slice(verdict);
}

fn answer(allow: bool) -> [Instruction; 2] {
    [
        op(MOVE_VALUE, RESULT, 0, 0, i32::from(allow)),
        op(EXIT, 0, 0, 0, 0),
    ]
}

fn op(code: u8, target: u8, source: u8, offset: i16, value: i32) -> Instruction {
    Instruction::new(code, target, source, offset, value)
}
