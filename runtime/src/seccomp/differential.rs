//! The same verdicts as libseccomp, for random profiles and for those of container engines.
//!
//! Both programs run in the interpreter over every system call number of the three ABIs, foreign
//! architectures, and arguments around every operand. [`Meaning`] is the third witness: where libseccomp
//! contradicts it, libseccomp is wrong.
//!
//! `LIBSECCOMP_LINK_TYPE=static LIBSECCOMP_LIB_PATH=/usr/lib/x86_64-linux-gnu
//! cargo test -p nucleus-runtime --features libseccomp --lib seccomp`

mod reference;

use libseccomp::{ScmpArch, ScmpSyscall};
use oci_spec::runtime::LinuxSeccomp;
use proptest::prelude::*;

use self::reference::reference;
use super::interpret::run;
use super::syscalls::Multiplexer;
use super::table::SYSCALLS;
use super::tests::meaning::{Meaning, calls};
use super::tests::profiles::{ACTIONS, Shape, profiles};
use super::{Error, SockFilter, compile};

/// The kernel has given x32 this call since libseccomp 2.5.
const NEWER_ON_X32: &str = "map_shadow_stack";

/// Whether libseccomp has the call, with the same numbers.
fn shared(name: &str) -> bool {
    ScmpSyscall::from_name(name).is_ok() && name != NEWER_ON_X32
}

/// How two filters relate over many calls.
#[derive(Debug, Default)]
struct Tally {
    calls: usize,
    /// Calls that rules of several actions describe.
    open: usize,
    /// libseccomp differs and contradicts the profile: its 64-bit tests at times compare the wrong half, and
    /// it forgets to load the number where i386's first call is a multiplexed one.
    libseccomp_wrong: Vec<String>,
    /// libseccomp differs by picking another of several rules that describe the call.
    other_choice: Vec<String>,
    /// We contradict the profile.
    we_wrong: Vec<String>,
}

fn compare(seccomp: &LinuxSeccomp, ours: &[SockFilter], theirs: &[SockFilter], seed: u64) -> Tally {
    let meaning = Meaning::of(seccomp);
    let mut tally = Tally::default();
    for call in calls(seccomp, seed) {
        tally.calls += 1;
        let we = run(ours, &call).expect("a sound program");
        let they = run(theirs, &call).expect("a sound program");
        let meant = meaning.verdicts(&call);
        tally.open += usize::from(meant.len() > 1);
        let report = || format!("{call:x?}: ours {we:#x}, libseccomp {they:#x}, meant {meant:x?}");
        if !meant.contains(&we) {
            tally.we_wrong.push(report());
        }
        if we != they && !meant.contains(&they) {
            tally.libseccomp_wrong.push(report());
        } else if we != they {
            tally.other_choice.push(report());
        }
    }
    tally
}

/// Both programs over the same calls; `None` if both refuse the profile.
fn both(seccomp: &LinuxSeccomp) -> Result<Option<Tally>, TestCaseError> {
    match (compile(seccomp), reference(seccomp, 1)) {
        (Ok(ours), Ok(theirs)) => {
            let tally = compare(seccomp, &ours.program, &theirs, 0x9e37_79b9_7f4a_7c15);
            prop_assert!(
                tally.we_wrong.is_empty(),
                "we contradict the profile: {:#?}",
                tally.we_wrong
            );
            Ok(Some(tally))
        }
        (Err(Error::Conflict { .. }), Err(_)) => Ok(None),
        (ours, theirs) => {
            let (ours, theirs) = (
                ours.map(|filter| filter.program.len()),
                theirs.map(|program| program.len()),
            );
            Err(TestCaseError::reject(format!(
                "ours {ours:?}, libseccomp {theirs:?}"
            )))
        }
    }
}

/// The same verdicts, wherever libseccomp does not contradict the profile.
fn same(seccomp: &LinuxSeccomp) -> Result<(), TestCaseError> {
    let tally = match both(seccomp) {
        Ok(tally) => tally.unwrap_or_default(),
        Err(TestCaseError::Reject(why)) => return Err(TestCaseError::Fail(why)),
        Err(fail) => return Err(fail),
    };
    prop_assert!(
        tally.other_choice.is_empty(),
        "another choice: {:#?}",
        tally.other_choice
    );
    Ok(())
}

proptest! {
    #[test]
    fn rules_for_different_calls_have_the_same_verdicts(seccomp in profiles(Shape::Alone, ACTIONS.len(), shared)) {
        same(&seccomp)?;
    }

    #[test]
    fn rules_of_one_action_have_the_same_verdicts(seccomp in profiles(Shape::Meeting, 2, shared)) {
        same(&seccomp)?;
    }
}

