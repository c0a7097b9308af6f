//! Device programs for cgroup2. `bpf(2)`, `linux/bpf.h`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Result;

use crate::check;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;

const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// One eBPF instruction, `struct bpf_insn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation: class, size or source, and mode.
    pub code: u8,
    /// Target register in the low four bits, source register in the high four.
    pub registers: u8,
    /// Offset of a jump or a load.
    pub offset: i16,
    /// Constant operand.
    pub value: i32,
}

impl Instruction {
    /// Puts an instruction together; registers are 0 to 10.
    pub const fn new(code: u8, target: u8, source: u8, offset: i16, value: i32) -> Self {
        Self {
            code,
            registers: target & 0xf | source << 4,
            offset,
            value,
        }
    }
}

/// Loads a program of type `BPF_PROG_TYPE_CGROUP_DEVICE`. The kernel's verifier checks it.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN` (or `CAP_BPF` and `CAP_NET_ADMIN`), `EINVAL` or `EACCES` from the verifier.
pub fn load_device_program(code: &[Instruction]) -> Result<OwnedFd> {
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
    }
    let license = c"MIT";
    let mut attr = Attr {
        prog_type: TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(code.len()).unwrap_or(u32::MAX),
        insns: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..Attr::default()
    };
    // SAFETY: `Attr` is the prefix of `union bpf_attr` for BPF_PROG_LOAD; `insns` and `license` point to
    // `insn_cnt` instructions and a C string that outlive the call, which only reads them.
    let fd = unsafe { bpf(PROG_LOAD, &mut attr) }?;
    // SAFETY: the kernel has just returned this descriptor (close-on-exec, as always from bpf(2)) to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a device program to a cgroup2 directory, beside those of other owners. With `replaced`, a program
/// attached earlier, the change is atomic.
///
/// # Errors
/// `EPERM` when a parent's program forbids others, `ENOENT` when `replaced` is not attached, `E2BIG` after 64.
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> Result<()> {
    #[repr(C)]
    struct Attr {
        target_fd: i32,
        attach_bpf_fd: i32,
        attach_type: u32,
        attach_flags: u32,
        replace_bpf_fd: i32,
    }
    let mut attr = Attr {
        target_fd: cgroup.as_raw_fd(),
        attach_bpf_fd: program.as_raw_fd(),
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: if replaced.is_some() {
            ALLOW_MULTI | REPLACE
        } else {
            ALLOW_MULTI
        },
        replace_bpf_fd: replaced.map_or(0, |fd| fd.as_raw_fd()),
    };
    // SAFETY: `Attr` is the prefix of `union bpf_attr` for BPF_PROG_ATTACH and holds no pointers.
    unsafe { bpf(PROG_ATTACH, &mut attr) }.map(drop)
}

/// The device programs attached to this cgroup itself (at most 64, the kernel's own limit).
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN` or `CAP_NET_ADMIN`; `ENOENT` when a program went away meanwhile.
pub fn attached_device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    #[repr(C)]
    struct Query {
        target_fd: i32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        prog_cnt: u32,
        padding: u32,
    }
    #[repr(C)]
    struct ById {
        id: u32,
        next_id: u32,
        open_flags: u32,
    }
    let mut ids = [0u32; 64];
    let mut query = Query {
        target_fd: cgroup.as_fd().as_raw_fd(),
        attach_type: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: 64,
        padding: 0,
    };
    // SAFETY: `Query` is the prefix of `union bpf_attr` for BPF_PROG_QUERY; `prog_ids` points to `prog_cnt`
    // integers that nothing else borrows during the call.
    unsafe { bpf(PROG_QUERY, &mut query) }?;
    let count = (query.prog_cnt as usize).min(ids.len());
    ids[..count]
        .iter()
        .map(|id| {
            let mut attr = ById {
                id: *id,
                next_id: 0,
                open_flags: 0,
            };
            // SAFETY: `ById` is the prefix of `union bpf_attr` for BPF_PROG_GET_FD_BY_ID and holds no pointers.
            let fd = unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr) }?;
            // SAFETY: the kernel has just returned this descriptor (close-on-exec) to us alone.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        })
        .collect()
}

/// # Safety
/// `attr` must be the prefix of `union bpf_attr` that `command` uses, and its pointers valid for the call.
unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> Result<i32> {
    // SAFETY: the kernel reads and writes at most size_of::<T>() bytes of `attr`, which is exclusively ours;
    // its contents are the caller's promise.
    let ret = check(unsafe { libc::syscall(libc::SYS_bpf, command, attr as *mut T, size_of::<T>()) })?;
    // A descriptor or zero: it fits.
    Ok(ret as i32)
}
