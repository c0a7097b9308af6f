//! Classic BPF instructions and an assembler that writes a program from its end to its start.

use nucleus_sys::seccomp::SockFilter;

pub(super) const LD_W_ABS: u16 = 0x20;
pub(super) const ALU_AND_K: u16 = 0x54;
pub(super) const JMP_JA: u16 = 0x05;
pub(super) const JMP_JEQ_K: u16 = 0x15;
pub(super) const JMP_JGT_K: u16 = 0x25;
pub(super) const JMP_JGE_K: u16 = 0x35;
pub(super) const RET_K: u16 = 0x06;

/// Where control goes: to a verdict, or to an instruction already written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Return this `SECCOMP_RET_*` value.
    Verdict(u32),
    /// The instruction with this distance from the program's end.
    At(usize),
}

/// Writes instructions in reverse, because BPF jumps only forward: whatever an instruction jumps to is
/// then already in place and its distance known.
#[derive(Default)]
pub(super) struct Assembler {
    reversed: Vec<SockFilter>,
    /// The nearest `RET` of each verdict.
    returns: Vec<(u32, usize)>,
}

/// Conditional jumps hold their distance in a byte.
const REACH: usize = 255;

impl Assembler {
    pub(super) fn with_capacity(instructions: usize) -> Self {
        Self {
            reversed: Vec::with_capacity(instructions),
            returns: Vec::with_capacity(8),
        }
    }

    /// Loads the 32-bit word at `offset` of `struct seccomp_data`, then goes on at `next`.
    pub(super) fn load(&mut self, offset: u32, next: Target) -> Target {
        self.then(LD_W_ABS, offset, next)
    }

    /// Keeps the accumulator's bits in `mask`, then goes on at `next`.
    pub(super) fn and(&mut self, mask: u32, next: Target) -> Target {
        self.then(ALU_AND_K, mask, next)
    }

    /// Compares the accumulator with `k` by the conditional jump `code`.
    pub(super) fn branch(&mut self, code: u16, k: u32, on_true: Target, on_false: Target) -> Target {
        if on_true == on_false {
            return on_true;
        }
        // Bringing one target near pushes an instruction, which can move the other out of reach by one.
        let on_true = self.near(on_true, 1);
        let on_false = self.near(on_false, 0);
        let at = self.reversed.len();
        let (jt, jf) = (at - on_true - 1, at - on_false - 1);
        self.push(SockFilter {
            code,
            jt: jt as u8,
            jf: jf as u8,
            k,
        })
    }

    /// The program; `entry` must be the instruction written last.
    pub(super) fn finish(mut self, entry: Target) -> Vec<SockFilter> {
        let entry = self.near(entry, 0);
        debug_assert_eq!(entry + 1, self.reversed.len());
        self.reversed.reverse();
        self.reversed
    }

    fn then(&mut self, code: u16, k: u32, next: Target) -> Target {
        if next != Target::At(self.reversed.len().wrapping_sub(1)) {
            self.adjoin(next);
        }
        self.push(SockFilter {
            code,
            jt: 0,
            jf: 0,
            k,
        })
    }

    /// Makes `target` the instruction right behind the next one.
    fn adjoin(&mut self, target: Target) {
        match target {
            Target::Verdict(verdict) => {
                self.ret(verdict);
            }
            Target::At(at) => {
                self.jump(at);
            }
        }
    }

    /// An instruction that is, or leads to, `target` and that stays in reach of the next conditional
    /// jump even if `spare` more instructions come before it.
    fn near(&mut self, target: Target, spare: usize) -> usize {
        let in_reach = |at: usize| self.reversed.len() + spare - at - 1 <= REACH;
        match target {
            Target::At(at) if in_reach(at) => at,
            Target::At(at) => self.jump(at),
            Target::Verdict(verdict) => match self.returns.iter().find(|known| known.0 == verdict) {
                Some(&(_, at)) if in_reach(at) => at,
                // A second RET is as short as a jump to the first, and one instruction faster.
                _ => self.ret(verdict),
            },
        }
    }

    fn jump(&mut self, to: usize) -> usize {
        let distance = self.reversed.len() - to - 1;
        self.push_at(SockFilter {
            code: JMP_JA,
            jt: 0,
            jf: 0,
            k: distance as u32,
        })
    }

    fn ret(&mut self, verdict: u32) -> usize {
        let at = self.push_at(SockFilter {
            code: RET_K,
            jt: 0,
            jf: 0,
            k: verdict,
        });
        match self.returns.iter_mut().find(|known| known.0 == verdict) {
            Some(known) => known.1 = at,
            None => self.returns.push((verdict, at)),
        }
        at
    }

    fn push(&mut self, instruction: SockFilter) -> Target {
        Target::At(self.push_at(instruction))
    }

    fn push_at(&mut self, instruction: SockFilter) -> usize {
        self.reversed.push(instruction);
        self.reversed.len() - 1
    }
}
