//! From verdict tables to a program: a binary search over ranges of system call numbers.

use nucleus_sys::seccomp::SockFilter;

use super::bpf::{Assembler, JMP_JEQ_K, JMP_JGE_K, JMP_JGT_K, Target};
use super::conditions::{Comparison, Node, Outcome, Test};
use super::interpret::arch;
use super::rules::{NUMBERS, Table, Tables, Verdict};

/// `SECCOMP_RET_KILL_THREAD`: libseccomp's answer to a call of an architecture that is not listed.
pub(super) const BAD_ARCHITECTURE: u32 = 0;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// System call numbers from `start` up to the next range.
#[derive(Debug, Clone, Copy)]
struct Range {
    start: u32,
    target: Target,
}

/// Writes the program for `tables`, with `default` for every number that no rule names.
pub(super) fn program(tables: &Tables, default: u32) -> Vec<SockFilter> {
    let mut emitter = Emitter {
        assembler: Assembler::with_capacity(640),
        default,
        shared: Vec::new(),
    };
    let i386 = tables.i386.as_ref().map(|table| {
        let mut ranges = Vec::with_capacity(256);
        emitter.ranges(&mut ranges, table, 0);
        emitter.search(&ranges)
    });
    let native = emitter.native(tables);
    let foreign = Target::Verdict(BAD_ARCHITECTURE);
    let mut assembler = emitter.assembler;
    let other = match i386 {
        Some(i386) => assembler.branch(JMP_JEQ_K, arch::I386, i386, foreign),
        None => foreign,
    };
    let known = assembler.branch(JMP_JEQ_K, arch::X86_64, native, other);
    let entry = assembler.load(ARCHITECTURE, known);
    assembler.finish(entry)
}

struct Emitter<'a> {
    assembler: Assembler,
    default: u32,
    /// Argument tests already written, for the ABIs and calls that have the same.
    shared: Vec<(&'a [Node], Target)>,
}

impl<'a> Emitter<'a> {
    /// The calls of `AUDIT_ARCH_X86_64`: x86_64's and, from bit 30 on, x32's.
    fn native(&mut self, tables: &'a Tables) -> Target {
        let mut ranges = Vec::with_capacity(512);
        self.ranges(&mut ranges, &tables.x86_64, 0);
        let default = Target::Verdict(self.default);
        match &tables.x32 {
            Some(table) => self.ranges(&mut ranges, table, arch::X32_BIT),
            None => {
                extend(&mut ranges, arch::X32_BIT, Target::Verdict(BAD_ARCHITECTURE));
                // A tracer sets the number to -1 to skip a call, and the filter sees that: seccomp(2).
                extend(&mut ranges, u32::MAX, default);
            }
        }
        self.search(&ranges)
    }

    /// Appends the ranges of a table whose numbers start at `base`; equal neighbours become one range.
    fn ranges(&mut self, ranges: &mut Vec<Range>, table: &'a Table, base: u32) {
        for (number, verdict) in table.changes() {
            let target = match verdict {
                None => Target::Verdict(self.default),
                Some(Verdict::Always(verdict)) => Target::Verdict(*verdict),
                Some(Verdict::ByArguments(nodes)) => self.arguments(nodes),
            };
            extend(ranges, base + number as u32, target);
        }
        extend(ranges, base + NUMBERS as u32, Target::Verdict(self.default));
    }

    /// Loads the number and finds its range.
    fn search(&mut self, ranges: &[Range]) -> Target {
        let groups = groups(ranges);
        let found = self.halve(ranges, &groups);
        self.assembler.load(NUMBER, found)
    }

    /// Binary search over groups of ranges.
    fn halve(&mut self, ranges: &[Range], groups: &[Group]) -> Target {
        let [group] = groups else {
            let (lower, upper) = groups.split_at(groups.len() / 2);
            let upper_target = self.halve(ranges, upper);
            let lower_target = self.halve(ranges, lower);
            let boundary = ranges[upper[0].first].start;
            return self
                .assembler
                .branch(JMP_JGE_K, boundary, upper_target, lower_target);
        };
        let mut target = ranges[group.first].target;
        for hole in (1..group.len).step_by(2).rev() {
            let hole = ranges[group.first + hole];
            target = self.assembler.branch(JMP_JEQ_K, hole.start, hole.target, target);
        }
        target
    }

    fn arguments(&mut self, nodes: &'a [Node]) -> Target {
        if let Some((_, target)) = self.shared.iter().find(|(known, _)| *known == nodes) {
            return *target;
        }
        let (target, _) = self.level(nodes, Target::Verdict(self.default));
        self.shared.push((nodes, target));
        target
    }

    /// Writes a level of tests, last first. Gives the entry of the first test, and the same without
    /// loading its word.
    fn level(&mut self, nodes: &[Node], undecided: Target) -> (Target, Target) {
        let mut next = (undecided, undecided);
        let mut next_test: Option<&Test> = None;
        for node in nodes.iter().rev() {
            // A test without a mask leaves the loaded word in the accumulator for the next test.
            let keeps =
                node.test.mask == u32::MAX && next_test.is_some_and(|next| next.word == node.test.word);
            let direct = if keeps { next.1 } else { next.0 };
            let on_true = self.outcome(&node.on_true, next.0, direct);
            let on_false = self.outcome(&node.on_false, next.0, direct);
            next = self.test(&node.test, on_true, on_false);
            next_test = Some(&node.test);
        }
        next
    }

    fn outcome(&mut self, outcome: &Outcome, next: Target, direct: Target) -> Target {
        match outcome {
            Outcome::Next => direct,
            Outcome::Verdict(verdict) => Target::Verdict(*verdict),
            Outcome::Level(nodes) => self.level(nodes, next).0,
        }
    }

    fn test(&mut self, test: &Test, on_true: Target, on_false: Target) -> (Target, Target) {
        if test.mask == 0 {
            return (on_true, on_true);
        }
        let code = match test.comparison {
            Comparison::Equal => JMP_JEQ_K,
            Comparison::Greater => JMP_JGT_K,
            Comparison::GreaterOrEqual => JMP_JGE_K,
        };
        let mut compare = self.assembler.branch(code, test.value, on_true, on_false);
        if on_true == on_false {
            return (compare, compare);
        }
        if test.mask != u32::MAX {
            compare = self.assembler.and(test.mask, compare);
        }
        (
            self.assembler.load(ARGUMENTS + u32::from(test.word) * 4, compare),
            compare,
        )
    }
}

fn extend(ranges: &mut Vec<Range>, start: u32, target: Target) {
    if ranges.last().is_none_or(|last| last.target != target) {
        ranges.push(Range { start, target });
    }
}

/// Consecutive ranges decided together: one range, or one with holes of a single number each, which cost one
/// equality test instead of two bounds.
#[derive(Debug, Clone, Copy)]
struct Group {
    first: usize,
    len: usize,
}

/// Holes in a group: more make the program shorter but the search longer.
const HOLES: usize = 2;

fn groups(ranges: &[Range]) -> Vec<Group> {
    let mut groups = Vec::with_capacity(ranges.len());
    let mut first = 0;
    while first < ranges.len() {
        let mut len = 1;
        while len < 2 * HOLES && is_hole(&ranges[first + len - 1..], ranges[first].target) {
            len += 2;
        }
        groups.push(Group { first, len });
        first += len;
    }
    groups
}

/// Whether `ranges` goes on with a single number, then with `outside` again.
fn is_hole(ranges: &[Range], outside: Target) -> bool {
    matches!(ranges, [_, hole, after, ..]
        if after.start - hole.start == 1 && after.target == outside)
}
