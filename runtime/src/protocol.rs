//! The parent's decisions in the protocol with the first process (see [`sync`](crate::sync)), pure: what may come,
//! and what is done about it. `create`, `run` and `exec` ask here; `formal/specs/Handshake.tla` says the same. What a plan makes the parent expect
//! is [`Plan::protocol`](crate::plan::Plan::protocol).

use std::fmt;

/// Where the protocol is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The child sets itself up.
    SetUp,
    /// It was told to go on to the program.
    Started,
}

/// What a message is, without what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Heard {
    /// The mounts are there.
    Mounted,
    /// The terminal's master.
    Terminal,
    /// The seccomp listener.
    Listener,
    /// Everything before `start` is done.
    Ready,
    /// A step failed.
    Failed,
    /// The child's end is closed.
    Closed,
}

/// All messages.
pub const MESSAGES: [Heard; 6] = [
    Heard::Mounted,
    Heard::Terminal,
    Heard::Listener,
    Heard::Ready,
    Heard::Failed,
    Heard::Closed,
];

/// What the parent does about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Run the hooks, and say that they are done.
    RunHooks,
    /// Keep the terminal.
    KeepTerminal,
    /// Hand the listener over, and say so.
    PassListener,
    /// Record the container: it is created.
    GoOn,
    /// Report what the child says.
    Report,
    /// Report that the child has died.
    Died,
    /// The child has become the program, or has ended, which its status tells.
    Executed,
}

/// A message that does not belong here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("unexpected message of the container's first process: {0}")]
pub struct Unexpected(pub Heard);

/// What the parent expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Protocol {
    /// Where it is.
    pub stage: Stage,
    /// The child will wait for the runtime's hooks.
    pub hooks: bool,
    /// It will send the terminal.
    pub terminal: bool,
    /// It will send a seccomp listener.
    pub listener: bool,
}

impl Protocol {
    /// The child is about to be told to go on to the program.
    pub fn started(self) -> Self {
        Self {
            stage: Stage::Started,
            ..self
        }
    }

    /// Decides about a message; the second is what is expected after it.
    ///
    /// # Errors
    /// It does not belong here.
    pub fn hear(self, message: Heard) -> Result<(Reply, Self), Unexpected> {
        use Heard as H;
        let reply = match (self.stage, message) {
            (_, H::Failed) => Reply::Report,
            (Stage::SetUp, H::Closed) => Reply::Died,
            (Stage::Started, H::Closed) => Reply::Executed,
            (Stage::SetUp, H::Mounted) if self.hooks => Reply::RunHooks,
            (Stage::SetUp, H::Terminal) if self.terminal => Reply::KeepTerminal,
            (Stage::SetUp, H::Listener) if self.listener => Reply::PassListener,
            (Stage::SetUp, H::Ready) if !(self.hooks || self.terminal || self.listener) => Reply::GoOn,
            _ => return Err(Unexpected(message)),
        };
        let after = Self {
            stage: self.stage,
            hooks: self.hooks && message != H::Mounted,
            terminal: self.terminal && message != H::Terminal,
            listener: self.listener && message != H::Listener,
        };
        Ok((reply, after))
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mounted => "mounted",
            Self::Terminal => "terminal",
            Self::Listener => "listener",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Closed => "closed",
        })
    }
}
