//! What can go wrong with control groups.

use std::borrow::Cow;

use rustix::io::Errno;

/// A failure of a control group operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value of the configuration is wrong on every host.
    #[error("invalid {property}: {reason}")]
    Invalid {
        /// The property, as a path in `config.json`.
        property: Cow<'static, str>,
        /// What is wrong with the value.
        reason: String,
    },
    /// This host cannot do what the configuration asks for.
    #[error("{property} cannot be applied: {reason}")]
    Unsupported {
        /// The property, as a path in `config.json`.
        property: Cow<'static, str>,
        /// What the host lacks.
        reason: String,
    },
    /// The kernel refused a value.
    #[error("set {property}: write {value:?} to {file}{}", weightless(.file, .source))]
    Set {
        /// The property, as a path in `config.json`.
        property: Cow<'static, str>,
        /// The file that was written to, an absolute host path.
        file: String,
        /// The value that was written.
        value: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// A controller could not be switched on for the children of a cgroup.
    #[error("enable {controllers} in {directory}{}", busy(.source))]
    Enable {
        /// The controllers, as written to `cgroup.subtree_control`.
        controllers: String,
        /// The cgroup whose children were to have them.
        directory: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// An operation on a cgroup directory or file failed.
    #[error("{act} {path}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what, an absolute host path.
        path: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// The cgroup was there before, with processes in it.
    #[error("cgroup {0} already holds processes")]
    Occupied(String),
    /// systemd did not do what it was asked for.
    #[error("systemd: {act} of {unit}: {answer}")]
    Systemd {
        /// The method, or the wait for the job that it started.
        act: String,
        /// The unit.
        unit: String,
        /// systemd's error and its text, or the job's result.
        answer: String,
    },
    /// Processes of the container did not die, freeze or thaw in time.
    #[error("{act} {path}: still not done after {milliseconds} ms")]
    Timeout {
        /// What was waited for.
        act: &'static str,
        /// The cgroup.
        path: String,
        /// How long it was waited for.
        milliseconds: u32,
    },
    /// A file of the kernel does not have the form that its documentation promises.
    #[error("unexpected content of {path}: {content:?}")]
    Content {
        /// The file.
        path: String,
        /// What was read.
        content: String,
    },
}

/// EBUSY has one cause here, which its text does not tell.
fn busy(errno: &Errno) -> &'static str {
    match *errno {
        Errno::BUSY => " (a cgroup with processes of its own cannot give controllers to its children)",
        _ => "",
    }
}

/// What a disk lacks that takes no weight, on cgroup2.
fn weightless(file: &str, errno: &Errno) -> &'static str {
    match *errno {
        Errno::OPNOTSUPP if file.ends_with("/io.weight") || file.ends_with("/io.bfq.weight") => {
            " (nothing follows a weight of this disk: give it the scheduler bfq, or its cost model in io.cost.qos)"
        }
        _ => "",
    }
}

impl Error {
    pub(super) fn invalid(property: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self::Invalid {
            property: property.into(),
            reason: reason.into(),
        }
    }

    pub(super) fn unsupported(property: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self::Unsupported {
            property: property.into(),
            reason: reason.into(),
        }
    }

    pub(super) fn io(act: &'static str, path: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        let path = path.into();
        move |source| Self::Io { act, path, source }
    }

    /// The kernel's answer, where there was one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Set { source, .. } | Self::Enable { source, .. } | Self::Io { source, .. } => Some(*source),
            _ => None,
        }
    }
}
