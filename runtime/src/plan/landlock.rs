//! The annotation `dev.nucleus.landlock`: runtime-spec has no Landlock yet (the proposal is its issue 1110), so the
//! rules come as JSON of the proposal's shape, with TCP ports and scopes added. Here it is decided what this
//! kernel enforces; the child decides nothing.
//!
//! | right or scope | ABI | Linux |
//! |---|---|---|
//! | file system, but for those below | 1 | 5.13 |
//! | `refer` | 2 | 5.19 |
//! | `truncate` | 3 | 6.2 |
//! | `bind_tcp`, `connect_tcp` | 4 | 6.7 |
//! | `ioctl_dev` | 5 | 6.10 |
//! | `abstract_unix_socket`, `signal` | 6 | 6.12 |
//!
//! Without `refer` the kernel forbids to move and link between directories altogether, which is no less than was
//! asked, but more: it counts as missing.

use super::{Error, c_string};
use crate::landlock::{Landlock, PathRule, PortRule};
use nucleus_sys::landlock::Ruleset;
use oci_spec::runtime as oci;
use serde::Deserialize;
use serde_json::json;

/// The annotation.
pub const ANNOTATION: &str = "dev.nucleus.landlock";
/// The annotation of the state that tells what is enforced.
pub const ENFORCED: &str = "dev.nucleus.landlock.enforced";

/// `CAP_SYS_ADMIN`.
const SYS_ADMIN: u64 = 1 << 21;

