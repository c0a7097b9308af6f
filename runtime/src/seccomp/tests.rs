//! What compiled filters answer, by the interpreter.

pub(super) mod meaning;
pub(super) mod profiles;

use oci_spec::runtime::LinuxSeccomp;
use proptest::prelude::*;

use super::interpret::{Call, arch, run};
use super::syscalls;
use super::table::SYSCALLS;
use super::{Error, Filter, MAX_INSTRUCTIONS, compile};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL_THREAD: u32 = 0;

fn profile(json: &str) -> LinuxSeccomp {
    serde_json::from_str(json).expect("a valid profile")
}

fn filter(json: &str) -> Filter {
    compile(&profile(json)).expect("a filter")
}

fn refusal(json: &str) -> Error {
    compile(&profile(json)).expect_err("no filter")
}

fn answer(filter: &Filter, arch: u32, number: u32, args: [u64; 6]) -> u32 {
    run(&filter.program, &Call { arch, number, args }).expect("a sound program")
}

fn native(filter: &Filter, name: &str, args: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    let number = syscalls::find(name).expect("a known call").1;
    answer(filter, arch::X86_64, number as u32, all)
}

/// A profile with one conditional entry: ALLOW by default, EPERM where the condition holds.
fn deny_if(args: &str) -> Filter {
    filter(&format!(
        r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {{"names":["ioctl"],"action":"SCMP_ACT_ERRNO","args":[{args}]}}]}}"#
    ))
}

#[test]
fn an_empty_profile_gives_the_default_to_native_calls_only() {
    let filter = filter(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#);
    assert_eq!(native(&filter, "read", &[]), ALLOW);
    assert_eq!(answer(&filter, arch::X86_64, u32::MAX, [0; 6]), ALLOW);
    assert_eq!(answer(&filter, arch::X86_64, arch::X32_BIT, [0; 6]), KILL_THREAD);
    assert_eq!(answer(&filter, arch::I386, 3, [0; 6]), KILL_THREAD);
    assert_eq!(answer(&filter, 0xc000_00b7, 3, [0; 6]), KILL_THREAD);
    assert_eq!((filter.flags, filter.listener_path), (0, None));
}

#[test]
fn each_abi_has_its_own_numbers() {
    let filter = filter(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,
            "architectures":["SCMP_ARCH_X86","SCMP_ARCH_X32","SCMP_ARCH_AARCH64"],
            "syscalls":[{"names":["execve","stat64"],"action":"SCMP_ACT_ALLOW"}]}"#,
    );
    for (arch, number, expected) in [
        (arch::X86_64, 59, ALLOW),
        (arch::X86_64, 11, ENOSYS),
        (arch::X86_64, 520, ENOSYS),
        (arch::X86_64, arch::X32_BIT + 520, ALLOW),
        (arch::X86_64, arch::X32_BIT + 59, ENOSYS),
        (arch::I386, 11, ALLOW),
        (arch::I386, 195, ALLOW),
        (arch::I386, 59, ENOSYS),
        (0xc000_00b7, 221, KILL_THREAD),
    ] {
        assert_eq!(
            answer(&filter, arch, number, [0; 6]),
            expected,
            "{arch:#x} {number:#x}"
        );
    }
    assert!(filter.unknown.is_empty());
}

