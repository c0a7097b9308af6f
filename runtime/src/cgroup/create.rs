//! Making the directories and setting every limit before a process enters.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nucleus_sys::bpf;
use nucleus_sys::process::Batch;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, open, openat, unlinkat};
use rustix::io::Errno;

use super::plan::Directory;
use super::record::Place;
use super::systemd::{self, Placeholder, Property, Scope};
use super::writes::{Target, Write};
use super::{Error, Plan, Record};

/// How often a directory is made again below parents that someone else removes at the same time.
const ROUNDS: usize = 8;

/// A container's cgroups, ready to be entered: nothing else makes one than [`create`], which has set every limit by
/// then, and [`Record::enter`] for a container that is there. No process is spawned without one.
#[derive(Debug)]
pub struct Entered {
    /// The cgroup2 directory, for `clone3(CLONE_INTO_CGROUP)`.
    pub into: Option<OwnedFd>,
    /// The `tasks` files of version 1: the single-threaded child writes `0` to each.
    pub tasks: Batch,
    /// For the container's state.
    pub record: Record,
    /// Keeps a scope open until the container's own process is in it: dropped with the rest after clone3.
    placeholder: Option<Placeholder>,
}

/// Makes the directories and sets every limit. After a failure nothing that it made is left.
///
/// A directory that is there already is taken over if it holds no process; it will not be deleted with the
/// container. Rootless and without limits, a cgroup that may not be created is left out: the result is empty.
///
/// # Errors
/// The kernel refuses a directory or a value, or lacks what the configuration asks for.
pub fn create(plan: &Plan) -> Result<Entered, Error> {
    let mut entered = Entered::nowhere();
    entered.record.places.reserve_exact(plan.directories.len());
    let Err(error) = entered.add_all(plan) else {
        return Ok(entered);
    };
    // What is left behind here was taken by others meanwhile; the first failure is the one to tell.
    let _ = entered.record.delete();
    let refused = matches!(error.errno(), Some(Errno::ACCESS | Errno::PERM | Errno::ROFS));
    if plan.dispensable && refused {
        Ok(Entered::nowhere())
    } else {
        Err(error)
    }
}

impl Entered {
    /// Where the caller is.
    pub(super) fn nowhere() -> Self {
        Self {
            into: None,
            tasks: Batch::default(),
            record: Record::default(),
            placeholder: None,
        }
    }

    fn add_all(&mut self, plan: &Plan) -> Result<(), Error> {
        // The files of all limits get numbers next to each other, and those of all tasks files after them: one
        // close_range(2) for each kind.
        let mut spent = Batch::default();
        for directory in &plan.directories {
            match &plan.scope {
                None => {
                    let made = make(directory)?;
                    self.fill(directory, made, &mut spent)?;
                }
                Some(scope) => self.add_scope(directory, scope, &plan.properties, &mut spent)?,
            }
        }
        drop(spent);
        let places = self.record.places.iter().filter(|place| !place.is_unified());
        self.tasks = places
            .map(|place| open_tasks(&place.path))
            .collect::<Result<_, _>>()?;
        Ok(())
    }

    fn add_scope(
        &mut self,
        directory: &Directory,
        scope: &Scope,
        asked: &[Property],
        spent: &mut Batch,
    ) -> Result<(), Error> {
        let (below, placeholder) = systemd::start(scope, asked, &directory.writes)?;
        // Not before: a scope of that name may be another container's, and what is recorded gets stopped.
        self.record.scope = Some(scope.clone());
        self.placeholder = Some(placeholder);
        let path = format!("{}/{below}", &directory.path[..directory.mount]);
        let found = Directory {
            path,
            ..directory.clone()
        };
        self.fill(&found, 1, spent)
    }

    /// Sets the limits of a directory, of whose path the last `made` components are new.
    fn fill(&mut self, directory: &Directory, made: usize, spent: &mut Batch) -> Result<(), Error> {
        let path = &directory.path;
        self.record.places.push(Place {
            controllers: directory.controllers.clone(),
            path: path.clone(),
            mount: directory.mount,
            made,
        });
        if made == 0 {
            self.record.refuse_occupied(path)?;
        }
        if !directory.is_unified() {
            if made > 1 {
                prepare_parents(directory, made, spent)?;
            }
            if directory.controllers.split(',').any(|each| each == "cpuset") {
                inherit_cpuset(directory, made, spent)?;
            }
            return set(None, directory, spent);
        }
        let at = open_directory(path)?;
        set(Some(at.as_fd()), directory, spent)?;
        if let Some(code) = &directory.program {
            let program =
                bpf::load_device_program(code).map_err(Error::io("load device program for", path))?;
            bpf::attach_device_program(at.as_fd(), program.as_fd(), None)
                .map_err(Error::io("attach device program to", path))?;
        }
        self.into = Some(at);
        Ok(())
    }
}

