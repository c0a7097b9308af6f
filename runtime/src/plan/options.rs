//! The option words of `mounts[].options`: `config-linux.md`, mount(8), runc's own `tmpcopyup`, and our `src-nosymlinks`.

use crate::rootfs::mount::{Attributes, Parameter, Propagation};
use std::ffi::CString;

/// What the words of one mount ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `bind` (false) or `rbind` (true).
    pub bind: Option<bool>,
    /// `remount`.
    pub remount: bool,
    /// Attributes of the mount.
    pub attributes: Attributes,
    /// Attributes of the mount and all below it.
    pub recursive: Attributes,
    /// In the order given.
    pub propagation: Vec<Propagation>,
    /// `tmpcopyup`.
    pub copy_up: bool,
    /// `idmap` (false) or `ridmap` (true).
    pub idmap: Option<bool>,
    /// `src-nosymlinks`: no component of a bind mount's source may be a symbolic link.
    pub source_without_links: bool,
    /// Words for the file system itself.
    pub parameters: Vec<Parameter>,
}

/// The meaning of one word.
enum Word {
    Set(u64),
    Clear(u64),
    /// One of the mutually exclusive access time rules.
    AccessTime(u64),
    Propagation(u64),
    /// A flag of the file system (super block).
    SuperBlock,
    Nothing,
}

const ATIME_MASK: u64 = 0x70;
const RELATIME: u64 = 0x00;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;

/// Every word that is an attribute of the mount; with an `r` in front it applies to the whole tree.
const ATTRIBUTES: &[(&str, Word)] = &[
    ("ro", Word::Set(libc::MOUNT_ATTR_RDONLY)),
    ("rw", Word::Clear(libc::MOUNT_ATTR_RDONLY)),
    ("nosuid", Word::Set(libc::MOUNT_ATTR_NOSUID)),
    ("suid", Word::Clear(libc::MOUNT_ATTR_NOSUID)),
    ("nodev", Word::Set(libc::MOUNT_ATTR_NODEV)),
    ("dev", Word::Clear(libc::MOUNT_ATTR_NODEV)),
    ("noexec", Word::Set(libc::MOUNT_ATTR_NOEXEC)),
    ("exec", Word::Clear(libc::MOUNT_ATTR_NOEXEC)),
    ("nodiratime", Word::Set(NODIRATIME)),
    ("diratime", Word::Clear(NODIRATIME)),
    ("nosymfollow", Word::Set(libc::MOUNT_ATTR_NOSYMFOLLOW)),
    ("symfollow", Word::Clear(libc::MOUNT_ATTR_NOSYMFOLLOW)),
    ("relatime", Word::AccessTime(RELATIME)),
    ("norelatime", Word::AccessTime(STRICTATIME)),
    ("noatime", Word::AccessTime(NOATIME)),
    ("atime", Word::AccessTime(RELATIME)),
    ("strictatime", Word::AccessTime(STRICTATIME)),
    ("nostrictatime", Word::AccessTime(RELATIME)),
];

/// Every other word that is not a parameter of a file system.
const OTHERS: &[(&str, Word)] = &[
    ("defaults", Word::Nothing),
    ("loud", Word::Nothing),
    ("silent", Word::Nothing),
    ("private", Word::Propagation(libc::MS_PRIVATE)),
    ("slave", Word::Propagation(libc::MS_SLAVE)),
    ("shared", Word::Propagation(libc::MS_SHARED)),
    ("unbindable", Word::Propagation(libc::MS_UNBINDABLE)),
    ("sync", Word::SuperBlock),
    ("async", Word::SuperBlock),
    ("dirsync", Word::SuperBlock),
    ("lazytime", Word::SuperBlock),
    ("nolazytime", Word::SuperBlock),
    ("mand", Word::SuperBlock),
    ("nomand", Word::SuperBlock),
    ("iversion", Word::SuperBlock),
    ("noiversion", Word::Nothing),
    ("acl", Word::SuperBlock),
    ("noacl", Word::SuperBlock),
];

/// The words that `features` lists, sorted.
pub fn known_words() -> Vec<String> {
    let special = [
        "bind",
        "rbind",
        "remount",
        "tmpcopyup",
        "idmap",
        "ridmap",
        "src-nosymlinks",
    ];
    let mut words: Vec<String> = special.iter().map(|word| (*word).to_owned()).collect();
    for (word, _) in ATTRIBUTES {
        words.extend([(*word).to_owned(), format!("r{word}")]);
    }
    for (word, meaning) in OTHERS {
        words.push((*word).to_owned());
        if matches!(meaning, Word::Propagation(_)) {
            words.push(format!("r{word}"));
        }
    }
    words.sort();
    words
}

