//! Whether a promise is kept. Pure.

use super::facts::{Facts, Maker};
use super::mounts;
use super::probe::EACCES;
use super::promise::{Promise, What, Word};
use serde::Serialize;

/// Where a finding comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// Read from the kernel.
    Kernel,
    /// The process tried it.
    Attempt,
    /// The runtime says so.
    RuntimesWord,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The promise.
    pub promise: String,
    /// What was to be found.
    pub expected: String,
    /// What was found.
    pub found: String,
    /// Whether that is the same.
    pub kept: bool,
    /// How it is known.
    pub proof: Proof,
}

/// Holds every promise against the facts.
pub fn judge(promises: &[Promise], maker: &Maker, facts: &Facts) -> Vec<Finding> {
    let check = |promise| check(promise, maker, facts);
    promises.iter().map(check).collect()
}

/// What cannot be seen from outside.
pub fn taken_on_trust(promise: &Promise) -> Finding {
    Finding {
        promise: promise.name.clone(),
        expected: "inside gVisor".to_owned(),
        found: "not visible from outside".to_owned(),
        kept: true,
        proof: Proof::RuntimesWord,
    }
}

fn check(promise: &Promise, maker: &Maker, facts: &Facts) -> Finding {
    let same = |expected: &str, found: &str| (expected.to_owned(), found.to_owned(), expected == found);
    let mut proof = Proof::Kernel;
    let (expected, found, kept) = match &promise.what {
        What::Status(field, value) => same(value, field_of(&facts.status, field)),
        What::Filter => {
            let expected = maker.filters.saturating_add(1);
            let found = field_of(&facts.status, "Seccomp_filters")
                .parse::<u32>()
                .unwrap_or(0);
            (
                format!("{expected} or more"),
                found.to_string(),
                found >= expected,
            )
        }
        What::Groups { ids, or_own } => groups(ids, *or_own, maker, facts),
        What::Namespace(name) => {
            let of =
                |all: &std::collections::BTreeMap<String, String>| all.get(name).cloned().unwrap_or_default();
            let (own, found) = (of(&maker.namespaces), of(&facts.namespaces));
            let kept = !found.is_empty() && found != own;
            (format!("not {own}"), found, kept)
        }
        What::UserMap(map) => same(map, &facts.uid_map),
        What::GroupMap(map) => same(map, &facts.gid_map),
        What::Root(path) => mounts::root(path, facts),
        What::Mount(mount) => mounts::asked(mount, facts),
        What::NoOtherMount { mounts, covered } => mounts::no_other(mounts, covered, facts),
        What::Masked(path) => mounts::masked(path, facts),
        What::ReadOnly(path) => mounts::read_only(path, facts),
        What::Cgroup(path) => cgroup(path, facts),
        What::Limit(alternatives) => limit(alternatives, facts),
        What::Interfaces(names) => same(names, &facts.interfaces.join(" ")),
        What::EgressRules(rules) => same(rules, &facts.rules),
        What::Descriptors => {
            let show = |(number, is_directory): (&i32, &bool)| match is_directory {
                true => format!("{number} (a directory)"),
                false => number.to_string(),
            };
            let found: Vec<String> = facts.descriptors.iter().map(show).collect();
            let may = |(number, is_directory): (&i32, &bool)| *number <= 2 && !is_directory;
            let kept = facts.descriptors.iter().all(may);
            ("0 1 2".to_owned(), found.join(" "), kept)
        }
        What::WorkingDirectory => {
            let (path, mount) = &facts.working_directory;
            let kept = facts.mounts.iter().any(|one| one.id == *mount);
            ("in a mount of its own".to_owned(), path.clone(), kept)
        }
        What::FirstProcess => {
            let found = field_of(&facts.status, "NSpid");
            let kept = found.split(' ').next_back() == Some("1");
            ("1 in its namespace".to_owned(), found.to_owned(), kept)
        }
        What::OomScore => {
            let (found, own) = (facts.oom_score_adj, maker.oom_score_adj);
            (format!("{own} or more"), found.to_string(), found >= own)
        }
        What::Call(_, result) => {
            proof = Proof::Attempt;
            let found = facts.probes.get(&promise.name);
            (result.to_string(), shown(found), found == Some(result))
        }
        What::Refused { abi, strict, .. } => {
            proof = Proof::Attempt;
            refused(facts.probes.get(&promise.name), *abi, *strict, facts)
        }
        What::LandlockWord { full, abi } => {
            proof = Proof::RuntimesWord;
            word(*full, *abi, facts)
        }
    };
    Finding {
        promise: promise.name.clone(),
        expected,
        found,
        kept,
        proof,
    }
}

fn field_of<'a>(status: &'a std::collections::BTreeMap<String, String>, field: &str) -> &'a str {
    status.get(field).map_or("", String::as_str)
}