/// Makes a directory and its missing parents; returns how many components of the path are new. After a
/// failure none of them is left.
fn make(directory: &Directory) -> Result<usize, Error> {
    let path = &directory.path;
    let failed = |source| Error::Io {
        act: "make cgroup",
        path: path.clone(),
        source,
    };
    for _ in 0..ROUNDS {
        match mkdir(path) {
            Ok(()) => return Ok(1),
            Err(Errno::EXIST) => return Ok(0),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let mut made: Vec<&str> = Vec::new();
        let result = make_parents(directory, &mut made).and_then(|()| mkdir(path));
        match result {
            Ok(()) => return Ok(made.len() + 1),
            Err(Errno::EXIST) => return Ok(0),
            Err(errno) => {
                for parent in made.iter().rev() {
                    // One that another container uses by now stays.
                    let _ = rmdir(parent);
                }
                if errno != Errno::NOENT {
                    return Err(failed(errno));
                }
            }
        }
    }
    Err(failed(Errno::NOENT))
}

/// Makes the missing parents and lists them, the uppermost first.
fn make_parents<'a>(directory: &'a Directory, made: &mut Vec<&'a str>) -> rustix::io::Result<()> {
    for end in parents(&directory.path, directory.mount) {
        let parent = &directory.path[..end];
        match mkdir(parent) {
            Ok(()) => made.push(parent),
            // Made meanwhile for another container: those above it are used, and no longer ours alone.
            Err(Errno::EXIST) => made.clear(),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn mkdir(path: &str) -> rustix::io::Result<()> {
    mkdirat(CWD, path, Mode::from_raw_mode(0o755))
}

/// Where the paths of the parents below the mount point end, the uppermost first.
fn parents(path: &str, mount: usize) -> impl Iterator<Item = usize> {
    path.bytes()
        .enumerate()
        .filter(move |(at, byte)| *at > mount && *byte == b'/')
        .map(|(at, _)| at)
}

/// Gives new parents the real-time budget that their child is to get a part of.
fn prepare_parents(directory: &Directory, made: usize, spent: &mut Batch) -> Result<(), Error> {
    let budget: Vec<Write> = directory
        .writes
        .iter()
        .filter(|write| write.file.starts_with("cpu.rt_"))
        .cloned()
        .collect();
    if budget.is_empty() {
        return Ok(());
    }
    let ends: Vec<usize> = parents(&directory.path, directory.mount).collect();
    for end in &ends[ends.len().saturating_sub(made - 1)..] {
        Target {
            directory: None,
            path: &directory.path[..*end],
            spent,
        }
        .apply(&budget, &mut || Ok(false))?;
    }
    Ok(())
}

/// Gives a version 1 cpuset the CPUs and memory nodes of its parent, except for what it has already and what
/// its own writes are going to set: no process can enter one without.
fn inherit_cpuset(directory: &Directory, made: usize, spent: &mut Batch) -> Result<(), Error> {
    // The parent needs it in any case: the kernel checks that the child's is a part of it.
    let above = cpuset_above(&directory.path, directory.mount, spent)?;
    for write in above {
        let set = directory.writes.iter().any(|own| own.file == write.file)
            || made == 0 && !read_line(&directory.path, &write.file, spent)?.is_empty();
        if !set {
            Target {
                directory: None,
                path: &directory.path,
                spent,
            }
            .apply(&[write], &mut || Ok(false))?;
        }
    }
    Ok(())
}

/// The parent's cpuset, as writes to its child. Where it is empty it is filled in first, from further up. (A
/// parent made for another container a moment ago is still empty.)
fn cpuset_above(path: &str, mount: usize, spent: &mut Batch) -> Result<[Write; 2], Error> {
    let parent = &path[..path.rfind('/').unwrap_or(mount).max(mount)];
    let mut read = |file: &'static str| {
        let value = read_line(parent, file, spent)?;
        Ok(Write::new("linux.cgroupsPath", file, value))
    };
    let mut writes = [read("cpuset.cpus")?, read("cpuset.mems")?];
    if parent.len() > mount && writes.iter().any(|write| write.value.is_empty()) {
        for (write, above) in writes.iter_mut().zip(cpuset_above(parent, mount, spent)?) {
            if write.value.is_empty() {
                Target {
                    directory: None,
                    path: parent,
                    spent,
                }
                .apply(std::slice::from_ref(&above), &mut || Ok(false))?;
                *write = above;
            }
        }
    }
    Ok(writes)
}

/// Makes the writes of one directory, switching on controllers of cgroup2 where their files are missing.
pub(super) fn set(at: Option<BorrowedFd<'_>>, directory: &Directory, spent: &mut Batch) -> Result<(), Error> {
    let mut tried = !directory.is_unified();
    let mut enable_once = || {
        if std::mem::replace(&mut tried, true) {
            return Ok(false);
        }
        enable(directory).map(|()| true)
    };
    Target {
        directory: at,
        path: &directory.path,
        spent,
    }
    .apply(&directory.writes, &mut enable_once)
}

/// Switches the needed controllers on in every parent, from the mount point down.
///
/// Only done when a file is missing: in the common case they are on already, and finding that out would
/// cost more than the limits themselves. A controller that the parent has not got, or a parent that belongs
/// to another user, shows as a file that is still missing.
fn enable(directory: &Directory) -> Result<(), Error> {
    let ends = std::iter::once(directory.mount).chain(parents(&directory.path, directory.mount));
    for end in ends {
        let parent = &directory.path[..end];
        let file = format!("{parent}/cgroup.subtree_control");
        let Ok(file) = open(&file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) else {
            continue;
        };
        for controller in &directory.needs {
            let controllers = format!("+{controller}");
            match rustix::io::write(&file, controllers.as_bytes()) {
                Ok(_) | Err(Errno::NOENT | Errno::INVAL | Errno::ACCESS | Errno::PERM) => {}
                Err(source) => {
                    return Err(Error::Enable {
                        controllers,
                        directory: parent.to_owned(),
                        source,
                    });
                }
            }
        }
    }
    Ok(())
}

pub(super) fn open_directory(path: &str) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map_err(Error::io("open cgroup", path))
}

pub(super) fn open_tasks(path: &str) -> Result<OwnedFd, Error> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    open(format!("{path}/tasks"), flags, Mode::empty())
        .map_err(Error::io("open the tasks file of cgroup", path))
}

