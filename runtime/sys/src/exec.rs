//! `execve(2)` and `execveat(2)`.

use crate::check;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;
use std::ffi::{CStr, CString, c_char};

/// A list of C strings in the form that `execve(2)` takes, allocated before the fork.
#[derive(Debug, Clone)]
pub struct CStrings {
    strings: Vec<CString>,
}

impl CStrings {
    /// Takes the strings over.
    pub fn new(strings: Vec<CString>) -> Self {
        Self { strings }
    }

    /// The strings, in order.
    pub fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.strings.iter().map(CString::as_c_str)
    }

    /// Adds a string at the end.
    pub fn push(&mut self, string: CString) {
        self.strings.push(string);
    }

    /// The first string, if there is one.
    pub fn first(&self) -> Option<&CStr> {
        self.strings.first().map(CString::as_c_str)
    }

    fn pointers(&self) -> Vec<*const c_char> {
        self.strings
            .iter()
            .map(|s| s.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    }
}

/// Replaces this process by the program at `path`; returns only on failure. `execve(2)`.
pub fn execve(path: &CStr, argv: &CStrings, envp: &CStrings) -> Errno {
    let (argv, envp) = (argv.pointers(), envp.pointers());
    // SAFETY: both arrays end in a null pointer, every other entry points to a string that outlives the call.
    fail(unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) }.into())
}

/// Replaces this process by the program behind `fd`; returns only on failure. `execveat(2)`.
pub fn execveat(fd: BorrowedFd<'_>, argv: &CStrings, envp: &CStrings) -> Errno {
    let (argv, envp) = (argv.pointers(), envp.pointers());
    // SAFETY: as in `execve`; the empty path is a static C string.
    fail(unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    })
}

fn fail(ret: libc::c_long) -> Errno {
    check(ret).expect_err("exec returns only on failure")
}
