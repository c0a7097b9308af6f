//! The container's status machine, pure; `runtime.md#lifecycle`. Every command that changes a container asks
//! here first.

use std::fmt;

/// The spec's statuses, and runc's `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// `create` is at work, or died at it.
    Creating,
    /// The environment is there, the program does not run yet.
    Created,
    /// The program runs.
    Running,
    /// All its processes are frozen.
    Paused,
    /// The first process has ended.
    Stopped,
}

/// What a command wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Run the program.
    Start,
    /// Send a signal.
    Kill,
    /// Remove the container.
    Delete,
    /// Remove the container, ending it first.
    ForceDelete,
    /// Run another process in it.
    Exec,
    /// Freeze its processes.
    Pause,
    /// Thaw them.
    Resume,
    /// Change its limits.
    Update,
}

/// All statuses.
pub const STATUSES: [Status; 5] = [
    Status::Creating,
    Status::Created,
    Status::Running,
    Status::Paused,
    Status::Stopped,
];

/// All operations.
pub const OPERATIONS: [Operation; 8] = [
    Operation::Start,
    Operation::Kill,
    Operation::Delete,
    Operation::ForceDelete,
    Operation::Exec,
    Operation::Pause,
    Operation::Resume,
    Operation::Update,
];

/// Why an operation is not allowed in a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// What was asked for.
    pub operation: Operation,
    /// The status that forbids it.
    pub status: Status,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, status } = self;
        match operation {
            // containerd knows by these words that there is nothing left to kill.
            Operation::Kill => write!(f, "container not running: it is {status}"),
            _ => write!(f, "cannot {operation} a container that is {status}"),
        }
    }
}

/// Where the container is after an operation that succeeded; `None` when it is gone.
///
/// # Errors
/// The operation is not allowed in this status.
pub fn apply(status: Status, operation: Operation) -> Result<Option<Status>, Refusal> {
    use Operation as O;
    use Status as S;
    let next = match (status, operation) {
        (S::Created, O::Start) => S::Running,
        // A signal may end the process; which one it is nobody but the kernel decides.
        (S::Created | S::Running | S::Paused, O::Kill | O::Update) => status,
        // The spec refuses to delete a created container; runc ends and deletes it, and containerd's shim
        // relies on that.
        (S::Created | S::Stopped, O::Delete) | (_, O::ForceDelete) => return Ok(None),
        (S::Created | S::Running, O::Exec) => status,
        (S::Paused, O::Exec) => status,
        (S::Created | S::Running, O::Pause) => S::Paused,
        (S::Paused, O::Resume) => S::Running,
        _ => return Err(Refusal { operation, status }),
    };
    Ok(Some(next))
}

impl Status {
    /// The word that `state` prints.
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Kill => "kill",
            Self::Delete => "delete",
            Self::ForceDelete => "force-delete",
            Self::Exec => "exec in",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Update => "update",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table, as runc has it: one row a status, one letter an operation in the
    /// order of `OPERATIONS`; `-` is refused, `x` is gone, other letters are the next status.
    #[test]
    fn every_status_and_operation() {
        let table = [
            (Status::Creating, "---x----"),
            (Status::Created, "rcxxcp-c"),
            (Status::Running, "-r-xrp-r"),
            (Status::Paused, "-p-xp-rp"),
            (Status::Stopped, "--xx----"),
        ];
        for (status, row) in table {
            for (operation, expected) in OPERATIONS.into_iter().zip(row.chars()) {
                let got = match apply(status, operation) {
                    Err(_) => '-',
                    Ok(None) => 'x',
                    Ok(Some(Status::Created)) => 'c',
                    Ok(Some(Status::Running)) => 'r',
                    Ok(Some(Status::Paused)) => 'p',
                    Ok(Some(other)) => panic!("{other}"),
                };
                assert_eq!(got, expected, "{status} {operation}");
            }
        }
    }

    #[test]
    fn a_refusal_names_both() {
        let refusal = apply(Status::Stopped, Operation::Start).unwrap_err();
        assert_eq!(refusal.to_string(), "cannot start a container that is stopped");
    }
}