/// Sorts the words of one mount. A word that is not known is a parameter of the file system, which refuses
/// what it does not know itself.
///
/// # Errors
/// The word that holds a NUL byte.
pub fn parse(words: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    for word in words {
        match word.as_str() {
            "bind" => options.bind = Some(options.bind.unwrap_or(false)),
            "rbind" => options.bind = Some(true),
            "remount" => options.remount = true,
            "tmpcopyup" => options.copy_up = true,
            "idmap" => options.idmap = Some(false),
            "ridmap" => options.idmap = Some(true),
            "src-nosymlinks" => options.source_without_links = true,
            other => options.word(other)?,
        }
    }
    Ok(options)
}

impl Options {
    fn word(&mut self, word: &str) -> Result<(), String> {
        let find = |table: &'static [(&str, Word)], word: &str| {
            table
                .iter()
                .find(|(name, _)| *name == word)
                .map(|(_, meaning)| meaning)
        };
        if let Some(meaning) = find(ATTRIBUTES, word) {
            apply(&mut self.attributes, meaning);
            return Ok(());
        }
        if let Some(meaning) = find(OTHERS, word) {
            match meaning {
                Word::Propagation(flag) => self.propagate(*flag, false),
                Word::SuperBlock => self.parameters.push(parameter(word)?),
                _ => {}
            }
            return Ok(());
        }
        let plain = word.strip_prefix('r').unwrap_or_default();
        if let Some(meaning) = find(ATTRIBUTES, plain) {
            apply(&mut self.recursive, meaning);
        } else if let Some(Word::Propagation(flag)) = find(OTHERS, plain) {
            self.propagate(*flag, true);
        } else {
            self.parameters.push(parameter(word)?);
        }
        Ok(())
    }

    fn propagate(&mut self, flag: u64, recursive: bool) {
        self.propagation.push(Propagation { flag, recursive });
    }
}

fn apply(attributes: &mut Attributes, word: &Word) {
    match word {
        Word::Set(bit) => {
            attributes.set |= bit;
            attributes.clear &= !bit;
        }
        Word::Clear(bit) => {
            attributes.clear |= bit;
            attributes.set &= !bit;
        }
        Word::AccessTime(rule) => {
            // mount_setattr(2) demands that the whole field is cleared when it is set.
            attributes.clear |= ATIME_MASK;
            attributes.set = attributes.set & !ATIME_MASK | rule;
        }
        Word::Propagation(_) | Word::SuperBlock | Word::Nothing => {}
    }
}

fn parameter(word: &str) -> Result<Parameter, String> {
    let string = |text: &str| CString::new(text).map_err(|_| format!("option {word:?} holds a NUL byte"));
    match word.split_once('=') {
        Some((key, value)) => Ok(Parameter {
            key: string(key)?,
            value: Some(string(value)?),
        }),
        None => Ok(Parameter {
            key: string(word)?,
            value: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Options {
        parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn the_last_word_wins() {
        let parsed = options(&["ro", "rw", "nosuid"]);
        assert_eq!(parsed.attributes.set, libc::MOUNT_ATTR_NOSUID);
        assert_eq!(parsed.attributes.clear, libc::MOUNT_ATTR_RDONLY);
    }

    #[test]
    fn access_time_rules_replace_each_other() {
        let parsed = options(&["noatime", "strictatime"]);
        assert_eq!(
            parsed.attributes,
            Attributes {
                set: STRICTATIME,
                clear: ATIME_MASK
            }
        );
    }

    #[test]
    fn recursive_words_are_kept_apart() {
        let parsed = options(&["rbind", "rro", "rprivate", "relatime"]);
        assert_eq!(parsed.bind, Some(true));
        assert_eq!(parsed.recursive.set, libc::MOUNT_ATTR_RDONLY);
        assert_eq!(
            parsed.attributes,
            Attributes {
                set: RELATIME,
                clear: ATIME_MASK
            }
        );
        assert_eq!(
            parsed.propagation,
            [Propagation {
                flag: libc::MS_PRIVATE,
                recursive: true
            }]
        );
        assert!(parsed.parameters.is_empty());
    }

    #[test]
    fn everything_else_goes_to_the_file_system() {
        let parsed = options(&["mode=755", "newinstance", "sync", "defaults"]);
        let names: Vec<_> = parsed
            .parameters
            .iter()
            .map(|p| p.key.to_str().unwrap())
            .collect();
        assert_eq!(names, ["mode", "newinstance", "sync"]);
        assert_eq!(parsed.parameters[0].value.as_deref(), Some(c"755"));
    }

    #[test]
    fn features_list_every_word_of_the_spec() {
        let words = known_words();
        for word in [
            "rro",
            "rnoexec",
            "rnostrictatime",
            "rsymfollow",
            "runbindable",
            "idmap",
            "nomand",
        ] {
            assert!(words.iter().any(|known| known == word), "{word}");
        }
    }
}
