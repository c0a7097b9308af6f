//! From `linux.cgroupsPath` to a directory below each hierarchy's mount point.

use super::{Error, Hierarchy};

const PROPERTY: &str = "linux.cgroupsPath";

/// A checked `cgroupsPath`, without empty or `.` components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// Below the mount point.
    Absolute(String),
    /// Below the runtime's own cgroup.
    Relative(String),
}

impl Location {
    /// Checks a path. Without one (or with an empty one) the container's cgroup is `/<id>`.
    pub(super) fn new(cgroups_path: Option<&str>, id: &str) -> Result<Self, Error> {
        match cgroups_path.filter(|path| !path.is_empty()) {
            None => Ok(Self::Absolute(clean(PROPERTY, id)?)),
            Some(path) if path.starts_with('/') => Ok(Self::Absolute(clean(PROPERTY, path)?)),
            Some(path) => Ok(Self::Relative(clean(PROPERTY, path)?)),
        }
    }

    /// The directory in one hierarchy, relative to its mount point.
    ///
    /// A relative path starts at the runtime's own cgroup on version 1, and on cgroup2 at the parent of that,
    /// because the runtime's own cgroup has a process in it and so cannot pass on controllers.
    pub(super) fn below(&self, hierarchy: &Hierarchy) -> Result<String, Error> {
        let path = match self {
            Self::Absolute(path) => return Ok(path.clone()),
            Self::Relative(path) => path,
        };
        let own = hierarchy.own.trim_matches('/');
        // `/..` at the front means that the runtime is outside the mounted part of the hierarchy.
        if own.split('/').any(|component| component == "..") {
            let reason = format!("the runtime's own cgroup {} is not visible", hierarchy.own);
            return Err(Error::unsupported(PROPERTY, reason));
        }
        let base = match hierarchy.controllers.is_empty() {
            true => own.rsplit_once('/').map_or("", |(parent, _)| parent),
            false => own,
        };
        Ok(if base.is_empty() {
            path.clone()
        } else {
            format!("{base}/{path}")
        })
    }
}

/// Drops empty and `.` components; refuses what could leave the hierarchy or name its root.
pub(super) fn clean(property: &'static str, path: &str) -> Result<String, Error> {
    let refuse = |reason: &str| Err(Error::invalid(property, format!("{path:?} {reason}")));
    let mut cleaned = String::with_capacity(path.len());
    for component in path.split('/') {
        match component {
            "" | "." => continue,
            ".." => return refuse("contains \"..\""),
            _ if component.len() > 255 => return refuse("has a component of more than 255 bytes"),
            // cgroupfs refuses newlines because they would break /proc/<pid>/cgroup.
            _ if component.contains(['\0', '\n']) => return refuse("contains a NUL byte or a newline"),
            _ => {}
        }
        if !cleaned.is_empty() {
            cleaned.push('/');
        }
        cleaned.push_str(component);
    }
    if cleaned.is_empty() {
        return refuse("names the root of the hierarchy");
    }
    if cleaned.len() > 3000 {
        return refuse("is longer than 3000 bytes");
    }
    Ok(cleaned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(controllers: &str, own: &str) -> Hierarchy {
        Hierarchy {
            mount: "/m".into(),
            controllers: controllers.into(),
            own: own.into(),
        }
    }

    #[test]
    fn table() {
        let below = |path: Option<&str>, controllers: &str, own: &str| {
            Location::new(path, "id")
                .unwrap()
                .below(&hierarchy(controllers, own))
                .unwrap()
        };
        assert_eq!(below(None, "cpu", "/own"), "id");
        assert_eq!(below(Some(""), "cpu", "/own"), "id");
        assert_eq!(below(Some("/a//./b/"), "cpu", "/own"), "a/b");
        assert_eq!(below(Some("a/b"), "cpu", "/own/x"), "own/x/a/b");
        assert_eq!(below(Some("a/b"), "cpu", "/"), "a/b");
        assert_eq!(below(Some("a"), "", "/slice/own"), "slice/a");
        assert_eq!(below(Some("a"), "", "/own"), "a");
    }

    #[test]
    fn refused() {
        let long = "x".repeat(256);
        for path in [
            "/",
            "/.",
            "..",
            "/a/../b",
            "a/..",
            "/a\0b",
            "/a\nb",
            long.as_str(),
        ] {
            assert!(
                matches!(Location::new(Some(path), "id"), Err(Error::Invalid { .. })),
                "{path:?}"
            );
        }
        assert!(Location::new(None, "..").is_err());
        let outside = Location::new(Some("a"), "id")
            .unwrap()
            .below(&hierarchy("cpu", "/../x"));
        assert!(matches!(outside, Err(Error::Unsupported { .. })));
    }

    proptest::proptest! {
        #[test]
        fn never_leaves_the_hierarchy(path in "[./a-c]{0,24}", own in "(/[a-c.]{1,4}){0,3}") {
            if let Ok(location) = Location::new(Some(&path), "id") {
                for controllers in ["cpu", ""] {
                    if let Ok(below) = location.below(&hierarchy(controllers, &own)) {
                        proptest::prop_assert!(!below.starts_with('/') && !below.ends_with('/'));
                        proptest::prop_assert!(!below.is_empty());
                        proptest::prop_assert!(below.split('/').all(|part| part != ".." && !part.is_empty()));
                    }
                }
            }
        }
    }
}
