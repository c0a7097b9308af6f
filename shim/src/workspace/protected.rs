//! What never changes unasked: files that make a tool of the host run something. The list is data.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::LazyLock;

const DATA: &str = include_str!("../../data/protected.toml");

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    path: Vec<Rule>,
}

/// One line of the list.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Names that follow each other; one may begin or end in `*`.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Why it is there.
    pub reason: String,
}

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let list: List =
        toml::from_str(DATA).expect("protected.toml is part of this program, and its tests parse it");
    list.path
});

/// The whole list.
pub fn rules() -> &'static [Rule] {
    &RULES
}

/// Why this path of a workspace is protected.
pub fn reason(path: &Path) -> Option<&'static str> {
    let names: Vec<Vec<u8>> = path
        .components()
        .map(|part| part.as_os_str().as_bytes().to_ascii_lowercase())
        .collect();
    if names.last().is_some_and(|name| name == b".git") {
        return Some("tells Git where a repository and its hooks are");
    }
    let matched = rules().iter().find(|rule| {
        let parts: Vec<&[u8]> = rule.pattern.split('/').map(str::as_bytes).collect();
        names
            .windows(parts.len())
            .any(|window| window.iter().zip(&parts).all(|(name, part)| is_like(name, part)))
    });
    matched.map(|rule| rule.reason.as_str())
}

fn is_like(name: &[u8], part: &[u8]) -> bool {
    match part {
        [start @ .., b'*'] => name.starts_with(start),
        [b'*', end @ ..] => name.ends_with(end),
        part => name == part,
    }
}

/// Whether a link at `path` may lead out of the workspace, as far as its text tells: an absolute one, one that goes
/// up further than it lies deep, or up after it has gone down, perhaps through another link.
pub fn leads_out(path: &Path, target: &Path) -> bool {
    let depth = path.components().count().saturating_sub(1);
    let mut up = 0;
    let mut down = false;
    for part in target.components() {
        match part {
            Component::ParentDir if down => return true,
            Component::ParentDir => up += 1,
            Component::Normal(_) => down = true,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    up > depth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole_and_each_line_matches_itself() {
        let list: List = toml::from_str(DATA).expect("the list");
        assert!(list.path.len() > 30);
        for rule in &list.path {
            assert!(!rule.reason.is_empty(), "{}", rule.pattern);
            let example = rule.pattern.replace('*', "x");
            assert!(reason(Path::new(&example)).is_some(), "{example}");
            assert!(
                reason(&Path::new("deep/er").join(&example).join("inner")).is_some(),
                "{example}"
            );
        }
    }

    #[test]
    fn capitals_and_depth_are_no_way_around() {
        for path in [
            ".git/hooks/pre-commit",
            "sub/.GIT/Hooks/x",
            ".git/config",
            "a/.git",
            ".nucleus.toml",
            ".nucleus/x",
            ".envrc",
            "x.code-workspace",
        ] {
            assert!(reason(Path::new(path)).is_some(), "{path}");
        }
        for path in [
            ".git/HEAD",
            ".git/objects/ab/cd",
            ".git/index",
            "git/hooks/x",
            "src/config",
            ".gitignore",
            "nucleus.rs",
        ] {
            assert!(reason(Path::new(path)).is_none(), "{path}");
        }
    }

    #[test]
    fn links_that_lead_out() {
        for (path, target) in [
            ("l", "/etc/passwd"),
            ("l", "../x"),
            ("a/l", "../../x"),
            ("a/l", "b/../../../x"),
            ("l", "a/.."),
        ] {
            assert!(leads_out(Path::new(path), Path::new(target)), "{path} {target}");
        }
        for (path, target) in [
            ("l", "a"),
            ("a/l", "../b"),
            ("a/b/l", "./../../c/d"),
            ("l", "..d"),
        ] {
            assert!(!leads_out(Path::new(path), Path::new(target)), "{path} {target}");
        }
    }
}
