//! What can be wrong with a policy file, and the list of everything that is.

use std::fmt;
use std::io;

use crate::digest::Digest;
use crate::request::{Kind, Origin};

/// One fault of one file.
#[derive(Debug, thiserror::Error)]
#[error("{what} {origin}{}: {problem}", Line(*line))]
pub struct Fault {
    /// What the file was read as: `seccomp policy`, `policy lock`.
    pub what: Document,
    /// The file, or the built-in policy.
    pub origin: Origin,
    /// The line of the file, counted from 1, where there is one.
    pub line: Option<usize>,
    /// What is wrong.
    #[source]
    pub problem: Problem,
}

/// What a file is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// A policy of this kind.
    Policy(Kind),
    /// A lock file.
    Lock,
}

impl fmt::Display for Document {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(kind) => write!(formatter, "{kind} policy"),
            Self::Lock => formatter.write_str("policy lock"),
        }
    }
}

struct Line(Option<usize>);

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |line| write!(formatter, ", line {line}"))
    }
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file cannot be opened or read.
    #[error("cannot be read")]
    Unreadable(#[source] io::Error),
    /// A directory, pipe, socket or device.
    #[error("is not a regular file")]
    NotRegular,
    /// Larger than [`crate::MAX_BYTES`].
    #[error("has more than {limit} bytes")]
    TooLarge {
        /// The most bytes that a policy may have.
        limit: u64,
    },
    /// The bytes are not UTF-8.
    #[error("is not UTF-8 text")]
    NotText,
    /// The bytes are not the reviewed ones. They were not parsed.
    #[error("its SHA-256 is {actual}, not the pinned {expected}")]
    WrongPin {
        /// The pin.
        expected: Digest,
        /// What the bytes have.
        actual: Digest,
    },
    /// A pin is required and none was given.
    #[error("it must be pinned; its SHA-256 is {actual}")]
    NoPin {
        /// What the bytes have: the pin to give once they are reviewed.
        actual: Digest,
    },
    /// Not JSON or TOML, an unknown or missing field, a value of the wrong type: the parser's words.
    #[error("{0}")]
    Syntax(String),
    /// A name that does not exist.
    #[error("there is no {what} {name:?}")]
    Unknown {
        /// `system call`, `capability`, ...
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The same thing twice.
    #[error("{what} {name:?} is given twice")]
    Duplicate {
        /// `rule for system call`, `path`, ...
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Two statements that cannot both hold.
    #[error("{what} {name:?} {against}")]
    Contradiction {
        /// The kind of thing.
        what: &'static str,
        /// The name.
        name: String,
        /// What it contradicts.
        against: &'static str,
    },
    /// A value that is well formed and still refused.
    #[error("{what} {value}: {reason}")]
    Refused {
        /// The field.
        what: &'static str,
        /// The value.
        value: String,
        /// Why.
        reason: &'static str,
    },
    /// Something that has to be said is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
}

impl Problem {
    pub(crate) fn unknown(what: &'static str, name: impl Into<String>) -> Self {
        Self::Unknown {
            what,
            name: name.into(),
        }
    }

    pub(crate) fn duplicate(what: &'static str, name: impl Into<String>) -> Self {
        Self::Duplicate {
            what,
            name: name.into(),
        }
    }

    pub(crate) fn refused(what: &'static str, value: impl fmt::Display, reason: &'static str) -> Self {
        Self::Refused {
            what,
            value: value.to_string(),
            reason,
        }
    }
}

/// Everything that is wrong with the policies of a request, never empty. `Display` has one line a fault.
#[derive(Debug)]
pub struct Errors(Vec<Fault>);

impl Errors {
    /// The faults, in the order seccomp, capabilities, Landlock, and of their lines.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.0
    }

    pub(crate) fn of(faults: Vec<Fault>) -> Self {
        Self(faults)
    }

    pub(crate) fn unless_empty(faults: Vec<Fault>) -> Result<(), Self> {
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Self(faults))
        }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            if number > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{fault}")?;
            let mut source = std::error::Error::source(&fault.problem);
            while let Some(error) = source {
                write!(formatter, ": {error}")?;
                source = error.source();
            }
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// Collects the problems of one text with the lines that they are on.
#[derive(Debug)]
pub(crate) struct Problems<'a> {
    text: &'a str,
    /// Where its newlines are: every rule asks for its line.
    newlines: Vec<usize>,
    found: Vec<(Option<usize>, Problem)>,
}

impl<'a> Problems<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        Self {
            text,
            newlines: text.match_indices('\n').map(|(at, _)| at).collect(),
            found: Vec::new(),
        }
    }

    /// The line of the byte at `offset`, counted from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        1 + self.newlines.partition_point(|newline| *newline < offset)
    }

    pub(crate) fn at(&mut self, offset: usize, problem: Problem) {
        let line = self.line(offset);
        self.at_line(line, problem);
    }

    pub(crate) fn at_line(&mut self, line: usize, problem: Problem) {
        self.found.push((Some(line), problem));
    }

    pub(crate) fn somewhere(&mut self, problem: Problem) {
        self.found.push((None, problem));
    }

    /// Reads TOML with serde. A fault of syntax or form is the only one reported, as what follows it
    /// cannot be known.
    pub(crate) fn toml<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        match toml::from_str(self.text) {
            Ok(value) => Some(value),
            Err(error) => {
                let problem = Problem::Syntax(error.message().replace('\n', " "));
                match error.span() {
                    Some(span) => self.at(span.start, problem),
                    None => self.somewhere(problem),
                }
                None
            }
        }
    }

    /// `value` if nothing was wrong.
    pub(crate) fn or<T>(self, value: Option<T>) -> Result<T, Vec<(Option<usize>, Problem)>> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => Err(self.found),
        }
    }
}

/// The problems of one text, with their lines.
pub(crate) type Found = Vec<(Option<usize>, Problem)>;

/// Says which file the problems are in.
pub(crate) fn in_file(mut found: Found, what: Document, origin: &Origin) -> Vec<Fault> {
    let fault = |(line, problem)| Fault {
        what,
        origin: origin.clone(),
        line,
        problem,
    };
    found.sort_by_key(|(line, _)| *line);
    found.into_iter().map(fault).collect()
}
