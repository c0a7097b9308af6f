//! Promises about mounts. Pure.

use super::facts::{Facts, Mount as Seen};
use super::promise::{Mount, Word};
use std::path::Path;

/// Expected, found, and whether that is the same.
type Answer = (String, String, bool);

/// What this host's own mounts have at a path: device, and what of the file system.
fn origin(path: &Path, facts: &Facts) -> Option<(String, String)> {
    let mount = facts
        .own_mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.point))
        // Of several at one place the last.
        .max_by_key(|mount| mount.point.len())?;
    let below = path.strip_prefix(&mount.point).ok()?;
    let root = Path::new(&mount.root).join(below);
    // join() of nothing leaves a slash at the end.
    let root = root.to_string_lossy();
    let trimmed = if root.len() > 1 {
        root.trim_end_matches('/')
    } else {
        &root
    };
    Some((mount.device.clone(), trimmed.to_owned()))
}

/// The mount that is seen at a path: the last one there.
fn at<'a>(point: &str, facts: &'a Facts) -> Option<&'a Seen> {
    let place = facts.resolved.get(point).map_or(point, String::as_str);
    facts.mounts.iter().rev().find(|mount| mount.point == place)
}

fn show(mount: Option<&Seen>) -> String {
    mount.map_or_else(
        || "no mount".to_owned(),
        |mount| {
            let options = [mount.options.join(","), mount.super_options.join(",")].join(" ");
            format!("{} {} {} {options}", mount.kind, mount.device, mount.root)
        },
    )
}

/// The root directory.
pub fn root(path: &Path, facts: &Facts) -> Answer {
    let found = at("/", facts);
    let source = facts.sources.get(path).map_or(path, |path| path.as_path());
    let origin = origin(source, facts);
    let kept = found.is_some_and(|found| found.has("ro") && same_origin(found, origin.as_ref()));
    (format!("{} ro", path.display()), show(found), kept)
}

fn same_origin(found: &Seen, origin: Option<&(String, String)>) -> bool {
    origin.is_some_and(|(device, root)| *device == found.device && *root == found.root)
}

/// A mount of the request.
pub fn asked(mount: &Mount, facts: &Facts) -> Answer {
    let found = at(&mount.destination, facts);
    let bind = mount.kind == "bind";
    let source = facts.sources.get(&mount.source).unwrap_or(&mount.source);
    let right = |found: &Seen| {
        let is_it = if bind {
            same_origin(found, origin(source, facts).as_ref())
        } else {
            found.kind == mount.kind
        };
        let supers = |words: &Vec<Word>| {
            words
                .iter()
                .any(|word| found.super_options.iter().any(|one| one == word))
        };
        is_it
            && mount.options.iter().all(|option| found.has(option))
            && mount.super_options.iter().all(supers)
    };
    let kept = found.is_some_and(right) && (!mount.recursive || beneath(mount, facts));
    let mut expected = vec![if bind {
        mount.source.display().to_string()
    } else {
        mount.kind.clone()
    }];
    expected.extend(mount.options.iter().map(ToString::to_string));
    expected.extend(
        mount
            .super_options
            .iter()
            .filter_map(|words| words.first().map(ToString::to_string)),
    );
    (expected.join(" "), show(found), kept)
}

/// What came along with a recursive bind mount has the same options.
fn beneath(mount: &Mount, facts: &Facts) -> bool {
    let came_along = |seen: &&Seen| comes_along(mount, seen, facts);
    facts
        .mounts
        .iter()
        .filter(came_along)
        .all(|seen| mount.options.iter().all(|option| seen.has(option)))
}

/// Whether a mount is one that lies below the source on this host.
fn comes_along(mount: &Mount, seen: &Seen, facts: &Facts) -> bool {
    let destination = facts
        .resolved
        .get(&mount.destination)
        .unwrap_or(&mount.destination);
    let source = facts.sources.get(&mount.source).unwrap_or(&mount.source);
    let Ok(below) = Path::new(&seen.point).strip_prefix(destination) else {
        return false;
    };
    if !mount.recursive || below.as_os_str().is_empty() {
        return false;
    }
    let there = source.join(below);
    facts
        .own_mounts
        .iter()
        .any(|own| Path::new(&own.point) == there && own.device == seen.device && own.root == seen.root)
}

/// No mount that nobody asked for.
pub fn no_other(mounts: &[Mount], covered: &[String], facts: &Facts) -> Answer {
    const DEVICES: [&str; 8] = [
        "null", "zero", "full", "random", "urandom", "tty", "console", "ptmx",
    ];
    let known = |seen: &&Seen| {
        let point = &seen.point;
        let asked = |mount: &Mount| {
            facts
                .resolved
                .get(&mount.destination)
                .unwrap_or(&mount.destination)
                == point
        };
        // The host's own node of that name, or a terminal of the container's.
        let device = point.strip_prefix("/dev/").filter(|name| DEVICES.contains(name));
        let is_node = device.is_some_and(|name| is_hosts_device(name, seen, facts) || seen.kind == "devpts");
        point == "/"
            || is_node
            || covered.iter().any(|path| path == point)
            || mounts
                .iter()
                .any(|mount| asked(mount) || comes_along(mount, seen, facts))
    };
    let others: Vec<String> = facts
        .mounts
        .iter()
        .filter(|seen| !known(seen))
        .map(|seen| format!("{} ({})", seen.point, show(Some(seen))))
        .collect();
    let found = if others.is_empty() {
        "none".to_owned()
    } else {
        others.join("; ")
    };
    ("none".to_owned(), found, others.is_empty())
}

/// Whether a mount is of this host's own device node of that name.
fn is_hosts_device(name: &str, seen: &Seen, facts: &Facts) -> bool {
    same_origin(seen, origin(&Path::new("/dev").join(name), facts).as_ref())
}

/// A hidden path: the null device, or an empty file system that nobody can write.
pub fn masked(path: &str, facts: &Facts) -> Answer {
    let expected = "nothing to read".to_owned();
    if !facts.existing.iter().any(|one| one == path) {
        return (expected, "not there on this kernel".to_owned(), true);
    }
    let found = at(path, facts);
    let kept = found.is_some_and(|found| {
        let empty = found.root == "/" && found.kind == "tmpfs" && found.has("ro");
        let is_hosts = || facts.own_mounts.iter().any(|own| own.device == found.device);
        is_hosts_device("null", found, facts) || empty && !is_hosts()
    });
    (expected, show(found), kept)
}

/// A path that nobody can write: what the mount around it has there, and nothing else.
pub fn read_only(path: &str, facts: &Facts) -> Answer {
    let expected = "ro".to_owned();
    if !facts.existing.iter().any(|one| one == path) {
        return (expected, "not there on this kernel".to_owned(), true);
    }
    let found = at(path, facts);
    let around = Path::new(path)
        .ancestors()
        .skip(1)
        .find_map(|point| at(point.to_str()?, facts).map(|mount| (point, mount)));
    let is_its = |found: &Seen| {
        around.is_some_and(|(point, mount)| {
            let below = Path::new(path).strip_prefix(point).unwrap_or(Path::new(""));
            found.device == mount.device && Path::new(&found.root) == Path::new(&mount.root).join(below)
        })
    };
    let kept = found.is_some_and(|found| found.has("ro") && is_its(found));
    (expected, show(found), kept)
}
