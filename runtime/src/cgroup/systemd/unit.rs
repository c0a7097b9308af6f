//! From `linux.cgroupsPath` to a unit name and its cgroup, as pure functions.

use serde::{Deserialize, Serialize};

use crate::cgroup::Error;

const PROPERTY: &str = "linux.cgroupsPath";

/// The scope of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cgroup) struct Scope {
    /// `prefix-name.scope`
    pub(in crate::cgroup) name: String,
    /// The slice that it is in, `a-b.slice`.
    pub(super) slice: String,
    /// Whether it belongs to the user's systemd, not to the system's.
    pub(super) user: bool,
}

impl Scope {
    /// Reads `slice:prefix:name`, the form of `cgroupsPath` under `--systemd-cgroup`. An empty slice is
    /// `system.slice` (rootless `user.slice`); without a path at all the scope is `nucleus-<id>.scope`.
    pub(in crate::cgroup) fn new(cgroups_path: Option<&str>, id: &str, user: bool) -> Result<Self, Error> {
        let (slice, prefix, name) = match cgroups_path.filter(|path| !path.is_empty()) {
            None => ("", "nucleus", id),
            Some(path) => {
                let mut parts = path.split(':');
                match (parts.next(), parts.next(), parts.next(), parts.next()) {
                    (Some(slice), Some(prefix), Some(name), None) => (slice, prefix, name),
                    _ => {
                        let reason =
                            format!("{path:?} is not of the form slice:prefix:name, as systemd needs");
                        return Err(Error::invalid(PROPERTY, reason));
                    }
                }
            }
        };
        let slice = match (slice, user) {
            ("", false) => "system.slice",
            ("", true) => "user.slice",
            (slice, _) => slice,
        };
        let separator = if prefix.is_empty() { "" } else { "-" };
        let name = format!("{prefix}{separator}{name}.scope");
        let stem = &name[..name.len() - ".scope".len()];
        let proper = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        if stem.is_empty() || name.len() > 255 || !name.bytes().all(proper) {
            return Err(Error::invalid(PROPERTY, format!("{name:?} is no unit name")));
        }
        expand(slice)?;
        Ok(Self {
            name,
            slice: slice.to_owned(),
            user,
        })
    }

    /// The scope's cgroup below that of the service manager, without slashes at its ends.
    pub(in crate::cgroup) fn path(&self) -> Result<String, Error> {
        let above = expand(&self.slice)?;
        Ok(if above.is_empty() {
            self.name.clone()
        } else {
            format!("{above}/{}", self.name)
        })
    }
}

/// A slice's cgroup: dashes in its name are levels, `a-b.slice` lies at `a.slice/a-b.slice`
/// (systemd.slice(5)). The root slice, `-.slice`, is the empty path.
fn expand(slice: &str) -> Result<String, Error> {
    let refuse = || Error::invalid(PROPERTY, format!("{slice:?} is no slice name"));
    let stem = slice.strip_suffix(".slice").ok_or_else(refuse)?;
    if stem == "-" {
        return Ok(String::new());
    }
    let proper = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let levels = stem.split('-');
    if slice.len() > 255 || !stem.bytes().all(proper) || levels.clone().any(str::is_empty) {
        return Err(refuse());
    }
    let mut path = String::new();
    let mut end = 0;
    for level in levels {
        end += level.len();
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(&stem[..end]);
        path.push_str(".slice");
        // Over the dash.
        end += 1;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let path = |text: Option<&str>, user| Scope::new(text, "id", user).unwrap().path().unwrap();
        assert_eq!(path(None, false), "system.slice/nucleus-id.scope");
        assert_eq!(path(None, true), "user.slice/nucleus-id.scope");
        assert_eq!(
            path(Some("machine.slice:libpod:abc"), false),
            "machine.slice/libpod-abc.scope"
        );
        let nested = "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-x.scope";
        assert_eq!(path(Some("kubepods-besteffort-pod1.slice:cri:x"), false), nested);
        assert_eq!(path(Some("-.slice::x"), false), "x.scope");
        assert_eq!(path(Some(":p:x"), false), "system.slice/p-x.scope");
    }

    #[test]
    fn refused() {
        for text in [
            "/absolute/path",
            "a:b",
            "a.slice:b:c:d",
            "a:b:c",
            "a--b.slice:p:x",
            "-a.slice:p:x",
            "a-.slice:p:x",
            "a/b.slice:p:x",
            "..slice/../x.slice:p:x",
            "a.slice:p:x/y",
            "a.slice::",
            "a.slice:p:x y",
        ] {
            assert!(
                matches!(Scope::new(Some(text), "id", false), Err(Error::Invalid { .. })),
                "{text}"
            );
        }
    }
}