#[test]
fn actions_become_kernel_values() {
    for (action, expected) in [
        (r#""SCMP_ACT_KILL""#, 0),
        (r#""SCMP_ACT_KILL_THREAD""#, 0),
        (r#""SCMP_ACT_KILL_PROCESS""#, 0x8000_0000),
        (r#""SCMP_ACT_TRAP""#, 0x0003_0000),
        (r#""SCMP_ACT_ERRNO""#, EPERM),
        (r#""SCMP_ACT_ERRNO","errnoRet":0"#, 0x0005_0000),
        (r#""SCMP_ACT_ERRNO","errnoRet":110"#, 0x0005_006e),
        (r#""SCMP_ACT_TRACE","errnoRet":7"#, 0x7ff0_0007),
        (r#""SCMP_ACT_LOG""#, 0x7ffc_0000),
        (r#""SCMP_ACT_NOTIFY""#, 0x7fc0_0000),
    ] {
        let filter = filter(&format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/s",
                 "syscalls":[{{"names":["mkdir"],"action":{action}}}]}}"#
        ));
        assert_eq!(native(&filter, "mkdir", &[]), expected, "{action}");
        assert_eq!(native(&filter, "rmdir", &[]), ALLOW, "{action}");
    }
}

/// Values around every edge that 32-bit halves can hide.
fn edges(value: u64) -> Vec<u64> {
    let mut edges = vec![
        0,
        1,
        1 << 31,
        (1 << 32) - 1,
        1 << 32,
        (1 << 32) + 1,
        1 << 63,
        u64::MAX,
    ];
    for base in [value, value ^ (1 << 32), value & 0xffff_ffff, value << 32] {
        edges.extend([base, base.wrapping_sub(1), base.wrapping_add(1), !base]);
    }
    edges
}

#[test]
fn operators_compare_64_bits() {
    type Holds = fn(u64, u64) -> bool;
    let operators: [(&str, Holds); 6] = [
        ("NE", |a, b| a != b),
        ("LT", |a, b| a < b),
        ("LE", |a, b| a <= b),
        ("EQ", |a, b| a == b),
        ("GE", |a, b| a >= b),
        ("GT", |a, b| a > b),
    ];
    for (operator, holds) in operators {
        for value in [0, 5, 0xffff_ffff, 0x1_0000_0000, 0x7_0000_0009, u64::MAX] {
            for index in 0..6 {
                let filter = deny_if(&format!(
                    r#"{{"index":{index},"value":{value},"op":"SCMP_CMP_{operator}"}}"#
                ));
                for edge in edges(value) {
                    let mut args = [value; 6];
                    args[index] = edge;
                    let expected = if holds(edge, value) { EPERM } else { ALLOW };
                    let got = native(&filter, "ioctl", &args);
                    assert_eq!(got, expected, "{edge:#x} {operator} {value:#x}, argument {index}");
                }
            }
        }
    }
}

#[test]
fn masked_equality_ignores_bits_outside_the_mask() {
    for (mask, value) in [
        (0x7e02_0000_u64, 0_u64),
        (0xff, 0x1ff),
        (0xf_0000_000f, 0x3_0000_0001),
        (1 << 40, 1 << 40),
    ] {
        let filter = deny_if(&format!(
            r#"{{"index":1,"value":{mask},"valueTwo":{value},"op":"SCMP_CMP_MASKED_EQ"}}"#
        ));
        for edge in edges(value).into_iter().chain(edges(mask)) {
            let expected = if edge & mask == value & mask { EPERM } else { ALLOW };
            assert_eq!(
                native(&filter, "ioctl", &[0, edge]),
                expected,
                "{edge:#x} & {mask:#x} == {value:#x}"
            );
        }
    }
}

#[test]
fn conditions_on_several_arguments_are_a_conjunction() {
    let filter =
        deny_if(r#"{"index":0,"value":3,"op":"SCMP_CMP_GT"},{"index":2,"value":7,"op":"SCMP_CMP_EQ"}"#);
    for (args, expected) in [
        ([4, 0, 7], EPERM),
        ([1 << 40, 0, 7], EPERM),
        ([3, 0, 7], ALLOW),
        ([4, 0, 8], ALLOW),
    ] {
        assert_eq!(native(&filter, "ioctl", &args), expected, "{args:?}");
    }
}

#[test]
fn conditions_on_one_argument_are_a_disjunction() {
    let filter =
        deny_if(r#"{"index":1,"value":3,"op":"SCMP_CMP_EQ"},{"index":1,"value":5,"op":"SCMP_CMP_EQ"}"#);
    for (arg, expected) in [(3, EPERM), (5, EPERM), (4, ALLOW)] {
        assert_eq!(native(&filter, "ioctl", &[0, arg]), expected, "{arg}");
    }
}

#[test]
fn an_unconditional_rule_outweighs_conditional_ones() {
    let conditional =
        r#"{"names":["ioctl"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]}"#;
    let first = r#"{"names":["ioctl"],"action":"SCMP_ACT_LOG"}"#;
    let second = r#"{"names":["ioctl"],"action":"SCMP_ACT_TRAP"}"#;
    for rules in [
        [conditional, first, second],
        [first, conditional, second],
        [first, second, conditional],
    ] {
        let filter = filter(&format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{}]}}"#,
            rules.join(",")
        ));
        assert_eq!(native(&filter, "ioctl", &[1]), 0x7ffc_0000, "{rules:?}");
    }
}

#[test]
fn i386_multiplexers_follow_the_calls_that_they_make() {
    let filter = filter(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],
            "syscalls":[{"names":["socket","send","shmat"],"action":"SCMP_ACT_ERRNO"}]}"#,
    );
    for (number, first, expected) in [
        (359, 9, EPERM),
        (397, 9, EPERM),
        (102, 1, EPERM),
        (102, 9, EPERM),
        (102, 2, ALLOW),
        (117, 21, EPERM),
        (117, 1, ALLOW),
    ] {
        let args = [first, 0, 0, 0, 0, 0];
        assert_eq!(
            answer(&filter, arch::I386, number, args),
            expected,
            "{number}({first})"
        );
    }
}

#[test]
fn names_that_no_architecture_has_are_reported() {
    let filter = filter(
        r#"{"defaultAction":"SCMP_ACT_ALLOW",
            "syscalls":[{"names":["nosuch","mkdir","riscv_flush_icache","other"],"action":"SCMP_ACT_ERRNO"}]}"#,
    );
    assert_eq!(filter.unknown, ["nosuch", "other"]);
    assert_eq!(native(&filter, "mkdir", &[]), EPERM);
}

#[test]
fn flags_become_kernel_bits() {
    let flags = |names: &str, action: &str| {
        filter(&format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","flags":[{names}],"listenerPath":"/s","listenerMetadata":"m",
                 "syscalls":[{{"names":["mkdir"],"action":"{action}"}}]}}"#
        ))
        .flags
    };
    let all = r#""SECCOMP_FILTER_FLAG_TSYNC","SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                 "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV""#;
    assert_eq!(flags(all, "SCMP_ACT_ERRNO"), 0b111);
    assert_eq!(flags(all, "SCMP_ACT_NOTIFY"), 0b11_1111);
    assert_eq!(flags("", "SCMP_ACT_NOTIFY"), 0b1000);
}

