//! The first instructions of the program, before the C library starts.
//!
//! A command that enters a container runs from a read-only mount of its own binary (see `protect` in the
//! runtime). Doing that here, and not in `main`, spares the C library's start-up one of its two runs: it
//! executes `cpuid` dozens of times, each of which a virtual machine traps (measured: 0.3 ms). This is an
//! optimisation only: whatever fails here is done again, with its errors reported, by `main`.
//!
//! Code here must not use the C library, thread-local storage or `memcpy`: nothing is initialised yet.

use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicBool, Ordering};

/// The ELF entry point of the runtime's binary (see its `build.rs`): tries to re-execute, then goes on to
/// the C library's `_start` as if nothing had been.
///
/// # Safety
/// Only the kernel may jump here, with the initial stack of a process.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nucleus_start() -> ! {
    // At entry the stack pointer is aligned to 16 bytes and points to argc; rdx holds a function for atexit,
    // which `_start` wants to see again.
    naked_asm!(
        "mov rdi, rsp",
        "push rdx",
        "sub rsp, 8",
        "call {reexecute}",
        "add rsp, 8",
        "pop rdx",
        "jmp _start",
        reexecute = sym reexecute,
    )
}

/// Re-executes from a read-only mount if the command enters a container; returns if there is nothing to do or
/// if anything fails.
///
/// # Safety
/// `stack` is the initial stack of the process: argc, argv, a null, the environment, a null.
unsafe extern "C" fn reexecute(stack: *const usize) {
    // SAFETY: the kernel lays the initial stack out so (x86-64 psABI, "Initial Process Stack").
    let (argc, argv) = unsafe { (*stack, stack.add(1)) };
    let mut enters = false;
    let mut index = 1;
    while index < argc {
        // SAFETY: argv has argc pointers to strings that end in a zero byte.
        enters |= unsafe { is_entering(*argv.add(index) as *const u8) };
        index += 1;
    }
    if !enters {
        return;
    }
    // SAFETY: all arguments are numbers, static strings, or `attr`, which outlives its call; the descriptor
    // is close-on-exec and closed on failure; argv and the environment are the kernel's own.
    unsafe {
        let path = c"/proc/self/exe".as_ptr() as usize;
        if is_read_only(path) {
            // The second time, or there is nothing to protect.
            PROTECTED.store(true, Ordering::Relaxed);
            return;
        }
        let empty = c"".as_ptr() as usize;
        let flags = (OPEN_TREE_CLONE | libc::O_CLOEXEC) as usize;
        let tree = syscall5(libc::SYS_open_tree, libc::AT_FDCWD as usize, path, flags, 0, 0);
        if tree < 0 {
            return;
        }
        let tree = tree as usize;
        let attr = Attr {
            set: libc::MOUNT_ATTR_RDONLY,
            clear: 0,
            propagation: 0,
            userns: 0,
        };
        let at_empty = libc::AT_EMPTY_PATH as usize;
        let attr = &raw const attr as usize;
        if syscall5(libc::SYS_mount_setattr, tree, empty, at_empty, attr, 32) == 0 {
            let envp = argv.add(argc + 1) as usize;
            syscall5(libc::SYS_execveat, tree, empty, argv as usize, envp, at_empty);
        }
        syscall5(libc::SYS_close, tree, 0, 0, 0, 0);
    }
}

const OPEN_TREE_CLONE: i32 = 1;

/// `struct mount_attr`, 32 bytes.
#[repr(C)]
struct Attr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Whether the file at a path, a C string's address, is on a read-only mount.
unsafe fn is_read_only(path: usize) -> bool {
    const ST_RDONLY: u64 = 1;
    // struct statfs is fifteen words; f_flags, which the C library hides, is word 10.
    let mut buffer = core::mem::MaybeUninit::<[u64; 15]>::uninit();
    // SAFETY: the kernel fills the whole structure when it returns 0.
    unsafe {
        if syscall5(libc::SYS_statfs, path, buffer.as_mut_ptr() as usize, 0, 0, 0) < 0 {
            return false;
        }
        buffer.as_ptr().cast::<u64>().add(10).read() & ST_RDONLY != 0
    }
}

/// Set by the first instructions when they have seen that the binary is on a read-only mount.
static PROTECTED: AtomicBool = AtomicBool::new(false);

/// Whether this process is known to run from a read-only mount of its binary, so that looking again, three
/// system calls, can be spared. False says nothing.
pub fn is_protected() -> bool {
    PROTECTED.load(Ordering::Relaxed)
}

/// Whether an argument is the name of a command that enters containers. An argument that only happens to be
/// such a word costs one exec and changes nothing.
unsafe fn is_entering(arg: *const u8) -> bool {
    // SAFETY: reads stop at the first difference, so never after the zero byte.
    unsafe {
        let at = |index: usize| *arg.add(index);
        match at(0) {
            b'r' => at(1) == b'u' && at(2) == b'n' && at(3) == 0,
            b'e' => at(1) == b'x' && at(2) == b'e' && at(3) == b'c' && at(4) == 0,
            b'c' => {
                at(1) == b'r'
                    && at(2) == b'e'
                    && at(3) == b'a'
                    && at(4) == b't'
                    && at(5) == b'e'
                    && at(6) == 0
            }
            _ => false,
        }
    }
}

/// A system call without the C library.
unsafe fn syscall5(number: libc::c_long, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    // SAFETY: the x86-64 system call convention; rcx and r11 are what the instruction itself overwrites.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Defines `main` for the C library, without the start-up of Rust's own runtime: that reads
/// `/proc/self/maps` for a stack guard and installs handlers, a dozen system calls that a container's first
/// process would carry along. Panics and destructors work as always.
#[macro_export]
macro_rules! main {
    ($main:path) => {
        #[expect(unsafe_code, reason = "the C library looks for this name")]
        #[unsafe(no_mangle)]
        extern "C" fn main(_argc: i32, _argv: *const *const u8) -> i32 {
            $crate::entry::prepare();
            $main()
        }
    };
}

/// Lets the heap grow in large steps and never shrink, because the program is short-lived (`mallopt(3)`), and
/// ignores `SIGPIPE`: a reader that has gone is an error of a write, not the end of a command half way.
pub fn prepare() {
    // SAFETY: called first in `main`, while there is one thread; both parameters take any size, and SIG_IGN
    // installs no handler.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::mallopt(libc::M_TOP_PAD, 512 * 1024);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

/// Opens `/dev/null` as each standard stream that the caller has closed: the next file that is opened would become
/// it, and be taken for it by programs that are started.
pub fn open_streams() {
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    });
    // SAFETY: poll fills the array whose length it is told; open takes a static string, and the lowest closed number
    // is the one that it returns.
    unsafe {
        if libc::poll(streams.as_mut_ptr(), 3, 0) <= 0 {
            return;
        }
        for stream in streams {
            if stream.revents & libc::POLLNVAL != 0
                && libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) != stream.fd
            {
                libc::abort();
            }
        }
    }
}
