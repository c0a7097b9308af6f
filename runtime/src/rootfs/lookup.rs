//! How a path of the container is found, and made where it is missing, while processes of another container rename:
//! the flags of `openat2(2)` and the next question to the kernel, decided from its last answer. `resolve` asks.
//!
//! Each question begins again at the descriptor of the root. What has been found is held by a descriptor, and only one
//! name is ever made in it, so that no rename in between leads anywhere else. `formal/specs/Filesystem.tla` shows that
//! no lookup leaves the root file system and that each ends.

use rustix::fs::ResolveFlags;
use rustix::io::Errno;

/// How often an undecided lookup is repeated.
pub const RETRIES: u32 = 128;

/// How a path of the container is resolved: absolute symbolic links start at the root, `..` cannot leave it, and links
/// of procfs to anywhere are not followed. Without `links` no component may be a symbolic link.
pub fn resolve(links: bool) -> ResolveFlags {
    if links {
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS
    } else {
        ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS
    }
}

/// Whether components of the destination of a file system of this type may be symbolic links. Never for those of which
/// paths are masked: a link there would put them where the masked paths do not look (CVE-2019-16884 and its successors).
pub fn may_follow_links(fstype: &str) -> bool {
    !matches!(fstype, "proc" | "sysfs" | "cgroup" | "cgroup2")
}

/// Whether a failed lookup says that there is nothing to mask or to make read-only. Whatever else keeps a path from
/// being found is an error, for the path may be there.
pub fn nothing_to_hide(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR)
}

/// What the kernel has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It was found, or it was made or is there already.
    There,
    /// A component is missing.
    Missing,
    /// A rename elsewhere raced with `..` (`EAGAIN`), or a signal came.
    Undecided,
    /// Anything else.
    Refused,
}

impl From<Errno> for Answer {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::Missing,
            Errno::AGAIN | Errno::INTR => Self::Undecided,
            _ => Self::Refused,
        }
    }
}

/// The next question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Open the path without its last components, as many as these.
    Open(usize),
    /// Make, in the directory that was opened last, the component after which this many are left.
    Make(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// To a directory that is there.
    Up,
    /// To the path, below what is being made.
    Down,
}

/// A lookup on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup {
    components: usize,
    ask: Ask,
    turn: Turn,
    retries: u32,
    /// Of this question.
    left: u32,
}

/// The last answer ends the lookup without the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed;

impl Lookup {
    /// Of a path of this many components, as if it was there. `retries` as in [`RETRIES`].
    pub fn of(components: usize, retries: u32) -> Self {
        Self {
            components,
            ask: Ask::Open(0),
            turn: Turn::Up,
            retries,
            left: retries,
        }
    }

    /// Of a path that is probably missing, as another one in the same directory was: the directory is open.
    pub fn beside(components: usize, retries: u32) -> Self {
        Self {
            ask: Ask::Make(0),
            ..Self::of(components, retries)
        }
    }

    /// The next question.
    pub fn ask(&self) -> Ask {
        self.ask
    }

    /// What follows an answer; nothing when the path is open.
    ///
    /// # Errors
    /// The answer ends the lookup: also where what was made is missing, for then somebody has taken it away, or the
    /// name is a link to nowhere.
    pub fn next(self, answer: Answer) -> Result<Option<Self>, Failed> {
        let asking = |ask, turn| {
            let left = self.retries;
            Ok(Some(Self {
                ask,
                turn,
                left,
                ..self
            }))
        };
        match (self.ask, self.turn, answer) {
            (Ask::Open(0), _, Answer::There) => Ok(None),
            (Ask::Open(less), turn, Answer::There) => asking(Ask::Make(less - 1), turn),
            (Ask::Open(less), Turn::Up, Answer::Missing) if less < self.components => {
                asking(Ask::Open(less + 1), Turn::Up)
            }
            (Ask::Open(_), _, Answer::Undecided) if self.left > 0 => Ok(Some(Self {
                left: self.left - 1,
                ..self
            })),
            (Ask::Make(left), _, Answer::There) => asking(Ask::Open(left), Turn::Down),
            _ => Err(Failed),
        }
    }
}