/// Random rules of eight actions for the same few calls: the profile leaves the choice open, and libseccomp
/// drops a rule or not by the order in which they come. We take the same choice all but always.
#[test]
fn contradicting_rules_nearly_always_have_the_same_verdicts() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = profiles(Shape::Meeting, ACTIONS.len(), shared);
    let (mut overlaps, mut differing) = (0, Vec::new());
    for _ in 0..400 {
        let seccomp = strategy.new_tree(&mut runner).expect("a profile").current();
        match both(&seccomp) {
            Ok(None) => {}
            Ok(Some(tally)) => {
                overlaps += tally.open;
                differing.extend(tally.other_choice.into_iter().take(1));
            }
            Err(TestCaseError::Reject(why)) => differing.push(why.to_string()),
            Err(TestCaseError::Fail(why)) => panic!("{why}"),
        }
    }
    assert!(
        overlaps > 1000,
        "only {overlaps} calls that several actions describe"
    );
    assert!(
        differing.len() <= 8,
        "{} of 400 profiles: {differing:#?}",
        differing.len()
    );
}

#[test]
fn numbers_agree() {
    let mut known = 0;
    for syscall in SYSCALLS
        .iter()
        .filter(|syscall| ScmpSyscall::from_name(syscall.0).is_ok())
    {
        let numbers = [
            (ScmpArch::X8664, syscall.1, 0),
            (ScmpArch::X32, syscall.2, 1 << 30),
            (ScmpArch::X86, syscall.3, 0),
        ];
        for (arch, number, base) in numbers {
            let theirs = ScmpSyscall::from_name_by_arch(syscall.0, arch).map_or(-1, i32::from);
            let multiplexed = arch == ScmpArch::X86 && syscall.4 != Multiplexer::Direct;
            if multiplexed || (syscall.0 == NEWER_ON_X32 && arch == ScmpArch::X32) {
                continue;
            }
            let ours = if number < 0 { -1 } else { i32::from(number) + base };
            assert_eq!(ours, theirs.max(-1), "{} on {arch:?}", syscall.0);
        }
        known += 1;
    }
    assert!(known > 450, "{known}");
}

/// Exhaustively the same, with both of libseccomp's program forms.
fn identical(seccomp: &LinuxSeccomp) {
    let ours = compile(seccomp).expect("a filter").program;
    for optimize in [1, 2] {
        let theirs = reference(seccomp, optimize).expect("libseccomp's filter");
        assert!(
            ours.len() < theirs.len() / 2,
            "{} instructions against {}",
            ours.len(),
            theirs.len()
        );
        for seed in 1..8 {
            let tally = compare(seccomp, &ours, &theirs, seed);
            assert_eq!(
                tally.libseccomp_wrong.len() + tally.other_choice.len(),
                0,
                "{tally:#?}"
            );
            assert_eq!(tally.we_wrong.len(), 0, "{tally:#?}");
            assert!(tally.calls > 2400);
        }
    }
}

#[test]
fn a_long_profile_has_the_same_verdicts() {
    let mut seccomp = super::tests::engine_profile();
    let mut entries = seccomp.syscalls().clone().expect("entries");
    for entry in &mut entries {
        let known = |name: &&String| shared(name);
        entry.set_names(entry.names().iter().filter(known).cloned().collect());
    }
    seccomp.set_syscalls(Some(entries));
    identical(&seccomp);
}

/// The profile that podman uses on this host, as for a container without added capabilities.
#[test]
fn the_hosts_container_profile_has_the_same_verdicts() {
    const PATH: &str = "/usr/share/containers/seccomp.json";
    let Ok(text) = std::fs::read(PATH) else {
        assert_ne!(
            std::env::var("NUCLEUS_TESTS_MUST_RUN").as_deref(),
            Ok("1"),
            "no {PATH}"
        );
        return;
    };
    let mut json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    json["architectures"] = serde_json::json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    let entries = json["syscalls"].as_array_mut().expect("entries");
    entries.retain(|entry| {
        let has = |list: &str, key: &str| entry[list][key].as_array().is_some_and(|names| !names.is_empty());
        let native = |list: &str| {
            entry[list]["arches"]
                .as_array()
                .is_some_and(|names| names.contains(&"amd64".into()))
        };
        !has("includes", "caps") && (!has("includes", "arches") || native("includes")) && !native("excludes")
    });
    for entry in entries {
        if entry["errnoRet"].is_null() {
            entry.as_object_mut().expect("an entry").remove("errnoRet");
        }
        let names = entry["names"].as_array_mut().expect("names");
        names.retain(|name| shared(name.as_str().expect("a name")));
    }
    identical(&serde_json::from_value(json).expect("a profile"));
}
