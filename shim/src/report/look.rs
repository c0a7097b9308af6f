//! Looking at a process that stands before its first instruction.

use super::facts::Facts;
use super::probe::{Argument, Probe};
use super::promise::{Promise, What};
use nucleus_sys::trace::{Call, Tracee};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The room below the stack that a program has not used yet, beyond what it may use without asking.
const BELOW: u64 = 4096;

/// Why a process could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of `/proc`, or a source of a mount.
    #[error("read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// The rules of its network.
    #[error("read the rules of the process's network namespace")]
    Rules(#[source] nucleus_network::Error),
    /// `ptrace(2)`.
    #[error("ptrace the process")]
    Trace(#[source] io::Error),
    /// Its memory has no `syscall` instruction that is known.
    #[error("find the vdso in {}", .0.display())]
    NoVdso(PathBuf),
    /// A defect of the library.
    #[error("the built-in seccomp profile")]
    Profile(#[source] serde_json::Error),
}

/// Everything that the promises ask about.
///
/// # Errors
/// What could not be read: what cannot be seen is not proven.
pub fn look(
    tracee: &Tracee,
    pid: i32,
    promises: &[Promise],
    landlock: Option<String>,
) -> Result<Facts, Error> {
    let mut facts = outside(pid, promises)?;
    facts.landlock = landlock;
    facts.probes = attempts(tracee, pid, promises)?;
    Ok(facts)
}

/// What is seen from outside.
///
/// # Errors
/// What could not be read.
pub fn outside(pid: i32, promises: &[Promise]) -> Result<Facts, Error> {
    let mut hidden = Vec::new();
    let mut sources = Vec::new();
    let mut destinations = Vec::new();
    for promise in promises {
        match &promise.what {
            What::Masked(path) | What::ReadOnly(path) => hidden.push(path.clone()),
            What::Root(path) => sources.push(path.clone()),
            What::Mount(mount) => {
                sources.extend((mount.kind == "bind").then(|| mount.source.clone()));
                destinations.push(mount.destination.clone());
            }
            _ => {}
        }
    }
    let mut facts = Facts::read(pid, &hidden, &sources).map_err(|(path, error)| Error::Read(path, error))?;
    if promises
        .iter()
        .any(|promise| matches!(promise.what, What::EgressRules(_)))
    {
        facts.rules = crate::egress::rules_of(pid).map_err(Error::Rules)?;
    }
    facts.landlock_abi = nucleus_sys::landlock::abi().unwrap_or(0);
    destinations.retain(|path| !facts.mounts.iter().any(|mount| mount.point == *path));
    facts.resolved = resolve(pid, destinations)?;
    Ok(facts)
}

/// Where mounts went whose destinations lead through links of the root file system.
fn resolve(pid: i32, destinations: Vec<String>) -> Result<BTreeMap<String, String>, Error> {
    let mut resolved = BTreeMap::new();
    if destinations.is_empty() {
        return Ok(resolved);
    }
    let path = PathBuf::from(format!("/proc/{pid}/root"));
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = openat(CWD, &path, flags | OFlags::DIRECTORY, Mode::empty())
        .map_err(|errno| Error::Read(path, errno.into()))?;
    for destination in destinations {
        let found = openat2(
            root.as_fd(),
            destination.as_str(),
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT,
        );
        let link = found
            .ok()
            .and_then(|fd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok());
        if let Some(link) = link {
            resolved.insert(destination, link.to_string_lossy().into_owned());
        }
    }
    Ok(resolved)
}

/// Has the process make the calls of all promises that need one.
fn attempts(tracee: &Tracee, pid: i32, promises: &[Promise]) -> Result<BTreeMap<String, i64>, Error> {
    let probes: Vec<(&str, &Probe)> = promises
        .iter()
        .filter_map(|promise| match &promise.what {
            What::Call(probe, _) | What::Refused { probe, .. } => Some((promise.name.as_str(), probe)),
            _ => None,
        })
        .collect();
    let mut found = BTreeMap::new();
    if probes.is_empty() {
        return Ok(found);
    }
    let trace = |errno: rustix::io::Errno| Error::Trace(errno.into());
    let at = syscall_instruction(pid)?;
    let path = PathBuf::from(format!("/proc/{pid}/mem"));
    let read = |error| Error::Read(path.clone(), error);
    let memory = File::options().read(true).write(true).open(&path).map_err(read)?;
    let room = (tracee.pointers().map_err(trace)?.stack - BELOW) & !0xfff;
    let mut before = [0; 256];
    memory.read_exact_at(&mut before, room).map_err(read)?;
    for (name, probe) in probes {
        let mut given = Vec::new();
        for (number, arguments) in &probe.calls {
            let mut numbers = [0; 6];
            for (place, argument) in numbers.iter_mut().zip(arguments) {
                *place = match argument {
                    Argument::Number(number) => *number as u64,
                    Argument::Of(index) => given[*index] as u64,
                    Argument::Bytes(bytes) => {
                        memory.write_all_at(bytes, room).map_err(read)?;
                        room
                    }
                };
            }
            let call = Call {
                number: *number,
                arguments: numbers,
            };
            given.extend(tracee.call(at, &[call]).map_err(trace)?);
        }
        found.insert(name.to_owned(), given[probe.answer]);
    }
    memory.write_all_at(&before, room).map_err(read)?;
    Ok(found)
}

/// The address of a `syscall` instruction in the page that the kernel gives every process.
fn syscall_instruction(pid: i32) -> Result<u64, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/maps"));
    let read = |path: &Path| {
        let path = path.to_owned();
        move |error| Error::Read(path, error)
    };
    let maps = std::fs::read_to_string(&path).map_err(read(&path))?;
    let range = maps
        .lines()
        .find(|line| line.ends_with("[vdso]"))
        .and_then(|line| {
            let (from, to) = line.split(' ').next()?.split_once('-')?;
            let address = |text| u64::from_str_radix(text, 16).ok();
            Some((address(from)?, address(to)?))
        });
    let (from, to) = range.ok_or_else(|| Error::NoVdso(path.clone()))?;
    let mut bytes = vec![0; (to - from) as usize];
    let mem = PathBuf::from(format!("/proc/{pid}/mem"));
    let memory = File::open(&mem).map_err(read(&mem))?;
    memory.read_exact_at(&mut bytes, from).map_err(read(&mem))?;
    let found = bytes.windows(2).position(|pair| pair == [0x0f, 0x05]);
    found.map(|index| from + index as u64).ok_or(Error::NoVdso(path))
}