/// A word of the annotation: the kernel's bit, and the ABI that brought it.
type Word = (&'static str, u64, u32);

/// `LANDLOCK_ACCESS_FS_*`.
const FS: [Word; 16] = [
    ("execute", 1 << 0, 1),
    ("write_file", 1 << 1, 1),
    ("read_file", 1 << 2, 1),
    ("read_dir", 1 << 3, 1),
    ("remove_dir", 1 << 4, 1),
    ("remove_file", 1 << 5, 1),
    ("make_char", 1 << 6, 1),
    ("make_dir", 1 << 7, 1),
    ("make_reg", 1 << 8, 1),
    ("make_sock", 1 << 9, 1),
    ("make_fifo", 1 << 10, 1),
    ("make_block", 1 << 11, 1),
    ("make_sym", 1 << 12, 1),
    ("refer", 1 << 13, 2),
    ("truncate", 1 << 14, 3),
    ("ioctl_dev", 1 << 15, 5),
];

/// Those that apply to what is not a directory: execute, write_file, read_file, truncate, ioctl_dev.
const FILE_RIGHTS: u64 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15;

/// `LANDLOCK_ACCESS_NET_*`.
const NET: [Word; 2] = [("bind_tcp", 1 << 0, 4), ("connect_tcp", 1 << 1, 4)];

/// `LANDLOCK_SCOPE_*`.
const SCOPES: [Word; 2] = [("abstract_unix_socket", 1 << 0, 6), ("signal", 1 << 1, 6)];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotation {
    ruleset: AskedRuleset,
    #[serde(default)]
    rules: AskedRules,
    #[serde(default, rename = "minABI")]
    min_abi: u32,
    #[serde(default, rename = "disableBestEffort")]
    disable_best_effort: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedRuleset {
    #[serde(default, rename = "handledAccessFS")]
    fs: Vec<String>,
    #[serde(default, rename = "handledAccessNet")]
    net: Vec<String>,
    #[serde(default)]
    scoped: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedRules {
    #[serde(default, rename = "pathBeneath")]
    paths: Vec<AskedPaths>,
    #[serde(default, rename = "netPort")]
    ports: Vec<AskedPorts>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedPaths {
    #[serde(rename = "allowedAccess")]
    access: Vec<String>,
    paths: Vec<String>,
    #[serde(default)]
    optional: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedPorts {
    #[serde(rename = "allowedAccess")]
    access: Vec<String>,
    ports: Vec<u16>,
}

/// What becomes of an annotation on this kernel.
#[derive(Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the child enforces; nothing where this kernel has none of it.
    pub rules: Option<Landlock>,
    /// The value of [`ENFORCED`].
    pub enforced: String,
    /// What was asked for and is left out.
    pub missing: Vec<&'static str>,
}

impl Decision {
    /// What is left out, in words.
    pub fn note(&self) -> Option<String> {
        let missing = self.missing.join(", ");
        (!missing.is_empty()).then(|| format!("Landlock: this kernel lacks {missing}, left out"))
    }
}

/// The annotation, in a configuration that asks for Landlock: its plan needs to know the kernel's ABI.
pub fn asked(spec: &oci::Spec) -> Option<&str> {
    spec.annotations().as_ref()?.get(ANNOTATION).map(String::as_str)
}

/// Decides what of the annotation is enforced by a kernel with this ABI, 0 for one without Landlock.
/// `no_new_privileges` is the process's, `capabilities` are those that it has before it drops any.
///
/// # Errors
/// What is wrong in the annotation, or what this kernel cannot do and must.
pub fn decide(
    spec: &oci::Spec,
    abi: u32,
    no_new_privileges: bool,
    capabilities: u64,
) -> Result<Option<Decision>, Error> {
    if spec
        .annotations()
        .as_ref()
        .is_some_and(|all| all.contains_key(ENFORCED))
    {
        return Err(Error::invalid(
            format!("annotations {ENFORCED}"),
            "the runtime tells with it what it enforces, a configuration cannot",
        ));
    }
    let Some(text) = asked(spec) else { return Ok(None) };
    let decision = from_text(text, abi).map_err(|error| error.at(format!("annotations {ANNOTATION}")))?;
    if decision.rules.is_some() && !no_new_privileges && capabilities & SYS_ADMIN == 0 {
        return Err(Error::unsupported(
            format!("annotations {ANNOTATION}"),
            "it needs process.noNewPrivileges, or CAP_SYS_ADMIN for the runtime",
        ));
    }
    Ok(Some(decision))
}

fn from_text(text: &str, abi: u32) -> Result<Decision, Error> {
    let asked: Annotation =
        serde_json::from_slice(text.as_bytes()).map_err(|error| Error::value(error.to_string()))?;
    let mut kernel = Kernel {
        abi,
        missing: Vec::new(),
    };
    let fs = kernel.bits(&FS, &asked.ruleset.fs, "ruleset.handledAccessFS")?;
    let net = kernel.bits(&NET, &asked.ruleset.net, "ruleset.handledAccessNet")?;
    let scoped = kernel.bits(&SCOPES, &asked.ruleset.scoped, "ruleset.scoped")?;
    if fs.asked | net.asked | scoped.asked == 0 {
        return Err(Error::invalid(
            "ruleset",
            "nothing is handled: it would restrict nothing",
        ));
    }
    let rules = Landlock {
        ruleset: Ruleset {
            handled_access_fs: fs.known,
            handled_access_net: net.known,
            scoped: scoped.known,
        },
        paths: path_rules(&asked.rules.paths, &fs)?,
        ports: port_rules(&asked.rules.ports, &net)?,
    };
    kernel.check(&asked)?;
    let missing = kernel.missing;
    let nothing = rules.ruleset == Ruleset::default();
    let status = match (nothing, missing.is_empty()) {
        (true, _) => "none",
        (false, true) => "full",
        (false, false) => "partial",
    };
    Ok(Decision {
        rules: (!nothing).then_some(rules),
        enforced: json!({"status": status, "abi": abi, "missing": &missing}).to_string(),
        missing,
    })
}

/// A set of rights: all that were asked for, and those that the kernel knows.
struct Bits {
    asked: u64,
    known: u64,
}

struct Kernel {
    abi: u32,
    missing: Vec<&'static str>,
}

impl Kernel {
    fn bits(&mut self, words: &[Word], names: &[String], field: &str) -> Result<Bits, Error> {
        let asked = parse(words, names, field)?;
        let mut known = 0;
        for (name, bit, since) in words.iter().filter(|(_, bit, _)| asked & bit != 0) {
            if *since <= self.abi {
                known |= bit;
            } else {
                self.missing.push(name);
            }
        }
        Ok(Bits { asked, known })
    }

    fn check(&self, asked: &Annotation) -> Result<(), Error> {
        let has = match self.abi {
            0 => "this kernel has no Landlock, or it is not enabled (lsm= at boot)".to_owned(),
            abi => format!("this kernel's Landlock has ABI {abi}"),
        };
        if asked.min_abi > self.abi {
            let field = format!("minABI {}", asked.min_abi);
            return Err(Error::unsupported(field, has));
        }
        if asked.disable_best_effort && !self.missing.is_empty() {
            let missing = self.missing.join(", ");
            return Err(Error::unsupported(
                missing,
                format!("{has}, and disableBestEffort is set"),
            ));
        }
        Ok(())
    }
}

fn parse(words: &[Word], names: &[String], field: &str) -> Result<u64, Error> {
    names.iter().try_fold(0, |bits, name| {
        match words.iter().find(|(word, ..)| word == name) {
            Some((_, bit, _)) => Ok(bits | bit),
            None => Err(Error::invalid(field, format!("unknown word {name:?}"))),
        }
    })
}

/// The rights of one rule, which have to be among the handled ones: others are not restricted, and a rule for them
/// means that somebody thinks they are.
fn allowed(words: &[Word], names: &[String], handled: &Bits, rule: &str) -> Result<u64, Error> {
    let field = format!("{rule}.allowedAccess");
    let bits = parse(words, names, &field)?;
    if bits == 0 {
        return Err(Error::invalid(field, "empty"));
    }
    let stray = words.iter().find(|(_, bit, _)| bits & !handled.asked & bit != 0);
    if let Some((name, ..)) = stray {
        return Err(Error::invalid(
            field,
            format!("{name:?} is not handled by the ruleset"),
        ));
    }
    Ok(bits & handled.known)
}

fn path_rules(asked: &[AskedPaths], handled: &Bits) -> Result<Vec<PathRule>, Error> {
    let mut rules = Vec::new();
    for (index, asked) in asked.iter().enumerate() {
        let name = format!("rules.pathBeneath[{index}]");
        let access = allowed(&FS, &asked.access, handled, &name)?;
        for path in &asked.paths {
            if !path.starts_with('/') {
                let reason = format!("{path:?} is not absolute");
                return Err(Error::invalid(format!("{name}.paths"), reason));
            }
            let path = c_string(path.as_str()).map_err(|error| error.at(format!("{name}.paths")))?;
            // What is left of it on this kernel may be nothing.
            if access != 0 {
                rules.push(PathRule {
                    path,
                    directory: access,
                    file: access & FILE_RIGHTS,
                    optional: asked.optional,
                });
            }
        }
    }
    Ok(rules)
}

fn port_rules(asked: &[AskedPorts], handled: &Bits) -> Result<Vec<PortRule>, Error> {
    let mut rules = Vec::new();
    for (index, asked) in asked.iter().enumerate() {
        let access = allowed(&NET, &asked.access, handled, &format!("rules.netPort[{index}]"))?;
        if access != 0 {
            rules.extend(asked.ports.iter().map(|port| PortRule { port: *port, access }));
        }
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: &str = r#"{
        "ruleset": {
            "handledAccessFS": ["execute","write_file","read_file","read_dir","remove_dir","remove_file",
                "make_char","make_dir","make_reg","make_sock","make_fifo","make_block","make_sym","refer",
                "truncate","ioctl_dev"],
            "handledAccessNet": ["bind_tcp","connect_tcp"],
            "scoped": ["abstract_unix_socket","signal"]
        },
        "rules": {
            "pathBeneath": [
                {"allowedAccess": ["read_file","read_dir","truncate"], "paths": ["/a","/b"]},
                {"allowedAccess": ["ioctl_dev"], "paths": ["/dev"], "optional": true}
            ],
            "netPort": [{"allowedAccess": ["connect_tcp"], "ports": [443, 80]}]
        }
    }"#;

    /// All rights of files that an ABI knows: the kernel's `LANDLOCK_MASK_ACCESS_FS` of each version.
    fn fs_mask(abi: u32) -> u64 {
        match abi {
            0 => 0,
            1 => 0x1fff,
            2 => 0x3fff,
            3 | 4 => 0x7fff,
            _ => 0xffff,
        }
    }

    #[test]
    fn each_abi_enforces_what_it_knows_and_the_rest_is_told() {
        let missing_since: [(u32, &[&str]); 8] = [
            (
                1,
                &[
                    "refer",
                    "truncate",
                    "ioctl_dev",
                    "bind_tcp",
                    "connect_tcp",
                    "abstract_unix_socket",
                    "signal",
                ],
            ),
            (
                2,
                &[
                    "truncate",
                    "ioctl_dev",
                    "bind_tcp",
                    "connect_tcp",
                    "abstract_unix_socket",
                    "signal",
                ],
            ),
            (
                3,
                &[
                    "ioctl_dev",
                    "bind_tcp",
                    "connect_tcp",
                    "abstract_unix_socket",
                    "signal",
                ],
            ),
            (4, &["ioctl_dev", "abstract_unix_socket", "signal"]),
            (5, &["abstract_unix_socket", "signal"]),
            (6, &[]),
            (7, &[]),
            (8, &[]),
        ];
        for (abi, missing) in missing_since {
            let decision = from_text(EVERYTHING, abi).unwrap();
            assert_eq!(decision.missing, missing, "ABI {abi}");
            let status = if missing.is_empty() { "full" } else { "partial" };
            let enforced: serde_json::Value = serde_json::from_str(&decision.enforced).unwrap();
            assert_eq!(
                enforced,
                json!({"status": status, "abi": abi, "missing": missing})
            );
            let rules = decision.rules.unwrap();
            let net = if abi >= 4 { 3 } else { 0 };
            let scoped = if abi >= 6 { 3 } else { 0 };
            let expected = Ruleset {
                handled_access_fs: fs_mask(abi),
                handled_access_net: net,
                scoped,
            };
            assert_eq!(rules.ruleset, expected, "ABI {abi}");
            // No rule asks for what the ruleset does not handle, or for nothing: the kernel refuses both.
            for rule in &rules.paths {
                assert!(
                    rule.directory != 0 && rule.directory & !fs_mask(abi) == 0,
                    "ABI {abi}: {rule:?}"
                );
                assert_eq!(rule.file, rule.directory & FILE_RIGHTS);
            }
            assert_eq!(rules.paths.len(), if abi >= 5 { 3 } else { 2 }, "ABI {abi}");
            assert_eq!(rules.ports.len(), if abi >= 4 { 2 } else { 0 }, "ABI {abi}");
        }
    }

    #[test]
    fn a_kernel_without_landlock_enforces_nothing_and_says_so() {
        let decision = from_text(EVERYTHING, 0).unwrap();
        assert_eq!((decision.rules, decision.missing.len()), (None, 20));
        assert!(
            decision.enforced.contains(r#""status":"none""#),
            "{}",
            decision.enforced
        );
        let scopes = r#"{"ruleset":{"scoped":["signal"]}}"#;
        let decision = from_text(scopes, 5).unwrap();
        assert_eq!(decision.rules, None);
        assert!(
            decision.enforced.contains(r#""status":"none""#),
            "{}",
            decision.enforced
        );
    }

    #[test]
    fn without_best_effort_all_or_nothing() {
        let strict = EVERYTHING.replacen('{', r#"{"disableBestEffort":true,"#, 1);
        for abi in 0..6 {
            let error = from_text(&strict, abi).unwrap_err().to_string();
            assert!(error.contains("signal cannot be enforced"), "{error}");
        }
        for abi in 6..9 {
            assert!(from_text(&strict, abi).unwrap().rules.is_some());
        }
        let old = r#"{"ruleset":{"handledAccessFS":["execute"]},"disableBestEffort":true}"#;
        assert!(from_text(old, 1).unwrap().enforced.contains("full"));
    }

    #[test]
    fn the_least_abi_holds_with_best_effort_too() {
        let text = EVERYTHING.replacen('{', r#"{"minABI":3,"#, 1);
        for abi in 0..3 {
            let error = from_text(&text, abi).unwrap_err().to_string();
            assert!(error.contains("minABI 3 cannot be enforced"), "{error}");
        }
        assert!(from_text(&text, 3).is_ok());
    }

    fn spec(annotations: &[(&str, &str)]) -> oci::Spec {
        let mut spec = oci::Spec::default();
        let all = annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        spec.set_annotations(Some(all.collect()));
        spec
    }

    #[test]
    fn the_caller_must_be_allowed_to_restrict_itself() {
        let spec = spec(&[(ANNOTATION, EVERYTHING)]);
        assert!(decide(&spec, 7, true, 0).unwrap().is_some());
        assert!(decide(&spec, 7, false, SYS_ADMIN).unwrap().is_some());
        let error = decide(&spec, 7, false, !SYS_ADMIN).unwrap_err().to_string();
        assert!(error.contains("noNewPrivileges"), "{error}");
        assert!(decide(&spec, 0, false, 0).unwrap().unwrap().rules.is_none());
    }

    #[test]
    fn only_the_runtime_tells_what_is_enforced() {
        assert!(decide(&spec(&[(ENFORCED, "{}")]), 7, true, 0).is_err());
        assert_eq!(decide(&spec(&[("other", "{}")]), 7, true, 0).unwrap(), None);
        assert_eq!(decide(&oci::Spec::default(), 7, true, 0).unwrap(), None);
    }
}
