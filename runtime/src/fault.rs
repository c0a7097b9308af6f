//! What a step reports when it fails: which call, on what, and its errno.

use rustix::io::Errno;
use std::borrow::Cow;
use std::fmt;

/// A failed call of a step body. The step itself names the object; `call` says which of its calls failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The failed call, with the object where the step has several.
    pub call: Cow<'static, str>,
    /// Its errno, or 0 when the failure is a finding of our own (a check that did not hold).
    pub errno: i32,
}

impl Fault {
    /// A finding that is no failed system call.
    pub fn finding(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            call: text.into(),
            errno: 0,
        }
    }
}

impl From<nucleus_netlink::Error> for Fault {
    fn from(error: nucleus_netlink::Error) -> Self {
        Self {
            call: error.call,
            errno: error.errno.map_or(0, Errno::raw_os_error),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.errno == 0 {
            return f.write_str(&self.call);
        }
        write!(f, "{}: {}", self.call, ErrnoText(self.errno))
    }
}

/// An error with its sources, joined as `main` joins them.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Prints an errno as `operation not permitted (EPERM)`.
#[derive(Debug, Clone, Copy)]
pub struct ErrnoText(pub i32);

impl fmt::Display for ErrnoText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        let mut letters = text.chars();
        let first = letters.next().map(|c| c.to_ascii_lowercase());
        write!(f, "{}{}", first.into_iter().collect::<String>(), letters.as_str())?;
        match errno_name(self.0) {
            Some(name) => write!(f, " ({name})"),
            None => write!(f, " (errno {})", self.0),
        }
    }
}

/// The errors that set-up meets in practice.
fn errno_name(errno: i32) -> Option<&'static str> {
    const NAMES: &[(Errno, &str)] = &[
        (Errno::PERM, "EPERM"),
        (Errno::NOENT, "ENOENT"),
        (Errno::SRCH, "ESRCH"),
        (Errno::INTR, "EINTR"),
        (Errno::IO, "EIO"),
        (Errno::NXIO, "ENXIO"),
        (Errno::TOOBIG, "E2BIG"),
        (Errno::NOEXEC, "ENOEXEC"),
        (Errno::BADF, "EBADF"),
        (Errno::AGAIN, "EAGAIN"),
        (Errno::NOMEM, "ENOMEM"),
        (Errno::ACCESS, "EACCES"),
        (Errno::FAULT, "EFAULT"),
        (Errno::BUSY, "EBUSY"),
        (Errno::EXIST, "EEXIST"),
        (Errno::XDEV, "EXDEV"),
        (Errno::NODEV, "ENODEV"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::ISDIR, "EISDIR"),
        (Errno::INVAL, "EINVAL"),
        (Errno::NFILE, "ENFILE"),
        (Errno::MFILE, "EMFILE"),
        (Errno::TXTBSY, "ETXTBSY"),
        (Errno::FBIG, "EFBIG"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::ROFS, "EROFS"),
        (Errno::MLINK, "EMLINK"),
        (Errno::RANGE, "ERANGE"),
        (Errno::NAMETOOLONG, "ENAMETOOLONG"),
        (Errno::NOSYS, "ENOSYS"),
        (Errno::NOTEMPTY, "ENOTEMPTY"),
        (Errno::LOOP, "ELOOP"),
        (Errno::USERS, "EUSERS"),
        (Errno::OPNOTSUPP, "EOPNOTSUPP"),
        (Errno::CONNREFUSED, "ECONNREFUSED"),
        (Errno::DQUOT, "EDQUOT"),
    ];
    NAMES
        .iter()
        .find(|(code, _)| code.raw_os_error() == errno)
        .map(|(_, name)| *name)
}

/// Adds the failed call to an errno.
pub trait Call<T> {
    /// Names the call.
    ///
    /// # Errors
    /// The errno with its call.
    fn call(self, call: &'static str) -> Result<T, Fault>;

    /// Names the call, with an object that is worked out only on failure.
    ///
    /// # Errors
    /// The errno with its call.
    fn call_on(self, call: &'static str, object: impl FnOnce() -> String) -> Result<T, Fault>;
}

impl<T> Call<T> for rustix::io::Result<T> {
    fn call(self, call: &'static str) -> Result<T, Fault> {
        self.map_err(|errno| Fault {
            call: call.into(),
            errno: errno.raw_os_error(),
        })
    }

    fn call_on(self, call: &'static str, object: impl FnOnce() -> String) -> Result<T, Fault> {
        self.map_err(|errno| Fault {
            call: format!("{call} {}", object()).into(),
            errno: errno.raw_os_error(),
        })
    }
}

impl<T> Call<T> for std::io::Result<T> {
    fn call(self, call: &'static str) -> Result<T, Fault> {
        self.map_err(|error| Fault {
            call: call.into(),
            errno: error.raw_os_error().unwrap_or(0),
        })
    }

    fn call_on(self, call: &'static str, object: impl FnOnce() -> String) -> Result<T, Fault> {
        self.map_err(|error| Fault {
            call: format!("{call} {}", object()).into(),
            errno: error.raw_os_error().unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_call_and_errno() {
        let fault = Fault {
            call: "fsmount".into(),
            errno: 1,
        };
        assert_eq!(fault.to_string(), "fsmount: operation not permitted (EPERM)");
        assert_eq!(ErrnoText(117).to_string(), "structure needs cleaning (errno 117)");
    }
}