#[test]
fn faulty_profiles_are_refused() {
    let entry = |entry: &str| format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{entry}]}}"#);
    let arg = |arg: &str| {
        entry(&format!(
            r#"{{"names":["ioctl"],"action":"SCMP_ACT_ERRNO","args":[{arg}]}}"#
        ))
    };
    let within = |first: &str, second: &str| {
        entry(&format!(
            r#"{{"names":["ioctl"],"action":"SCMP_ACT_ERRNO","args":[{first}]}},
               {{"names":["ioctl"],"action":"SCMP_ACT_LOG","args":[{second}]}}"#
        ))
    };
    let (one, two) = (
        r#"{"index":0,"value":1,"op":"SCMP_CMP_EQ"}"#,
        r#"{"index":1,"value":1,"op":"SCMP_CMP_EQ"}"#,
    );
    let both = format!("{one},{two}");
    let cases = [
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}"#.to_owned(),
            "SCMP_ACT_ALLOW takes no errno",
        ),
        (
            entry(r#"{"names":["read"],"action":"SCMP_ACT_KILL","errnoRet":1}"#),
            "SCMP_ACT_KILL takes no errno",
        ),
        (
            entry(r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":65536}"#),
            "errno 65536 of SCMP_ACT_ERRNO does not fit in 16 bits",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#.to_owned(),
            "SCMP_ACT_NOTIFY cannot be the default action",
        ),
        (
            entry(r#"{"names":["read"],"action":"SCMP_ACT_NOTIFY"}"#),
            "SCMP_ACT_NOTIFY needs listenerPath",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/s",
                "syscalls":[{"names":["write"],"action":"SCMP_ACT_NOTIFY"}]}"#
                .to_owned(),
            "SCMP_ACT_NOTIFY cannot be used for write",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerMetadata":"m"}"#.to_owned(),
            "listenerMetadata needs listenerPath",
        ),
        (
            arg(r#"{"index":6,"value":1,"op":"SCMP_CMP_EQ"}"#),
            "no system call has an argument 6",
        ),
        (
            entry(r#"{"names":[""],"action":"SCMP_ACT_ERRNO"}"#),
            "empty system call name",
        ),
        (within(one, one), "rules for ioctl contradict each other"),
        (within(&both, one), "rules for ioctl contradict each other"),
    ];
    for (json, message) in cases {
        assert_eq!(refusal(&json).to_string(), message);
    }
}

#[test]
fn a_program_over_the_kernels_limit_is_refused() {
    let rules: Vec<String> = (0..1500_u64)
        .map(|n| {
            format!(
                r#"{{"names":["ioctl"],"action":"SCMP_ACT_ERRNO","args":[
                   {{"index":1,"value":{n},"op":"SCMP_CMP_EQ"}},{{"index":2,"value":{n},"op":"SCMP_CMP_EQ"}}]}}"#
            )
        })
        .collect();
    let json = format!(
        r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{}]}}"#,
        rules.join(",")
    );
    match refusal(&json) {
        Error::TooLong { instructions } => assert!(instructions > MAX_INSTRUCTIONS),
        other => panic!("{other}"),
    }
}

