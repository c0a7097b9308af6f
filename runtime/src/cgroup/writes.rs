//! Writing an ordered list of values to the files of one cgroup directory.

use std::borrow::Cow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nucleus_sys::process::Batch;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::Error;

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    /// The property it comes from, for errors.
    pub(super) property: Cow<'static, str>,
    /// The file's name in the cgroup's directory.
    pub(super) file: Cow<'static, str>,
    pub(super) value: String,
    /// Another file and value, for kernels that do not have the first file.
    pub(super) or: Option<(&'static str, String)>,
    /// Whether the write is left out where the file does not exist.
    pub(super) optional: bool,
    /// Whether the write is left out where the cgroup above forbids it (`EPERM`): less is allowed then.
    pub(super) dispensable: bool,
}

impl Write {
    pub(super) fn new(
        property: impl Into<Cow<'static, str>>,
        file: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
    ) -> Self {
        Self {
            property: property.into(),
            file: file.into(),
            value: value.into(),
            or: None,
            optional: false,
            dispensable: false,
        }
    }

    pub(super) fn or(self, file: &'static str, value: String) -> Self {
        Self {
            or: Some((file, value)),
            ..self
        }
    }
}

/// A cgroup directory that is being written to.
pub(super) struct Target<'a> {
    /// Without it the files are found by their absolute path: opening and closing the directory costs more
    /// than walking the path for the one or two files that most hierarchies get.
    pub(super) directory: Option<BorrowedFd<'a>>,
    /// Its absolute path.
    pub(super) path: &'a str,
    /// Takes the files, to be closed together.
    pub(super) spent: &'a mut Batch,
}

/// A file that stays open for further values, as device rules come.
type Open<'a> = Option<(&'a str, OwnedFd)>;

impl Target<'_> {
    /// Makes the writes in order.
    ///
    /// A value that the kernel refuses with EINVAL is tried again after the others, as long as others still
    /// get through: limits bound each other (memory and memory plus swap, quota and burst, weight and idle),
    /// and which order works depends on the values in force.
    ///
    /// `missing` is called when a file does not exist, and tells whether it did something about it.
    pub(super) fn apply(
        &mut self,
        writes: &[Write],
        missing: &mut dyn FnMut() -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut open = None;
        let mut refused = Vec::new();
        for write in writes {
            match self.one(write, &mut open, missing) {
                Err(Error::Set {
                    source: Errno::INVAL, ..
                }) => refused.push(write),
                other => other?,
            }
        }
        self.spend(open);
        while !refused.is_empty() {
            let mut still = Vec::new();
            let mut first = None;
            for write in &refused {
                let mut open = None;
                let result = self.one(write, &mut open, missing);
                self.spend(open);
                match result {
                    Err(
                        error @ Error::Set {
                            source: Errno::INVAL, ..
                        },
                    ) => {
                        still.push(*write);
                        first.get_or_insert(error);
                    }
                    other => other?,
                }
            }
            match first {
                Some(error) if still.len() == refused.len() => return Err(error),
                _ => refused = still,
            }
        }
        Ok(())
    }

    fn one<'w>(
        &mut self,
        write: &'w Write,
        open: &mut Open<'w>,
        missing: &mut dyn FnMut() -> Result<bool, Error>,
    ) -> Result<(), Error> {
        match self.set(write, &write.file, &write.value, open) {
            Err(Error::Set {
                source: Errno::NOENT, ..
            }) => {}
            other => return other,
        }
        // The other name may exist where this one does not: look before anything is switched on for it.
        if let Some(result) = self.alternative(write, open) {
            return result;
        }
        if missing()? {
            match self.set(write, &write.file, &write.value, open) {
                Err(Error::Set {
                    source: Errno::NOENT, ..
                }) => {}
                other => return other,
            }
            if let Some(result) = self.alternative(write, open) {
                return result;
            }
        }
        if write.optional {
            return Ok(());
        }
        let file = &write.file;
        let reason = match &write.or {
            None => format!("there is no file {file} in {}", self.path),
            Some((other, _)) => format!("there is neither {file} nor {other} in {}", self.path),
        };
        Err(Error::unsupported(write.property.clone(), reason))
    }

    /// The write under its second name; nothing where there is no such name or no such file.
    fn alternative<'w>(&mut self, write: &'w Write, open: &mut Open<'w>) -> Option<Result<(), Error>> {
        let (file, value) = write.or.as_ref()?;
        match self.set(write, file, value, open) {
            Err(Error::Set {
                source: Errno::NOENT, ..
            }) => None,
            other => Some(other),
        }
    }

    fn set<'w>(
        &mut self,
        write: &Write,
        file: &'w str,
        value: &str,
        open: &mut Open<'w>,
    ) -> Result<(), Error> {
        let name = format!("{}/{file}", self.path);
        let failed = |source| Error::Set {
            property: write.property.clone(),
            file: name.clone(),
            value: value.to_owned(),
            source,
        };
        if open.as_ref().is_none_or(|(name, _)| *name != file) {
            self.spend(open.take());
            let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let opened = match self.directory {
                Some(directory) => openat(directory, file, flags, Mode::empty()),
                None => openat(CWD, &name, flags, Mode::empty()),
            };
            *open = Some((file, opened.map_err(failed)?));
        }
        match open {
            Some((_, descriptor)) => match rustix::io::write(descriptor.as_fd(), value.as_bytes()) {
                Err(Errno::PERM) if write.dispensable => Ok(()),
                written => written.map(drop).map_err(failed),
            },
            None => Ok(()),
        }
    }

    fn spend(&mut self, open: Open<'_>) {
        if let Some((_, descriptor)) = open {
            self.spent.spend(descriptor);
        }
    }
}
