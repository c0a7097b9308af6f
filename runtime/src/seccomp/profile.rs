//! `linux.seccomp` as a whole: actions, flags, architectures, the listener.

use std::path::PathBuf;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompFilterFlag as Flag, LinuxSyscall,
};

use super::SockFilter;
use super::conditions::Width;
use super::emit;
use super::rules::{self, Table, Tables};
use super::syscalls;

/// The kernel's limit on the length of a program (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// A compiled filter and how to load it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The program for `seccomp(SECCOMP_SET_MODE_FILTER)`.
    pub program: Vec<SockFilter>,
    /// `SECCOMP_FILTER_FLAG_*` bits for `seccomp(2)`; `NEW_LISTENER` when a rule has `SCMP_ACT_NOTIFY`.
    pub flags: u32,
    /// Where to send the notification descriptor; always set with `NEW_LISTENER`.
    pub listener_path: Option<PathBuf>,
    /// Opaque text for the seccomp agent.
    pub listener_metadata: String,
    /// Names that no architecture has, skipped; each as often as the profile has it.
    pub unknown: Vec<String>,
}

/// Why a profile has no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `errnoRet` or `defaultErrnoRet` beside an action that returns no number.
    #[error("{action} takes no errno")]
    ErrnoUnused {
        /// The action.
        action: Action,
    },
    /// An errno outside the 16 bits that the kernel has room for.
    #[error("errno {value} of {action} does not fit in 16 bits")]
    ErrnoRange {
        /// The action.
        action: Action,
        /// The number asked for.
        value: u32,
    },
    /// Every call would wait for an agent that cannot get the descriptor.
    #[error("SCMP_ACT_NOTIFY cannot be the default action")]
    NotifyDefault,
    /// The descriptor could not be handed on: the write itself would wait for the agent.
    #[error("SCMP_ACT_NOTIFY cannot be used for write")]
    NotifyWrite,
    /// `SCMP_ACT_NOTIFY` without `listenerPath`.
    #[error("SCMP_ACT_NOTIFY needs listenerPath")]
    NoListener,
    /// `listenerMetadata` without `listenerPath`.
    #[error("listenerMetadata needs listenerPath")]
    MetadataWithoutListener,
    /// System calls have the arguments 0 to 5.
    #[error("no system call has an argument {index}")]
    ArgumentIndex {
        /// The index asked for.
        index: usize,
    },
    /// An empty system call name.
    #[error("empty system call name")]
    EmptyName,
    /// Two rules with different actions, one within the other, in an order that leaves open which holds.
    #[error("rules for {syscall} contradict each other")]
    Conflict {
        /// The system call.
        syscall: &'static str,
    },
    /// Over [`MAX_INSTRUCTIONS`].
    #[error("filter of {instructions} instructions, the kernel takes {MAX_INSTRUCTIONS}")]
    TooLong {
        /// Length of the program.
        instructions: usize,
    },
}

/// Compiles a profile. See `config-linux.md#seccomp`.
///
/// # Errors
/// Fails on what the specification forbids, on what libseccomp refuses (contradicting rules, argument
/// indices), and on a program too long for the kernel.
pub fn compile(seccomp: &LinuxSeccomp) -> Result<Filter, Error> {
    let default = action(seccomp.default_action(), seccomp.default_errno_ret())?;
    if seccomp.default_action() == Action::ScmpActNotify {
        return Err(Error::NotifyDefault);
    }
    let entries = seccomp.syscalls().as_deref().unwrap_or_default();
    let notify = entries
        .iter()
        .any(|entry| entry.action() == Action::ScmpActNotify);
    check_listener(seccomp, notify)?;

    let mut tables = tables(seccomp.architectures().as_deref().unwrap_or_default());
    let mut unknown = Vec::new();
    for entry in entries {
        add(&mut tables, entry, default, &mut unknown)?;
    }
    let program = emit::program(&tables, default);
    if program.len() > MAX_INSTRUCTIONS {
        return Err(Error::TooLong {
            instructions: program.len(),
        });
    }
    Ok(Filter {
        program,
        flags: flags(seccomp.flags().as_deref().unwrap_or_default(), notify),
        listener_path: seccomp.listener_path().clone(),
        listener_metadata: seccomp.listener_metadata().clone().unwrap_or_default(),
        unknown,
    })
}

/// Adds one entry of `linux.seccomp.syscalls`.
fn add(
    tables: &mut Tables,
    entry: &LinuxSyscall,
    default: u32,
    unknown: &mut Vec<String>,
) -> Result<(), Error> {
    let verdict = action(entry.action(), entry.errno_ret())?;
    let alternatives = rules::alternatives(entry)?;
    for name in entry.names() {
        if name.is_empty() {
            return Err(Error::EmptyName);
        }
        if entry.action() == Action::ScmpActNotify && name == "write" {
            return Err(Error::NotifyWrite);
        }
        // A rule that repeats the default action counts for nothing, even beside other rules for the same
        // call: both runc and crun drop it.
        if verdict == default {
            continue;
        }
        let Some(syscall) = syscalls::find(name) else {
            unknown.push(name.clone());
            continue;
        };
        for conditions in &alternatives {
            tables.add(syscall, conditions, verdict)?;
        }
    }
    Ok(())
}

/// The ABIs that calls are allowed from. libseccomp starts every filter with the native one.
fn tables(architectures: &[Arch]) -> Tables {
    let listed = |arch: Arch| architectures.contains(&arch).then(|| Table::new(Width::Bits32));
    Tables {
        x86_64: Table::new(Width::Bits64),
        x32: listed(Arch::ScmpArchX32),
        i386: listed(Arch::ScmpArchX86),
    }
}

/// The `SECCOMP_RET_*` value of an action. `SCMP_ACT_KILL` kills the thread, as it always has.
fn action(action: Action, errno: Option<u32>) -> Result<u32, Error> {
    let takes_errno = matches!(action, Action::ScmpActErrno | Action::ScmpActTrace);
    match errno {
        Some(_) if !takes_errno => Err(Error::ErrnoUnused { action }),
        Some(value) if value > u32::from(u16::MAX) => Err(Error::ErrnoRange { action, value }),
        _ => Ok(action.as_u32(errno)),
    }
}

fn check_listener(seccomp: &LinuxSeccomp, notify: bool) -> Result<(), Error> {
    if seccomp.listener_path().is_some() {
        return Ok(());
    }
    if notify {
        return Err(Error::NoListener);
    }
    match seccomp.listener_metadata().as_deref() {
        None | Some("") => Ok(()),
        Some(_) => Err(Error::MetadataWithoutListener),
    }
}

fn flags(flags: &[Flag], notify: bool) -> u32 {
    let mut bits = 0;
    for flag in flags {
        bits |= match flag {
            Flag::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
            Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
            Flag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            // Says how notifications wait, so the kernel refuses it where there are none.
            Flag::SeccompFilterFlagWaitKillableRecv if notify => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
            Flag::SeccompFilterFlagWaitKillableRecv => 0,
        };
    }
    if notify {
        bits |= libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        // Both return a number; TSYNC_ESRCH makes TSYNC report its failure as an errno instead.
        if bits & libc::SECCOMP_FILTER_FLAG_TSYNC != 0 {
            bits |= libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
        }
    }
    bits as u32
}