/// A long profile of the shape that container engines ship: about 350 calls allowed, 60 refused with
/// EPERM, the rest ENOSYS; argument rules; three architectures.
pub(super) fn engine_profile() -> LinuxSeccomp {
    let names = |keep: fn(usize) -> bool| {
        let names: Vec<String> = (SYSCALLS.iter().enumerate())
            .filter(|(row, syscall)| {
                keep(row / 3 % 20) && !["personality", "socket", "socketcall"].contains(&syscall.0)
            })
            .map(|(_, syscall)| format!("{:?}", syscall.0))
            .collect();
        names.join(",")
    };
    let personality = |value: u32| {
        format!(
            r#"{{"names":["personality"],"action":"SCMP_ACT_ALLOW",
                 "args":[{{"index":0,"value":{value},"op":"SCMP_CMP_EQ"}}]}}"#
        )
    };
    let rules = [
        format!(
            r#"{{"names":[{}],"action":"SCMP_ACT_ERRNO","errnoRet":1}}"#,
            names(|group| group == 7 || group == 13)
        ),
        format!(
            r#"{{"names":[{}],"action":"SCMP_ACT_ALLOW"}}"#,
            names(|group| group > 1 && group != 7 && group != 13)
        ),
        [0, 8, 0x2_0000, 0x2_0008, u32::MAX].map(personality).join(","),
        // i386's way to the socket calls needs a rule of its own: the two for `socket` contradict each other
        // there, where the protocol is out of sight.
        r#"{"names":["socketcall"],"action":"SCMP_ACT_ALLOW"}"#.to_owned(),
        r#"{"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":22,"args":[
              {"index":0,"value":16,"op":"SCMP_CMP_EQ"},{"index":2,"value":9,"op":"SCMP_CMP_EQ"}]},
           {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":2,"value":9,"op":"SCMP_CMP_NE"}]},
           {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":16,"op":"SCMP_CMP_NE"}]}"#
            .to_owned(),
    ];
    profile(&format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,
             "architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],"syscalls":[{}]}}"#,
        rules.join(",")
    ))
}

#[test]
fn a_long_profile_stays_short_and_shallow() {
    let filter = compile(&engine_profile()).expect("a filter");
    assert!(
        filter.program.len() < 500,
        "{} instructions",
        filter.program.len()
    );
    assert_eq!(native(&filter, "personality", &[8]), ALLOW);
    assert_eq!(native(&filter, "personality", &[9]), ENOSYS);
    assert_eq!(native(&filter, "socket", &[16, 0, 9]), 0x0005_0016);
    assert_eq!(native(&filter, "socket", &[16, 0, 8]), ALLOW);
}

proptest! {
    /// Whatever the unconditional rules, every number of every ABI gets its own rule's action.
    #[test]
    fn ranges_give_every_number_its_rule(picks in prop::collection::hash_map(0..SYSCALLS.len(), 0..40_u32, 0..300)) {
        let rules: Vec<String> = picks
            .iter()
            .map(|(row, errno)| format!(
                r#"{{"names":[{:?}],"action":"SCMP_ACT_ERRNO","errnoRet":{errno}}}"#, SYSCALLS[*row].0))
            .collect();
        let filter = filter(&format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X32","SCMP_ARCH_X86"],"syscalls":[{}]}}"#,
            rules.join(",")));
        let multiplexers = [102, 117];
        for (abi, base, number) in [
            (arch::X86_64, 0, (|row| SYSCALLS[row].1) as fn(usize) -> i16),
            (arch::X86_64, arch::X32_BIT, |row| SYSCALLS[row].2),
            (arch::I386, 0, |row| SYSCALLS[row].3),
        ] {
            for n in (0..1000).filter(|n| abi != arch::I386 || !multiplexers.contains(n)) {
                let rule = picks.iter().find(|(row, _)| i32::from(number(**row)) == n);
                let expected = rule.map_or(ALLOW, |(_, errno)| 0x0005_0000 | errno);
                prop_assert_eq!(answer(&filter, abi, base + n as u32, [0; 6]), expected, "{:#x} {}", abi, n);
            }
        }
    }

    /// Whatever the rules: the verdict is that of a rule that describes the call, or the default.
    #[test]
    fn verdicts_follow_the_profile(seccomp in prop_oneof![
        profiles::profiles(profiles::Shape::Free, 2, |_| true),
        profiles::profiles(profiles::Shape::Free, profiles::ACTIONS.len(), |_| true),
    ]) {
        let meaning = meaning::Meaning::of(&seccomp);
        let Ok(filter) = compile(&seccomp) else { return Err(TestCaseError::reject("contradictory")) };
        for call in meaning::calls(&seccomp, 1) {
            let (got, meant) = (run(&filter.program, &call).expect("a sound program"), meaning.verdicts(&call));
            prop_assert!(meant.contains(&got), "{:x?}: {:#x}, meant {:x?}", call, got, meant);
        }
    }
}
