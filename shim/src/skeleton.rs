//! The root directory of a sandbox that is made from the host: mount targets, and a small `/etc`.

use crate::bundle::accounts;
use crate::launch::{Launch, user_name};
use oci_spec::runtime::Mount;
use rustix::fs::Mode;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// What of the host's `/etc` is bound as it is: programs and libraries link into it, and it holds no secrets.
pub const ETC_DIRECTORIES: [&str; 4] = [
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/ca-certificates",
    "/etc/pki/tls/certs",
];
/// What of it is copied.
const ETC_FILES: [&str; 8] = [
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/os-release",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/openssl.cnf",
    "/etc/bash.bashrc",
];

/// What lies at a path of the skeleton.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory, with its mode 0755.
    Directory,
    /// A file with this text.
    Text(String),
    /// A file or link like that of the host, if it is there.
    Copy(PathBuf),
}

/// Paths, parents first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skeleton {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Skeleton {
    /// The files of a sandbox that is made from the host.
    pub fn host(&mut self, launch: &Launch) {
        let (passwd, group) = accounts(launch);
        let hosts = format!(
            "127.0.0.1 localhost {0}\n::1 localhost ip6-localhost\n",
            launch.hostname
        );
        let texts = [
            ("/etc/passwd", passwd),
            ("/etc/group", group),
            ("/etc/hosts", hosts),
            ("/etc/hostname", format!("{}\n", launch.hostname)),
            (
                "/etc/nsswitch.conf",
                "passwd: files\ngroup: files\nhosts: files dns\n".to_owned(),
            ),
            (
                "/etc/subuid",
                format!("# {} has no further ids\n", user_name(launch)),
            ),
        ];
        for (path, text) in texts {
            self.add(Path::new(path), Entry::Text(text));
        }
        if let Some(bridge) = &launch.bridge {
            self.add(Path::new("/etc/resolv.conf"), Entry::Text(bridge.resolv_conf()));
        }
        let copies = ETC_FILES.iter().copied();
        for path in copies.chain(launch.host_network.then_some("/etc/resolv.conf")) {
            self.add(Path::new(path), Entry::Copy(path.into()));
        }
        for path in ["/sys", "/var/tmp"] {
            self.add(Path::new(path), Entry::Directory);
        }
    }

    /// The targets of these mounts, of which some are of these directories. Those in another mount are made there, by
    /// the runtime.
    pub fn targets(&mut self, mounts: &[Mount], directories: &[PathBuf]) {
        let is_directory = |path: &Path| {
            let mut known = directories
                .iter()
                .map(PathBuf::as_path)
                .chain(ETC_DIRECTORIES.iter().map(Path::new));
            known.any(|known| known == path) || path.is_dir()
        };
        for mount in mounts {
            let source = mount.source().as_deref();
            let is_bind = mount.typ().as_deref() == Some("bind");
            let entry = if is_bind && source.is_some_and(|source| !is_directory(source)) {
                Entry::Text(String::new())
            } else {
                Entry::Directory
            };
            self.add(mount.destination(), entry);
        }
    }

    fn add(&mut self, path: &Path, entry: Entry) {
        let parents = path
            .ancestors()
            .skip(1)
            .filter(|parent| parent.parent().is_some());
        for parent in parents {
            self.entries.entry(parent.to_owned()).or_insert(Entry::Directory);
        }
        self.entries.entry(path.to_owned()).or_insert(entry);
    }

    /// Whether there is nothing to make.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Looks at what is to be copied: what is made, paths relative to the root, parents first. A file that not
    /// everyone may read is left out, as one that is not there.
    ///
    /// # Errors
    /// The path that could not be looked at.
    pub fn resolve(&self) -> Result<Vec<(PathBuf, Made)>, (PathBuf, io::Error)> {
        let mut made = Vec::with_capacity(self.entries.len());
        for (path, entry) in &self.entries {
            let one = match entry {
                Entry::Directory => Some(Made::Directory),
                Entry::Text(text) => Some(Made::Text(text.clone())),
                Entry::Copy(source) => look(source).map_err(|error| (source.clone(), error))?,
            };
            let inside = path.strip_prefix("/").unwrap_or(path);
            made.extend(one.map(|one| (inside.to_owned(), one)));
        }
        Ok(made)
    }
}

