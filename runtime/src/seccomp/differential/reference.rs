//! The same profile through libseccomp.

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator as Operator,
};

use super::super::SockFilter;
use super::super::tests::meaning::repeats_an_index;

/// What runc does with a profile, through libseccomp.
pub(super) fn reference(
    seccomp: &LinuxSeccomp,
    optimize: u32,
) -> Result<Vec<SockFilter>, libseccomp::error::SeccompError> {
    let default = scmp_action(seccomp.default_action(), seccomp.default_errno_ret());
    let mut filter = ScmpFilterContext::new(default)?;
    for arch in seccomp.architectures().iter().flatten() {
        filter.add_arch(match arch {
            Arch::ScmpArchX86 => ScmpArch::X86,
            Arch::ScmpArchX32 => ScmpArch::X32,
            Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
            _ => ScmpArch::X8664,
        })?;
    }
    filter.set_ctl_optimize(optimize)?;
    for entry in seccomp.syscalls().iter().flatten() {
        let action = scmp_action(entry.action(), entry.errno_ret());
        if action == default {
            continue;
        }
        let args: Vec<_> = entry.args().iter().flatten().collect();
        for name in entry.names() {
            let Ok(syscall) = ScmpSyscall::from_name(name) else {
                continue;
            };
            if repeats_an_index(&args) {
                for arg in &args {
                    filter.add_rule_conditional(action, syscall, &[scmp_compare(arg)])?;
                }
            } else {
                let compares: Vec<_> = args.iter().map(|arg| scmp_compare(arg)).collect();
                filter.add_rule_conditional(action, syscall, &compares)?;
            }
        }
    }
    let mut file = tempfile::tempfile().expect("a temporary file");
    filter.export_bpf(&mut file)?;
    Ok(read_program(file))
}

fn read_program(mut file: std::fs::File) -> Vec<SockFilter> {
    use std::io::{Read as _, Seek as _};
    let mut bytes = Vec::new();
    file.rewind().expect("a regular file");
    file.read_to_end(&mut bytes).expect("a regular file");
    let (instructions, []) = bytes.as_chunks::<8>() else {
        panic!("{} bytes", bytes.len())
    };
    let instruction = |&[a, b, jt, jf, k @ ..]: &[u8; 8]| {
        let k = u32::from_ne_bytes(k);
        SockFilter {
            code: u16::from_ne_bytes([a, b]),
            jt,
            jf,
            k,
        }
    };
    instructions.iter().map(instruction).collect()
}

fn scmp_action(action: Action, errno: Option<u32>) -> ScmpAction {
    let errno = errno.unwrap_or(1);
    match action {
        Action::ScmpActKill | Action::ScmpActKillThread => ScmpAction::KillThread,
        Action::ScmpActKillProcess => ScmpAction::KillProcess,
        Action::ScmpActTrap => ScmpAction::Trap,
        Action::ScmpActErrno => ScmpAction::Errno(errno as i32),
        Action::ScmpActTrace => ScmpAction::Trace(errno as u16),
        Action::ScmpActLog => ScmpAction::Log,
        Action::ScmpActAllow => ScmpAction::Allow,
        Action::ScmpActNotify => ScmpAction::Notify,
    }
}

fn scmp_compare(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    let (operator, value) = match arg.op() {
        Operator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        Operator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        Operator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        Operator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        Operator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        Operator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        Operator::ScmpCmpMaskedEq => (
            ScmpCompareOp::MaskedEqual(arg.value()),
            arg.value_two().unwrap_or_default(),
        ),
    };
    ScmpArgCompare::new(arg.index() as u32, operator, value)
}
