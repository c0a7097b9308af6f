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
    /// Send a signal to every process, those that outlive the first one included.
    KillAll,
    /// Remove the container.
    Delete,
    /// Remove the container, ending it first.
    ForceDelete,
    /// Run another process in it.
    Exec,
    /// The same, also where it has to wait for `resume`.
    ExecInPaused,
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
pub const OPERATIONS: [Operation; 10] = [
    Operation::Start,
    Operation::Kill,
    Operation::KillAll,
    Operation::Delete,
    Operation::ForceDelete,
    Operation::Exec,
    Operation::ExecInPaused,
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
            Operation::Kill | Operation::KillAll => write!(f, "container not running: it is {status}"),
            _ => write!(f, "cannot {operation} a container that is {status}"),
        }
    }
}

/// What a command finds of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Found {
    /// Whether its first process is recorded: then all of it is there.
    pub recorded: bool,
    /// Whether that process lives.
    pub alive: bool,
    /// Whether its processes are frozen.
    pub frozen: bool,
    /// Whether the FIFO of `start` is there under its first name.
    pub waits: bool,
    /// Whether the command holds the container's lock.
    pub locked: bool,
}

impl Found {
    /// What that means.
    pub fn status(self) -> Status {
        match self {
            // With the lock in hand nobody is creating it: `create` was killed.
            Self {
                recorded: false,
                locked: true,
                ..
            } => Status::Stopped,
            Self { recorded: false, .. } => Status::Creating,
            Self { alive: false, .. } => Status::Stopped,
            Self { frozen: true, .. } => Status::Paused,
            Self { waits: true, .. } => Status::Created,
            _ => Status::Running,
        }
    }
}

/// What a command does to a container; each may be the last before the command is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// Rename the FIFO, so that of two starts only one goes on.
    ClaimStart,
    /// Write the byte, and wait for the answer.
    Tell,
    /// Remove the FIFOs: the start is over.
    Forget,
    /// Send the signal.
    Signal,
    /// Run the process.
    Enter,
    /// Stop the processes.
    Freeze,
    /// Let them go on.
    Thaw,
    /// Set the limits.
    Limit,
    /// Kill all processes, and wait for the first one's end.
    End,
    /// Remove the control groups and what else the kernel keeps for the container.
    Free,
    /// Remove the state directory.
    Remove,
}

/// How a container is taken down, by `delete`, at the end of `run` and after a creation that failed: the reverse of
/// creation. The state goes last, so that a command that is killed here can be repeated.
pub const TAKE_DOWN: [Act; 3] = [Act::End, Act::Free, Act::Remove];

/// The acts of an operation, in their order; `claimed` says whether an earlier `start` was killed between its acts.
///
/// # Errors
/// The operation is not allowed in this status.
pub fn decide(status: Status, claimed: bool, operation: Operation) -> Result<&'static [Act], Refusal> {
    use Act as A;
    use Operation as O;
    use Status as S;
    Ok(match (status, operation) {
        (S::Created, O::Start) => &[A::ClaimStart, A::Tell, A::Forget],
        (S::Running, O::Start) if claimed => &[A::Tell, A::Forget],
        // A signal may end the process; which one it is nobody but the kernel decides.
        (S::Created | S::Running | S::Paused, O::Kill | O::KillAll) | (S::Stopped, O::KillAll) => {
            &[A::Signal]
        }
        (S::Created | S::Running, O::Exec) | (S::Created | S::Running | S::Paused, O::ExecInPaused) => {
            &[A::Enter]
        }
        (S::Created | S::Running, O::Pause) => &[A::Freeze],
        (S::Paused, O::Resume) => &[A::Thaw],
        (S::Created | S::Running | S::Paused, O::Update) => &[A::Limit],
        (S::Stopped, O::Delete | O::ForceDelete) => &TAKE_DOWN[1..],
        // The spec refuses to delete a created container; runc ends and deletes it, and containerd's shim
        // relies on that.
        (S::Created, O::Delete) | (_, O::ForceDelete) => &TAKE_DOWN,
        _ => return Err(Refusal { operation, status }),
    })
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
            Self::Kill | Self::KillAll => "kill",
            Self::Delete => "delete",
            Self::ForceDelete => "force-delete",
            Self::Exec | Self::ExecInPaused => "exec in",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Update => "update",
        })
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClaimStart => "claim start",
            Self::Tell => "tell",
            Self::Forget => "forget",
            Self::Signal => "signal",
            Self::Enter => "enter",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::Limit => "limit",
            Self::End => "end",
            Self::Free => "free",
            Self::Remove => "remove",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table, as runc has it: one row a status, one letter an operation in the order of `OPERATIONS`: `-`
    /// is refused, others are the first act.
    #[test]
    fn every_status_and_operation() {
        let table = [
            (Status::Creating, "----e-----"),
            (Status::Created, "cssee>>z-l"),
            (Status::Running, "-ss-e>>z-l"),
            (Status::Paused, "-ss-e->-tl"),
            (Status::Stopped, "--sff-----"),
        ];
        for (status, row) in table {
            for (operation, expected) in OPERATIONS.into_iter().zip(row.chars()) {
                let got = match decide(status, false, operation).map(|acts| acts[0]) {
                    Err(_) => '-',
                    Ok(Act::ClaimStart) => 'c',
                    Ok(Act::Signal) => 's',
                    Ok(Act::Enter) => '>',
                    Ok(Act::Freeze) => 'z',
                    Ok(Act::Thaw) => 't',
                    Ok(Act::Limit) => 'l',
                    Ok(Act::End) => 'e',
                    Ok(Act::Free) => 'f',
                    Ok(other) => panic!("{other:?}"),
                };
                assert_eq!(got, expected, "{status} {operation}");
            }
        }
    }

    #[test]
    fn a_refusal_names_both() {
        let refusal = decide(Status::Stopped, false, Operation::Start).unwrap_err();
        assert_eq!(refusal.to_string(), "cannot start a container that is stopped");
    }
}