fn groups(ids: &[u32], or_own: bool, maker: &Maker, facts: &Facts) -> (String, String, bool) {
    let found = field_of(&facts.status, "Groups");
    let own: Vec<&str> = maker.groups.split(' ').collect();
    let known = |word: &str| ids.iter().any(|id| id.to_string() == word) || or_own && own.contains(&word);
    let all = ids
        .iter()
        .all(|id| found.split(' ').any(|word| word == id.to_string()));
    let kept = all && found.split_whitespace().all(known);
    let mut expected = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    if or_own {
        expected.push_str(" and at most the caller's");
    }
    (expected, found.to_owned(), kept)
}

fn cgroup(path: &str, facts: &Facts) -> (String, String, bool) {
    let mut found: Vec<&str> = ["memory", "pids", "cpu"]
        .iter()
        .filter_map(|controller| facts.cgroup(controller, false))
        .collect();
    if found.is_empty() {
        found.extend(facts.cgroup("", true));
    }
    found.dedup();
    // A relative path is below a control group of the caller's.
    let is_it = |one: &&str| *one == path || !path.starts_with('/') && one.ends_with(&format!("/{path}"));
    let kept = !found.is_empty() && found.iter().all(is_it);
    (path.to_owned(), found.join(" "), kept)
}

fn limit(alternatives: &[Vec<(Word, String)>], facts: &Facts) -> (String, String, bool) {
    let show = |pairs: Vec<(&str, &str)>| {
        let texts: Vec<String> = pairs
            .iter()
            .map(|(file, value)| format!("{file} {value}"))
            .collect();
        texts.join(", ")
    };
    let there =
        |pairs: &&Vec<(Word, String)>| pairs.iter().all(|(file, _)| facts.limits.contains_key(&**file));
    let Some(pairs) = alternatives.iter().find(there) else {
        let wanted = alternatives
            .first()
            .into_iter()
            .flatten()
            .map(|(file, value)| (&**file, value.as_str()));
        return (show(wanted.collect()), "no such file".to_owned(), false);
    };
    let found: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(file, _)| (&**file, facts.limits[&**file].as_str()))
        .collect();
    let expected: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(file, value)| (&**file, value.as_str()))
        .collect();
    let kept = expected == found;
    (show(expected), show(found), kept)
}

fn shown(result: Option<&i64>) -> String {
    result.map_or_else(|| "not tried".to_owned(), ToString::to_string)
}

/// A profile that refuses the socket itself leaves nothing to Landlock, and nothing to a program.
fn refused(result: Option<&i64>, abi: u32, strict: bool, facts: &Facts) -> (String, String, bool) {
    const EBADF: i64 = -9;
    let old = facts.landlock_abi < abi;
    let expected = format!("{EACCES} (permission denied)");
    match result {
        Some(&EACCES) => (expected, shown(result), true),
        Some(&EBADF) => (expected, "no socket to try it with".to_owned(), true),
        _ if old && !strict => {
            let found = format!(
                "left out: this kernel has version {} of Landlock",
                facts.landlock_abi
            );
            (
                format!("{expected} from version {abi} of Landlock on"),
                found,
                true,
            )
        }
        _ => (expected, shown(result), false),
    }
}

fn word(full: bool, abi: u32, facts: &Facts) -> (String, String, bool) {
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Told {
        status: String,
        abi: u32,
    }
    let found = facts.landlock.clone().unwrap_or_default();
    let told: Told = serde_json::from_str(&found).unwrap_or_default();
    let enough = if full {
        told.status == "full"
    } else {
        !told.status.is_empty()
    };
    // The version is the kernel's own word.
    let kept = enough && told.abi >= abi && told.abi == facts.landlock_abi;
    let status = if full { "full" } else { "what the kernel has" };
    (format!("{status}, version {abi} at least"), found, kept)
}

#[cfg(test)]
mod tests {
    use super::super::facts::{self, Facts};
    use super::super::probe::Probe;
    use super::super::promise::{Mount, Promise, What};
    use super::*;

