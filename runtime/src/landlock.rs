//! Landlock: the body of its step. What is restricted and allowed was decided in [`plan::landlock`](crate::plan::landlock).

use crate::fault::{Call, Fault};
use nucleus_sys::landlock::{self, Ruleset};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use std::ffi::CString;
use std::fmt;

/// A ruleset with its rules, as this kernel can have them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Landlock {
    /// What is forbidden but for the rules.
    pub ruleset: Ruleset,
    /// What is allowed beneath paths.
    pub paths: Vec<PathRule>,
    /// What is allowed with TCP ports.
    pub ports: Vec<PortRule>,
}

/// Rights beneath a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRule {
    /// Absolute path in the container.
    pub path: CString,
    /// `LANDLOCK_ACCESS_FS_*` where the path is a directory.
    pub directory: u64,
    /// The same where it is not: the kernel refuses rights of directories then.
    pub file: u64,
    /// A path that is not there is no error.
    pub optional: bool,
}

/// Rights over a TCP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRule {
    /// The port.
    pub port: u16,
    /// `LANDLOCK_ACCESS_NET_*`.
    pub access: u64,
}

impl fmt::Display for Landlock {
    /// In full with `{:#}`; otherwise the name alone, for errors that name the rule themselves.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("landlock")?;
        if !f.alternate() {
            return Ok(());
        }
        let Ruleset {
            handled_access_fs: fs,
            handled_access_net: net,
            scoped,
        } = self.ruleset;
        write!(f, ": handled fs {fs:#x}, net {net:#x}, scoped {scoped:#x}")?;
        for PathRule { path, directory, .. } in &self.paths {
            write!(f, "; {:?} {directory:#x}", path.to_string_lossy())?;
        }
        for PortRule { port, access } in &self.ports {
            write!(f, "; port {port} {access:#x}")?;
        }
        Ok(())
    }
}

/// Restricts the calling process. Every descriptor that this takes is closed again.
///
/// # Errors
/// The failed call, with the path or port.
pub fn enforce(rules: &Landlock) -> Result<(), Fault> {
    let ruleset = landlock::create_ruleset(&rules.ruleset).call("create the ruleset")?;
    for rule in &rules.paths {
        allow_path(ruleset.as_fd(), rule)
            .call_on("add rule for", || format!("{:?}", rule.path.to_string_lossy()))?;
    }
    for PortRule { port, access } in &rules.ports {
        landlock::allow_port(ruleset.as_fd(), *port, *access)
            .call_on("add rule for port", || port.to_string())?;
    }
    landlock::restrict_self(ruleset.as_fd()).call("restrict this process")
}

fn allow_path(ruleset: BorrowedFd<'_>, rule: &PathRule) -> rustix::io::Result<()> {
    let path = match open(rule) {
        // Not there, or not for this user, to whom the rule would give nothing then.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) if rule.optional => return Ok(()),
        result => result?,
    };
    let access = match FileType::from_raw_mode(fstat(&path)?.st_mode) {
        FileType::Directory => rule.directory,
        _ => rule.file,
    };
    if access == 0 {
        return Ok(());
    }
    landlock::allow_path(ruleset, path.as_fd(), access)
}

/// Links of the root file system are followed (`/lib` is one), those of `/proc` that lead to descriptors or other
/// roots are not.
fn open(rule: &PathRule) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat2(
        CWD,
        &*rule.path,
        flags,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )
}
