//! The words of a Landlock policy, and what each stands for in the kernel. The one table of both.

/// A named set of file rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Open a file for reading, list a directory.
    Read,
    /// Open a file for writing, without cutting it short.
    Write,
    /// Make files, directories, symbolic links, sockets and pipes.
    Create,
    /// Remove files and directories.
    Remove,
    /// Run a file.
    Execute,
    /// truncate(2), and open(2) with `O_TRUNC`.
    Truncate,
    /// ioctl(2) on a character or block device.
    Ioctl,
    /// Link or rename between directories. ABI 2.
    Refer,
    /// Make device nodes. Not part of `create`.
    CreateDevice,
}

/// The word, the access it names, and the kernel's rights without `LANDLOCK_ACCESS_FS_`.
const TABLE: [(&str, Access, &[&str]); 9] = [
    ("read", Access::Read, &["read_file", "read_dir"]),
    ("write", Access::Write, &["write_file"]),
    (
        "create",
        Access::Create,
        &["make_reg", "make_dir", "make_sym", "make_sock", "make_fifo"],
    ),
    ("remove", Access::Remove, &["remove_file", "remove_dir"]),
    ("execute", Access::Execute, &["execute"]),
    ("truncate", Access::Truncate, &["truncate"]),
    ("ioctl", Access::Ioctl, &["ioctl_dev"]),
    ("refer", Access::Refer, &["refer"]),
    (
        "create-device",
        Access::CreateDevice,
        &["make_char", "make_block"],
    ),
];

impl Access {
    /// The word in a policy.
    #[must_use]
    pub fn word(self) -> &'static str {
        TABLE.iter().find(|row| row.1 == self).map_or("", |row| row.0)
    }

    /// The kernel's rights, in lower case and without `LANDLOCK_ACCESS_FS_`.
    #[must_use]
    pub fn rights(self) -> &'static [&'static str] {
        TABLE.iter().find(|row| row.1 == self).map_or(&[], |row| row.2)
    }

    /// The access that `word` names.
    pub(crate) fn named(word: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.0 == word).map(|row| row.1)
    }
}

/// Every file right of ABI 5, in the kernel's order. All are handled: what no rule allows is refused.
pub(crate) const FILE_RIGHTS: [&str; 16] = [
    "execute",
    "write_file",
    "read_file",
    "read_dir",
    "remove_dir",
    "remove_file",
    "make_char",
    "make_dir",
    "make_reg",
    "make_sock",
    "make_fifo",
    "make_block",
    "make_sym",
    "refer",
    "truncate",
    "ioctl_dev",
];

/// Both TCP rights, ABI 4.
pub(crate) const TCP_RIGHTS: [&str; 2] = ["bind_tcp", "connect_tcp"];

/// What a process may not reach outside its own Landlock domain. ABI 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Connect to abstract Unix sockets (unix(7)).
    AbstractUnixSocket,
    /// Send signals.
    Signal,
}

impl Scope {
    /// The word in a policy.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::AbstractUnixSocket => "abstract-unix-socket",
            Self::Signal => "signal",
        }
    }

    /// The kernel's name, in lower case and without `LANDLOCK_SCOPE_`.
    #[must_use]
    pub fn kernel_name(self) -> &'static str {
        match self {
            Self::AbstractUnixSocket => "abstract_unix_socket",
            Self::Signal => "signal",
        }
    }

    pub(crate) fn named(word: &str) -> Option<Self> {
        [Self::AbstractUnixSocket, Self::Signal]
            .into_iter()
            .find(|scope| scope.word() == word)
    }
}

/// What a policy restricts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Domain {
    /// All file rights.
    Files,
    /// bind(2) and connect(2) of TCP sockets.
    Tcp,
}

impl Domain {
    /// The word in a policy.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Tcp => "tcp",
        }
    }

    pub(crate) fn named(word: &str) -> Option<Self> {
        [Self::Files, Self::Tcp]
            .into_iter()
            .find(|domain| domain.word() == word)
    }
}