    /// A process of a sandbox that keeps every promise of [`kept`].
    fn sandbox() -> Facts {
        let own = "1 1 8:1 / / rw - ext4 /dev/sda rw\n2 1 8:2 / /srv/data rw - ext4 /dev/sdb rw\n\
                   3 2 8:3 / /srv/data/more rw - ext4 /dev/sdc rw\n4 1 0:9 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
                   5 1 0:6 / /dev rw - devtmpfs devtmpfs rw\n6 1 0:7 / /dev/shm rw - tmpfs tmpfs rw\n";
        let seen = "5 1 8:1 /srv/root / ro - ext4 /dev/sda rw\n6 5 0:4 / /proc rw,nosuid - proc proc rw,hidepid=invisible\n\
                    7 5 8:2 / /data ro,nosuid - ext4 /dev/sdb rw\n8 7 8:3 / /data/more ro,nosuid - ext4 /dev/sdc rw\n\
                    9 6 0:6 /null /proc/keys rw - devtmpfs devtmpfs rw\n10 6 0:4 /sys /proc/sys ro - proc proc rw\n\
                    11 5 0:6 /null /dev/null rw - devtmpfs devtmpfs rw\n";
        Facts {
            status: facts::status("NSpid:\t9\t1\nGroups:\t4 5\nSeccomp_filters:\t2\nNoNewPrivs:\t1\n"),
            mounts: facts::mounts(seen),
            own_mounts: facts::mounts(own),
            cgroups: facts::cgroups("0::/nucleus/a\n"),
            limits: [("memory.max".to_owned(), "4096".to_owned())].into(),
            existing: vec!["/proc/keys".into(), "/proc/sys".into()],
            landlock_abi: 3,
            landlock: Some(r#"{"status":"full","abi":3,"missing":[]}"#.into()),
            interfaces: vec!["lo".into()],
            rules: "policy drop".into(),
            descriptors: [(0, false), (2, false)].into(),
            working_directory: ("/data".into(), "7".into()),
            probes: [("call".to_owned(), -1), ("right".to_owned(), EACCES)].into(),
            ..Facts::default()
        }
    }

    fn data() -> Mount {
        Mount {
            destination: "/data".into(),
            kind: "bind".into(),
            source: "/srv/data".into(),
            options: vec!["nosuid".into(), "ro".into()],
            super_options: Vec::new(),
            recursive: true,
        }
    }

    fn proc() -> Mount {
        Mount {
            destination: "/proc".into(),
            kind: "proc".into(),
            source: "proc".into(),
            options: vec!["nosuid".into()],
            super_options: vec![vec!["hidepid=2".into(), "hidepid=invisible".into()]],
            recursive: false,
        }
    }

    fn finding(name: &str, what: What, facts: &Facts) -> Finding {
        let promise = Promise {
            name: name.into(),
            what,
        };
        let maker = Maker {
            groups: "5 6".into(),
            filters: 1,
            ..Maker::default()
        };
        judge(&[promise], &maker, facts).remove(0)
    }

    fn probe() -> Probe {
        Probe {
            calls: Vec::new(),
            answer: 0,
        }
    }

    /// Each promise with what breaks it.
    #[test]
    #[expect(clippy::semicolon_if_nothing_returned, reason = "a table, not statements")]
    fn each_promise_is_kept_and_can_be_broken() {
        type Breaking = fn(&mut Facts);
        let refused = || What::Refused {
            probe: probe(),
            abi: 3,
            strict: true,
        };
        let other = || What::NoOtherMount {
            mounts: vec![data(), proc()],
            covered: vec!["/proc/keys".into(), "/proc/sys".into()],
        };
        let limit = || {
            What::Limit(vec![
                vec![("memory.max".into(), "4096".into())],
                vec![("memory.limit_in_bytes".into(), "4096".into())],
            ])
        };
        let groups = || What::Groups {
            ids: vec![4],
            or_own: true,
        };
        let word = || What::LandlockWord { full: true, abi: 3 };
        let table: Vec<(&str, What, Breaking)> = vec![
            ("nnp", What::Status("NoNewPrivs".into(), "1".into()), |facts| {
                drop(facts.status.insert("NoNewPrivs".into(), "0".into()))
            }),
            ("nnp", What::Status("NoNewPrivs".into(), "1".into()), |facts| {
                facts.status.clear()
            }),
            ("filter", What::Filter, |facts| {
                drop(facts.status.insert("Seccomp_filters".into(), "1".into()))
            }),
            ("groups", groups(), |facts| {
                drop(facts.status.insert("Groups".into(), "4 7".into()))
            }),
            ("groups", groups(), |facts| {
                drop(facts.status.insert("Groups".into(), "5".into()))
            }),
            ("root", What::Root("/srv/root".into()), |facts| {
                facts.mounts[0].options = vec!["rw".into()]
            }),
            ("root", What::Root("/srv/root".into()), |facts| {
                facts.mounts[0].root = "/srv".into()
            }),
            ("proc", What::Mount(proc()), |facts| {
                facts.mounts[1].super_options.clear()
            }),
            ("proc", What::Mount(proc()), |facts| {
                facts.mounts[1].kind = "tmpfs".into()
            }),
            ("data", What::Mount(data()), |facts| {
                facts.mounts[2].device = "8:1".into()
            }),
            ("data", What::Mount(data()), |facts| {
                facts.mounts[3].options = vec!["rw".into()]
            }),
            ("data", What::Mount(data()), |facts| {
                facts
                    .mounts
                    .extend(facts::mounts("12 5 8:1 /etc /data ro,nosuid - ext4 a rw\n"))
            }),
            ("other", other(), |facts| {
                facts
                    .mounts
                    .extend(facts::mounts("12 5 8:1 / /mnt ro - ext4 a rw\n"))
            }),
            ("other", other(), |facts| {
                facts
                    .mounts
                    .extend(facts::mounts("12 5 0:6 /sda /dev/null ro - devtmpfs a rw\n"))
            }),
            ("other", other(), |facts| {
                facts
                    .mounts
                    .extend(facts::mounts("12 5 0:7 /null /dev/null ro - tmpfs a rw\n"))
            }),
            ("other", other(), |facts| {
                facts
                    .mounts
                    .extend(facts::mounts("12 5 8:9 / /data/hidden ro - ext4 a rw\n"))
            }),
            ("masked", What::Masked("/proc/keys".into()), |facts| {
                drop(facts.mounts.remove(4))
            }),
            ("masked", What::Masked("/proc/keys".into()), |facts| {
                facts.mounts[4].root = "/zero".into()
            }),
            ("masked", What::Masked("/proc/keys".into()), |facts| {
                facts.mounts[4] = facts::mounts("9 6 8:1 /null /proc/keys rw - tmpfs tmpfs rw\n").remove(0)
            }),
            ("masked", What::Masked("/proc/keys".into()), |facts| {
                facts.mounts[4] = facts::mounts("9 6 0:7 / /proc/keys ro - tmpfs tmpfs rw\n").remove(0)
            }),
            ("read-only", What::ReadOnly("/proc/sys".into()), |facts| {
                drop(facts.mounts.remove(5))
            }),
            ("read-only", What::ReadOnly("/proc/sys".into()), |facts| {
                facts.mounts[5].root = "/".into()
            }),
            ("read-only", What::ReadOnly("/proc/sys".into()), |facts| {
                facts.mounts[5].device = "8:1".into()
            }),
            ("cgroup", What::Cgroup("/nucleus/a".into()), |facts| {
                facts.cgroups[0].1 = "/".into()
            }),
            ("cgroup", What::Cgroup("/nucleus/a".into()), |facts| {
                facts.cgroups.clear()
            }),
            ("cgroup", What::Cgroup("a".into()), |facts| {
                facts.cgroups[0].1 = "/nucleus/b/aa".into()
            }),
            ("limit", limit(), |facts| {
                drop(facts.limits.insert("memory.max".into(), "max".into()))
            }),
            ("limit", limit(), |facts| facts.limits.clear()),
            ("network", What::Interfaces("lo".into()), |facts| {
                facts.interfaces.push("eth0".into())
            }),
            ("rules", What::EgressRules("policy drop".into()), |facts| {
                facts.rules = "policy accept".into();
            }),
            ("rules", What::EgressRules("policy drop".into()), |facts| {
                facts.rules.clear()
            }),
            ("descriptors", What::Descriptors, |facts| {
                facts.descriptors.extend([(3, false)])
            }),
            ("descriptors", What::Descriptors, |facts| {
                facts.descriptors.extend([(0, true)])
            }),
            ("cwd", What::WorkingDirectory, |facts| {
                facts.working_directory.1 = "1".into()
            }),
            ("first", What::FirstProcess, |facts| {
                drop(facts.status.insert("NSpid".into(), "9 17".into()))
            }),
            ("oom", What::OomScore, |facts| facts.oom_score_adj = -500),
            ("call", What::Call(probe(), -1), |facts| {
                facts.probes.retain(|name, _| name != "call")
            }),
            ("call", What::Call(probe(), -1), |facts| facts.probes.clear()),
            ("right", refused(), |facts| {
                facts.probes.retain(|name, _| name != "right")
            }),
            ("word", word(), |facts| facts.landlock = None),
            ("word", word(), |facts| {
                facts.landlock = Some(r#"{"status":"partial","abi":3}"#.into())
            }),
            ("word", word(), |facts| facts.landlock_abi = 2),
        ];
        for (name, what, breaking) in table {
            let mut facts = sandbox();
            let kept = finding(name, what.clone(), &facts);
            assert!(kept.kept, "{kept:?}");
            breaking(&mut facts);
            let broken = finding(name, what, &facts);
            assert!(!broken.kept, "{broken:?}");
        }
    }

    #[test]
    fn an_old_kernel_excuses_only_where_the_mode_takes_what_there_is() {
        let refused = |strict| What::Refused {
            probe: probe(),
            abi: 4,
            strict,
        };
        let mut facts = sandbox();
        facts.probes.insert("right".into(), -111);
        assert!(finding("right", refused(false), &facts).kept);
        assert!(!finding("right", refused(true), &facts).kept);
        facts.landlock_abi = 4;
        assert!(!finding("right", refused(false), &facts).kept);
    }
}
