//! A root file system that was compared with its manifest, and is still open: what is mounted is what was verified.

use crate::cli::attest::shown;
use crate::launch::{Launch, Root};
use crate::request::Request;
use nucleus_policy::attest::{self, Mismatch, Options, Progress, Summary};
use nucleus_policy::{Digest, NotADigest};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use std::fmt;
use std::path::{Path, PathBuf};

/// How many mismatches an error tells of.
const TOLD: usize = 20;

/// Why a root file system is not used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pin is none.
    #[error("rootfs-manifest-sha256")]
    Pin(#[source] NotADigest),
    /// It cannot be opened.
    #[error("open {}", .0.display())]
    Open(PathBuf, #[source] std::io::Error),
    /// It cannot be compared.
    #[error("root file system {}", .0.display())]
    Attest(PathBuf, #[source] attest::Error),
    /// It is not what its manifest says.
    #[error("root file system {} is not what its manifest says:{mismatches}", path.display())]
    Differs {
        /// Where it is.
        path: PathBuf,
        /// How.
        mismatches: Mismatches,
    },
    /// Something is to be mounted where there is nothing.
    #[error(
        "root file system {} has no {missing}, where the sandbox has mounts: nothing is made in what was attested; \
         make it, and the manifest anew (nucleus attest create, or mountPoints of lib.mkRootfs)",
        path.display()
    )]
    NoTarget {
        /// Where it is.
        path: PathBuf,
        /// What it lacks.
        missing: Paths,
    },
    /// A mount's target cannot be looked at.
    #[error("open {} in the root file system", .0.display())]
    Target(PathBuf, #[source] std::io::Error),
}

/// Paths of a root file system.
#[derive(Debug)]
pub struct Paths(Vec<PathBuf>);

impl fmt::Display for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, path) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{}", path.display())?;
        }
        Ok(())
    }
}

/// The first mismatches, and how many there are.
#[derive(Debug, Default)]
pub struct Mismatches {
    first: Vec<Mismatch>,
    all: usize,
}

impl fmt::Display for Mismatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mismatch in &self.first {
            write!(f, "\n  {mismatch}")?;
        }
        match self.all - self.first.len() {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more; nucleus attest verify lists them"),
        }
    }
}

/// The open directory, and what was found in it.
#[derive(Debug)]
pub struct Attested {
    root: OwnedFd,
    /// What it holds.
    pub summary: Summary,
}

impl Attested {
    /// Opens and compares the root file system of a launch, where the mode or a pin asks for it.
    ///
    /// # Errors
    /// It is not what its manifest says.
    pub fn of(request: &Request, launch: &Launch, quiet: bool) -> Result<Option<Self>, Error> {
        let pin = request.rootfs_manifest_sha256.as_deref();
        let pin = pin.map(str::parse::<Digest>).transpose().map_err(Error::Pin)?;
        match &launch.root {
            Root::Directory(path) if pin.is_some() || launch.decision.rules.attested_rootfs => {
                Self::verify(path, pin, quiet).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn verify(path: &Path, pin: Option<Digest>, quiet: bool) -> Result<Self, Error> {
        let root = attest::open_root(path).map_err(|error| Error::Open(path.to_owned(), error))?;
        let progress = Progress::default();
        let options = Options {
            pin,
            progress: Some(&progress),
            ..Options::default()
        };
        let mut mismatches = Mismatches::default();
        let mut report = |mismatch| {
            mismatches.all += 1;
            if mismatches.first.len() < TOLD {
                mismatches.first.push(mismatch);
            }
        };
        let verified = shown(&progress, quiet, || {
            attest::verify(root.as_fd(), &options, &mut report)
        });
        let summary = verified.map_err(|error| Error::Attest(path.to_owned(), error))?;
        if mismatches.all > 0 {
            let path = path.to_owned();
            return Err(Error::Differs { path, mismatches });
        }
        Ok(Self { root, summary })
    }

    /// Looks whether everything is there on which the sandbox has mounts. What is in one of them is made there.
    ///
    /// # Errors
    /// It is not: making it would need rights that the caller may lack, and would no longer be what was attested.
    pub fn has_targets(&self, path: &Path, targets: &[PathBuf]) -> Result<(), Error> {
        let mut missing = Vec::new();
        for (number, target) in targets.iter().enumerate() {
            let within = |other: &PathBuf| target.starts_with(other);
            if !targets[..number].iter().any(within) && !self.holds(target)? {
                missing.push(target.clone());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let (path, missing) = (path.to_owned(), Paths(missing));
        Err(Error::NoTarget { path, missing })
    }

    fn holds(&self, target: &Path) -> Result<bool, Error> {
        let (flags, within) = (OFlags::PATH | OFlags::CLOEXEC, ResolveFlags::IN_ROOT);
        loop {
            return match openat2(&self.root, target, flags, Mode::empty(), within) {
                Ok(_) => Ok(true),
                Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
                // A rename elsewhere, while it was resolved.
                Err(Errno::AGAIN | Errno::INTR) => continue,
                Err(errno) => Err(Error::Target(target.to_owned(), errno.into())),
            };
        }
    }

    /// The directory for `--rootfs-fd`: not closed by exec.
    ///
    /// # Errors
    /// As `dup(2)`.
    pub fn inherited(&self) -> std::io::Result<OwnedFd> {
        Ok(rustix::io::dup(&self.root)?)
    }
}
