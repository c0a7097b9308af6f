//! What capability and Landlock policies are refused for, and where.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nucleus_policy::{Choice, Digest, Kind, Origin, Problem, Request, load};
use oci_spec::runtime::Capability;

/// Loads one policy from a file.
fn read(
    kind: Kind,
    path: &Path,
    pin: Option<Digest>,
) -> Result<nucleus_policy::VerifiedPolicy, nucleus_policy::Errors> {
    let choice = Some(Choice {
        origin: Origin::File(path.to_owned()),
        pin,
    });
    let mut request = Request::default();
    match kind {
        Kind::Seccomp => request.seccomp = choice,
        Kind::Capabilities => request.capabilities = choice,
        Kind::Landlock => request.landlock = choice,
    }
    load(&request)
}

/// The faults of a text, without the file's name.
fn faults(kind: Kind, text: &str) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("p");
    std::fs::write(&path, text).expect("write a policy");
    let Err(errors) = read(kind, &path, None) else {
        return Vec::new();
    };
    let line = |line: Option<usize>| line.map_or_else(String::new, |line| format!("{line}: "));
    errors
        .faults()
        .iter()
        .map(|fault| format!("{}{}", line(fault.line), fault.problem))
        .collect()
}

#[test]
fn capability_policies() {
    for (text, expected) in [
        ("keep = []", &[][..]),
        (
            "keep = [\"CAP_CHECKPOINT_RESTORE\", \"CAP_BPF\", \"CAP_AUDIT_READ\"]",
            &[],
        ),
        ("", &["`keep`, or one of the five sets, is missing"]),
        (
            "keep = [\"KILL\", \"cap_kill\",\n\"CAP_ALL\"]",
            &[
                "1: there is no capability \"KILL\"",
                "1: there is no capability \"cap_kill\"",
                "2: there is no capability \"CAP_ALL\"",
            ],
        ),
        (
            "keep = []\nbounding = []",
            &["2: list \"keep\" says all five sets: give it or the sets, not both"],
        ),
        ("keep = 1", &["1: invalid type: integer `1`, expected a sequence"]),
        (
            "kept = []",
            &[
                "1: unknown field `kept`, expected one of `keep`, `bounding`, `permitted`, `effective`, `inheritable`, `ambient`",
            ],
        ),
        (
            "permitted = [\"CAP_KILL\"]",
            &["1: capability \"CAP_KILL\" is permitted but not in `bounding`"],
        ),
        (
            "bounding = [\"CAP_KILL\"]\neffective = [\"CAP_KILL\"]",
            &["2: capability \"CAP_KILL\" is effective but not in `permitted`"],
        ),
        (
            "bounding = [\"CAP_KILL\"]\npermitted = [\"CAP_KILL\"]\nambient = [\"CAP_KILL\"]",
            &["3: capability \"CAP_KILL\" is ambient but not in `inheritable`"],
        ),
        (
            "inheritable = [\"CAP_KILL\"]",
            &["1: capability \"CAP_KILL\" is inheritable but not in `bounding`"],
        ),
    ] {
        assert_eq!(faults(Kind::Capabilities, text), expected, "{text}");
    }
    let twice = faults(Kind::Capabilities, "keep = []\n\nkeep = []");
    assert!(
        twice.len() == 1 && twice[0].starts_with("3: duplicate key"),
        "{twice:?}"
    );
}