/// What is made at a path of the root directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Made {
    /// A directory, mode 0755.
    Directory,
    /// A file with this text, mode 0644.
    Text(String),
    /// A copy of a file of the host that is as it was looked at, mode 0644.
    Copy(PathBuf, Version),
    /// A link like that of the host: it points to what is in the sandbox as well.
    Link(PathBuf),
}

/// What is different after every change to a file: ctime cannot be set by programs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version {
    device: u64,
    inode: u64,
    /// In bytes.
    pub size: u64,
    changed: (i64, i64),
}

fn look(source: &Path) -> io::Result<Option<Made>> {
    const READABLE_BY_ALL: u32 = 0o004;
    let found = match source.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    if found.is_symlink() {
        return Ok(Some(Made::Link(std::fs::read_link(source)?)));
    }
    let fit = found.is_file() && found.mode() & READABLE_BY_ALL != 0;
    Ok(fit.then(|| {
        let version = Version {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            changed: (found.ctime(), found.ctime_nsec()),
        };
        Made::Copy(source.to_owned(), version)
    }))
}

/// Makes the root directory `root` with these entries in it, with the modes that they are to have whatever the
/// caller's umask is.
///
/// # Errors
/// The path that could not be made.
pub fn write(made: &[(PathBuf, Made)], root: &Path) -> Result<(), (PathBuf, io::Error)> {
    let umask = rustix::process::umask(Mode::from(0o022));
    let root_itself = (PathBuf::new(), Made::Directory);
    let result = std::iter::once(&root_itself)
        .chain(made)
        .try_for_each(|(path, made)| {
            let at = root.join(path);
            make(&at, made).map_err(|error| (at, error))
        });
    rustix::process::umask(umask);
    result
}

/// What of a root directory is not as [`write()`] makes it: a line for each path.
///
/// # Errors
/// The path that could not be read.
pub fn differences(made: &[(PathBuf, Made)], root: &Path) -> Result<Vec<String>, (PathBuf, io::Error)> {
    let mut found = Vec::new();
    let known: BTreeMap<&Path, &Made> = made.iter().map(|(path, made)| (path.as_path(), made)).collect();
    for (path, made) in &known {
        let at = root.join(path);
        match is_as_made(&at, made) {
            Ok(true) => {}
            Ok(false) => found.push(format!("/{}: changed", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                found.push(format!("/{}: missing", path.display()));
            }
            Err(error) => return Err((at, error)),
        }
    }
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let fault = |error| (directory.clone(), error);
        for entry in std::fs::read_dir(&directory).map_err(fault)? {
            let path = entry.map_err(fault)?.path();
            let inside = path.strip_prefix(root).unwrap_or(&path);
            match known.get(inside) {
                Some(Made::Directory) if path.is_dir() && !path.is_symlink() => directories.push(path),
                Some(_) => {}
                None => found.push(format!("/{}: added", inside.display())),
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_as_made(at: &Path, made: &Made) -> io::Result<bool> {
    let found = at.symlink_metadata()?;
    let mode = found.mode() & 0o7777;
    let is_file = found.is_file() && mode == 0o644;
    Ok(match made {
        Made::Directory => found.is_dir() && mode == 0o755,
        Made::Text(text) => is_file && std::fs::read(at)? == text.as_bytes(),
        Made::Copy(source, _) => is_file && std::fs::read(at)? == std::fs::read(source)?,
        Made::Link(target) => found.is_symlink() && std::fs::read_link(at)? == *target,
    })
}

fn make(at: &Path, made: &Made) -> io::Result<()> {
    match made {
        Made::Directory => std::fs::create_dir(at),
        Made::Text(text) => std::fs::write(at, text),
        Made::Copy(source, _) => std::fs::write(at, std::fs::read(source)?),
        Made::Link(target) => symlink(target, at),
    }
}