/// Reads a whole file below an open directory.
pub(super) fn read_at(at: BorrowedFd<'_>, file: &str, path: &str) -> Result<String, Error> {
    read_until(at, file, path, |_| false).map(|(text, _)| text)
}

/// Reads a file of one line, without its newline, which saves the read that would find the end.
fn read_line(path: &str, file: &str, spent: &mut Batch) -> Result<String, Error> {
    let whole = format!("{path}/{file}");
    let (mut line, descriptor) = read_until(CWD, &whole, "", |bytes| bytes.last() == Some(&b'\n'))?;
    spent.spend(descriptor);
    line.truncate(line.trim_end().len());
    Ok(line)
}

/// Reads a file until it ends or is `complete`.
pub(super) fn read_until(
    at: BorrowedFd<'_>,
    file: &str,
    path: &str,
    complete: impl Fn(&[u8]) -> bool,
) -> Result<(String, OwnedFd), Error> {
    let failed = |source| Error::Io {
        act: "read",
        path: if path.is_empty() {
            file.to_owned()
        } else {
            format!("{path}/{file}")
        },
        source,
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let descriptor = openat(at, file, flags, Mode::empty()).map_err(failed)?;
    let mut bytes: Vec<u8> = Vec::with_capacity(512);
    loop {
        bytes.reserve(256);
        let read =
            rustix::io::read(&descriptor, rustix::buffer::spare_capacity(&mut bytes)).map_err(failed)?;
        if read == 0 || complete(&bytes) {
            break;
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| failed(Errno::ILSEQ))?;
    Ok((text, descriptor))
}

/// Removes one directory. A cgroup's files need no removal.
pub(super) fn rmdir(path: &str) -> rustix::io::Result<()> {
    unlinkat(CWD, path, AtFlags::REMOVEDIR)
}
