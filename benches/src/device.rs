//! The device rules that every OCI runtime sets by default, as v1 rule lines and as a cgroup2 program.

/// One allowed device class; everything else is denied.
struct Rule {
    kind: char,
    major: Option<u32>,
    minor: Option<u32>,
    access: &'static str,
}

const fn rule(kind: char, major: Option<u32>, minor: Option<u32>, access: &'static str) -> Rule {
    Rule {
        kind,
        major,
        minor,
        access,
    }
}

const RULES: [Rule; 10] = [
    rule('c', None, None, "m"),
    rule('b', None, None, "m"),
    rule('c', Some(1), Some(3), "rwm"),
    rule('c', Some(1), Some(5), "rwm"),
    rule('c', Some(1), Some(7), "rwm"),
    rule('c', Some(1), Some(8), "rwm"),
    rule('c', Some(1), Some(9), "rwm"),
    rule('c', Some(5), Some(0), "rwm"),
    rule('c', Some(5), Some(2), "rwm"),
    rule('c', Some(136), None, "rwm"),
];

/// The rules as initializers of a C array of `devices.allow` lines.
pub fn as_v1_lines() -> String {
    let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
    RULES
        .iter()
        .map(|r| {
            format!(
                "\"{} {}:{} {}\",",
                r.kind,
                number(r.major),
                number(r.minor),
                r.access
            )
        })
        .collect()
}

const fn instruction(code: u8, dst: u8, src: u8, offset: i16, immediate: u32) -> u64 {
    code as u64
        | (dst as u64) << 8
        | (src as u64) << 12
        | ((offset as u16) as u64) << 16
        | (immediate as u64) << 32
}

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// A `BPF_PROG_TYPE_CGROUP_DEVICE` program that returns 1 for what a rule allows, else 0, as the 64-bit
/// words of `struct bpf_insn` (`bpf-helpers(7)`, `linux/bpf.h`: `struct bpf_cgroup_dev_ctx`).
pub fn as_program() -> Vec<u64> {
    let (context, kind, access, major, minor, scratch) = (1, 2, 3, 4, 5, 6);
    let mut program = vec![
        instruction(LOAD_WORD, kind, context, 0, 0),
        instruction(MOVE_REGISTER, access, kind, 0, 0),
        instruction(SHIFT_RIGHT, access, 0, 0, 16),
        instruction(AND, kind, 0, 0, 0xffff),
        instruction(LOAD_WORD, major, context, 4, 0),
        instruction(LOAD_WORD, minor, context, 8, 0),
    ];
    for rule in &RULES {
        // A test that fails jumps over the rest of its rule; the offsets are known once it is complete.
        let mut body = Vec::new();
        let denied: u32 = [(1, 'm'), (2, 'r'), (4, 'w')]
            .iter()
            .filter(|(_, letter)| !rule.access.contains(*letter))
            .map(|(bit, _)| bit)
            .sum();
        body.push((JUMP_NOT_EQUAL, kind, if rule.kind == 'b' { 1 } else { 2 }));
        if denied != 0 {
            body.push((MOVE_REGISTER, scratch, 0));
            body.push((AND, scratch, denied));
            body.push((JUMP_NOT_EQUAL, scratch, 0));
        }
        body.extend(rule.major.map(|n| (JUMP_NOT_EQUAL, major, n)));
        body.extend(rule.minor.map(|n| (JUMP_NOT_EQUAL, minor, n)));
        let length = body.len() + 2;
        for (at, (code, register, value)) in body.into_iter().enumerate() {
            let offset = if code == JUMP_NOT_EQUAL {
                (length - at - 1) as i16
            } else {
                0
            };
            let source = if code == MOVE_REGISTER { access } else { 0 };
            program.push(instruction(code, register, source, offset, value));
        }
        program.push(instruction(MOVE, 0, 0, 0, 1));
        program.push(instruction(EXIT, 0, 0, 0, 0));
    }
    program.push(instruction(MOVE, 0, 0, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(kind: u64, access: u64, major: u64, minor: u64) -> u64 {
        let program = as_program();
        let mut registers = [0u64; 8];
        let mut at = 0i64;
        loop {
            let word = program[at as usize];
            let (code, dst, src) = (word as u8, (word >> 8 & 15) as usize, (word >> 12 & 15) as usize);
            let (offset, immediate) = ((word >> 16) as i16, word >> 32);
            at += 1;
            match code {
                LOAD_WORD => registers[dst] = [kind | access << 16, major, minor][offset as usize / 4],
                MOVE => registers[dst] = immediate,
                MOVE_REGISTER => registers[dst] = registers[src],
                AND => registers[dst] &= immediate,
                SHIFT_RIGHT => registers[dst] >>= immediate,
                JUMP_NOT_EQUAL if registers[dst] != immediate => at += i64::from(offset),
                JUMP_NOT_EQUAL => {}
                EXIT => return registers[0],
                other => panic!("operation {other:#x}"),
            }
        }
    }

    #[test]
    fn the_program_allows_what_the_rules_allow() {
        let (m, r, w) = (1u64, 2, 4);
        assert_eq!(allowed(2, r | w, 1, 3), 1, "/dev/null");
        assert_eq!(allowed(2, r, 1, 1), 0, "/dev/mem");
        assert_eq!(allowed(2, r | w, 136, 77), 1, "a pty");
        assert_eq!(allowed(2, m, 9, 9), 1, "any node may be made");
        assert_eq!(allowed(2, m | r, 9, 9), 0, "but not read");
        assert_eq!(allowed(1, m, 8, 0), 1, "a disk's node may be made");
        assert_eq!(allowed(1, r, 1, 3), 0, "a block device is no /dev/null");
    }

    #[test]
    fn v1_lines_use_the_kernels_form() {
        assert!(as_v1_lines().starts_with("\"c *:* m\",\"b *:* m\",\"c 1:3 rwm\","));
    }
}