#[test]
fn landlock_policies() {
    for (text, expected) in [
        ("", &[][..]),
        ("[[tcp]]\nbind = [0]\nconnect = [65535]", &[]),
        (
            "[[path]]\npaths = [\"/\"]\naccess = [\"read\", \"create-device\"]",
            &[],
        ),
        ("min_abi = 8", &["1: min_abi 8: no Landlock ABI above 7 is known"]),
        (
            "scope = [\"signal\", \"signal\",\n\"world\"]",
            &[
                "1: scope \"signal\" is given twice",
                "2: there is no scope \"world\"",
            ],
        ),
        ("restrict = []", &["anything to restrict is missing"]),
        (
            "restrict = [\"files\"]\n[[tcp]]\nbind = [1]",
            &["2: domain \"tcp\" has rules but is not in `restrict`"],
        ),
        (
            "[[tcp]]\nbind = [1, 1]\n[[tcp]]\nbind = [1]\n[[tcp]]",
            &[
                "2: port to bind \"1\" is given twice",
                "4: port to bind \"1\" is given twice",
                "5: a port in `bind` or `connect` is missing",
            ],
        ),
        (
            "[[tcp]]\nbind = [65536]",
            &["2: invalid value: integer `65536`, expected u16"],
        ),
        (
            "[[path]]\npaths = [\"/a\",\n\"/a\"]\naccess = []",
            &[
                "3: path \"/a\" is given twice",
                "4: a word in `access` is missing",
            ],
        ),
        (
            "[[path]]\npaths = []\naccess = [\"read\"]",
            &["2: a path in `paths` is missing"],
        ),
        ("[[path]]\naccess = [\"read\"]", &["1: missing field `paths`"]),
        (
            "[[path]]\npaths = [\"/a\"]\naccess = [\"read\"]\nwhere = 1",
            &["4: unknown field `where`, expected one of `paths`, `access`, `optional`"],
        ),
        (
            "[[path]]\npaths = [\"/a/\", \"//a\", \"/./a\", \"a\"]\naccess = [\"read\"]",
            &[
                "2: path \"/a/\": write it without `.`, `..`, `//` and a `/` at the end",
                "2: path \"//a\": write it without `.`, `..`, `//` and a `/` at the end",
                "2: path \"/./a\": write it without `.`, `..`, `//` and a `/` at the end",
                "2: path \"a\": not absolute",
            ],
        ),
        (
            "[[path]]\npaths = [\"/a\\u0000b\"]\naccess = [\"read\"]",
            &["2: path \"/a\\0b\": control characters are not allowed"],
        ),
    ] {
        assert_eq!(faults(Kind::Landlock, text), expected, "{text}");
    }
}

/// Ends the swapping thread, also when an assertion fails: the scope would wait for it for ever.
struct Finished<'a>(&'a AtomicBool);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Ten thousand loads of a pinned file that is replaced, and rewritten in place, all the while: what is parsed
/// always has the pinned digest.
#[test]
fn a_policy_swapped_after_its_check_is_not_used() {
    const REVIEWED: &str = "keep = []          # reviewed\n";
    const ATTACK: &str = "keep = [\"CAP_SYS_ADMIN\"] # x\n";
    const ROUNDS: usize = 10_000;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("caps.toml");
    let other = directory.path().join("other");
    std::fs::write(&path, REVIEWED).expect("write the policy");
    let pin = Digest::of(REVIEWED.as_bytes());
    let done = AtomicBool::new(false);
    let (mut used, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for text in [ATTACK, REVIEWED].into_iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                std::fs::write(&other, text).expect("write the other policy");
                std::fs::rename(&other, &path).expect("swap");
                std::fs::write(&path, if text == ATTACK { REVIEWED } else { ATTACK }).expect("rewrite");
            }
        });
        let _finished = Finished(&done);
        // Both ends are seen, however the two threads are scheduled.
        for round in 0.. {
            match read(Kind::Capabilities, &path, Some(pin)) {
                Ok(policy) => {
                    used += 1;
                    let sets = policy.capabilities().expect("a policy").sets();
                    assert!(sets.iter().all(|(_, set)| !set.contains(&Capability::SysAdmin)));
                    assert_eq!(policy.digest(Kind::Capabilities), Some(pin));
                }
                Err(errors) => {
                    refused += 1;
                    let refused = matches!(errors.faults()[0].problem, Problem::WrongPin { .. });
                    assert!(refused, "{errors}");
                }
            }
            if round >= ROUNDS && used > 0 && refused > 0 || round >= 100 * ROUNDS {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(
        used > 0 && refused > 0,
        "used {used}, refused {refused}: the swap was not seen"
    );
}
