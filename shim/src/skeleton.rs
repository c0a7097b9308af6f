//! The root directory of a sandbox that is made from the host: mount targets, and a small `/etc`.

use crate::bundle::accounts;
use crate::launch::{Launch, user_name};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::symlink;
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
        let copies = ETC_FILES.iter().copied();
        for path in copies.chain(launch.host_network.then_some("/etc/resolv.conf")) {
            self.add(Path::new(path), Entry::Copy(path.into()));
        }
        for path in ["/sys", "/var/tmp"] {
            self.add(Path::new(path), Entry::Directory);
        }
    }

    /// The targets of these mounts. Those in another mount are made there, by the runtime.
    pub fn targets<'a>(&mut self, mounts: impl Iterator<Item = &'a Value>) {
        for mount in mounts {
            let Some(destination) = mount["destination"].as_str() else {
                continue;
            };
            let source = mount["source"].as_str().map(Path::new);
            let file = mount["type"] == "bind" && source.is_some_and(|source| !source.is_dir());
            let entry = if file {
                Entry::Text(String::new())
            } else {
                Entry::Directory
            };
            self.add(Path::new(destination), entry);
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

    /// Makes it under `root`.
    ///
    /// # Errors
    /// The path that could not be made.
    pub fn write(&self, root: &Path) -> Result<(), (PathBuf, io::Error)> {
        for (path, entry) in &self.entries {
            let inside = path.strip_prefix("/").unwrap_or(path);
            let at = root.join(inside);
            make(&at, entry).map_err(|error| (at, error))?;
        }
        Ok(())
    }
}

fn make(at: &Path, entry: &Entry) -> io::Result<()> {
    match entry {
        Entry::Directory => std::fs::create_dir(at),
        Entry::Text(text) => std::fs::write(at, text),
        Entry::Copy(source) => copy(source, at),
    }
}

/// A link is copied as a link: it points to what is in the sandbox as well.
fn copy(source: &Path, at: &Path) -> io::Result<()> {
    if let Ok(target) = std::fs::read_link(source) {
        return symlink(target, at);
    }
    match std::fs::read(source) {
        Ok(bytes) => std::fs::write(at, bytes),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}
