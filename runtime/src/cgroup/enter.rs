//! The way into an existing container's cgroups, for `exec`.

use std::os::fd::{AsFd, OwnedFd};

use super::create::{open_directory, open_tasks, read_at};
use super::record::{Place, Record};
use super::{Entered, Error, path};

impl Record {
    /// Opens the container's cgroups, or sub-cgroups of them, for a new process.
    ///
    /// `subs` are `exec --cgroup`'s arguments: `PATH`, relative to the container's cgroup and for all
    /// hierarchies, or `CONTROLLER[,CONTROLLER]:PATH` for some of version 1. The result's own record is empty.
    ///
    /// # Errors
    /// An argument is malformed or names a controller that the container has no cgroup for; a directory does
    /// not exist.
    pub fn enter(&self, subs: &[String]) -> Result<Entered, Error> {
        let subs = subs
            .iter()
            .map(|sub| Sub::new(sub))
            .collect::<Result<Vec<_>, _>>()?;
        for controller in subs.iter().flat_map(|sub| &sub.controllers) {
            if !self
                .places
                .iter()
                .any(|place| !place.is_unified() && place.has(controller))
            {
                let reason = format!("the container has no version 1 cgroup for {controller:?}");
                return Err(Error::unsupported("--cgroup", reason));
            }
        }
        let mut entered = Entered::nowhere();
        for place in self.places.iter().filter(|_| !self.intended) {
            let mut path = place.path.clone();
            // As in a command line elsewhere, the last one that fits counts.
            let sub = subs.iter().rev().find(|sub| sub.fits(place));
            if let Some(sub) = sub.filter(|sub| !sub.path.is_empty()) {
                path = format!("{path}/{}", sub.path);
            }
            if place.is_unified() {
                entered.into = Some(open_directory(&path)?);
            } else {
                entered.tasks.spend(open_tasks(&path)?);
            }
        }
        Ok(entered)
    }

    /// Opens the cgroup2 directory that a process of the container is in: where the container's processes
    /// have made sub-cgroups with controllers, its own cgroup takes no process any more (EBUSY).
    ///
    /// # Errors
    /// The process is gone, or not in the container.
    pub fn unified_of(&self, pid: i32) -> Result<Option<OwnedFd>, Error> {
        let Some(place) = self.places.iter().find(|place| place.is_unified()) else {
            return Ok(None);
        };
        let proc = format!("/proc/{pid}");
        let text = read_at(open_directory(&proc)?.as_fd(), "cgroup", &proc)?;
        let own = text
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .unwrap_or_default();
        let path = format!("{}{own}", &place.path[..place.mount]);
        let within = path
            .strip_prefix(&place.path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if !within || own.split('/').any(|component| component == "..") {
            return Err(Error::Content {
                path: format!("{proc}/cgroup"),
                content: text,
            });
        }
        open_directory(&path).map(Some)
    }
}

/// One argument of `--cgroup`.
struct Sub {
    /// None: every hierarchy.
    controllers: Vec<String>,
    /// Without slashes at its ends; empty for the container's cgroup itself.
    path: String,
}

impl Sub {
    fn new(argument: &str) -> Result<Self, Error> {
        let (controllers, path) = match argument.split_once(':') {
            Some((controllers, path)) => (controllers.split(',').map(str::to_owned).collect(), path),
            None => (Vec::new(), argument),
        };
        if controllers.iter().any(String::is_empty) {
            return Err(Error::invalid(
                "--cgroup",
                format!("{argument:?} has an empty controller name"),
            ));
        }
        let path = match path.trim_matches('/') {
            "" => String::new(),
            path => path::clean("--cgroup", path)?,
        };
        Ok(Self { controllers, path })
    }

    fn fits(&self, place: &Place) -> bool {
        self.controllers.is_empty() || self.controllers.iter().any(|controller| place.has(controller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let parse = |argument| Sub::new(argument).map(|sub| (sub.controllers.join("+"), sub.path));
        assert_eq!(parse("/a//b/").unwrap(), (String::new(), "a/b".into()));
        assert_eq!(parse("/").unwrap(), (String::new(), String::new()));
        assert_eq!(parse("cpu,memory:x").unwrap(), ("cpu+memory".into(), "x".into()));
        for refused in ["..", "cpu:../x", ":x", "cpu,:x", "a\0"] {
            assert!(parse(refused).is_err(), "{refused:?}");
        }
    }
}
