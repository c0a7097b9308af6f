//! A small interpreter for seccomp programs: what would the kernel answer?

use nucleus_sys::seccomp::SockFilter;

use super::bpf::{ALU_AND_K, JMP_JA, JMP_JEQ_K, JMP_JGE_K, JMP_JGT_K, LD_W_ABS, RET_K};

/// The `AUDIT_ARCH_*` values that an x86_64 kernel reports (`linux/audit.h`).
pub mod arch {
    /// i386 calls.
    pub const I386: u32 = 0x4000_0003;
    /// x86_64 and x32 calls; the latter have `X32_BIT` set in their number.
    pub const X86_64: u32 = 0xc000_003e;
    /// `__X32_SYSCALL_BIT`.
    pub const X32_BIT: u32 = 0x4000_0000;
}

/// A system call as a filter sees it (`struct seccomp_data`); the instruction pointer reads as zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// `AUDIT_ARCH_*` value.
    pub arch: u32,
    /// System call number, with `X32_BIT` for x32.
    pub number: u32,
    /// Argument registers.
    pub args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> Option<u32> {
        let argument = |at: u32| {
            self.args
                .get((at / 8) as usize)
                .map(|arg| (arg >> (at % 8 * 8)) as u32)
        };
        match offset {
            0 => Some(self.number),
            4 => Some(self.arch),
            8 | 12 => Some(0),
            _ if offset.is_multiple_of(4) => argument(offset.checked_sub(16)?),
            _ => None,
        }
    }
}

/// Why a program is not one that the kernel would run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Control leaves the program.
    #[error("jump past the end")]
    PastEnd,
    /// A load outside `struct seccomp_data`, or a misaligned one.
    #[error("load from offset {0}")]
    Load(u32),
    /// An instruction that neither our compiler nor libseccomp emits.
    #[error("instruction code {0:#x}")]
    Code(u16),
}

/// Runs `program` over `call` and returns the `SECCOMP_RET_*` value.
///
/// # Errors
/// Fails on what the kernel's checker would have refused when the program was loaded.
pub fn run(program: &[SockFilter], call: &Call) -> Result<u32, Fault> {
    let (mut pc, mut accumulator) = (0_usize, 0_u32);
    loop {
        let instruction = program.get(pc).ok_or(Fault::PastEnd)?;
        let k = instruction.k;
        let skip = |taken| {
            if taken {
                usize::from(instruction.jt)
            } else {
                usize::from(instruction.jf)
            }
        };
        pc += 1;
        match instruction.code {
            LD_W_ABS => accumulator = call.word(k).ok_or(Fault::Load(k))?,
            ALU_AND_K => accumulator &= k,
            JMP_JA => pc += k as usize,
            JMP_JEQ_K => pc += skip(accumulator == k),
            JMP_JGT_K => pc += skip(accumulator > k),
            JMP_JGE_K => pc += skip(accumulator >= k),
            RET_K => return Ok(k),
            code => return Err(Fault::Code(code)),
        }
    }
}
