//! What a checker says of a model.

use std::fmt;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was asked for holds.
    Holds,
    /// An invariant or a temporal property does not.
    Violated,
    /// A state has no next one.
    Deadlock,
    /// The checker could not tell: a mistake in the spec, a limit, or a fault of the tool.
    Error(String),
}

/// The verdict and how much was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What was found.
    pub verdict: Verdict,
    /// Distinct states.
    pub states: usize,
    /// What the checker printed, for a person.
    pub details: String,
}

impl Outcome {
    /// The checker could not tell.
    pub fn error(message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            verdict: Verdict::Error(message.clone()),
            states: 0,
            details: message,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds => f.write_str("holds"),
            Self::Violated => f.write_str("violated"),
            Self::Deadlock => f.write_str("deadlock"),
            Self::Error(message) => write!(f, "error: {message}"),
        }
    }
}
