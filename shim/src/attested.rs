//! A root file system that was compared with its manifest, and is still open: what is mounted is what was verified.

use crate::cli::attest::shown;
use crate::launch::{Launch, Root};
use crate::request::Request;
use nucleus_policy::attest::{self, Mismatch, Options, Progress, Summary};
use nucleus_policy::{Digest, NotADigest};
use rustix::fd::{AsFd, OwnedFd};
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

    /// The directory for `--rootfs-fd`: not closed by exec.
    ///
    /// # Errors
    /// As `dup(2)`.
    pub fn inherited(&self) -> std::io::Result<OwnedFd> {
        Ok(rustix::io::dup(&self.root)?)
    }
}
